from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from remote_shell.terminal.raw import RawTerminal, window_size
from tests.terminal.ptys import exactly, written

Pair = tuple[int, int]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A pty: its master and its slave."""
    master, slave = os.openpty()
    yield master, slave
    for fd in (master, slave):
        try:
            os.close(fd)
        except OSError:
            continue


def flags(fd: int) -> list[Any]:
    return termios.tcgetattr(fd)


def test_raw_keeps_nothing(pair: Pair) -> None:
    master, slave = pair
    odd = flags(slave)
    odd[0] |= (
        termios.IXON | termios.IXOFF | termios.IXANY | termios.INLCR | termios.IGNCR | termios.ISTRIP | termios.PARMRK
    )
    odd[0] |= termios.IGNBRK | termios.BRKINT | termios.ICRNL
    odd[3] |= termios.ECHONL
    odd[6][termios.VMIN], odd[6][termios.VTIME] = 5, 7
    termios.tcsetattr(slave, termios.TCSANOW, odd)
    odd = flags(slave)
    with RawTerminal(slave) as terminal:
        terminal.raw()
        raw = flags(slave)
        assert raw[0] & ~(termios.IUTF8 if hasattr(termios, "IUTF8") else 0o40000) & ~termios.IMAXBEL == 0
        assert raw[1] & termios.OPOST == 0
        assert raw[2] & termios.CSIZE == termios.CS8
        assert raw[3] & (termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN) == 0
        assert (raw[6][termios.VMIN], raw[6][termios.VTIME]) in ((1, 0), (b"\x01", b"\x00"))
        every = bytes(range(256))
        os.write(master, every)
        assert exactly(slave, 256) == every
        os.write(slave, every)
        assert exactly(master, 256) == every
    assert flags(slave) == odd


def test_cooked_is_as_it_was_found(pair: Pair) -> None:
    master, slave = pair
    found = flags(slave)
    assert found[3] & termios.ICANON and found[3] & termios.ECHO and found[3] & termios.ISIG
    with RawTerminal(slave) as terminal:
        terminal.raw()
        terminal.cooked()
        assert flags(slave)[:6] == found[:6]
        os.write(master, b"lime\x7fne\r")
        assert os.read(slave, 100) == b"limne\n"
        assert written(master, slave) == b"lime\b \bne\r\n"


def test_the_keys_for_signals_end_a_line_and_nothing_that_was_written_is_lost(pair: Pair) -> None:
    master, slave = pair
    with RawTerminal(slave) as terminal:
        assert terminal.ending_keys == (b"\x03", b"\x1a")
        terminal.cooked()
        os.write(slave, b"output")
        for key in terminal.ending_keys:
            os.write(master, b"typed" + key + b"more\n")
            assert os.read(slave, 100) == b"typed" + key
            assert os.read(slave, 100) == b"more\n"
        assert written(master, slave).replace(b"\r", b"") == b"outputtyped^Cmore\ntyped^Zmore\n"
        terminal.no_echo()
        os.write(master, b"typed\x03")
        assert os.read(slave, 100) == b"typed\x03"


def test_a_terminal_without_such_keys_keeps_having_none(pair: Pair) -> None:
    _, slave = pair
    odd = flags(slave)
    odd[6][termios.VSUSP] = b"\0"
    termios.tcsetattr(slave, termios.TCSANOW, odd)
    with RawTerminal(slave) as terminal:
        terminal.cooked()
        assert terminal.ending_keys == (b"\x03", b"")


def test_without_echo_a_line_is_edited_but_not_shown(pair: Pair) -> None:
    master, slave = pair
    odd = flags(slave)
    odd[3] |= termios.ECHONL
    termios.tcsetattr(slave, termios.TCSANOW, odd)
    with RawTerminal(slave) as terminal:
        terminal.raw()
        terminal.no_echo()
        os.write(master, b"secrex\x7ft\r")
        assert os.read(slave, 100) == b"secret\n"
        assert written(master, slave) == b""  # no line end either
    assert flags(slave) == odd


def test_what_is_typed_ahead_stays(pair: Pair) -> None:
    master, slave = pair
    with RawTerminal(slave) as terminal:
        terminal.raw()
        os.write(master, b"ahead\n")
        assert select.select([slave], [], [], 15)[0]
        terminal.cooked()
        assert os.read(slave, 100) == b"ahead\n"


def test_restoring_again_does_nothing(pair: Pair) -> None:
    _, slave = pair
    with RawTerminal(slave) as terminal:
        terminal.restore()
        terminal.raw()
        terminal.restore()
        other = flags(slave)
        other[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, other)  # as `stty -echo` of another program would
        terminal.restore()
        assert flags(slave) == other
        terminal.raw()
    assert flags(slave)[3] & termios.ECHO


def test_it_is_restored_after_an_exception(pair: Pair) -> None:
    _, slave = pair
    found = flags(slave)
    with pytest.raises(KeyboardInterrupt), RawTerminal(slave) as terminal:
        terminal.raw()
        raise KeyboardInterrupt
    assert flags(slave) == found


def test_a_terminal_that_is_gone_is_no_error_when_leaving(pair: Pair) -> None:
    master, slave = pair
    with RawTerminal(slave) as terminal:
        terminal.raw()
        os.close(slave)
    with RawTerminal(master) as terminal:
        terminal.raw()
        os.close(master)
        with pytest.raises(OSError, match="Bad file descriptor"):
            terminal.cooked()


def test_a_descriptor_that_is_another_file_by_now_is_no_error_when_leaving(pair: Pair) -> None:
    _, slave = pair
    with RawTerminal(slave) as terminal:
        terminal.raw()
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, slave)
        os.close(null)


def test_a_terminal_whose_other_side_is_closed_is_no_error_when_leaving(pair: Pair) -> None:
    master, slave = pair
    with RawTerminal(slave) as terminal:
        terminal.raw()
        os.close(master)


def test_an_interrupted_drain_is_followed_by_a_change_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _, slave = pair
    found = flags(slave)
    real, tried = termios.tcsetattr, []

    def interrupted(fd: int, when: int, mode: list[Any]) -> None:
        tried.append(when)
        if when == termios.TCSADRAIN:
            raise termios.error(4, "Interrupted system call")
        real(fd, when, mode)

    with RawTerminal(slave) as terminal:
        terminal.raw()
        monkeypatch.setattr(termios, "tcsetattr", interrupted)
        terminal.restore()
    assert tried == [termios.TCSADRAIN, termios.TCSANOW]
    assert flags(slave) == found


def test_what_is_no_terminal_is_refused() -> None:
    read, write = os.pipe()
    try:
        with pytest.raises(OSError, match="Inappropriate ioctl"), RawTerminal(read):
            pass
        terminal = RawTerminal(read)
        terminal.restore()
        with pytest.raises(ValueError, match="not entered"):
            terminal.raw()
    finally:
        os.close(read)
        os.close(write)


# A session whose leader, the parent, takes the terminal from its child, as a shell does from a job that it sends to the background.
JOB = """
import os, signal, sys, termios
from remote_shell.terminal.raw import RawTerminal

