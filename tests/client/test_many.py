"""Many hosts from a program: both fronts give the same results, and no host is ever missing from them."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import remote_shell
from remote_shell import errors, testing
from remote_shell.client import many
from remote_shell.client.async_many import connect_many_async
from remote_shell.client.blocking import connect
from remote_shell.client.blocking_many import connect_many
from remote_shell.client.many import Results, Turns, check_descriptors, check_names, grouped, kind_of, summary
from remote_shell.client.results import CompletedProcess, TimeoutExpired
from remote_shell.config.selection import select
from remote_shell.testing import RunningServer

pytestmark = pytest.mark.screen  # as a file it takes long

# --- decisions


def done(code: int = 0, out: bytes = b"", err: bytes = b"", signal: str | None = None) -> CompletedProcess:
    return CompletedProcess(["x"], code, out, err, signal=signal)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (done(), "ok"),
        (done(3), "failed"),
        (done(-9, signal="SIGKILL"), "signalled"),
        (TimeoutExpired("x", 1.0), "timed_out"),
        (errors.CommandNotFoundError("x"), "not_run"),
        (errors.CommandRefusedError("x"), "not_run"),
        (errors.ConnectError("x"), "unreachable"),
        (errors.AccessDeniedError("x"), "refused"),
        (errors.ServerKeyChangedError("x"), "refused"),
        (errors.IdentityError("x"), "refused"),
        (errors.ConnectionLostError("x"), "lost"),
        (errors.OutputTooLargeError("x"), "output_cut"),
        (errors.NotStartedError("x"), "skipped"),
        (KeyboardInterrupt(), "interrupted"),
        (ValueError("x"), "internal"),
    ],
)
def test_every_end_has_its_kind(outcome: Any, kind: str) -> None:
    assert kind_of(outcome) == kind
    assert kind in many.KINDS
    assert kind == "ok" or summary({"a": outcome})


def test_the_summary_names_every_host_by_how_it_ended() -> None:
    lost = errors.ConnectionLostError("gone", command_state="never_received")
    outcomes: dict[str, many.Outcome] = {
        "n1": done(),
        "n2": done(3),
        "n3": done(3, b"other"),
        "n4": done(4),
        "n5": errors.ConnectError("n5: nobody there"),
        "n6": errors.ConnectError("n6: nobody there"),
        "n7": lost,
        "n8": errors.ConnectionLostError("gone"),
        "n9": done(-9, signal="SIGKILL"),
    }
    assert summary(outcomes) == [
        "exit status 3: n[2-3] (2 of 9)",
        "exit status 4: n4 (1 of 9)",
        "died by SIGKILL: n9 (1 of 9)",
        "connection lost, the command never ran: n7 (1 of 9)",
        "  n7: gone",
        "connection lost, whether the command ran is not known: n8 (1 of 9)",
        "  n8: gone",
        "unreachable: n[5-6] (2 of 9)",
        "  n[5-6]: nobody there",
    ]
    assert summary({"a": done()}) == []


def test_groups_are_of_equal_ends_and_equal_output_on_both_streams() -> None:
    outcomes: dict[str, many.Outcome] = {
        "n1": done(0, b"x"),
        "n2": done(0, b"x"),
        "n3": done(1, b"x"),
        "n4": done(0, b"x", b"warning"),
        "n5": done(0, b"x"),
        "n6": errors.ConnectError("n6 is off"),
        "n7": errors.ConnectError("n7 is off"),
    }
    assert [group.folded for group in grouped(outcomes)] == ["n[1-2,5]", "n3", "n4", "n[6-7]"]


def test_turns_end_after_so_many_failures() -> None:
    turns = Turns(["a", "b", "c", "d"], 2)
    assert [turns.next(), turns.next()] == ["a", "b"]
    turns.end(done(1))
    assert turns.next() == "c"
    turns.end(done(0))
    turns.end(done(1))
    assert turns.next() is None
    assert list(turns.skipped()) == ["d"]
    with pytest.raises(errors.UsageError):
        Turns(["a"], 0)


def test_too_few_descriptors_are_told_before_anything_is_sent() -> None:
    check_descriptors(200, 1024)
    with pytest.raises(errors.UsageError, match=r"ulimit -n 4064"):
        check_descriptors(1000, 1024)


def test_a_word_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME if host == "typo" else socket.EAI_AGAIN, "x")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(errors.UsageError, match="typo is neither in hosts.toml nor known"):
        check_names(select(["10.0.0.1,[::1]:1,unix:/x,a.b,later,typo"]), 5.0)
    check_names(select(["later"]), 5.0)  # that one may only be unreachable


def test_the_error_of_a_check_has_all_results() -> None:
    results = Results({"n1": done(), "n2": done(2)})
    with pytest.raises(errors.ManyFailedError, match=r"1 of 2 hosts failed: exit status 2: n2") as caught:
        results.check()
    assert caught.value.results is results
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301
    Results({"n1": done()}).check()


# --- both fronts on real servers

Front = Callable[..., Any]


@pytest.fixture(params=["blocking", "asyncio"])
def run(request: pytest.FixtureRequest, home: Path) -> Front:
    def blocking(targets: Any, args: Any, *, exclude: Any = (), parallel: int | None = None, **options: Any) -> Any:
        with connect_many(targets, exclude=exclude, parallel=parallel) as hosts:
            return hosts.run(args, **options)

    def awaited(targets: Any, args: Any, *, exclude: Any = (), parallel: int | None = None, **options: Any) -> Any:
        async def work() -> Any:
            async with connect_many_async(targets, exclude=exclude, parallel=parallel) as hosts:
                return await hosts.run(args, **options)

        return asyncio.run(work())

    return blocking if request.param == "blocking" else awaited


@pytest.fixture
def home(running: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    unix, tls = running.targets["unix"], running.targets["tls"]
    text = "".join(f'[hosts.node{number}]\ntarget = "{unix}"\ngroups = ["all-of-them"]\n' for number in range(1, 6))
    text += f'[hosts.tls]\ntarget = "{tls}"\nidentity = "{running.identity}"\nfingerprint = "{running.fingerprint}"\n'
    text += f'[hosts.off]\ntarget = "unix:{tmp_path}/nobody"\n'
    (tmp_path / "hosts.toml").write_text(text)
    tmp_path.chmod(0o700)
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path))
    return tmp_path


def test_every_host_has_its_result(run: Front) -> None:
    results = run(["@all-of-them", "tls,off"], ["sh", "-c", "echo out; echo err >&2"], text=True)
    assert list(results) == [*(f"node{number}" for number in range(1, 6)), "tls", "off"]
    assert set(results.failed) == {"off"} and isinstance(results["off"], errors.ConnectError)
    for outcome in results.ok.values():
        assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "out\n", "err\n")
    assert [group.folded for group in results.groups()] == ["node[1-5],tls", "off"]
    assert results.summary()[0] == "unreachable: off (1 of 7)"


def test_options_mean_what_they_mean_for_one_host(run: Front, tmp_path: Path) -> None:
    results = run(
        "node[1-2]", "cat; pwd; echo $A >&2", shell=True, input=b"in\n", cwd=str(tmp_path), env_add={"A": "b"}
    )
    for outcome in results.values():
        assert (outcome.stdout, outcome.stderr) == (f"in\n{tmp_path}\n".encode(), b"b\n")
    joined = run("node1", "echo a; echo b >&2", shell=True, stderr=remote_shell.STDOUT)["node1"]
    assert (joined.stdout, joined.stderr) == (b"a\nb\n", None)


def test_stdin_is_empty_by_default(run: Front) -> None:
    assert run("node[1-2]", ["cat"])["node2"].stdout == b""


def test_a_timeout_is_one_hosts_result(run: Front) -> None:
    results = run("node[1-2]", ["sh", "-c", "echo early; exec sleep 60"], timeout=0.5)
    for outcome in results.values():
        assert isinstance(outcome, TimeoutExpired) and outcome.output == b"early\n"


def test_who_writes_too_much_is_ended_and_the_others_are_whole(run: Front) -> None:
    results = run("node[1-2]", "test -e x || yes; true", shell=True, most=100_000)
    assert {kind_of(outcome) for outcome in results.values()} == {"output_cut"}


def test_after_enough_failures_no_other_is_started(run: Front) -> None:
    results = run("node[1-5]", ["false"], parallel=1, max_failures=2)
    assert [kind_of(outcome) for outcome in results.values()] == ["failed", "failed", "skipped", "skipped", "skipped"]
    assert isinstance(results["node5"], errors.NotStartedError)


def test_check_raises_with_all_results(run: Front) -> None:
    with pytest.raises(errors.ManyFailedError) as caught:
        run("node1,off", ["true"], check=True)
    assert list(caught.value.results) == ["node1", "off"]


def test_no_more_than_so_many_at_once(run: Front, tmp_path: Path) -> None:
    line = f"mkdir {tmp_path}/$$; ls {tmp_path} | grep -c '^[0-9]*$'; sleep 0.05; rmdir {tmp_path}/$$"
    results = run("node[1-5]", line, shell=True, parallel=2)
    assert max(int(outcome.stdout) for outcome in results.values()) <= 2


def test_wrong_arguments_are_told_before_anything_is_sent(home: Path) -> None:
    assert (remote_shell.connect_many, remote_shell.connect_many_async) == (connect_many, connect_many_async)
    for front in (connect_many, connect_many_async):
        with pytest.raises(errors.UsageError, match="@nope"):
            front(["node1", "@nope"])
        with pytest.raises(errors.UsageError, match="parallel is 1 or more"):
            front(["node1"], parallel=0)


def test_connections_stay_for_the_next_command(home: Path) -> None:
    with connect_many("node[1-3]") as hosts:
        before = hosts.run(["sh", "-c", "echo $PPID"]), len(os.listdir("/proc/self/fd"))
        assert (hosts.run(["true"]).failed, len(os.listdir("/proc/self/fd"))) == ({}, before[1])
    with pytest.raises(errors.UsageError, match="closed"):
        hosts.run(["true"])


def test_a_host_that_was_off_is_tried_again_at_the_next_command(
    home: Path, running: RunningServer, tmp_path: Path
) -> None:
    with connect_many("off") as hosts:
        assert kind_of(hosts.run(["true"])["off"]) == "unreachable"
        os.symlink(running.targets["unix"].removeprefix("unix:"), tmp_path / "nobody")
        assert kind_of(hosts.run(["true"])["off"]) == "ok"


def test_cancelling_ends_the_commands_everywhere(home: Path, tmp_path: Path) -> None:
    async def work() -> None:
        async with connect_many_async("node[1-3]") as hosts:
            task = asyncio.create_task(hosts.run(["sh", "-c", f"echo $$ > {tmp_path}/pid-$$; exec sleep 60"]))
            while len(list(tmp_path.glob("pid-*"))) < 3:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(all_gone, tmp_path)

    asyncio.run(work())


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
def test_ctrl_c_in_a_blocking_call_ends_the_commands_everywhere(home: Path, tmp_path: Path) -> None:
    program = (
        "import remote_shell\n"
        "with remote_shell.connect_many('node[1-3]') as hosts:\n"
        f"    hosts.run(['sh', '-c', 'echo $$ > {tmp_path}/pid-$$; exec sleep 60'])\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as process:
        try:
            wait_for(lambda: len(list(tmp_path.glob("pid-*"))) == 3)
            process.send_signal(signal.SIGINT)
            assert b"KeyboardInterrupt" in process.communicate(timeout=10)[1]
        finally:
            process.kill()
    all_gone(tmp_path)


def test_closing_ends_a_wait_in_another_thread_at_once(tmp_path: Path) -> None:
    """Also where the server says nothing any more: its silence is no reason to wait."""
    ends: list[BaseException] = []

    def work() -> None:
        try:
            host.run(["sleep", "60"])
        except errors.ConnectionLostError as error:
            ends.append(error)

    with testing.server(("unix:",)) as server, connect(str(server)) as host:
        thread = threading.Thread(target=work)
        thread.start()
        wait_for(lambda: bool(host._conversation.states) and host._driver._pumping)
        wait_for(lambda: all(is_asleep(thread) for _ in range(10)))  # in poll, no longer looking without sleep
        server.process.send_signal(signal.SIGSTOP)
        try:
            host.close()
            thread.join(3)
            assert not thread.is_alive() and ends
        finally:
            server.process.send_signal(signal.SIGCONT)


def is_asleep(thread: threading.Thread) -> bool:
    time.sleep(0.005)
    with open(f"/proc/self/task/{thread.native_id}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"


def all_gone(folder: Path) -> None:
    pids = [file.name.removeprefix("pid-") for file in folder.glob("pid-*")]
    assert pids
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
