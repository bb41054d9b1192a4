"""A shared connection for `remote-shell ssh`: how a call finds the process that holds one, and hands its command over.

That process (`remote-shell mux`) was started with the same options for the same host in the same surroundings, all of which its
socket's name stands for, and so knows everything that we would have to read first: of this start nearly all is Python's own. Our
descriptors 0, 1 and 2 go to it, and it answers with a status. Must import nothing that takes time, hence the C modules below
`socket` and `signal`. Never falls back to a connection of its own once a command was handed over: it might run twice.
Neighbours: cli's `commands.mux` is that process, `commands.ssh` does what this can't.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import os
import sys

from remote_shell import __version__
from remote_shell.config.paths import runtime_dir
from remote_shell.errors import ConfigError

# What `options.OPTIONS` says, without reading it: the letters that take an argument. A test compares the two.
TAKE_ARGUMENTS = "BbcDEeFIiJLlmOoPpQRSWw"
# Those whose argument may be a path of a file that counts from where we are.
_FILES = "FiEo"

READY = b"R"  # it listens, and is not stopped
READY_WITHOUT_STDIN = b"r"  # and its commands read nothing (-n)
REFUSED = b"N"  # nothing was run: do it yourself
STATUS = b"S"  # followed by one byte
LEAVE = b"L"  # from us: a signal came, whose number follows
GREETING_TIME = 1.0  # seconds for READY
_PIECE = 64 * 1024

# What ends ssh ends us, and with us the command: rsync ends its ssh by SIGUSR1, Ansible by SIGTERM.
LEAVING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1, _signal.SIGUSR2)
# What is offered to each command, and so must be the same in both processes; as `client.opening` has it.
_OFFERED = ("TERM", "LANG", "COLORTERM", "TZ")
_PATH_MAX = 107  # bytes; sun_path holds 108 with its NUL, unix(7)
# What decides where settings, keys and agents are.
_SURROUNDINGS = ("HOME", "REMOTE_SHELL_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "SSH_AUTH_SOCK", "USER", "LOGNAME")


class Call:
    """A command line, split only as far as is needed to find who may take it."""

    def __init__(self, options: list[str], host: str, command: list[str], here: bool) -> None:
        self.options = options  # with the host's own position kept: those before it, then those behind it
        self.host = host
        self.command = command
        self.here = here  # an option may name a file from the working directory on


def split(words: list[str]) -> Call | None:
    """None where that is not plain: no host, no command, or an option that nobody knows."""
    options: list[str] = []
    host, at, here, closed = "", 0, False, False
    while at < len(words):
        word = words[at]
        if word == "--" and not closed:
            closed = True
            at += 1
            continue
        if closed or not word.startswith("-") or word == "-":
            if host:
                break
            host = word
            at += 1
            continue
        at += 1
        if word.startswith("--"):  # an option of ours: what is traced shares no connection
            return None
        options.append(word)
        for index, letter in enumerate(word[1:], start=2):
            if letter in TAKE_ARGUMENTS:
                argument = word[index:]
                if not argument:
                    if at == len(words):
                        return None
                    argument = words[at]
                    options.append(argument)
                    at += 1
                here = here or (letter in _FILES and not argument.startswith(("/", "~")))
                break
    command = words[at:]
    if command[:1] == ["--"] and not closed:
        command = command[1:]
    here = here or (host.startswith("unix:") and not host.startswith(("unix:/", "unix:~")))
    return Call(options, host, command, here) if host and command else None


def socket_path(call: Call) -> str:
    """Where the process for such calls listens. Raises ConfigError.

    The name is a digest of what decides what such a process would do: with a changed file it is another process. Files that only
    a reader of these finds (-F, Include, keys) are its own to watch.
    """
    facts = [__version__, str(os.getuid()), *call.options, "", call.host, os.getcwd() if call.here else ""]
    environ = os.environ
    facts += [f"{name}={environ[name]}" for name in (*_SURROUNDINGS, *_OFFERED) if name in environ]
    facts += sorted(f"{name}={value}" for name, value in environ.items() if name.startswith("LC_"))
    for path in _settings_files():
        try:
            status = os.stat(path)
        except OSError:
            continue
        facts.append(f"{path}={status.st_mtime_ns},{status.st_size},{status.st_ino}")
    path = os.path.join(runtime_dir(), f"mux-{_digest(facts)}")
    if len(os.fsencode(path)) > _PATH_MAX:
        raise ConfigError(
            f"{path!a} is too long for a socket: {_PATH_MAX} bytes; set REMOTE_SHELL_HOME to a shorter one"
        )
    return path


def _settings_files() -> list[str]:
    home = os.environ.get("HOME") or "/"
    own = os.environ.get("REMOTE_SHELL_HOME") or os.path.join(
        os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config", "remote-shell"
    )
    return [f"{own}/hosts.toml", f"{own}/known_hosts", f"{home}/.ssh/config", "/etc/ssh/ssh_config"]


def _digest(facts: list[str]) -> str:
    data = "\0".join(facts).encode("utf-8", "surrogateescape")
    try:
        from _blake2 import blake2b  # hashlib takes 3 ms to look for what OpenSSL has
    except ImportError:
        from hashlib import blake2b
    return str(blake2b(data, digest_size=12).hexdigest())


def is_wanted() -> bool:
    """Not switched off for this account or program."""
    return os.environ.get("REMOTE_SHELL_MUX", "") != "0"


def hand_over(words: list[str]) -> int | None:
    """Have the command line run by who holds a connection; its status, or None where nobody does, and nothing was run."""
    call = split(words) if is_wanted() else None
    if call is None:
        return None
    if sys.stdout is None:  # ">&-": ssh gives its command one that takes all, while `main` has one that fails
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        try:
            sock.settimeout(GREETING_TIME)
            sock.connect(socket_path(call))
            greeting = sock.recv(1) if is_ours(sock) else b""
        except (OSError, ConfigError):
            return None
        if greeting not in (READY, READY_WITHOUT_STDIN):
            return None
        return _wait(sock, call, reads=greeting == READY)
    finally:
        sock.close()


def is_ours(sock: _socket.socket) -> bool:
    """The process at the other end is of this account, or root's: unix(7), SO_PEERCRED."""
    credentials = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    return uid in (os.getuid(), 0)


