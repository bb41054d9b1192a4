"""The lesson "frames", how frames are drawn: as arrows, as bytes in hexadecimal, as pieces of a row. Neighbour: `frames` tells of them."""

from __future__ import annotations

import json
from typing import Any

from remote_shell.demo.elements import GREY, Arrow, Dump, Piece, Span
from remote_shell.demo.lessons.frames_run import Recording, Seen
from remote_shell.demo.stage import Stage, text_of
from remote_shell.wire.frames import CONTROL, HEADER, HEADER_SIZE

HIDDEN = "…"
_SECRET = {"session", "proof"}  # whoever knows them could use them
_LONG = {"nonce", "keys"}  # nothing to see in them
_LENGTH, _TYPE, _CHANNEL, _PAYLOAD = 1, 2, 4, 3  # colours


def says(message: dict[str, Any]) -> str:
    """A message as JSON in one line, without what is secret and what is only long."""
    shown = {key: HIDDEN if key in _SECRET | _LONG else value for key, value in message.items() if key != "type"}
    return json.dumps(shown, ensure_ascii=False).strip()


def _colour(each: Seen) -> int:
    return 5 if each.frame.type == CONTROL and each.frame.channel else 1 if each.frame.type == CONTROL else _PAYLOAD


def arrow(stage: Stage, each: Seen) -> Arrow:
    """A frame, as what crossed."""
    size = len(each.frame.payload)
    sizes = f"{HEADER_SIZE} + {size:,} B"
    text = stage.pick(
        f"{each.name} (channel {each.frame.channel}, {sizes})", f"{each.name}（通道 {each.frame.channel}，{sizes}）"
    )
    return Arrow(each.source, 1 - each.source, text, colour=_colour(each))


def grouped(stage: Stage, seen: list[Seen]) -> list[Arrow]:
    """Arrows, one for all of a command's data frames that followed each other."""
    found: list[Arrow] = []
    run: list[Seen] = []
    for each, following in zip(seen, [*seen[1:], None], strict=True):
        run.append(each)
        same = following is not None and (following.source, following.frame[:2]) == (each.source, each.frame[:2])
        if same and each.frame.type != CONTROL:
            continue
        one = arrow(stage, each)
        if len(run) > 1:
            sizes = " + ".join(f"{len(part.frame.payload):,}" for part in run)
            number = each.frame.channel
            text = stage.pick(
                f"{each.name} (channel {number}, {len(run)} frames: {sizes} B)",
                f"{each.name}（通道 {number}，{len(run)} 个帧：{sizes} B）",
            )
            one = Arrow(each.source, 1 - each.source, text, colour=_PAYLOAD)
        found.append(one)
        run = []
    return found


def header_spans(stage: Stage, header: bytes) -> tuple[Span, ...]:
    """The three fields of a header."""
    length, kind, channel = HEADER.unpack_from(header)
    names = ("stdin", "stdout", "stderr", "JSON")
    return (
        Span(0, 4, stage.pick(f"length of the payload: {length:,}", f"载荷的长度：{length:,}"), _LENGTH),
        Span(4, 5, stage.pick(f"type: {kind}, {names[kind]}", f"类型：{kind}，即 {names[kind]}"), _TYPE),
        Span(5, 9, stage.pick(f"channel: {channel}", f"通道：{channel}"), _CHANNEL),
    )


def dump(stage: Stage, recording: Recording, each: Seen) -> Dump:
    """A frame, with the places where a `recv` of the relay ended in it."""
    data = recording.stream(each.source)[each.start : each.end]
    text = text_of(each.frame.payload) if each.frame.type != CONTROL else json.dumps(each.message)
    spans = (
        *header_spans(stage, data),
        Span(HEADER_SIZE, len(data), stage.pick(f"payload: {text}", f"载荷：{text}"), _PAYLOAD),
    )
    cuts = tuple(cut - each.start for cut in recording.cuts(each.source) if each.start < cut < each.end)
    caption = stage.pick(
        f"The frame `{each.name}`. A red bar ┃: here a `recv` of the relay ended.",
        f"`{each.name}` 帧。红色竖线 ┃：中继的一次 `recv` 到这里为止。",
    )
    return Dump(data, spans, cuts, caption)


def pieces(stage: Stage, answer: list[Seen], low: int, high: int) -> tuple[Piece, ...]:
    """The bytes from `low` up to `high` of the answer, cut where a header or a payload ends."""
    found: list[Piece] = []
    for number, each in enumerate(answer):
        middle = each.start + HEADER_SIZE
        for start, end, colour in ((each.start, middle, GREY), (middle, each.end, number % 6 + 1)):
            first, last = max(low, start), min(high, end)
            if first < last:
                text = text_of(each.frame.payload)[first - start : last - start] if colour else ""
                found.append(Piece(text, last - first, colour))
    return tuple(found)
