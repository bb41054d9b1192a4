"""exec over real sockets: what the command sees, how its end is told, and that an id runs at most once."""

from __future__ import annotations

import base64
import os
import pwd
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import remote_shell
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.testing import RunningServer, server
from remote_shell.wire.messages import Boxed, Eof, Signal

from ..conftest import ALL, Place, Starter, resident
from ..raw_client import Command, RawClient, living, until

HOME = pwd.getpwuid(os.geteuid()).pw_dir


def lines(command: Command) -> dict[bytes, bytes]:
    """The output of `env -0`."""
    pairs = (line.partition(b"=") for line in command.text().split(b"\0") if line)
    return {name: value for name, _, value in pairs}


def code(command: Command) -> str:
    """Why it was rejected."""
    assert command.rejected is not None and command.exit is None, command.exit
    return command.rejected.code


def nap() -> str:
    """A time to sleep that no other test sleeps, to find the sleepers by."""
    return f"1000.{time.monotonic_ns()}"


# --- what the command sees


@pytest.fixture(scope="module")
def littered() -> Iterator[RunningServer]:
    """A server whose own environment is full of what is nobody's business."""
    junk = {"SECRET_TOKEN": "t0p", "LD_LIBRARY_PATH": "/nowhere", "PYTHONPATH": "/", "PATH_EXTRA": "x", "DISPLAY": ":7"}
    with server(ALL, environment=junk) as running:
        yield running


BASE = {b"HOME", b"USER", b"LOGNAME", b"SHELL", b"PATH", b"REMOTE_SHELL_COMMAND_ID"}


def test_the_environment_is_clean(littered: RunningServer) -> None:
    with Place(littered, "unix").connect() as client:
        seen = lines(client.run(["env", "-0"]))
        assert set(seen) == BASE
        account = pwd.getpwuid(os.geteuid())
        assert seen[b"HOME"] == os.fsencode(account.pw_dir)
        assert seen[b"USER"] == seen[b"LOGNAME"] == os.fsencode(account.pw_name)
        assert seen[b"SHELL"] == os.fsencode(account.pw_shell or "/bin/sh")


def test_what_clients_offer_passes_a_list(littered: RunningServer) -> None:
    """How text looks and what time it is; nothing that changes what runs."""
    taken = {"TERM": "xterm", "LANG": "C", "LC_ALL": "C.UTF-8", "LC_TIME": "C", "COLORTERM": "truecolor", "TZ": "UTC"}
    refused = {
        "LD_PRELOAD": "/tmp/x.so",
        "PATH": "/tmp",
        "HOME": "/tmp",
        "BASH_ENV": "/tmp/x",
        "LC": "x",
        "TERMINFO": "/",
    }
    offer = [[name, value] for name, value in (taken | refused).items()]
    with Place(littered, "unix").connect() as client:
        seen = lines(client.run(["env", "-0"], env_offer=offer))
    assert set(seen) == BASE | {name.encode() for name in taken}
    assert all(seen[name.encode()] == value.encode() for name, value in taken.items())
    assert seen[b"HOME"] != b"/tmp" and seen[b"PATH"] != b"/tmp"


def test_each_command_has_what_came_with_it(littered: RunningServer) -> None:
    with Place(littered, "unix").connect() as client, Place(littered, "unix").connect() as other:
        for term in ("xterm", "xterm", "vt100"):
            assert lines(client.run(["env", "-0"], env_offer=[["TERM", term]]))[b"TERM"] == term.encode()
            assert set(lines(other.run(["env", "-0"]))) == BASE


def test_what_is_added_wins(littered: RunningServer) -> None:
    with Place(littered, "unix").connect() as client:
        add = [["LD_PRELOAD", ""], ["PATH", "/usr/bin:/bin"], ["NEW", "a=b\nc"], ["TERM", "dumb"]]
        seen = lines(client.run(["env", "-0"], env_add=add, env_offer=[["TERM", "xterm"]]))
        assert set(seen) == BASE | {b"LD_PRELOAD", b"NEW", b"TERM"}
        assert (seen[b"PATH"], seen[b"NEW"], seen[b"TERM"]) == (b"/usr/bin:/bin", b"a=b\nc", b"dumb")


