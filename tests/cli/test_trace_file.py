"""A trace in a file: what is written is what is read, whatever the bytes; what is damaged is told, and costs nothing else."""

from __future__ import annotations

import json
import os
import stat
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.cli.trace_file import LINE_MAX, DamagedError, TraceWriter, line_of, read_events, read_head
from remote_shell.client.tracing import Kind, TraceEvent
from remote_shell.errors import UsageError
from remote_shell.wire.frames import encode

EVENT = TraceEvent(2.5, "box", 1, "frame", True, encode(0, 1, b"hello"))


def events_of(path: Path) -> list[TraceEvent | DamagedError]:
    with path.open("rb") as file:
        read_head(file, str(path))
        return list(read_events(file))


def good(found: list[TraceEvent | DamagedError]) -> list[bytes]:
    return [one.raw for one in found if isinstance(one, TraceEvent)]


def faults(found: list[TraceEvent | DamagedError]) -> list[str]:
    return [str(one) for one in found if isinstance(one, DamagedError)]


@st.composite
def events(draw: st.DrawFn) -> TraceEvent:
    at = draw(st.integers(0, 10**12)) / 10**6
    host, connection = draw(st.text(max_size=8)), draw(st.integers(1, 2**40))
    kind: Kind = draw(st.sampled_from(["connected", "failed", "frame", "part", "stray", "closed"]))
    if kind in ("connected", "failed", "closed"):
        return TraceEvent(at, host, connection, kind, text=draw(st.text()))
    raw = draw(st.binary(min_size=1))
    if kind == "frame":
        raw = encode(draw(st.integers(0, 255)), draw(st.integers(0, 2**32 - 1)), raw)
    marks = sorted(draw(st.sets(st.integers(0, len(raw)), max_size=6)))
    hidden = tuple((begin, end - begin) for begin, end in zip(marks[::2], marks[1::2], strict=False))
    why, again = draw(st.text(max_size=5)) if hidden else "", draw(st.booleans())
    return TraceEvent(at, host, connection, kind, draw(st.booleans()), raw, hidden, why, again)


@given(st.lists(events(), max_size=6), st.integers(0, 2000))
def test_what_is_written_is_read(written: list[TraceEvent], cut: int) -> None:
    lines = [json.dumps(line_of(event, 0.0)).encode() + b"\n" for event in written]
    text = b"".join(lines)
    assert list(read_events(BytesIO(text))) == written
    # and of a file that was cut anywhere all that is whole
    part = list(read_events(BytesIO(text[: len(text) - cut] if cut < len(text) else b"")))
    whole = [one for one in part if isinstance(one, TraceEvent)]
    assert whole == written[: len(whole)] and len(part) - len(whole) <= 1
    assert sum(map(len, lines[: len(whole)])) <= max(0, len(text) - cut)


@given(st.binary(max_size=200))
def test_any_line_is_an_event_or_a_fault(line: bytes) -> None:
    text = json.dumps(line_of(EVENT, 0.0)).encode() + b"\n"
    found = list(read_events(BytesIO(line.replace(b"\n", b"") + b"\n" + text)))
    assert [type(one) for one in found[:-1]] in ([DamagedError], [TraceEvent]) and found[-1] == EVENT


def test_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "t"
    before = os.umask(0)
    try:
        writer = TraceWriter(str(path), named=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    writer(EVENT._replace(at=writer._began + 2.5))
    with path.open("rb") as file:  # while it is written
        head = read_head(file, "t")
        assert head.named and head.software.startswith("remote-shell/") and head.began > 1e9
        assert list(read_events(file)) == [EVENT]
    writer.close()
    writer.close()
    writer(EVENT)


def test_a_trace_of_ours_is_replaced_and_so_is_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for _ in range(2):
        writer = TraceWriter(str(path))
        writer(EVENT)
        writer.close()
        assert len(events_of(path)) == 1
        path.chmod(0o644)
    path.write_bytes(b"")
    TraceWriter(str(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and events_of(path) == []


@pytest.mark.parametrize("kind", ["text", "symlink", "dangling", "fifo", "folder", "device", "missing"])
def test_nothing_else_is_written_over(kind: str, tmp_path: Path) -> None:
    path, other = tmp_path / "t", tmp_path / "other"
    if kind == "text":
        path.write_text("the only copy\n")
    elif kind == "symlink":
        TraceWriter(str(other)).close()
        path.symlink_to(other)
    elif kind == "dangling":
        path.symlink_to(other)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/null")
    else:
        path = tmp_path / "none" / "t"
    with pytest.raises(UsageError if kind not in ("folder", "missing") else OSError) as caught:
        TraceWriter(str(path))
    assert str(path) in str(caught.value)
    assert kind != "text" or path.read_text() == "the only copy\n"
    assert kind != "dangling" or not other.exists()


def test_a_file_of_somebody_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t"
    path.touch()
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(UsageError, match="somebody else"):
        TraceWriter(str(path))


def test_a_disk_that_is_full_is_told_once_and_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = TraceWriter(str(tmp_path / "t"))
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._descriptor)
    os.close(full)
    writer(EVENT)
    writer(EVENT)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "No space left on device; the command goes on" in said


def test_a_damaged_line_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "t"
    writer = TraceWriter(str(path))
    for _ in range(3):
        writer(EVENT)
    writer.close()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(
        lines[0] + lines[1] + b"\0\xff garbage\n" + lines[2] + b"x" * (LINE_MAX + 100) + b"\n" + lines[3][:-30]
    )
    found = events_of(path)
    assert good(found) == [EVENT.raw] * 2
    assert faults(found) == [
        "line 3 is damaged; it is left out",
        "line 5 is longer than any of a trace; it is left out",
        "line 6 is cut off: the client was killed, its disk was full, or it still writes",
    ]


@pytest.mark.parametrize(
    ("change", "value"),
    [
        *[("t", None), ("t", []), ("t", 1e300), ("host", 7), ("connection", "1"), ("connection", True), ("event", "x")],
        *[
            ("event", []),
            ("way", "up"),
            ("raw", "!"),
            ("raw", "AAAA"),
            ("raw", 7),
            ("hidden", [[0]]),
            ("hidden", [[9, 99]]),
        ],
        *[("hidden", [[5, 2], [4, 1]]), ("hidden", [[1, 0]]), ("hidden", [[-1, 2]]), ("hidden", 7), ("why", 7)],
    ],
)
def test_a_line_that_says_nonsense_is_damaged(change: str, value: object) -> None:
    record = {**line_of(EVENT, 0.0), change: value}
    found = list(read_events(BytesIO(json.dumps(record).encode() + b"\n")))
    assert faults(found) == ["line 2 is damaged; it is left out"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "is empty"),
        (b"\x7fELF\0\0", "is no trace"),
        (b"a diary\n", "is no trace"),
        (b"[" * 5000 + b"\n", "is no trace"),
        (b'{"format":"pcap"}\n', "is no trace"),
        (b'{"format":"remote-shell trace","version":2}\n', "version 2 of the format, and this remote-shell reads 1"),
    ],
)
def test_a_foreign_file_is_told_as_one(text: bytes, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        read_head(BytesIO(text), "it")
