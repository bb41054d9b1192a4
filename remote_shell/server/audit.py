"""The audit trail: which requests leave which lines, and what becomes of a line that can't be written.

Commands go on without their lines, unless `required` was set: then what would begin is refused until they can be written. What ends, ends
either way. Lost lines are counted, and the count is the next line. Called from the loop and from the threads of transfers.
Neighbours: `remote_shell.audit` has events and file; docs/audit.md is the page for people.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from remote_shell.audit.appending import Appending
from remote_shell.audit.events import (
    Asked,
    Command,
    End,
    Event,
    LinesLost,
    LoginRefused,
    RefusalsCounted,
    Who,
    encode,
    text,
)
from remote_shell.config.checked import folder_fault
from remote_shell.config.paths import shown
from remote_shell.config.server import AuditConfig
from remote_shell.errors import CommandRefusedError, ConfigError
from remote_shell.limits import Limits

log = logging.getLogger("remote_shell.server")

Line = Literal["command", "transfer", "tunnel", "request", "none"]

# Every kind of request, and which line tells of it; a test enumerates them. "none": it only tells a principal about its own.
LINES: Mapping[str, Line] = {
    "exec": "command",
    "shell": "command",
    "put": "transfer",
    "get": "transfer",
    "connect": "tunnel",
    "listen": "tunnel",
    "accept": "tunnel",
    "attach": "request",
    "job_logs": "request",
    "job_wait": "request",
    "job_signal": "request",
    "job_remove": "request",
    "query": "none",
    "shells": "none",
    "jobs": "none",
}


class Trail:
    """One server's audit lines; without a file in its settings it writes nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: AuditConfig, limits: Limits) -> None:
        self._loop = loop
        self._config = config
        self._limits = limits
        self._file = Appending(config.file) if config.file is not None else None
        self._lock = threading.Lock()
        self._lost = 0
        self._trouble = ""
        self._refusals = 0  # in the present window
        self._window: asyncio.TimerHandle | None = None

    @property
    def on(self) -> bool:
        """Lines are written."""
        return self._file is not None

    @property
    def path(self) -> str | None:
        """Where to."""
        return None if self._file is None else self._file.path

    def open(self) -> None:
        """Raises ConfigError for a file that can't be used."""
        if self._file is None:
            return
        path = self._file.path
        try:
            self._file.open()
            self._file.look_at_end()
        except OSError as error:
            raise ConfigError(f"the audit file {shown(path)} can't be written: {error.strerror}") from None
        fault = folder_fault(path)
        if fault is not None:
            raise ConfigError(f"the audit file {shown(path)} is not safe: {fault}")

    def close(self) -> None:
        """The last line was written."""
        if self._window is not None:
            self._window.cancel()
            self._count_refusals()
        if self._file is not None:
            self._file.close()

    def write(self, event: Event, who: Who | None = None) -> bool:
        """Write a line. False: it is lost, and counted."""
        if self._file is None:
            return True
        if not self._config.argv and isinstance(event, Command):
            event = dataclasses.replace(event, argv=None, line=None)
        with self._lock:
            try:
                if self._lost:
                    self._append(LinesLost(self._lost, self._trouble), None)
                    log.warning("the audit file is written again; %d lines are lost", self._lost)
                    self._lost, self._trouble = 0, ""
                self._append(event, who)
            except OSError as error:
                self._lost += 1
                why = error.strerror or str(error)
                if why != self._trouble:
                    log.error("the audit file %s can't be written: %s", shown(self._file.path), why)
                    self._trouble = why
                return False
        return True

    def begin(self, event: Event, who: Who) -> None:
        """Write the line of what is about to begin. Raises CommandRefusedError where it must not begin without."""
        if not self.write(event, who) and self._config.required:
            raise CommandRefusedError(
                f"the server's audit file can't be written ({self._trouble}), and nothing is begun without it",
                "resources",
            )

    def starts(
        self,
        who: Who,
        command: str,
        kind: str,
        *,
        terminal: bool,
        cwd: bytes | None = None,
        argv: Sequence[bytes] | None = None,
        number: int | None = None,
        line: bytes | None = None,
    ) -> None:
        """A command is about to start. Raises CommandRefusedError as `begin` does."""
        if self._file is None:
            return
        words = None if argv is None else tuple(map(text, argv))
        where = None if cwd is None else text(os.path.normpath(cwd))
        self.begin(Command(command, kind, number, words, None if line is None else text(line), where, terminal), who)

    def ended(
        self,
        who: Who,
        command: str,
        kind: str,
        *,
        status: int | None,
        signal: str | None,
        seconds: float,
        timed_out: bool = False,
        number: int | None = None,
        pid: int | None = None,
        written: tuple[int | None, int | None] = (None, None),
    ) -> None:
        """It has ended. `written`: bytes on stdout and stderr."""
        if self._file is not None:
            how = (pid, status, signal, timed_out, milliseconds(seconds))
            self.write(End(command, kind, number, *how, *written), who)

    def for_job(self, command: str, who: Who) -> tuple[str, bytes] | None:
        """For a job's keeper, which may outlive us: the file, and of the line of its end what is known now."""
        if self._file is None:
            return None
        known = {"event": End.event, **who._asdict(), "command": command, "kind": "job"}
        return self._file.path, json.dumps(known, separators=(",", ":")).encode()[1:-1]

    def asked(self, request: str, command: str, signal: str | None, force: bool, who: Who) -> None:
        """Somebody asked for this: write a line if no other tells of it."""
        if self._file is not None and LINES[request] == "request":
            self.write(Asked(request, command, signal, force), who)

    def login_refused(self, source: str, reason: str) -> None:
        """A stranger was refused. Strangers must not fill the disk: in each minute only the first have lines, the others are counted."""
        if self._file is None:
            return
        if self._window is None:
            self._window = self._loop.call_later(self._limits.audit_refusals_window, self._count_refusals)
        self._refusals += 1
        if self._refusals <= self._limits.audit_refusals_max:
            self.write(LoginRefused(source, reason))

    def _count_refusals(self) -> None:
        self._window = None
        more = self._refusals - self._limits.audit_refusals_max
        self._refusals = 0
        if more > 0:
            self.write(RefusalsCounted(more, self._limits.audit_refusals_window))

    def _append(self, event: Event, who: Who | None) -> None:
        assert self._file is not None, "asked before"
        self._file.write(encode(event, who, time.time(), self._limits.audit_line_max))


class KeyWatch:
    """Looks whom authorized_keys lets in and what they may do, and tells of each change."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float,
        look: Callable[[], Mapping[str, tuple[str, object]]],
        tell: Callable[[tuple[str, ...], tuple[str, ...], tuple[str, ...], tuple[str, ...]], None],
    ) -> None:
        """`look` gives comments and rights by fingerprint.

        `tell` is called with those added, those removed, comments of the first, and those with other rights than before.
        """
        self._loop = loop
        self._interval = interval
        self._look = look
        self._tell = tell
        self._known = dict(look())
        self._timer = loop.call_later(interval, self._again)

    @property
    def known(self) -> tuple[str, ...]:
        """Fingerprints, as they were at the last look."""
        return tuple(self._known)

    def stop(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _again(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._again)
        found = self._look()
        before, self._known = self._known, dict(found)
        added = tuple(one for one in found if one not in before)
        removed = tuple(one for one in before if one not in found)
        changed = tuple(one for one in found if one in before and found[one][1] != before[one][1])
        if added or removed or changed:
            self._tell(added, removed, tuple(found[one][0] for one in added), changed)


def milliseconds(seconds: float) -> int:
    """As lines have them."""
    return int(seconds * 1000)
