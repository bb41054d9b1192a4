"""What a session keeps of its commands, and its bounds."""

from __future__ import annotations

import pytest

from remote_shell.cli import ran as module
from remote_shell.cli.ran import OUTPUT_MAX, TOTAL_MAX, Commands


def test_numbers_rise_and_what_is_known_is_kept() -> None:
    commands = Commands()
    first, second = commands.begin("a", "/x"), commands.begin("b", "/y", background=True)
    assert (first.number, second.number) == (1, 2)
    assert commands.last is second and commands.get(1) is first and commands.get(3) is None
    assert commands.in_background == [second]
    first.end(3, None, (0, 3), 1.5)
    assert (first.running, first.status, first.statuses, first.seconds) == (False, 3, (0, 3), 1.5)
    second.end(None, lost="gone")
    assert commands.in_background == [] and second.status is None and second.seconds < 60


def test_those_that_run_are_listed_first_then_the_newest() -> None:
    commands = Commands()
    every = [commands.begin(str(number), "/") for number in range(5)]
    for number in (0, 2, 4):
        every[number].end(0)
    assert [ran.text for ran in commands.listed()] == ["1", "3", "4", "2", "0"]


@pytest.mark.parametrize(
    "parts", [[b"x" * OUTPUT_MAX, b"yz"], [b"x" * OUTPUT_MAX + b"yz"], [b"x"] * OUTPUT_MAX + [b"y", b"z"]]
)
def test_of_long_output_the_end_is_kept_and_the_rest_counted(parts: list[bytes]) -> None:
    commands = Commands()
    ran = commands.begin("a", "/")
    for part in parts:
        commands.wrote(ran, part)
    assert ran.output.data == b"x" * (OUTPUT_MAX - 2) + b"yz"
    assert ran.output.dropped == 2


def test_all_together_are_bounded_and_the_oldest_that_ended_go_first() -> None:
    commands = Commands()
    running = commands.begin("runs", "/")
    commands.wrote(running, b"r" * OUTPUT_MAX)
    every = []
    for _ in range(TOTAL_MAX // OUTPUT_MAX):
        every.append(commands.begin("a", "/"))
        commands.wrote(every[-1], b"x" * OUTPUT_MAX)
        every[-1].end(0)
    assert len(running.output) == OUTPUT_MAX
    assert [len(ran.output) for ran in every[:2]] == [0, OUTPUT_MAX]
    assert every[0].output.dropped == OUTPUT_MAX
    assert len(running.output) + sum(len(ran.output) for ran in every) <= TOTAL_MAX


def test_many_that_run_are_bounded_too() -> None:
    commands = Commands()
    every = [commands.begin("a", "/") for _ in range(TOTAL_MAX // OUTPUT_MAX + 2)]
    for ran in every:
        commands.wrote(ran, b"x" * OUTPUT_MAX)
    assert sum(len(ran.output) for ran in every) <= TOTAL_MAX


def test_the_oldest_that_ended_are_forgotten_and_none_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMANDS_MAX", 3)
    commands = Commands()
    commands.begin("runs", "/")
    for _ in range(5):
        commands.begin("a", "/").end(0)
    assert [ran.number for ran in commands.listed()] == [1, 6, 5]


def test_who_watches_gets_what_comes() -> None:
    commands = Commands()
    ran = commands.begin("a", "/")
    seen: list[bytes] = []
    ran.watcher = seen.append
    commands.wrote(ran, b"one")
    assert seen == [b"one"]
