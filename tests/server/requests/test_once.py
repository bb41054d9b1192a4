"""Ids that people chose, over real sockets: at most once, though the server dies at any step and the disk fails."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from remote_shell.wire.messages import Eof, Line, Message, Signal

from ..conftest import descriptors
from ..lives import STEPS, end, kill, life
from ..raw_client import Command, RawClient, until
from .test_exec import code

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all


def once(client: RawClient, argv: list[str], ident: str = "one", **fields: Any) -> Command:
    """Run under an id of a person's."""
    return client.run(argv, id=ident, once=True, **fields)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Another process writes, and does not come to its end."""
    database = sqlite3.connect(home / "state" / "ids.sqlite", isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    yield
    database.execute("ROLLBACK")
    database.close()


def line(home: Path, status: int = 5) -> list[str]:
    return ["sh", "-c", f"echo ran >> {home}/ran; exit {status}"]


def ran(home: Path) -> str:
    file = home / "ran"
    return file.read_text() if file.exists() else ""


def is_on_disk(home: Path, state: str) -> bool:
    """Of the only id there is."""
    database = sqlite3.connect(home / "state" / "ids.sqlite")
    found = database.execute("SELECT state FROM ids").fetchone()
    database.close()
    return bool(found == (state,))


# --- one life


def test_it_runs_once_and_tells_its_end_again(home: Path) -> None:
    with life(home, listen=("unix:", "tls:127.0.0.1:0")) as running:
        with RawClient(running) as client, RawClient(running) as other:
            first = once(client, line(home))
            assert first.opened is not None and not first.opened.again
            again = once(other, line(home), env_offer=[["TERM", "other"]], window=65536)
            assert again.opened is not None and again.opened.again and again.text() == b"" and again.exit == first.exit
            assert code(once(client, line(home, 6))) == "id_conflict"
            assert code(client.run(line(home), id="one")) == "id_conflict"
            assert client.query("one").status == 5
    assert ran(home) == "ran\n"
    state = home / "state"
    assert {stat.S_IMODE(file.stat().st_mode) for file in state.iterdir() if file.name.startswith("ids")} == {0o600}


def test_while_it_runs(home: Path) -> None:
    with life(home) as running, RawClient(running) as client, RawClient(running) as other:
        argv = ["sh", "-c", "read x; exit $x"]
        channel, command = client.start(argv, id="one", once=True, stdin="pipe")
        second, again = other.start(argv, id="one", once=True, stdin="pipe")
        assert again.opened is not None and again.opened.again and other.query("one").state == "running"
        client.session.send_data(channel, 0, b"6\n")
        client.finish(channel)
        other.finish(second)
        assert command.exit is not None and command.exit.status == 6 and again.exit == command.exit


def test_a_start_that_fails_leaves_it_free_and_a_question_burns_it(home: Path) -> None:
    with life(home) as running, RawClient(running) as client:
        assert code(once(client, ["no-such-program-here"])) == "not_found"
        assert code(once(client, ["true"], cwd="/nowhere")) == "bad_cwd"
        assert once(client, ["echo", "now"]).text() == b"now\n"
        assert client.query("two").state == "never_received"
        assert code(once(client, line(home), "two")) == "id_burnt"
        assert code(client.run(None, request="shell", id="three", once=True)) == "bad_request"
    assert ran(home) == ""


def test_what_comes_before_the_disk_has_answered(home: Path) -> None:
    """stdin, its end, signals: all reach the command, in order. Meanwhile the loop serves others."""
    with life(home, config="[limits]\nids_busy_time = 10.0\n") as running, RawClient(running) as client:
        once(client, ["true"], "first")
        with locked(home):
            fed = client.open(["sh", "-c", "cat; exit 3"], id="fed", once=True, stdin="pipe")
            client.session.send_data(fed, 0, b"some" * 50_000)
            client.session.send_message(fed, Eof(stream=0))
            signalled = client.open(["sleep", "1000"], id="signalled", once=True)
            client.session.send_message(signalled, Signal(signal="SIGUSR1"))
            left = client.open(line(home), id="left", once=True)
            client.close_channel(left)
            twin = [client.open(line(home, 4), id="twin", once=True) for _ in range(2)]
            other = client.open(line(home, 5), id="twin", once=True)
            question = client.open(None, request="query", id="twin")
            assert client.run(["echo", "plain"]).text() == b"plain\n"
            assert not any(client.commands[one].opened for one in (fed, signalled, *twin))
        command = client.finish(fed)
        assert command.exit is not None and command.exit.status == 3 and command.text() == b"some" * 50_000
        exit = client.finish(signalled).exit
        assert exit is not None and exit.signal == "SIGUSR1"
        client.finish(left)
        assert client.query("left").state == "never_received"
        ends = [client.finish(one) for one in twin]
        assert [one.opened.again for one in ends if one.opened] == [False, True] and ends[0].exit == ends[1].exit
        assert code(client.finish(other)) == "id_conflict"
        report = client.finish(question).report
        assert report is not None and report.state in ("running", "finished")
    assert ran(home) == "ran\n"


def test_a_bad_message_before_the_disk_has_answered_ends_the_session(home: Path) -> None:
    with life(home, config="[limits]\nids_busy_time = 10.0\n") as running, RawClient(running) as client:
        once(client, ["true"], "first")
        with locked(home):
            channel = client.open(["sleep", "1000"], id="two", once=True)
            client.session.send_message(channel, Signal(signal="SIGNOSUCH"))
            client.flush()
            assert client.run(["echo", "plain"]).text() == b"plain\n"
        assert client.wait_end() == "bad_message"
        with RawClient(running) as other:
            until(lambda: other.query("two").state == "finished", "what had started was ended")


def test_a_session_that_ends_meanwhile_starts_nothing(home: Path) -> None:
    with life(home, config="[limits]\nids_busy_time = 10.0\n") as running, RawClient(running) as client:
        once(client, ["true"], "first")
        with locked(home):
            before = descriptors(running.process.pid)
            leaver = RawClient(running)
            leaver.open(line(home), id="two", once=True)
            leaver.run(["true"])
            leaver.bye()
            until(lambda: descriptors(running.process.pid) <= before, "its session is over")
        assert client.query("two").state == "never_received"
    assert ran(home) == ""


def test_a_shutdown_meanwhile_starts_nothing(home: Path) -> None:
    with life(home, config="[limits]\nids_busy_time = 10.0\n") as running, RawClient(running) as client:
        once(client, ["true"], "first")
        with locked(home):
            channel = client.open(line(home), id="two", once=True)
            client.run(["true"])
            running.process.terminate()
            until(lambda: "draining" in running.read_log(), "it heard")
        client.wait(lambda: client.commands[channel].rejected, "the answer")
        assert code(client.commands[channel]) == "shutting_down"
        running.process.wait(10)
    with life(home) as running, RawClient(running) as client:
        assert client.query("two").state == "never_received", "the id is free again on disk too"
    assert ran(home) == ""


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        (Signal(signal="SIGUSR1"), "unacked_frames_max = 128"),
        (Line(mode=1, text="x" * 1000), "shell_waiting_bytes_max = 100_000"),
    ],
)
def test_what_waits_for_the_disk_is_bounded(home: Path, message: Message, limit: str) -> None:
    limits = f"ids_busy_time = 10.0\n{limit}\n"
    with life(home, config=f"[limits]\n{limits}") as running, RawClient(running) as client:
        once(client, ["true"], "first")
        with locked(home):
            channel = client.open(["sleep", "1000"], id="two", once=True)
            for _ in range(130):
                client.session.send_message(channel, message)
                client.flush()
                client.pump(0)
            assert client.wait_end() == "unexpected_message"


# --- the disk


def test_a_lock_of_another_process_is_refused_by_name(home: Path) -> None:
    with life(home, config="[limits]\nids_busy_time = 0.1\n") as running, RawClient(running) as client:
        once(client, ["true"], "first")
        with locked(home):
            refused = once(client, line(home))
            assert code(refused) == "id_not_kept" and refused.rejected is not None
            assert "locked by another process" in refused.rejected.detail
            assert client.query("asked").state == "unknown", "nor is anything burnt"
            assert client.run(["echo", "plain"]).text() == b"plain\n"
        exit = once(client, line(home)).exit
        assert exit is not None and exit.status == 5
        assert once(client, ["true"], "asked").exit is not None
        assert "the id one is not taken" in (log := running.read_log()) and "locked by another process" in log
    assert ran(home) == "ran\n"


def test_a_damaged_file_is_refused_and_left_alone(home: Path) -> None:
    (home / "state").mkdir(mode=0o700)
    path = home / "state" / "ids.sqlite"
    path.write_bytes(b"no database at all" * 1000)
    before = path.read_bytes()
    with life(home) as running, RawClient(running) as client:
        for _ in range(2):
            refused = once(client, line(home))
            assert code(refused) == "id_not_kept" and refused.rejected is not None
            assert "damaged" in refused.rejected.detail and "move it away" in refused.rejected.detail
        assert client.query("one").state == "unknown"
        assert client.run(["echo", "plain"]).text() == b"plain\n"
        assert running.read_log().count("is damaged") == 3
        path.rename(home / "away")
        assert once(client, line(home)).exit is not None, "without a new start of the server"
    assert (home / "away").read_bytes() == before and ran(home) == "ran\n"


def test_a_full_disk_is_refused_and_nothing_runs(home: Path) -> None:
    """A real refusal of the system's to let files grow; what runs comes to its end, and so does the fault."""
    with life(home) as running, RawClient(running) as client:
        channel, command = client.start(["sh", "-c", "read x; exit 7"], id="runs", once=True, stdin="pipe")
        first = once(client, ["true"], "first").exit
        before = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        for _ in range(3):
            assert code(once(client, line(home))) == "id_not_kept" and ran(home) == ""
        assert client.query("asked").state == "unknown"
        assert client.query("first").state == "finished" and once(client, ["true"], "first").exit == first
        client.session.send_message(channel, Eof(stream=0))
        client.finish(channel)
        assert command.exit is not None and command.exit.status == 7, "its end is told, if not kept"
        assert client.run(["echo", "plain"]).text() == b"plain\n"
        assert (
            "the id one is not taken" in (log := running.read_log()) and "of the id runs its end is not on disk" in log
        )
        resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, before)
        assert once(client, line(home)).exit is not None and ran(home) == "ran\n"
        kill(running)
    with life(home) as running, RawClient(running) as client:
        assert [client.query(ident).state for ident in ("first", "one", "runs")] == ["finished", "finished", "unknown"]


