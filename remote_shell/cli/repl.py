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

from prompt_toolkit.formatted_text import StyleAndTextTuples

from remote_shell.cli import asking, bell, exit_status, own_line, toolbar
from remote_shell.cli.contact import Contact
from remote_shell.cli.editor import Editor
from remote_shell.cli.history import Entry, History
from remote_shell.cli.interrupts import GivenUpError, Interrupts
from remote_shell.cli.live import LiveTerminal
from remote_shell.cli.main import complain
from remote_shell.cli.ran import Commands, Ran
from remote_shell.cli.screen import Screen, printable, size_text
from remote_shell.cli.showing import Streams
from remote_shell.cli.telling import Telling
from remote_shell.client.async_ import AsyncHost
from remote_shell.client.async_shell import AsyncShell
from remote_shell.client.retry import State
from remote_shell.client.shell import ShellResult
from remote_shell.config.hosts import NOTHING_ALLOWED, Allowed
from remote_shell.config.shell import OnLost
from remote_shell.errors import (
    CommandError,
    ConnectionLostError,
    DetachedError,
    ShellEndedError,
    UsageError,
)
from remote_shell.terminal.raw import is_hung_up
from remote_shell.wire.messages import Attached, from_system

_LEAVE = ("exit", "logout")
_LEAVE_AGAIN = 0.05  # seconds
_MEASURE_EVERY = 5.0  # seconds
_ENDING = (signal.SIGTERM, signal.SIGHUP)


