"""The live shell from the client's side, in both fronts."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remote_shell import DEVNULL
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import Host, connect
from remote_shell.errors import ConnectionLostError, ShellEndedError, UsageError
from remote_shell.testing import RunningServer

from .test_blocking import running_commands, wait_until

Later = Callable[[float | Callable[[], object], Callable[[], object]], None]


def test_directory_variables_and_functions_stay(host: Host) -> None:
    with host.shell() as shell:
        assert shell.cwd.startswith("/") and shell.alive
        done = shell.run("cd /usr; x='a  b'; f() { echo f-$1; }")
        assert (done.returncode, done.stdout, done.stderr, done.cwd, done.shell) == (0, "", "", "/usr", "alive")
        assert shell.cwd == "/usr"
        assert shell.run('echo "$x"; f 1; pwd').stdout == "a  b\nf-1\n/usr\n"
        assert shell.run("false").returncode == 1
        assert shell.run("echo $?").stdout == "1\n"
        with pytest.raises(subprocess.CalledProcessError) as caught:
            shell.run("echo out; echo err >&2; (exit 7)", check=True)
        assert (caught.value.returncode, caught.value.output, caught.value.stderr) == (7, "out\n", "err\n")


def test_options_of_a_shell(host: Host) -> None:
    with host.shell(cwd="/usr", env_add={"ADDED": "1"}) as shell:
        assert shell.run("echo $PWD $ADDED").stdout == "/usr 1\n"
    with pytest.raises(FileNotFoundError):
        host.shell(cwd="/no/such")


def test_input_and_bytes(host: Host) -> None:
    with host.shell() as shell:
        assert shell.run("cat").stdout == "", "its stdin is empty"
        assert shell.run("read a; echo got $a; cat", input="line\nrest").stdout == "got line\nrest"
        every = bytes(range(256)) * 2000
        assert shell.run("cat", input=every, text=False).stdout == every
        assert shell.run("true", input="x" * 500_000).returncode == 0
        assert shell.run("echo next").stdout == "next\n", "unread input is not the next command's"
        assert shell.run("printf '\\303'").stdout == "\N{REPLACEMENT CHARACTER}"


def test_long_and_many_lines(host: Host) -> None:
    with host.shell() as shell:
        word = "x" * 300_000
        assert shell.run(f"echo {word}").stdout == word + "\n"
        assert shell.run("for i in 1 2\ndo\n echo $i\ndone\ncat <<END\nhere\nEND").stdout == "1\n2\nhere\n"


def test_much_output(host: Host) -> None:
    with host.shell() as shell:
        done = shell.run("head -c 20000000 /dev/zero & head -c 20000000 /dev/zero >&2; wait", text=False)
        assert (len(done.stdout), len(done.stderr)) == (20_000_000, 20_000_000)


def test_output_as_it_comes(host: Host, tmp_path: Path) -> None:
    """The command goes on only when its first output was seen."""
    seen: list[tuple[int, bytes]] = []

    def see(*new: Any) -> None:
        seen.append(new)
        (tmp_path / "seen").touch()

    with host.shell() as shell:
        line = f"echo a; until [ -e {tmp_path}/seen ]; do sleep 0.01; done; echo b >&2"
        done = shell.run(line, on_output=see, timeout=15)
    assert seen == [(1, b"a\n"), (2, b"b\n")]
    assert done.stdout is None and done.stderr is None


def test_a_timeout_ends_the_command_and_not_the_shell(host: Host) -> None:
    with host.shell() as shell:
        shell.run("x=1")
        with pytest.raises(subprocess.TimeoutExpired) as caught:
            shell.run("echo out; sleep 60", timeout=0.5)
        assert caught.value.output == "out\n" and caught.value.timeout == 0.5
        assert shell.run("echo $x").stdout == "1\n"


def test_interrupts(host: Host, after: Later) -> None:
    sleep = f"sleep 1032.{os.getpid()}"

    def sleeps() -> bool:
        return bool(running_commands(sleep))

    def beside(what: Callable[[], object]) -> threading.Thread:
        """In another thread, when the command runs."""

        def work() -> None:
            wait_until(sleeps)
            what()

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    with host.shell() as shell:
        shell.run("x=1")
        session = host._conversation.session
        before = session.sent_frames
        shell.interrupt()
        with host._driver:
            host._driver.flush()
        assert session.sent_frames == before, "between commands there is nothing to interrupt"
        thread = beside(shell.interrupt)
        assert shell.run(sleep).returncode == 130
        thread.join()
        after(sleeps, shell.interrupt)  # in a signal handler
        assert shell.run(f"{sleep}; echo no").returncode == 130
        with pytest.raises(KeyboardInterrupt):
            after(sleeps, lambda: os.kill(os.getpid(), signal.SIGINT))
            shell.run(sleep)
        assert shell.run("echo $x").stdout == "1\n", "the shell has survived all of them"
        thread = beside(lambda: shell.signal("SIGTERM"))
        assert shell.run(sleep).returncode == 143
        thread.join()
        with pytest.raises(ValueError, match="no signal"):
            shell.signal("SIGNONE")


@pytest.mark.parametrize(("line", "code"), [("exit 3", 3), ("set -e; false", 1)])
def test_a_shell_that_ends(host: Host, line: str, code: int) -> None:
    shell = host.shell()
    done = shell.run(f"echo last; {line}")
    assert (done.returncode, done.stdout, done.shell) == (code, "last\n", "ended")
    assert not shell.alive
    with pytest.raises(ShellEndedError) as caught:
        shell.run("echo")
    assert caught.value.reason == "shell_ended"
    shell.close()


def test_a_shell_that_is_killed(host: Host) -> None:
    shell = host.shell()
    done = shell.run("kill -9 $$")
    assert (done.returncode, done.signal, done.shell) == (-9, "SIGKILL", "ended")
    with pytest.raises(ShellEndedError):
        shell.run("echo")
    shell.close()


def test_a_shell_that_is_replaced(host: Host) -> None:
    """What took its place is what the command runs: its output and its end are the command's."""
    shell = host.shell()
    done = shell.run("exec sh -c 'echo new; sleep 0.1; exit 5'")
    assert (done.returncode, done.stdout, done.shell) == (5, "new\n", "replaced")
    with pytest.raises(ShellEndedError) as caught:
        shell.run("echo")
    assert caught.value.reason == "shell_replaced"
    shell.close()


