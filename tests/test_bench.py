"""scripts/bench: its arguments, its statistics, its table, its proxy; and, slow, all of it once in small."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import _env
import bench_figures
import bench_main
import bench_servers
from bench_figures import FIGURES, QUICK, Scale
from bench_rounds import BASELINE, Bound, Row, deadline, interleave, repeated, table
from bench_servers import BenchError
from bench_terminal import Terminal

pytestmark = pytest.mark.screen  # as a file it takes long

ROOT = Path(__file__).resolve().parent.parent


def row(
    unit: str = "ms",
    bound: Bound | None = None,
    ours: tuple[float, ...] = (0.010, 0.030, 0.020),
    baseline: tuple[float, ...] = (0.010, 0.010, 0.010),
    work: float = 10,
    figure: str = "run",
    transport: str = "unix",
) -> Row:
    return Row(figure, "a command", transport, "local run", unit, work, bound, ours, baseline)


# --- statistics


def test_a_row_of_times_compares_times() -> None:
    found = row()
    assert found.ratios == pytest.approx([1, 3, 2]) and found.ratio == pytest.approx(2)
    assert found.value(found.ours) == pytest.approx(2.0)  # ms a call, ten calls a sample


@pytest.mark.parametrize(("unit", "value"), [("/s", 500.0), ("MB/s", 0.0005)])
def test_a_row_of_rates_compares_rates(unit: str, value: float) -> None:
    found = row(unit)
    assert found.ratio == pytest.approx(1 / 2) and found.value(found.ours) == pytest.approx(value)


def test_the_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_medians() -> None:
    # the machine was busy for two whole rounds: ours took twice as long as the other in each
    assert row(ours=(2, 20, 40, 2, 2), baseline=(1, 10, 20, 1, 1)).ratio == pytest.approx(2)
    assert row(ours=(2, 20, 2), baseline=(1, 10, 20)).ratio == pytest.approx(2)


@pytest.mark.parametrize(
    ("bound", "verdict"),
    [
        (None, ""),
        (Bound("≤", 2.0), "ok"),
        (Bound("≤", 1.9), "MISSED"),
        (Bound("≥", 2.0), "ok"),
        (Bound("≥", 2.1), "MISSED"),
    ],
)
def test_a_bound_is_kept_or_missed(bound: Bound | None, verdict: str) -> None:
    assert row(bound=bound, ours=(2, 2, 2), baseline=(1, 1, 1)).verdict == verdict


def test_rounds_are_interleaved_and_begin_with_each_in_turn() -> None:
    called: list[str] = []
    samples = interleave({name: partial(called.append, name) for name in "abc"}, 4, budget=60, warm_up=1)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab" + "abc"
    assert {name: len(seconds) for name, seconds in samples.items()} == {"a": 4, "b": 4, "c": 4}


def test_the_budget_ends_the_rounds_but_three_are_run_in_any_case() -> None:
    samples = interleave({BASELINE: lambda: None}, 50, budget=0)
    assert len(samples[BASELINE]) == 3
    assert len(interleave({BASELINE: lambda: None}, 2, budget=0)[BASELINE]) == 2


def test_a_batch_calls_as_often_as_it_says() -> None:
    called: list[None] = []
    repeated(lambda: called.append(None), 7)()
    assert len(called) == 7


def test_an_operation_may_time_itself() -> None:
    assert interleave({BASELINE: lambda: 7.5}, 1, budget=60) == {BASELINE: (7.5,)}


def test_what_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench_rounds.OPERATION_TIME", 0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError, match=r"no end after 0\.05 s"):
        interleave({BASELINE: lambda: ours.recv(1)}, 1, budget=60)


def test_what_swallows_the_deadline_is_ended_by_the_last_resort(monkeypatch: pytest.MonkeyPatch) -> None:
    class ResortedError(Exception):
        pass

    def last_resort() -> None:
        raise ResortedError

    monkeypatch.setattr("bench_rounds.AGAIN_TIME", 0.01)
    ours, theirs = socket.socketpair()
    swallowed = 0
    with ours, theirs, pytest.raises(ResortedError), deadline(0.01, last_resort):
        while True:
            try:
                ours.recv(1)
            except TimeoutError:
                swallowed += 1
    assert swallowed == 2


def test_a_deadline_gives_an_outer_one_its_time_back() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError, match=r"after 0\.1 s"), deadline(0.1):
        with deadline(30):
            pass
        ours.recv(1)


# --- the table


def test_the_table_is_aligned_and_names_a_figure_once() -> None:
    rows = [
        row(bound=Bound("≤", 2.5)),
        row(transport="tls", bound=Bound("≤", 1.5)),
        row("MB/s", work=3e9, figure="stdout", ours=(1, 2, 3)),
    ]
    heading, rule, *lines = table(rows).splitlines()
    assert len(rule) == max(map(len, (heading, *lines)))
    column = heading.index("over")
    assert [line[column:].split()[0] for line in lines] == ["unix", "tls", "unix"]
    assert [line.split()[0] for line in lines] == ["run", "tls", "stdout"]
    assert lines[0].endswith("≤ 2.5  ok") and lines[1].endswith("≤ 1.5  MISSED")
    assert "1.00 … 3.00" in lines[0] and "1,500 MB/s" in lines[2]


def test_a_row_for_programs_holds_every_sample() -> None:
    found = json.loads(json.dumps(row(bound=Bound("≤", 1.5)).as_json()))
    assert found["ok"] is False and found["bound"] == {"sign": "≤", "value": 1.5}
    assert found["samples_s"]["ours"] == [0.010, 0.030, 0.020] and found["ratio"] == pytest.approx(2)
    assert row().as_json()["ok"] is None


# --- the command line


def test_without_names_every_figure_is_measured() -> None:
    assert bench_main.parse([]).names == list(FIGURES)
    assert bench_main.parse(["start", "run", "start"]).names == ["start", "run"]


@pytest.mark.parametrize(
    ("words", "said"), [(["strat"], "no figure is called strat; there are run, shell"), (["--jsn"], "")]
)
def test_a_command_line_that_makes_no_sense(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        bench_main.parse(words)
    assert left.value.code == 2 and said in capsys.readouterr().err


def test_the_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench_main.parse(["--help"])
    shown = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +{re.escape(figure.title)}", shown, re.M) for name, figure in FIGURES.items())


def test_a_missed_bound_counts_only_when_checked_a_failure_always() -> None:
    good, bad = row(bound=Bound("≤", 9)), row(bound=Bound("≤", 1))
    assert bench_main.status([good, row()], {}, check=True) == 0
    assert bench_main.status([good, bad], {}, check=False) == 0
    assert bench_main.status([good, bad], {}, check=True) == 1
    assert bench_main.status([good], {"start": "no sshd"}, check=False) == 1


def test_the_report_names_what_was_missed_and_what_failed() -> None:
    shown = bench_main.report({"machine": "2 CPUs"}, [row(bound=Bound("≤", 1))], {"start": "no sshd"}, quick=True)
    assert "FAILED  start: no sshd" in shown and "MISSED  run (unix)" in shown and "--quick" in shown
    assert "MISSED" not in bench_main.report({}, [row()], {}, quick=False)


def test_a_figure_that_fails_does_not_lose_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def measure(name: str, place: object, scale: Scale, last_resort: object) -> list[Row]:
        assert scale is QUICK
        if name == "start":
            raise BenchError("no sshd; type: …")
        if name == "popen":
            raise RuntimeError("broken")
        return [row(figure=name)]

    monkeypatch.setattr(bench_main, "measure", measure)
    monkeypatch.setattr(compileall, "compile_dir", lambda *a, **k: True)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    before = signal.getsignal(signal.SIGTERM)
    try:
        status = bench_main.main(["start", "popen", "run", "--quick", "--json", str(tmp_path / "out.json")])
    finally:
        signal.signal(signal.SIGTERM, before)
    shown = capsys.readouterr().out
    assert (
        status == 1
        and "FAILED  start: no sshd" in shown
        and "FAILED  popen: RuntimeError at tests/test_bench.py:" in shown
    )
    written = json.loads((tmp_path / "out.json").read_text())
    assert [each["figure"] for each in written["rows"]] == ["run"] and set(written["failures"]) == {"start", "popen"}


# --- what the figures stand on


def test_a_wrong_answer_is_not_timed() -> None:
    with pytest.raises(BenchError, match=r"1 MB of stdout \(3 bytes came\)"):
        bench_figures.head(10, lambda words: ["printf", "abc"])
    with pytest.raises(BenchError, match=r"sh … sh -c .* \(status 7\) does not work: last words"):
        bench_figures.started(["sh", "-c", "echo first >&2; echo last words >&2; exit 7"])()


def test_a_figure_counts_what_it_starts() -> None:
    assert bench_figures.output(["wc", "-c"], b"x" * 1000).strip() == b"1000"
    bench_figures.head(10, list)()


def test_without_ssh_a_user_is_told_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program, path: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BenchError, match="sudo apt-get install -y openssh-client openssh-server$"):
        bench_servers.find_ssh()


def test_without_ssh_root_gets_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    have = {"ssh", "scp", "ssh-keygen"}
    asked: list[list[str]] = []

    def install(packages: list[str]) -> None:
        asked.append(packages)
        have.add("sshd")

    monkeypatch.setattr(shutil, "which", lambda program, path: program if program in have else None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(_env, "apt_install", install)
    assert set(bench_servers.find_ssh()) == {"ssh", "scp", "ssh-keygen", "sshd"} and asked == [["openssh-server"]]


DELAY = 0.03


@contextmanager
def delayed(port: int, *rate: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    argv = [sys.executable, "-P", str(ROOT / "scripts" / "bench_delay.py"), str(DELAY), "127.0.0.1", str(port), *rate]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(5)


@contextmanager
def through_the_proxy(*rate: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, delayed(listener.getsockname()[1], *rate) as (_, port):
        with socket.create_connection(("127.0.0.1", port), 5) as near:
            far, _ = listener.accept()
            with far:
                far.settimeout(5)
                yield near, far


def test_the_proxy_delays_both_ways_and_loses_nothing() -> None:
    with through_the_proxy() as (near, far):
        for source, sink in ((near, far), (far, near)):
            sent = os.urandom(100_000)
            start = time.monotonic()
            source.sendall(sent)
            got = sink.recv(1)
            assert time.monotonic() - start >= DELAY
            while len(got) < len(sent):
                got += sink.recv(len(sent))
            assert got == sent


def test_many_bytes_are_under_way_at_once() -> None:
    size = 8 << 20
    with through_the_proxy() as (near, far):
        near.setblocking(True)
        start = time.monotonic()
        near.sendall(bytes(size))
        taken = time.monotonic() - start
        got = 0
        while got < size:
            got += len(far.recv(1 << 18))
        # a window of 256 KiB would need 32 round trips
        assert taken < 16 * 2 * DELAY and time.monotonic() - start < 16 * 2 * DELAY


def test_a_line_of_some_rate_carries_no_more_and_holds_little() -> None:
    with through_the_proxy("1e6") as (near, far):
        start, sent, got = time.monotonic(), 0, bytearray()
        data = os.urandom(100_000)
        far.sendall(data)
        while len(got) < 100_000:
            got += near.recv(1 << 16)
        assert time.monotonic() - start >= 0.1 + DELAY
        far.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sent += far.send(bytes(1 << 16))
        assert sent < 8 << 20, "what nobody takes is not taken from the sender for ever"
        assert bytes(got) == data


def test_a_terminal_answers_where_its_cursor_is_and_sees_a_prompt() -> None:
    script = "stty raw -echo; printf '\\033[6n'; head -c 7 >/dev/null; printf '\\033[1mready\\033[0m> \\r\\n'; head -c 1 >/dev/null"
    with Terminal(["sh", "-c", script]) as terminal:
        terminal.wait_for(bench_figures.THEIR_PROMPT)
        terminal.leave(b"x")
        assert terminal.process.returncode == 0
    with Terminal(["true"]) as terminal, pytest.raises(EOFError, match="the program on the terminal ended"):
        terminal.wait_for(bench_figures.THEIR_PROMPT)


def test_the_end_of_one_direction_leaves_the_other_open() -> None:
    with through_the_proxy() as (near, far):
        near.sendall(b"all")
        near.shutdown(socket.SHUT_WR)
        assert far.recv(10) == b"all" and far.recv(10) == b""
        far.sendall(b"answer")
        far.close()
        assert near.recv(10) == b"answer" and near.recv(10) == b""


def test_nobody_there_is_an_end_of_stream() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with delayed(port) as (_, proxy), socket.create_connection(("127.0.0.1", proxy), 5) as near:
        assert near.recv(1) == b""


def test_the_proxy_ends_with_its_starter() -> None:
    with delayed(1) as (process, _):
        assert process.stdin is not None and process.poll() is None
        process.stdin.close()
        assert process.wait(5) == 0


def test_the_proxy_carries_what_is_open_to_its_end() -> None:
    """A client that loses its link when all is ended at once would wait for a server that does not come back."""
    with socket.create_server(("127.0.0.1", 0)) as listener, delayed(listener.getsockname()[1]) as (process, port):
        with socket.create_connection(("127.0.0.1", port), 5) as near, listener.accept()[0] as far:
            assert process.stdin is not None
            process.stdin.close()
            near.sendall(b"last words")
            assert far.recv(100) == b"last words"
        assert process.wait(5) == 0


# --- all of it


def left_behind(mark: str) -> list[str]:
    """Command lines that name a folder of ours."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if mark in words:
            found.append(words)
    return found


