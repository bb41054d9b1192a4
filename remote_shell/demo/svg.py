"""The pictures as SVG: blocks, exchanges and timelines. Each is whole in itself, on a ground of its own, readable on light and dark pages.

No script, no link, nothing from a network. Neighbour: `page` puts them into a page; a script puts them beside the text in docs/.
"""

from __future__ import annotations

import itertools
from xml.sax.saxutils import escape

from remote_shell.demo import elements
from remote_shell.demo.elements import Arrow, Blocks, Exchange, Piece, Timeline
from remote_shell.demo.layout import borders, edges, visible, widths

FILLS = ("#6b7280", "#1d4ed8", "#b45309", "#15803d", "#7e22ce", "#0e7490", "#be185d", "#dc2626")
WIDTH = 760
_CHAR = 7.25  # of the 12 px face, with some room; a wide character takes two
_PAD = 12


def picture(element: Blocks | Exchange | Timeline) -> str:
    """The picture as one `<svg>` element."""
    match element:
        case Blocks():
            return _blocks(element)
        case Exchange():
            return _exchange(element)
        case Timeline():
            return _timeline(element)


def _wide(text: str) -> float:
    return sum(2 if ord(char) > 0x2E7F else 1 for char in text) * _CHAR


def _svg(height: float, body: list[str], name: str) -> str:
    label = escape(name, {'"': "&quot;"})
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img" '
        f"aria-label=\"{label}\" font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', "
        f'\'Noto Sans CJK SC\', monospace" font-size="12"><rect width="100%" height="100%" rx="8" fill="#fdfdfb"/>{"".join(body)}</svg>'
    )


def _text(x: float, y: float, text: str, *, fill: str = "#1f2937", anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{fill}" text-anchor="{anchor}"{more} xml:space="preserve">{escape(visible(text))}</text>'


def _blocks(element: Blocks) -> str:
    marks = edges(element)
    sizes = [high - low for low, high in itertools.pairwise(marks)]
    label = max((_wide(row.label) for row in element.rows), default=0) + 2 * _PAD
    beside = label < WIDTH / 3
    left = label if beside else _PAD
    room = WIDTH - left - _PAD
    scale = min(room / max(sum(sizes), 1), 2 * _CHAR)
    columns = [size * scale for size in sizes] if scale > _CHAR else _shared(sizes, room)
    places = dict(zip(marks, itertools.accumulate(columns, initial=left), strict=True))
    body: list[str] = []
    y = float(_PAD)
    for row in element.rows:
        if beside:
            body.append(_text(_PAD, y + 20, row.label))
        else:
            body.append(_text(_PAD, y + 10, row.label))
            y += 16
        at = 0
        for block in row.blocks:
            for piece in block.pieces:
                body.append(_piece(piece, places[at], places[at + piece.size], y, lost=block.lost))
                at += piece.size
        for border in borders(row) if row.blocks else ():
            x = places[border]
            body.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 3:.1f}" y2="{y + 33:.1f}" stroke="#111827" stroke-width="2.5"/>'
            )
        y += 44
    return _svg(y, body, element.caption)


def _shared(sizes: list[int], room: float) -> list[float]:
    """Widths in proportion, but none below what shows a digit or two; with very many pieces all are narrower."""
    least = min(22.0, room / max(len(sizes), 1))
    scale = room / max(sum(sizes), 1)
    wanted = widths([max(1, round(size * 100)) for size in sizes], room, least)
    return [max(width, 1.0) for width in wanted] if sum(wanted) <= room + 1 else [size * scale for size in sizes]


def _piece(piece: Piece, low: float, high: float, y: float, *, lost: bool) -> str:
    fill = FILLS[piece.colour]
    look = f'fill="none" stroke="{fill}" stroke-dasharray="4 3"' if lost else f'fill="{fill}"'
    text = next(
        (each for each in (visible(piece.text), f"{piece.size:,} B", f"{piece.size}") if _wide(each) + 4 <= high - low),
        "",
    )
    title = f"<title>{escape(visible(piece.text[:200]))} ({piece.size} B)</title>"
    shown = _text((low + high) / 2, y + 20, text, fill=fill if lost else "#ffffff", anchor="middle") if text else ""
    return f'<g>{title}<rect x="{low + 0.5:.1f}" y="{y:.1f}" width="{max(high - low - 1, 0.5):.1f}" height="30" {look}/>{shown}</g>'


