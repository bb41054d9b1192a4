"""`--trace` of every command that connects, and `trace FILE`, as people use them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.cli.main import COMMANDS, main
from remote_shell.cli.trace_file import read_events, read_head
from remote_shell.client.tracing import TraceEvent
from tests.cli.program import ARGV, call, environment, one_line
from tests.cli.test_repl import GREETING, run, wait_prompt
from tests.proxy import Proxy
from tests.terminal import Terminal

pytestmark = pytest.mark.screen

SECRET = "hunter2-correct-horse"
NO_CLIENT = {"mux", "trace", "serve", "keys", "pipe", "demo", "replay", "completion"}


def frames(error: bytes) -> list[str]:
    """What was printed about channels and connections: who, which way, and what."""
    return [line.split("#1 ")[1] for line in error.decode().splitlines()]


def test_each_frame_is_printed_as_it_crosses(target: str, tmp_path: Path) -> None:
    done = call("run", "--trace", target, "--", "cat", home=tmp_path, input=b"h\xc3\xa9\x1b[31m")
    assert done.returncode == 0 and done.stdout == b"h\xc3\xa9\x1b[31m"
    told = frames(done.stderr)
    assert told[0] == f"connected to {target}" and told[-1] == "closed: by us"
    assert [line.split()[4] for line in told[1:5]] == ["hello", "hello", "auth", "welcome"]
    assert '"session":"<22 masked>"' in told[4]
    assert '→ 1  stdin       8 "hé\\e[31m"' in told and '← 1  stdout      8 "hé\\e[31m"' in told
    assert b"\x1b" not in done.stderr


def test_the_target_is_no_file_and_the_commands_own_words_are_its_own(target: str, tmp_path: Path) -> None:
    done = call("run", "--trace", target, "echo", "--trace", "--trace=x", home=tmp_path)
    assert done.stdout == b"--trace --trace=x\n" and b"closed" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NO_CLIENT])
def test_every_client_command_takes_it(name: str, tmp_path: Path) -> None:
    assert b"--trace" in call(name, "--help", home=tmp_path).stdout


@pytest.mark.parametrize(
    "words",
    [["jobs", "T"], ["put", "T", "F", "F.there"], ["try", "true"], ["ssh", "T", "true"], ["ssh", "-n", "T", "true"]],
)
def test_commands_with_a_file(words: list[str], target: str, tmp_path: Path) -> None:
    kept, sent = tmp_path / "kept", tmp_path / "sent"
    sent.write_text("content of the file")
    replaced = {"T": target, "F": str(sent), "F.there": str(tmp_path / "there")}
    done = call(words[0], f"--trace={kept}", *(replaced.get(word, word) for word in words[1:]), home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"#1" not in done.stderr
    shown = call("trace", str(kept), home=tmp_path)
    assert shown.returncode == 0 and not shown.stderr
    told = frames(shown.stdout)
    assert told[0].startswith("connected to unix:") and told[-1] == "closed: by us"
    assert any(" open " in line for line in told)
    assert words[0] != "put" or any("content of the file" in line for line in told)


def test_map_names_the_hosts(target: str, tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(f'[hosts.a]\ntarget = "{target}"\n[hosts.b]\ntarget = "{target}"\n')
    kept = tmp_path / "kept"
    assert call("map", f"--trace={kept}", "a,b", "echo", "hi", home=tmp_path).returncode == 0
    shown = call("trace", str(kept), home=tmp_path).stdout.decode().splitlines()
    for name in "ab":
        assert [line for line in shown if f"{name}#1 connected to {target}" in line]
        assert [line for line in shown if f"{name}#1 ← 1  stdout" in line]
    of_a = call("trace", "--host", "a", str(kept), home=tmp_path).stdout.decode().splitlines()
    assert of_a == [line for line in shown if " a#1 " in line]
    live = call("map", "--trace", "a,b", "true", home=tmp_path).stderr.decode()
    assert "a#1 connected" in live and "b#1 connected" in live


def test_over_several_connections(target: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with Proxy(target, cut_after=lambda number: 2500 if number == 1 else None) as proxy:
        done = call("run", f"--trace={kept}", proxy.target, "head", "-c", "20000", "/dev/zero", home=tmp_path)
        assert len(done.stdout) == 20000
        place = proxy.target
    shown = call("trace", str(kept), home=tmp_path).stdout.decode()
    for number in (1, 2):
        assert f"#{number} connected to {place}" in shown and f"#{number} closed: " in shown
    assert " cut off: " in shown
    second = call("trace", "--connection", "2", "--type", "welcome", str(kept), home=tmp_path).stdout.decode()
    assert second.count("\n") == 1 and '"resumed":true' in second


def test_what_trace_shows(target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    call("run", f"--trace={kept}", target, "cat", home=tmp_path, input=b"hello")

    def shown(*words: str) -> list[str]:
        assert main(["trace", *words, str(kept)]) == 0
        said = capfd.readouterr()
        assert not said.err
        return said.out.splitlines()

    every = shown()
    assert [line for line in every if "→" in line] == shown("--sent")
    assert [line for line in every if "←" in line] == shown("--received")
    assert [line for line in every if " 1  " in line] == shown("--channel", "1")
    assert [line for line in every if " stdin " in line] == shown("--type", "stdin")
    assert [line for line in every if " hello " in line and " 320 " in line] == shown("--type", "hello")
    assert len(shown("--connection", "2")) == 0
    told = [json.loads(line) for line in shown("--json")]
    assert len(told) == len(every) and [one["data"] for one in told if one.get("type") == "stdin"] == ["hello"]
    assert "  0000  68 65 6c 6c 6f                                   hello" in shown("-x", "--type", "stdout")
    assert shown("--type", "rejected") == []  # which nobody said
    wrong = call("trace", "--type", "opend", str(kept), home=tmp_path)
    assert wrong.stdout == b"" and "nothing has the type 'opend'" in one_line(wrong.stderr)
    done = call("trace", "-", home=tmp_path, input=kept.read_bytes())
    assert done.stdout.decode().splitlines() == every


def test_a_damaged_file_shows_what_can_be_read(target: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    call("run", f"--trace={kept}", target, "true", home=tmp_path)
    whole = call("trace", str(kept), home=tmp_path).stdout
    kept.write_bytes(kept.read_bytes()[:-20])
    done = call("trace", str(kept), home=tmp_path)
    assert done.returncode == 1 and whole.startswith(done.stdout) and done.stdout.count(b"\n") == whole.count(b"\n") - 1
    assert "is cut off" in one_line(done.stderr)
    kept.write_text("a letter\n")
    done = call("trace", str(kept), home=tmp_path)
    assert done.returncode == 125 and "is no trace" in one_line(done.stderr) and not done.stdout
    done = call("run", f"--trace={kept}", target, "true", home=tmp_path)
    assert done.returncode == 125 and "it would be overwritten" in one_line(done.stderr)
    assert kept.read_text() == "a letter\n"
    assert "No such file" in one_line(call("trace", str(tmp_path / "none"), home=tmp_path).stderr)


def test_a_client_that_is_killed_leaves_what_crossed(target: str, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    words = [*ARGV, "run", f"--trace={kept}", target, "sh", "-c", "echo up; exec sleep 1000"]
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        process.kill()
    done = call("trace", str(kept), home=tmp_path)
    assert done.returncode == 0 and '"up\\n"' in done.stdout.decode()


@pytest.mark.parametrize(
    "words", [["shell", "T"], ["shell", "--raw", "T"], ["run", "-t", "T", "cat"], ["ssh", "-t", "T", "cat"], ["try"]]
)
def test_a_screen_is_not_printed_into(words: list[str], target: str, tmp_path: Path) -> None:
    words = [words[0], "--trace", *(target if word == "T" else word for word in words[1:])]
    with Terminal([*ARGV, *words], environment=environment(tmp_path), columns=200) as terminal:
        assert terminal.wait_end() in (125, 255)
        assert "write --trace=FILE" in terminal.text and "connected" not in terminal.text


def test_a_connection_that_many_share_is_not_traced(target: str, tmp_path: Path) -> None:
    done = call("mux", "--trace", target, home=tmp_path)
    assert done.returncode == 125 and "ssh --trace makes one of its own" in one_line(done.stderr)


def test_a_password_at_a_prompt_is_not_in_the_file(running: testing.RunningServer, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    words = [*ARGV, "shell", "--new", f"--trace={kept}", running.targets["unix"]]
    with Terminal(words, environment=environment(tmp_path), columns=200) as terminal:
        terminal.wait_for(GREETING)
        wait_prompt(terminal)
        terminal.type("read -rp 'Name: ' name\r")
        terminal.wait_until(lambda: terminal.text.endswith("\nName:"), "question")
        terminal.type("somebody\r")
        wait_prompt(terminal)
        terminal.type("read -rs -p 'Password: ' word; echo; echo got ${#word}\r")
        terminal.wait_until(lambda: terminal.text.endswith("\nPassword:"), "question")
        terminal.type(SECRET + "\r")
        terminal.wait_for(f"got {len(SECRET)}")
        run(terminal, "echo on")
        terminal.press("ctrl-d")
        assert terminal.wait_end() == 0
    assert b"connected" not in terminal.output
    told = [json.loads(line) for line in call("trace", "--json", str(kept), home=tmp_path).stdout.splitlines()]
    lines = [one for one in told if one.get("message", {}).get("type") == "line"]
    assert lines[0]["message"]["text"] == "somebody"
    assert lines[1]["message"]["text"] == f"<{len(SECRET)} masked>" and lines[1]["why"] == "typed unseen"
    raw = b"".join(events_in(kept))
    assert SECRET.encode() not in raw and b"echo on" in raw


def events_in(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        read_head(file, "")
        return [event.raw for event in read_events(file) if isinstance(event, TraceEvent)]


@pytest.mark.parametrize("words", [["map", "T", "true"], ["put", "T", "F", "F.there"]])
def test_no_bar_is_drawn_where_a_trace_is_printed(words: list[str], target: str, tmp_path: Path) -> None:
    (tmp_path / "sent").write_bytes(bytes(100_000))
    replaced = {"T": target, "F": str(tmp_path / "sent"), "F.there": str(tmp_path / "there")}
    argv = [words[0], "--trace", *(replaced.get(word, word) for word in words[1:])]
    around = {**environment(tmp_path), "TERM": "xterm-256color"}
    with Terminal([*ARGV, *argv], environment=around, columns=100) as terminal:
        assert terminal.wait_end() == 0
        assert "closed: by us" in terminal.everything
    assert b"\x1b[?25l" not in terminal.output  # which a bar hides the cursor by
