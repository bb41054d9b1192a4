"""Ctrl-R: a search through the whole history, in place: a line for what is looked for, and below it the lines found, best first.

What was typed at the prompt stays there untouched until a found line takes its place; Enter runs nothing. Has its own buffer and its
own keys, which end with it, so that nothing here depends on what completion does at the prompt. Neighbours: `history` finds,
`editor` has the prompt.
"""

from __future__ import annotations

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, is_done
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.layout.containers import ConditionalContainer, HSplit, Window
from prompt_toolkit.layout.controls import BufferControl, FormattedTextControl
from prompt_toolkit.layout.processors import BeforeInput

from remote_shell.cli.history import History
from remote_shell.cli.screen import printable
from remote_shell.cli.suggesting import Place

ROWS = 10  # lines found that are shown at a time
FOUND_MAX = 200  # lines that are found
_WIDTH_MAX = 500  # characters of a line that are shown: the window cuts it at its own width

STYLE = {"search": "bold", "search.chosen": "reverse"}  # the chosen line has a sign as well


class Search:
    """The search at one prompt. `begin` shows it; it ends by itself, or by `end`."""

    def __init__(self, session: PromptSession[str], history: History, place: Place) -> None:
        self.active = False
        self._session = session
        self._history = history
        self._place = place
        self._found: list[str] = []
        self._chosen = 0
        self._mode_before = InputMode.INSERT
        self._buffer = Buffer(multiline=False, on_text_changed=lambda _: self._look())
        self._control = BufferControl(
            self._buffer, input_processors=[BeforeInput("search: ", "class:search")], key_bindings=self._keys()
        )
        self._place_below()

    def begin(self) -> None:
        """Look through the history, first for what is typed already."""
        if self.active:
            return
        self.active = True
        vi = self._session.app.vi_state
        self._mode_before, vi.input_mode = vi.input_mode, InputMode.INSERT
        text = self._session.default_buffer.text
        self._buffer.reset(Document(text if "\n" not in text else ""))
        self._session.layout.focus(self._control)
        self._look()

    def end(self) -> None:
        """Go back to the prompt, with what was typed there."""
        if self.active:
            self.active = False
            self._session.app.vi_state.input_mode = self._mode_before
            self._session.layout.focus(self._session.default_buffer)

    def _take(self) -> None:
        if self._found:
            text = self._found[self._chosen]
            buffer = self._session.default_buffer
            buffer.save_to_undo_stack()
            buffer.document = Document(text, len(text))
        self.end()

    def _look(self) -> None:
        if self.active:
            self._found = self._history.search(self._buffer.text, *self._place(), limit=FOUND_MAX)
            self._chosen = 0

    def _move(self, by: int) -> None:
        self._chosen = max(0, min(len(self._found) - 1, self._chosen + by))

    # --- on the screen

    def _place_below(self) -> None:
        """Right below the prompt, which otherwise takes all the rows that there are."""
        active = Condition(lambda: self.active)
        prompt, layout = self._session.layout.current_window, self._session.layout.container
        if not isinstance(layout, HSplit):
            raise TypeError("prompt_toolkit arranges its prompt in another way than it used to")
        prompt.dont_extend_height = active
        lines = Window(FormattedTextControl(self._lines), wrap_lines=False)
        below = HSplit([Window(self._control, height=1), lines])
        layout.children.insert(1, ConditionalContainer(below, active & ~is_done))

    def _lines(self) -> StyleAndTextTuples:
        if not self._found:
            return [("", "  nothing found")]
        first = max(0, min(self._chosen - ROWS // 2, len(self._found) - ROWS))
        shown: StyleAndTextTuples = []
        for number, text in enumerate(self._found[first : first + ROWS], start=first):
            chosen = number == self._chosen
            line = printable(text[:_WIDTH_MAX].replace("\n", " \\n ").replace("\t", " "))
            shown.append(("class:search.chosen" if chosen else "", f"{'>' if chosen else ' '} {line}"))
            shown.append(("", "\n"))
        return shown[:-1]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        def on(*names: str, by: int) -> None:
            for name in names:
                keys.add(name)(lambda _: self._move(by))

        on("c-r", "down", "c-n", by=1)
        on("c-s", "up", "c-p", by=-1)
        on("pagedown", by=ROWS)
        on("pageup", by=-ROWS)

        @keys.add("enter")
        @keys.add("tab")
        def _(event: KeyPressEvent) -> None:
            self._take()

        @keys.add("escape", eager=True)  # or it would wait for what could follow
        @keys.add("c-g")
        @keys.add("c-c")
        @keys.add("c-d")
        def _(event: KeyPressEvent) -> None:
            self.end()

        return keys
