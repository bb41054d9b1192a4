"""`scripts/make-pictures` once everything is set up: the sessions, and a screen as SVG.

A picture is the screen that pyte kept of a real session; what differs from run to run (times, process ids) stays as it came.
Neighbours: tests/terminal has the terminal, tests/proxy cuts links, pictures_lessons has the pictures of the lessons.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from html import escape
from pathlib import Path

import pictures_lessons

from remote_shell import testing
from tests.proxy import Proxy
from tests.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
ROWS, COLUMNS = 20, 92
WIDE, HIGH, MARGIN = 8.4, 18, 14  # of a character, of a line, around the screen

COLOURS = {
    "default": "#d8dee9", "black": "#3b4252", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef",
    "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#eceff4",
}  # fmt: skip
BRIGHT = {f"bright{name}": colour for name, colour in COLOURS.items()} | {"brightblack": "#7f8896"}


def colour(name: str, plain: str) -> str:
    """A pyte colour's figure."""
    if name == "default":
        return plain
    return COLOURS.get(name) or BRIGHT.get(name) or f"#{name}"


def svg(terminal: Terminal, title: str) -> str:
    """The screen as it is."""
    screen = terminal.screen
    used = max((y for y in range(screen.lines) if screen.display[y].strip()), default=0) + 1
    width, height = COLUMNS * WIDE + 2 * MARGIN, used * HIGH + 2 * MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" role="img">',
        f"<title>{escape(title)}</title>",
        '<rect width="100%" height="100%" rx="8" fill="#1e222a"/>',
        '<g font-family="ui-monospace,DejaVu Sans Mono,Menlo,Consolas,monospace" font-size="14" xml:space="preserve">',
    ]
    for y in range(used):
        line, x = screen.buffer[y], 0
        while x < screen.columns:
            first, text, start = line[x], "", x
            look = (first.fg, first.bg, first.bold, first.reverse)
            while x < screen.columns and (line[x].fg, line[x].bg, line[x].bold, line[x].reverse) == look:
                text += line[x].data
                x += 1
            out += run(text, start, y, look)
    return "\n".join([*out, "</g>", "</svg>", ""])


def run(text: str, x: int, y: int, look: tuple[str, str, bool, bool]) -> list[str]:
    """Characters of one look."""
    front, back, bold, reverse = look
    fore, ground = colour(front, COLOURS["default"]), colour(back, "none")
    if reverse:
        fore, ground = "#1e222a" if ground == "none" else ground, fore
    left, top = MARGIN + x * WIDE, MARGIN + y * HIGH
    out = []
    if ground != "none":
        out.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{len(text) * WIDE:.1f}" height="{HIGH}" fill="{ground}"/>'
        )
    if shown := text.rstrip():
        weight = ' font-weight="bold"' if bold else ""
        length = f'textLength="{len(shown) * WIDE:.1f}" lengthAdjust="spacingAndGlyphs"'
        out.append(f'<text x="{left:.1f}" y="{top + 14:.1f}" fill="{fore}"{weight} {length}>{escape(shown)}</text>')
    return out


# --- the sessions


def enter(terminal: Terminal, line: str, then: str, *, count: int = 1) -> None:
    """Type a line and wait for what it shows."""
    terminal.type(f"{line}\r")
    terminal.wait_for(then, count=count)


def prompt(terminal: Terminal) -> None:
    terminal.wait_for("Ctrl-D leaves.")
    terminal.wait_for("~ ")


def first(terminal: Terminal, proxy: Proxy) -> None:
    """Directories, statuses and times."""
    prompt(terminal)
    enter(terminal, "cd /usr/share", "/usr/share #")
    enter(terminal, "false | true; ls no-such-file", "✗ 2")
    enter(terminal, "sleep 1.2", "✓ 1.")
    enter(terminal, "(exit 42)", "✗ 42")


def password(terminal: Terminal, proxy: Proxy) -> None:
    """A question that must not be seen."""
    prompt(terminal)
    terminal.type("read -rsp 'Password: ' secret; echo; echo \"${#secret} characters\"\r")
    terminal.wait_for("\nPassword:")
    terminal.type("correct horse\r")
    terminal.wait_for("13 characters\nbuild-box")
    enter(terminal, "python3 -q", "\n>>>")
    enter(terminal, "6 * 7", "\n42\n>>>")
    enter(terminal, "exit()", "exit()\nbuild-box")


def cut(terminal: Terminal, proxy: Proxy) -> None:
    """A link that goes away for a few seconds in the middle of a command."""
    prompt(terminal)
    terminal.type("for i in 1 2 3 4; do echo step $i; sleep 1.5; done\r")
    terminal.wait_for("\nstep 1")
    proxy.go_away()
    terminal.wait_for("no contact with")
    proxy.go_away(False)
    terminal.wait_for("same session resumed")
    terminal.wait_for("step 4")
    terminal.wait_for("✓ ")


def leave(terminal: Terminal, proxy: Proxy) -> None:
    """In another window, which is closed in the middle of a command."""
    prompt(terminal)
    enter(terminal, "cd /usr/share", "/usr/share #")
    terminal.type("for i in 1 2 3 4; do echo step $i; sleep 1.5; done\r")
    terminal.wait_for("\nstep 1")
    terminal.process.send_signal(signal.SIGHUP)
    terminal.wait_end()


def attach(terminal: Terminal, proxy: Proxy) -> None:
    """What was left is offered."""
    terminal.wait_for("ends that one:")
    terminal.press("enter")
    terminal.wait_for("step 4")
    terminal.wait_for("✓ ")


BEFORE = {"attach": leave}
SESSIONS: dict[str, tuple[str, Callable[[Terminal, Proxy], None]]] = {
    "first": ("A first session: directory in the prompt, a mark after what failed or took long", first),
    "password": ("Programs that ask: a password is not shown, python3 gets every key", password),
    "cut": ("A cut of some seconds: the same session goes on", cut),
    "attach": ("A shell whose window was closed is taken up again", attach),
}


def main(names: list[str]) -> int:
    PICTURES.mkdir(exist_ok=True)
    known = [*SESSIONS, *pictures_lessons.PICTURES]
    for name in names:
        if name not in known:
            print(f"no picture is called {name}; there are {', '.join(known)}", file=sys.stderr)
            return 2
    names = names or known
    for file in pictures_lessons.make([name for name in names if name in pictures_lessons.PICTURES], PICTURES):
        print(f"docs/pictures/{file}")
    for name in names:
        if name not in SESSIONS:
            continue
        title, play = SESSIONS[name]
        with tempfile.TemporaryDirectory() as home, testing.server(("unix:",)) as server:
            with Proxy(server.targets["unix"]) as proxy:
                hosts = Path(home, "hosts.toml")
                hosts.write_text(f'[hosts.build-box]\ntarget = "{proxy.target}"\n', encoding="utf-8")
                environment = {"REMOTE_SHELL_HOME": home, "NO_COLOR": None, "PYTHON_BASIC_REPL": "1"}
                argv = [sys.executable, "-m", "remote_shell", "shell", "build-box"]
                if name in BEFORE:
                    with Terminal([*argv, "--on-lost", "keep"], environment=environment, columns=COLUMNS) as terminal:
                        BEFORE[name](terminal, proxy)
                with Terminal(argv, environment=environment, rows=ROWS, columns=COLUMNS) as terminal:
                    play(terminal, proxy)
                    (PICTURES / f"{name}.svg").write_text(svg(terminal, title), encoding="utf-8")
        print(f"docs/pictures/{name}.svg")
    return 0


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main(sys.argv[1:]))
