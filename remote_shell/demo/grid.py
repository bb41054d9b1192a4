"""Pictures in the cells of a terminal: blocks, exchanges, timelines and dumps, each as lines of text with styles."""

from __future__ import annotations

import itertools

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from remote_shell.demo import elements
from remote_shell.demo.elements import Blocks, Dump, Exchange, Piece, Row, Timeline
from remote_shell.demo.layout import borders, edges, visible, widths

# grey, six that tell apart for most eyes (also without red and green), the alarm
BACKGROUNDS = ("grey30", "dark_blue", "dark_orange3", "dark_green", "purple4", "dark_cyan", "deep_pink4", "red3")
NARROW = 60


def lines(element: Blocks | Exchange | Timeline | Dump, width: int) -> list[Text]:
    """A picture in lines of at most `width` cells."""
    match element:
        case Blocks():
            return _blocks(element, width)
        case Exchange():
            return _list(element, width) if width < NARROW else _exchange(element, width)
        case Timeline():
            return _timeline(element, width)
        case Dump():
            return _dump(element, width)


def filled(colour: int) -> str:
    """The style of a stretch in this colour."""
    return f"white on {BACKGROUNDS[colour]}"


def ink(colour: int) -> str:
    """The style of a text in this colour, readable on dark and on light."""
    return ("", "blue", "yellow", "green", "magenta", "cyan", "bright_magenta", "bold red")[colour]


# --- blocks -----------------------------------------------------------------------------------------------------------------------------


def _blocks(element: Blocks, width: int) -> list[Text]:
    label = max((cell_len(row.label) for row in element.rows), default=0) + 1
    beside = width >= NARROW and label <= width // 3
    room = width - (label if beside else 0)
    marks = edges(element)
    sizes = [high - low for low, high in itertools.pairwise(marks)]
    # a cell for each byte, in as many bands as it takes; or all of it to scale
    exact = sum(sizes) + len(marks) <= 2 * room
    columns = sizes if exact else _whole(widths(sizes, max(room - len(marks), len(sizes) * 3), 3))
    cells = [_row_cells(row, marks, columns) for row in element.rows]
    found: list[Text] = []
    for begin, end in itertools.pairwise(_bands(columns, room)):
        for row, drawn in zip(element.rows, cells, strict=True):
            band = drawn[begin:end]
            if not band:
                continue
            name = row.label if begin == 0 else ""
            line = Text(set_cell_size(name, label)) if beside else Text()
            if not beside and name:
                found.append(Text(name, "dim"))
            for char, style in band:
                line.append(char, style)
            found.append(line)
        found.append(Text())
    return found[:-1]


def _whole(columns: list[float]) -> list[int]:
    """The widths in whole cells, no more of them together."""
    found: list[int] = []
    exact = 0.0
    for column in columns:
        exact += column
        found.append(int(exact + 1e-6) - sum(found))
    return found


def _bands(columns: list[int], room: int) -> list[int]:
    """Where lines begin and the last one ends: at borders, if one is within the line, since a border and what follows it stay together."""
    found = [0]
    at = 0
    for column in columns:
        following = at + 1 + column
        if following + 1 - found[-1] > room and at > found[-1]:
            found.append(at)
        while following + 1 - found[-1] > room:
            found.append(found[-1] + room)
        at = following
    return [*found, at + 1]


def _row_cells(row: Row, marks: list[int], columns: list[int]) -> list[tuple[str, str]]:
    """One cell after the other: at each mark a column for a border, between two marks as many as they were given."""
    cells: list[tuple[str, str]] = []
    own = set(borders(row))
    at = 0
    for block in row.blocks:
        for piece in block.pieces:
            low, high = marks.index(at), marks.index(at + piece.size)
            style = filled(piece.colour) + (" strike dim" if block.lost else "")
            inside: list[str | None] = []
            for index in range(low, high):
                if index > low:
                    inside.append(None)  # another row's border: this one goes on
                inside += [" "] * columns[index]
            cells.append(("│", "bold") if marks[low] in own else ("╎", style))
            cells += [(char, style) for char in _filled_in(piece, inside)]
            at += piece.size
    if cells:
        cells.append(("│", "bold"))
    return cells


