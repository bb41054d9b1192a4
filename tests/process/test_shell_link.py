from __future__ import annotations

import asyncio
import os
import resource

import pytest

from remote_shell.process.bash_text import BASH
from remote_shell.process.poller import Poller
from remote_shell.process.shell_link import ShellLink
from remote_shell.process.shell_report import Report
from remote_shell.process.shell_words import ShellWords
from remote_shell.process.zsh_text import ZSH
from tests.process.recorder import eventually


class Ends:
    """A link with a shell that we play ourselves."""

    def __init__(self, words: ShellWords = BASH) -> None:
        self.reports: list[Report] = []
        self.ended = 0
        self.typed = b""
        self.link = ShellLink(words, Poller.of(asyncio.get_running_loop()), self.reports.append, self._end)
        stderr = os.open("/dev/null", os.O_WRONLY)
        fds = self.link.inherit(stderr)
        os.close(stderr)
        self.inherited = tuple(fds)
        self.status, self.text = os.dup(fds[1]), os.dup(fds[2])
        self.link.open(self._type)

    def _type(self, data: bytes) -> None:
        self.typed += data

    def _end(self) -> None:
        self.ended += 1

    def close(self) -> None:
        self.link.close()
        os.close(self.text)
        if self.status >= 0:
            os.close(self.status)


async def test_inherited_descriptors_are_out_of_the_way_and_are_let_go() -> None:
    ends = Ends()
    assert min(ends.inherited) >= 64
    assert len(set(ends.inherited)) == 3
    for fd in ends.inherited:
        assert not os.path.exists(f"/proc/self/fd/{fd}")
    ends.close()


async def test_the_text_is_whole_and_replaces_the_one_before() -> None:
    ends = Ends()
    ends.link.run(1, b"x" * 3_000_000, b"/dev/null")
    assert os.fstat(ends.text).st_size > 3_000_000
    ends.typed = b""
    ends.link.run(2, b"short", b"/dev/null")
    assert os.pread(ends.text, 4096, 0) == b'\\builtin \\eval "short" 0</dev/null 46>&- 47>&-'
    assert b"short" not in ends.typed
    ends.close()


async def test_it_is_asked_again_for_what_ran_and_not_for_another_report() -> None:
    ends = Ends(ZSH)
    ends.link.run(5, b"line", b"/dev/null")
    for serial, text in ((5, ZSH.again_text(5)), (6, ZSH.report_text(6) * 2)):
        ends.typed = b""
        ends.link.ask(serial, 1 if serial == 5 else 2)
        assert ends.typed == text
    ends.close()


async def test_the_shell_can_only_read_the_text() -> None:
    ends = Ends()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(ends.text, b"x")  # it is bash's stderr while it reports
    ends.close()


async def test_reports_and_the_end_are_told() -> None:
    ends = Ends()
    os.write(ends.status, b"3\x001\x00hx\x00/tmp\x00\x00")
    await eventually(lambda: ends.reports == [Report(3, 1, b"hx", b"/tmp")])
    assert ends.link.flags == b"hx"
    os.close(ends.status)
    ends.status = -1
    await eventually(lambda: ends.ended == 1)
    ends.link.read()
    assert ends.ended == 1
    ends.close()


async def test_closed_it_types_nothing_and_closing_again_does_no_harm() -> None:
    ends = Ends()
    ends.close()
    ends.typed = b""
    ends.link.ask(1)
    ends.link.close()
    assert ends.typed == b""


async def test_when_descriptors_run_out_nothing_stays() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    poll = Poller.of(asyncio.get_running_loop())
    before = sorted(os.listdir("/proc/self/fd"))
    refused = 0
    for limit in range(len(before) - 1, len(before) + 6):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        link = None
        try:
            link = ShellLink(BASH, poll, lambda report: None, lambda: None)
            link.inherit(2)
        except OSError:
            refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if link is not None:
                link.close()
        assert sorted(os.listdir("/proc/self/fd")) == before
    assert refused
