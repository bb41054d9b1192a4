"""put and get as a program sees them: what both fronts decide alike. No I/O but for the working directory.

Names are those of cp and scp. Faults of single files are the system's exceptions (FileNotFoundError, PermissionError, …) with `filename`;
several at once are one TransferError, as shutil.copytree has it. Neighbours: `blocking_files` and `async_files` move the bytes,
`transfer` reads and writes the files.
"""

from __future__ import annotations

import errno
import os

from remote_shell.client import faults
from remote_shell.client.conversation import Conversation
from remote_shell.client.process import Mode, ProcessState
from remote_shell.errors import CommandRefusedError, ConnectionLostError, TransferError, UsageError
from remote_shell.files import names
from remote_shell.transfer.progress import FileFault, LocalPaths, OnFault, OnProgress, Transferred
from remote_shell.transfer.receiving import Receiver
from remote_shell.transfer.sending import Sender
from remote_shell.wire.file_messages import NUMBERS_MAX, PATH_MAX
from remote_shell.wire.messages import Open, Rejected, to_system

_FAULTS_KEPT = 100_000  # of one put or get: a server may name more without end


def paths_of(paths: LocalPaths) -> list[bytes]:
    """One path or several, as bytes. Raises UsageError, ValueError for a NUL, OSError for what is too long for the system."""
    several = [paths] if isinstance(paths, str | bytes | os.PathLike) else list(paths)
    if not several or len(several) > NUMBERS_MAX:
        raise UsageError(f"{len(several)} sources; 1 to {NUMBERS_MAX:,} go at once: name the folder that they are in")
    encoded = [os.fsencode(path) for path in several]
    if any(b"\0" in path for path in encoded):
        raise ValueError("embedded null byte")
    if not all(encoded):
        raise UsageError("a path is empty; the working directory is '.'")
    for path in encoded:
        if len(path) > PATH_MAX:  # the server ends the session for it
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fsdecode(path))
    return encoded


def put_message(conversation: Conversation, sources: list[bytes], to: bytes) -> Open:
    """The `open` of a put. Raises CommandRefusedError: the server is too old."""
    return _message(
        conversation, "put", paths=[to_system(names.top_name(path)) for path in sources], to=to_system(to or b".")
    )


def get_message(conversation: Conversation, sources: list[bytes], recursive: bool) -> Open:
    """The `open` of a get. Raises CommandRefusedError: the server is too old."""
    return _message(conversation, "get", paths=[to_system(path) for path in sources], recursive=bool(recursive))


def _message(conversation: Conversation, request: str, **fields: object) -> Open:
    server = conversation.server
    if server is not None and "files" not in (server.features or ()):
        raise CommandRefusedError(
            f"{conversation.name} is older than {request}: update remote-shell there, or pass a tar archive through run"
        )
    return Open.of(request=request, id=conversation.new_id(), window=conversation.limits.window, **fields)


def noting(message: Open) -> ProcessState:
    """The state of such a request: what comes is kept in order."""
    state = ProcessState(message.id, message.id, Mode.HOLD, Mode.HOLD)
    state.noted = []
    return state


def refused(message: Open, answer: Rejected, name: str) -> Exception:
    """Why the server would not begin."""
    if answer.code != "bad_path" or message.to is None:
        return faults.refused(message, answer, name, message.request, None)
    where = os.fsencode(message.to) if isinstance(message.to, str) else b""
    return FileFault(where, names.errno_number(answer.errno), answer.detail).error()


def lost(error: ConnectionLostError, name: str) -> ConnectionLostError:
    """The session is gone in the middle of it."""
    text = f"the connection to {name} is lost; what arrived is kept, and the same command goes on from there"
    return ConnectionLostError(text, command_state=error.command_state)


class Watching:
    """Who wants to hear of a transfer: of its progress, and of each file that fails."""

    def __init__(self, on_progress: OnProgress | None, on_fault: OnFault | None) -> None:
        self._on_progress = on_progress
        self._on_fault = on_fault
        self._faults: list[FileFault] = []
        self.left: list[FileFault] = []  # partial files that a get left here when it was cut off

    def look(self, engine: Sender | Receiver) -> None:
        """Tell what is new."""
        for fault in engine.take_faults():
            if len(self._faults) < _FAULTS_KEPT:
                self._faults.append(fault)
            if self._on_fault is not None:
                self._on_fault(fault)
        if self._on_progress is not None:
            self._on_progress(engine.progress())

    def kept(self, left: list[FileFault]) -> None:
        """It was cut off, and these can be continued."""
        self.left = left

    def result(self, engine: Sender | Receiver) -> Transferred:
        """What was copied. Raises OSError, TransferError for what was not, unless each was told to `on_fault`."""
        self.look(engine)
        if self._faults and self._on_fault is None:
            if len(self._faults) == 1:
                raise self._faults[0].error()
            text = f"{engine.failed} were not copied; the first: {self._faults[0]}"
            raise TransferError(text, self._faults[0].number, tuple(self._faults))
        return Transferred(engine.files, engine.bytes, engine.resumed, tuple(self._faults))
