from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from remote_shell.errors import (
    CommandError,
    CommandNotFoundError,
    CommandRefusedError,
    ShellEndedError,
    WorkingDirectoryError,
)
from remote_shell.process import tree
from remote_shell.process.base import Exit
from remote_shell.process.children import children_of
from remote_shell.process.shell import LiveShell
from remote_shell.process.shell_command import Done, ShellCommand
from tests.process.recorder import ENV, FAST, Recorder, eventually, is_alive, python_in_fresh_process, start_shell

pytestmark = pytest.mark.screen  # as a file it takes long


class Session:
    """A live shell that is asked one command after the other, and ended on the way out."""

    shell: LiveShell
    sink: Recorder

    def __init__(self, **options: object) -> None:
        self.options = options
        self.number = 0

    async def __aenter__(self) -> Session:
        self.shell, self.sink = start_shell(**self.options)  # type: ignore[arg-type]
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        self.shell.kill_now()
        await self.sink.finished()
        await eventually(lambda: not self.shell.killing)

    def give(self, line: bytes | str, **options: object) -> int:
        self.number += 1
        self.shell.run(self.number, os.fsencode(line), **options)  # type: ignore[arg-type]
        return self.number

    async def ask(self, line: bytes | str, **options: object) -> tuple[int | None, bytes, bytes]:
        """Status, stdout and stderr of one command that leaves the shell alive."""
        done = await self.ask_done(line, **options)
        assert done.shell == "alive", done
        return done.status, self.sink.out, self.sink.err

    async def ask_done(self, line: bytes | str, **options: object) -> Done:
        self.sink.out = self.sink.err = b""
        return await self.sink.done(self.give(line, **options))

    async def running(self) -> None:
        """Return when the current command has written something and its processes have come to rest.

        A SIGINT between fork and exec of a program is lost; that it is sent again has a test of its own.
        """
        await self.sink.until(lambda: self.sink.out)
        looks: list[list[str]] = [[], []]
        while len(looks) < 5 or looks[-1] != looks[-3]:
            await asyncio.sleep(0.005)
            looks.append([name_of(pid) for pid in self.processes()])

    def processes(self) -> list[int]:
        """What descends from the shell."""
        return list(tree.descendants(self.shell.pid))


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text() + str(pid)
    except OSError:
        return ""


# --- what is kept


async def test_state_is_kept_between_commands() -> None:
    async with Session() as session:
        assert await session.ask(
            "x=1; export E=2; f() { echo f $1; }; a=(p q); alias l='echo aliased'; set -- m n"
        ) == (0, b"", b"")
        assert await session.ask("echo $x; sh -c 'echo $E'; f y; echo ${a[1]} $2") == (0, b"1\n2\nf y\nq n\n", b"")
        assert await session.ask("l it") == (0, b"aliased it\n", b"")
        assert await session.ask("set -o pipefail; shopt -s nullglob") == (0, b"", b"")
        assert await session.ask("false | true") == (1, b"", b"")
        assert await session.ask("exec 7>&1; umask 027; ulimit -c 0") == (0, b"", b"")
        assert await session.ask("echo seven >&7; umask") == (0, b"seven\n0027\n", b"")


async def test_the_status_of_the_command_before_is_visible() -> None:
    async with Session() as session:
        for status in (0, 1, 2, 77, 130, 255):
            assert await session.ask(f"(exit {status})") == (status, b"", b"")
            assert await session.ask("echo $?") == (0, b"%d\n" % status, b"")


