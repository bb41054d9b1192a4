from __future__ import annotations

import os
import signal
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.terminal.modes import ModeTracker
from remote_shell.terminal.raw import RawTerminal
from remote_shell.terminal.restore import Leaver
from tests.terminal import Terminal
from tests.terminal.ptys import written

# A front end in the middle of a full-screen program, which a signal ends.
FRONT = """
import signal, sys
from remote_shell.terminal.modes import ModeTracker
from remote_shell.terminal.raw import RawTerminal
from remote_shell.terminal.restore import Leaver

def ended(*_):
    leaver.leave()
    print("left")
    sys.exit(3)

tracker = ModeTracker()
signal.signal(signal.SIGTERM, ended)
print("entering")
with RawTerminal(0) as terminal:
    leaver = Leaver(1, tracker, terminal)
    terminal.raw()
    output = "\\x1b[?1h\\x1b=\\x1b[?2004h\\x1b[?1006;1002h\\x1b[4h\\x1b[2;20r\\x1b[4;1Hfull screen\\x1b[7m\\x1b[?25l"
    tracker.feed(output.encode())
    print(output, end="", flush=True)
    signal.pause()
"""
LEFT = b"\x1b[?1049h\x1b[?1000h\x1b[?25l"
UNDONE = b"\x1b[?1000l\x1b[?1049l\x1b[?25h"
QUICK = replace(DEFAULT_LIMITS, terminal_leave_time=0.05)


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    """A pty: its master and its slave."""
    master, slave = os.openpty()
    yield master, slave
    for fd in (master, slave):
        try:
            os.close(fd)
        except OSError:
            continue


def cut_off() -> ModeTracker:
    """The tracker of a program that was cut off."""
    tracker = ModeTracker()
    tracker.feed(LEFT)
    return tracker


def test_modes_are_undone_and_the_line_discipline_restored_once(pair: tuple[int, int]) -> None:
    master, slave = pair
    found = termios.tcgetattr(slave)
    with RawTerminal(slave) as terminal:
        terminal.raw()
        leaver = Leaver(slave, cut_off(), terminal)
        leaver.leave()
        assert written(master, slave) == UNDONE
        assert termios.tcgetattr(slave) == found
        leaver.leave()
        assert written(master, slave) == b""


def test_it_serves_the_next_program_too(pair: tuple[int, int]) -> None:
    master, slave = pair
    found = termios.tcgetattr(slave)
    with RawTerminal(slave) as terminal:
        tracker = cut_off()
        leaver = Leaver(slave, tracker, terminal)
        leaver.leave()
        terminal.raw()
        tracker.feed(b"\x1b[?2004h")
        leaver.leave()
        assert written(master, slave) == UNDONE + b"\x1b[?2004l"
        assert termios.tcgetattr(slave) == found


def test_without_a_line_discipline_of_ours(pair: tuple[int, int]) -> None:
    master, slave = pair
    Leaver(slave, cut_off(), None).leave()
    assert written(master, slave) == UNDONE


def test_an_output_that_is_gone_keeps_nobody_from_restoring(pair: tuple[int, int]) -> None:
    _, slave = pair
    found = termios.tcgetattr(slave)
    read, unread = os.pipe()
    os.close(read)
    closed = os.dup(unread)
    os.close(closed)
    with RawTerminal(slave) as terminal:
        for output in (unread, closed, -1):
            terminal.raw()
            Leaver(output, cut_off(), terminal).leave()
            assert termios.tcgetattr(slave) == found
    os.close(unread)


def test_a_terminal_that_hung_up_is_no_error(pair: tuple[int, int]) -> None:
    master, slave = pair
    with RawTerminal(slave) as terminal:
        terminal.raw()
        os.close(master)
        Leaver(slave, cut_off(), terminal).leave()


def test_a_stopped_terminal_is_not_waited_for_long(pair: tuple[int, int]) -> None:
    """As after ^S: a blocking write would never return."""
    master, slave = pair
    with RawTerminal(slave) as terminal:
        terminal.raw()
        termios.tcflow(slave, termios.TCOOFF)
        began = time.monotonic()
        Leaver(slave, cut_off(), None, QUICK).leave()
        assert time.monotonic() - began < 5
        termios.tcflow(slave, termios.TCOON)
        assert written(master, slave) == b""