# --- many lives


def test_an_end_is_known_to_every_later_life(home: Path) -> None:
    with life(home) as running, RawClient(running) as client:
        first = once(client, line(home)).exit
        late = once(client, ["sleep", "1000"], "late", timeout_ms=20).exit
        client.query("burnt")
        assert late is not None and late.timed_out
        kill(running)
    for _ in range(2):
        with life(home) as running, RawClient(running) as client:
            again = once(client, line(home))
            assert again.opened is not None and again.opened.again and again.exit == first
            assert once(client, ["sleep", "1000"], "late", timeout_ms=20).exit == late
            report = client.query("late")
            assert (report.state, report.signal, report.timed_out) == ("finished", "SIGTERM", True)
            assert code(once(client, line(home, 6))) == "id_conflict"
            assert code(once(client, line(home), "burnt")) == "id_burnt"
            assert client.query("burnt").state == "never_received"
    assert ran(home) == "ran\n"


TOLD = {
    "received": ("never_received", None),
    "claimed": ("unknown", "id_unknown"),
    "started": ("unknown", "id_unknown"),
    "ended": ("unknown", "id_unknown"),
    "written": ("finished", None),
}


@pytest.mark.screen
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("first", ["ask", "run again"])
def test_a_server_that_dies_at_each_step(home: Path, step: str, first: str) -> None:
    with life(home, dies=step) as running:
        client = RawClient(running)
        client.open(line(home), id="one", once=True)
        client.wait_end()
        assert running.process.wait(10) == -9
    may_have_run = step in ("started", "ended", "written")
    if may_have_run:
        until(lambda: ran(home), "it goes on without its server")
    else:
        assert ran(home) == ""
    state, refusal = TOLD[step]
    with life(home) as running, RawClient(running) as client:
        if first == "ask":
            assert client.query("one").state == state
        again = once(client, line(home))
        if refusal is not None:
            assert code(again) == refusal
        elif step == "received":
            assert ("id_burnt" if first == "ask" else None) == (again.rejected.code if again.rejected else None)
            may_have_run = first != "ask"
        else:
            assert again.exit is not None and again.exit.status == 5
        assert client.query("one").state == ("finished" if step == "received" and first != "ask" else state)
    assert ran(home) == ("ran\n" if may_have_run else "")


