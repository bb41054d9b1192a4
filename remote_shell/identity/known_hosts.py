"""The servers that this client knows: one line `HOST:PORT SHA256:...` each, in known_hosts of our settings folder.

Never asks anybody and never forgets by itself: a changed key is an error, whose text says what to do. A line that can't be read
is an error too, since passing over it would make a known server look like a first contact. Unix sockets need none of it.
Neighbours: `tls` gives the hash of the key that the server showed.
"""

from __future__ import annotations

import os
from typing import Literal

from remote_shell.config.checked import read_text
from remote_shell.config.fingerprints import parse_fingerprint
from remote_shell.config.paths import config_dir, quoted, shown
from remote_shell.config.socket_lock import take
from remote_shell.errors import ConfigError, ServerKeyChangedError, UnknownServerError, UsageError
from remote_shell.limits import DEFAULT_LIMITS

Verdict = Literal["known", "unknown", "changed"]


class KnownHosts:
    """The file at `path`, by default known_hosts in the settings folder. Read at each question.

    An `address` is `Target.address`: HOST:PORT, with brackets around an IPv6 address. Every method raises ConfigError if the file
    can't be used.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path or os.path.join(config_dir(), "known_hosts")

    def check(self, address: str, fingerprint: str) -> Verdict:
        """Whether the server at `address` may show the key `fingerprint`. Several lines for one address all count."""
        known = [pinned for _, pinned in self._lines_of(address)]
        if not known:
            return "unknown"
        return "known" if fingerprint in known else "changed"

    def require(self, address: str, fingerprint: str) -> None:
        """Raises UnknownServerError or ServerKeyChangedError unless `check` says "known"."""
        verdict = self.check(address, fingerprint)
        if verdict == "unknown":
            raise UnknownServerError(
                f"the server {address} is not known here and there is no terminal to ask on. Its key is {fingerprint}. "
                f"Compare that with what the server printed when it started; if they are equal, add: --fingerprint {fingerprint}",
                address,
                fingerprint,
            )
        if verdict == "changed":
            raise self._changed(address, fingerprint)

    def add(self, address: str, fingerprint: str) -> None:
        """Remember the server. Raises ServerKeyChangedError if it is known by another key."""
        line = f"{address} {parse_fingerprint(fingerprint)}\n"
        if not address or not address.isprintable() or " " in address or address.startswith("#"):
            raise UsageError(f"{address!a} is no HOST:PORT")
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            if not take(descriptor, DEFAULT_LIMITS.file_lock_time):
                raise ConfigError(f"{shown(self.path)} is locked by another process; try again")
            # Under the lock: another client may have met the server in the meantime.
            verdict = self.check(address, fingerprint)
            if verdict == "changed":
                raise self._changed(address, fingerprint)
            if verdict == "unknown":
                size = os.fstat(descriptor).st_size
                unended = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                # One write: whoever reads without the lock sees all of the line or nothing.
                os.write(descriptor, ("\n" + line if unended else line).encode("utf-8"))
                os.fsync(descriptor)
        except OSError as error:
            raise self._unwritable(error) from None
        finally:
            os.close(descriptor)

    def _lines_of(self, address: str) -> list[tuple[int, str]]:
        return [(number, pinned) for number, known, pinned in self._lines() if known.lower() == address.lower()]

    def _lines(self) -> list[tuple[int, str, str]]:
        text = read_text(self.path, what="known_hosts file", limit=DEFAULT_LIMITS.list_file_max, private=False)
        found = []
        for number, line in enumerate((text or "").split("\n"), start=1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            try:
                if len(words) != 2:
                    raise UsageError("two words are wanted")
                found.append((number, words[0], parse_fingerprint(words[1])))
            except UsageError:
                raise ConfigError(
                    f"{shown(self.path)}, line {number}: not HOST:PORT and SHA256:...; "
                    f"mend the line or delete it: sed -i {number}d {quoted(self.path)}"
                ) from None
        return found

    def _changed(self, address: str, fingerprint: str) -> ServerKeyChangedError:
        lines = self._lines_of(address)
        numbers = "".join(f"{number}d;" for number, _ in lines).rstrip(";")
        return ServerKeyChangedError(
            f"the key of {address} has CHANGED. It shows {fingerprint}; "
            f"{shown(self.path)}, line {lines[0][0]}, has {lines[0][1]}. "
            "Either the server was set up anew, or somebody stands between you and it; nothing was sent. Ask who runs it. "
            f"If the new key is right, forget the old one: sed -i {quoted(numbers)} {quoted(self.path)}"
        )

    def _unwritable(self, error: OSError) -> ConfigError:
        return ConfigError(f"can't write {shown(self.path)}: {error.strerror}; name another file with --known-hosts")


def check_pin(address: str, pinned: str, shown_key: str) -> None:
    """Raises ServerKeyChangedError unless the key that the server showed is the one that `--fingerprint` or hosts.toml names."""
    if pinned != shown_key:
        raise ServerKeyChangedError(
            f"the server {address} shows the key {shown_key}, but {pinned} is asked for. Either the fingerprint is another "
            "server's or an old one, or somebody stands between you and it; nothing was sent. Ask who runs it, and mend "
            "--fingerprint, or the fingerprint in hosts.toml"
        )
