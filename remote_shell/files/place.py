"""A place: the folder below which a receiver writes, and how it finds its way there.

The destination itself is a person's, and followed like any path; from there on every component is opened by itself with O_NOFOLLOW,
so that no symlink, one that was there or one that appears in between, leads outside. Neighbours: `names` checks the components,
`landing` writes a file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence

from remote_shell.files import names

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """An open folder; closed when nobody refers to it any more."""

    __slots__ = ("fd", "name")

    def __init__(self, fd: int, name: bytes = b"") -> None:
        self.fd = fd
        self.name = name

    def __del__(self) -> None:
        os.close(self.fd)


class Place:
    """Where what is sent goes to."""

    def __init__(self, path: bytes, sources: Sequence[bytes], within: bytes = b"") -> None:
        """`sources`: what each is called (`names.top_name`). As cp: into a folder that exists; else one source takes the new name.

        `within`: the real path of a folder outside of which nothing is written. Raises OSError, which says what to do.
        """
        self.tops = [[name] if name else [] for name in sources]
        try:
            there = os.stat(path)
        except FileNotFoundError:
            there = None
        # A folder of a new name is marked until all is in it: else the same line again would copy into it, and not go on.
        self._mark = b""  # what the mark holds: the source's name; empty: there is no new name
        self._continued = len(sources) == 1 and _is_marked(path, _mark_of(sources[0]))
        if there is not None and stat.S_ISDIR(there.st_mode) and not self._continued:
            root = path
        else:
            if len(sources) != 1:
                raise names.refusal(errno.ENOTDIR if there else errno.ENOENT, _SEVERAL, path)
            if path.endswith(b"/") or not names.top_name(path):
                number = errno.ENOTDIR if there else errno.ENOENT
                raise names.refusal(number, "there is no such folder; make it first, or leave the slash away", path)
            root = os.path.dirname(path) or b"."
            self.tops = [[names.top_name(path)]]
            self._mark = _mark_of(sources[0])
        self.root = root
        for top in self.tops:
            for part in top:
                names.check(part, part)
        if len(self.tops) > 1:  # of two that land in one place one would be lost
            seen: set[bytes] = set()
            for part in (top[0] for top in self.tops if top):
                if part in seen:
                    text = f"two of the sources are called {os.fsdecode(part)!a}: copy them one after the other, or into two folders"
                    raise names.refusal(errno.EEXIST, text, path)
                seen.add(part)
        try:
            self._root = Folder(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            names.check_within(self._root.fd, within)
        except OSError as error:
            raise OSError(error.errno, names.reason(error), root) from None
        self._chain: list[Folder] = []  # open folders from the root down: what comes next mostly lies beside

    def folder(self, parts: Sequence[bytes]) -> Folder:
        """The folder at these components below the root, opened one by one. Raises OSError."""
        chain = self._chain
        same = 0
        while same < len(chain) and same < len(parts) and chain[same].name == parts[same]:
            same += 1
        del chain[same:]
        for part in parts[same:]:
            above = chain[-1] if chain else self._root
            try:
                chain.append(Folder(os.open(part, _FOLDER, dir_fd=above.fd), part))
            except NotADirectoryError:  # which Linux says of a symlink, too
                raise names.refusal(
                    errno.ENOTDIR, f"{os.fsdecode(part)!a} there is a symlink or a file, and is not followed"
                ) from None
        return chain[-1] if chain else self._root

    def make_folder(self, parts: Sequence[bytes], mode: int) -> bool:
        """Make it, or find it there; True if it was made. Writable for us until `set_folder`. Raises OSError."""
        if not parts:
            return False
        parent, name = self.folder(parts[:-1]), parts[-1]
        if self._mark and parts == self.tops[0] and not self._continued:
            self._set_mark(name)
        try:
            os.mkdir(name, mode | 0o700, dir_fd=parent.fd)
            return True
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent.fd, follow_symlinks=False).st_mode):
                return self._continued  # the attempt that was cut off made it
            raise names.refusal(errno.ENOTDIR, "something that is no folder has this name there") from None

    def set_folder(self, parts: Sequence[bytes], mode: int, mtime: int) -> None:
        """Its mode and time (nanoseconds), when all is in it. Raises OSError."""
        folder = self.folder(parts)
        os.chmod(folder.fd, mode)
        os.utime(folder.fd, ns=(mtime, mtime))

    def make_symlink(self, parts: Sequence[bytes], target: bytes, mtime: int) -> None:
        """Make it, in place of a file or link of this name. Raises OSError."""
        parent, name = self.folder(parts[:-1]), parts[-1]
        check_replaceable(parent, name)
        part = names.part_name(name)
        try:
            os.symlink(target, part, dir_fd=parent.fd)
        except FileExistsError:
            os.unlink(part, dir_fd=parent.fd)
            os.symlink(target, part, dir_fd=parent.fd)
        try:
            os.utime(part, ns=(mtime, mtime), dir_fd=parent.fd, follow_symlinks=False)
            os.rename(part, name, src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
        except OSError:
            os.unlink(part, dir_fd=parent.fd)
            raise

    def _set_mark(self, name: bytes) -> None:
        part = names.part_name(name)
        try:
            fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=self._root.fd)
        except OSError:
            return  # something is there, or it has no room: then it can't be gone on with, and is copied all the same
        try:
            os.write(fd, self._mark)
            self._continued = True
        except OSError:
            os.unlink(part, dir_fd=self._root.fd)
        finally:
            os.close(fd)

    def whole(self) -> None:
        """All that was sent is in it: the mark goes."""
        if self._mark and self._continued:
            try:
                os.unlink(names.part_name(self.tops[0][0]), dir_fd=self._root.fd)
            except OSError:
                pass  # gone already

    def close(self) -> None:
        """Let go of the folders; safe to repeat."""
        self._chain.clear()
        vars(self).pop("_root", None)


def _mark_of(source: bytes) -> bytes:
    return source or b"."


def _is_marked(path: bytes, mark: bytes) -> bool:
    """`path` is a new name for what `mark` says, and an attempt to fill it was cut off: a file of ours beside it says so."""
    top = names.top_name(path)
    if not top or path.endswith(b"/"):
        return False
    beside = os.path.join(os.path.dirname(path), names.part_name(top))
    try:
        fd = os.open(beside, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or not stat.S_ISDIR(os.lstat(path).st_mode):
            return False
        return found.st_size == len(mark) and os.read(fd, len(mark)) == mark
    except OSError:
        return False
    finally:
        os.close(fd)


def check_replaceable(folder: Folder, name: bytes) -> None:
    """What has the name gives way to a file or symlink: nothing, a file, a symlink. A rename over /dev/null would take it from all.

    Raises OSError.
    """
    try:
        mode = os.stat(name, dir_fd=folder.fd, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise names.refusal(errno.EISDIR, FOLDER_THERE)
    special = names.special(mode)
    if special is not None:
        raise names.refusal(errno.EEXIST, f"{special} has this name there, and is not replaced")


FOLDER_THERE = "a folder has this name there, and is not replaced by a file"
_SEVERAL = "several sources need a folder that exists; make it first"
