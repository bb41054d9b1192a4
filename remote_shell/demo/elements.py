"""What a lesson shows, free of how it is drawn: text, tables, and five pictures. `on_terminal` and `page` draw each of them.

Texts are in one language already. In them `` `code` `` is code and `*word*` is a word where it is explained.
A colour is a number: 0 is grey, 1 to 6 tell messages or fields apart, 7 is the alarm.
"""

from __future__ import annotations

from dataclasses import dataclass, field

GREY, ALARM = 0, 7


@dataclass(frozen=True, slots=True)
class Heading:
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Words:
    """The words that the lesson uses and does not explain itself: (word, what it means)."""

    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the lesson's: where it is, and how to run it alone."""

    path: str
    command: str


@dataclass(frozen=True, slots=True)
class Source:
    """Lines of a program, as they stand in its file; `first` is the number of the first of them."""

    code: str
    first: int
    name: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts below a head. `caption` stands above it."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one colour: `size` of them, with a text that is drawn where there is room for it."""

    text: str
    size: int
    colour: int = GREY


@dataclass(frozen=True, slots=True)
class Block:
    """What one call sent or returned: pieces that lie in it side by side. `lost`: it never arrived, and is drawn dashed."""

    pieces: tuple[Piece, ...]
    lost: bool = False

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class Row:
    label: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Rows of blocks over one scale of bytes, so that the borders of one row can be held against those of the next."""

    rows: tuple[Row, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Arrow:
    """One thing that crossed, from one actor to another (indexes). `inferred`: not seen, but known, and drawn dashed. `lost`: it ends on
    the way. An arrow from an actor to itself is a note beside its line: what it did then."""

    source: int
    destination: int
    text: str
    inferred: bool = False
    lost: bool = False
    colour: int = GREY


@dataclass(frozen=True, slots=True)
class Exchange:
    """Who sent what to whom, from top to bottom. `states`: what the kernel said of each actor's end (actor, after which arrow, text)."""

    actors: tuple[str, ...]
    arrows: tuple[Arrow, ...]
    states: tuple[tuple[int, int, str], ...] = ()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """Something that lasted from `start` to `end`, in seconds of the lane's clock."""

    start: float
    end: float
    text: str
    colour: int = GREY


@dataclass(frozen=True, slots=True)
class Lane:
    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Lanes over one clock: who waited for whom. The clock begins at 0."""

    lanes: tuple[Lane, ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to `end` (not with it) of a dump, and what they are."""

    start: int
    end: int
    text: str
    colour: int


@dataclass(frozen=True, slots=True)
class Dump:
    """Bytes in hexadecimal, coloured and named by spans. `cuts`: offsets at which a `recv` returned, drawn over the bytes."""

    data: bytes
    spans: tuple[Span, ...]
    cuts: tuple[int, ...] = ()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """What a program printed, as it printed it."""

    text: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that the lesson says of this very run, and whether the run showed it."""

    name: str
    text: str
    shown: bool


Element = Heading | Paragraph | Words | Program | Source | Table | Blocks | Exchange | Timeline | Dump | Output | Claim


@dataclass(slots=True)
class Shown:
    """A lesson as it was shown: its title, its language and all of its elements."""

    title: str
    language: str
    elements: list[Element] = field(default_factory=list)
