"""What the REPL's own commands show: help, lists, one command in full. Texts in, texts out; nothing here waits or prints.

All of it is understood without colour. Neighbour: `own_commands` asks for it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from remote_shell.cli import own_line
from remote_shell.cli.history import Entry
from remote_shell.cli.ran import Ran
from remote_shell.cli.screen import Screen, directory_text, duration_text, printable

_TEXT_MAX = 60  # characters of a command in a list

# In the order of a menu; what Tab tells of each.
SUMMARIES = {
    "help": "what there is, or about one topic",
    "jobs": "this session's commands",
    "last": "the last command in full",
    "out": "what a command wrote, again",
    "bg": "runs a line beside the shell",
    "attach": "shows the output of one in the background",
    "wait": "waits for what is in the background",
    "kill": "ends one in the background",
    "hist": "the history",
    "info": "who and where, and how far",
    "put": "copies files to there",
    "get": "copies files to here",
    "reconnect": "a new connection, the same session",
    "detach": "leaves, and keeps this shell",
    "quit": "leaves",
}
TAKE_NOTHING = ("last", "info", "reconnect", "detach", "quit")
HIST_OPTIONS = {"--failed": "those that failed", "--here": "those in this directory"}

HELP = """\
{p}help [TOPIC]   this; topics: keys jobs bg out hist put info leave detach prefix
{p}jobs           this session's commands; {p}last: the last one in full
{p}out [N]        what command N wrote, again, without running it
{p}bg LINE        runs LINE beside this shell; then {p}attach N, {p}wait N, {p}kill N
{p}hist [WORDS]   the history; --failed, --here: those only
{p}put, {p}get      [-r] SOURCE… TO: copy files, to there and to here
{p}info           who and where; {p}reconnect: a new connection, the same session
{p}detach         leaves and keeps this shell, to attach again from anywhere
{p}quit           leaves, as Ctrl-D and exit do, and ends it

Enter runs the line, Alt-Enter begins a new one, Ctrl-R searches the history.
Ctrl-C interrupts a command; three times kills it. Right takes what is suggested.
All else is the shell's, even what begins with {p} ({p}help prefix)."""

TOPICS = {
    "keys": """\
Enter      runs the line, or goes on if it is not whole
Alt-Enter  begins a new line; several pasted lines are asked about
Ctrl-R     searches the history, by a few letters of a line
up, down   go through it
right      takes what is suggested from it
Tab        completes, our own commands and their numbers too
Ctrl-C     interrupts the command, or clears the line; three times kills it
Ctrl-Z     stops the command; fg goes on with it
Ctrl-D     leaves, as exit does""",
    "jobs": """\
Each line that runs gets a number. {p}jobs lists this session's commands, those
that run first, then the newest ({p}jobs all: all of them). {p}last tells the last
one in full: directory, start, time, the statuses of a pipeline.""",
    "bg": """\
{p}bg LINE runs LINE beside the shell, in its directory but in your account's own
environment: the shell's variables are not set in it. It has no input. A line
tells when it has ended.
{p}attach [N]         shows its output, old and new; Ctrl-C detaches, it goes on
{p}wait [N]           waits for it, or for all; Ctrl-C stops waiting
{p}kill N [SIGNAL]    sends TERM, or SIGNAL
They end when you leave.""",
    "out": """\
{p}out [N] prints what command N wrote, or the last one, without running it.
The last 256 KiB of each are kept, 16 MiB together; what is gone is said.""",
    "put": """\
{p}put [-r] LOCAL… REMOTE copies files to there, {p}get [-r] REMOTE… LOCAL to here;
-r: folders, too. REMOTE counts from the shell's directory, LOCAL from the one in
which this program was started. Ctrl-C stops; the same again goes on from there.""",
    "hist": """\
{p}hist [--failed] [--here] [WORDS] tells the newest lines of the history with
time, end and directory: those that failed, those in this directory, those with
all the words; a few letters of each will do.""",
    "leave": """\
{p}quit, Ctrl-D or exit leave. What runs in the background is told first; once
more leaves, and ends it.""",
    "detach": """\
{p}detach leaves, and the shell goes on with what runs in it. remote-shell shell
offers it when you come back, with the same key, from any machine; the last
256 KiB of what it wrote meanwhile are shown. Whoever else is at it is told.
--on-lost keep (or on_lost in hosts.toml) does so too when your window is closed
or the connection is lost for longer than the server's grace; ask: the same, and
you are asked when you leave by Ctrl-D. What {p}bg started is ended.""",
    "prefix": """\
A line is ours if it begins with {p} and a letter or ?, or is a lone ?. All else
is the shell's: {p} alone, or with a blank. {p}{p} at its beginning sends the rest with
one {p} to the shell. --prefix, or prefix in hosts.toml, chooses another sign.""",
}
TOPICS["get"] = TOPICS["put"]
TOPICS["info"] = TOPICS["reconnect"] = """\
{p}info tells who is there and as whom you are there, how the way is protected, how
long a round trip takes, since when the session lives and what becomes of it when
the connection is lost. {p}reconnect drops the connection as a cut would and goes on
with the same session over a new one; nothing runs again."""
TOPICS["attach"] = TOPICS["wait"] = TOPICS["kill"] = TOPICS["bg"]
TOPICS["last"] = TOPICS["jobs"]
TOPICS["quit"] = TOPICS["leave"]


