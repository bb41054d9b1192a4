"""The history at the prompt: lines to go up through, and the dim end of the line that is being typed.

Two small adapters that prompt_toolkit asks; its own keys take what is suggested (right, Ctrl-E and Ctrl-F all of it, Alt-F a word).
Neither ever writes: what is accepted at the prompt is kept when it has run, by the REPL. Neighbours: `history` has the lines,
`searching` is Ctrl-R.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable

from prompt_toolkit.auto_suggest import AutoSuggest, Suggestion
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.history import History as Base

from remote_shell.cli.history import History

Place = Callable[[], tuple[str, str]]  # host and directory of the prompt


class Lines(Base):
    """What going up goes through. Asked anew at each prompt, since lines come in from the REPL and not from here."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    async def load(self) -> AsyncGenerator[str, None]:
        """The lines, newest first; the first time it opens the file, when the prompt is on the screen."""
        for text in self.load_history_strings():
            yield text

    def load_history_strings(self) -> Iterable[str]:
        """The lines, newest first."""
        return self._history.recent()

    def get_strings(self) -> list[str]:
        """The lines, oldest first: for Alt-. and its like."""
        return self._history.recent()[::-1]

    def append_string(self, string: str) -> None:
        """Nothing: prompt_toolkit calls it for all that is accepted, and only a command that ran is kept."""

    def store_string(self, string: str) -> None:
        """Nothing, as above."""


class Suggester(AutoSuggest):
    """The rest of the best line that begins with what is typed, up to that line's end."""

    def __init__(self, history: History, place: Place) -> None:
        self._history = history
        self._place = place

    def get_suggestion(self, buffer: Buffer, document: Document) -> Suggestion | None:
        """For prompt_toolkit, after each change. Not in a thread: it takes a few milliseconds at most."""
        line = self._history.suggest(document.text, *self._place())
        if line is None:
            return None
        rest = line[len(document.text) :].partition("\n")[0]
        # What the screen can't show as it is must not get into the line unseen.
        return Suggestion(rest) if rest.isprintable() and rest else None
