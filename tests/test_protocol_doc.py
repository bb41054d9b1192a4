"""docs/protocol.md against the code: made parts are fresh, and no message, field, code or limit is missing or differs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.wire.channel import REPLY_TABLE, REQUEST_TABLE
from remote_shell.wire.messages import MODELS, KeyProof
from remote_shell.wire.model import REQUIRED

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\d+)\. [^\n]*\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that makes the parts."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import _protocol_page

    return _protocol_page


def rows(text: str) -> list[list[str]]:
    """The rows of all tables in a text, without heads; cells without blanks around them."""
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    heads = {at for at, row in enumerate(found[1:]) if set(row[0]) <= {"-"}}
    return [row for at, row in enumerate(found) if at not in heads and at - 1 not in heads]


# --- made parts


def test_made_parts_are_fresh(made: Any) -> None:
    """Mend it: scripts/make-state-diagrams."""
    assert made.stale(PAGE) == []
    assert made.fill(PAGE) == PAGE


def test_a_stale_part_is_found(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed table, figure or byte shows, and so does a part without its markers."""
    fresh = made.fill(PAGE)
    assert made.stale(fresh.replace("input_ended: eof", "input_ended: end")) == ["request-half"]
    assert made.stale(fresh.replace("00 00 00 03 01 00 00 00 01", "00 00 00 03 02 00 00 00 01")) == ["hex-dump"]
    assert made.stale(fresh.replace("<!-- made: resume -->", "")) == ["resume"]
    shorter = {pair: state for pair, state in REPLY_TABLE.items() if pair[1] != "done"}
    monkeypatch.setattr(made, "REPLY_TABLE", shorter)
    assert made.stale(fresh) == ["reply-half"]
    assert made.stale(made.fill(fresh)) == []


def test_an_unknown_marker_is_no_silence(made: Any) -> None:
    with pytest.raises(KeyError):
        made.fill("<!-- made: nothing -->\n<!-- end -->")


def test_the_command(made: Any, tmp_path: Path) -> None:
    """--check names what is stale and changes nothing; without it the page is mended."""
    for name in ("scripts", "docs", "remote_shell/wire"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "errors.py", "limits.py"):
        shutil.copy(ROOT / "remote_shell" / name, tmp_path / "remote_shell" / name)
    page = tmp_path / "docs" / "protocol.md"
    fresh = made.fill(PAGE)
    page.write_text(fresh.replace("input_ended: eof", "input_ended: end"), encoding="utf-8")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "scripts/_protocol_page.py", *words],
            cwd=tmp_path, env={"PYTHONPATH": "."}, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=15,
        )  # fmt: skip

    done = run("--check")
    assert done.returncode == 1 and "request-half" in done.stderr and "make-state-diagrams" in done.stderr
    assert run("--nonsense").returncode == 1
    assert run().returncode == 0
    assert page.read_text(encoding="utf-8") == fresh
    assert run("--check").returncode == 0


def test_the_examples_are_whole(made: Any) -> None:
    """The dump decodes to one command's frames; the resume has frames that were lost and came again."""
    dump = made.hex_dump()
    raw = bytes.fromhex("".join(re.findall(r"^[0-9a-f]{4}  ((?:[0-9a-f]{2} ?)+)", dump, re.MULTILINE)))
    decoder = made.FrameDecoder(2**20)
    decoder.feed(raw)
    names = [made.name_of(frame) for frame in iter(decoder.next_frame, None)]
    assert names == [
        *("hello", "hello", "auth", "welcome", "open", "opened", "stdout", "exit", "close", "close", "disconnect"),
    ]
    assert decoder.buffered == 0
    example = made.resume()
    lost = re.findall(r"^([CS]\d+) .*\(lost\)$", example, re.MULTILINE)
    assert len(lost) == 3 and all(example.count(f"\n{label} ") == 2 for label in lost)


# --- messages and fields


