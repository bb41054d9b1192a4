"""The lesson "many": what it claims happened, nothing is left, and each of its servers keeps messages whole and in order."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from remote_shell.demo import elements
from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.lessons import many, many_cost, many_run
from remote_shell.demo.programs import many_one
from remote_shell.demo.stage import PROGRAMS, Stage

pytestmark = pytest.mark.screen  # as a file it takes long

CLAIMS = [
    *("one", "backlog", "threads", "socketserver", "selectors", "asyncio", "blocked", "in_thread"),
    *("thread_each", "thread_none"),
]
# a test may run with SIGINT ignored
RUN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from remote_shell.cli.main import main
sys.exit(main(["demo", sys.argv[1], "--language", "en"]))
"""
KINDS = ("one", "threads", "socketserver", "selectors", "asyncio", "in_thread", "blocking")
AT_ONCE = ("threads", "socketserver", "selectors", "asyncio", "in_thread")
PROGRAM_NAMES = ("many_one", "many_threads", "many_socketserver", "many_selectors", "many_asyncio")


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the pictures: the slow command lasts until the quick ones have their answers, and hardly longer."""
    for module in (many_run, many):
        monkeypatch.setattr(module, "HOLD", 0.02)
        monkeypatch.setattr(module, "LINGER", 0.01)
    monkeypatch.setattr(many, "CLIENTS", 12)


def held() -> tuple[set[threading.Thread], set[str], str, set[str]]:
    """What may be left: threads, descriptors, children, folders."""
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text(encoding="ascii")
    descriptors = {f"{name} {where(name)}" for name in os.listdir("/proc/self/fd")}
    folders = {path.name for path in Path(os.environ.get("TMPDIR", "/tmp")).glob("remote-shell-demo-*")}
    return set(threading.enumerate()), descriptors - {""}, children, folders


def where(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return "gone"  # the one by which the folder itself was read


def leaves_nothing(what: Callable[[], object]) -> None:
    """Runs it and compares what there was before and is after."""
    what()  # what is imported at the first use stays
    before = held()
    what()
    until = time.monotonic() + 5
    while (after := held())[0] != before[0] and time.monotonic() < until:
        time.sleep(0.01)
    assert after[0] == before[0]
    assert {each for each in after[1] ^ before[1] if "gone" not in each} == set()
    assert after[2] == before[2]


def running(group: int) -> list[str]:
    """The command lines of a process group's members that are not dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, _, member_of = (path / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(member_of) == group and state != "Z":
                found.append((path / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # it is gone
    return found


def play(language: str) -> Stage:
    stage = Stage(LESSONS["many"].title, language)
    LESSONS["many"].play(stage)
    return stage


@pytest.mark.screen
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lesson_shows_all_that_it_claims(language: str) -> None:
    stage = play(language)
    claims = [each.name for each in stage.shown.elements if isinstance(each, elements.Claim)]
    assert claims == CLAIMS
    assert stage.failed == []
    pictures = [each for each in stage.shown.elements if isinstance(each, elements.Timeline)]
    assert len(pictures) == 7
    for number, picture in enumerate(pictures):
        slow, *quick = picture.lanes
        assert len(quick) == 2
        assert all(0 <= bar.start <= bar.end for lane in picture.lanes for bar in lane.bars)
        if number == 0:  # one at a time: accepted when the one before has left
            assert slow.bars[-1].end < quick[0].bars[0].end and quick[0].bars[-1].end < quick[1].bars[0].end
        elif number == 5:  # a blocking call
            assert all(lane.bars[1].end > slow.bars[1].end - 0.02 for lane in quick)
        else:
            assert all(lane.bars[1].end < slow.bars[1].end for lane in quick)
    costs, summary = [each for each in stage.shown.elements if isinstance(each, elements.Table)]
    before, after = (int(figure) for figure in costs.rows[0][1].split(" → "))
    assert after - before == 12
    assert [row[1].replace("slow", "慢")[0] for row in summary.rows].count(
        "慢"
    ) == 2  # first only where all had to wait


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_leaves_nothing(kind: str) -> None:
    patience = 0.02 if kind in ("one", "blocking") else many_run.PATIENCE
    leaves_nothing(lambda: many_run.meet(kind, patience=patience))


@pytest.mark.parametrize("kind", ["one", "threads", "selectors", "asyncio", "blocking"])
def test_ctrl_c_leaves_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(many_run, "_watch", interrupt)

    def meet() -> None:
        with pytest.raises(KeyboardInterrupt):
            many_run.meet(kind)

    leaves_nothing(meet)


def test_the_claims_tell_servers_apart() -> None:
    one = many_run.meet("one", patience=0.02)
    assert one.taken_in_turn() and one.held_up() and not one.served_meanwhile()
    assert (one.waiting, one.order[0], one.threads) == (2, "slow", 1)
    threads = many_run.meet("threads")
    assert threads.served_meanwhile() and not threads.held_up() and not threads.taken_in_turn()
    assert (threads.waiting, threads.order[-1], threads.threads) == (0, "slow", 4)
    blocking = many_run.meet("blocking", patience=0.02)
    assert blocking.held_up() and not blocking.served_meanwhile()
    assert [visit.answer for visit in threads.visits] == [b"slow\n", b"quick 1\n", b"quick 2\n"]


def test_what_did_not_happen_is_no_proof() -> None:
    empty = many_run.Meeting()
    assert not empty.held_up() and not empty.served_meanwhile()


@pytest.mark.parametrize("kind", KINDS)
def test_messages_stay_whole_and_in_order(kind: str) -> None:
    commands = [b"seq 60000", b"echo two; sleep 0.02", b"true", b"echo four"]
    wire = b"".join(many_one.HEADER.pack(len(each)) + each for each in commands)
    with many_run.serving(kind) as server:
        with socket.create_connection(server.address, 15) as connection:
            for at in range(7):  # the first header in single bytes, all else in one go
                connection.sendall(wire[at : at + 1])
                time.sleep(0.002)
            connection.sendall(wire[7:])
            answers = [many_one.receive(connection) for _ in commands]
    assert answers == [subprocess.run(each, shell=True, capture_output=True).stdout for each in commands]


@pytest.mark.screen
def test_the_cost_is_that_of_the_server_alone() -> None:
    cost = many_cost.measure("threads", 9)
    assert (cost.clients, cost.threads) == (9, 9)
    assert cost.after.asked - cost.before.asked > 9 * 1024  # KiB: each thread has a stack of some MiB
    assert cost.before.used < cost.after.used < cost.after.asked


@pytest.mark.screen
@pytest.mark.parametrize(
    ("lesson", "after"), [("many", b"many_one.py:"), ("many", b"/proc/self/status"), ("frames", b"What we arranged")]
)
def test_ctrl_c_at_a_terminal_ends_all_of_it(lesson: str, after: bytes) -> None:
    argv = [sys.executable, "-c", RUN, lesson]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
        assert process.stdout is not None
        said = b""
        while after not in said and (part := process.stdout.readline()):
            said += part
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all in the foreground
        said += process.stdout.read()
    assert (process.returncode, b"Traceback" in said) == (130, False), said.decode()
    until = time.monotonic() + 5
    while (left := running(process.pid)) and time.monotonic() < until:
        time.sleep(0.02)
    assert left == []


@pytest.mark.screen
@pytest.mark.parametrize("folder", [PROGRAMS, PROGRAMS / "zh"], ids=["en", "zh"])
@pytest.mark.parametrize("name", PROGRAM_NAMES)
def test_a_program_answers_all_three(name: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, str(folder / f"{name}.py")], capture_output=True, text=True, timeout=18)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, sorted(lines)) == (0, "", ["quick 1", "quick 2", "slow"])
    if name == "many_one":
        assert lines == ["slow", "quick 1", "quick 2"]


@pytest.mark.parametrize("kind", ["selectors", "asyncio"])
def test_a_client_that_vanishes_takes_nobody_with_it(kind: str) -> None:
    """All clients of these have one thread: an error that nobody catches would end the server of all."""
    with many_run.serving(kind) as server:
        for command in (
            b"",
            b"sleep 0.05; seq 20000",
        ):  # it vanishes while the server reads, and before it gets its answer
            gone = socket.create_connection(server.address, 15)
            if command:
                many_one.send(gone, command)
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() is a reset
            gone.close()
        with socket.create_connection(server.address, 15) as connection:
            many_one.send(connection, b"sleep 0.1; echo here")
            assert many_one.receive(connection) == b"here\n"
