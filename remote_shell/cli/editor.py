"""Reading a line at the prompt: prompt_toolkit, set up for shell.

Enter runs what is whole and goes on with what is not; Alt-Enter always begins a new line; a paste lands in the editor and waits
for Enter, and one of several lines is asked about then. Never runs anything and knows no connection. Neighbours: `continuation`
says what is whole, `suggesting` and `searching` bring the history to the prompt, `tabbing` completes words, `pasting` finds pastes,
`confirming` asks, `inputrc` says whose keys it has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output import create_output
from prompt_toolkit.styles import Style

from remote_shell.cli import confirming, nameplate, searching, tabbing, toolbar
from remote_shell.cli.continuation import is_incomplete
from remote_shell.cli.history import History
from remote_shell.cli.inputrc import editing_mode
from remote_shell.cli.nameplate import Nameplate
from remote_shell.cli.pasting import JoinedInput
from remote_shell.cli.screen import Screen, directory_text
from remote_shell.cli.suggesting import Lines, Suggester

_MODES = {"emacs": EditingMode.EMACS, "vi": EditingMode.VI}
_PLAIN = {"auto-suggestion": "noinherit dim"}  # for terminals without colour too
_PLAIN |= {**searching.STYLE, **tabbing.STYLE, **toolbar.STYLE}
_STYLE = {"host": "bold", "directory": "ansicyan", "mark.failed": "ansired bold", "more": "ansibrightblack"}
_STYLE |= toolbar.COLOURS | nameplate.STYLE | confirming.STYLE


class Editor:
    """The prompt of the host on `plate`; `sign` ends the prompt; `below` is the toolbar's text.

    `completer` gives whom Tab asks; it is told how to learn the directory. `is_own` says of a line that it is for the REPL itself,
    and so whole whatever the shell would think of it; `is_grave` that a production host asks before it runs.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        plate: Nameplate,
        history: History,
        sign: str = "$",
        completer: Callable[[Callable[[], str]], tabbing.Asker] | None = None,
        below: Callable[[], StyleAndTextTuples] | None = None,
        is_own: Callable[[str], bool] = lambda text: False,
        is_grave: Callable[[str], bool] = lambda text: False,
        keyboard: Input | None = None,
    ) -> None:
        self.host = plate.name
        self.plate = plate
        self.history = history
        self.home = ""  # what ~ stands for
        self.shell = "bash"  # whose language decides where a line ends
        self.active = False  # the prompt is on the screen
        self._kept = ""  # what was typed when `wake` came
        self._word = not screen.colour or below is None  # colour alone says nothing, and so it may not stand alone
        self._is_own = is_own
        self._is_grave = is_grave
        self._pasted = (
            False  # several lines were, at this prompt: even if they are deleted, undoing would bring them back
        )
        self._sign = sign
        self._cwd = ""
        style = _STYLE | plate.style
        self._session: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=(keys := self._bindings()),
            editing_mode=_MODES[editing_mode(os.environ)],
            history=Lines(history),
            auto_suggest=None if screen.plain else Suggester(history, self._place),  # would be read out as typed
            bottom_toolbar=below,
            style=Style.from_dict(_PLAIN | (style if screen.colour else {})),
            prompt_continuation=_continuation,
            input_processors=[TabsProcessor(char1=" ", char2=" ")],
            input=keyboard if keyboard is not None else JoinedInput(sys.stdin),
            output=create_output(always_prefer_tty=True),  # stdout may be a file: the prompt goes where the person is
            include_default_pygments_style=False,
            reserve_space_for_menu=0,
        )
        self._search = searching.Search(self._session, history, self._place)
        self._question = confirming.Question(self._session, self._asked_before, strict=plate.production)
        self._tabs: tabbing.Tabs | None = None
        if completer is not None:
            self._tabs = tabbing.Tabs(self._session, lambda: completer(lambda: self._cwd))
            self._tabs.bind(keys)
        self._question.bind(keys)

    def keep(self, text: str) -> None:
        """What the next `read` begins with, after what is kept already."""
        self._kept += text

    async def read(self, cwd: str, *, failed: bool, given: str | None = None) -> str | None:
        """The next line or lines, an empty text after `wake`, or None on Ctrl-D. What Ctrl-C clears is forgotten.

        A line that is `given` is shown and returned at once.
        """
        self.active = True
        self._cwd = cwd
        try:
            while True:
                self._search.end()
                self._question.end()
                if self._tabs is not None:
                    self._tabs.close()
                whole = given is not None and self._is_whole(given)
                if given is not None and not whole:
                    self._kept = f"{given}\n{self._kept}"
                kept = given if whole else self._kept
                if not whole:
                    self._kept = ""
                self._pasted = self._pasted and bool(kept)
                given, message = None, self._prompt(cwd, failed)
                try:
                    return await self._session.prompt_async(
                        message, default=kept or "", accept_default=whole, handle_sigint=False
                    )
                except KeyboardInterrupt:
                    failed = False
                except EOFError:
                    return None
        finally:
            self.active = False

    def typed_ahead(self) -> bytes:
        """What was typed behind the line that `read` returned, if it came together with it; else the next `read` has it."""
        keys = get_typeahead(self._session.input)
        return "".join(key.data for key in keys if key.key != Keys.CPRResponse).encode("utf-8", "surrogateescape")

    def interrupt(self) -> bool:
        """SIGINT from elsewhere clears the line, as Ctrl-C does. False: the prompt is not there."""
        if not self.active or not self._session.app.is_running:
            return False
        if self._question.active:
            self._question.end()
            self.refresh()
            return True
        self._session.app.exit(exception=KeyboardInterrupt(), style="class:aborting")
        return True

    def wake(self) -> None:
        """Let `read` return now, with an empty text; what was typed is there again at the next `read`."""
        if self.active and self._session.app.is_running:
            self._kept = self._session.default_buffer.text
            self._session.app.exit(result="")

    def note(self, line: str) -> None:
        """A line was run: what it named can be completed."""
        if self._tabs is not None:
            self._tabs.note(line)

    def refresh(self) -> None:
        """What the toolbar tells has changed."""
        if self.active and self._session.app.is_running:
            self._session.app.invalidate()

    def _is_whole(self, text: str) -> bool:
        return self._is_own(text) or not is_incomplete(text, self.shell)

    def _asked_before(self, text: str) -> str:
        """What to ask before it runs; "" for nothing."""
        where = f"on {f'{nameplate.PRODUCTION} ' if self.plate.production else ''}{self.plate.text}?"
        count = sum(1 for line in text.split("\n") if line.strip())
        if self._pasted and count > 1:
            return f"Run {count} lines {where}"
        return f"Run this {where}" if self.plate.production and self._is_grave(text) else ""

    def _place(self) -> tuple[str, str]:
        return self.host, self._cwd

    def _prompt(self, cwd: str, failed: bool) -> StyleAndTextTuples:
        return [
            *self.plate.in_prompt(word=self._word),
            ("class:directory", f" {directory_text(cwd, self.home)} "),
            ("class:mark.failed" if failed else "", self._sign),
            ("", " "),
        ]

    def _bindings(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if self._is_whole(buffer.text):
                buffer.validate_and_handle()
            else:
                buffer.insert_text("\n")

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add(Keys.BracketedPaste)
        def _(event: KeyPressEvent) -> None:
            # Without the line ends at its end, which would leave the cursor below what Enter is to run.
            text = event.data.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
            if event.current_buffer is self._session.default_buffer:
                self._pasted = self._pasted or "\n" in text
            event.current_buffer.insert_text(text)

        @keys.add("c-z")
        def _(event: KeyPressEvent) -> None:
            if isinstance(event.app.input, JoinedInput):
                run_in_terminal(event.app.input.stop)

        @keys.add("c-r")
        def _(event: KeyPressEvent) -> None:
            if self._tabs is not None:
                self._tabs.close()
            self._question.end()
            self._search.begin()

        return keys


def _continuation(width: int, line_number: int, wrap_count: int) -> StyleAndTextTuples:
    """Before each line but the first; a long line that the terminal folds stays one to look at."""
    return [] if wrap_count else [("class:more", "> ")]
