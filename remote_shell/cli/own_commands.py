"""The REPL's own commands, `:help` and the rest: what a person asks of the client and not of the shell.

Nothing that is typed wrongly here is ever sent to the server. What waits can be interrupted, and then says what goes on.
Imported at the first own command. Neighbours: `own_line` says which lines are ours, `own_texts` what is shown, `background` and
`ran` have the commands, `repl` calls.
"""

from __future__ import annotations

import asyncio
import difflib
import os
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from remote_shell.cli import exit_status, own_texts
from remote_shell.cli.background import Background
from remote_shell.cli.editor import Editor
from remote_shell.cli.history import state_path
from remote_shell.cli.main import describe
from remote_shell.cli.own_info import facts
from remote_shell.cli.ran import Commands, Ran
from remote_shell.cli.screen import Screen, printable
from remote_shell.cli.showing import Passage, passage
from remote_shell.client.async_ import AsyncHost
from remote_shell.client.outcome import signal_number
from remote_shell.config.shell import OnLost
from remote_shell.errors import RemoteShellError

_MEASURE_TIME = 1.0  # seconds that :info waits for the round trip
_SEARCH_MAX = 2000  # entries that are looked through


class Around(NamedTuple):
    """What the REPL has."""

    host: AsyncHost
    screen: Screen
    commands: Commands
    editor: Editor
    prefix: str
    directory: Callable[[], str]
    connected: Callable[[], float]  # since when, monotonic
    began: Callable[[], float]  # the session, monotonic
    pid: Callable[[], int | None]  # the shell's
    on_lost: OnLost = "kill"


class WrongError(Exception):
    """It can't be done as it was typed."""


class FaultError(Exception):
    """It was understood, and could not be done."""


