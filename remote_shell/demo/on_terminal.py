"""Draws a lesson's elements on a terminal, by `rich`: colours where there are any, and readable without.

Wide characters take two cells and are counted so. Nothing that a program printed reaches the terminal unescaped. `grid` draws the pictures.
"""

from __future__ import annotations

import re

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.syntax import Syntax
from rich.table import Table as RichTable
from rich.text import Text

from remote_shell.demo import elements, grid
from remote_shell.demo.elements import Element
from remote_shell.demo.layout import marked, visible

WIDEST = 100  # columns: longer lines are hard to read
# what may not begin a line of Chinese: it stays with the character before it
_CLOSING = "，。、；：？！）》」』”’…—,.;:?!)"
_WORD = re.compile(r"[^\s⺀-￿]+|[⺀-￿]|\s+")  # one wide character is a word
_OPENING = "（《「『“‘("


class OnTerminal:
    """Draws on a console what it is called with.

    Args:
        console: a rich console; its width counts.
        language: `en` or `zh`, for the few words of its own.
    """

    def __init__(self, console: Console, language: str) -> None:
        self.console = console
        self.width = min(console.width, WIDEST)
        self._zh = language == "zh"

    def __call__(self, element: Element) -> None:
        match element:
            case elements.Heading():
                self.console.print()
                self._text(styled(element.text, "bold underline"))
                self.console.print()
            case elements.Paragraph():
                self._text(styled(element.text))
                self.console.print()
            case elements.Words():
                self._words(element)
            case elements.Program():
                self._text(
                    Text.assemble(("程序：" if self._zh else "The program: ", "dim"), (visible(element.path), "bold"))
                )
                self._text(
                    Text.assemble(
                        ("单独运行：" if self._zh else "Run it alone: ", "dim"), (visible(element.command), "cyan")
                    )
                )
                self.console.print()
            case elements.Source():
                self._source(element)
            case elements.Table():
                self._table(element)
            case elements.Output():
                self._output(element)
            case elements.Claim():
                self._claim(element)
            case _:
                if element.caption:
                    self._text(styled(element.caption, "dim"))
                for line in grid.lines(element, self.width):
                    self.console.print(line, no_wrap=True, overflow="crop", crop=True)
                self.console.print()

    def _text(self, text: Text, indent: str = "") -> None:
        for line in wrapped(text, self.width - len(indent)):
            self.console.print(Text(indent) + line, no_wrap=True, overflow="ignore", crop=False)

    def _words(self, element: elements.Words) -> None:
        self._text(Text("本课用到的词：" if self._zh else "Words that this lesson uses:", "dim"))
        for word, meaning in element.entries:
            self._text(Text.assemble((word, "bold"), "：" if self._zh else ": ") + styled(meaning), "  ")
        self.console.print()

    def _source(self, element: elements.Source) -> None:
        self._text(Text(f"{element.name}:{element.first}", "dim"))
        code = Syntax("", "python", theme="ansi_dark", background_color="default").highlight(element.code)
        code.rstrip()
        lines = code.split("\n", allow_blank=True)
        digits = len(str(element.first + len(lines) - 1))
        for number, line in enumerate(lines, element.first):
            depth = len(line.plain) - len(line.plain.lstrip())
            first, *rest = wrapped(line, self.width - digits - 3)
            if rest:  # goes on below, two columns further in
                indent = Text(" " * (depth + 2))
                over = line[len(first) :]
                over = over[len(over.plain) - len(over.plain.lstrip()) :]
                rest = [indent + part for part in wrapped(over, self.width - digits - 3 - len(indent))]
            for index, part in enumerate([first, *rest]):
                gutter = Text(f"  {number if index == 0 else '':>{digits}} ", "dim")
                self.console.print(gutter + part, no_wrap=True, overflow="ignore", crop=False)
        self.console.print()

    def _table(self, element: elements.Table) -> None:
        if element.caption:
            self._text(styled(element.caption, "dim"))
        table = RichTable(show_lines=any(len(cell) > 30 for row in element.rows for cell in row), header_style="bold")
        for cell in element.head:
            table.add_column(_Cell(styled(cell)), overflow="fold")
        for row in element.rows:
            table.add_row(*(_Cell(styled(cell)) for cell in row))
        self.console.print(table, width=min(self.width, self.console.width))
        self.console.print()

    def _output(self, element: elements.Output) -> None:
        if element.caption:
            self._text(styled(element.caption, "dim"))
        for line in element.text.rstrip("\n").split("\n"):
            for part in wrapped(Text(visible(line)), self.width - 2):
                self.console.print(Text("│ ", "dim") + part, no_wrap=True, overflow="ignore", crop=False)
        self.console.print()

    def _claim(self, element: elements.Claim) -> None:
        if element.shown:
            self._text(Text("✓ ", "bold green") + styled(element.text))
        else:
            missed = "✗ 这一次没有出现：" if self._zh else "✗ This run did not show it: "
            self._text(Text(missed, "bold red") + styled(element.text))
        self.console.print()


class _Cell:
    """A cell of a table, whose lines break where `wrapped` breaks them."""

    def __init__(self, text: Text) -> None:
        self._text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from wrapped(self._text, options.max_width)


def styled(text: str, style: str = "") -> Text:
    """A text whose marks are shown."""
    found = Text(style=style)
    for mark, part in marked(visible(text)):
        found.append(part, {"plain": "", "code": "cyan", "term": "bold italic"}[mark])
    return found


def wrapped(text: Text, width: int) -> list[Text]:
    """The text in lines of at most `width` cells: broken at spaces and between wide characters, but not before a closing sign."""
    width = max(width, 2)  # a wide character's
    lines: list[Text] = []
    for paragraph in text.split("\n", allow_blank=True):
        plain = paragraph.plain
        line, at = Text(), 0
        while found := _WORD.match(plain, at):
            end = found.end()
            while not found[0].isspace() and end < len(plain) and plain[end] in _CLOSING:
                end += 1
            word = paragraph[at:end]
            at = end
            room = width - line.cell_len
            if word.plain.isspace():
                if line.plain and word.cell_len <= room:
                    line += word
                elif line.plain or not lines:
                    line += word[: max(room, 0)]
                continue
            if word.cell_len > room and line.plain.strip():
                opening = len(line) - len(line.plain.rstrip(_OPENING))
                carried = line[len(line) - opening :] if opening else Text()
                kept = line[: len(line) - opening] if opening else line
                kept.rstrip()
                lines.append(kept)
                line = carried
            while word.cell_len > width:  # longer than a line: broken where it must be
                cut = width
                while word[:cut].cell_len > width:
                    cut -= 1
                lines.append(word[:cut])
                word = word[cut:]
            line += word
        line.rstrip()
        lines.append(line)
    return lines