def _exchange(element: Exchange) -> str:
    count = len(element.actors)
    notes = [_wide(text) for _, _, text in element.states]
    notes += [_wide(arrow.text) for arrow in element.arrows if arrow.source == arrow.destination]
    margin = min(
        max([70.0, *(_wide(name) / 2 + _PAD for name in element.actors), *(note + 24 for note in notes)]), WIDTH / 3.4
    )
    step = (WIDTH - 2 * margin) / max(count - 1, 1)
    places = [margin + step * index for index in range(count)]
    body: list[str] = []
    y = 58.0
    for number, arrow in enumerate(element.arrows):
        source, destination = places[arrow.source], places[arrow.destination]
        own = arrow.source == arrow.destination
        room = (margin - 24 if arrow.source in (0, count - 1) else step - 24) if own else abs(destination - source) - 24
        texts = _folded(arrow.text, room)
        if own:
            for text in texts:
                body.append(_beside(places, arrow.source, y, text, FILLS[arrow.colour]))
                y += 16
            y += 6
        else:
            for text in texts:
                body.append(
                    _text(
                        (source + destination) / 2,
                        y,
                        text,
                        fill=FILLS[arrow.colour] if arrow.colour else "#1f2937",
                        anchor="middle",
                    )
                )
                y += 15
            y -= 8
            body.append(_shaft(arrow, source, destination, y))
            y += 26
        beside = [(actor, text) for actor, after, text in element.states if after == number]
        for actor, text in beside:
            # beside an arrow's end; below a note, which stands there itself
            body.append(_beside(places, actor, y - 4 if own else y - 16, text, "#0e7490", ' font-weight="bold"'))
        y += (20 if own else 8) if beside else 0
    bars = [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="34" y2="{y:.1f}" stroke="#9ca3af"/>' for x in places]
    heads = [
        _text(x, 24, name, anchor="middle", more=' font-weight="bold"')
        for x, name in zip(places, element.actors, strict=True)
    ]
    return _svg(y + _PAD, bars + heads + body, element.caption)


def _beside(places: list[float], actor: int, y: float, text: str, fill: str, more: str = "") -> str:
    if actor == 0:
        return _text(places[0] - 8, y, text, fill=fill, anchor="end", more=more)
    return _text(places[actor] + 8, y, text, fill=fill, more=more)


def _shaft(arrow: Arrow, source: float, destination: float, y: float) -> str:
    colour = FILLS[elements.ALARM if arrow.lost else arrow.colour]
    dash = ' stroke-dasharray="5 4"' if arrow.inferred or arrow.lost else ""
    way = 1 if destination > source else -1
    end = source + (destination - source) * 2 / 3 if arrow.lost else destination
    head = (
        f'<path d="M{end - 6:.1f} {y - 6:.1f} l12 12 m0 -12 l-12 12" stroke="{colour}" stroke-width="2.5" fill="none"/>'
        if arrow.lost
        else f'<path d="M{end:.1f} {y:.1f} l{-10 * way} -5 v10 z" fill="{colour}"/>'
    )
    return f'<line x1="{source:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="1.8"{dash}/>{head}'


def _folded(text: str, room: float) -> list[str]:
    found: list[str] = []
    line = ""
    for char in visible(text).replace("\n", " "):
        if _wide(line + char) > max(room, 60):
            cut = line.rfind(" ") if char != " " else len(line)
            if cut <= 0:
                cut = len(line)
            found.append(line[:cut])
            line = line[cut:].lstrip()
        line += char if line or char != " " else ""
    return [*found, line] if line else found


def _timeline(element: Timeline) -> str:
    left = min(max((_wide(lane.label) for lane in element.lanes), default=0) + 2 * _PAD, WIDTH / 3)
    room = WIDTH - left - 2 * _PAD
    last = max((bar.end for lane in element.lanes for bar in lane.bars), default=0.0) or 1.0
    body: list[str] = []
    legend: dict[int, str] = {}
    y = float(_PAD)
    for lane in element.lanes:
        body.append(_text(_PAD, y + 17, lane.label))
        body.append(
            f'<line x1="{left:.1f}" x2="{left + room:.1f}" y1="{y + 13:.1f}" y2="{y + 13:.1f}" stroke="#d1d5db"/>'
        )
        for bar in lane.bars:
            low, high = left + bar.start / last * room, left + bar.end / last * room
            high = max(high, low + 2)
            fits = _wide(bar.text) + 4 <= high - low
            if not fits:
                legend.setdefault(bar.colour, bar.text)
            title = f"<title>{escape(visible(bar.text))}: {bar.start:.3f}–{bar.end:.3f} s</title>"
            shown = _text((low + high) / 2, y + 17, bar.text, fill="#ffffff", anchor="middle") if fits else ""
            place = f'x="{low:.1f}" y="{y:.1f}" width="{high - low:.1f}" height="26"'
            body.append(f'<g>{title}<rect {place} rx="3" fill="{FILLS[bar.colour]}"/>{shown}</g>')
        y += 34
    body.append(_text(left, y + 10, "0", fill="#6b7280"))
    body.append(_text(left + room, y + 10, f"{last:.2f} s", fill="#6b7280", anchor="end"))
    y += 22
    x = left
    for colour, text in sorted(legend.items()):
        if x + _wide(text) + 40 > WIDTH:
            x, y = left, y + 20
        body.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="14" height="12" fill="{FILLS[colour]}"/>')
        body.append(_text(x + 20, y + 10, text))
        x += _wide(text) + 44
    return _svg(y + (24 if legend else 4), body, element.caption)
