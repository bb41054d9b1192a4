"""`remote-shell demo`: the list, a lesson on a terminal and as a page, keys, languages, and lessons that did not show what they say."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from remote_shell.cli import main
from remote_shell.demo import catalogue
from remote_shell.demo.catalogue import LESSONS, Lesson
from remote_shell.demo.stage import Stage

COMMAND = [sys.executable, "-m", "remote_shell", "demo"]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A lesson of two steps, `short`, whose claim is as true as the module's `shown`."""
    module = ModuleType("remote_shell.demo.lessons.short")

    def play(stage: Stage) -> None:
        stage.heading("First", "第一步")
        stage.say("Bytes.", "字节。")
        stage.heading("Second", "第二步")
        stage.claim("seen", module.shown, "It was seen.", "看到了。")

    module.__dict__.update(play=play, shown=True)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(LESSONS, "short", Lesson("short", ("A short one", "短课"), ("two steps", "两步")))
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    return module


def test_the_list_names_every_lesson(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["demo", "--language", "en"]) == 0
    english = capsys.readouterr().out
    assert main.main(["demo", "--language", "zh"]) == 0
    chinese = capsys.readouterr().out
    for name, lesson in LESSONS.items():
        assert f"  {name} " in english and lesson.title[0] in english
        assert f"  {name} " in chinese and lesson.title[1] in chinese


@pytest.mark.parametrize(
    ("variables", "chinese"),
    [
        ({}, False),
        ({"LANG": "zh_CN.UTF-8"}, True),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "de_DE", "LC_MESSAGES": "zh_TW"}, True),
    ],
)
def test_the_language_is_the_locales(
    short: ModuleType,
    variables: dict[str, str],
    chinese: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main.main(["demo", "short"]) == 0
    assert ("字节。" in capsys.readouterr().out) is chinese


def test_what_was_not_shown_is_a_failure(short: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short.__dict__["shown"] = False
    assert main.main(["demo", "short"]) == 1
    assert "✗ This run did not show it: It was seen." in capsys.readouterr().out
    page = tmp_path / "page.html"
    assert main.main(["demo", "short", "--html", str(page)]) == 1
    assert "did not happen in this run" in capsys.readouterr().err
    assert "✗" in page.read_text()


def test_a_page_takes_its_place_when_it_is_whole(
    short: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    page.write_text("an old one")
    monkeypatch.setitem(short.__dict__, "play", lambda stage: 1 / 0)
    assert main.main(["demo", "short", "--html", str(page)]) == 125
    assert page.read_text() == "an old one" and list(tmp_path.iterdir()) == [page]
    monkeypatch.undo()


def test_a_page_that_cannot_be_written_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["demo", "sticky", "--html", str(tmp_path / "none" / "page.html")]) == 125
    assert "No such file or directory" in capsys.readouterr().err
    assert main.main(["demo", "sticky", "--html", str(tmp_path)]) == 125
    assert "Is a directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["stiky"], 2, "did you mean 'sticky'?"),
        (["quux"], 2, "lessons are socket, partial, sticky"),
        (["--pause"], 2, "need a lesson"),
        (["sticky", "--html", "x", "--pause"], 2, "leave it out"),
        (["sticky", "--pause"], 2, "needs a terminal"),
    ],
)
def test_what_makes_no_sense_is_told(
    words: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["demo", *words]) == status
    assert told in capsys.readouterr().err


def test_the_lesson_after_one() -> None:
    assert catalogue.after("socket") == "partial"
    assert catalogue.after("frames") is None


class Terminal:
    """A lesson on a pty."""

    def __init__(self, *words: str) -> None:
        self.master, slave = pty.openpty()
        words = ("setsid", "--ctty", *COMMAND, *words)  # Ctrl-C needs a controlling terminal
        self.process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.seen = b""

    def until(self, text: str) -> None:
        deadline = time.monotonic() + 18
        while text.encode() not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(deadline - time.monotonic(), 0))
            assert ready, self.seen[-500:]
            try:
                data = os.read(self.master, 65536)
            except OSError:
                data = b""
            assert data, self.seen[-500:]
            self.seen += data

    def close(self) -> int:
        os.close(self.master)
        return self.process.wait(18)


@pytest.mark.screen
@pytest.mark.parametrize(("key", "status"), [(b"q", 0), (b"\x03", 130), (b"\x04", 0)])
def test_pausing_waits_for_keys(key: bytes, status: int) -> None:
    terminal = Terminal("partial", "--pause", "--language", "en")
    terminal.until("any key goes on")
    before = terminal.seen
    os.write(terminal.master, b"\x1b[C")  # one key, though three bytes
    terminal.seen = b""
    terminal.until("any key goes on")
    assert terminal.seen != before
    os.write(terminal.master, key)
    assert terminal.process.wait(18) == status
    terminal.close()


@pytest.mark.screen
def test_ctrl_c_leaves_a_lesson() -> None:
    terminal = Terminal("cures", "--language", "en")
    terminal.until("Cures")
    os.write(terminal.master, b"\x03")
    assert terminal.process.wait(18) == 130
    terminal.close()