@pytest.mark.parametrize("name", MODELS)
def test_every_field_of_every_message(name: str) -> None:
    """Its own heading, its own table: exactly the model's fields, in its order, with their defaults."""
    found = re.search(rf"^#### `{name}` \((.*?)\)\n(.*?)(?=^###|^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"no heading for {name}"
    expected = [[f"`{key}`", default(field.default)] for key, field in MODELS[name].fields().items() if key != "type"]
    table = rows(found[2])
    assert [[row[0], row[2]] for row in table] == expected
    assert all(row[1] and row[3] for row in table), "every field has a type and a meaning"
    senders = [
        role for role, half in (("client", REQUEST_TABLE), ("server", REPLY_TABLE)) if (name in {w for _, w in half})
    ]
    if senders:
        assert found[1].split(",")[0] == ("both" if len(senders) == 2 else senders[0])


def default(value: object) -> str:
    """A default as the page writes it."""
    if value is REQUIRED:
        return "needed"
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def test_no_message_too_many() -> None:
    assert set(re.findall(r"^#### `(\w+)`", PAGE, re.MULTILINE)) == set(MODELS)


def test_fields_within_fields() -> None:
    assert all(f"`{name}` (base64" in SECTIONS["9"] for name in KeyProof.fields())
    assert '{"base64": "…"}' in SECTIONS["3"]


def test_choices_are_named() -> None:
    """Each literal value of a field stands in its table."""
    for name, model in MODELS.items():
        section = re.search(rf"^#### `{name}` .*?(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
        assert section
        for key, field in model.fields().items():
            inner = field.schema.get("schema", field.schema)  # of "or None"
            for choice in inner.get("expected", ()):
                assert key == "type" or f'`"{choice}"`' in section[0], (name, key, choice)


# --- codes


def codes_in(*folders: str) -> set[str]:
    """Every code with which the code raises a protocol error."""
    pattern = re.compile(r'Remote[A-Za-z]*Error\(\s*"([a-z_]+)"|[_.]error\(\s*"([a-z_]+)"')
    found = set()
    for folder in folders:
        for path in (ROOT / "remote_shell" / folder).rglob("*.py"):
            found |= {a or b for a, b in pattern.findall(path.read_text(encoding="utf-8"))}
    return found


def test_every_protocol_error_code() -> None:
    errors, goodbyes = SECTIONS["10"].split("| code | goodbye |")
    listed = {row[0].strip("`") for row in rows(errors)}
    raised = codes_in("wire", "server")
    assert {"wrong_stream", "bad_json", "frame_too_large", "ping_flood"} <= raised, "the search finds them"
    assert listed == raised
    server = (ROOT / "remote_shell" / "server").rglob("*.py")
    said = {code for path in server for code in re.findall(r'let_go\("(\w+)"', path.read_text(encoding="utf-8"))}
    assert {row[0].strip("`") for row in rows("| code | goodbye |" + goodbyes)} == said | {"bye", "internal_error"}


def test_every_rejection() -> None:
    """What the server can say in `rejected`."""
    from remote_shell import errors

    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "remote_shell" / "server").rglob("*.py")]
    found = {code for source in sources for code in re.findall(r'reject\(\s*"(\w+)"', source)}
    found |= {"not_permitted", "id_running", "id_unknown", "id_not_kept", "no_such_subsystem"}
    found |= {
        "id_conflict",
        "id_burnt",
        "too_many_channels",
        "too_many_commands",
        "resources",
        "bad_path",
        "bad_message",
        "refused",
    }
    for kind in (errors.CommandNotFoundError, errors.CommandNotExecutableError, errors.WorkingDirectoryError):
        found.add(kind.code)
    assert {row[0].strip("`") for row in rows(SECTIONS["7"])} == found


# --- limits


def test_every_limit_once(made: Any) -> None:
    """Those that a peer can see in the page's words, all others made from limits.py; and no figure differs."""
    listed = [row for row in rows(SECTIONS["13"]) if row[0].startswith("`")]
    names = [row[0].strip("`") for row in listed]
    assert len(names) == len(set(names))
    assert set(names) == {field.name for field in fields(Limits)}
    for name, row in zip(names, listed, strict=True):
        assert row[1] == made.shown(name, getattr(DEFAULT_LIMITS, name)), name


FIGURES = [  # figures in the text, which repeat a limit
    ("before the end of the login\n4 KiB", "frame_max_before_login"),
    ("sent 1 s after the connection was accepted", "refusal_time"),
    ("takes longer than\n10 s", "login_time"),
    ("default 60 s, at most 7 days", "grace"),
    ("default 60 s, at most 7 days", "grace_max"),
    ("acknowledge after 64 frames", "ack_frames"),
    ("or 512 KiB of payload", "ack_bytes"),
    ("reach 16 MiB or", "unacked_bytes_max"),
    ("or 4,096 frames", "unacked_frames_max"),
    ("nothing for 15 s", "ping_interval"),
    ("silent for\n45 s", "silence_max"),
    ("within 250 ms", "bye_kill_time"),
    ("latest 100 ms after", "exit_report_time"),
    ("TERM, after 2 s KILL", "kill_grace"),
    ("1,024 channels", "channels_max"),
    ("nor the size above 8 MiB", "window_max"),
    ("at most 64 KiB of data a frame", "data_frame_max"),
    ("at most 7 days or", "commands_remembered_time"),
    ("or 100,000 ids", "commands_remembered_max"),
]


@pytest.mark.parametrize(("phrase", "limit"), FIGURES)
def test_figures_in_the_text(phrase: str, limit: str, made: Any) -> None:
    assert phrase in PAGE
    assert made.shown(limit, getattr(DEFAULT_LIMITS, limit)) in phrase.replace("\n", " ")


def test_the_formatter_of_figures(made: Any) -> None:
    assert [made.shown("x", value) for value in (1 << 20, 3 << 10, 1500, 0.25, 45.0, 7 * 86400.0)] == [
        *("1 MiB", "3 KiB", "1,500", "250 ms", "45 s", "7 days"),
    ]
    assert made.shown("unacked_frames_max", 4096) == "4,096"


# --- what must be said


def test_the_transcript_is_spelled_out() -> None:
    from remote_shell.identity import secrets, sshsig
    from remote_shell.wire.handshake import CONTEXT, FRAME_MAX_LEAST

    section = SECTIONS["4"]
    assert len(rows(section)) == 13
    for text in (CONTEXT.decode(), sshsig.NAMESPACE, secrets._CONTEXT.decode(), "SSHSIG", "sha512", "HMAC-SHA256"):
        assert text in section
    assert f"at least {FRAME_MAX_LEAST:,}" in SECTIONS["9"]