def mark(screen: Screen, ran: Ran) -> str:
    """How it ended, in few signs."""
    if ran.running:
        return "runs"
    if ran.status is None:
        return "lost"
    return screen.mark(ran.status, ran.signal)


def short(text: str, most: int = _TEXT_MAX) -> str:
    """A command's text in one line."""
    line = printable(" ".join(text.split("\n"))).strip()
    return line if len(line) <= most else line[: most - 1] + "…"


def ended(screen: Screen, ran: Ran) -> str:
    """The line that tells its end: `[4] ✓ 12.3s make`."""
    return f"[{ran.number}] {mark(screen, ran)} {duration_text(ran.seconds)} {short(ran.text)}"


def before_leaving(running: list[Ran], how: str = "Ctrl-D") -> str:
    """What would end with us."""
    return f"still in the background: {_named(running)}; {how} again leaves and ends {'it' if len(running) == 1 else 'them'}"


def after_leaving(running: list[Ran]) -> str:
    """What ends with us, though nobody was asked."""
    return f"what ran in the background ends with it: {_named(running)}"


def _named(running: list[Ran]) -> str:
    told = ", ".join(f"[{ran.number}] {short(ran.text, 30)}" for ran in running[:5])
    return told + (f" and {len(running) - 5} more" if len(running) > 5 else "")


def listed(screen: Screen, every: list[Ran], home: str) -> list[str]:
    """A line for each."""
    return [
        f"{f'[{ran.number}]':>6} {mark(screen, ran):<9} {duration_text(ran.seconds):>7}  "
        f"{'& ' if ran.background else ''}{short(ran.text)}  ({directory_text(ran.directory, home)})"
        for ran in every
    ]


def in_full(screen: Screen, ran: Ran, home: str, prefix: str = own_line.PREFIX) -> list[str]:
    """All that is known of one."""
    lines = [
        f"[{ran.number}] {printable(ran.text) if ran.text.isprintable() else short(ran.text, 1000)}",
        f"in        {printable(ran.directory)}",
        f"started   {_when(ran.started)}",
        f"{'runs for' if ran.running else 'took    '}  {duration_text(ran.seconds)}",
    ]
    if not ran.running:
        lines.append(f"ended     {mark(screen, ran)}" + (f", {ran.lost}" if ran.lost else ""))
    if len(ran.statuses) > 1:
        lines.append(f"pipeline  {' | '.join(map(str, ran.statuses))}")
    wrote = len(ran.output) + ran.output.dropped
    kept = f", the last {size(len(ran.output))} are kept" if ran.output.dropped else ""
    lines.append(f"wrote     {size(wrote)}{kept}" + (f"  ({prefix}out {ran.number})" if len(ran.output) else ""))
    return lines


def from_history(screen: Screen, entries: Iterable[Entry], home: str) -> list[str]:
    """A line for each."""
    lines = []
    for entry in entries:
        sign = "?" if entry.status is None else screen.mark(entry.status, entry.signal)
        place = f"{printable(entry.host)} {directory_text(entry.directory, home)}"
        lines.append(
            f"{_when(entry.started)}  {sign:<9} {duration_text(entry.duration):>7}  {short(entry.text)}  ({place})"
        )
    return lines


def size(count: int) -> str:
    """A number of bytes."""
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1024:.0f} KiB" if count < 10 * 1024 * 1024 else f"{count / 1024 / 1024:.0f} MiB"


def _when(started: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))
