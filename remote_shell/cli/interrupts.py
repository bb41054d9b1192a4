"""Keys that are signals, while a command runs: ^C, ^Z and ^\\ are the command's over there, as often as it takes.

Never sends a signal blindly: what is not heard within a moment is not heard at all, and that is said. Neighbour: `repl` has the signals.
"""

from __future__ import annotations

from collections.abc import Callable

from remote_shell.cli.screen import Screen
from remote_shell.cli.telling import Telling
from remote_shell.client.async_shell import AsyncShell
from remote_shell.errors import RemoteShellError

_KILL_AT = 3  # Ctrl-C so often during one command


class GivenUpError(RemoteShellError):
    """There is no connection, and no use in waiting for one; or the person had enough."""


class Interrupts:
    """Of one command after the other. `leave` ends the REPL, `how_long` says until when a command goes on without us."""

    def __init__(
        self,
        screen: Screen,
        telling: Telling,
        name: str,
        leave: Callable[[Exception], None],
        how_long: Callable[[], str],
    ) -> None:
        self.count = 0  # Ctrl-C since the command began
        self._running = ""
        self._screen = screen
        self._telling = telling
        self._name = name
        self._leave = leave
        self._how_long = how_long

    def begin(self, line: str) -> None:
        """A command starts."""
        self.count = 0
        self._running = line

    def interrupt(self, shell: AsyncShell | None) -> None:
        """Ctrl-C."""
        self._screen.echoed()  # the terminal shows ^C and stays on the line
        if self._telling.notices.is_brief and shell is not None:
            shell.interrupt()  # it waits for the connection; that there is none is not worth a word yet
            return
        self.count += 1
        if self._telling.notices.away:
            self._unheard()
        elif shell is not None:
            self._press_on(shell)

    def quit(self, shell: AsyncShell | None) -> None:
        """Ctrl-backslash: nothing here should dump core; the command gets the stronger signal."""
        self._pass_on(shell, "SIGQUIT")

    def stop(self, shell: AsyncShell | None) -> None:
        """Ctrl-Z: the command's, which `fg` continues; not ours."""
        self._pass_on(shell, "SIGTSTP")

    def _pass_on(self, shell: AsyncShell | None, name: str) -> None:
        if shell is not None and not self._telling.at_prompt:
            self._screen.echoed()
            shell.signal(name)

    def _unheard(self) -> None:
        """No signal gets there now, and none is sent blind: what a person can do is stop waiting."""
        from remote_shell.cli.own_texts import short

        what = f"`{short(self._running)}`" if self._running else "the command"
        if self.count > 1:
            text = (
                f"no contact with {self._name}: left without ending {what}, which goes on there {self._how_long()}; "
                f"remote-shell shell {self._name} attaches to it"
            )
            self._leave(GivenUpError(text))
            return
        self._telling.say(
            f"no contact with {self._name}: {what} goes on there; Ctrl-C once more stops waiting and leaves it"
        )

    def _press_on(self, shell: AsyncShell) -> None:
        """Ctrl-C, and what it takes where that is ignored: an editor that came up without a terminal would stay for ever."""
        if self.count < _KILL_AT:
            shell.interrupt()
        elif self.count == _KILL_AT:
            shell.signal("SIGKILL")
        else:
            self._leave(GivenUpError(f"left; the shell on {self._name} did not answer to Ctrl-C"))
        if self.count == _KILL_AT - 1:
            self._telling.say("it goes on in spite of Ctrl-C: once more kills it")
        elif self.count == _KILL_AT:
            self._telling.say("killed; if the shell itself does not come back, Ctrl-C once more leaves it")