async def test_the_directory_is_kept_and_told_whatever_its_name(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/new\nline \xff"
    os.mkdir(folder)
    async with Session() as session:
        assert (await session.ask_done(b"cd '" + folder + b"'")).cwd == folder
        assert session.shell.cwd == folder
        assert (await session.ask_done("cd -")).cwd == b"/"
        assert session.sink.out == b"/\n"
        assert (await session.ask_done("unset PWD")).cwd == b"/"
        assert (await session.ask_done("cd '" + str(tmp_path) + "'; unset PWD")).cwd == os.fsencode(tmp_path)


async def test_exec_redirections_are_kept_except_for_stdin(tmp_path: Path) -> None:
    async with Session() as session:
        assert await session.ask("exec 2>&1; echo x >&2") == (0, b"x\n", b"")
        assert await session.ask("echo y >&2") == (0, b"y\n", b"")
        await session.ask(f"exec >{tmp_path}/log")
        assert await session.ask("echo to the log") == (0, b"", b"")
        assert (tmp_path / "log").read_text() == "to the log\n"


async def test_background_jobs_live_on_and_their_output_is_the_shells(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with Session() as session:
        status, out, err = await session.ask("sh -c 'while [ ! -e /tmp/nope ]; do sleep 0.01; done' & echo $!")
        assert (status, err) == (0, b"")
        job = int(out)
        late = f"(while [ ! -e {gate} ]; do sleep 0.01; done; echo late) & true"
        assert await session.ask(late) == (0, b"", b"")
        gate.touch()
        await session.sink.until(lambda: session.sink.out == b"late\n")
        assert await session.ask("kill %1; wait %1") == (143, b"", b"")
        assert not is_alive(job)


async def test_commands_are_queued_in_order() -> None:
    async with Session() as session:
        for i in range(50):
            session.give(f"echo {i}")
        await session.sink.done(50)
        assert session.sink.out == b"".join(b"%d\n" % i for i in range(50))
        assert [done.number for done in session.sink.dones] == list(range(1, 51))
        assert not session.shell.busy


# --- lines of all sorts


@pytest.mark.parametrize(
    ("line", "out"),
    [
        ("", b""),
        ("  ", b""),
        ("# only a comment", b""),
        ("echo a # comment", b"a\n"),
        ("echo a\necho b\n\n", b"a\nb\n"),
        ("cat <<EOF\nit's $((1+1))\nEOF", b"it's 2\n"),
        ("cat <<'EOF'\n$x '' \\\nEOF\necho after", b"$x '' \\\nafter\n"),
        ("for i in 1 2\ndo\necho $i\ndone", b"1\n2\n"),
        ("echo \\\ncontinued", b"continued\n"),
        ("echo '!x' !! !1 \"it's\"", b"!x !! !1 it's\n"),
        ("echo a\r", b"a\r\n"),
        ("echo $0 $LINENO", b"/bin/bash 1\n"),
        ("echo ${BASH_SUBSHELL} $SHLVL", b"0 1\n"),
        ("[[ $- == *i* ]] && echo interactive", b"interactive\n"),
        ("history; fc -l; echo none", b"none\n"),
        ("echo a > /dev/stdout; echo b > /dev/stderr", b"a\n"),
    ],
)
async def test_a_line(line: str, out: bytes) -> None:
    async with Session() as session:
        assert (await session.ask(line))[:2] == (0, out)


async def test_any_bytes_but_nul() -> None:
    every = bytes(byte for byte in range(1, 256) if byte != ord("'"))
    async with Session() as session:
        assert await session.ask(b"printf %s '" + every + b"'") == (0, every, b"")
        with pytest.raises(CommandRefusedError, match="NUL"):
            session.shell.run(9, b"echo a\0b")


@pytest.mark.slow
async def test_a_line_of_a_megabyte() -> None:
    async with Session() as session:
        line = b"x='" + b"a'\\''\xff\n" * 10_000 + b'$`"\\ \n' * 160_000 + b"'; echo ${#x}"
        assert len(line) > 1_000_000
        assert (await session.ask(line))[1:] == (b"1000000\n", b"")


@pytest.mark.parametrize(
    "line", ["if", "echo 'a", 'echo "a', "echo $(", ")", "echo a; fi", "f() {", "for", "case x in"]
)
async def test_a_syntax_error_gives_2_and_its_message_and_keeps_the_shell(line: str) -> None:
    async with Session() as session:
        await session.ask("x=kept")
        status, out, err = await session.ask(line)
        assert (status, out) == (2, b"")
        assert err.startswith(b"bash: eval: line ")
        assert await session.ask("echo $x") == (0, b"kept\n", b"")


async def test_a_command_that_is_not_there() -> None:
    async with Session() as session:
        assert await session.ask("no-such-program") == (127, b"", b"bash: no-such-program: command not found\n")
        assert (await session.ask("/etc/passwd"))[0] == 126


async def test_an_unfinished_here_document_ends_with_the_line() -> None:
    async with Session() as session:
        status, out, err = await session.ask("cat <<EOF\nhi")
        assert (status, out) == (0, b"hi\n")
        assert b"here-document" in err
        assert await session.ask("echo next") == (0, b"next\n", b"")


# --- what bash must not show


async def test_nothing_of_bash_itself_is_seen() -> None:
    async with Session() as session:
        assert await session.ask("true") == (0, b"", b"")
        assert await session.ask("PS1='prompt> '; PS2='more> '") == (0, b"", b"")
        assert await session.ask("true\ntrue") == (0, b"", b"")
        assert await session.ask("sleep 0.001 & wait; sh -c 'kill -TERM $$'; sh -c 'kill -SEGV $$'") == (139, b"", b"")
        assert await session.ask("unset PROMPT_COMMAND; PROMPT_COMMAND=(a b); MAILCHECK=0") == (0, b"", b"")
        assert await session.ask("true") == (0, b"", b"")


@pytest.mark.parametrize("letters", ["x", "v", "xv"])
async def test_tracing_shows_the_command_and_not_our_words(letters: str) -> None:
    async with Session() as session:
        assert await session.ask(f"set -{letters}") == (0, b"", b"")
        status, out, err = await session.ask("echo a; false")
        assert (status, out) == (1, b"a\n")
        assert b"remote_shell" not in err
        assert b"builtin" not in err
        assert b"PS1" not in err
        if "x" in letters:
            assert err.endswith(b"+++ echo a\n+++ false\n")
        if "v" in letters:
            assert b"echo a; false\n" in err
        await session.ask(f"set +{letters}")
        assert await session.ask("echo b") == (0, b"b\n", b"")


async def test_programs_hold_descriptors_0_1_2_only() -> None:
    async with Session() as session:
        for options in ({}, {"stdin": True}):
            _, out, _ = await session.ask("ls /proc/self/fd", **options)
            assert set(out.split()) == {b"0", b"1", b"2", b"3"}  # 3 is the folder that ls reads
        assert (await session.ask("(sleep 1000 & echo $!)"))[0] == 0
        pid = int(session.sink.out)
        await eventually(lambda: sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"])  # after its exec


@pytest.mark.parametrize("ignore_sigint", [False, True])
def test_programs_start_with_clean_signals_and_ctrl_c_works_in_a_background_server(ignore_sigint: bool) -> None:
    code = """
import asyncio
from remote_shell.process.prepare import prepare_process
from tests.process.test_shell import Session
prepare_process()
async def main():
    async with Session() as session:
        print((await session.ask("grep -E '^Sig(Ign|Blk)' /proc/self/status"))[1].split())
        session.sink.out = b""
        number = session.give("echo go; sleep 1000; echo never")
        await session.running()
        assert session.shell.signal(number, "INT")
        print((await session.sink.done(number)).status, session.sink.out)
asyncio.run(main())
"""
    zero = b"0" * 16
    expected = f"{[b'SigBlk:', zero, b'SigIgn:', zero]}\n130 b'go\\n'\n"
    assert python_in_fresh_process(code, ignore_sigint=ignore_sigint) == expected


async def test_the_environment_is_what_was_given() -> None:
    async with Session(env={b"PATH": ENV[b"PATH"], b"MINE": b"\xff"}, command_id=None) as session:
        _, out, _ = await session.ask("env -0 | tr '\\0' '\\n' | grep -v -e ^_= -e ^PWD= -e ^SHLVL= -e ^OLDPWD")
        assert sorted(out.splitlines()) == [b"MINE=\xff", b"PATH=" + ENV[b"PATH"]]


async def test_no_startup_file_is_read_unless_asked_for_and_no_history_is_written(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("echo from the file; PS1='prompt '; greeting=hi\n")
    env = {**ENV, b"HOME": os.fsencode(tmp_path)}
    async with Session(env=env) as session:
        assert await session.ask("echo $greeting") == (0, b"\n", b"")
        await session.ask_done("exit")
    async with Session(env=env, startup_files=True) as session:
        assert await session.ask("echo $greeting") == (0, b"from the file\nhi\n", b"")
        session.shell.end()
        await session.sink.exited()
    assert [path.name for path in tmp_path.iterdir()] == [".bashrc"]


# --- stdin


async def test_stdin_is_empty_unless_some_was_announced() -> None:
    async with Session() as session:
        assert await session.ask("cat; read x; echo $?") == (0, b"1\n", b"")
        session.shell.write_stdin(b"lost")
        assert session.sink.credit == 4


async def test_stdin_belongs_to_one_command() -> None:
    async with Session() as session:
        number = session.give("read first; cat; echo $first", stdin=True)
        session.shell.write_stdin(b"one\ntwo\n")
        session.shell.close_stdin()
        assert (await session.sink.done(number)).status == 0
        assert session.sink.out == b"two\none\n"
        assert session.sink.credit == 8
        assert await session.ask("cat; echo x") == (0, b"x\n", b"")


async def test_stdin_for_a_waiting_command_is_kept_for_it() -> None:
    async with Session() as session:
        first = session.give("sleep 0.03; cat; echo first")
        second = session.give("cat", stdin=True)
        session.shell.write_stdin(b"for the second", second)
        session.shell.close_stdin(second)
        await session.sink.done(second)
        assert session.sink.out == b"first\nfor the second"
        assert first != second


async def test_stdin_that_was_not_read_is_credited_at_the_end_of_its_command() -> None:
    async with Session() as session:
        number = session.give("head -c 3", stdin=True)
        session.shell.write_stdin(b"abcdef" * 100_000)
        done = await session.sink.done(number)
        assert (done.status, session.sink.out) == (0, b"abc")
        assert session.sink.credit == 600_000
        assert session.sink.log.index(f"done {number}") > 0
        assert await session.ask("cat") == (0, b"", b"")


async def test_much_stdin_through_cat() -> None:
    async with Session() as session:
        data = os.urandom(2_000_000)
        number = session.give("cat", stdin=True)
        session.shell.write_stdin(data)
        session.shell.close_stdin()
        await session.sink.done(number)
        assert hashlib.sha256(session.sink.out).digest() == hashlib.sha256(data).digest()
        assert session.sink.credit == len(data)


# --- output and its order


async def test_done_comes_behind_what_the_command_wrote() -> None:
    async with Session() as session:
        for i in range(30):
            done = await session.ask_done("head -c 100000 /dev/zero; head -c 30000 /dev/zero >&2")
            assert (len(session.sink.out), len(session.sink.err)) == (100_000, 30_000), i
            assert done.status == 0


async def test_done_waits_while_output_is_paused() -> None:
    async with Session() as session:
        await session.ask("true")
        session.shell.pause_output()
        session.sink.out = b""
        number = session.give("printf abc")
        follower = session.give("printf def")
        await asyncio.sleep(0.03)
        assert session.sink.out == b""
        assert session.shell.signal(number, "INT") is False  # it has ended, only nobody was told
        assert session.shell.cancel(number) is False
        session.shell.resume_output()
        await session.sink.done(follower)
        assert session.sink.out == b"abcdef"
        log = session.sink.log
        assert log[-4:] == ["output 1", f"done {number}", "output 1", f"done {follower}"]


async def test_a_pause_stops_the_command() -> None:
    async with Session(limits=replace(FAST, pipes_grown_max=0)) as session:
        await session.ask("true")
        session.shell.pause_output(1)
        number = session.give("head -c 1000000 /dev/zero; echo x >&2")
        await asyncio.sleep(0.03)
        assert session.sink.err == b""
        session.shell.resume_output(1)
        await session.sink.done(number)
        assert len(session.sink.out) == 1_000_000


# --- Ctrl-C


@pytest.mark.parametrize(
    "line",
    [
        "echo go; sleep 1000; echo never",
        "echo go\nsleep 1000\necho never",
        "echo go; while :; do :; done; echo never",
        "echo go; for i in 1 2; do sleep 1000; done; echo never",
        "echo go; sh -c 'sleep 1000; echo never'; echo never",
        "echo go; sleep 1000 | cat; echo never",
        "echo go; y=$(sleep 1000); echo never",
        "echo go; f() { sleep 1000; }; f; echo never",
        "echo go; sleep 1000 & wait; echo never",
        "echo go; . /dev/fd/9 9< <(echo sleep 1000); echo never",
        "echo go; set -m; sleep 1000; echo never",
        "echo go; set -x; sleep 1000; echo never",
        "echo go; PS1='prompt '; PROMPT_COMMAND=; sleep 1000; echo never",
        "echo go; cat; echo never",
    ],
)
async def test_ctrl_c_ends_the_command_and_keeps_the_shell(line: str) -> None:
    async with Session() as session:
        await session.ask("x=kept; cd /tmp")
        session.sink.out = session.sink.err = b""
        number = session.give(line, stdin="cat" in line)
        await session.running()
        if "| cat" in line:  # one that misses it ends by itself with the other, and bash goes on, as on any terminal
            await eventually(lambda: {"sleep", "cat"} <= {name_of(pid).split("\n")[0] for pid in session.processes()})
        assert session.shell.signal(number, "SIGINT")
        done = await session.sink.done(number)
        assert (done.status, done.shell, done.timed_out) == (130, "alive", False)
        assert session.sink.out == b"go\n"
        assert b"remote_shell" not in session.sink.err
        await session.ask("set +xm")
        assert await session.ask("echo $x $PWD") == (0, b"kept /tmp\n", b"")


async def test_a_late_ctrl_c_does_not_hit_the_next_command() -> None:
    async with Session() as session:
        first = session.give("true")
        second = session.give("echo go; sleep 0.05; echo survived")
        await session.running()
        assert session.shell.signal(first, "INT") is False
        assert (await session.sink.done(second)).status == 0
        assert session.sink.out == b"go\nsurvived\n"
        assert session.shell.signal(second, "INT") is False


async def test_ctrl_c_at_the_very_end_of_a_command_costs_the_next_one_nothing() -> None:
    """The signal may come between any two system calls of bash; the next command must run whole all the same."""
    async with Session() as session:
        for i in range(150):
            session.sink.out = b""
            number = session.give("echo a")
            follower = session.give(f"echo next {i}")
            if i % 3:
                await session.sink.until(lambda: session.sink.out)
            for _ in range(1 + i % 3):
                session.shell.signal(number, "INT")
            done = await session.sink.done(follower)
            assert (done.status, done.shell) == (0, "alive"), i
            assert session.sink.out.endswith(b"next %d\n" % i)
            assert (await session.sink.done(number)).status in (0, 2, 130)  # 2: caught while bash parsed it


async def test_a_users_trap_on_int() -> None:
    async with Session() as session:
        number = session.give("trap 'echo trapped' INT; echo go; sleep 1000; echo after")
        await session.running()
        session.shell.signal(number, "INT")
        assert (await session.sink.done(number)).status == 0
        assert session.sink.out == b"go\ntrapped\nafter\n"
        assert await session.ask("trap - INT; echo x") == (0, b"x\n", b"")


async def test_a_command_that_kills_itself_with_int() -> None:
    async with Session() as session:
        assert (await session.ask("kill -INT $$; sleep 0.1; echo never"))[:2] == (130, b"")
        assert (await session.ask("sh -c 'kill -INT $$'"))[0] == 130
        assert (await session.ask("PROMPT_COMMAND=; kill -INT $$; sleep 0.1"))[0] == 130
        assert await session.ask("echo x") == (0, b"x\n", b"")


async def test_other_signals_go_to_the_commands_processes_only() -> None:
    async with Session() as session:
        await session.ask("sleep 1000 & x=kept; job=$!")
        for name, status in (("TERM", 143), ("KILL", 137), ("HUP", 129), ("QUIT", 131), ("SIGRTMIN+1", 128 + 35)):
            session.sink.out = b""
            number = session.give("echo go; sh -c 'sleep 1000; :'")
            await session.running()
            assert session.shell.signal(number, name)
            assert (await session.sink.done(number)).status == status, name
        assert await session.ask("echo $x; kill $job") == (0, b"kept\n", b"")
        number = session.give("echo; while :; do :; done")
        await session.running()
        assert session.shell.signal(number, "TERM") is False  # a built-in has no process of its own
        with pytest.raises(CommandError):
            session.shell.signal(number, "SIGNONE")
        session.shell.signal(number, "INT")
        await session.sink.done(number)


# --- timeouts


async def test_a_timeout_ends_the_command_and_keeps_the_shell() -> None:
    async with Session() as session:
        await session.ask("x=kept")
        done = await session.ask_done("sleep 1000; echo never", timeout=0.02)
        assert (done.status, done.timed_out, done.shell) == (130, True, "alive")
        assert done.duration < FAST.interrupt_grace + 0.02
        assert await session.ask("echo $x") == (0, b"kept\n", b"")
        done = await session.ask_done("true", timeout=5)
        assert (done.status, done.timed_out) == (0, False)


@pytest.mark.parametrize(
    "line",
    [
        "trap '' INT; sleep 1000",
        "trap '' INT; sleep 1000; sleep 1000; sleep 1000",
        "trap '' INT; sh -c 'sleep 1000 & sleep 1000; :'",
        "sh -c 'trap \"\" INT; exec sleep 1000'",
    ],
)
@pytest.mark.slow
async def test_what_ignores_int_is_killed_and_the_shell_and_older_jobs_survive(line: str) -> None:
    async with Session(limits=replace(FAST, shell_kill_grace=5)) as session:
        await session.ask("x=kept; sleep 1000 & job=$!")
        done = await session.ask_done(line, timeout=0.2)
        assert (done.status, done.timed_out, done.shell) == (137, True, "alive")
        assert await session.ask("trap - INT; echo $x; kill -0 $job && kill $job") == (0, b"kept\n", b"")
        await eventually(lambda: not tree.descendants(session.shell.pid))


async def test_when_the_shell_itself_hangs_it_is_killed_and_that_is_said() -> None:
    async with Session() as session:
        await session.ask("sleep 1000 & echo $!")
        job = int(session.sink.out)
        done = await session.ask_done("trap '' INT; while :; do :; done", timeout=0.02)
        assert (done.status, done.signal, done.timed_out, done.shell) == (None, "SIGKILL", True, "ended")
        assert await session.sink.finished() == Exit(None, "SIGKILL")
        assert not is_alive(job)


async def test_a_stopped_shell_is_killed_in_the_end() -> None:
    async with Session() as session:
        done = await session.ask_done("kill -STOP $$", timeout=0.02)
        assert (done.timed_out, done.shell) == (True, "ended")


async def test_cancel_climbs_the_same_ladder() -> None:
    async with Session() as session:
        number = session.give("trap '' INT; echo; sleep 1000; echo survived")
        await session.running()
        assert session.shell.cancel(number + 1) is False
        assert session.shell.cancel(number) is True
        done = await session.sink.done(number)
        assert (done.status, done.timed_out, done.shell) == (0, False, "alive")
        assert session.sink.out == b"\nsurvived\n"


# --- the end


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("exit 3", 3),
        ("exit", 0),
        ("set -e; false; echo never", 1),
        ("set -e\n(exit 9)", 9),
        ("exit 255", 255),
        ("set -t", 0),
    ],
)
async def test_the_command_ends_the_shell(line: str, status: int) -> None:
    async with Session() as session:
        await session.ask("true")
        done = await session.ask_done(line)
        if line == "set -t":
            await session.sink.exited()
            return
        assert (done.status, done.signal, done.shell) == (status, None, "ended")
        assert await session.sink.finished() == Exit(status, None)
        assert (session.sink.out, session.sink.err) == (b"", b"")
        with pytest.raises(ShellEndedError) as caught:
            session.give("echo x")
        assert caught.value.reason == "shell_ended"


async def test_set_e_ends_the_shell_at_a_later_command() -> None:
    async with Session() as session:
        await session.ask("set -e")
        assert await session.ask("false || echo handled") == (0, b"handled\n", b"")
        done = await session.ask_done("false; echo never")
        assert (done.status, done.shell) == (1, "ended")


async def test_waiting_commands_never_ran_when_the_shell_ends() -> None:
    async with Session() as session:
        session.give("exit 4")
        waiting = session.give("echo never", stdin=True)
        session.shell.write_stdin(b"abc", waiting)
        done = await session.sink.done(waiting)
        assert (done.status, done.signal, done.shell, done.duration) == (None, None, "ended", 0.0)
        assert session.sink.credit == 3
        await session.sink.finished()
        assert session.sink.out == b""
        assert session.sink.log[-1] == "exit" or session.sink.log[-1].startswith("end")


async def test_the_shell_killed_by_a_signal() -> None:
    async with Session() as session:
        done = await session.ask_done("kill -KILL $$; sleep 1000")
        assert (done.status, done.signal, done.shell) == (None, "SIGKILL", "ended")


async def test_exec_replaces_the_shell() -> None:
    async with Session() as session:
        await session.ask("true")
        done = await session.ask_done("exec sh -c 'echo replaced; cat; exit 6'", stdin=True)
        assert (done.status, done.signal, done.shell) == (None, None, "replaced")
        assert session.sink.exit is None
        with pytest.raises(ShellEndedError) as caught:
            session.give("echo x")
        assert caught.value.reason == "shell_replaced"
        await session.sink.until(lambda: session.sink.out == b"replaced\n")
        session.shell.write_stdin(b"its stdin")
        session.shell.close_stdin()
        assert await session.sink.finished() == Exit(6, None)
        assert session.sink.out == b"replaced\nits stdin"


async def test_what_replaced_the_shell_takes_signals_and_the_timeout() -> None:
    async with Session() as session:
        number = session.give("exec sleep 1000")
        await session.sink.done(number)
        assert session.shell.signal(number, "TERM")
        assert await session.sink.finished() == Exit(None, "SIGTERM")
    async with Session() as session:
        session.give("exec sleep 1000", timeout=0.05)
        assert await session.sink.finished() == Exit(None, "SIGINT")


async def test_waiting_commands_never_ran_after_exec() -> None:
    async with Session() as session:
        session.give("exec sleep 1000")
        done = await session.sink.done(session.give("echo never"))
        assert (done.status, done.shell) == (None, "replaced")


async def test_an_exec_that_fails_keeps_the_shell() -> None:
    async with Session() as session:
        assert (await session.ask("exec no-such-program"))[0] == 127
        assert await session.ask("echo x") == (0, b"x\n", b"")


@pytest.mark.parametrize(
    "line",
    [
        "unset PROMPT_COMMAND",
        "PROMPT_COMMAND=",
        "PROMPT_COMMAND='exit 1'",
        "exec 9>&-; exec 46>&-; exec 47>&-",
        "unset -f __remote_shell_report",
        "__remote_shell_report() { :; }",
        "builtin() { :; }; unset -f builtin",
        "eval() { echo mine; }; printf() { echo mine; }; set() { :; }; return() { :; }",
        "alias builtin=echo eval=echo . =echo",
        "set -n",
        "set -u; unset __remote_shell_last",
        "set -f; set -a; set -k; set -C; set -h",
        "set -o posix",
        "readonly PS1 PS2 PROMPT_COMMAND",
        "IFS=0123456789",
        "LC_ALL=C; LANG=xx",
        "trap 'true' DEBUG ERR RETURN",
        "stty -a; stty sane",
        "ulimit -n 64",
        "break; continue; return 3",
        "shopt -s extdebug; set -T; set -E",
        "exec </dev/null; exec 0<&-",
        "suspend",
        "logout",
        "TMOUT=1",
        "hash -r; cd /nowhere",
    ],
)
async def test_what_a_user_does_to_the_shell_it_survives(line: str) -> None:
    async with Session() as session:
        await session.ask_done(line)
        for i in (4, 5):
            assert (await session.ask(f"command echo x; (exit {i})"))[:2] == (i, b"x\n")
            assert await session.ask('command echo "$?"') == (0, b"%d\n" % i, b"")


@pytest.mark.parametrize(
    "line", ["exec 10>&- 11>&- 12>&- 13>&- 14>&- 15>&-", "exec bash", "builtin() { :; }", "set -r"]
)
async def test_what_it_does_not_survive_ends_it(line: str) -> None:
    async with Session(limits=replace(FAST, shell_watch_first=0.01, shell_watch_time=0.03)) as session:
        session.give(line)
        done = await session.sink.done(session.give("echo x"))
        assert done.shell in ("ended", "replaced")
        assert session.sink.out == b""
        await session.sink.exited()


@pytest.mark.parametrize(
    "line", ["sleep 0.2", "read x", "read x | cat", "wait", "x=$(sleep 0.2)", "time -p sleep 0.1", "cat"]
)
async def test_a_command_that_takes_long_is_not_taken_for_lost(line: str) -> None:
    async with Session(limits=replace(FAST, shell_watch_first=0.005, shell_watch_time=0.01)) as session:
        await session.ask("sleep 0.1 &")
        number = session.give(line, stdin=True)
        await asyncio.sleep(0.08)
        session.shell.close_stdin()
        assert (await session.sink.done(number)).shell == "alive"


async def test_a_waiting_command_that_was_cancelled_never_runs() -> None:
    async with Session() as session:
        await session.ask("true")
        session.sink.out = b""
        first, second, third = (session.give(line) for line in ("sleep 0.02; echo first", "echo never", "echo third"))
        assert session.shell.cancel(second)
        assert not session.shell.signal(third, "INT")
        assert (await session.sink.done(second)).status == 130
        assert (await session.sink.done(third)).status == 0
        assert session.sink.out == b"first\nthird\n"
        assert [done.number for done in session.sink.dones][-3:] == [first, second, third]


async def test_ctrl_c_before_bash_has_started() -> None:
    async with Session() as session:
        number = session.give("echo never")
        assert session.shell.signal(number, "INT")
        assert (await session.sink.done(number)).status == 130
        assert await session.ask("echo next") == (0, b"next\n", b"")


async def test_the_end_by_itself_runs_exit_traps_and_leaves_jobs() -> None:
    async with Session() as session:
        await session.ask("trap 'echo bye' EXIT; sleep 1000 & echo $!")
        job = int(session.sink.out)
        session.shell.end()
        assert await session.sink.exited() == Exit(0, None)
        assert session.sink.out.endswith(b"bye\n")
        assert session.sink.err == b""
        assert is_alive(job)
        os.kill(job, signal.SIGKILL)


async def test_a_kill_takes_jobs_and_what_left_the_session_along() -> None:
    code = """
import asyncio
from remote_shell.process.prepare import prepare_process
from tests.process.recorder import is_alive
from tests.process.test_shell import Session
prepare_process()
async def main():
    async with Session() as session:
        await session.ask("sleep 1000 & echo $!; (setsid sh -c 'echo $$; exec sleep 1000' &); sleep 0.05")
        await session.sink.until(lambda: session.sink.out.count(b"\\n") == 2)
        jobs = [int(pid) for pid in session.sink.out.split()]
        session.shell.kill(0.1)
        print(await session.sink.exited(), [is_alive(pid) for pid in jobs])
asyncio.run(main())
"""
    told = await asyncio.to_thread(python_in_fresh_process, code)
    assert told == "Exit(status=None, signal='SIGHUP') [False, False]\n"


async def test_closed_it_tells_nothing_and_ends() -> None:
    async with Session() as session:
        await session.ask("true")
        session.give("sleep 0.02; echo never", stdin=True)
        session.give("echo never", stdin=True)
        log = list(session.sink.log)
        session.shell.close()
        session.shell.close()
        await eventually(lambda: session.shell.exit is not None)
        assert session.sink.log == log
        with pytest.raises(ShellEndedError):
            session.give("echo x")
        session.sink.exit = Exit(0, None)
        session.sink.ended = [1, 2]


async def test_errors_of_the_start() -> None:
    with pytest.raises(CommandNotFoundError):
        start_shell(shell_path=b"/no/such/bash")
    with pytest.raises(WorkingDirectoryError):
        start_shell(cwd=b"/no/such/place")


async def test_a_sink_may_give_the_next_command_within_done() -> None:
    async with Session() as session:
        real = session.sink.on_done

        def on_done(done: Done) -> None:
            real(done)
            if done.number < 20:
                session.give(f"echo {done.number}")

        session.sink.on_done = on_done  # type: ignore[method-assign]
        session.give("true")
        await session.sink.done(20)
        assert session.sink.out.split()[-1] == b"19"


@pytest.mark.slow
async def test_two_thousand_commands_are_fast_and_leave_nothing() -> None:
    async with Session() as session:
        await session.ask("true")
        descriptors = len(os.listdir("/proc/self/fd"))
        took = []
        for _ in range(20):
            began = time.monotonic()
            for _ in range(100):
                await session.sink.done(session.give(":"))
                session.sink.dones.clear()
            took.append(time.monotonic() - began)
        assert min(took) / 100 < 0.001  # a tenth of that; other programs have the processor now and then
        for i in range(300):
            await session.ask("sh -c 'cat; exit 3'", stdin=i % 2 == 0) if i % 2 else await session.ask("sleep 0 & wait")
        assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_an_interrupt_that_meets_a_program_before_it_began_is_sent_again() -> None:
    """Between fork and exec it is lost, one time in five here; without the second one such a command would go on."""
    async with Session() as session:
        for _ in range(40):
            number = session.give("echo begun; sleep 1000")
            await session.sink.until(lambda: session.sink.out.endswith(b"begun\n"))
            assert session.shell.signal(number, "SIGINT")
            async with asyncio.timeout(15):
                assert (await session.sink.done(number)).status == 130
            session.sink.out = b""
        assert await session.ask("echo alive") == (0, b"alive\n", session.sink.err)


# Between fork and exec, for as long as it takes until a SIGINT came: as its parent, it has a handler, which exec takes away.
STARTS = """
import os, signal
signal.signal(signal.SIGINT, lambda *_: None)
child = os.fork()
if not child:
    os.write(1, b"go\\n")
    signal.pause()
    os.execvp({0}[0], {0})
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.kill(os.getpid(), -status)
"""


@pytest.mark.parametrize("line", ["sleep 1000", "sh -c 'sleep 1000; echo never'"])
async def test_an_interrupt_that_a_programs_child_misses_before_it_began_is_sent_again(line: str) -> None:
    code = STARTS.format(["sh", "-c", line])
    async with Session() as session:
        number = session.give(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}; echo never")
        await session.running()
        assert session.shell.signal(number, "SIGINT")
        assert (await session.sink.done(number)).status == 130
        assert session.sink.out == b"go\n"


@pytest.mark.parametrize("mode", ["", "set -m; "], ids=["the shell's group", "a group of its own"])
async def test_an_interrupt_that_a_program_misses_before_it_began_is_sent_again_though_it_catches_it(mode: str) -> None:
    async with Session() as session:
        number = session.give(
            f"{mode}(trap got=1 INT; echo go; until [ $got ]; do :; done; exec sh -c 'sleep 1000; echo never'); echo never"
        )
        await session.running()
        assert session.shell.signal(number, "SIGINT")
        assert (await session.sink.done(number)).status == 130
        assert session.sink.out == b"go\n"


def test_a_process_that_came_during_the_look_before_an_interrupt_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tree.Stat.of(os.getpid())
    assert stat is not None
    listings = iter([{}, {os.getpid(): stat}, {os.getpid(): stat}, {os.getpid(): stat}])
    monkeypatch.setattr(ShellCommand, "processes", lambda *_: next(listings))
    found, _ = ShellCommand(1, b"", None).look(os.getppid())
    assert found.keys() == {os.getpid()}


async def test_a_child_of_the_shell_that_came_between_that_look_and_the_interrupt_has_missed_it() -> None:
    """This process stands for the shell."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(read, 0)
        os.close(write)
        os.read(0, 1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # sh can't trap what is ignored, as it may be here
        os.execvp("sh", ["sh", "-c", "trap : INT; while :; do sleep 0.1; done"])
    os.close(read)
    try:
        command = ShellCommand(1, b"", None)
        command.before = frozenset(children_of(os.getpid())) - {child}
        assert command.processes(os.getpid()).keys() == {child}
        command.interrupted({}, {})
        assert not command.deaf(os.getpid(), os.getsid(0), os.getpgrp())[0], "it has not begun"
        os.close(write)
        await eventually(lambda: tree.hears(child, signal.SIGINT) and not tree.dies_of(child, signal.SIGINT))
        await eventually(lambda: child in command.deaf(os.getpid(), os.getsid(0), os.getpgrp())[0])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


async def test_an_interrupt_that_a_child_missed_is_not_sent_again_to_its_parent() -> None:
    """Which cleans up since the first, and would not be let."""
    code = """
import os, signal
count = []
signal.signal(signal.SIGINT, lambda *_: count.append(1))
child = os.fork()
if not child:
    os.write(1, b"go\\n")
    signal.pause()
    os.execvp("sleep", ["sleep", "1000"])
status = os.waitpid(child, 0)[1]
os.write(1, b"%d %d\\n" % (len(count), status))
"""
    async with Session() as session:
        number = session.give(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}")
        await session.running()
        assert session.shell.signal(number, "SIGINT")
        await session.sink.done(number)
        assert session.sink.out == b"go\n1 2\n"


@pytest.mark.parametrize("program", ["sh", "bash"])
async def test_what_a_script_does_at_an_interrupt_is_not_interrupted(program: str) -> None:
    """A script is a program of its own in bash too."""
    trap = "echo got; sleep 0.3 && echo cleaned; exit 7"
    async with Session() as session:
        number = session.give(f"{program} -c 'trap \"{trap}\" INT; echo go; while :; do sleep 0.01; done'")
        await session.running()
        assert session.shell.signal(number, "SIGINT")
        assert (await session.sink.done(number)).status == 7
        assert session.sink.out == b"go\ngot\ncleaned\n"


async def test_an_interrupt_that_is_ignored_is_not_sent_again() -> None:
    async with Session() as session:
        number = session.give(
            "(trap got=1 INT; echo go; until [ $got ]; do :; done; trap '' INT; exec sh -c 'sleep 0.7; echo survived')"
        )
        await session.running()
        assert session.shell.signal(number, "SIGINT")
        await eventually(lambda: any(name_of(pid).startswith("sleep") for pid in tree.descendants(session.shell.pid)))
        assert session.shell._interrupts == 1
        await session.sink.until(lambda: b"survived" in session.sink.out)
        assert session.shell._interrupts <= 1


def test_a_limit_of_descriptors_below_those_that_bash_uses_is_named() -> None:
    """EINVAL of fcntl(2) would say "try again later", and it would never work."""
    said = python_in_fresh_process(
        """
import asyncio, resource
from remote_shell.errors import CommandRefusedError
from tests.process.recorder import start_shell

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

async def main():
    try:
        start_shell()
    except CommandRefusedError as error:
        print(error)

asyncio.run(main())
"""
    )
    assert "64 files" in said and "ulimit -n" in said


async def test_a_flood_of_interrupts_is_one_and_one_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs looks at /proc: one that waits for its turn stands for all that come until then."""
    looks, look = [0], ShellCommand.look

    def counted(command: ShellCommand, shell: int) -> object:
        looks[0] += 1
        return look(command, shell)

    code = """
import os, signal, time
count = []
signal.signal(signal.SIGINT, lambda *_: count.append(1))
os.write(1, b"go\\n")
while len(count) < 2:
    time.sleep(0.01)
"""
    async with Session() as session:
        monkeypatch.setattr(ShellCommand, "look", counted)
        number = session.give(f"{shlex.quote(sys.executable)} -c {shlex.quote(code)}")
        await session.running()
        for _ in range(500):
            assert session.shell.signal(number, "SIGINT")
        assert looks[0] == 1
        assert (await session.sink.done(number)).shell == "alive"  # the program heard two
        assert looks[0] < 20
