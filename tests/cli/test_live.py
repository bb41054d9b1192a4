"""What the live terminal makes of output; the rest of it is used by the REPL's tests on real terminals."""

from __future__ import annotations

import pytest

from remote_shell.cli.live import LiveTerminal
from remote_shell.cli.screen import Screen


class Recorder(Screen):
    """Counts how often the cursor is known to stand before a fresh line."""

    def __init__(self) -> None:
        super().__init__({}, terminal=False)
        self.returns = 0

    def write(self, stream: int, data: bytes) -> None:
        """Nowhere."""

    def returned(self) -> None:
        self.returns += 1


def returns(*pieces: bytes) -> int:
    screen = Recorder()
    live = LiveTerminal(screen, lambda: False, lambda: None)
    for piece in pieces:
        live.write(1, piece)
    return screen.returns


@pytest.mark.parametrize(
    "left",
    [
        *(b"\x1b[?1049l", b"\x1b[?1047l\x1b8", b"\x1b[?1049l\x1b[23;0;0t\r\x1b[?1l\x1b>"),
        b"\x1b[?1049l\x1b]0;title\x07\x1b[0 q",
    ],
)
def test_who_leaves_the_alternate_screen_leaves_the_cursor_where_it_was(left: bytes) -> None:
    assert returns(b"\x1b[?1049hwhole screen", left) == 1
    assert returns(*(bytes([byte]) for byte in b"\x1b[?1049hx" + left)) >= 1
    assert returns(b"\x1b[?1049hx" + left + b"more") == 0


def test_other_output_says_nothing_of_the_cursor() -> None:
    assert returns(b"text", b"\x1b[31mred\x1b[0m", b"\x1b[?1049h") == 0


@pytest.mark.parametrize(
    ("written", "home"),
    [
        (b"\x1b[H\x1b[2J\x1b[3J", 1),  # clear
        (b"\x1b[H\x1b[J", 1),  # clear on a Linux console
        (b"\x1b[1;1H\x1b[0m", 1),
        (b"\x1b[H\x1b[2Jtext", 0),
        (b"\x1b[H\x1b[5C", 0),
        (b"\x1b[5;1H", 0),
    ],
)
def test_who_clears_the_screen_leaves_the_cursor_at_a_margin(written: bytes, home: int) -> None:
    assert returns(written) == home
