"""The invitations of this account: a small file each in the state folder, which `keys invite` makes and every server of the account sees.

A file holds no code but a hash of it, and what was decided: how long, under which label, with which options. One is good for one key:
that key is written down, durably, before it is listed, so of two clients or two servers one wins; the same key may ask again, if the answer
was lost on its way. Time is measured by two clocks and either may end it: who turns the clock back gains nothing, and who turns it forward
loses an invitation. Neighbours: `invitation` is the line, the server's `enrolment` redeems.
"""

from __future__ import annotations

import binascii
import json
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

from remote_shell.config.checked import create_private, read_checked, replace
from remote_shell.config.paths import check_folder, shown, state_dir
from remote_shell.config.socket_lock import hold
from remote_shell.errors import ConfigError, RemoteShellError
from remote_shell.identity.invitation import name_of, new_code, proving_key
from remote_shell.identity.secrets import KEY_SIZE, Secret
from remote_shell.limits import DEFAULT_LIMITS, Limits

FOLDER = "invitations"
LOGGER = "remote_shell.identity"
KEPT = 24 * 3600.0  # seconds for which one that is over is kept, so that the log can say why it is refused
_NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)
_EARLY = 60.0  # seconds by which a clock may be set back and an invitation of another boot still be good
_WHAT = "invitation"
T = TypeVar("T")


class InvitationError(RemoteShellError):
    """An invitation is over, or another's: for the server's log."""


