"""What the own commands show, as text."""

from __future__ import annotations

import pytest

from remote_shell.cli import own_texts
from remote_shell.cli.history import Entry
from remote_shell.cli.ran import Commands
from remote_shell.cli.screen import Screen

SCREEN = Screen({"TERM": "xterm", "NO_COLOR": "1"})
PLAIN = Screen({"TERM": "xterm"}, plain=True)


@pytest.mark.parametrize("topic", ["", *own_texts.TOPICS])
def test_each_help_fits_a_screen(topic: str) -> None:
    text = own_texts.TOPICS.get(topic, own_texts.HELP).replace("{p}", ":")
    assert len(text.splitlines()) <= 20 and max(map(len, text.splitlines())) <= 82
    assert "{" not in text


def test_the_help_names_every_topic() -> None:
    named = own_texts.HELP.splitlines()[0].partition("topics: ")[2].split()
    assert set(named) <= set(own_texts.TOPICS) and len(named) > 5


def test_an_end_in_one_line_with_signs_or_with_words() -> None:
    ran = Commands().begin("make\n-j8", "/")
    ran.end(0, None, (), 12.34)
    assert own_texts.ended(SCREEN, ran) == "[1] ✓ 12.3s make -j8"
    assert own_texts.ended(PLAIN, ran) == "[1] done 12.3s make -j8"
    ran.end(143, "SIGTERM", (), 1)
    assert own_texts.ended(SCREEN, ran) == "[1] ✗ SIGTERM 1.0s make -j8"
    assert own_texts.ended(PLAIN, ran) == "[1] ended by SIGTERM 1.0s make -j8"
    ran.end(None, lost="the server was started anew", duration=2)
    assert own_texts.ended(SCREEN, ran) == "[1] lost 2.0s make -j8"
    assert "ended     lost, the server was started anew" in own_texts.in_full(SCREEN, ran, "/")


def test_nothing_in_a_command_can_move_the_cursor() -> None:
    ran = Commands().begin("a\x1b[2Jb", "/\x1b[2J")
    entry = Entry(ran.text, "h\x1bx", ran.directory, 0, None, 0.0, 0.0)
    shown = [*own_texts.listed(SCREEN, [ran], "/"), *own_texts.in_full(SCREEN, ran, "/"), own_texts.ended(SCREEN, ran)]
    shown += [*own_texts.from_history(SCREEN, [entry], "/"), own_texts.before_leaving([ran])]
    assert all(line.isprintable() for line in shown), shown


def test_of_many_that_run_five_are_named() -> None:
    commands = Commands()
    told = own_texts.before_leaving([commands.begin("x" * 100, "/", background=True) for _ in range(7)])
    assert "[5]" in told and "[6]" not in told and "and 2 more" in told and "ends them" in told


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (9999, "9999 bytes"), (37 * 1024, "37 KiB"), (2**25, "32 MiB")]
)
def test_sizes(count: int, text: str) -> None:
    assert own_texts.size(count) == text


def test_where_its_output_is_is_told_with_the_prefix_in_use() -> None:
    ran = Commands().begin("ls", "/")
    ran.output.add(b"x")
    assert any("(:out 1)" in line for line in own_texts.in_full(SCREEN, ran, "/"))
    assert any("(,out 1)" in line for line in own_texts.in_full(SCREEN, ran, "/", ","))
