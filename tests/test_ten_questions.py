"""scripts/ten_questions: how answers are judged, and, slow, what remote_shell and ssh answer."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import ten_questions_main as ten
from ten_questions_tools import digest

ROOT = Path(__file__).resolve().parent.parent


class Told(ten.Tool):
    """A tool that answers what it is told to, and starts nothing."""

    def __init__(self, answer: ten.Answer) -> None:
        self.name = "told"
        self.version = "1"
        self.answer = answer

    def call(self, line: str, **options: Any) -> ten.Answer:
        return self.answer


def ended(returncode: int = 0, stdout: bytes = b"", stderr: bytes = b"", **more: object) -> ten.Answer:
    return {"returncode": returncode, "stdout": digest(stdout), "stderr": digest(stderr), "seconds": 0.5, **more}


@pytest.mark.parametrize(
    ("ask", "answer", "verdict"),
    [
        (ten.ask_sigkill, ended(-9), (True, "-9")),
        (ten.ask_sigkill, ended(-1, signal="KILL"), (True, "signal KILL")),
        (ten.ask_sigkill, ended(255), (False, "255")),
        (ten.ask_sigkill, {"error": "none", "kind": "hangs"}, (False, "hangs")),
        (ten.ask_bytes, ended(stdout=b"a\xff\xfeb\nend\n"), (True, "as they are")),
        (ten.ask_bytes, ended(stdout="a\ufffd\ufffdb\nend\n".encode()), (False, "changed")),
        (ten.ask_bytes, ended(stdout=b"a"), (False, "cut off")),
        (ten.ask_eof, ended(stdout=b"over\n"), (True, "yes")),
        (ten.ask_eof, ended(1), (False, "1")),
        (ten.ask_lines, ended(stdout=b"1\n"), (False, "not whole, 0")),
        (ten.ask_lines, ended(stdout=b"".join(b"%d\n" % n for n in range(1, 100_001))), (True, "0.5 s")),
        (ten.ask_long_line, ended(stdout=b"x" * 5_000_000 + b"\n"), (True, "0.5 s")),
        (ten.ask_long_line, ended(stdout=b"x" * 4_999_999 + b"\n"), (False, "not whole, 0")),
        (ten.ask_both, ended(stdout=b"x" * 5_000_000 + b"\n"), (False, "not whole, 0")),
        (ten.ask_true, ended(), (True, "500.0 ms")),
        (ten.ask_true, ended(255), (False, "255")),
    ],
)
def test_an_answer_is_judged_by_what_was_seen(ask: ten.Ask, answer: ten.Answer, verdict: tuple[bool, str]) -> None:
    seen = ask(Told(answer))
    assert (seen.good, seen.words) == verdict


def test_what_is_left_running_is_found_and_ended() -> None:
    mark = ten.sleeper()
    with subprocess.Popen(["sh", "-c", f"sleep {mark} & sleep {mark}; :"]) as process:
        assert ten.wait_until(lambda: ten.running(mark) == 2, 10)  # and not the shell, which has the word in its line
        assert ten.end_left(mark) == 2
        assert ten.wait_until(lambda: ten.running(mark) == 0, 10)
        process.wait(10)


def test_bytes_and_text_are_compared_as_bytes() -> None:
    assert digest("ä\udcff") == digest("ä".encode() + b"\xff")
    assert digest(b"x" * 100) == {"size": 100, "sha256": hashlib.sha256(b"x" * 100).hexdigest(), "head": "x" * 64}


def test_a_tool_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ten.parse(["telnet"])
    assert ended.value.code == 2
    assert "no tool 'telnet'; there are remote_shell, ssh" in capsys.readouterr().err


@pytest.mark.slow
def test_remote_shell_and_ssh() -> None:
    argv = [sys.executable, str(ROOT / "scripts" / "ten_questions"), "--markdown", "remote_shell", "ssh"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(ten.QUESTIONS)
    ours = {row[0]: row[1] for row in rows[1:]}
    assert all(cell.startswith("✓ ") for cell in ours.values()), done.stdout
    assert ours["Exit 255 and a lost link: two things?"] == "✓ 255 and ConnectionLostError"
    assert ours["Death by SIGKILL?"] == "✓ -9"
    assert ours["A killed client leaves nothing running?"] == "✓ 0 of 2 left"
    # so that a page with this table can't go out of date unseen
    theirs = {row[0]: row[2] for row in rows[1:]}
    assert theirs["Exit 255 and a lost link: two things?"] == "✗ 255 and 255"
    assert theirs["A timeout leaves nothing running?"] == "✗ 2 of 2 left"
    page = (ROOT / "docs" / "ten-questions.md").read_text()
    for question, cell in ours.items():
        assert re.search(rf"^\| {re.escape(question)} \| {cell[0]} ", page, re.MULTILINE), (
            f"{question} is not on the page so"
        )
