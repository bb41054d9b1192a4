"""What our own decoder makes of a direction's bytes, and what the dissector said of them, in one form so that they can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from remote_shell.errors import RemoteProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire.frames import CONTROL, HEADER, HEADER_SIZE, FrameDecoder
from remote_shell.wire.messages import MODELS, decode, unbase64
from tests.wireshark.captures import Pairs

CODES = {
    "frame_too_large",
    "empty_frame",
    "unknown_frame_type",
    "data_on_channel_zero",
    "bad_json",
    "bad_message",
    "unknown_message",
}
HEADER_CODES = {"frame_too_large", "empty_frame", "unknown_frame_type", "data_on_channel_zero"}
REMARKS = {"rmsh.fault", "rmsh.repeated", "rmsh.json", "rmsh.member"}

Seen = tuple[
    int, int, int, str, Pairs
]  # type, channel, length, code of the fault or "", the message and its members, sorted


def expected(data: bytes, most_after_login: int) -> Iterator[Seen]:
    """The frames of one direction from its first byte on; a frame that is refused is the last."""
    decoder = FrameDecoder(DEFAULT_LIMITS.frame_max_before_login)
    decoder.feed(data)
    at = 0
    while True:
        try:
            frame = decoder.next_frame()
        except RemoteProtocolError as error:
            length, kind, channel = HEADER.unpack_from(data, at)
            yield kind, channel, length, error.code, []
            return
        if frame is None:
            return
        at += HEADER_SIZE + len(frame.payload)
        code, pairs = read(frame.payload) if frame.type == CONTROL else ("", [("rmsh.data", frame.payload.hex(":"))])
        if ("rmsh.message", "auth") in pairs or ("rmsh.message", "welcome") in pairs:
            decoder.payload_max = most_after_login
        yield frame.type, frame.channel, len(frame.payload), code, pairs


def read(payload: bytes) -> tuple[str, Pairs]:
    """A control payload: the code of its fault, and what the dissector has to show: of what is no message the name at most."""
    pairs = named(payload)
    try:
        message = decode(payload)
    except RemoteProtocolError as error:
        return error.code, [] if error.code == "bad_json" else pairs  # too deep: nobody reads on
    for key, value in from_json(payload).items():  # as it was said: the model has what was not said, too
        if key != "type":
            assert isinstance(value, (list, dict, type(None))) or getattr(message, key) == value
            pairs += field(f"rmsh.{message.name}.{key}", key, value)
    return "", ordered(pairs)


def named(payload: bytes) -> Pairs:
    """The message's name, if it has one of ours, whatever else is wrong with it: after that a login is over."""
    try:
        tag = from_json(payload, allow_inf_nan=False)["type"]
        return [("rmsh.message", tag)] if tag in MODELS else []
    except (ValueError, TypeError, KeyError):
        return []


def ordered(pairs: Pairs) -> Pairs:
    """By name; values of one field stay in their order, but those whose field is not of one member."""
    return sorted(
        pairs, key=lambda pair: (pair[0], pair[1] if pair[0] in {"rmsh.null", "rmsh.empty", "rmsh.base64"} else "")
    )


def field(path: str, key: str, value: Any) -> Pairs:
    """What the dissector shows of a member."""
    match value:
        case None:
            return [("rmsh.null", key)]
        case []:
            return [("rmsh.empty", key)]
        case bool():
            return [(path, str(int(value)))]
        case {"base64": _}:
            return [(path, plain(value)), ("rmsh.base64", value["base64"])]
        case dict():
            return [(path, ""), *(found for name, one in value.items() for found in field(f"{path}.{name}", name, one))]
        case [[_, _], *_]:
            return [found for one, other in value for found in pair(path, one, other)]
        case list():
            return [found for one in value for found in field(path, key, one)]
    return [(path, plain(str(value)))]


def pair(path: str, name: Any, value: Any) -> Pairs:
    """An environment variable."""
    shown = [(path, f"{plain(name)}={plain(value)}")]
    if isinstance(name, str) and isinstance(value, str):
        return shown
    return [*shown, ("rmsh.base64", "=".join("" if isinstance(one, str) else one["base64"] for one in (name, value)))]


def plain(value: Any) -> str:
    """A string of the system as it is shown."""
    if isinstance(value, str):
        return value.replace("\0", "␀")
    try:
        raw = unbase64(value["base64"])
    except RemoteProtocolError:
        return "(bad base64)"
    return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in raw)


def seen(tree: Pairs) -> Seen:
    """What the dissector says of a frame."""
    values = dict(reversed(tree))
    code = values.get("rmsh.fault", "")
    remarks = {name.removeprefix("rmsh.") for name, _ in tree}
    assert remarks & CODES == ({code} if code else set()), "the expert information is the same code"
    kind, channel, length = (int(values[f"rmsh.{name}"]) for name in ("type", "channel", "length"))
    pairs = [
        (name, value) for name, value in tree[3:] if name not in REMARKS and name.removeprefix("rmsh.") not in CODES
    ]
    if code:
        pairs = [(name, value) for name, value in pairs if name == "rmsh.message"]
    return kind, channel, length, code, ordered(pairs)


def is_frame(tree: Pairs) -> bool:
    return tree[0][0] == "rmsh.length"
