"""Detached jobs, asked for on the bare wire: start, list, logs, wait, signal, remove, and whose they are."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import shutil
import signal
import time
from pathlib import Path
from typing import Any, TypeVar

import pytest

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.jobs import Jobs as ServerJobs
from remote_shell.wire.messages import Detached, Gap, Job, Jobs, Message

from ..conftest import Place, Starter
from ..raw_client import Command, RawClient, until

pytestmark = pytest.mark.screen  # the quick suite has two minutes for all

Kind = TypeVar("Kind", bound=Message)


def start(client: RawClient, script: str, **fields: Any) -> str:
    """Start a job; returns its id."""
    ident: str = fields.setdefault("id", secrets.token_hex(6))
    done = client.run(["/bin/sh", "-c", script], detach=True, **fields)
    assert done.opened is not None and done.opened.pid and not done.opened.again, done.rejected
    assert isinstance(done.others[-1], Detached) and done.exit is None
    return ident


def ask(client: RawClient, request: str, ident: str, **fields: Any) -> Command:
    return client.run(None, request=request, id=ident, **fields)


def wait(client: RawClient, ident: str) -> Command:
    return ask(client, "job_wait", ident)


def of(command: Command, kind: type[Kind]) -> list[Kind]:
    return [message for message in command.others if isinstance(message, kind)]


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def listed(client: RawClient) -> dict[str, Job]:
    answer = ask(client, "jobs", secrets.token_hex(4))
    jobs = {job.id: job for job in of(answer, Job)}
    assert [message.count for message in of(answer, Jobs)] == [len(jobs)]
    return jobs


def test_a_job_outlives_its_session(place: Place) -> None:
    with place.connect() as client:
        ident = start(client, "echo one; echo two >&2; while [ ! -e go.$0 ]; do sleep 0.01; done; exit 3")
        pid = listed(client)[ident].pid
        assert pid is not None
    with place.connect() as client:
        assert alive(pid)
        until(lambda: ask(client, "job_logs", ident).size == 8, "both lines")
        job = listed(client)[ident]
        assert (job.state, job.pid, job.status) == ("running", pid, None)
        assert job.command.startswith("/bin/sh -c 'echo one;") and job.started_at_ms
        assert ask(client, "job_signal", ident, signal="SIGKILL").report is not None
        done = wait(client, ident)
        assert done.exit is not None and done.exit.signal == "SIGKILL"
        logs = ask(client, "job_logs", ident)
        assert logs.text(1) == b"one\n" and logs.text(2) == b"two\n" and logs.exit == done.exit
        assert (of(logs, Job)[0].stdout_at, of(logs, Job)[0].stderr_at) == (0, 0)


def test_logs_follow_and_go_on_from_an_offset(local: Place) -> None:
    with local.connect() as client:
        ident = start(client, "for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.01; done; exit 4")
        logs = ask(client, "job_logs", ident, follow=True)
        assert logs.text(1) == b"".join(b"%d\n" % number for number in range(1, 10))
        assert logs.exit is not None and logs.exit.status == 4 and logs.exit.duration_us > 80_000
        assert ask(client, "job_logs", ident, stdout_from=14, follow=True).text(1) == b"8\n9\n"
        assert ask(client, "job_logs", ident, stdout_from=99).text(1) == b""
        late = ask(client, "job_logs", ident, from_now=True, follow=True)
        assert late.text(1) == b"" and late.exit == logs.exit and of(late, Job)[0].stdout_at == 18


def test_logs_of_what_runs_end_with_what_there_is(local: Place) -> None:
    with local.connect() as client:
        ident = start(client, "echo here; exec sleep 100")
        until(lambda: ask(client, "job_logs", ident).text(1) == b"here\n", "written")
        logs = ask(client, "job_logs", ident)
        assert logs.exit is None and isinstance(logs.others[-1], Detached)
        watch, command = client.open(None, request="job_logs", id=ident, follow=True, from_now=True), None
        command = client.commands[watch]
        client.wait(lambda: command.others, "it watches")
        assert command.size == 0
        client.close_channel(watch)
        assert client.finish(watch).exit is None
        assert listed(client)[ident].state == "running", "a watcher that goes changes nothing"
        ask(client, "job_remove", ident, force=True)


def test_survivors_hold_the_log_and_not_the_end(local: Place, tmp_path: Path) -> None:
    with local.connect() as client:
        ident = start(client, "(while [ ! -e $GO ]; do sleep 0.01; done; echo late) & echo early; exit 2",
                      env_add=[["GO", str(tmp_path / "go")]])  # fmt: skip
        assert wait(client, ident).exit is not None
        refused = ask(client, "job_remove", ident).rejected
        assert refused is not None and refused.code == "job_running" and "left" in refused.detail
        (tmp_path / "go").touch()
        logs = ask(client, "job_logs", ident, follow=True)
        assert logs.text(1) == b"early\nlate\n" and logs.exit is not None and logs.exit.status == 2


def test_removing(local: Place) -> None:
    with local.connect() as client:
        ident = start(client, "(setsid sleep 100 & echo $!); exec sleep 100")
        inner = int(until(lambda: ask(client, "job_logs", ident).text(1), "it runs"))
        refused = ask(client, "job_remove", ident).rejected
        assert refused is not None and refused.code == "job_running" and alive(inner)
        report = ask(client, "job_remove", ident, force=True).report
        assert report is not None and report.state == "finished" and report.signal == "SIGTERM"
        assert not alive(inner) and ident not in listed(client)
        gone = ask(client, "job_remove", ident).rejected
        assert gone is not None and gone.code == "no_such_job"
        again = start(client, "exit 5", id=ident)
        assert wait(client, again).exit is not None
        assert ask(client, "job_remove", again).report is not None
        for request in ("job_logs", "job_wait", "job_remove"):
            rejected = ask(client, request, ident).rejected
            assert rejected is not None and rejected.code == "no_such_job"


def test_signals(local: Place) -> None:
    with local.connect() as client:
        ident = start(client, "trap 'echo got; exit 9' USR1; echo up; while :; do sleep 0.01; done")
        until(lambda: ask(client, "job_logs", ident).text(1), "up")
        report = ask(client, "job_signal", ident, signal="SIGUSR1").report
        assert report is not None and report.state == "running"
        done = wait(client, ident).exit
        assert done is not None and done.status == 9
        report = ask(client, "job_signal", ident, signal="SIGUSR1").report
        assert report is not None and (report.state, report.status) == ("finished", 9)
        wrong: list[dict[str, Any]] = [{}, {"signal": "SIGNONE"}]
        for fields in wrong:
            rejected = ask(client, "job_signal", ident, **fields).rejected
            assert rejected is not None and rejected.code == "bad_request"


def test_a_timeout(local: Place) -> None:
    with local.connect() as client:
        done = wait(client, start(client, "exec sleep 100", timeout_ms=50)).exit
        assert done is not None and done.timed_out and done.signal == "SIGTERM"


def test_what_a_job_is_started_with(local: Place) -> None:
    with local.connect() as client:
        ident = secrets.token_hex(4)
        client.run(None, line="pwd; echo $A $REMOTE_SHELL_COMMAND_ID; echo e >&2", id=ident, detach=True, cwd="/usr",
                   env_add=[["A", "b"]], merge_stderr=True)  # fmt: skip
        wait(client, ident)
        lines = ask(client, "job_logs", ident).text(1).split()
        assert lines[:2] == [b"/usr", b"b"] and b"-" in lines[2] and lines[3] == b"e"
        assert listed(client)[ident].cwd == "/usr"
        plain = secrets.token_hex(4)
        client.run(["/usr/bin/env"], id=plain, detach=True, env=[["ONLY", "this"]])
        wait(client, plain)
        assert ask(client, "job_logs", plain).text(1) == b"ONLY=this\n"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"argv": ["/nope"]}, "not_found"),
        ({"argv": ["nope"]}, "not_found"),
        ({"argv": ["/etc/passwd"]}, "not_executable"),
        ({"argv": ["true"], "cwd": "/nope"}, "bad_cwd"),
        ({"argv": ["true"], "line": "true"}, "bad_request"),
        ({"argv": []}, "bad_request"),
        ({}, "bad_request"),
        ({"argv": ["true"], "stdin": "pipe"}, "bad_request"),
        ({"argv": ["true"], "terminal": {"term": "xterm", "rows": 1, "columns": 1}}, "bad_request"),
        ({"argv": ["true", {"base64": "AA=="}]}, "bad_message"),
    ],
)
def test_refused_starts_leave_the_id_free(local: Place, fields: dict[str, Any], code: str) -> None:
    from remote_shell.wire.messages import Boxed, Terminal

    ident = secrets.token_hex(6)
    fields = dict(fields)
    if "terminal" in fields:
        fields["terminal"] = Terminal(**fields["terminal"])
    argv = [Boxed(base64=word["base64"]) if isinstance(word, dict) else word for word in fields.pop("argv", [])]
    with local.connect() as client:
        done = client.run(
            argv if argv or (code == "bad_request" and not fields) else None, id=ident, detach=True, **fields
        )
        assert done.rejected is not None and done.rejected.code == code, done.rejected
        assert ident not in listed(client)
        start(client, "true", id=ident)


def test_the_same_open_again_starts_nothing(local: Place) -> None:
    with local.connect() as client:
        ident = start(client, "echo x; exit 1")
        again = client.run(["/bin/sh", "-c", "echo x; exit 1"], detach=True, id=ident)
        assert again.opened is not None and again.opened.again and again.opened.pid
        for word in ("detach", "once"):
            more: dict[str, Any] = {"id": ident, word: True}
            other = client.run(["/bin/sh", "-c", "echo y"], **more)
            assert other.rejected is not None and other.rejected.code == "id_conflict"
        wait(client, ident)
        assert ask(client, "job_logs", ident).text(1) == b"x\n"
        report = client.query(ident)
        assert (report.state, report.status) == ("finished", 1)


def test_ids_of_commands_that_are_no_jobs(local: Place) -> None:
    with local.connect() as client:
        ident = secrets.token_hex(6)
        client.run(["true"], id=ident)
        rejected = client.run(["true"], id=ident, detach=True).rejected
        assert rejected is not None and rejected.code == "id_conflict"
        client.query(burnt := secrets.token_hex(6))
        rejected = client.run(["true"], id=burnt, detach=True).rejected
        assert rejected is not None and rejected.code == "id_burnt"


def test_two_principals(local: Place) -> None:
    """By the user id and by a key: the same id, and neither sees, hears, signals or removes what is the other's."""
    tls = Place(local.running, "tls")
    with local.connect() as one, tls.connect() as other:
        ident = start(one, "echo mine; exec sleep 100")
        assert ident not in listed(other)
        for request in ("job_logs", "job_wait", "job_remove"):
            rejected = ask(other, request, ident, force=True).rejected
            assert rejected is not None and rejected.code == "no_such_job"
        rejected = ask(other, "job_signal", ident, signal="SIGKILL").rejected
        assert rejected is not None and rejected.code == "no_such_job"
        start(other, "echo theirs", id=ident)
        wait(other, ident)
        assert ask(other, "job_logs", ident).text(1) == b"theirs\n"
        assert listed(one)[ident].state == "running"
        ask(one, "job_remove", ident, force=True)


