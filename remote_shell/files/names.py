"""Names: which paths below a folder are taken from a peer, what a partial file is called, what a place is called at all.

The receiver decides: a path is components, none of them `.`, `..` or empty, so that nothing can point outside; who resolves them
(`place`) follows no symlink besides. Bytes throughout: names of files are no text.
"""

from __future__ import annotations

import errno
import os
import stat

_NAME_MAX = 255  # bytes of one component: what Linux's file systems take
_SUFFIX = b".rs-part"
_SPECIAL = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
}


def components(path: bytes, depth_max: int, path_max: int) -> list[bytes]:
    """The parts of a path that a peer sent; none for the empty one. Raises OSError (EINVAL, ENAMETOOLONG)."""
    if not path:
        return []
    if len(path) > path_max:
        raise refusal(errno.ENAMETOOLONG, f"its path has more than {path_max:,} bytes", path)
    parts = path.split(b"/", depth_max + 1)
    if len(parts) > depth_max:
        raise refusal(errno.ENAMETOOLONG, f"it lies more than {depth_max} folders deep", path)
    for part in parts:
        check(part, path)
    return parts


def check(part: bytes, path: bytes) -> None:
    """One component. Raises OSError (EINVAL, ENAMETOOLONG)."""
    if part in (b"", b".", b"..") or b"/" in part or b"\0" in part:
        raise refusal(errno.EINVAL, "the name that was sent could point elsewhere, and is not taken", path)
    if len(part) > _NAME_MAX:
        raise refusal(errno.ENAMETOOLONG, f"a part of its name has more than {_NAME_MAX} bytes", path)


def refusal(number: int, detail: str, path: bytes = b"") -> OSError:
    """An error that says more than its number does: in `strerror`."""
    return OSError(number, detail, path)


def check_within(descriptor: int, root: bytes) -> None:
    """What was opened lies in `root`, a real path, or is it, whatever was swapped on the way. Empty: anywhere. Raises OSError (EACCES)."""
    if root:
        real = os.readlink(b"/proc/self/fd/%d" % descriptor)
        if os.path.commonpath((root, real)) != root:
            raise refusal(errno.EACCES, "it lies outside of the folder that the key may use", real)


def part_name(name: bytes) -> bytes:
    """What a file is called until it is whole: the same each time, so that the next run finds it."""
    if len(name) + len(_SUFFIX) + 1 <= _NAME_MAX:
        return b"." + name + _SUFFIX
    import hashlib  # which few names need, and a start of a plain command never

    return b"." + name[:200] + b"-" + hashlib.sha256(name).hexdigest()[:16].encode() + _SUFFIX


def top_name(path: bytes) -> bytes:
    """What a source is called where it arrives: its last component; empty for `.`, `..` and `/`: its content is meant."""
    last = path.rstrip(b"/").rpartition(b"/")[2]
    return b"" if last in (b".", b"..") else last


def special(mode: int) -> str | None:
    """What something is called that is no file, folder or symlink, from its `st_mode`."""
    return _SPECIAL.get(stat.S_IFMT(mode))


def reason(error: OSError) -> str:
    """What the system, or we, said."""
    return error.strerror or str(error)


def errno_name(error: OSError) -> str | None:
    """The number's name, which other systems know too."""
    return errno.errorcode.get(error.errno) if error.errno is not None else None


def errno_number(name: str | None) -> int:
    """The number of a name here; EIO for one that is unknown."""
    value = getattr(errno, name, None) if name is not None and name.isupper() and name in _NAMES else None
    return value if isinstance(value, int) else errno.EIO


_NAMES = frozenset(errno.errorcode.values())


def text(number: int) -> str:
    """What the system says for a number."""
    return os.strerror(number)