def test_a_syntax_error_is_survived(host: Host) -> None:
    with host.shell() as shell:
        done = shell.run("if then fi )")
        assert done.returncode == 2 and "syntax error" in done.stderr
        assert shell.run("echo on").stdout == "on\n"


def test_closing_ends_what_runs_in_it(host: Host) -> None:
    name = f"1030.{os.getpid()}"
    shell = host.shell()
    shell.run(f"sleep {name} &")
    wait_until(lambda: running_commands(f"sleep {name}"))
    shell.close()
    shell.close()
    wait_until(lambda: not running_commands(f"sleep {name}"))
    with pytest.raises(ShellEndedError):
        shell.run("echo")


def test_two_threads_take_turns(host: Host) -> None:
    results: list[str] = []
    with host.shell() as shell:
        threads = [
            threading.Thread(target=lambda n=n: results.extend(shell.run(f"echo {n}").stdout for _ in range(20)))
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == sorted(f"{n}\n" for n in range(3) for _ in range(20))


def test_with_its_host_closed(running: RunningServer) -> None:
    with connect(running.targets["unix"]) as host:
        shell = host.shell()
    with pytest.raises(ConnectionLostError):
        shell.run("echo")


async def test_the_asyncio_front(running: RunningServer) -> None:
    async with connect_async(running.targets["unix"]) as host:
        async with await host.shell() as shell:
            await shell.run("cd /usr; x=1")
            assert shell.cwd == "/usr"
            assert (await shell.run("read a; echo $a-$x", input="in")).stdout == "in-1\n"
            seen: list[Any] = []
            done = await shell.run("echo out; echo err >&2", text=False, on_output=lambda *new: seen.append(new))
            assert sorted(seen) == [(1, b"out\n"), (2, b"err\n")] and done.stdout is None
            sleep = f"sleep 1033.{os.getpid()}"
            slept = asyncio.create_task(shell.run(sleep))
            await asyncio.to_thread(wait_until, lambda: running_commands(sleep))
            shell.interrupt()
            assert (await slept).returncode == 130
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.15):
                    await shell.run("sleep 60")
            with pytest.raises(subprocess.TimeoutExpired):
                await shell.run("sleep 60", timeout=0.1)
            both = await asyncio.gather(shell.run("echo $x"), shell.run("echo 2"))
            assert [done.stdout for done in both] == ["1\n", "2\n"]
            ended = await shell.run("exit 4")
            assert (ended.returncode, ended.shell) == (4, "ended")
            with pytest.raises(ShellEndedError):
                await shell.run("echo")


def test_a_line_that_can_not_be_sent_costs_nothing(host: Host) -> None:
    """Neither the shell nor what else runs: the core is not touched."""
    with host.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other, host.shell() as shell:
        for line, kind in (("echo a\0b", ValueError), (7, TypeError), ("x" * 1_100_000, UsageError)):
            with pytest.raises((kind, UsageError)):
                shell.run(line)  # type: ignore[arg-type]
            assert shell.run("echo alive").stdout == "alive\n"
        assert other.communicate(b"whole")[0] == b"whole"


def test_a_command_after_the_shell_has_died_is_not_said_to_have_run(host: Host, tmp_path: Path) -> None:
    """The shell's own status, 0 here, is not the command's."""
    with host.shell() as shell:
        shell.run("trap 'exit 0' USR1")
        assert shell.pid is not None
        os.kill(shell.pid, signal.SIGUSR1)
        wait_until(lambda: not os.path.exists(f"/proc/{shell.pid}"))
        with pytest.raises(ShellEndedError, match="did not run"):
            shell.run(f"touch {tmp_path}/file", check=True)
    assert not (tmp_path / "file").exists()


def test_a_death_by_a_signal_without_a_name_is_no_success(host: Host) -> None:
    for number in (32, 33):
        assert host.run(["bash", "-c", f"kill -{number} $$"], stdin=DEVNULL).returncode == -number
