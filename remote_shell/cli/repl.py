"""The REPL: lines typed here, run by a live shell over there, on one event loop with the client.

At the prompt prompt_toolkit has the terminal; while a command runs the terminal is the plain one that any program has, so that
what is typed ahead is kept and Ctrl-C is a signal. Never looks into what commands write. Neighbours: `screen` shows,
`editor` reads lines, `notices` tells of the connection, `commands.shell` starts it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.formatted_text import StyleAndTextTuples

from remote_shell.cli import bell, exit_status, own_line, toolbar
from remote_shell.cli.contact import Contact
from remote_shell.cli.editor import Editor
from remote_shell.cli.history import Entry, History
from remote_shell.cli.live import LiveTerminal
from remote_shell.cli.main import complain
from remote_shell.cli.notices import Notices
from remote_shell.cli.ran import Commands, Ran
from remote_shell.cli.screen import Screen, printable, size_text
from remote_shell.client.async_ import AsyncHost
from remote_shell.client.retry import State
from remote_shell.client.shell import AsyncShell, ShellResult
from remote_shell.errors import CommandError, ConnectionLostError, RemoteShellError, ShellEndedError, UsageError

_LEAVE = ("exit", "logout")
_LEAVE_AGAIN = 0.05  # seconds
_KILL_AT = 3  # Ctrl-C so often during one command
_MEASURE_EVERY = 5.0  # seconds
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class LeftBySignalError(Exception):
    """TERM or HUP came to the client itself."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.name = signal.Signals(number).name


class GivenUpError(RemoteShellError):
    """There is no connection, and no use in waiting for one."""