def encode(command: list[str], environment: dict[bytes, bytes]) -> bytes:
    """A request: its length, the number of words, the words, the environment; NUL ends each."""
    parts = [b"%d" % len(command), *map(os.fsencode, command)]
    parts += [name + b"=" + value for name, value in environment.items()]
    body = b"".join(part + b"\0" for part in parts)
    return len(body).to_bytes(4, "big") + body


def decode(body: bytes) -> tuple[list[str], dict[str, str]]:
    """The words and the environment of a request. Raises ValueError."""
    count, *parts = body.split(b"\0")[:-1]
    words = [os.fsdecode(part) for part in parts[: int(count)]]
    pairs = (os.fsdecode(part).partition("=") for part in parts[int(count) :])
    return words, {name: value for name, _, value in pairs}


def _wait(sock: _socket.socket, call: Call, *, reads: bool) -> int | None:
    """Once all of the request has left, the command is the other process's, whatever happens."""
    sock.settimeout(None)
    came: list[int] = []
    handed = False

    def leave(number: int, frame: object) -> None:
        if not came:  # what is left to do has a bound: the other process sees to it
            came.append(number)
            if not handed:  # nothing runs yet, and our word would stand in the middle of the request
                _signal.signal(number, _signal.SIG_DFL)
                os.kill(os.getpid(), number)
            try:
                sock.send(LEAVE + bytes([number]))
            except OSError:
                pass

    before = {number: handler for number in LEAVING if (handler := _signal.getsignal(number)) is not _signal.SIG_IGN}
    for number in before:
        _signal.signal(number, leave)
    # A terminal is read by us alone: who stops us by Ctrl-Z, or puts us into the background, has its keys for himself.
    stdin, keys = os.pipe() if reads and os.isatty(0) else (0, -1)
    try:
        request = encode(call.command, dict(os.environb))
        descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (stdin, 1, 2))
        sent = sock.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)])
        while sent < len(request):  # sendall would send nothing once more, and find that who has answered is gone
            sent += sock.send(request[sent : sent + _PIECE])
        handed = True
        if keys >= 0:
            os.close(stdin)
            _pass_keys(sock, keys)
        answer = sock.recv(2)
        if answer == STATUS:
            answer += sock.recv(1)
    except OSError:
        answer = b"" if handed else REFUSED  # of a part of a request nothing is run
    if came:
        _signal.signal(came[0], _signal.SIG_DFL)
        os.kill(os.getpid(), came[0])
    if len(answer) == 2 and answer[:1] == STATUS:
        return answer[1]
    if answer == REFUSED:
        for number, handler in before.items():
            _signal.signal(number, handler)
        return None
    sys.stderr.write(
        "remote-shell: the process that held the shared connection ended; whether the command ran is not known. "
        "REMOTE_SHELL_MUX=0 does without one\n"
    )
    return 255


def _pass_keys(sock: _socket.socket, keys: int) -> None:
    """From the terminal to the pipe that is the command's stdin, until that has ended, or there is an answer."""
    from select import poll

    waiting = poll()
    waiting.register(sock, 1)  # POLLIN
    waiting.register(0, 1)
    waiting.register(keys, 0)  # POLLERR: nobody reads it any more
    try:
        while [number for number, _ in waiting.poll()] == [0]:
            data = os.read(0, 4096)
            if not data:
                break
            while data:  # it waits while nobody takes them, as it does for any pipe
                data = data[os.write(keys, data) :]
    except OSError:
        pass  # the terminal hung up, or the command reads no more
    os.close(keys)


def _is_held(path: str) -> bool:
    """Whether a process listens there. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.connect(path)
    except BlockingIOError:
        pass  # so many wait for it
    except OSError:
        return False
    finally:
        sock.close()
    return True


def share(words: list[str]) -> None:
    """Start a process that holds a connection for the next calls like this one. Never fails: they can do without."""
    import subprocess

    call = split(words)
    if call is None:
        return
    try:
        if _is_held(socket_path(call)):
            return  # it was quicker, or had no room for us
        argv = [sys.executable, "-P", "-m", "remote_shell", "mux", *call.options, "--", call.host]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=None if call.here else "/",
        )
        process.returncode = 0  # init waits for it
    except (OSError, ConfigError):
        pass
