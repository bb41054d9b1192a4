"""A question below the prompt before what stands there runs: several pasted lines, and what is grave on a production host.

It stands in the way of the buffer's own accepting, and so of every key that runs a line. No key but a clear yes runs anything, and
what stands at the prompt stays there. Has no colour and no sign, so it says the same under NO_COLOR and `--plain`.
Neighbours: `editor` has the prompt and says what to ask, `searching` is placed in the same way.
"""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus, is_done
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.containers import ConditionalContainer, HSplit, Window
from prompt_toolkit.layout.controls import FormattedTextControl

STYLE = {"question": "bold"}


class Question:
    """That of one prompt. `about(text)` gives what to ask before `text` runs, or ""; `strict`: only y is a yes."""

    def __init__(self, session: PromptSession[str], about: Callable[[str], str], *, strict: bool) -> None:
        self._session = session
        self._about = about
        self._strict = strict
        self._asked = ""
        self._focused = Condition(lambda: bool(self._asked)) & has_focus(DEFAULT_BUFFER)
        buffer = session.default_buffer
        accept = buffer.accept_handler
        if accept is None:
            raise TypeError("prompt_toolkit accepts a line in another way than it used to")
        self._accept = accept
        buffer.accept_handler = self._may_accept
        buffer.on_text_changed += lambda _: self.end()
        buffer.on_cursor_position_changed += lambda _: self.end()
        self._place_below()

    @property
    def active(self) -> bool:
        """It waits for its answer."""
        return bool(self._asked)

    def end(self) -> None:
        """No: back to the prompt."""
        self._asked = ""

    def bind(self, keys: KeyBindings) -> None:
        """Add the keys. Last of all: a later one comes first."""

        @keys.add(Keys.Any, filter=self._focused)
        def _(event: KeyPressEvent) -> None:
            """Other letters do nothing: no wrong one shall be missed. Keys that move or change what is there go back to it."""

        @keys.add("enter", filter=self._focused, eager=True)
        def _(event: KeyPressEvent) -> None:
            if not self._strict:
                self._yes(event.current_buffer)

        @keys.add("y", filter=self._focused, eager=True)
        @keys.add("Y", filter=self._focused, eager=True)
        def _(event: KeyPressEvent) -> None:
            self._yes(event.current_buffer)

        @keys.add("n", filter=self._focused, eager=True)
        @keys.add("N", filter=self._focused, eager=True)
        @keys.add("escape", filter=self._focused, eager=True)  # or it would wait for what could follow
        @keys.add("c-c", filter=self._focused, eager=True)
        @keys.add("c-d", filter=self._focused, eager=True)
        @keys.add("c-g", filter=self._focused, eager=True)
        def _(event: KeyPressEvent) -> None:
            self.end()

    def _may_accept(self, buffer: Buffer) -> bool:
        asked = self._about(buffer.text)
        if not asked:
            return self._accept(buffer)
        self._asked = f"{asked}  y{'' if self._strict else ' or Enter'}: yes, n: back to the prompt"
        self._session.app.invalidate()
        return True  # the text stays

    def _yes(self, buffer: Buffer) -> None:
        self.end()
        self._accept(buffer)

    def _place_below(self) -> None:
        """Right below the prompt, which otherwise takes all the rows that there are."""
        active = Condition(lambda: bool(self._asked))
        prompt, layout = self._session.layout.current_window, self._session.layout.container
        if not isinstance(layout, HSplit):
            raise TypeError("prompt_toolkit arranges its prompt in another way than it used to")
        before = prompt.dont_extend_height
        prompt.dont_extend_height = active | before
        line = Window(FormattedTextControl(self._line), dont_extend_height=True, wrap_lines=True)
        layout.children.insert(1, ConditionalContainer(line, active & ~is_done))

    def _line(self) -> StyleAndTextTuples:
        return [("class:question", self._asked)]