def test_what_outlives_its_server_is_running_until_it_is_gone(home: Path) -> None:
    argv = ["sh", "-c", f"echo ran >> {home}/ran; exec sleep 1000"]
    with life(home) as running, RawClient(running) as client:
        client.start(argv, id="one", once=True)
        until(lambda: ran(home) and is_on_disk(home, "started"), "it runs, and that is known")
        left = kill(running)
    try:
        with life(home) as running, RawClient(running) as client:
            assert client.query("one").state == "running"
            assert code(once(client, argv)) == "id_running"
            end(left)
            until(lambda: client.query("one").state == "unknown", "with what it ended nobody knows")
            assert code(once(client, argv)) == "id_unknown"
    finally:
        end(left)
    assert ran(home) == "ran\n"


def test_a_server_that_is_asked_to_end_writes_the_ends(home: Path) -> None:
    with life(home, config="[limits]\ndrain_time = 0.1\n") as running, RawClient(running) as client:
        client.start(["sleep", "1000"], id="one", once=True)
        running.process.terminate()
        running.process.wait(10)
    with life(home) as running, RawClient(running) as client:
        report = client.query("one")
        assert report.state == "finished" and report.signal in ("SIGTERM", "SIGKILL")


def test_ids_of_another_life_that_no_person_chose(home: Path) -> None:
    with life(home) as running, RawClient(running) as client:
        assert client.handshake.peer is not None
        ident = f"{client.handshake.peer.instance}.ab12.1"
        client.run(line(home), id=ident)
        assert client.query(ident).state == "finished"
        kill(running)
    with life(home) as running, RawClient(running) as client:
        assert client.query(ident).state == "unknown", "never_received would be a lie"


