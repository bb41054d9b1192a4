"""Shells that outlived their windows: which there are, which one a person wants, and what is told of the one that is taken up.

Texts and choices; the terminal is asked by `asking`, and the REPL goes on with what was chosen.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Literal, NamedTuple

from remote_shell.cli.asking import ask_line
from remote_shell.cli.own_texts import short
from remote_shell.cli.screen import Screen, directory_text, printable, size_text
from remote_shell.client.async_ import AsyncHost
from remote_shell.client.async_shell import AsyncShell
from remote_shell.errors import CommandError, UsageError
from remote_shell.wire.messages import Attached, LeftShell, from_system

_WHICH = "Which? Enter takes 1, n a new one, e and a number ends that one: "
_HOUR, _DAY = 3600, 86400


class Answer(NamedTuple):
    """What a person typed: attach or end one of the list, or start a new one."""

    what: Literal["attach", "end", "new", "unclear"]
    number: int = 0


async def choose(host: AsyncHost, screen: Screen, name: str, gone: int, *, every: bool) -> AsyncShell | None:
    """The shell that is taken up, or None for a new one. `every`: also those in use. Raises UsageError, EOFError."""
    found = [one for one in await host.shells() if every or one.away_ms is not None]
    # ended ones and those in use last; else the one left last first
    found.sort(key=lambda one: (one.ended, one.away_ms is None, one.away_ms or 0))
    if every and not found:
        raise UsageError(f"no shell of yours is on {name}: leave --attach away for a new one")
    asked = not every or len(found) > 1
    while found:
        if asked:
            show = partial(_show, screen, name, found)
            show()
            answer = understood(line := await ask_line(_WHICH, gone, show), len(found))
        else:
            answer, line, asked = Answer("attach", 1), "", True
        if answer.what == "new":
            return None
        if answer.what == "attach":
            wanted = found.pop(answer.number - 1)
            try:
                return await host.attach(wanted.id)
            except CommandError as error:
                if error.code != "no_such_shell":
                    raise
                where = directory_text(os.fsdecode(from_system(wanted.cwd)), "")
                why = getattr(error, "reason", "") or str(error)
                screen.note(f"that one has ended meanwhile: {printable(where)}; {printable(why)}", "red")
                if not found:
                    screen.note("no other is left: this is a new one")
        elif answer.what == "end":
            ended = found.pop(answer.number - 1)
            try:
                await (await host.attach(ended.id)).close()
            except CommandError as error:
                if error.code != "no_such_shell":  # else it ended by itself
                    raise
            screen.note(f"ended: {describe(ended)}")
        else:
            screen.note(f"not understood: {short(line, 40)}")
    return None


def _show(screen: Screen, name: str, found: list[LeftShell]) -> None:
    screen.note(f"Shells of yours on {printable(name)}:", "bold")
    screen.lines(listed(found))


def understood(line: str, count: int) -> Answer:
    """What was typed. Enter is the first; the end of input is a new one."""
    words = line.split()
    if not line or words in (["n"], ["new"]):
        return Answer("new")
    if not words:
        return Answer("attach", 1)
    what: Literal["attach", "end"] = "end" if words[0] in ("e", "end") else "attach"
    numbers = words[1:] if what == "end" else words
    if len(numbers) == 1 and numbers[0].isdecimal() and len(numbers[0]) < 4 and 1 <= int(numbers[0]) <= count:
        return Answer(what, int(numbers[0]))
    return Answer("unclear")


def listed(shells: list[LeftShell]) -> list[str]:
    """A numbered line for each."""
    return [f"{number:>3}  {describe(one)}" for number, one in enumerate(shells, 1)]


def describe(one: LeftShell) -> str:
    """Where it is, what runs in it, who has or had it."""
    where = directory_text(os.fsdecode(from_system(one.cwd)), "")
    if one.ended:
        what = "ended"
    elif one.line is not None:
        what = f"`{short(os.fsdecode(from_system(one.line)), 40)}` runs"
    else:
        what = "at its prompt"
    held = "in use" if one.away_ms is None else f"left {span(one.away_ms / 1000)} ago"
    return f"{printable(where)}: {what}, {held} ({printable(one.holder)})"


def attached_text(told: Attached, name: str, again: bool) -> str:
    """What is said of a shell that was taken up."""
    how = "attached again to the same shell" if again else "attached to the shell"
    parts = [f"{how} on {printable(name)}, in {printable(os.fsdecode(from_system(told.cwd or '/')))}"]
    if told.away_ms >= 1000:
        parts.append(f"left for {span(told.away_ms / 1000)}")
    if told.line is not None:
        parts.append(f"`{short(os.fsdecode(from_system(told.line)), 40)}` still runs")
    if told.term is not None and told.term != os.environ.get("TERM"):
        parts.append(f"TERM is {printable(told.term)} there")
    if told.dropped:
        parts.append(f"output meanwhile: the last {size_text(told.missed)} of {size_text(told.missed + told.dropped)}")
    return "; ".join(parts)


def span(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / _HOUR:.0f} h" if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} days"
