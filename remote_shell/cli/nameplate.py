"""The host as the prompt, the toolbar and the greeting name it: its label, its colour, and that it is a production host.

Pure. What colour says is said by a word as well, where there is no colour or no toolbar. Neighbours: `config.hosts` has the
values, `editor`, `toolbar` and `greeting` show them.
"""

from __future__ import annotations

from prompt_toolkit.formatted_text import StyleAndTextTuples

from remote_shell.cli.screen import printable

PRODUCTION = "PRODUCTION"
STYLE = {"production": "bold nodim ansiwhite bg:ansired"}


class Nameplate:
    """One host's. `name` is what the person calls it."""

    def __init__(
        self, name: str, *, label: str | None = None, colour: str | None = None, production: bool = False
    ) -> None:
        self.name = name
        self.production = production
        self.text = f"[{printable(label)}] {printable(name)}" if label else printable(name)
        self.style = {} if colour is None or colour == "white" else {"host": f"bold ansi{colour}"}

    def in_prompt(self, *, word: bool) -> StyleAndTextTuples:
        """Where the prompt begins. `word`: neither a colour nor a toolbar says what it is."""
        if not self.production:
            return [("class:host", self.text)]
        return [("class:production", f"{PRODUCTION} {self.text}" if word else self.text)]

    def in_toolbar(self) -> StyleAndTextTuples:
        """Where the toolbar begins."""
        if not self.production:
            return [("", self.text)]
        return [("class:production", PRODUCTION), ("", f" {self.text}")]
