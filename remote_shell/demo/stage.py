"""What a lesson talks to: it takes each text in English and in Chinese, keeps what was shown, and passes it on to whoever draws it.

A lesson never prints. A neighbour of `elements`; the words come from `words`.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path

from remote_shell.demo import elements, words
from remote_shell.demo.elements import Element, Shown

LANGUAGES = ("en", "zh")
PROGRAMS = Path(__file__).parent / "programs"


class Stage:
    """Where a lesson is played.

    Args:
        title: the lesson's, in both languages.
        language: `en` or `zh`.
        draw: called with each element as soon as it is there.
        pause: called between two steps; the default does not wait.
    """

    def __init__(
        self,
        title: tuple[str, str],
        language: str,
        draw: Callable[[Element], None] = lambda element: None,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        self.language = language
        self.shown = Shown(self.pick(*title), language)
        self._draw = draw
        self._pause = pause
        self._steps = 0

    def pick(self, en: str, zh: str) -> str:
        """The text in the lesson's language."""
        return zh if self.language == "zh" else en

    def show(self, element: Element) -> None:
        """Shows a table or a picture; its texts come from `pick`."""
        self.shown.elements.append(element)
        self._draw(element)

    def words(self, *names: str) -> None:
        """Explains words of the glossary that the lesson uses before it explains them itself."""
        self.show(elements.Words(tuple(words.entry(name, self.language) for name in names)))

    def heading(self, en: str, zh: str) -> None:
        """Begins a step; before each but the first there is a pause."""
        if self._steps:
            self._pause()
        self._steps += 1
        self.show(elements.Heading(self.pick(en, zh)))

    def say(self, en: str, zh: str) -> None:
        """Says a paragraph."""
        self.show(elements.Paragraph(self.pick(en, zh)))

    def program(self, name: str) -> None:
        """Says where a program of this lesson is and how to run it alone."""
        path = self._path(name)
        self.show(elements.Program(str(path), f"python3 {_quoted(path)}"))

    def source(self, program: str, function: str) -> None:
        """Shows one function of a program, as it stands in its file."""
        path = self._path(program)
        text = path.read_text(encoding="utf-8")
        found = next(
            node
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == function
        )
        lines = text.splitlines()[found.lineno - 1 : found.end_lineno]
        self.show(elements.Source("\n".join(lines), found.lineno, path.name))

    def claim(self, name: str, shown: object, en: str, zh: str) -> None:
        """Claims something of this run; `shown` is whether the run showed it. A claim that fails is told as one, never hidden."""
        self.show(elements.Claim(name, self.pick(en, zh), bool(shown)))

    @property
    def failed(self) -> list[str]:
        """The names of the claims that this run did not show."""
        return [each.name for each in self.shown.elements if isinstance(each, elements.Claim) and not each.shown]

    def _path(self, name: str) -> Path:
        return (PROGRAMS / "zh" if self.language == "zh" else PROGRAMS) / f"{name}.py"


def pieces(data: bytes, messages: Iterable[bytes], start: int = 0) -> tuple[elements.Piece, ...]:
    """Cuts bytes at the borders of the messages that they came from, a colour for each message in turn.

    Args:
        data: what a `recv` returned.
        messages: what was sent, in order, as one stream.
        start: where in that stream `data` begins.
    """
    found: list[elements.Piece] = []
    at = 0
    for number, message in enumerate(messages):
        low, high = max(at, start), min(at + len(message), start + len(data))
        if low < high:
            found.append(elements.Piece(text_of(data[low - start : high - start]), high - low, number % 6 + 1))
        at += len(message)
    return tuple(found)


def text_of(data: bytes) -> str:
    """Bytes for people to read: printable ASCII as it is, a line end as ⏎, a space as it is, all else as `·`."""
    return "".join("⏎" if byte == 10 else chr(byte) if 32 <= byte < 127 else "·" for byte in data)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
