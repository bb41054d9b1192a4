"""Finding a program and starting it: Popen, its pidfd, and honest errors.

Must never leak a descriptor or leave a child behind on failure, nor use `preexec_fn` (it loses vfork). Neighbours: `pipes`
and `shell` start their processes here; `children` is told of each.

Each command leads a session of its own, not only a process group: a server started from a terminal would else have that
terminal as its commands' controlling terminal, where sudo and ssh ask for passwords and are stopped by SIGTTIN. sshd does so too.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence

from remote_shell.errors import (
    CommandError,
    CommandNotExecutableError,
    CommandNotFoundError,
    CommandRefusedError,
    CommandTooLongError,
    WorkingDirectoryError,
)
from remote_shell.process import children, starter
from remote_shell.process.environment import DEFAULT_PATH

_DEFAULT_PATH = DEFAULT_PATH.encode()
_NO_RESOURCES = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE))
_EXHAUSTED = "; the machine is out of processes, memory or descriptors: try again later"


def spawn(
    argv: Sequence[bytes],
    *,
    cwd: bytes,
    env: Mapping[bytes, bytes],
    stdin: int,
    stdout: int,
    stderr: int,
    pass_fds: Sequence[int] = (),
    wrapper: Sequence[bytes] = (),
    confined: Sequence[bytes] = (),
) -> tuple[subprocess.Popen[bytes], int]:
    """Start `argv` in its own session; returns it and a pidfd on it. The caller's descriptors stay the caller's.

    `wrapper` is a command that makes the session itself and then becomes the program: setsid(1) for a controlling terminal. `confined`
    come after it and before the program: the words of a `confinement`.
    CommandNotFoundError, CommandNotExecutableError, WorkingDirectoryError, or CommandRefusedError.
    """
    _refuse_nonsense(argv, cwd, env)
    program = find_program(argv[0], cwd, env)
    if wrapper or confined:
        _check_program(argv[0], program, cwd)  # who starts the wrapper hears nothing of what it can't start
        argv = confine(argv, program, (*wrapper, *confined), env) if confined else [*wrapper, program, *argv[1:]]

    def popen(stdin: int, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            executable=argv[0] if wrapper or confined else program,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=cwd,
            env=env,
            pass_fds=pass_fds,
            start_new_session=not wrapper,  # setsid(1) forks if it is a leader already
        )

    try:
        with children.starting:
            if stdout >= starter.MANY and not pass_fds:  # descriptors have the lowest free numbers
                process = starter.start(popen, (stdin, stdout, stderr))
            else:
                process = popen(stdin, stdout, stderr)
            children.note(process.pid)
    except OSError as error:
        raise _start_error(error, argv[0], program, cwd) from error
    try:
        return process, os.pidfd_open(process.pid)
    except OSError as error:
        abandon(process)
        raise _start_error(error, argv[0], program, cwd) from error


def program_of(argv: Sequence[bytes], cwd: bytes, env: Mapping[bytes, bytes]) -> bytes:
    """The file that `argv` would start, for who starts it elsewhere. Raises what `spawn` would, as far as can be seen before."""
    _refuse_nonsense(argv, cwd, env)
    program = find_program(argv[0], cwd, env)
    _check_program(argv[0], program, cwd)
    return program


def confine(argv: Sequence[bytes], program: bytes, words: Sequence[bytes], env: Mapping[bytes, bytes]) -> list[bytes]:
    """`argv` behind words that become it, for `program` was found; under its own name where they look it up as we did: execvp(3).

    Raises CommandRefusedError for a name that the last of them, env(1), takes for a variable.
    """
    name = argv[0] if b"/" in argv[0] or b"PATH" in env else program
    if b"=" in name:
        raise CommandRefusedError(f"{show(name)}: a name with = in it can't be started behind limits or in a sandbox")
    return [*words, name, *argv[1:]]


def failure_of(number: int, tried: str, argv: Sequence[bytes], program: bytes, cwd: bytes) -> CommandError:
    """What it means that it was started elsewhere and failed with errno `number` where "cwd" or "program" was tried, or something else."""
    error = OSError(number, os.strerror(number))
    error.filename = {"cwd": cwd, "program": program}.get(tried)
    return _start_error(error, argv[0], program, cwd)


def abandon(process: subprocess.Popen[bytes]) -> None:
    """End a process that was just started and can't be watched."""
    try:
        os.killpg(process.pid, signal.SIGKILL)  # not reaped yet, so the number is its own
    except ProcessLookupError:  # behind a wrapper, which has not made the group yet
        process.kill()
    process.wait()
    children.forget(process.pid)


def find_program(name: bytes, cwd: bytes, env: Mapping[bytes, bytes]) -> bytes:
    """The file that `name` means, looked up as execvp(3) does, in the PATH of the given environment."""
    if not name:
        raise CommandNotFoundError("the command is an empty string", "")
    if b"/" in name:
        return _join(cwd, name)  # the kernel judges it
    path = env.get(b"PATH", _DEFAULT_PATH)
    folders = path.split(b":")
    for folder in folders:
        candidate = folder + b"/" + name if folder[:1] == b"/" else _join(cwd, _join(folder, name))
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    _check_directory(cwd)
    for folder in folders:
        candidate = _join(cwd, _join(folder, name))
        if os.path.lexists(candidate):
            raise _not_executable(name, candidate)
    text = f"{show(name)}: command not found in PATH={show(path)}; give its full path, or set PATH"
    raise CommandNotFoundError(text, os.fsdecode(name))


