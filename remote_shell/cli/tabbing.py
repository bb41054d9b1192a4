"""Tab at the prompt: one candidate is inserted, or what all have in common, or a menu opens below in which one is chosen.

The question runs beside the keys, and the next change of the line ends it: what comes late is never inserted. Whom to ask is made,
and its modules imported, at the first Tab. Neighbours: `completing` has the candidates, `editor` the prompt.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.buffer import Buffer, CompletionState
from prompt_toolkit.completion import Completer, Completion, DynamicCompleter
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, emacs_insert_mode, has_focus, vi_insert_mode
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

MENU_ROWS = 8
_RAN_MAX = 200  # lines that were run before the first Tab
STYLE = {
    "completion-menu.completion": "noinherit",  # for terminals without colour too: what is chosen stands in the line besides
    "completion-menu.completion.current": "noinherit reverse",
    "completion-menu.meta.completion": "noinherit dim",
    "completion-menu.meta.completion.current": "noinherit reverse",
    "scrollbar.background": "noinherit",
    "scrollbar.button": "noinherit reverse",
    "notice": "noinherit dim",
}


class Candidates(Protocol):
    """What could complete a word."""

    @property
    def problem(self) -> str:
        """What to tell the person, if anything."""

    def completions(self, text: str, after: str) -> list[Completion]:
        """All of them, for a line with `text` before the cursor and `after` behind it."""

    def common(self, text: str) -> Completion | None:
        """What all of them begin with, if that is more than is there."""


class Asker(Completer):
    """Whoever knows candidates."""

    @abstractmethod
    def known(self, text: str) -> Candidates | None:
        """Those for the end of `text`, the line before the cursor; None if somebody has to be asked."""

    @abstractmethod
    async def ask(self, text: str) -> Candidates:
        """The same, however long it takes within reason. Never raises, and may be cancelled."""

    @abstractmethod
    def note(self, line: str) -> None:
        """A line was run."""


class Tabs:
    """The Tab key of one prompt. `make` gives whom to ask."""

    def __init__(self, session: PromptSession[str], make: Callable[[], Asker]) -> None:
        self._session = session
        self._make = make
        self._asker: Asker | None = None
        self._ran: deque[str] = deque(maxlen=_RAN_MAX)
        self._asking: asyncio.Task[None] | None = None
        self._problem = ""
        session.completer = DynamicCompleter(lambda: self._asker)  # with one, there is room for a menu
        session.complete_while_typing = False
        session.reserve_space_for_menu = MENU_ROWS
        session.rprompt = self._notice
        session.default_buffer.on_text_changed += self._changed
        session.default_buffer.on_cursor_position_changed += self._changed

    def note(self, line: str) -> None:
        """A line was run."""
        if self._asker is not None:
            self._asker.note(line)
        else:
            self._ran.append(line)

    def close(self) -> None:
        """No question and no menu any more; what was typed stays."""
        self._changed(self._session.default_buffer)
        self._session.default_buffer.cancel_completion()

    def bind(self, keys: KeyBindings) -> None:
        """Add the keys. After those of the editor: a later one comes first."""
        prompt = has_focus(DEFAULT_BUFFER)
        menu = Condition(lambda: self._session.default_buffer.complete_state is not None)
        chosen = Condition(lambda: self._chosen() is not None)
        asking = Condition(lambda: self._asking is not None)
        # Alt with a key arrives as Esc and the key at once, and then is not meant for the menu: Alt-Enter would run the line.
        alone = Condition(lambda: not get_app().key_processor.input_queue)

        @keys.add("tab", filter=prompt & (vi_insert_mode | emacs_insert_mode))
        def _(event: KeyPressEvent) -> None:
            self._tab(event.current_buffer)

        @keys.add("s-tab", filter=prompt)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.complete_previous()

        @keys.add("enter", filter=prompt & chosen)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.complete_state = None  # the chosen text is in the line already

        @keys.add("escape", filter=prompt & (menu | asking) & alone, eager=True)
        def _(event: KeyPressEvent) -> None:
            self.close()

    def _tab(self, buffer: Buffer) -> None:
        if buffer.complete_state is not None:
            buffer.complete_next()
            return
        if self._asking is not None:
            return  # the answer to the same question is on its way
        if self._asker is None:
            self._asker = self._make()
            while self._ran:
                self._asker.note(self._ran.popleft())
        known = self._asker.known(buffer.document.text_before_cursor)
        if known is not None:
            self._use(buffer, known)  # at once: the next key may be there already
            return
        self._asking = get_app().create_background_task(
            self._ask(buffer, self._asker)
        )  # ends with the prompt at the latest
        self._asking.add_done_callback(self._asked)

    async def _ask(self, buffer: Buffer, asker: Asker) -> None:
        found = await asker.ask(buffer.document.text_before_cursor)
        self._asking = None  # what follows changes the line itself
        self._use(buffer, found)
        get_app().invalidate()

    def _use(self, buffer: Buffer, found: Candidates) -> None:
        before, after = buffer.document.text_before_cursor, buffer.document.text_after_cursor
        completions, common = found.completions(before, after), found.common(before)
        if len(completions) == 1:
            buffer.apply_completion(completions[0])
        elif common is not None:
            buffer.apply_completion(common)
        elif completions:
            buffer.complete_state = CompletionState(buffer.document, completions)
        self._problem = found.problem

    def _asked(self, task: asyncio.Task[None]) -> None:
        if self._asking is task:
            self._asking = None

    def _changed(self, buffer: Buffer) -> None:
        """The line is another one: nobody wants an answer to the old."""
        self._problem = ""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _chosen(self) -> Completion | None:
        state = self._session.default_buffer.complete_state
        return state.current_completion if state is not None else None

    def _notice(self) -> StyleAndTextTuples:
        return [("class:notice", self._problem)] if self._problem and not get_app().is_done else []