@pytest.mark.screen
def test_two_servers_on_one_state(home: Path) -> None:
    with life(home) as one, life(home) as two, RawClient(one) as first, RawClient(two) as second:
        argv = ["sh", "-c", f"read x; echo ran >> {home}/ran; exit 5"]
        channel, command = first.start(argv, id="one", once=True, stdin="pipe")
        until(lambda: second.query("one").state == "running", "the start is on disk")
        assert code(once(second, argv, stdin="pipe")) == "id_running"
        first.session.send_message(channel, Eof(stream=0))
        first.finish(channel)
        again = once(second, argv, stdin="pipe")
        assert again.opened is not None and again.opened.again and again.exit == command.exit
        assert second.query("two").state == "never_received" and code(once(first, line(home), "two")) == "id_burnt"
        ends = [once(client, line(home), f"n{number}") for number in range(20) for client in (first, second)]
        assert all(end.exit is not None and end.exit.status == 5 for end in ends)
    assert ran(home) == "ran\n" * 21


def deaths(home: Path, rounds: int, seed: int) -> None:
    """SIGKILL at random moments in the lives of twenty commands; then each is asked about."""
    rng = random.Random(seed)
    states: dict[str, int] = {}
    for number in range(rounds):
        idents = [f"r{number}.{count}" for count in range(20)]
        argvs = {
            ident: ["sh", "-c", f"echo x >> {home}/{ident}; exit {count + 3}"] for count, ident in enumerate(idents)
        }
        with life(home) as running:
            client = RawClient(running)
            once(client, ["true"], f"warm{number}")
            for ident in idents:
                client.open(argvs[ident], id=ident, once=True)
            for _ in range(rng.randrange(0, 60)):
                client.pump(0.02)
            told = {ident: client.commands[count + 2].exit for count, ident in enumerate(idents)}
            kill(running)
            client.cut()
        with life(home) as running, RawClient(running) as client:
            for count, ident in enumerate(idents):
                report = client.query(ident)
                exit = told[ident]
                assert exit is None or (report.state, report.status) == ("finished", exit.status), "what was told stays"
                while client.query(ident).state == "running":
                    continue
                again = once(client, argvs[ident], ident)
                file = home / ident
                states[report.state] = states.get(report.state, 0) + 1
                if report.state == "finished":
                    assert report.status == count + 3 and again.exit is not None and again.exit.status == count + 3
                else:
                    refusal = code(again)
                    assert refusal == ("id_burnt" if report.state == "never_received" else "id_unknown")
                runs = file.read_text() if file.exists() else ""
                assert runs in {"finished": ("x\n",), "never_received": ("",)}.get(report.state, ("", "x\n")), report
    assert states.get("finished"), states


