"""The server of this account for `pipe`: the one that listens on the default socket, or a new one in the background.

The new one has a session of its own and no descriptor of ours, so it outlives the ssh session that it was started in. It listens on the
Unix socket alone, since nobody asked for more. Imports neither `socket` nor `subprocess`. Neighbour: `config.socket_lock` keeps a second
away.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
import struct
import sys
import time

from remote_shell.config.paths import config_dir, default_socket, expand_home, quoted, shown, state_dir
from remote_shell.config.socket_lock import hold
from remote_shell.errors import ConnectError

_UCRED = struct.Struct("3i")  # unix(7): pid, uid, gid
_START_TIME = 20.0  # seconds from the look for a server to one that accepts, another's start included
_ANSWER_TIME = 10.0  # a server that listens takes us within
_LOG_MAX = 1024 * 1024  # bytes; a larger log is moved aside at the next start
_LAST_WORDS = 2000  # bytes of a log


def reach_server(idle_exit: float) -> _socket.socket:
    """A connection to the server of this account. Raises ConnectError, ConfigError."""
    path = default_socket()
    deadline = time.monotonic() + _START_TIME
    lock = hold(path, _START_TIME)
    if lock is None:
        raise ConnectError(
            f"somebody else has been starting the server on {shown(path)} for {_START_TIME:g} s; "
            f"see {shown(_log_path())}"
        )
    try:
        sock = _connected(path)
        if sock is None:
            try:
                _start(path, idle_exit, deadline)
            except ConnectError:
                sock = _connected(path)  # one that somebody's `serve` started meanwhile has the address
                if sock is None:
                    raise
            else:
                sock = _connected(path)
    finally:
        os.close(lock)
    if sock is None:
        raise ConnectError(f"the server on {shown(path)} ended as soon as it was started; see {shown(_log_path())}")
    _check_owner(sock, path)
    return sock


def _connected(path: str) -> _socket.socket | None:
    """None if nobody listens there. Raises ConnectError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(_ANSWER_TIME)
        sock.connect(path)
        sock.settimeout(None)
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except OSError as error:
        sock.close()
        if isinstance(error, (TimeoutError, BlockingIOError)):
            raise ConnectError(
                f"the server on {shown(path)} does not answer; is its process stopped or overloaded?"
            ) from None
        raise ConnectError(f"can't connect to the socket {shown(path)}: {error.strerror or error}") from None
    return sock


def _check_owner(sock: _socket.socket, path: str) -> None:
    """Whoever connects through us can't see whose process listens, so we do. Raises ConnectError."""
    uid = _UCRED.unpack(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _UCRED.size))[1]
    if uid not in (0, os.geteuid()):
        sock.close()
        raise ConnectError(f"the server on {shown(path)} belongs to user id {uid}, not to {os.geteuid()} or root")


def _start(path: str, idle_exit: float, deadline: float) -> None:
    """Start one and wait until it accepts. Raises ConnectError with what it said."""
    log = _open_log()
    options = ["--listen", f"unix:{path}", "--idle-exit", f"{idle_exit:g}"]
    settings = os.path.join(config_dir(), "server.toml")
    if os.path.exists(settings):  # nobody is here to name another
        options += ["--config", settings]
    try:
        before = os.fstat(log).st_size
        news, news_write = os.pipe()
        nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-P", "-m", "remote_shell", "serve", *options],
                _environment(),
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, one, number) for number, one in enumerate((nowhere, news_write, log))
                ],
                setsid=True,  # a signal to the ssh session's processes is none to it
                setsigdef=[signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE],
                setsigmask=[],
            )
        except OSError as error:
            os.close(news)
            raise ConnectError(f"can't start a server with {shown(sys.executable)}: {error.strerror}") from None
        finally:
            os.close(nowhere)
            os.close(news_write)
        try:
            ended = _await(news, deadline)
        finally:
            os.close(news)
        if ended is not None:
            os.kill(pid, signal.SIGKILL)  # gone already, or late: it is still ours to name
            os.waitpid(pid, 0)
            said = os.pread(log, _LAST_WORDS, max(before, os.fstat(log).st_size - _LAST_WORDS))
            words = " / ".join(said.decode("utf-8", "replace").strip().splitlines()[-3:])
            raise ConnectError(
                f"the server here did not start: {words or ended}. To see more: remote-shell serve --listen unix:{quoted(path)}"
            )
    finally:
        os.close(log)


def _await(news: int, deadline: float) -> str | None:
    """Until it said that it is ready: None. Else what happened."""
    poll = select.poll()
    poll.register(news, select.POLLIN)
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        return "it was not ready in time"
    return None if os.read(news, 1) else "it ended without a word"


def _environment() -> dict[str, str]:
    """Without what belongs to this ssh session; a folder that was named from here is named from anywhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SSH_")}
    if kept.get("REMOTE_SHELL_HOME"):
        kept["REMOTE_SHELL_HOME"] = os.path.abspath(expand_home(kept["REMOTE_SHELL_HOME"]))
    return kept


def _log_path() -> str:
    return os.path.join(state_dir(), "server.log")


def _open_log() -> int:
    """Its log; one that has grown large is moved aside first."""
    path = _log_path()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        log = os.open(path, flags, 0o600)
        if os.fstat(log).st_size > _LOG_MAX:
            os.close(log)
            os.replace(path, f"{path}.1")
            log = os.open(path, flags, 0o600)
    except OSError as error:
        raise ConnectError(f"can't write the server's log {shown(path)}: {error.strerror}") from None
    return log