os.login_tty(int(sys.argv[1]))
ready, tell = os.pipe()
go, let = os.pipe()
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    os.read(go, 1)
    with RawTerminal(0) as terminal:
        terminal.raw()
        os.write(tell, b"!")
        os.read(go, 1)
    os._exit(7)
os.setpgid(child, child)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, child)
os.write(let, b"!")
os.read(ready, 1)
os.tcsetpgrp(0, os.getpgrp())
mine = termios.tcgetattr(0)
os.write(let, b"!")
_, status = os.waitpid(child, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    sys.exit("the job was stopped by " + signal.Signals(os.WSTOPSIG(status)).name)
assert os.waitstatus_to_exitcode(status) == 7, status
assert termios.tcgetattr(0) == mine
os._exit(5)
"""


def test_a_job_in_the_background_ends_and_leaves_the_terminal_to_who_has_it(pair: Pair) -> None:
    master, slave = pair
    job = subprocess.Popen([sys.executable, "-c", JOB, str(slave)], pass_fds=[slave])
    try:
        assert job.wait(15) == 5, os.read(master, 10_000)
    finally:
        if job.poll() is None:
            job.send_signal(signal.SIGKILL)
            job.wait()


def test_the_windows_size(pair: Pair) -> None:
    _, slave = pair
    assert window_size(slave) == (24, 80)  # a new pty says 0 and 0
    termios.tcsetwinsize(slave, (50, 132))
    assert window_size(slave) == (50, 132)
    termios.tcsetwinsize(slave, (0, 132))
    assert window_size(slave) == (24, 132)
    termios.tcsetwinsize(slave, (50, 0))
    assert window_size(slave) == (50, 80)


def test_the_size_of_what_is_no_terminal() -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    assert window_size(null) == (24, 80)
    os.close(null)
    assert window_size(null) == (24, 80)
    assert window_size(-1) == (24, 80)