def _filled_in(piece: Piece, inside: list[str | None]) -> list[str]:
    """A piece's text in its cells: byte by byte where each byte has one, else the text, or the number of bytes, in their middle."""
    own = [index for index, char in enumerate(inside) if char is not None]
    chars = [" "] * len(inside)
    text = visible(piece.text)
    if len(text) == piece.size == len(own) and cell_len(text) == len(text):
        for index, char in zip(own, text, strict=True):
            chars[index] = char
        return chars
    for candidate in (text, f"{piece.size:,} B", f"{piece.size}", "…"):
        if 0 < cell_len(candidate) <= len(chars):
            before = (len(chars) - cell_len(candidate)) // 2
            after = len(chars) - cell_len(candidate) - before
            return [*" " * before, *candidate, *" " * after]
    return chars


# --- exchanges --------------------------------------------------------------------------------------------------------------------------


def _exchange(element: Exchange, width: int) -> list[Text]:
    count = len(element.actors)
    notes = [cell_len(text) for _, _, text in element.states]
    notes += [min(cell_len(arrow.text), 24) for arrow in element.arrows if arrow.source == arrow.destination]
    outer = [max(4, cell_len(name) // 2 + 1) for name in (element.actors[0], element.actors[-1])]
    margin = max(*outer, *(min(note + 2, width // 4) for note in notes)) if notes else max(outer)
    step = (width - 2 * margin - 1) // max(count - 1, 1)
    places = [margin + step * index for index in range(count)]
    canvas = _Canvas(width, places)
    for place, name in zip(places, element.actors, strict=True):
        canvas.middle(place, name, "bold")
    canvas.end(bars=False)
    canvas.end()
    for number, arrow in enumerate(element.arrows):
        if arrow.source == arrow.destination:
            for text in _folded(arrow.text, margin - 2 if arrow.source in (0, count - 1) else step - 3):
                canvas.beside(arrow.source, text, ink(arrow.colour) or "dim")
                canvas.end()
        else:
            _arrow(canvas, places, arrow)
        for actor, after, text in element.states:
            if after == number:
                canvas.beside(actor, text, "bold cyan")
        if canvas.used:
            canvas.end()
    return canvas.found


def _arrow(canvas: _Canvas, places: list[int], arrow: elements.Arrow) -> None:
    low, high = sorted((places[arrow.source], places[arrow.destination]))
    length = high - low - 1
    for text in _folded(arrow.text, length - 2):
        canvas.middle((low + high) // 2, text, ink(arrow.colour))
        canvas.end()
    shaft = ("╌" if arrow.inferred or arrow.lost else "─") * length
    right = arrow.destination > arrow.source
    if arrow.lost:
        half = length * 2 // 3
        shaft = shaft[:half] + "✗" + " " * (length - half - 1)
        shaft = shaft if right else shaft[::-1]
    else:
        shaft = shaft[:-1] + "▶" if right else "◀" + shaft[1:]
    canvas.put(low + 1, shaft, ink(elements.ALARM if arrow.lost else arrow.colour))


class _Canvas:
    """Lines with a bar at each place, on which texts are put."""

    def __init__(self, width: int, places: list[int]) -> None:
        self.width = width
        self.places = places
        self.found: list[Text] = []
        self.used: list[tuple[int, str, str]] = []

    def put(self, column: int, text: str, style: str) -> None:
        self.used.append((max(column, 0), text, style))

    def middle(self, column: int, text: str, style: str) -> None:
        self.put(min(column - cell_len(text) // 2, self.width - cell_len(text)), text, style)

    def beside(self, actor: int, text: str, style: str) -> None:
        """To the left of the first actor's bar, to the right of the others'."""
        if actor == 0:
            text = set_cell_size(text, min(cell_len(text), self.places[0] - 1))
            self.put(self.places[0] - 1 - cell_len(text), text, style)
        else:
            place = self.places[actor]
            self.put(place + 2, set_cell_size(text, min(cell_len(text), self.width - place - 2)), style)

    def end(self, bars: bool = True) -> None:
        """Ends the line: texts over bars over spaces."""
        line, at = Text(), 0
        bare = [(place, "│", "dim") for place in self.places] if bars else []
        taken = [(column, column + cell_len(text)) for column, text, _ in self.used]
        drawn = self.used + [bar for bar in bare if not any(low <= bar[0] < high for low, high in taken)]
        for column, text, style in sorted(drawn):
            line.append(" " * (column - at))
            line.append(text, style)
            at = max(at, column) + cell_len(text)
        self.found.append(line)
        self.used = []


def _folded(text: str, width: int) -> list[str]:
    """The text in pieces of at most `width` cells, broken at spaces where there are any."""
    width = max(width, 8)
    found: list[str] = []
    line = ""
    for char in visible(text).replace("\n", " "):
        if cell_len(line + char) > width:
            cut = line.rfind(" ")
            if cut > 0 and char != " ":
                found.append(line[:cut])
                line = line[cut + 1 :]
            else:
                found.append(line)
                line = ""
        line += char if line or char != " " else ""
    return [*found, line] if line else found


def _list(element: Exchange, width: int) -> list[Text]:
    """An exchange as a list, for a narrow terminal."""
    found: list[Text] = []
    for number, arrow in enumerate(element.arrows):
        source, destination = element.actors[arrow.source], element.actors[arrow.destination]
        who = (
            source
            if source == destination
            else f"{source} {'╌╌' if arrow.inferred or arrow.lost else '──'}▶ {destination}"
        )
        found.append(Text(who + (" ✗" if arrow.lost else ""), "bold"))
        found += [Text("  " + part, ink(arrow.colour)) for part in _folded(arrow.text, width - 2)]
        found += [
            Text(f"  [{element.actors[actor]}: {visible(text)}]", "cyan")
            for actor, after, text in element.states
            if after == number
        ]
    return found


# --- timelines --------------------------------------------------------------------------------------------------------------------------


def _timeline(element: Timeline, width: int) -> list[Text]:
    label = min(max((cell_len(lane.label) for lane in element.lanes), default=0) + 1, width // 3)
    room = width - label
    last = max((bar.end for lane in element.lanes for bar in lane.bars), default=0.0) or 1.0
    found: list[Text] = []
    legend: dict[int, str] = {}
    for lane in element.lanes:
        cells: list[tuple[str, str]] = [("·", "dim")] * room
        for bar in lane.bars:
            low = min(int(bar.start / last * room), room - 1)
            high = max(min(round(bar.end / last * room), room), low + 1)
            text = visible(bar.text)
            fits = cell_len(text) <= high - low
            before = (high - low - cell_len(text)) // 2 if fits else 0
            body = " " * before + text + " " * (high - low - before - cell_len(text)) if fits else " " * (high - low)
            if not fits:
                legend.setdefault(bar.colour, text)
            drawn = [(char, filled(bar.colour)) for char in body]
            # a wide character fills two cells: an empty one follows it
            padded = [
                each
                for char, style in drawn
                for each in ([(char, style), ("", "")] if cell_len(char) == 2 else [(char, style)])
            ]
            cells[low:high] = padded[: high - low]
        line = Text(set_cell_size(lane.label, label))
        for char, style in cells:
            line.append(char, style)
        found.append(line)
    scale = f"{last:.2f} s"
    found.append(Text(" " * label + "0" + scale.rjust(room - 1), "dim"))
    for colour, text in sorted(legend.items()):
        found.append(Text.assemble(" " * label, ("  ", filled(colour)), " ", text))
    return found


# --- dumps ------------------------------------------------------------------------------------------------------------------------------


def _dump(element: Dump, width: int) -> list[Text]:
    each = 16 if width >= 72 else 8
    found: list[Text] = []
    colours = [elements.GREY] * len(element.data)
    for span in element.spans:
        colours[span.start : span.end] = [span.colour] * (min(span.end, len(colours)) - span.start)
    for begin in range(0, len(element.data), each):
        line = Text(f"{begin:04x} ", "dim")
        shown = Text()
        for at in range(begin, min(begin + each, len(element.data))):
            byte = element.data[at]
            line.append("┃" if at in element.cuts else " ", "bold red")
            line.append(f"{byte:02x}", filled(colours[at]))
            shown.append(chr(byte) if 32 <= byte < 127 else "·", ink(colours[at]))
        line.append("   " * (begin + each - len(element.data)) + "  ")
        found.append(line + shown)
    for span in element.spans:
        name = f"{span.start}–{span.end - 1}" if span.end - span.start > 1 else f"{span.start}"
        for index, part in enumerate(_folded(span.text, width - 12)):
            first = Text.assemble(("  ", filled(span.colour)), f" {name:>7} ") if index == 0 else Text(" " * 10)
            found.append(first + Text(part))
    return found