@pytest.mark.slow
def test_all_of_it_once(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    argv = [sys.executable, str(ROOT / "scripts" / "bench"), "--quick", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=200)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["failures"] == {} and {each["figure"] for each in written["rows"]} == set(FIGURES)
    assert all(0 < each["ratio"] < 100 for each in written["rows"])
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"] and left_behind(str(tmp_path)) == []


STUCK = """
import sys, threading
sys.path.insert(0, sys.argv[1])
import bench_main, bench_rounds

class Stuck:
    def __del__(self):
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

def measure(name, place, scale, last_resort):
    assert place.server
    with bench_rounds.deadline(0.01, last_resort):
        Stuck()

bench_rounds.AGAIN_TIME = 0.01
bench_rounds.PATIENCE = 1
bench_main.measure = measure
bench_main.main(["run"])
"""


@pytest.mark.slow
def test_a_client_that_is_stuck_for_good_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    argv = [sys.executable, "-c", STUCK, str(ROOT / "scripts")]
    done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 1 and "in __del__" in done.stderr and "a client hangs" in done.stderr
    assert os.listdir(tmp_path) == [] and left_behind(str(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_nothing(tmp_path: Path, number: int) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    argv = [sys.executable, str(ROOT / "scripts" / "bench"), "latency", "stdout"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        until = time.monotonic() + 60
        while len(left_behind(str(tmp_path))) < 3:  # our server, the sshd, a client
            assert time.monotonic() < until and process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        process.communicate(timeout=30)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    until = time.monotonic() + 15
    while left_behind(str(tmp_path)) or (number != signal.SIGKILL and os.listdir(tmp_path)):
        assert time.monotonic() < until, left_behind(str(tmp_path))
        time.sleep(0.01)
