"""`remote-shell demo [LESSON]`: the classroom. Lists the lessons, plays one in the terminal, or writes it as a page.

Whatever a lesson shows happened in this very run; what it claimed and did not show makes the exit status 1. Neighbours: `demo.catalogue`
has the lessons, `demo.on_terminal` and `demo.page` draw them.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable

from remote_shell.cli.exit_status import INTERRUPTED, USAGE

NOT_SHOWN = 1  # the run did not show what the lesson says
_FAILED = {
    "en": "{} of the things that the lesson says did not happen in this run (✗). On a quiet machine they do: play it again.",
    "zh": "课中有 {} 处所说的现象这一次没有出现（✗）。机器空闲时会出现，请再播放一次。",
}
DESCRIPTION = """\
Lessons about sockets, for those who know Python's basics: TCP has no messages
("sticky packets"), and here is how framing makes them. Each runs real sockets
on loopback and shows what they did. Without a LESSON: the list of them.\
"""
EXAMPLES = """\
examples:
  remote-shell demo sticky
  remote-shell demo sticky --pause                a key for each step
  remote-shell demo cures --language zh --html cures.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `demo` takes."""
    parser.usage = "%(prog)s [LESSON] [options]"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument(
        "lesson", nargs="?", metavar="LESSON", help="socket, partial, sticky, cures, udp, auth, many or frames"
    )
    parser.add_argument("--pause", action="store_true", help="wait for a key before each step; q leaves")
    parser.add_argument("--html", metavar="FILE", help="write the lesson as one page with pictures instead")
    parser.add_argument("--language", choices=["en", "zh"], help="English or Chinese (default: as LANG says)")
    parser.add_argument("-v", "--verbose", action="store_true", help="a traceback with an error")


def run(arguments: argparse.Namespace) -> int:
    """Play or list. Raises OSError if the page can't be written."""
    from remote_shell.demo.catalogue import LESSONS

    language = arguments.language or _language()
    if arguments.lesson is None:
        if arguments.pause or arguments.html:
            return _senseless("--pause and --html need a lesson; remote-shell demo lists them")
        return _list(language)
    if arguments.lesson not in LESSONS:
        return _senseless(_unknown(arguments.lesson))
    if arguments.html is not None:
        if arguments.pause:
            return _senseless("--pause is for a terminal: leave it out, or --html")
        return _write(arguments.lesson, language, arguments.html)
    if arguments.pause and not (sys.stdin.isatty() and sys.stdout.isatty()):
        return _senseless("--pause waits for a key, and needs a terminal")
    return _play(arguments.lesson, language, arguments.pause)


def _senseless(text: str) -> int:
    from remote_shell.cli.main import complain

    complain(text)
    return USAGE


def _language() -> str:
    """The language of the locale, as gettext(3) finds it: Chinese or else English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(name):
            return "zh" if os.environ[name].lower().startswith("zh") else "en"
    return "en"


def _unknown(lesson: str) -> str:
    import difflib

    from remote_shell.demo.catalogue import LESSONS

    near = difflib.get_close_matches(lesson, LESSONS, n=1)
    return f"no lesson {lesson!a}; " + (f"did you mean {near[0]!r}?" if near else f"lessons are {', '.join(LESSONS)}.")


def _list(language: str) -> int:
    from rich.cells import cell_len

    from remote_shell.demo.catalogue import LESSONS

    which = 1 if language == "zh" else 0
    widest = max(cell_len(lesson.title[which]) for lesson in LESSONS.values())
    for name, lesson in LESSONS.items():
        title = lesson.title[which]
        print(f"  {name:<9}{title}{' ' * (widest - cell_len(title))}  {lesson.about[which]}".rstrip())
    print()
    print(("播放一课：remote-shell demo sticky", "remote-shell demo sticky   plays one")[language != "zh"])
    return 0


def _play(name: str, language: str, pausing: bool) -> int:
    from rich.console import Console
    from rich.text import Text

    from remote_shell.demo.catalogue import LESSONS, after
    from remote_shell.demo.on_terminal import OnTerminal
    from remote_shell.demo.stage import Stage

    console = Console(highlight=False)
    stage = Stage(
        LESSONS[name].title, language, OnTerminal(console, language), _wait(language) if pausing else lambda: None
    )
    console.rule(Text(stage.shown.title, "bold"), align="left")
    try:
        LESSONS[name].play(stage)
    except _LeftError:
        return 0
    except KeyboardInterrupt:
        print()
        return INTERRUPTED
    if stage.failed:
        console.print(_FAILED[language].format(len(stage.failed)), style="bold red")
        return NOT_SHOWN
    following = after(name)
    if following:
        console.print(Text(stage.pick("Next: ", "下一课：") + f"remote-shell demo {following}", "dim"))
    return 0


class _LeftError(Exception):
    """The person pressed `q`."""


def _wait(language: str) -> Callable[[], None]:
    """Waits for a key, with the terminal as it was afterwards. `q`, Ctrl-D and the terminal's end leave."""
    import termios
    import tty

    asked = "—— 按任意键继续，q 退出 ——" if language == "zh" else "-- any key goes on, q leaves --"

    def wait() -> None:
        found = termios.tcgetattr(0)
        try:
            tty.setcbreak(0)  # Ctrl-C stays a Ctrl-C
            print(asked, end="", flush=True)
            key = os.read(0, 64)  # an arrow key is several bytes
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, found)
            print("\r\x1b[K", end="", flush=True)
        if key in (b"", b"q", b"Q", b"\x04"):
            raise _LeftError

    return wait


def _write(name: str, language: str, path: str) -> int:
    from remote_shell.demo.catalogue import LESSONS
    from remote_shell.demo.page import page
    from remote_shell.demo.stage import Stage

    # before the lesson: what can't be written is told at once, and a page that was there stays until the new one is whole
    beside = f"{path}.part"
    with open(beside, "w", encoding="utf-8") as file:
        try:
            if os.path.isdir(path):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            stage = Stage(LESSONS[name].title, language)
            LESSONS[name].play(stage)
            file.write(page(stage.shown))
            file.flush()
            os.replace(beside, path)
        except BaseException:
            os.unlink(beside)
            raise
    print(f"{path}: {stage.shown.title}")
    if stage.failed:
        print(_FAILED[language].format(len(stage.failed)), file=sys.stderr)
        return NOT_SHOWN
    return 0