@pytest.mark.parametrize("blocking", [True, False])
def test_a_terminal_with_hardly_any_room_is_not_waited_for_long(blocking: bool) -> None:
    """It says that it is ready, and takes a part: a blocking write of all would never return."""
    read, write = os.pipe()
    try:
        os.set_blocking(write, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(write, b"x" * 4096)
        os.read(read, 4096)  # room for one page
        os.set_blocking(write, blocking)
        tracker = ModeTracker()
        tracker.feed(b"\x1b[>1u" + LEFT)
        leaver = Leaver(write, tracker, None, QUICK)
        leaver._unwritten = b"y" * 10_000
        leaver.leave()
        os.set_blocking(read, False)
        assert b"y" in os.read(read, 1 << 20)
        leaver.leave()  # what was not taken is not kept for later: it would come in the middle of something else
        with pytest.raises(BlockingIOError):
            os.read(read, 1)
    finally:
        os.close(read)
        os.close(write)


def test_an_output_that_is_full_for_a_moment_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[int, int]
) -> None:
    master, slave = pair
    real, tries = os.write, iter((False, True, False))

    def write(fd: int, data: bytes) -> int:
        if next(tries, True):
            return real(fd, data)
        raise BlockingIOError

    monkeypatch.setattr(os, "write", write)
    Leaver(slave, cut_off(), None).leave()
    assert written(master, slave) == UNDONE


def test_ready_but_never_taking(monkeypatch: pytest.MonkeyPatch, pair: tuple[int, int]) -> None:
    """A non-blocking output that another writer always fills first: the deadline holds there too."""
    _, slave = pair

    def full(fd: int, data: bytes) -> int:
        raise BlockingIOError

    monkeypatch.setattr(os, "write", full)
    Leaver(slave, cut_off(), None, QUICK).leave()


def test_a_signal_handler_that_leaves_in_the_middle_finishes_it(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[int, int]
) -> None:
    master, slave = pair
    found = termios.tcgetattr(slave)
    real = os.write
    with RawTerminal(slave) as terminal:
        terminal.raw()
        leaver = Leaver(slave, cut_off(), terminal)
        seen: list[bytes] = []

        def handler(*_: object) -> None:
            leaver.leave()
            seen.append(written(master, slave))
            assert termios.tcgetattr(slave) == found

        def write(fd: int, data: bytes) -> int:
            if leaver._unwritten.startswith(b"\x1b[?1049l"):  # the handler runs before this write
                monkeypatch.setattr(os, "write", real)
                signal.raise_signal(signal.SIGUSR1)
                return 0
            return real(fd, data)

        before = signal.signal(signal.SIGUSR1, handler)
        monkeypatch.setattr(os, "write", write)
        try:
            leaver.leave()
        finally:
            signal.signal(signal.SIGUSR1, before)
        assert seen == [UNDONE]
        assert written(master, slave) == b""


def test_a_person_sees_a_plain_terminal_after_a_signal() -> None:
    with Terminal([sys.executable, "-c", FRONT], rows=24, columns=80) as person:
        plain = set(person.screen.mode)
        person.wait_until(lambda: person.screen.cursor.hidden, "hidden cursor")
        assert person.screen.margins is not None and person.screen.cursor.attrs.reverse
        assert not termios.tcgetattr(person.master)[3] & (termios.ECHO | termios.ICANON)
        person.process.terminate()
        assert person.wait_end() == 3
        person.wait_for("full screenleft")  # where the program's cursor was
        assert person.screen.mode == plain and person.screen.margins is None
        assert not person.screen.cursor.hidden and not person.screen.cursor.attrs.reverse
        assert (
            termios.tcgetattr(person.master)[3] & termios.ECHO and termios.tcgetattr(person.master)[3] & termios.ICANON
        )


def test_an_interrupt_while_writing_still_restores(monkeypatch: pytest.MonkeyPatch, pair: tuple[int, int]) -> None:
    _, slave = pair
    found = termios.tcgetattr(slave)

    def interrupted(fd: int, data: bytes) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupted)
    with RawTerminal(slave) as terminal:
        terminal.raw()
        with pytest.raises(KeyboardInterrupt):
            Leaver(slave, cut_off(), terminal).leave()
        assert termios.tcgetattr(slave) == found
