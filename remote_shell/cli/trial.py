"""A server for one client, in a process of its own that never outlives it: what `try` connects to.

A process and not a thread: the server changes signal dispositions and becomes a subreaper, which only the main thread of a
process of its own may do, and a client that waits for its terminal must not hold it up. It is forked, not started, so that it
loads while the client does. It ends when its control pipe does, however the client ended, even by SIGKILL; folder, socket
and all that its commands started go with it. Neighbours: `commands.try_`, `server.serving`.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from types import TracebackType

from remote_shell.errors import RemoteShellError

_START_TIME = 20.0  # seconds from the fork to an accepting server
_END_TIME = 5.0  # seconds from the end of the pipe to its end; then it is killed
_READY = b"ready"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Trial:
    """Use as a context manager: forks at the beginning, reaps at the end."""

    def __init__(self, *, verbose: bool = False, startup_files: bool = True) -> None:
        """`startup_files`: its live shells read the account's profile."""
        self._verbose = verbose
        self._startup_files = startup_files
        self._pid = 0
        self._control = -1
        self._news = -1
        self._folder = ""

    def __enter__(self) -> Trial:
        control_read, self._control = os.pipe2(os.O_CLOEXEC)
        self._news, news_write = os.pipe2(os.O_CLOEXEC)
        # Until there is a server that would remove the folder, nothing may end us.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            self._folder = _make_folder()
            self._pid = os.fork()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if self._pid == 0:
            os.close(self._control)
            os.close(self._news)
            _be_server(self._folder, control_read, news_write, self._verbose, self._startup_files)
        os.close(control_read)
        os.close(news_write)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._control)
        os.close(self._news)
        try:
            self._reap()
        finally:
            _remove(self._folder)  # it has done so itself, unless it was killed

    def target(self) -> str:
        """Where it listens, once it does. Raises RemoteShellError if it could not start."""
        said = b""
        deadline = time.monotonic() + _START_TIME
        while not said.startswith(_READY):
            ready = select.select([self._news], [], [], max(0.0, deadline - time.monotonic()))[0]
            part = os.read(self._news, 4096) if ready else b""
            if not part:
                why = said.decode("utf-8", "replace") or (
                    "it ended" if ready else f"not ready within {_START_TIME:g} s"
                )
                raise RemoteShellError(f"the server of our own did not start: {why}")
            said += part
        return f"unix:{self._folder}/s"

    def _reap(self) -> None:
        # Its parent's Ctrl-C is not to leave it behind: whoever waits here goes on waiting, which is bounded.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            descriptor = os.pidfd_open(self._pid)
            try:
                if not select.select([descriptor], [], [], _END_TIME)[0]:
                    os.kill(self._pid, signal.SIGKILL)
            finally:
                os.close(descriptor)
            os.waitpid(self._pid, 0)
        finally:
            signal.signal(signal.SIGINT, before)


def _be_server(folder: str, control: int, news: int, verbose: bool, startup_files: bool) -> None:
    """The child's whole life. Never returns."""
    try:
        os.setsid()  # the terminal's signals are the client's alone
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        os.dup2(nowhere, 1)
        _serve(folder, control, news, verbose, startup_files)
    except BaseException as error:
        _tell(news, f"{type(error).__name__}: {error}".encode("utf-8", "replace"))
    finally:
        _remove(folder)
        os._exit(0)  # not the client's own way out: its buffers and handlers are here in copy


def _serve(folder: str, control: int, news: int, verbose: bool, startup_files: bool) -> None:
    import asyncio
    from collections.abc import Mapping

    from remote_shell.cli import logs
    from remote_shell.config.server import ServerConfig
    from remote_shell.config.targets import Target
    from remote_shell.server.serving import serve

    def ready(facts: Mapping[str, object]) -> None:
        asyncio.get_running_loop().add_reader(control, client_left)
        _tell(news, _READY)

    def client_left() -> None:
        asyncio.get_running_loop().remove_reader(control)
        signal.raise_signal(signal.SIGTERM)

    logs.start("info" if verbose else "error")
    # private: without draining, there is nobody to drain for, nor to come back to a daemon
    config = ServerConfig(listen=(Target("unix", path=f"{folder}/s"),), startup_files=startup_files)
    asyncio.run(serve(config, ready=ready, private=True))


def _tell(news: int, text: bytes) -> None:
    try:
        os.write(news, text)
    except OSError:
        return  # the client is gone


def _make_folder() -> str:
    """A new folder, 0700, whose name is short enough for a socket's path. Raises RemoteShellError."""
    # Not $TMPDIR, which may be long: sun_path has 108 bytes
    path = f"/tmp/remote-shell-try-{os.getpid()}-{os.urandom(6).hex()}"  # noqa: S108  # its name can't be foreseen
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise RemoteShellError(f"can't make the folder {path}: {error.strerror}") from None
    return path


def _remove(folder: str) -> None:
    for remove, path in ((os.unlink, f"{folder}/s"), (os.rmdir, folder)):
        try:
            remove(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            print(f"remote-shell: can't remove {path}: {error.strerror}", file=sys.stderr)