class Repl:
    """One person at live shells of `name`, as `connect` was told. Made first, since the client tells it of its states."""

    def __init__(self, screen: Screen, name: str, prefix: str = own_line.PREFIX) -> None:
        self.screen = screen
        self.status = 0  # of the last command
        self.commands = Commands()
        self._name = name
        self._notices = Notices(name, self._say, self._later, status=self._show_status, details=self._tell_details)
        self._contact: Contact | None = None
        self._running = ""  # the line that runs
        self._arrived = 0  # bytes of output, ever
        self._prefix = prefix
        self._host: AsyncHost | None = None
        self._own: Any = None  # OwnCommands, from the first own command on
        self._connected = self._measured = 0.0  # monotonic
        self._untold: list[str] = []  # what is said at the next prompt
        self._warned = False  # that something runs in the background
        self._timer: asyncio.TimerHandle | None = None
        self._editor: Editor | None = None
        self._history: History | None = None
        self._shell: AsyncShell | None = None
        self._task: asyncio.Task[None] | None = None
        self._interrupts = 0  # Ctrl-C since the command began
        self._left: Exception | None = None  # why the task was cancelled
        self._shell_gone = False  # its session was: the next line needs another shell
        # Where stdout is a file it gets what the command wrote, and no more: then there is no terminal over there either.
        self._live = (
            LiveTerminal(screen, lambda: self._notices.away, self._left_by_keys)
            if os.isatty(0) and os.isatty(1)
            else None
        )
        self._ahead: list[str] = []  # lines typed while a command ran, which it did not read

    @property
    def on_terminal(self) -> bool:
        """The shell's commands shall have a terminal."""
        return self._live is not None

    def on_state(self, state: State) -> None:
        """For the client: the connection's state changed."""
        self._notices.on_state(state)
        if state.name in ("connected", "resumed", "new_session"):
            self._connected, self._measured = time.monotonic(), 0.0
        if self._editor is not None:
            self._editor.refresh()
        if state.name == "new_session":
            self._shell_gone = True
            if self._editor is not None:
                self._editor.wake()
        elif state.name == "gave_up" and self._at_prompt:
            # a command that runs tells of it by its own error
            self._leave(GivenUpError(f"the session with {self._name} is over: {state.reason}"))

    async def run(self, host: AsyncHost, editor: Editor) -> int:
        """Read and run lines until the person or the shell leaves; returns the exit status.

        Raises CommandError, ConnectionLostError, LeftBySignalError, GivenUpError.
        """
        loop = asyncio.get_running_loop()
        self._editor, self._history, self._host = editor, editor.history, host
        self._contact = Contact(host, self._notices)
        self._task = asyncio.create_task(self._lines(host, editor))
        handlers: dict[int, Callable[[], None]] = {number: self._leaver(number) for number in _ENDING}
        handlers |= {signal.SIGINT: self._interrupt, signal.SIGQUIT: self._quit}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            await self._task
        except asyncio.CancelledError:
            if self._left is None:
                raise
            raise self._left from None
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
            self._later(0.0, None)
            if self._own is not None:
                await self._own.close()
        return self.status

    # --- lines

    async def _lines(self, host: AsyncHost, editor: Editor) -> None:
        shell = self._shell = await host.shell(pty=self.on_terminal)
        editor.home = shell.cwd
        while True:
            if self._shell_gone:
                self._shell_gone = False
                shell = self._shell = await host.shell(pty=self.on_terminal)
            shell.on_unread = self._given_back
            self._take_back(shell)
            ahead = self._ahead.pop(0) if self._ahead else None
            self._tell_untold()
            line = await editor.read(shell.cwd, failed=self.status != 0, given=ahead)
            if line is None:
                if self._may_leave():
                    return
                continue
            if self._shell_gone:
                if line:
                    editor.keep(line)
                continue  # what was typed is in the editor again: it was meant for the shell that is gone
            if own_line.is_own(line, self._prefix):
                if await self._perform_own(line):
                    return
                continue
            line = own_line.for_shell(line, self._prefix)
            if line.strip() and (line.split()[0] not in _LEAVE or self._may_leave()):
                self._warned = False
                if await self._execute(shell, line):
                    return

    async def _execute(self, shell: AsyncShell, line: str) -> bool:
        """Run one line; whether that was the last."""
        self._interrupts = 0
        self._measure()
        ran = self.commands.begin(line, shell.cwd)
        write = self._live.write if self._live is not None else self.screen.write

        def on_output(stream: int, data: bytes) -> None:
            self._arrived += len(data)
            self.commands.wrote(ran, data)
            write(stream, data)

        result: ShellResult | None = None
        try:
            if self._live is not None:
                # only now: at the prompt Ctrl-Z suspends the client, as it does any editor
                asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._stop)
                self._live.begin(shell)
            if self._contact is not None:
                self._contact.begin()
            self._running = line
            result = await shell.run(line, text=False, on_output=on_output)
        except ShellEndedError as error:
            self.screen.fresh_line()
            complain(str(error))
            self.status = exit_status.FAILED
            return True
        except (UsageError, ValueError, CommandError) as error:  # it can't be sent, or the server would not take it
            self.screen.fresh_line()
            complain(f"{error}; the line did not run")
            self.status = exit_status.FAILED
            return False
        except ConnectionLostError as error:
            if not self._shell_gone:
                raise
            self.screen.fresh_line()
            complain(str(error))
            self.status = exit_status.FAILED
            return False
        finally:
            self._running = ""
            if self._contact is not None:
                self._contact.end()
            if self._live is not None:
                self._live.end()
                asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
                self._take_back(shell)
            self._remember(ran, result)
        self.screen.fresh_line()
        self.status = _status(result)
        if not self._interrupts:
            bell.after(line, ran.duration, time.monotonic() - self._live.typed_at if self._live else ran.duration)
        if result.shell == "alive":
            self.screen.ended(result.returncode, result.signal, result.duration)
            return False
        self._report_end(line, f"shell_{result.shell}")
        return True

    def _measure(self) -> None:
        """The round trip, while a command runs: then the loop is idle, and not busy with our own start or prompt."""
        if self._host is not None and time.monotonic() - self._measured > _MEASURE_EVERY:
            self._measured = time.monotonic()
            self._host.measure()

    def _given_back(self) -> None:
        """Input comes back that met the end of its command on its way: the prompt stands already."""
        if self._at_prompt and self._editor is not None and self._shell is not None:
            self._editor.wake()
            self._take_back(self._shell)

    def _take_back(self, shell: AsyncShell) -> None:
        """What was typed for a command and not read by it: whole lines are the next to run, as on any terminal; the rest is edited."""
        *lines, rest = shell.take_unread().decode("utf-8", "replace").split("\n")
        self._ahead += [line for line in lines if line.strip()]
        if rest and self._editor is not None:
            self._editor.keep(rest)

    def _remember(self, ran: Ran, result: ShellResult | None) -> None:
        """Keep it, now that the command has ended, or nobody knows whether it has."""
        if result is not None:
            several = result.statuses if len(result.statuses) > 1 else ()
            ran.end(_status(result), result.signal, several, result.duration)
        else:
            ran.end(None, lost="its end is not known")
        self._into_history(ran)

    def _into_history(self, ran: Ran) -> None:
        if self._history is None or self._editor is None:
            return
        self._editor.note(ran.text)
        self._history.add(
            Entry(ran.text, self._editor.host, ran.directory, ran.status, ran.signal, ran.started, ran.duration)
        )
        if problem := self._history.problem():
            self._tell(problem)

    def _report_end(self, line: str, reason: str) -> None:
        """Why there is no next prompt, unless the person asked for that."""
        if reason == "shell_replaced":
            self.screen.note(f"the shell on {self._name} was replaced by another program (exec), which has ended")
        elif line.split()[0] not in _LEAVE:
            self.screen.note(f"the shell on {self._name} has ended with status {self.status}; its variables are gone")

    # --- our own commands, and what runs in the background

    def is_own(self, text: str) -> bool:
        """A line for us and not for the shell. `bg` is whole when what it runs is."""
        return own_line.is_own(text, self._prefix) and own_line.words_of(text, self._prefix)[0] != "bg"

    def below(self) -> StyleAndTextTuples:
        """The toolbar's text."""
        if self._editor is None or self._shell is None or self._host is None:
            return []
        trip = self._host.conversation.session.round_trip
        background = len(self.commands.in_background)
        return toolbar.fragments(
            self._editor.host, self._shell.cwd, self._editor.home, trip, self._notices.told, background
        )

    async def _perform_own(self, line: str) -> bool:
        """Carry out a line of ours; whether that was the last."""
        name, rest = own_line.words_of(line, self._prefix)
        if self._history is not None:
            self._history.note(line)
        if name == "quit":
            return self._may_leave()
        self._warned = False
        if self._own is None:
            assert self._host and self._shell and self._editor, "at the prompt"
            self._own = self._make_own(self._host, self._shell, self._editor)
        status = await self._own.perform(name, rest)
        if status is not None:
            self.status = status
        return False

    def _make_own(self, host: AsyncHost, shell: AsyncShell, editor: Editor) -> Any:
        from remote_shell.cli.own_commands import Around, OwnCommands

        around = Around(
            host,
            self.screen,
            self.commands,
            editor,
            self._prefix,
            lambda: (self._shell or shell).cwd,
            lambda: self._connected,
        )
        return OwnCommands(around, self._background_ended)

    def _background_ended(self, ran: Ran) -> None:
        from remote_shell.cli.own_texts import ended

        text = ended(self.screen, ran)
        self._into_history(ran)
        self._tell(text)
        bell.ring(text, quietly=not self._at_prompt)
        if self._editor is not None:
            self._editor.refresh()

    def _may_leave(self) -> bool:
        """Leave, or say once what would end then."""
        running = self.commands.in_background
        if not running or self._warned:
            return True
        from remote_shell.cli.own_texts import before_leaving

        self._warned = True
        self.screen.note(before_leaving(running))
        return False

    # --- signals

    def _interrupt(self) -> None:
        """Ctrl-C while a command runs, or a SIGINT from elsewhere."""
        if self._editor is not None and self._editor.interrupt():
            return
        if self._own is not None and self._own.interrupt():
            return
        self._interrupts += 1
        self.screen.echoed()  # the terminal shows ^C and stays on the line
        if self._notices.away:
            self._interrupt_unheard()
        elif self._shell is not None:
            self._press_on(self._shell)

    def _interrupt_unheard(self) -> None:
        """No signal gets there now. The first waits for the connection; the second is for us."""
        if self._interrupts > 1:
            self._leave(GivenUpError(f"no contact with {self._name}: left while a command was under way"))
            return
        if self._shell is not None:
            self._shell.interrupt()
        self._say(f"no contact with {self._name}: Ctrl-C once more leaves")

    def _press_on(self, shell: AsyncShell) -> None:
        """Ctrl-C, and what it takes where that is ignored: an editor that came up without a terminal would stay for ever."""
        if self._interrupts < _KILL_AT:
            shell.interrupt()
        elif self._interrupts == _KILL_AT:
            shell.signal("SIGKILL")
        else:
            self._leave(GivenUpError(f"left; the shell on {self._name} did not answer to Ctrl-C"))
        if self._interrupts == _KILL_AT - 1:
            self._say("it goes on in spite of Ctrl-C: once more kills it")
        elif self._interrupts == _KILL_AT:
            self._say("killed; if the shell itself does not come back, Ctrl-C once more leaves it")

    def _quit(self) -> None:
        """Ctrl-backslash: nothing here should dump core; the command gets the stronger signal."""
        if self._shell is not None and not self._at_prompt:
            self.screen.echoed()
            self._shell.signal("SIGQUIT")

    def _stop(self) -> None:
        """Ctrl-Z: the command's, which `fg` continues; not ours."""
        if self._shell is not None and not self._at_prompt:
            self.screen.echoed()
            self._shell.signal("SIGTSTP")

    def _left_by_keys(self) -> None:
        self._leave(GivenUpError(f"left; what ran on {self._name} is ended"))

    def _leaver(self, number: int) -> Callable[[], None]:
        return lambda: self._leave(LeftBySignalError(number))

    def _leave(self, why: Exception) -> None:
        self._left = why
        if self._task is not None:
            self._task.cancel()
            # Once interrupts the command and waits for the shell to answer; twice gives both up, and the goodbye ends them.
            asyncio.get_running_loop().call_later(_LEAVE_AGAIN, self._task.cancel)

    # --- notices

    @property
    def _at_prompt(self) -> bool:
        return self._editor is not None and self._editor.active

    def _say(self, text: str) -> None:
        if self._live is not None and self._live.is_raw:
            self._live.show_status(text)  # the screen is the program's, and it paints over this in a moment
        elif self._at_prompt:
            run_in_terminal(lambda: self.screen.note(text))
        else:
            self.screen.fresh_line()
            self.screen.note(text)

    def _show_status(self, text: str) -> None:
        """While a program has the whole screen, in its last line; elsewhere the line that follows is enough."""
        if self._live is not None:
            self._live.show_status(text)

    def _tell_details(self, tell: Callable[[str], None]) -> None:
        """What is known of the session that goes on, once all that waited for us has come."""
        before = self._arrived

        def told() -> None:
            where = f"same directory {printable(self._shell.cwd)}" if self._shell is not None else "same shell"
            runs = f", `{printable(self._running.splitlines()[0][:40])}` still runs" if self._running else ""
            came = f", {size_text(self._arrived - before)} arrived meanwhile" if self._arrived > before else ""
            tell(f"{where}{runs}{came}; nothing is lost")

        if self._host is not None:
            self._host.ping(told)

    def _tell(self, text: str) -> None:
        """Say it now if there is a prompt, else at the next: a program may have the terminal."""
        if self._at_prompt or (self._own is not None and self._own.waiting):
            self._say(text)
        else:
            self._untold.append(text)

    def _tell_untold(self) -> None:
        untold, self._untold = self._untold, []
        for text in untold:
            self.screen.note(text)

    def _later(self, seconds: float, what: Callable[[], None] | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, what) if what is not None else None


def _status(result: ShellResult) -> int:
    return exit_status.of_signal(result.signal) if result.signal is not None else int(result.returncode)