def test_an_exact_environment_is_exact(littered: RunningServer) -> None:
    raw = b"\xff\xfe"
    boxed = Boxed(base64=base64.b64encode(raw).decode())
    with Place(littered, "unix").connect() as client:
        exact = [["A", "1"], ["B", boxed], ["PATH", "/usr/bin:/bin"]]
        seen = lines(client.run(["env", "-0"], env=exact, env_add=[["C", "2"]], env_offer=[["TERM", "x"]]))
        assert seen == {b"A": b"1", b"B": raw, b"PATH": b"/usr/bin:/bin"}
        assert lines(client.run(["/usr/bin/env", "-0"], env=[])) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"env": [["A=B", "x"]]},
        {"env_add": [["", "x"]]},
        {"env": [["A", "nul\0"]]},
        {"cwd": "/tmp\0"},
        {"argv": ["echo", "nul\0"]},
        {"argv": []},
        {"argv": ["true"], "line": "true"},
        {"argv": None},
    ],
)
def test_nonsense_is_rejected_and_the_session_goes_on(local: Place, fields: dict[str, object]) -> None:
    with local.connect() as client:
        command = client.finish(client.open(**{"argv": ["true"], **fields}))  # type: ignore[arg-type]
        assert code(command) in ("bad_message", "bad_request", "refused")
        assert client.run(["echo", "on"]).text() == b"on\n"


def test_where_it_starts(local: Place, tmp_path: Path) -> None:
    with local.connect() as client:
        assert client.run(["pwd"]).text() == HOME.encode() + b"\n"
        assert client.run(["pwd"], cwd=str(tmp_path)).text() == bytes(tmp_path) + b"\n"
        relative = os.path.relpath(tmp_path, HOME)
        command = client.run(["pwd"], cwd=relative)
        assert command.text() == bytes(tmp_path) + b"\n"
        assert command.opened is not None and command.opened.cwd == str(tmp_path)
        odd = os.fsencode(tmp_path) + b"/\xff dir"
        os.mkdir(odd)
        assert client.run(["pwd"], cwd=Boxed(base64=base64.b64encode(odd).decode())).text() == odd + b"\n"