def test_a_slow_watcher_gets_a_gap_and_holds_nobody_up(start: Starter) -> None:
    running = start(("unix:",), job_log_max=400_000, job_segment_max=100_000)
    with Place(running, "unix").connect() as client:
        ident = secrets.token_hex(6)
        client.run(["/bin/sh", "-c", "sleep 0.1; seq 1000000"], detach=True, id=ident)
        watch = client.open(None, request="job_logs", id=ident, follow=True)
        command = client.commands[watch]
        command.paused = True  # no credit goes back
        assert wait(client, ident).exit is not None
        command.paused = False
        client.session.consumed(watch, command.size)
        client.finish(watch)
        dropped = sum(gap.dropped for gap in of(command, Gap))
        assert dropped > 5_000_000 and dropped + command.size == 6888896
        assert command.text(1).endswith(b"999999\n1000000\n") and command.exit is not None


def test_a_keeper_that_is_killed_is_told(local: Place) -> None:
    with local.connect() as client:
        ident = start(client, "echo before; exec sleep 100")
        until(lambda: ask(client, "job_logs", ident).text(1), "written")
        pid = listed(client)[ident].pid
        assert pid is not None
        watch = client.open(None, request="job_logs", id=ident, follow=True)
        waiting = client.open(None, request="job_wait", id=ident)
        client.wait(lambda: client.commands[waiting].others and client.commands[watch].size == 7, "they watch")
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            os.kill(int(file.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
        for channel in (watch, waiting):
            done = client.finish(channel)
            assert done.exit is None and [job.state for job in of(done, Job)] == ["running", "unknown"]
            assert isinstance(done.others[-1], Detached)
        assert listed(client)[ident].state == "unknown" and client.query(ident).state == "unknown"
        report = ask(client, "job_signal", ident, signal="SIGKILL").report
        assert report is not None and report.state == "unknown" and alive(pid)
        logs = ask(client, "job_logs", ident)
        assert logs.text(1) == b"before\n" and logs.exit is None
        os.kill(pid, signal.SIGKILL)
        report = ask(client, "job_remove", ident).report
        assert report is not None and report.state == "unknown"


def test_too_many_jobs(start: Starter) -> None:
    running = start(("unix:",), jobs_running_max=2)
    with Place(running, "unix").connect() as client:
        for _ in range(2):
            assert client.run(["sleep", "100"], detach=True).opened is not None
        rejected = client.run(["sleep", "100"], detach=True).rejected
        assert rejected is not None and rejected.code == "too_many_jobs"


@pytest.mark.parametrize("once", [True, False])
def test_too_many_jobs_at_once(start: Starter, once: bool) -> None:
    """All are asked for before one has started; for an id of a person the disk is asked first. What was refused used up no id."""
    running = start(("unix:",), jobs_running_max=2)
    with Place(running, "unix").connect() as client:
        idents = [secrets.token_hex(6) for _ in range(6)]
        channels = [client.open(["sleep", "100"], id=ident, detach=True, once=once) for ident in idents]
        done = [client.finish(channel) for channel in channels]
        codes = [one.rejected.code if one.rejected is not None else "" for one in done]
        assert codes == ["", "", *["too_many_jobs"] * 4]
        assert list(listed(client)) == idents[:2]
        for ident in idents[:2]:
            ask(client, "job_remove", ident, force=True)
        again = client.run(["sleep", "100"], id=idents[5], detach=True, once=once)
        assert again.opened is not None and not again.opened.again


def test_keepers_that_were_killed_do_not_count(start: Starter) -> None:
    """They leave their sockets, as a machine that went down does."""
    running = start(("unix:",), jobs_running_max=2)
    with Place(running, "unix").connect() as client:
        for _ in range(2):
            ident = secrets.token_hex(6)
            assert client.run(["sleep", "1"], detach=True, id=ident).opened is not None
            (folder,) = (Path(running.home) / "state" / "jobs").glob(f"*/={ident}")
            keeper = json.loads((folder / "started").read_text())["keeper"]
            os.kill(keeper, signal.SIGKILL)
            until(lambda: listed(client)[ident].state == "unknown", "it is gone")  # noqa: B023
            assert (folder / "socket").exists()
        assert client.run(["true"], detach=True).opened is not None


def test_old_jobs_are_forgotten(start: Starter) -> None:
    running = start(("unix:",), jobs_kept_max=2, job_sweep_time=0.001)
    with Place(running, "unix").connect() as client:
        idents = [secrets.token_hex(6) for _ in range(4)]
        for ident in idents:
            client.run(["true"], detach=True, id=ident)
            wait(client, ident)
        until(lambda: list(listed(client)) == idents[2:], "the oldest are gone")


def test_a_server_that_ends_leaves_jobs_alone(start: Starter) -> None:
    running = start(("unix:",))
    with Place(running, "unix").connect() as client:
        opened = client.run(["sleep", "100"], detach=True).opened
        assert opened is not None and opened.pid is not None
        client.open(None, request="jobs", id="x")
    before = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    running.process.wait()
    assert time.monotonic() - before < 2 and alive(opened.pid)


def test_a_state_folder_that_cannot_be_used(start: Starter) -> None:
    running = start(("unix:",))
    state = os.path.join(running.home, "state")
    shutil.rmtree(state)  # where the server says that it listens
    with open(state, "w", encoding="utf-8"):
        pass
    with Place(running, "unix").connect() as client:
        asked: list[dict[str, Any]] = [{"detach": True}, {"request": "jobs"}, {"request": "job_wait"}]
        for fields in asked:
            rejected = client.run(["true"] if "detach" in fields else None, **fields).rejected
            assert rejected is not None and rejected.code == "resources" and "state" in rejected.detail
        kept = client.run(["true"], once=True).rejected
        assert kept is not None and kept.code == "id_not_kept"
        done = client.run(["true"]).exit
        assert done is not None and done.status == 0


def test_nothing_is_left_open(local: Place) -> None:
    """Descriptors of the server after many jobs and watchers; its zombies too."""
    pid = local.running.process.pid

    def count() -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    with local.connect() as client:
        start(client, "true")
        before = count()
        for _ in range(15):
            ident = start(client, "echo x")
            watches = [client.open(None, request="job_logs", id=ident, follow=True) for _ in range(3)]
            assert wait(client, ident).exit is not None
            for watch in watches:
                assert client.finish(watch).text(1) == b"x\n"
        until(lambda: count() <= before, "descriptors are back")
        until(lambda: _zombies(pid) == 0, "keepers that ended were reaped")


def _zombies(pid: int) -> int:
    found = 0
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        for child in file.read().split():
            found += not alive(int(child))
    return found


def test_out_of_descriptors(start: Starter) -> None:
    """Every place at which one may be missing: a word for it, no fault, nothing left open; and later it works."""
    running = start(("unix:",))
    pid = running.process.pid

    def count() -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    with Place(running, "unix").connect() as client:
        ident = secrets.token_hex(6)
        client.run(["/bin/sh", "-c", "echo x; exec sleep 100"], detach=True, id=ident)
        before = count()
        words = set()
        for free in range(14):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (before + free, 4096))
            fields: list[dict[str, Any]] = [{"request": "job_logs", "id": ident}, {"request": "jobs"}]
            rejected = client.run(["true"], detach=True).rejected
            words.add(rejected.code if rejected is not None else "")
            channels = [client.open(None, **more) for more in fields]
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (4096, 4096))
            for channel in channels:
                done = client.finish(channel)
                words.add(done.rejected.code if done.rejected is not None else "")
        assert words == {"resources", ""}
        until(lambda: count() <= before, "nothing is left open")
        assert ask(client, "job_logs", ident).text(1) == b"x\n"
        ask(client, "job_remove", ident, force=True)


