"""`map` as people and scripts see it: who is meant, what is shown, what is never hidden, and what its end says."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from remote_shell import testing
from tests.cli.program import ARGV, WITHIN, call, environment
from tests.proxy import Proxy

pytestmark = pytest.mark.screen

GRACE = "[limits]\nrefusal_time = 0.1\ngrace = 1.0\n"


@pytest.fixture
def home(running: testing.RunningServer, tmp_path: Path) -> Path:
    """A hosts.toml with node1 to node5 (one server, by its socket), tls, and off, where nobody listens."""
    write_hosts(
        tmp_path,
        {f"node{number}": {"target": running.targets["unix"], "groups": ["nodes"]} for number in range(1, 6)}
        | {"tls": keyed(running)}
        | {"off": {"target": f"unix:{tmp_path}/nobody"}},
    )
    return tmp_path


def keyed(server: testing.RunningServer, **others: Any) -> dict[str, Any]:
    return {"target": server.targets["tls"], "identity": server.identity, "fingerprint": server.fingerprint, **others}


def write_hosts(home: Path, hosts: dict[str, dict[str, Any]]) -> None:
    lines = []
    for name, table in hosts.items():
        lines += [f"[hosts.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    (home / "hosts.toml").write_text("\n".join(lines) + "\n")


def mapped(home: Path, *words: str, **options: Any) -> tuple[int, str, str]:
    done = call("map", *words, home=home, **options)
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def objects(text: str) -> dict[str, Any]:
    return {one["target"]: one for one in map(json.loads, text.splitlines())}


@contextlib.contextmanager
def started(home: Path, *words: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*ARGV, "map", *words], env=environment(home), **(streams | options)) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- what is shown


def test_equal_output_is_shown_once(home: Path) -> None:
    assert mapped(home, "@nodes,tls", "echo", "hello") == (
        0,
        "---------------\nnode[1-5],tls (6)\n---------------\nhello\n",
        "",
    )


def test_the_two_streams_and_different_ends_stand_apart(home: Path, tmp_path: Path) -> None:
    line = f"mkdir {tmp_path}/first 2>/dev/null && exit 3; echo out; echo err >&2"
    status, out, err = mapped(home, "--parallel", "1", "-c", line, "node[1-3]")
    rule = "-" * 15
    assert (status, out) == (1, f"{rule}\nnode[2-3] (2)\n{rule}\nout\n")
    assert err == f"{rule}\nnode[2-3] (2), stderr\n{rule}\nerr\nremote-shell: exit status 3: node1 (1 of 3)\n"


def test_nothing_is_said_where_there_is_nothing_to_say(home: Path) -> None:
    assert mapped(home, "@nodes", "true") == (0, "", "")


def test_every_byte_is_the_hosts_own_in_a_pipe(home: Path) -> None:
    done = call("map", "-c", r"printf '\377\033[2J\r\0x'", "node1", home=home)
    assert done.stdout.endswith(b"\n\xff\x1b[2J\r\x00x\n")


def test_labels(home: Path) -> None:
    status, out, err = mapped(home, "-l", "-c", "printf 'a\nb'; echo c >&2", "node[1-2],off")
    assert sorted(out.splitlines()) == ["node1: a", "node1: b", "node2: a", "node2: b"]
    lines = err.splitlines()
    assert sorted(lines[:2]) == ["node1: c", "node2: c"]
    assert lines[2] == "remote-shell: unreachable: off (1 of 3)" and status == 1


def test_labelled_lines_come_while_the_command_runs(home: Path, tmp_path: Path) -> None:
    with started(home, "-l", "-c", f"echo now; while test ! -e {tmp_path}/go; do sleep 0.02; done", "node1") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"node1: now\n"
        (tmp_path / "go").touch()
        assert process.wait(WITHIN) == 0


def test_one_object_a_host(home: Path) -> None:
    status, out, _ = mapped(home, "--json", "-c", r"printf 'x\377'; echo e >&2; exit 4", "node1,off,tls")
    found = objects(out)
    assert status == 1 and set(found) == {"node1", "off", "tls"}
    for name in ("node1", "tls"):
        one = found[name]
        assert (one["outcome"], one["exit_status"], one["stderr"], one["error"]) == ("failed", 4, "e\n", None)
        assert one["stdout_base64"] == "eP8=" and one["duration_s"] > 0 and one["job"]
    assert found["off"]["outcome"] == "unreachable" and found["off"]["error"]["code"] == "connect"
    run = json.loads(call("run", "--json", "-n", "node1", "true", home=home).stdout)
    assert set(run) < set(found["node1"])


def test_on_a_terminal_control_characters_are_shown_and_progress_is_taken_away(home: Path) -> None:
    master, slave = pty.openpty()
    try:
        line = r"printf '\033[31mred\033[2J\007\n'"
        env = environment(home, {"TERM": "xterm", "COLUMNS": "80"})
        with subprocess.Popen(
            [*ARGV, "map", "-c", line, "node[1-2]"], stdin=slave, stdout=slave, stderr=slave, env=env
        ) as process:
            shown = b""
            while b"^G" not in shown:
                shown += os.read(master, 4096)
            assert process.wait(WITHIN) == 0
    finally:
        os.close(master)
        os.close(slave)
    assert b"\x1b[31mred^[[2J^G\r\n" in shown
    assert b"hosts" in shown and shown.index(b"hosts") < shown.index(b"node[1-2]")


def test_without_a_terminal_there_is_no_progress_and_no_rich(home: Path) -> None:
    env = {"PYTHONPROFILEIMPORTTIME": "1"}
    status, _, err = mapped(home, "node1", "true", env=env)
    assert status == 0 and "asyncio" in err and "rich" not in err


def test_a_huge_line_is_held_in_pieces(home: Path) -> None:
    status, out, _ = mapped(home, "-l", "-c", "head -c 300000 /dev/zero | tr '\\0' x", "node1")
    assert status == 0
    assert "".join(line.removeprefix("node1: ") for line in out.splitlines()) == "x" * 300_000


# --- how it ends


@pytest.mark.parametrize(
    ("words", "status", "summary"),
    [
        (("node[1-3]", "false"), 1, ["exit status 1: node[1-3] (3 of 3)"]),
        (("-c", "kill -KILL $$", "node1"), 1, ["died by SIGKILL: node1 (1 of 1)"]),
        (("--timeout", "0.2", "node1,node3", "sleep", "60"), 1, ["timed out after 0.2 s: node[1,3] (2 of 2)"]),
        (("node1,off", "true"), 1, ["unreachable: off (1 of 2)"]),
        (("off", "true"), 125, ["unreachable: off (1 of 1)"]),
    ],
)
def test_each_way_to_fail_is_named(home: Path, words: tuple[str, ...], status: int, summary: list[str]) -> None:
    code, _, err = mapped(home, *words)
    lines = [line.removeprefix("remote-shell: ") for line in err.splitlines()]
    assert (code, [line for line in lines if not line.startswith(" ")]) == (status, summary)


def test_a_program_that_is_missing_everywhere_is_told_once(home: Path) -> None:
    status, _, err = mapped(home, "@nodes", "no-such-program")
    first, second = err.splitlines()
    assert status == 1 and first == "remote-shell: could not be run: node[1-5] (5 of 5)"
    assert second.startswith("remote-shell:   node[1-5]: no-such-program: command not found")


def test_after_so_many_failures_no_other_is_started(home: Path, tmp_path: Path) -> None:
    line = f"echo x >> {tmp_path}/ran; false"
    status, _, err = mapped(home, "--parallel", "1", "--max-failures", "2", "-c", line, "@nodes")
    assert (status, (tmp_path / "ran").read_text()) == (1, "x\nx\n")
    assert err.splitlines() == [
        "remote-shell: exit status 1: node[1-2] (2 of 5)",
        "remote-shell: not started, since 2 of those before had failed (max-failures 2): node[3-5] (3 of 5)",
    ]
    out = mapped(home, "--json", "--parallel", "1", "--max-failures", "1", "node[1-2]", "false")[1]
    assert objects(out)["node2"]["error"]["code"] == "not_started"


@pytest.mark.parametrize("words", [("@nope", "x"), ("node1,no.such/host", "x"), ("-x", "@nope", "node1", "x")])
def test_what_is_not_known_is_told_before_anything_is_run(home: Path, words: tuple[str, ...]) -> None:
    status, out, err = mapped(home, *words)
    assert (status, out) == (125, "") and err.count("\n") == 1


def test_an_exclusion(home: Path) -> None:
    out = mapped(home, "-x", "node[2-4]", "@nodes,node1", "echo", "x")[1]
    assert "node[1,5] (2)" in out


# --- stdin, and at most once


def test_stdin_is_empty_unless_it_is_asked_for(home: Path) -> None:
    assert mapped(home, "@nodes", "cat", input=b"secret")[:2] == (0, "")
    assert "node[1-5] (5)\n---------------\nsame\n" in mapped(home, "--stdin", "@nodes", "cat", input=b"same")[1]
    data = os.urandom(3_000_000)
    assert "3000000" in mapped(home, "--stdin", "node[1-2]", "wc", "-c", input=data)[1]
    assert mapped(home, "--stdin", "node[1-2]", "true", input=data)[0] == 0  # who does not read is no failure


def test_more_stdin_than_is_held_is_refused_before_anything_is_run(home: Path, tmp_path: Path) -> None:
    with (
        open("/dev/zero", "rb") as zero,
        started(home, "--stdin", "node1", "touch", f"{tmp_path}/x", stdin=zero) as run,
    ):
        assert run.wait(WITHIN) == 125
        assert run.stderr is not None and b"more than 16777216 bytes on stdin" in run.stderr.read()
    assert not (tmp_path / "x").exists()


def test_an_id_runs_at_most_once_on_each_host(home: Path, tmp_path: Path) -> None:
    line = f"echo x >> {tmp_path}/ran; exit 3"
    assert mapped(home, "--id", f"map-{tmp_path.name}", "-c", line, "tls")[0] == 1
    assert mapped(home, "--id", f"map-{tmp_path.name}", "-c", line, "tls")[0] == 1
    assert (tmp_path / "ran").read_text() == "x\n"


# --- Ctrl-C


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
def test_ctrl_c_ends_the_commands_everywhere_and_says_what_is_known(
    running: testing.RunningServer, tmp_path: Path
) -> None:
    line = f"echo $$ > {tmp_path}/pid-$$; echo early; exec sleep 60"
    with Proxy(running.targets["unix"]) as proxy:
        write_hosts(tmp_path, {f"node{number}": {"target": proxy.target} for number in range(1, 6)})
        with started(tmp_path, "--parallel", "3", "-c", line, "node[1-5]") as process:
            wait_for(lambda: proxy.told(b"early\n", 3))  # and that it runs is known
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=WITHIN)
    assert process.returncode == 130
    assert b"node[1-3] (3): interrupted here, the command there was ended\n---------------\nearly\n" in out
    assert err.decode().splitlines() == [
        "remote-shell: interrupted here, the command there was ended: node[1-3] (3 of 5)",
        "remote-shell: not started: node[4-5] (2 of 5)",
    ]
    pids = [path.name.removeprefix("pid-") for path in tmp_path.glob("pid-*")]
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
def test_ctrl_c_says_what_is_not_known(home: Path, tmp_path: Path) -> None:
    with testing.server(("unix:",), config=GRACE) as stopped, Proxy(stopped) as proxy:
        write_hosts(tmp_path, {"still": {"target": proxy.target}})
        with started(tmp_path, "still", "sleep", "60") as process:
            wait_for(lambda: proxy.told(b'"opened"'))
            stopped.process.send_signal(signal.SIGSTOP)
            try:
                process.send_signal(signal.SIGINT)
                err = process.communicate(timeout=WITHIN)[1]
            finally:
                stopped.process.send_signal(signal.SIGCONT)
        assert process.returncode == 130
        assert b"interrupted here, whether the command there has ended is not known" in err


def test_a_reader_that_leaves_ends_it(home: Path, tmp_path: Path) -> None:
    with started(home, "-l", "node[1-2]", "yes") as process:
        assert process.stdout is not None
        process.stdout.read(100)
        process.stdout.close()
        assert process.wait(WITHIN) == -signal.SIGPIPE


@pytest.mark.usefixtures("unmeasured")  # Ctrl-C in the middle of measuring leaves its lock taken
def test_a_reader_that_does_not_read_holds_the_commands_and_not_our_memory(home: Path) -> None:
    with started(home, "-l", "node[1-3]", "yes") as process:
        wait_for(lambda: resident(process.pid) > 10_000_000)
        time.sleep(1.0)  # `yes` writes gigabytes a second
        assert resident(process.pid) < 120_000_000
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=WITHIN) and process.returncode == 130


def resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# --- descriptors


def test_open_files_are_allowed_up_to_the_hard_limit_or_told(home: Path) -> None:
    def limited(soft: int, hard: int) -> Callable[[], None]:
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    words = [*ARGV, "map", "@nodes", "true"]
    env = environment(home)
    assert subprocess.run(words, env=env, preexec_fn=limited(20, 200), timeout=WITHIN).returncode == 0
    done = subprocess.run(words, env=env, preexec_fn=limited(40, 40), timeout=WITHIN, capture_output=True)
    assert done.returncode == 125 and b"5 hosts at once need about 84 open files" in done.stderr


# --- all that can go wrong, in one call


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """A target whose SYN gets no answer: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener, *fillers = (stack.enter_context(socket.socket()) for _ in range(4))
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"tls:127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
def test_no_host_suffers_from_another(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        good, flood, killed, slow, missing, strange = (
            stack.enter_context(testing.server(config=GRACE)) for _ in range(6)
        )
        for server, role in ((flood, "flood"), (killed, "killed"), (slow, "slow"), (missing, "missing")):
            (tmp_path / f"role-{server.process.pid}").write_text(role)  # a command's parent is its server
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        known = {"identity": good.identity, "fingerprint": good.fingerprint}
        write_hosts(
            tmp_path,
            {f"good{number}": keyed(good) for number in range(1, 21)}
            | {"flood": keyed(flood), "killed": keyed(killed), "slow": keyed(slow), "missing": keyed(missing)}
            | {"hole": {"target": stack.enter_context(black_hole()), **known}}
            | {"silent": {"target": f"tls:127.0.0.1:{silent.getsockname()[1]}", **known}}
            | {"imposter": keyed(good, fingerprint=strange.fingerprint)}
            | {"refusing": keyed(strange, identity=good.identity)},
        )
        script = tmp_path / "work"
        script.write_text(
            f"""#!/bin/sh
            case $(cat {tmp_path}/role-$PPID 2>/dev/null) in
            flood) exec head -c 512M /dev/zero ;;
            killed) touch {tmp_path}/runs; exec sleep 60 ;;
            slow) exec sleep 60 ;;
            missing) exec {tmp_path}/no-such-program ;;
            *) echo ok; echo note >&2 ;;
            esac
            """
        )
        script.chmod(0o755)
        with started(tmp_path, "--json", "--connect-timeout", "5", "--timeout", "30", "@all", str(script)) as process:

            def kill() -> None:
                wait_for((tmp_path / "runs").exists)
                killed.process.kill()

            watch = threading.Thread(target=kill)
            watch.start()
            peak = 0
            out = b""
            assert process.stdout is not None
            for line in process.stdout:
                out += line[:0] if b'"target": "flood"' in line else line
                if b'"target": "flood"' in line:
                    flooded = json.loads(line)
                peak = max(peak, resident(process.pid))
            err = process.stderr.read().decode() if process.stderr is not None else ""
            watch.join()
            assert process.wait(WITHIN) == 1
    found = objects(out.decode())
    for number in range(1, 21):
        one = found.pop(f"good{number}")
        assert (one["outcome"], one["stdout"], one["stderr"]) == ("ok", "ok\n", "note\n")
    assert {name: one["outcome"] for name, one in found.items()} == {
        "killed": "lost",
        "slow": "timed_out",
        "missing": "failed",
        "hole": "unreachable",
        "silent": "unreachable",
        "imposter": "refused",
        "refusing": "refused",
    }
    assert found["missing"]["exit_status"] == 127 and found["killed"]["connection_lost"] and found["slow"]["timed_out"]
    assert flooded["outcome"] == "output_cut" and flooded["exit_status"] == 0
    assert len(flooded["stdout"]) + flooded["stdout_dropped"] == 512 << 20
    assert peak < 400_000_000, peak
    for name in (*found, "flood"):
        assert name in err, name


@pytest.mark.slow
def test_two_hundred_hosts_at_once(tmp_path: Path) -> None:
    """Four servers under fifty names each. All 200 commands are shown to run at the same time, in bounded memory and few descriptors."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(testing.server()) for _ in range(4)]
        write_hosts(tmp_path, {f"node{number:03}": keyed(servers[number % 4]) for number in range(1, 201)})
        began = time.monotonic()
        assert mapped(tmp_path, "--parallel", "200", "@all", "true") == (0, "", "")
        quick = time.monotonic() - began
        line = f"echo $$ > {tmp_path}/pid-$$; while test ! -e {tmp_path}/go; do sleep 0.5; done; echo done"
        with started(tmp_path, "--parallel", "200", "-c", line, "@all") as process:
            wait_for(lambda: sum(1 for _ in tmp_path.glob("pid-*")) == 200)
            held = len(os.listdir(f"/proc/{process.pid}/fd"))
            memory = resident(process.pid)
            (tmp_path / "go").touch()
            out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
        assert out == b"---------------\nnode[001-200] (200)\n---------------\ndone\n"
    # measured: 2 s, 58 MB, 208 descriptors; twice that and more, since other programs run
    assert quick < 20 and memory < 120_000_000 and held < 230, (quick, memory, held)