def test_what_cannot_start_is_told_apart(local: Place, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("no program")
    with local.connect() as client:
        for argv, cwd, expected in (
            (["no-such-program-here"], None, "not_found"),
            ([""], None, "not_found"),
            (["/no/such/path"], None, "not_found"),
            ([str(script)], None, "not_executable"),
            (["/"], None, "not_executable"),
            (["true"], str(tmp_path / "missing"), "bad_cwd"),
            (["true"], str(script), "bad_cwd"),
        ):
            command = client.run(argv, cwd=cwd)
            assert code(command) == expected, argv
            assert command.rejected is not None and "Errno" not in command.rejected.detail
            assert str(tmp_path / "missing") in command.rejected.detail or cwd != str(tmp_path / "missing")


def test_words_and_lines(local: Place) -> None:
    """argv reaches the program as it is; a line is the account's shell's business."""
    with local.connect() as client:
        words = ["%s|", "a b", "", "$HOME", "'", "\\", "*", "é", "\n"]
        assert client.run(["printf", *words]).text() == "".join(f"{word}|" for word in words[1:]).encode()
        assert client.run(None, line="echo $((1+1)) | cat; exit 7").text() == b"2\n"
        long = "x" * 100_000
        assert client.run(["printf", "%s", long]).text() == long.encode()
        boxed = Boxed(base64=base64.b64encode(b"\xff\n").decode())
        assert client.run(["printf", "%s", boxed]).text() == b"\xff\n"


# --- streams


def test_streams_are_kept_apart_or_merged_in_order(local: Place) -> None:
    script = "for i in 1 2 3 4 5; do echo out$i; echo err$i >&2; done"
    with local.connect() as client:
        apart = client.run(["sh", "-c", script])
        assert apart.text(1) == b"".join(b"out%d\n" % number for number in range(1, 6))
        assert apart.text(2) == b"".join(b"err%d\n" % number for number in range(1, 6))
        merged = client.run(["sh", "-c", script], merge_stderr=True)
        assert merged.text(1) == b"".join(b"out%d\nerr%d\n" % (number, number) for number in range(1, 6))
        assert merged.text(2) == b""


def test_stdin(place: Place) -> None:
    data = os.urandom(300_000)
    with place.connect() as client:
        assert client.run(["cat"], input=data).text() == data
        assert client.run(["cat"], input=b"").text() == b""
        assert client.run(["cat"]).text() == b"", "without stdin it is empty"
        early = client.run(["true"], input=data)
        assert early.exit is not None and early.exit.status == 0, "what nobody reads is thrown away"


@pytest.mark.parametrize("status", [0, 1, 2, 126, 127, 128, 254, 255])
def test_each_status(local: Place, status: int) -> None:
    with local.connect() as client:
        how = client.run(["sh", "-c", f"exit {status}"]).exit
        assert how is not None and (how.status, how.signal, how.timed_out) == (status, None, False)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGSEGV", "SIGUSR1", "SIGPIPE", "SIGQUIT"])
def test_each_signal(local: Place, name: str) -> None:
    """The one that ended it, sent by itself or by the client."""
    with local.connect() as client:
        how = client.run(["sh", "-c", f"ulimit -c 0; kill -{name[3:]} $$; sleep 1000"]).exit
        assert how is not None and (how.status, how.signal) == (None, name)
        ident, _ = client.start(["sleep", "1000"])
        client.session.send_message(ident, Signal(signal=name))
        how = client.finish(ident).exit
        assert how is not None and (how.status, how.signal) == (None, name)


def test_the_exit_does_not_wait_for_who_holds_the_pipe(local: Place, tmp_path: Path) -> None:
    """Told within 100 ms; what the survivor writes afterwards still comes, and then the end."""
    took = []
    with local.connect() as client:
        for number in range(5):
            go = tmp_path / str(number)
            survivor = f"until [ -e {go} ]; do sleep 0.01; done; echo late; echo later >&2"
            ident, command = client.start(["sh", "-c", f"({survivor}) & echo early"])
            began = time.monotonic()
            client.wait(lambda: command.exit, "the exit")  # noqa: B023
            took.append(command.exited_at - began)
            assert command.text() == b"early\n" and not command.closed
            go.touch()
            client.finish(ident)
            assert (command.text(1), command.text(2)) == (b"early\nlate\n", b"later\n")
    assert min(took) < 0.1  # others have the processor now and then


def test_nothing_overtakes_what_the_command_wrote(local: Place) -> None:
    with local.connect() as client:
        ident = client.open(["sh", "-c", "head -c 3000000 /dev/zero; exit 9"])
        command = client.commands[ident]
        command.keep = 2**30
        client.wait(lambda: command.exit, "the exit")
        assert command.size == 3_000_000
        client.finish(ident)


SLOW_START = """
import time
import remote_shell.server.requests.exec as module

start = module.Exec._start

def late(self, *given):
    process = start(self, *given)
    time.sleep(0.2)  # others have the processor
    return process

module.Exec._start = late
"""


def test_it_is_never_said_to_have_run_for_less_than_it_did(tmp_path: Path) -> None:
    """Where the machine is busy it has ended before its server goes on."""
    (tmp_path / "sitecustomize.py").write_text(SLOW_START)
    environment = {"PYTHONPATH": f"{tmp_path}:{Path(remote_shell.__file__).parent.parent}"}
    with server(("unix:",), environment=environment) as running, Place(running, "unix").connect() as client:
        how = client.run(["sleep", "0.1"]).exit
        assert how is not None and how.duration_us >= 100_000


# --- ends that are not its own


def test_a_timeout_kills_the_tree(local: Place) -> None:
    tag = nap()
    with local.connect() as client:
        ident, command = client.start(
            ["sh", "-c", f"sleep {tag} & setsid sleep {tag} & echo on; sleep {tag}"], timeout_ms=200
        )
        began = time.monotonic()
        client.finish(ident)
        assert 0.1 < time.monotonic() - began < 2
        assert command.exit is not None and command.exit.timed_out
        assert (command.exit.signal, command.text()) == ("SIGTERM", b"on\n")
        until(lambda: not living(tag), "the whole tree is dead")


def test_a_timeout_of_what_ignores_term(local: Place) -> None:
    tag = nap()
    with local.connect() as client:
        how = client.run(["sh", "-c", f"trap '' TERM; sleep {tag}; sleep {tag}"], timeout_ms=50).exit
        assert how is not None and how.timed_out and how.signal == "SIGKILL"
    until(lambda: not living(tag), "the whole tree is dead")


@pytest.mark.parametrize("how", ["timeout", "close"])
@pytest.mark.slow
def test_who_escapes_does_not_keep_the_channel_open(local: Place, how: str) -> None:
    """An exact environment carries no mark: what left the session with the pipe in hand is not found, and not waited for."""
    tag = nap()
    try:
        with local.connect() as client:
            script = f"(setsid sleep {tag} &) ; sleep {tag}"
            timeout = 100 if how == "timeout" else None
            exact = [["PATH", "/usr/bin:/bin"]]
            ident, command = client.start(["/bin/sh", "-c", script], env=exact, timeout_ms=timeout)
            until(lambda: len(living(tag)) == 3, "it runs")
            if how == "close":
                client.close_channel(ident)
            client.finish(ident)
            assert command.exit is None or command.exit.timed_out
            assert client.run(["true"]).exit
    finally:
        for pid in living(tag):
            os.kill(pid, 9)


def test_in_time_is_in_time(local: Place) -> None:
    with local.connect() as client:
        how = client.run(["true"], timeout_ms=60_000).exit
        assert how is not None and how.status == 0 and not how.timed_out


def test_a_closed_channel_kills_the_tree(local: Place) -> None:
    tag = nap()
    with local.connect() as client:
        ident, _ = client.start(["sh", "-c", f"sleep {tag} & setsid sleep {tag} & sleep {tag}"])
        until(lambda: len(living(tag)) == 4, "it runs")
        client.close_channel(ident)
        client.finish(ident)
        until(lambda: not living(tag), "the whole tree is dead")
        assert client.run(["echo", "on"]).text() == b"on\n"


def test_a_flood_that_nobody_wants_ends(local: Place) -> None:
    with local.connect() as client:
        ident, command = client.start(["yes"])
        command.paused = True
        client.wait(lambda: command.size >= client.limits.window, "the window is full")
        client.close_channel(ident)
        client.finish(ident)
        pid = command.opened.pid if command.opened else None
        until(lambda: not os.path.exists(f"/proc/{pid}"), "it is dead and reaped")


def test_one_that_nobody_reads_stalls_alone(place: Place) -> None:
    """Its child blocks on the pipe; the others do not notice; read on, and nothing is missing."""
    with place.connect() as client:
        ident, stalled = client.start(["sh", "-c", "head -c 2000000 /dev/zero; echo done >&2"])
        stalled.paused = True
        client.wait(lambda: stalled.size >= client.limits.window, "the window is full")
        for _ in range(20):
            assert client.run(["echo", "beside"]).text() == b"beside\n"
        assert stalled.exit is None and stalled.size == client.limits.window
        assert _writes_nothing(stalled), "it is blocked, and not merely unheard"
        stalled.paused = False
        client.session.consumed(ident, stalled.size)
        client.finish(ident)
        assert stalled.size == 2_000_000 + 5


# --- at most once


def test_the_same_id_runs_once(local: Place, tmp_path: Path) -> None:
    """The end is told again, the output is not; another request under the id is a conflict."""
    mark = tmp_path / "ran"
    argv = ["sh", "-c", f"echo ran >> {mark}; exit 5"]
    ident = f"once-{time.monotonic_ns()}"
    with local.connect() as client, local.connect() as other:
        first = client.run(argv, id=ident)
        for again in (client.run(argv, id=ident), other.run(argv, id=ident, window=65536)):
            assert again.opened is not None and again.opened.again and again.text() == b""
            assert again.exit == first.exit
        assert first.opened is not None and not first.opened.again
        for fields in ({"argv": ["true"]}, {"argv": argv, "cwd": "/"}, {"argv": argv, "timeout_ms": 60_000}):
            assert code(client.run(id=ident, **fields)) == "id_conflict"
        report = client.query(ident)
        assert (report.state, report.status, report.signal) == ("finished", 5, None)
    assert mark.read_text() == "ran\n"


def test_the_same_id_while_it_runs(local: Place) -> None:
    ident = f"running-{time.monotonic_ns()}"
    with local.connect() as client, local.connect() as other:
        channel, command = client.start(["sh", "-c", "read x; exit $x"], id=ident, stdin="pipe")
        second, again = other.start(["sh", "-c", "read x; exit $x"], id=ident, stdin="pipe")
        assert again.opened is not None and again.opened.again and again.exit is None
        third, _ = other.start(["sh", "-c", "read x; exit $x"], id=ident, stdin="pipe")
        other.close_channel(third)
        assert other.query(ident).state == "running", "who asked again and left did not end it"
        client.session.send_data(channel, 0, b"6\n")
        client.finish(channel)
        other.finish(second)
        other.finish(third)
        assert command.exit is not None and command.exit.status == 6 and again.exit == command.exit


def test_ids_belong_to_a_principal(served: RunningServer) -> None:
    ident = f"mine-{time.monotonic_ns()}"
    with Place(served, "unix").connect() as mine, Place(served, "tls").connect() as theirs:
        mine.run(["true"], id=ident)
        assert theirs.query(ident).state == "never_received"
        assert mine.query(ident).state == "finished"


def test_an_id_that_was_asked_about_never_runs(local: Place, tmp_path: Path) -> None:
    ident = f"burnt-{time.monotonic_ns()}"
    with local.connect() as client:
        assert client.query(ident).state == "never_received"
        assert code(client.run(["touch", str(tmp_path / "ran")], id=ident)) == "id_burnt"
        assert client.query(ident).state == "never_received"
    assert not (tmp_path / "ran").exists()


def test_what_was_rejected_may_be_tried_again(local: Place) -> None:
    ident = f"retry-{time.monotonic_ns()}"
    with local.connect() as client:
        assert code(client.run(["no-such-program-here"], id=ident)) == "not_found"
        assert client.run(["echo", "now"], id=ident).text() == b"now\n"


def test_a_command_is_known_after_its_session(local: Place) -> None:
    ident = f"after-{time.monotonic_ns()}"
    client = local.connect()
    client.start(["sleep", "1000"], id=ident)
    client.bye()
    with local.connect() as other:
        until(lambda: other.query(ident).state == "finished", "its end is known")
        assert other.query(ident).signal in ("SIGTERM", "SIGKILL")


def test_the_end_of_a_flood_is_known_after_its_session(local: Place) -> None:
    """Its output has nowhere to go, and must not keep its end from being noticed."""
    ident = f"flood-{time.monotonic_ns()}"
    client = local.connect()
    _, command = client.start(["yes"], id=ident)
    command.paused = True
    client.wait(lambda: command.size >= client.limits.window, "the window is full")
    until(lambda: local.running.process.poll() is None and _writes_nothing(command), "its pipe is full")
    client.bye()
    with local.connect() as other:
        until(lambda: other.query(ident).state == "finished", "its end is known", 3)


@pytest.mark.slow
def test_a_flood_that_ignores_its_end_costs_no_memory(start: Starter) -> None:
    """Until KILL comes it writes on, to nobody."""
    running = start(listen=("unix:",), kill_grace=0.3)
    client = RawClient(running.targets["unix"])
    _, command = client.start(["sh", "-c", "trap '' TERM; exec yes"])
    command.paused = True
    client.wait(lambda: command.size >= client.limits.window, "the window is full")
    before, most, pid = resident(running.process.pid), 0, command.opened.pid if command.opened else 0
    client.say(
        b"\0\0\0\1\x09\0\0\0\1x"
    )  # a protocol error on the channel ends the session, and commands get TERM first
    assert client.wait_end() == "unknown_frame_type"

    def dead() -> bool:
        nonlocal most
        most = max(most, resident(running.process.pid))
        return not os.path.exists(f"/proc/{pid}")

    until(dead, "KILL")
    assert most - before < 16 * 2**20


def _writes_nothing(command: Command) -> bool:
    """It sleeps in write(2): proc_pid_stat(5)."""
    assert command.opened is not None
    with open(f"/proc/{command.opened.pid}/stat", encoding="ascii", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"


# --- bulk


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unix", "tls"])
def test_100_mb_both_ways_in_bounded_memory(start: Starter, kind: str) -> None:
    running = start()
    size, chunk = 100_000_000, bytes(1_000_000)
    with Place(running, kind).connect() as client:
        client.run(["true"])
        before, most = resident(running.process.pid), 0
        both = client.open(["sh", "-c", f"head -c {size} /dev/zero & head -c {size} /dev/zero >&2; wait"])
        cat = client.open(["cat"], stdin="pipe")
        for ident in (both, cat):
            client.commands[ident].keep = 0
        sent = 0
        while not (client.commands[both].closed and client.commands[cat].closed):
            while sent < size and client.session.channels[cat].queued < len(chunk):
                client.session.send_data(cat, 0, chunk)
                sent += len(chunk)
            if sent >= size and 0 not in client.commands[cat].ended:
                client.commands[cat].ended.add(0)
                client.session.send_message(cat, Eof(stream=0))
            client.pump(5)
            most = max(most, resident(running.process.pid))
        assert client.commands[both].size == 2 * size and client.commands[cat].size == size
    assert most - before < 64 * 2**20, "the windows bound it"


def test_many_channels_at_once(place: Place) -> None:
    with place.connect() as client:
        idents = [client.open(["sh", "-c", f"echo {number}"]) for number in range(64)]
        for number, ident in enumerate(idents):
            assert client.finish(ident).text() == b"%d\n" % number


def test_too_many_channels_are_rejected_by_name(start: Starter) -> None:
    running = start(listen=("unix:",), channels_max=3)
    with RawClient(running.targets["unix"], limits=replace(DEFAULT_LIMITS, channels_max=10)) as client:
        running_ones = [client.start(["sleep", "1000"])[0] for _ in range(3)]
        assert code(client.run(["true"])) == "too_many_channels"
        client.close_channel(running_ones[0])
        client.finish(running_ones[0])
        assert client.run(["echo", "again"]).text() == b"again\n"


# --- the ends of streams


def test_an_end_that_the_exit_follows_is_not_told_by_itself(start: Starter) -> None:
    with Place(start(end_hold=60.0), "unix").connect() as client:
        for _ in range(20):
            assert client.run(["true"]).ended == set()


def test_an_end_is_told_while_the_command_goes_on(local: Place) -> None:
    with local.connect() as client:
        ident = client.open(["sh", "-c", "exec >&-; read x"], stdin="pipe")
        command = client.commands[ident]
        client.wait(lambda: 1 in command.ended, "the end of stdout")
        assert command.exit is None
        client.session.send_message(ident, Eof(stream=0))
        assert client.finish(ident).exit is not None