def test_a_keeper_that_is_stopped_does_not_hide_the_log(start: Starter) -> None:
    running = start(("unix:",), job_answer_time=0.1)
    with Place(running, "unix").connect() as client:
        ident = secrets.token_hex(6)
        client.run(["/bin/sh", "-c", "echo x; exec sleep 100"], detach=True, id=ident)
        until(lambda: ask(client, "job_logs", ident).text(1) == b"x\n", "written")
        pid = listed(client)[ident].pid
        assert pid is not None
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            keeper = int(file.read().rpartition(")")[2].split()[1])
        os.kill(keeper, signal.SIGSTOP)
        try:
            logs = ask(client, "job_logs", ident)
            assert logs.text(1) == b"x\n" and isinstance(logs.others[-1], Detached)
            watch = client.open(None, request="job_logs", id=ident, follow=True)
            client.wait(lambda: client.commands[watch].size == 2, "what is there is told, and more is waited for")
        finally:
            os.kill(keeper, signal.SIGCONT)
        ask(client, "job_signal", ident, signal="SIGKILL")
        done = client.finish(watch).exit
        assert done is not None and done.signal == "SIGKILL"


def test_lists_at_once_are_bounded(local: Place) -> None:
    """Of a session; and each that is made is whole."""
    with local.connect() as client:
        ident = start(client, "true")
        wait(client, ident)
        asked = [client.open(None, request="jobs") for _ in range(200)]
        client.flush()
        client.wait(lambda: all(client.commands[channel].closed for channel in asked), "all answers")
        refused = [command.rejected for channel in asked if (command := client.commands[channel]).rejected]
        made = [client.commands[channel] for channel in asked if not client.commands[channel].rejected]
        assert refused and all(one is not None and one.code == "resources" for one in refused)
        assert made and all(ident in [job.id for job in of(command, Job)] for command in made)
        assert ident in listed(client)


async def test_lists_of_one_principal_are_read_together(tmp_path: Path) -> None:
    """One after the other, and never what was read before the question."""
    loop, read = asyncio.get_running_loop(), [0]
    jobs: Any = ServerJobs(loop, lambda: str(tmp_path), DEFAULT_LIMITS)

    def of_principal(principal: str) -> list[Any]:
        read[0] += 1
        return [principal, read[0]]

    jobs.table.of = of_principal
    answers = [jobs.listing("a") for _ in range(10)] + [jobs.listing("b")]
    await asyncio.wait(answers)
    assert read[0] == 3
    first, *later, other = [tuple(answer.result()) for answer in answers]
    assert first[0] == "a" and other[0] == "b" and set(later) == {("a", later[0][1])} and later[0][1] > first[1]
    assert tuple(await jobs.listing("a")) == ("a", 4)
