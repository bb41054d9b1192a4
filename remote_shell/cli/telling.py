"""What the REPL says beside what commands write: when it may be said, and where a person sees it.

At the prompt a line goes above it; a program that has the screen for itself is not disturbed but for its last line; what can wait for
the next prompt does. Neighbours: `notices` knows what there is to say of the connection, `repl` the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prompt_toolkit.application import run_in_terminal

from remote_shell.cli.editor import Editor
from remote_shell.cli.live import LiveTerminal
from remote_shell.cli.notices import Notices
from remote_shell.cli.screen import Screen


class Telling:
    """One REPL's. `live` and `editor` are there once they are; `waiting`: an own command waits, and may be written below."""

    def __init__(
        self, screen: Screen, name: str, details: Callable[[Callable[[str], None]], None], *, keeps: bool
    ) -> None:
        self.notices = Notices(name, self.say, self.later, status=self._show_status, details=details, keeps=keeps)
        self.live: LiveTerminal | None = None
        self.editor: Editor | None = None
        self.waiting: Callable[[], bool] = lambda: False
        self._screen = screen
        self._untold: list[str] = []  # what is said at the next prompt
        self._timer: asyncio.TimerHandle | None = None

    @property
    def at_prompt(self) -> bool:
        """The editor has the terminal."""
        return self.editor is not None and self.editor.active

    def say(self, text: str) -> None:
        """Say it now."""
        if self.live is not None and self.live.is_raw:
            self.live.show_status(text)  # the screen is the program's, and it paints over this in a moment
        elif self.at_prompt:
            run_in_terminal(lambda: self._screen.note(text))
        else:
            self._screen.fresh_line()
            self._screen.note(text)

    def tell(self, text: str) -> None:
        """Say it now if there is a prompt, else at the next: a program may have the terminal."""
        if self.at_prompt or self.waiting():
            self.say(text)
        else:
            self._untold.append(text)

    def tell_untold(self) -> None:
        """There is a prompt in a moment."""
        untold, self._untold = self._untold, []
        for text in untold:
            self._screen.note(text)

    def later(self, seconds: float, what: Callable[[], None] | None) -> None:
        """Call `what` once, or forget what was to be called."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, what) if what is not None else None

    def _show_status(self, text: str) -> None:
        """In the last line of a program that has the whole screen, or in the toolbar; elsewhere the line that follows is enough."""
        if self.live is not None:
            self.live.show_status(text)
        if self.editor is not None:
            self.editor.refresh()  # the toolbar asks by itself