class LeftBySignalError(Exception):
    """TERM or HUP came to the client itself."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.name = signal.Signals(number).name


class Repl:
    """One person at live shells of `name`, as `connect` was told. Made first, since the client tells it of its states."""

    def __init__(
        self,
        screen: Screen,
        name: str,
        prefix: str = own_line.PREFIX,
        on_lost: OnLost = "kill",
        allowed: Allowed = NOTHING_ALLOWED,
        *,
        trial: bool = False,
    ) -> None:
        """`trial`: the server goes when we do, and no shell can be left there."""
        self.screen = screen
        self.status = 0  # of the last command
        self.commands = Commands()
        self._name = name
        self._trial = trial
        self._on_lost = on_lost  # "kill", "keep" or "ask": what becomes of the shell when its window is closed
        self._question = -1  # what takes back the question that is asked
        self._telling = Telling(screen, name, self._tell_details, keeps=on_lost != "kill")
        self._keys = Interrupts(screen, self._telling, name, self._leave, self._how_long)
        self._contact: Contact | None = None
        self._running = ""  # the line that runs
        self._arrived = 0  # bytes of output, ever
        self._prefix = prefix
        self._host: AsyncHost | None = None
        self._own: Any = None  # OwnCommands, from the first own command on
        self._connected = self._began = self._measured = 0.0  # monotonic
        self._warned = False  # it was said that something runs in the background, and what becomes of it
        self._editor: Editor | None = None
        self._history: History | None = None
        self._shell: AsyncShell | None = None
        self._task: asyncio.Task[None] | None = None
        self._left: Exception | None = None  # why the task was cancelled
        self._shell_gone = False  # its session was: the next line needs another shell
        # Where stdout is a file it gets what the command wrote, and no more: then there is no terminal over there either.
        self._live = (
            LiveTerminal(
                screen,
                lambda: self._telling.notices.away,
                self._left_by_keys,
                lambda: self._telling.notices.is_brief,
                allowed,
            )
            if os.isatty(0) and os.isatty(1)
            else None
        )
        self._streams = Streams(screen, allowed)  # of commands without a terminal
        self._telling.live = self._live
        self._unfinished: Ran | None = None  # its session was lost, and its shell is to be attached again
        self._others = False  # what comes back unread was typed before we attached
        self._ahead: list[str] = []  # lines typed while a command ran, which it did not read

    @property
    def on_terminal(self) -> bool:
        """The shell's commands shall have a terminal."""
        return self._live is not None

    def on_state(self, state: State) -> None:
        """For the client: the connection's state changed."""
        self._telling.notices.on_state(state)
        if self._live is not None:
            self._live.on_contact()
        if state.name in ("connected", "resumed", "new_session"):
            self._connected, self._measured = time.monotonic(), 0.0
            self._began = self._connected if state.name != "resumed" else self._began
        if self._contact is not None:
            self._contact.news()
        if state.name == "new_session":
            self._shell_gone = True
            if self._editor is not None:
                self._editor.wake()
        elif state.name == "gave_up" and self._telling.at_prompt:
            # a command that runs tells of it by its own error
            self._leave(GivenUpError(f"the session with {self._name} is over: {state.reason}"))

    async def run(self, host: AsyncHost, editor: Editor, attached: AsyncShell | None = None) -> int:
        """Read and run lines until the person or the shell leaves; returns the exit status. `attached`: in that shell, and no new one.

        Raises CommandError, ConnectionLostError, LeftBySignalError, GivenUpError.
        """
        loop = asyncio.get_running_loop()
        self._editor, self._history, self._host = editor, editor.history, host
        self._telling.editor = editor
        self._telling.waiting = lambda: self._own is not None and self._own.waiting
        self._contact = Contact(host, self._telling.notices, editor.refresh)
        self._task = asyncio.create_task(self._lines(host, editor, attached))
        handlers: dict[int, Callable[[], None]] = {number: self._leaver(number) for number in _ENDING}
        handlers |= {signal.SIGINT: self._interrupt, signal.SIGQUIT: lambda: self._keys.quit(self._shell)}
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            await self._task
        except DetachedError as error:
            return self._detached(error)
        except asyncio.CancelledError:
            if self._left is None:
                raise
            if isinstance(self._left, DetachedError):
                return self._detached(self._left)
            raise self._left from None
        except OSError:
            if not self._is_closed() or self._left is None:
                raise
            raise self._left from None
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
            self._telling.later(0.0, None)
            self._contact.end()
            self._settle(None)
            await self._end_background()
        return self.status

    async def _end_background(self) -> None:
        """What runs beside the shell ends with us. Whoever was not told so yet is told now."""
        running = self.commands.in_background
        if running and not self._warned:
            from remote_shell.cli.own_texts import after_leaving

            self.screen.fresh_line()
            self.screen.note(after_leaving(running))
        if self._own is not None:
            await self._own.close()
        for ran in running:
            self._into_history(ran)

    # --- lines

    async def _lines(self, host: AsyncHost, editor: Editor, attached: AsyncShell | None) -> None:
        shell = self._shell = attached or await self._start(host)
        if attached is None:
            editor.home = shell.cwd
            self._show_early(shell)
        elif await self._take_up(shell, again=False):
            return
        while True:
            if self._shell_gone:
                self._shell_gone = False
                shell, again = await self._start_again(host)
                if not again:
                    self._show_early(shell)
                elif await self._take_up(shell, again=True):
                    return
                if self._shell_gone:
                    continue
            shell.on_unread = self._given_back
            shell.on_detached = self._taken
            self._take_back(shell)
            ahead = self._ahead.pop(0) if self._ahead else None
            self._telling.tell_untold()
            if self._contact is not None:
                self._contact.rest()
            editor.shell = shell.name
            line = await editor.read(shell.cwd, failed=self.status != 0, given=ahead)
            if line is None:
                if await self._may_leave():
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
            if line.strip() and (line.split()[0] not in _LEAVE or self._may_end()):
                self._warned = False
                if await self._execute(shell, line):
                    return

    async def _start(self, host: AsyncHost) -> AsyncShell:
        self._shell = await host.shell(pty=self.on_terminal)
        return self._shell

    def _show_early(self, shell: AsyncShell) -> None:
        """What the server says of the shell itself: that it is recorded, that it is another than was wanted."""
        early = shell.take_early() if self._live is not None else b""
        if not early or self._live is None:
            return
        shell.flush()
        self._live.begin(shell)
        try:
            self._live.write(1, early)
        finally:
            self._live.end()
        self.screen.fresh_line()

    async def _start_again(self, host: AsyncHost) -> tuple[AsyncShell, bool]:
        """The session is a new one: the same shell if it was kept, else another; and whether it is the same."""
        if self._keeps and self._shell is not None:
            try:
                for one in await host.shells():
                    if one.id == self._shell.job and one.away_ms is None:
                        raise DetachedError("", one.holder)  # somebody took it meanwhile, who shall keep it
                self._shell = await host.attach(self._shell.job)
                return self._shell, True
            except CommandError as error:
                why = getattr(error, "reason", "") or str(error)
                self.screen.note(f"the shell on {self._name} is gone as well: {printable(why)}; this is a new one")
        self._settle(None)
        return await self._start(host), False

    async def _take_up(self, shell: AsyncShell, *, again: bool) -> bool:
        """Go on in a shell that was attached: what was missed, and the command that runs; whether that was the last."""
        from remote_shell.cli import attaching

        told = shell.attached
        assert told is not None, "attached"
        if self._editor is not None and told.first_cwd is not None:
            self._editor.home = os.fsdecode(from_system(told.first_cwd))
        self.screen.note(attaching.attached_text(told, self._name, again))
        self._others = not again
        if told.line is not None:
            return await self._execute(shell, os.fsdecode(from_system(told.line)), joined=True)
        try:
            if self._live is not None:
                self._live.begin(shell)
            await shell.join(on_output=self._live.write if self._live is not None else self._streams.write)
        except ConnectionLostError:
            if not self._shell_gone:
                raise
            return False
        finally:
            self._settle(told)
            if self._live is not None:
                self._live.end()  # what programs left on, which have ended since
        self.screen.fresh_line()
        if shell.alive:
            self.status = _status_of(told)
            return False
        self.status = shell.returncode or 0
        self._report_end("", "shell_ended")
        return True

    async def _execute(self, shell: AsyncShell, line: str, *, joined: bool = False) -> bool:
        """Run one line, or wait for the one that runs in a shell that was attached; whether that was the last."""
        self._keys.begin(line)
        self._others = False
        self._measure()
        ran, self._unfinished = self._unfinished if joined else None, None
        ran = ran or self.commands.begin(line, shell.cwd)
        write = self._live.write if self._live is not None else self._streams.write

        def on_output(stream: int, data: bytes) -> None:
            self._arrived += len(data)
            self.commands.wrote(ran, data)
            write(stream, data)

        result: ShellResult | None = None
        try:
            if self._live is not None:
                # only now: at the prompt Ctrl-Z suspends the client, as it does any editor
                asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, lambda: self._keys.stop(self._shell))
                self._live.begin(shell, self._editor.typed_ahead() if self._editor is not None else b"")
            if self._contact is not None:
                self._contact.begin()
            self._running = line
            if joined:
                if self._live is not None:
                    self._live.repaint()
                result = await shell.join(text=False, on_output=on_output)
            else:
                result = await shell.run(line, text=False, on_output=on_output)
            assert result is not None, "a command ran"
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
            if not self._keeps:  # else it is attached again, and goes on
                complain(str(error))
            self.status = exit_status.FAILED
            return False
        finally:
            self._running = ""
            if self._contact is not None:
                self._contact.end()
            if self._live is not None:
                unended = self._live.end()
                asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
                self._take_back(shell, unended)
            else:
                self._streams.end()
            if result is None and self._shell_gone and self._keeps:
                self._unfinished = ran
            else:
                self._remember(ran, result)
        self.screen.fresh_line()
        self.status = _status(result)
        if not self._keys.count:
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
        if self._telling.at_prompt and self._editor is not None and self._shell is not None:
            self._editor.wake()
            self._take_back(self._shell)

    def _take_back(self, shell: AsyncShell, unended: bytes = b"") -> None:
        """What was typed for a command and not read by it: whole lines are the next to run, as on any terminal; the rest is edited."""
        given = shell.take_unread() + unended
        kept = self._live.without_hidden(given) if self._live is not None else given
        if len(kept) < len(given):
            self._telling.tell("what was typed unseen came too late to be read: it is forgotten")
        text = kept.decode("utf-8", "replace")
        if self._others and text and self._editor is not None:  # perhaps days ago: nobody expects it to run now
            self._editor.keep(text.strip("\n"))
            return
        *lines, rest = text.split("\n")
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

    def _settle(self, told: Attached | None) -> None:
        """Of the command whose session was lost: how it ended meanwhile, if the shell that was attached again tells."""
        ran, self._unfinished = self._unfinished, None
        if ran is not None and told is not None and (told.status is not None or told.signal is not None):
            ran.end(_status_of(told), told.signal)
            self._into_history(ran)
        elif ran is not None:
            self._remember(ran, None)

    def _into_history(self, ran: Ran) -> None:
        if self._history is None or self._editor is None:
            return
        self._editor.note(ran.text)
        self._history.add(
            Entry(ran.text, self._editor.host, ran.directory, ran.status, ran.signal, ran.started, ran.duration)
        )
        if problem := self._history.problem():
            self._telling.tell(problem)

    def _report_end(self, line: str, reason: str) -> None:
        """Why there is no next prompt, unless the person asked for that."""
        if reason == "shell_replaced":
            self.screen.note(f"the shell on {self._name} was replaced by another program (exec), which has ended")
        elif (line.split() or [""])[0] not in _LEAVE:
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
            self._editor.plate, self._shell.cwd, self._editor.home, trip, self._telling.notices.brief(), background
        )

    async def _perform_own(self, line: str) -> bool:
        """Carry out a line of ours; whether that was the last."""
        name, rest = own_line.words_of(line, self._prefix)
        if self._history is not None:
            self._history.note(line)
        if name == "quit":
            return await self._may_leave()
        if name == "detach" and not rest:
            return self._may_end(f"{self._prefix}detach") and await self._detach()
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
            lambda: self._began,
            lambda: (self._shell or shell).pid,
            self._on_lost,
        )
        return OwnCommands(around, self._background_ended)

    def _background_ended(self, ran: Ran) -> None:
        from remote_shell.cli.own_texts import ended

        text = ended(self.screen, ran)
        self._into_history(ran)
        self._telling.tell(text)
        bell.ring(text, quietly=not self._telling.at_prompt)
        if self._editor is not None:
            self._editor.refresh()

    async def _may_leave(self) -> bool:
        """Leave and end the shell; or keep it, where that is asked; or say once what would end then."""
        if self._is_closed() or not self._may_end():
            return False
        if self._keeps and self._telling.notices.away:
            self.screen.note(
                f"no contact with {self._name}: the shell is not ended, and goes on there; "
                f"remote-shell shell {self._name} attaches to it"
            )
            return True
        if self._on_lost != "ask" or not self.on_terminal or self._telling.notices.away:
            return True
        question = self._question = os.eventfd(0, os.EFD_CLOEXEC)
        self.screen.echoed()
        try:
            line = await asking.ask_line(f"Keep this shell on {self._name} to come back to? y/n, else stay: ", question)
        except EOFError:  # Ctrl-C
            os.close(question)
            self.screen.fresh_line()
            return False
        except asyncio.CancelledError:  # the thread would be waited for for ever; it still looks at the descriptor
            os.eventfd_write(question, 1)
            raise
        finally:
            self._question = -1
        os.close(question)
        self.screen.returned()
        answer = line.strip().lower()
        if answer in ("y", "yes"):
            return await self._detach()
        return not line or answer in ("n", "no")

    def _may_end(self, how: str = "Ctrl-D") -> bool:
        """Nothing runs in the background, or it was said what would end."""
        running = self.commands.in_background
        if not running or self._warned:
            return True
        from remote_shell.cli.own_texts import before_leaving

        self._warned = True
        self.screen.note(before_leaving(running, how))
        return False

    # --- signals

    def _interrupt(self) -> None:
        """Ctrl-C while a command runs, or a SIGINT from elsewhere."""
        if self._question >= 0:
            self.screen.echoed()
            os.eventfd_write(self._question, 1)
            return
        if self._editor is not None and self._editor.interrupt():
            return
        if self._own is not None and self._own.interrupt():
            return
        self._keys.interrupt(self._shell)

    def _how_long(self) -> str:
        """Until when a command goes on without us."""
        if self._keeps or self._host is None:
            return "until it ends"
        return f"until the grace of {self._host.welcome.grace_ms / 1000:g} s is over"

    def _left_by_keys(self) -> None:
        self._leave(GivenUpError(f"left; what ran on {self._name} is ended"))

    def _leaver(self, number: int) -> Callable[[], None]:
        def leave() -> None:
            if self._keeps and self._shell is not None:  # the window is closed, and nobody can be asked
                self._shell.send_detach()
                self._shell.flush()
            self._leave(LeftBySignalError(number))

        return leave

    def _is_closed(self) -> bool:
        """The window is: that is a hang-up, even if its signal comes later, or never. Then we leave at the next turn."""
        if not self.on_terminal or not is_hung_up(0):
            return False
        if self._left is None:
            self._leaver(signal.SIGHUP)()
        return True

    # --- a shell that outlives us

    @property
    def _keeps(self) -> bool:
        """A shell whose window is closed stays."""
        return self._on_lost != "kill" and self.on_terminal

    async def _detach(self) -> bool:
        """Leave the shell to itself, which ends us by DetachedError; False: it can't be done."""
        if self._trial:
            self.screen.note(
                "this server is gone when you leave, and so is its shell; one that can be left: remote-shell serve",
                "red",
            )
            return False
        if self._shell is None or not self.on_terminal or self._telling.notices.away:
            self.screen.note(
                f"no contact with {self._name}"
                if self._telling.notices.away
                else "only a shell on a terminal can be left",
                "red",
            )
            return False
        self._shell.on_detached = None
        await self._shell.detach()
        lost = self._shell.lost
        if isinstance(lost, ConnectionLostError) and not self._keeps:
            raise lost  # the server never heard of it
        if lost is None:
            self.status = self._shell.returncode or 0
            self._report_end("", "shell_ended")
            return True
        raise lost if isinstance(lost, DetachedError) else DetachedError("")

    def _taken(self) -> None:
        """At the prompt: somebody else has the shell now."""
        lost = self._shell.lost if self._shell is not None else None
        self._leave(lost if isinstance(lost, DetachedError) else DetachedError(""))

    def _detached(self, error: DetachedError) -> int:
        """The shell is not ours any more, and goes on. That is no failure."""
        running, ended = self.commands.in_background, ""
        if running and (error.by or not self._warned):
            from remote_shell.cli.own_texts import after_leaving

            self._warned = True
            ended = f"; {after_leaving(running)}"
        self.screen.fresh_line()
        if error.by:
            self.screen.note(f"detached: the shell on {self._name} was attached by {printable(error.by)}{ended}")
        else:
            self.screen.note(f"detached: the shell goes on; remote-shell shell {self._name} attaches to it{ended}")
        self.status = 0
        return self.status

    def _leave(self, why: Exception) -> None:
        self._left = why
        if self._task is not None:
            self._task.cancel()
            # Once interrupts the command and waits for the shell to answer; twice gives both up, and the goodbye ends them.
            asyncio.get_running_loop().call_later(_LEAVE_AGAIN, self._task.cancel)

    # --- notices

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


def _status_of(told: Attached) -> int:
    return exit_status.of_signal(told.signal) if told.signal is not None else told.status or 0


def _status(result: ShellResult) -> int:
    return exit_status.of_signal(result.signal) if result.signal is not None else int(result.returncode)
