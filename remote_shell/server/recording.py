"""Recordings: what a terminal here showed, as asciicast v2 (docs.asciinema.org/manual/asciicast/v2), for `remote-shell replay`.

Output and sizes are in it. Keys never are: what is typed appears where its echo does, so what is typed unseen nowhere. In a live shell the
echo is the client's, so a command's line, and a line given to a program that reads lines and echoes them, are written as it showed them.
Each event is one write(2), so a server that is killed leaves whole lines. Neighbours: `requests.exec` and `requests.shell` have
terminals, `terminal.cast` reads.
"""

from __future__ import annotations

import codecs
import errno
import json
import logging
import os
import re
import time
from collections.abc import Callable

from remote_shell.audit.appending import stamp
from remote_shell.audit.events import Recording, RecordingCut, Who
from remote_shell.config.paths import check_folder, shown
from remote_shell.config.server import RecordingConfig
from remote_shell.errors import CommandRefusedError, ConfigError
from remote_shell.limits import Limits
from remote_shell.process.pty import Size
from remote_shell.server.audit import Trail

log = logging.getLogger("remote_shell.server")

NOTICE = b"remote-shell: what this terminal shows is recorded\r\n"
OVER = b"\r\nremote-shell: this terminal can't be recorded any longer, and so it ends\r\n"
_PIECE = 16 * 1024  # bytes of output in one event
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Recorder:
    """One terminal's recording."""

    def __init__(
        self, path: str, size: Size, head: bytes, most: int, clock: Callable[[], float], on_cut: Callable[[str], None]
    ) -> None:
        """`most` bytes; `on_cut` is told why nothing more is written. Raises OSError."""
        self.path = path
        self._window = size
        self._most = most
        self._clock = clock
        self._on_cut = on_cut
        self._began = clock()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_line_start = True
        self._size = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._write(head)
        except BaseException:
            self.discard()
            raise

    def output(self, data: bytes) -> None:
        """The terminal was sent this."""
        for at in range(0, len(data), _PIECE):
            self._output(self._decoder.decode(data[at : at + _PIECE]))

    def command(self, line: bytes) -> None:
        """A live shell was given this line; the prompt was the client's, too."""
        self._output(("" if self._at_line_start else "\r\n") + "$ " + _echo(line) + "\r\n")

    def echoed(self, line: bytes, *, ended: bool) -> None:
        """The client's own terminal showed this line as it was typed. `ended`: and went to the next."""
        self._output(_echo(line) + ("\r\n" if ended else ""))

    def resize(self, size: Size) -> None:
        """Another size."""
        if size != self._window:  # a live shell is told before each command
            self._window = size
            self._event("r", f"{size.columns}x{size.rows}")

    def close(self) -> None:
        """The terminal is gone."""
        if self._fd >= 0:
            self._output(self._decoder.decode(b"", final=True))
        self._close()

    def discard(self) -> None:
        """There was no terminal after all."""
        self._close()
        os.unlink(self.path)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _output(self, text: str) -> None:
        if text:
            self._at_line_start = text.endswith("\n")
            self._event("o", text)

    def _event(self, kind: str, text: str) -> None:
        if self._fd < 0:
            return
        line = self._line(kind, text)
        full = f"the recording is cut: it has {self._most} bytes"
        try:
            if self._size + len(line) <= self._most - len(self._line("m", full)):
                self._write(line)
                return
            self._write(self._line("m", full))
            why = full
        except OSError as error:
            why = error.strerror or str(error)
        self._close()
        self._on_cut(why)

    def _line(self, kind: str, text: str) -> bytes:
        at = round(max(0.0, self._clock() - self._began), 6)
        return json.dumps([at, kind, text], ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    def _write(self, line: bytes) -> None:
        count = os.write(self._fd, line)
        if count != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        self._size += count


def _echo(line: bytes) -> str:
    """As a terminal shows what is typed: control characters with a caret, and each line at its beginning."""
    text = _CONTROL.sub(lambda found: "^" + chr(ord(found[0]) ^ 0x40), line.decode("utf-8", "replace"))
    return text.replace("\n", "\r\n")


class Recordings:
    """All of a server's; without a folder in its settings there are none."""

    def __init__(self, config: RecordingConfig, limits: Limits, trail: Trail, clock: Callable[[], float]) -> None:
        self._config = config
        self._limits = limits
        self._trail = trail
        self._clock = clock
        self._made = 0

    @property
    def notice(self) -> bytes:
        """What a recorded terminal shows first."""
        return NOTICE if self._config.notice else b""

    def open(self) -> None:
        """Make the folder, if there is to be one. Raises ConfigError."""
        folder = self._config.folder
        if folder is None:
            return
        try:
            os.makedirs(folder, 0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"can't make the folder {shown(folder)} for recordings: {error.strerror}") from None
        check_folder(folder, private=True)

    def begin(self, command: str, who: Who, size: Size, term: bytes, end: Callable[[], None]) -> Recorder | None:
        """Record a terminal that is about to be; None where none are recorded. Raises CommandRefusedError where it must be and can't.

        `end` ends it; called from within `Recorder` where it must be recorded and can't any longer.
        """
        folder = self._config.folder
        if folder is None:
            return None
        now = time.time()
        self._made += 1
        name = f"{stamp(now).replace(':', '').replace('-', '')}-{who.session}-{self._made}.cast"
        path = os.path.join(folder, name)
        head = {
            "version": 2,
            "width": size.columns,
            "height": size.rows,
            "timestamp": int(now),
            "env": {"TERM": term.decode("utf-8", "replace")},
        }

        def cut(why: str) -> None:
            log.error("%s: %s", shown(path), why)
            self._trail.write(RecordingCut(command, path, why), who)

        def cut_later(why: str) -> None:
            cut(why)
            if self._config.required:
                end()

        try:
            first = json.dumps(head).encode() + b"\n"
            made = Recorder(path, size, first, self._limits.recording_max, self._clock, cut_later)
        except OSError as error:
            cut(error.strerror or str(error))
            if self._config.required:
                text = f"this server records terminals, and can't now: {error.strerror}"
                raise CommandRefusedError(text, "resources") from None
            return None
        self._trail.write(Recording(command, path), who)
        return made
