"""`remote-shell ssh [ssh's options] HOST [COMMAND…]`: what programs that call ssh expect of it, over our own protocol.

Its status is the command's, or 255 for everything else, as ssh's is. Nothing of ours is ever on stdout, and without a terminal nobody is
asked. Every rsync, git and Ansible task passes here, so argparse and asyncio are not imported on the way. Neighbours: `remote_shell.ssh`
knows options, files and names, `cli.raw` is a person at a terminal.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any

from remote_shell import DEVNULL, PIPE, __version__
from remote_shell.cli import exit_status
from remote_shell.cli.main import complain, describe
from remote_shell.errors import ConfigError, RemoteShellError, UnknownServerError, UsageError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.ssh import mux
from remote_shell.ssh.options import CommandLine, parse
from remote_shell.ssh.places import Place, find
from remote_shell.ssh.settings import Settings, Tunnel

FAILED = 255  # ssh(1), exit status
# What ends ssh ends us, and with us the command: rsync ends its ssh by SIGUSR1, Ansible by SIGTERM.
_LEAVING = mux.LEAVING
# sshd starts a login shell where there is no command; on pipes the protocol has no word for it, but the account's shell has.
_LOGIN_SHELL = 'exec "$SHELL" -l'

HELP = """\
usage: remote-shell ssh [ssh's options] [user@]HOST [COMMAND…]

One command on HOST, or without one a shell, called as ssh is called: for
rsync -e, GIT_SSH_COMMAND, BORG_RSH, and with the program remote-shell-ssh for
sftp -S, scp -S and Ansible's ansible_ssh_executable.

HOST is a name of hosts.toml, or a host whose remote-shell server listens on
port 8822, or on -p PORT. ~/.ssh/config gives it another address (HostName), an
account and a key; a Port there is sshd's. The words of COMMAND are joined by
blanks and run by the account's shell there. user@ is refused unless it is the
account that the server runs as.

--trace prints each frame that crosses, --trace=FILE keeps them (remote-shell
trace FILE shows them). --allow title, clipboard or all says what a program may
do to our terminal besides drawing. Such calls share no connection.

options of ssh(1) are served, ignored where nothing depends on them, or refused
by name:
  served   -E -e -F -f -G -g -i -L -l -N -n -o -p -q -R -S -s -T -t -V -v -W
  ignored  -4 -6 -a -C -c -k -M -m -x -y
  refused  -A -B -b -D -I -J -K -O -P -Q -w -X -Y

exit status: the command's own; 255 for a signal that ended it, and for every
failure of ours

examples:
  rsync -a -e 'remote-shell ssh' src/ build-box:src/
  GIT_SSH_COMMAND='remote-shell ssh' git clone build-box:project
  BORG_RSH='remote-shell ssh' borg create build-box:backup::today ~/work
  sftp -S remote-shell-ssh build-box
"""


class LeftByTunnelError(Exception):
    """A tunnel can't listen, and ExitOnForwardFailure says that it is a failure; it was told."""


class LeftError(BaseException):
    """A signal that ends us came. Not an Exception, as KeyboardInterrupt is none."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(words: list[str]) -> int:
    """Run the command line behind `remote-shell ssh`; returns the exit status."""
    if words in (["--help"], ["-h"]):
        print(HELP, end="")
        return 0
    if sys.stdout is None:  # ">&-": ssh gives its command one that takes all, while `main` has one that fails
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until a command runs there is nothing to take leave of, and an exception out of the blue breaks imports and libraries.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return _run(parse(words), words)
    except KeyboardInterrupt:  # at a question
        return exit_status.leave_by_signal("SIGINT")
    except LeftError as left:
        return exit_status.leave_by_signal(signal.Signals(left.number).name)
    except (BrokenPipeError, LeftByTunnelError):  # nobody reads our stdout any more
        return FAILED
    except UnknownServerError as error:
        complain(_introduction(error))
        return FAILED
    except Exception as error:
        complain(describe(error))
        return FAILED


def _run(line: CommandLine, words: list[str]) -> int:
    if line.prints_version:
        print(f"remote-shell {__version__}, called as ssh", file=sys.stderr)
        return 0
    settings = line.settings
    if line.log_file is not None:
        _say_into(line.log_file)
    if settings.is_quiet:
        _say_into(os.devnull)
    place = find(line)
    if settings.is_quiet:  # a file may say so too
        _say_into(os.devnull)
    if line.prints_settings:
        _print_settings(line, place)
        return 0
    if settings.is_verbose:
        for note in settings.notes:
            complain(note)
        complain(f"{place.name} is {place.target}")
    errand = _Errand(line, place, words)
    return _in_background(errand) if errand.background else errand.run()


class _Errand:
    """What should run, and with which streams."""

    def __init__(self, line: CommandLine, place: Place, words: list[str]) -> None:
        """Raises UsageError."""
        settings = line.settings
        self._line = line
        self._words = words
        self.place = place
        self._settings = settings
        command, remote = " ".join(line.words), settings.remote_command
        if command and remote:
            raise UsageError("a command was given, and RemoteCommand names one too; leave one of them away")
        self.command = command or remote
        self.subsystem = settings.text("sessiontype").lower() == "subsystem"
        self.nothing = settings.text("sessiontype").lower() == "none"
        if line.joined is not None and self.command:
            raise UsageError("-W runs nothing, and a command was given; leave one of them away")
        if self.nothing and self.command:
            raise UsageError("-N runs nothing, and a command was given; leave one of them away")
        if self.subsystem and not self.command:
            raise UsageError("-s needs the name of a subsystem behind the host: sftp")
        self.background = settings.flag("forkafterauthentication")
        if self.background and not (self.command or self.nothing or line.joined is not None):
            raise UsageError("-f needs a command to leave running, or -N")
        self.no_stdin = self.background or settings.flag("stdinnull")
        self.terminal = self._wants_terminal()
        self._allowed = place.allowed if line.allow is None else _allowed(line.allow)

    def _wants_terminal(self) -> bool:
        """As ssh.c decides it."""
        wish = self._settings.terminal
        if self.subsystem or self.nothing or self._line.joined is not None or wish == "no":
            return False
        if wish == "force":
            return True
        if self.no_stdin or not os.isatty(0):
            if wish == "yes":
                complain("there will be no terminal, since stdin is none; -tt gives one in any case")
            return False
        return wish == "yes" or not self.command

    def run(self, started: Callable[[], None] = lambda: None) -> int:
        """To its end; `started` is called when the command runs. Raises what the client raises, and LeftError."""
        if self.terminal and not self.no_stdin and os.isatty(0) and os.isatty(1):
            return self._person()
        from remote_shell.cli.notices import Notices
        from remote_shell.cli.passing import ended_on_error, timer
        from remote_shell.ssh.remote import open_remote

        target = self.place.target
        on_state = Notices(str(target), complain, timer).on_state if os.isatty(2) else None
        with _Leaving() as leaving, open_remote(self.place, self._answers() | self._trace(), on_state) as host:
            leaving.begin()
            if self._line.joined is not None:
                return self._join(host, self._line.joined, started)
            if not self._open_tunnels(host):
                return FAILED
            if self.nothing:
                started()
                host.wait_lost()
                return FAILED
            process = host.popen(**self._arguments(), stdin=DEVNULL if self.no_stdin else None)
            with (
                ended_on_error(process),
                self._shown(process),
                _raw(self.terminal and not self.no_stdin, process.resize),
            ):
                started()
                try:
                    process.communicate()
                except LeftError:
                    end_gently(process, terminal=self.terminal)
                    raise
            end = process.result
        if mux.is_wanted() and self._line.is_shareable and not self.terminal:
            mux.share(self._words)  # not before: a signal meanwhile would meet nobody who takes leave of the command
        assert end is not None, "it ended"
        return FAILED if end.signal is not None else end.status or 0

    def _join(self, host: Any, to: tuple[str, int], started: Callable[[], None]) -> int:
        """-W: until both sides have ended. There are no other tunnels then, as in ssh."""
        connection = host.open_connection(to, stdin=DEVNULL if self.no_stdin else None, stdout=None)
        started()
        connection.communicate()
        return FAILED if connection.returncode else 0

    def _shown(self, process: Any) -> AbstractContextManager[None]:
        if not (os.isatty(1) or os.isatty(2)):
            return nullcontext()
        from remote_shell.cli.showing import shown

        return shown(process, self._allowed, terminal=self.terminal)

    def _open_tunnels(self, host: Any) -> bool:
        """-L and -R. False if one can't listen and that was to be a failure. They end with the connection."""
        for one in self._settings.tunnels:
            try:
                tunnel = host.forward(
                    (one.address or "localhost", one.port),
                    (one.host, one.host_port),
                    reverse=one.reverse,
                    on_error=complain,
                )
            except (RemoteShellError, OSError) as error:
                if not self._cannot_listen(one, error):
                    return False
            else:
                _tell_port(one, tunnel.address[1])
        return True

    def _cannot_listen(self, tunnel: Tunnel, error: Exception) -> bool:
        complain(
            f"{'-R' if tunnel.reverse else '-L'} {tunnel.port}:{tunnel.host}:{tunnel.host_port}: {describe(error)}"
        )
        return not self._settings.flag("exitonforwardfailure")

    async def _start_there(self, host: Any, arguments: dict[str, Any]) -> Any:
        """For the asyncio client, at a terminal."""
        for one in self._settings.tunnels:
            try:
                tunnel = await host.forward(
                    (one.address or "localhost", one.port),
                    (one.host, one.host_port),
                    reverse=one.reverse,
                    on_error=complain,
                )
            except (RemoteShellError, OSError) as error:
                if not self._cannot_listen(one, error):
                    raise LeftByTunnelError from None
            else:
                _tell_port(one, tunnel.address[1])
        return await host.popen(**arguments, stdin=PIPE, stdout=PIPE)

    def _person(self) -> int:
        """At a terminal: escapes, and a word when the link is cut."""
        from remote_shell.cli.raw import perform_on_terminal

        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # which asyncio replaces by its own
        arguments = self._arguments()
        return perform_on_terminal(
            self.place.target,
            self._answers(asked=False) | self.place.options | self._trace() | {"grace": DEFAULT_LIMITS.terminal_grace},
            lambda host: self._start_there(host, arguments),
            allowed=self._allowed,
            escape=self._settings.escape,
            signalled=lambda name: FAILED,
        )

    def _trace(self) -> dict[str, Any]:
        if self._line.trace is None:
            return {}
        from remote_shell.cli.tracing import opened

        return {"trace": opened(self._line.trace)}

    def _answers(self, *, asked: bool = True) -> dict[str, Any]:
        """Who is asked for a passphrase and about an unknown server: nobody, if that was said. `asked`: or who else is."""
        from remote_shell.cli.asking import answers

        found = {name: _interruptible(ask) for name, ask in answers().items()} if asked else {}
        if self._settings.flag("batchmode"):
            return {"ask": None, "confirm": None}
        if self._settings.flag("stricthostkeychecking"):
            found["confirm"] = None
        return found

    def _arguments(self) -> dict[str, Any]:
        return command_arguments(
            self._settings, self.command, dict(os.environ), subsystem=self.subsystem, terminal=self.terminal
        )


def _allowed(text: str) -> frozenset[str]:
    """--allow. Raises UsageError."""
    from argparse import ArgumentTypeError  # few calls have it

    from remote_shell.cli.arguments import allowed

    try:
        return allowed(text)
    except ArgumentTypeError as error:
        raise UsageError(f"--allow {error}") from None


def _tell_port(tunnel: Tunnel, port: int) -> None:
    if not tunnel.port:
        complain(f"allocated port {port} {'there' if tunnel.reverse else 'here'} for {tunnel.host}:{tunnel.host_port}")


def command_arguments(
    settings: Settings, command: str, environment: dict[str, str], *, subsystem: bool, terminal: bool
) -> dict[str, Any]:
    """What `popen` of either client is called with, but for the streams. `environment` is the caller's."""
    from remote_shell.client.opening import Pty, Subsystem

    added = settings.environment(environment)
    pty = Pty.here() if terminal else None
    if pty is not None and added.get("TERM"):
        pty = pty._replace(term=added["TERM"])
    what: dict[str, Any] = {"args": command, "shell": "account"}
    if subsystem:
        what = {"args": Subsystem(command)}
    elif not command:
        what = {"args": None} if pty is not None else {"args": _LOGIN_SHELL, "shell": "account"}
    return what | {"env_add": added or None, "pty": pty}


def end_gently(process: Any, *, terminal: bool) -> None:
    """Have the command end by itself, which takes a moment: an rsync that receives puts away the part of the file that it has.

    sshd closes the command's stdin instead, which `cat > file && mv file …` takes for the end of the file.
    """
    from remote_shell.client.results import TimeoutExpired

    process.discard()
    process.send_signal(signal.SIGHUP if terminal else signal.SIGTERM)
    try:
        process.communicate(timeout=DEFAULT_LIMITS.kill_grace)
    except TimeoutExpired:
        pass  # the goodbye ends all that is left


class _Leaving:
    """From `begin` on, signals that would end ssh raise LeftError where we wait; those that were ignored stay so."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Leaving:
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def begin(self) -> None:
        """There is something to take leave of from here on."""
        for number in _LEAVING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._leave)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        from remote_shell.client.blocking import interrupt

        for other in self._before:
            signal.signal(other, signal.SIG_IGN)  # what is left to do has a bound: the goodbye
        interrupt(LeftError(number))


def _interruptible(ask: Callable[[str], Any] | None) -> Callable[[str], Any] | None:
    """`ask`, with Ctrl-C as an exception: the terminal shows no keys meanwhile, and is to be put back."""
    if ask is None:
        return None

    def asked(text: str) -> Any:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return ask(text)
        finally:
            signal.signal(signal.SIGINT, before)

    return asked


@contextmanager
def _raw(wanted: bool, resize: Callable[[int, int], None]) -> Iterator[None]:
    """With a terminal on stdin and none on stdout (Ansible): its keys pass as they are, and its size."""
    if not wanted or not os.isatty(0):
        yield
        return
    from remote_shell.terminal.raw import RawTerminal, window_size

    with RawTerminal(0) as terminal:
        terminal.raw()
        before = signal.signal(signal.SIGWINCH, lambda number, frame: resize(*window_size(0)))
        try:
            resize(*window_size(0))
            yield
        finally:
            signal.signal(signal.SIGWINCH, before)


def _in_background(errand: _Errand) -> int:
    """-f: until the command runs as always, then without us.

    A copy of this process does all of it: a connection belongs to the process that made it.
    """
    reading, writing = os.pipe()
    copy = os.fork()
    if copy == 0:
        os.close(reading)

        def started() -> None:
            os.setsid()
            os.write(writing, b".")
            os.close(writing)

        return errand.run(started)
    os.close(writing)
    with _Leaving() as leaving:
        try:
            leaving.begin()
            if os.read(reading, 1):
                return 0
            return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]) & 255
        except LeftError as left:
            os.kill(copy, left.number)
            raise


def _print_settings(line: CommandLine, place: Place) -> None:
    """-G, in ssh's words: scripts and git read them."""
    import pwd

    target, settings = place.target, line.settings
    lines = [
        f"host {place.name}",
        f"user {target.user or pwd.getpwuid(os.getuid()).pw_name}",
        f"hostname {target.path or target.host}",
        f"port {target.port}",
        f"batchmode {'yes' if settings.flag('batchmode') else 'no'}",
        f"requesttty {settings.terminal}",
        *(f"identityfile {path}" for path in place.identities or [place.options.get("identity") or ""] if path),
    ]
    sys.stdout.buffer.write(os.fsencode("\n".join(lines) + "\n"))


def _introduction(error: UnknownServerError) -> str:
    """What to type about a server that is not known, where nobody can be asked."""
    if not error.fingerprint:
        return str(error)
    from remote_shell.config.paths import quoted
    from remote_shell.identity.known_hosts import KnownHosts

    return (
        f"the server {error.address} is not known here, and nobody can be asked. Its key is {error.fingerprint}. Compare that with "
        "what the server printed when it started; if they are equal, type: "
        f"echo '{error.address} {error.fingerprint}' >> {quoted(KnownHosts().path)}"
    )


def _say_into(path: str) -> None:
    """Our messages go there from here on; the command's stderr is descriptor 2, and stays."""
    try:
        sys.stderr = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115  # to the end of all
    except OSError as error:
        raise ConfigError(f"can't write the log {path}: {error.strerror}") from None