def show(data: bytes) -> str:
    """Bytes from the system as text that can be printed anywhere."""
    return data.decode("utf-8", "backslashreplace")


def _join(folder: bytes, name: bytes) -> bytes:
    return name if name.startswith(b"/") or not folder else folder + b"/" + name


def _refuse_nonsense(argv: Sequence[bytes], cwd: bytes, env: Mapping[bytes, bytes]) -> None:
    if not argv:
        raise CommandRefusedError("no command was given")
    if b"\0" in b"".join(argv):
        raise CommandRefusedError("a word of the command contains a NUL byte, which no program can receive")
    if b"\0" in cwd:
        raise CommandRefusedError("the directory's name contains a NUL byte")
    names = b"\0".join(env)  # looked at as a whole: one by one they cost every start more than all else in here
    if not (b"=" in names or b"" in env or names.count(b"\0") >= len(env) or b"\0" in b"".join(env.values())):
        return
    for key, value in env.items():
        if not key or b"=" in key or b"\0" in key or b"\0" in value:
            raise CommandRefusedError(
                f"the variable {show(key)!r} can't be set: a name is not empty, without = and NUL"
            )


def _check_program(name: bytes, program: bytes, cwd: bytes) -> None:
    """Raise what the kernel would say of a program that can't be started, as far as can be seen before."""
    _check_directory(cwd)
    if not os.path.lexists(program):
        text = f"{show(name)}: no such file on the server; check the path"
        raise CommandNotFoundError(text, os.fsdecode(name))
    if not os.path.isfile(program) or not os.access(program, os.X_OK):
        raise _not_executable(name, program)


def _check_directory(cwd: bytes) -> None:
    """Raise WorkingDirectoryError if `cwd` can't be entered."""
    try:
        fd = os.open(cwd, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _bad_directory(cwd, error.errno) from error
    os.close(fd)
    if not os.access(cwd, os.X_OK):
        raise _bad_directory(cwd, errno.EACCES)


def _bad_directory(cwd: bytes, number: int | None) -> WorkingDirectoryError:
    reason = os.strerror(number or errno.ENOENT)
    text = f"cannot enter the directory {show(cwd)}: {reason}; choose one that exists on the server"
    return WorkingDirectoryError(text, os.fsdecode(cwd), number)


def no_resources(error: OSError) -> CommandRefusedError:
    """For a system call that failed because descriptors, memory or processes ran out. The code says what to do: to wait."""
    return CommandRefusedError(f"cannot fork: {os.strerror(error.errno or 0)}{_EXHAUSTED}", "resources")


def _start_error(error: OSError, name: bytes, program: bytes, cwd: bytes) -> CommandError:
    """What a failure of Popen means. It names the directory if chdir failed, the program if execve did, else nothing."""
    if error.errno in _NO_RESOURCES:
        return no_resources(error)
    if (
        error.errno == errno.E2BIG
    ):  # execve(2): one word of 128 KiB, or words and environment together; waiting is of no use
        text = f"cannot start {show(name)}: {os.strerror(error.errno)}; shorten it, or send the data on stdin"
        return CommandTooLongError(text, os.fsdecode(name))
    if error.filename == cwd and program != cwd:
        return _bad_directory(cwd, error.errno)
    if error.filename is None:
        return CommandRefusedError(
            f"cannot start {show(name)}: {os.strerror(error.errno or 0)}{_EXHAUSTED}", "resources"
        )
    try:
        _check_directory(cwd)  # a relative program in a missing directory is the directory's fault
    except WorkingDirectoryError as fault:
        return fault
    if error.errno == errno.ENOENT and not os.path.lexists(program):
        text = f"{show(name)}: no such file on the server; check the path"
        return CommandNotFoundError(text, os.fsdecode(name))
    return _not_executable(name, program, error.errno)


def _not_executable(name: bytes, program: bytes, number: int | None = None) -> CommandNotExecutableError:
    where = show(program)
    try:
        mode = os.stat(program).st_mode
    except OSError as error:
        mode = 0
        number = error.errno
    if stat.S_ISDIR(mode):
        text = f"{where} is a directory, not a program"
    elif number == errno.ENOEXEC:
        text = f"{where}: unknown format; a script needs a first line such as #!/bin/sh"
    elif number == errno.ENOENT and mode:
        text = f"{where}: the interpreter that its first line names (or its loader) is missing"
    elif number in (None, errno.EACCES):
        text = f"{where}: permission denied; try chmod +x, or look at the mount's noexec"
    else:
        text = f"{where}: {os.strerror(number)}"
    return CommandNotExecutableError(text, os.fsdecode(name), number)
