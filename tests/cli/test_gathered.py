"""What many hosts wrote, under their names; on a terminal no host rules over the screen."""

from __future__ import annotations

import os

import pytest

from remote_shell.cli.gathered import Labelled, Printer, PrintingError, Section, show
from remote_shell.cli.spool import Spool, Store
from tests.terminal.ptys import written


def test_a_section_says_who_and_how(capfd: pytest.CaptureFixture[str]) -> None:
    store, out, err = Store(), Spool(), Spool()
    out.put(b"no end of line")
    section = Section("exit status 3", store.keep(out)._replace(dropped=7), store.keep(err))
    section.names += ["n1", "n2", "unix:/a\x1bb"]
    show([section], store)
    for kept in (store, out, err):
        kept.close()
    shown = capfd.readouterr()
    assert shown.err == ""
    assert shown.out == (
        "---------------\n'n[1-2],unix:/a\\x1bb' (3): exit status 3\n---------------\nno end of line\n"
        "… and 7 bytes more, which were not kept; -l shows all as it comes\n"
    )


async def test_lines_of_two_hosts_do_not_mix() -> None:
    reading, writing = os.pipe()
    printer = Printer(writing)
    try:
        first, second = Labelled("a", printer), Labelled("b", printer)
        await first.put(b"one\ntw")
        await second.put(b"x\n\n")
        await first.put(b"o\n")
        await second.put(b"rest")
        await first.end()
        await second.end()
        assert os.read(reading, 1000) == b"a: one\nb: x\nb: \na: two\nb: rest\n"
        os.close(reading)
        reading = -1
        with pytest.raises(PrintingError):
            await first.put(b"gone\n")
    finally:
        printer.close()
        os.close(writing)
        if reading >= 0:
            os.close(reading)


async def test_no_host_makes_a_line_of_another() -> None:
    master, slave = os.openpty()
    printer = Printer(slave)
    try:
        one = Labelled("a", printer)
        await one.put(b"begun\rb: false\n\x1b[31mred\r")
        await one.put(b"\nb\x1b[1A: ")
        await one.put(b"x\x1b[1")
        await one.end()
        assert written(master, slave) == b"a: begun\r\na: b: false\r\na: \x1b[31mred\r\x1b[m\r\na: b^[[1A: x^[[1\r\n"
    finally:
        printer.close()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize(
    ("end", "shown"),
    [("", "\x1b[m\n"), ("\n", "\n\x1b[m"), ("\r", "\n\x1b[m"), ("\n\x1b[m", "\n\x1b[m"), ("\x1b[m", "\x1b[m\n")],
)
def test_a_section_on_a_terminal_ends_its_line_and_colours(end: str, shown: str) -> None:
    master, slave = os.openpty()
    before, store, out, err = os.dup(1), Store(), Spool(), Spool()
    try:
        os.dup2(slave, 1)
        out.put(b"\x1b[31mred\x1b[2J" + end.encode())
        show([Section("", store.keep(out), store.keep(err))], store)
        text = written(master, slave).decode().replace("\r\n", "\n")
        assert text.split("---------------\n")[-1] == f"\x1b[31mred^[[2J{shown}"
    finally:
        os.dup2(before, 1)
        for descriptor in (master, slave, before):
            os.close(descriptor)
        for kept in (store, out, err):
            kept.close()