class Moment(NamedTuple):
    """A time by two clocks."""

    wall: float  # seconds since 1970
    up: float  # CLOCK_BOOTTIME: goes on during suspend, and nobody sets it
    boot: str  # of this boot alone

    @classmethod
    def now(cls) -> Moment:
        """This one."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                boot = file.read().strip()
        except OSError:
            boot = ""  # a container without /proc: then the wall clock decides alone
        return cls(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), boot)


class Record(NamedTuple):
    """What the server keeps of an invitation."""

    name: str
    key: bytes  # what is proved. Secret!
    seconds: float  # it is good for so long
    made: Moment
    label: str = ""  # who is invited, in the inviter's words
    options: str = ""  # of the line that it may add to authorized_keys
    by: str = ""  # the fingerprint of the key that used it
    done: bool = False  # and that key was listed
    authorized_keys: str = ""  # real path of the list that it is for; another server of the account may read another

    def __repr__(self) -> str:
        return f"Record({self.name})"

    @property
    def until(self) -> float:
        """When it ends by the wall clock, in seconds since 1970."""
        return self.made.wall + self.seconds

    def in_time(self, now: Moment) -> bool:
        """Neither clock says that it is over."""
        by_wall = -_EARLY <= now.wall - self.made.wall < self.seconds
        return by_wall and (now.boot != self.made.boot or 0 <= now.up - self.made.up < self.seconds)


class Invitations:
    """All of them. `folder` is by default the one in the state folder; made when the first is."""

    def __init__(
        self,
        folder: str | None = None,
        *,
        limits: Limits = DEFAULT_LIMITS,
        clock: Callable[[], Moment] = Moment.now,
    ) -> None:
        self._given = folder
        self._limits = limits
        self._clock = clock
        self._stand_in = os.urandom(KEY_SIZE)

    @property
    def folder(self) -> str:
        """Raises ConfigError as `state_dir` does."""
        return self._given or os.path.join(state_dir(), FOLDER)

    def make(
        self, seconds: float, label: str = "", options: str = "", authorized_keys: str = ""
    ) -> tuple[Record, bytes]:
        """A new one, for that list or else for any, and its code, of which no copy is kept. Raises ConfigError."""
        with self._locked():
            self._prune()
            if len(self._names()) >= self._limits.invitations_max:
                raise ConfigError(
                    f"{self._limits.invitations_max} invitations of the last day are kept, and no more fit; "
                    "take back those that are open: remote-shell keys revoke --invitations"
                )
            code = new_code()
            path = os.path.realpath(authorized_keys) if authorized_keys else ""
            made = self._clock()
            record = Record(name_of(code), proving_key(code), seconds, made, label, options, authorized_keys=path)
            create_private(self._path(record.name), _encode(record), what=_WHAT)
            return record, code

    def find(self, name: str) -> Secret:
        """What is to be proved for the invitation of that name, or a stand-in that nobody knows. Raises nothing."""
        try:
            record = self._read(name)
        except ConfigError as error:
            logging.getLogger(LOGGER).error("%s", error)
            record = None
        return Secret(name, record.key) if record is not None else Secret(name, self._stand_in, known=False)

    def redeem(self, name: str, fingerprint: str, enrol: Callable[[Record], T], authorized_keys: str = "") -> T:
        """Give it to the key with this fingerprint and call `enrol`, which lists the key, while nobody else can redeem any.

        `authorized_keys` is the list of who redeems: one that is for another list is not touched.
        Its record says `done` if the key was listed before: then it must not be listed again, for it may have been taken away since.
        Raises InvitationError if it is over or another key's, ConfigError for the files, and what `enrol` raises.
        """
        with self._locked():
            record = self._read(name)
            if record is None:
                raise InvitationError("it was taken back")
            if record.authorized_keys not in ("", os.path.realpath(authorized_keys)):
                raise InvitationError(f"it is for another list: {shown(record.authorized_keys)}")
            if record.by not in ("", fingerprint):
                raise InvitationError(f"it was used by {record.by}")
            if not record.done and not record.in_time(self._clock()):
                raise InvitationError("it has expired")
            if not record.by:
                self._write(record._replace(by=fingerprint))
            result = enrol(record)
            if not record.done:
                self._write(record._replace(by=fingerprint, done=True))
            return result

    def open_ones(self) -> list[Record]:
        """Those by which a key may still be listed now, the oldest first. Raises ConfigError."""
        now = self._clock()
        found = []
        for name in self._names():
            with suppress(
                ConfigError
            ):  # a damaged one is nobody's to use, and does not keep others from being taken back
                found.append(self._read(name))
        open_now = [one for one in found if one is not None and not one.done and one.in_time(now)]
        return sorted(open_now, key=lambda one: one.made.wall)

    def take_back(self) -> int:
        """End all that are open; how many. Raises ConfigError."""
        with self._locked():
            names = [record.name for record in self.open_ones()]
            for name in names:
                os.unlink(self._path(name))
            return len(names)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        folder = self.folder
        try:
            os.mkdir(folder, 0o700)
        except FileExistsError:
            check_folder(folder, private=True)
        except OSError as error:
            raise ConfigError(f"can't make the folder {shown(folder)}: {error.strerror}") from None
        lock = hold(folder, self._limits.file_lock_time)
        if lock is None:
            raise ConfigError(f"{shown(folder)} is locked by another process; try again")
        try:
            yield
        finally:
            os.close(lock)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self.folder) if _NAME.fullmatch(name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"can't look at the folder {shown(self.folder)}: {error.strerror}") from None

    def _read(self, name: str) -> Record | None:
        """Raises ConfigError for a file that is damaged, or open to others."""
        if not _NAME.fullmatch(name):
            return None
        data = read_checked(self._path(name), what=_WHAT, limit=self._limits.key_file_max, private=True)
        return None if data is None else _decode(name, data, self._path(name))

    def _write(self, record: Record) -> None:
        replace(self._path(record.name), _encode(record), what=_WHAT)

    def _prune(self) -> None:
        now = self._clock()
        for name in self._names():
            try:
                record = self._read(name)
                old = record is None or not -KEPT <= now.wall - record.made.wall < record.seconds + KEPT
            except ConfigError:
                old = True  # damaged: nobody can use it
            if old:
                os.unlink(self._path(name))


def _encode(record: Record) -> bytes:
    values = record._asdict() | {"key": record.key.hex(), "made": list(record.made)}
    return json.dumps(values, ensure_ascii=True).encode("ascii") + b"\n"


def _decode(name: str, data: bytes, path: str) -> Record:
    """Raises ConfigError, whose text repeats nothing of the file."""
    damaged = ConfigError(f"the {_WHAT} {shown(path)} is damaged and so not used")
    try:
        values = json.loads(data)
        wall, up, boot = values["made"]
        record = Record(
            name=name,
            key=binascii.a2b_hex(values["key"]),
            seconds=float(values["seconds"]),
            made=Moment(float(wall), float(up), str(boot)),
            label=str(values["label"]),
            options=str(values["options"]),
            by=str(values["by"]),
            done=values["done"] is True,
            authorized_keys=str(values["authorized_keys"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        raise damaged from None
    if len(record.key) != KEY_SIZE or not 0 < record.seconds <= DEFAULT_LIMITS.invitation_time_max:
        raise damaged
    return record