class OwnCommands:
    """One REPL's. `ended` is told when a command in the background has ended."""

    def __init__(self, around: Around, ended: Callable[[Ran], None]) -> None:
        self._around = around
        self._screen = around.screen
        self._commands = around.commands
        self._prefix = around.prefix
        self.background = Background(around.host, around.commands, ended)
        self.waiting = False  # for ends, which may be told at once
        self._leaving = False
        self._task: asyncio.Task[int | None] | None = None
        self._table: dict[str, Callable[[str], Awaitable[int | None]]] = {
            "help": self._help,
            "?": self._help,
            "jobs": self._jobs,
            "last": self._last,
            "out": self._out,
            "hist": self._hist,
            "bg": self._bg,
            "attach": self._attach,
            "wait": self._wait,
            "kill": self._kill,
            "info": self._info,
            "put": self._put,
            "get": self._get,
            "reconnect": self._reconnect,
        }

    @property
    def names(self) -> list[str]:
        """Of all of them; "detach" and "quit" are carried out by the REPL."""
        return [*(name for name in self._table if name != "?"), "detach", "quit"]

    async def perform(self, name: str, rest: str) -> int | None:
        """Carry out one; its exit status, or None if it has none to say."""
        try:
            if name not in self._table:
                near = difflib.get_close_matches(name, self.names, 1, 0.5)
                more = f"; did you mean {self._prefix}{near[0]}?" if near else f"; {self._prefix}help lists them"
                raise WrongError(f"no command {self._prefix}{printable(name)}{more}")
            if "\n" in rest and name != "bg":
                raise WrongError(f"{self._prefix}{name} takes one line")
            self._task = asyncio.ensure_future(self._table[name](rest))
            await asyncio.wait({self._task})
            return None if self._task.cancelled() else self._task.result()
        except WrongError as error:
            return self._failed(str(error), exit_status.USAGE)
        except FaultError as error:
            return self._failed(str(error), 1)
        except RemoteShellError as error:
            return self._failed(describe(error), exit_status.of_error(error))
        except asyncio.CancelledError:
            self._leaving = True
            raise
        finally:
            if self._task is not None:
                self._task.cancel()
                self._task = None
            self.waiting = False

    def interrupt(self) -> bool:
        """Ctrl-C. False: none is under way."""
        if self._task is None:
            return False
        # Not at once: a task that is cancelled before its first step would end without its word on what goes on.
        asyncio.get_running_loop().call_soon(self._task.cancel)
        return True

    async def close(self) -> None:
        """End what runs in the background."""
        await self.background.close()

    # --- what is known

    async def _help(self, rest: str) -> None:
        text = own_texts.TOPICS.get(rest.lstrip(self._prefix), own_texts.HELP) if rest else own_texts.HELP
        if rest and text is own_texts.HELP:
            raise WrongError(f"no help on {printable(rest)}; {self._prefix}help lists the topics")
        self._screen.lines(text.replace("{p}", self._prefix).splitlines())

    async def _jobs(self, rest: str) -> None:
        if rest not in ("", "all"):
            raise WrongError(f"{self._prefix}jobs takes nothing, or: all")
        every = self._commands.listed()
        most = len(every) if rest else max(_rows(), sum(ran.running for ran in every))
        self._screen.lines(own_texts.listed(self._screen, every[:most], self._around.editor.home))
        if len(every) > most:
            self._screen.note(f"{len(every) - most} more: {self._prefix}jobs all")
        elif not every:
            self._screen.note("nothing ran yet")

    async def _last(self, rest: str) -> None:
        ran = self._commands.last
        if rest or ran is None:
            raise WrongError(f"{self._prefix}last takes nothing" if rest else "nothing ran yet")
        self._screen.lines(own_texts.in_full(self._screen, ran, self._around.editor.home, self._prefix))

    async def _out(self, rest: str) -> None:
        shown = passage(1)
        self._print_kept(self._the(rest, self._commands.last), shown)
        self._screen.write(1, shown.end())
        self._screen.fresh_line()

    async def _hist(self, rest: str) -> None:
        words = rest.split()
        failed, here = "--failed" in words, "--here" in words
        wanted = [word for word in words if word not in ("--failed", "--here")]
        if unknown := next((word for word in wanted if word.startswith("--")), None):
            raise WrongError(f"{self._prefix}hist knows --failed and --here, not {printable(unknown)}")
        around, history = self._around, self._around.editor.history
        directory = around.directory()
        entries = history.entries(
            failed=failed, here=directory if here else None, limit=_SEARCH_MAX if wanted else _rows()
        )
        if wanted:
            best = set(history.search(" ".join(wanted), around.editor.host, directory, _SEARCH_MAX))
            entries = [entry for entry in entries if entry.text in best][: _rows()]
        if problem := history.problem():
            self._screen.note(problem)
        self._screen.lines(own_texts.from_history(self._screen, reversed(entries), around.editor.home))
        if not entries:
            self._screen.note("nothing found")

    async def _info(self, rest: str) -> None:
        host, session = self._around.host, self._around.host.conversation.session
        host.measure()
        until = time.monotonic() + _MEASURE_TIME
        while session.measuring and time.monotonic() < until:  # noqa: ASYNC110  # once, for a person
            await asyncio.sleep(0.01)
        around = self._around
        self._screen.lines(
            facts(
                host,
                around.editor.plate,
                began=around.began(),
                connected=around.connected(),
                pid=around.pid(),
                directory=around.directory(),
                on_lost=around.on_lost,
                history=_history_path(),
            )
        )

    # --- in the background

    async def _bg(self, rest: str) -> None:
        rest = rest.strip()
        if not rest:
            raise WrongError(f"{self._prefix}bg needs a line to run")
        try:
            ran = await self.background.start(rest, self._around.directory())
        except asyncio.CancelledError:
            self._part("not started, or ended at once")
            raise
        self._screen.note(f"[{ran.number}] {own_texts.short(rest)}")

    async def _attach(self, rest: str) -> int | None:
        running = self._commands.in_background
        ran = self._the(rest, running[-1] if running else None)
        shown = passage(1)
        self._print_kept(ran, shown)
        if ran.running:
            ran.watcher = lambda data: self._screen.write(1, shown.feed(data))
            try:
                await self.background.wait(ran)
            except asyncio.CancelledError:
                self._part(f"detached: [{ran.number}] goes on")
                raise
            finally:
                ran.watcher = None
                self._screen.write(1, shown.end())
            self._screen.fresh_line()
            return ran.status
        self._screen.write(1, shown.end())
        self._screen.fresh_line()
        self._screen.note(own_texts.ended(self._screen, ran))
        return ran.status

    async def _wait(self, rest: str) -> int | None:
        every = [self._the(rest, None)] if rest else self._commands.in_background
        if not every:
            self._screen.note("nothing runs in the background")
            return None
        going = [f"[{ran.number}]" for ran in every if ran.running]
        if going:
            self._screen.note(f"waiting for {', '.join(going)}; Ctrl-C stops waiting")
        self.waiting = True
        for ran in every:
            try:
                await self.background.wait(ran)
            except asyncio.CancelledError:
                left = ", ".join(f"[{ran.number}]" for ran in every if ran.running)
                self._part(f"no longer waiting: {left or 'nothing'} goes on")
                raise
        return every[-1].status

    async def _kill(self, rest: str) -> None:
        words = rest.split()
        if not 1 <= len(words) <= 2:
            raise WrongError(f"{self._prefix}kill N [SIGNAL]")
        ran = self._the(words[0], None)
        if not ran.running:
            raise WrongError(f"[{ran.number}] has ended")
        self.background.send_signal(ran, _signal(words[1] if len(words) > 1 else "TERM"))

    async def _put(self, rest: str) -> int | None:
        return await self._copy("put", rest)

    async def _get(self, rest: str) -> int | None:
        return await self._copy("get", rest)

    async def _copy(self, verb: str, rest: str) -> int | None:
        """`[-r] SOURCE… TO`: here from our own directory, there from the shell's."""
        from remote_shell.cli import copying

        recursive, sources, to = copying.words_of(rest, self._prefix + verb)
        watch = copying.Watch(self._screen.note)
        host, base, began = self._around.host, self._around.directory(), time.monotonic()
        try:
            if verb == "put":
                here = [os.path.expanduser(path) for path in sources]
                done = await host.put(here, copying.there(to, base), **watch.arguments(recursive))
            else:
                wanted = [copying.there(path, base) for path in sources]
                done = await host.get(wanted, os.path.expanduser(to), **watch.arguments(recursive))
        except asyncio.CancelledError:
            watch.close()
            self._part(watch.interrupted())
            raise
        except OSError as error:
            if isinstance(error, RemoteShellError):
                raise
            raise FaultError(copying.fault_text(error)) from None
        finally:
            watch.close()
        told = copying.summary(done, time.monotonic() - began)
        if done.faults:
            raise FaultError(told)
        self._screen.note(told)
        return None

    async def _reconnect(self, rest: str) -> None:
        try:
            await self._around.host.reconnect()
        except asyncio.CancelledError:
            self._part("no longer waiting; it goes on trying")
            raise
        welcome = self._around.host.welcome
        self._screen.note("reconnected: the same session" if welcome.resumed else "reconnected: a new session")

    # --- within

    def _failed(self, text: str, status: int) -> int:
        self._screen.note(text, "red")
        self._screen.ended(status, None, 0.0)
        return status

    def _part(self, text: str) -> None:
        """Ctrl-C came while we waited: what is left as it is. Not when the REPL is left, which ends all."""
        if not self._leaving:
            self._screen.echoed()
            self._screen.fresh_line()
            self._screen.note(text)

    def _the(self, text: str, default: Ran | None) -> Ran:
        """The command that is meant. Raises WrongError."""
        if not text:
            if default is None:
                raise WrongError(f"no command to speak of; {self._prefix}jobs lists them")
            return default
        number = text.removeprefix("[").removesuffix("]")
        ran = self._commands.get(int(number)) if number.isdecimal() and len(number) < 10 else None
        if ran is None:
            raise WrongError(f"no command {printable(text)}; {self._prefix}jobs lists them")
        return ran

    def _print_kept(self, ran: Ran, shown: Passage) -> None:
        output = ran.output
        if output.dropped:
            self._screen.note(f"the first {own_texts.size(output.dropped)} are not kept any more")
        self._screen.write(1, shown.feed(output.data))


def _rows() -> int:
    """Lines of a screenful."""
    return max(10, shutil.get_terminal_size().lines - 3)


def _signal(word: str) -> int:
    """Raises WrongError."""
    name = word.upper()
    number = int(word) if word.isdecimal() and len(word) < 4 else signal_number(name) or signal_number(f"SIG{name}")
    if number not in signal.valid_signals():
        raise WrongError(f"{printable(word)} is no signal")
    return number


def _history_path() -> str:
    return state_path() or "kept in memory: our folder can't be used"