@pytest.mark.screen
def test_death_at_a_few_random_moments(home: Path) -> None:
    deaths(home, 2, 1)


@pytest.mark.slow
def test_death_at_many_random_moments(home: Path) -> None:
    deaths(home, 60, 2)


@pytest.mark.screen
def test_a_principals_own(home: Path) -> None:
    """On disk too they belong to who logged in."""
    from ..raw_client import by_key

    with life(home, listen=("unix:", "tls:127.0.0.1:0")) as running, RawClient(running) as mine:
        once(mine, line(home))
        with RawClient(running.targets["tls"], by_key(running.identity)) as theirs:
            assert theirs.query("one").state == "never_received"
    assert os.path.exists(home / "state" / "ids.sqlite")


# --- jobs with an id of a person's


def mark(home: Path, word: str = "x") -> list[str]:
    return ["sh", "-c", f"echo {word} >> {home}/mark"]


def job(client: RawClient, ident: str, argv: list[str], **fields: Any) -> Command:
    return client.run(argv, id=ident, detach=True, once=True, **fields)


@pytest.mark.parametrize("new_life", [False, True])
def test_a_job_that_was_swept_out_does_not_run_again(home: Path, new_life: bool) -> None:
    """Its log may go early, for want of room; that it ran is known for seven days all the same."""
    config = "[limits]\njobs_kept_max = 1\njob_sweep_time = 0\n"
    with contextlib.ExitStack() as lives:
        running = lives.enter_context(life(home, config=config))
        with RawClient(running) as client:
            assert job(client, "first", mark(home)).opened is not None
            assert client.run(None, request="job_wait", id="first").exit is not None
            for number in range(3):
                job(client, f"later{number}", ["true"])
                client.run(None, request="job_wait", id=f"later{number}")
            until(lambda: code(client.run(None, request="job_wait", id="first")) == "no_such_job", "swept out")
        if new_life:
            kill(running)
            running = lives.enter_context(life(home, config=config))
        with RawClient(running) as client:
            again = job(client, "first", mark(home))
            assert code(again) == "id_unknown" and again.rejected is not None
            assert "a job had this id" in again.rejected.detail
            assert code(job(client, "first", mark(home, "y"))) == "id_conflict"
            assert code(once(client, mark(home), "first")) == "id_conflict"
            assert client.query("first").state == "unknown", "and not never_received"
        assert (home / "mark").read_text() == "x\n"


def test_a_job_that_is_removed_or_could_not_start_leaves_its_id_free(home: Path) -> None:
    with life(home) as running, RawClient(running) as client:
        assert code(job(client, "one", ["/no/such/program"])) == "not_found"
        assert code(job(client, "one", ["true"], cwd="/no/such")) == "bad_cwd"
        (home / "text").write_text("no program")
        (home / "text").chmod(0o755)
        assert code(job(client, "one", [str(home / "text")])) == "not_executable", "which the keeper found"
        for word in ("x", "y"):
            assert job(client, "one", mark(home, word)).opened is not None
            assert client.run(None, request="job_wait", id="one").exit is not None
            until(lambda: client.run(None, request="job_remove", id="one").report, "removed")
        assert once(client, mark(home, "z"), "one").exit is not None
    assert (home / "mark").read_text() == "x\ny\nz\n"


def test_a_server_that_dies_between_a_jobs_claim_and_its_folder(home: Path) -> None:
    with life(home, dies="claimed") as running, RawClient(running) as client:
        with contextlib.suppress(OSError):
            client.open(mark(home), id="one", detach=True, once=True)
            while not client.ended:
                client.pump()
        running.process.wait(10)
    with life(home) as running, RawClient(running) as client:
        again = job(client, "one", mark(home))
        assert code(again) == "id_unknown" and again.rejected is not None and "removed" in again.rejected.detail
    assert not (home / "mark").exists()
