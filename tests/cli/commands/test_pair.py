"""`keys invite` and `pair`, as two people use them: a server with a home of its own, and a friend with another."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.config.hosts import lookup
from remote_shell.identity.invitation import parse_line
from tests.cli.person import Person
from tests.cli.program import ARGV, WITHIN, call, environment, one_line

pytestmark = pytest.mark.screen  # as a file it takes long

QUICK = "[limits]\nrefusal_time = 0.02\n"


@pytest.fixture(scope="module")
def running() -> Iterator[testing.RunningServer]:
    """A server of ours; its own owner calls `keys` with its home."""
    with testing.server(("unix:", "tls:127.0.0.1:0"), config=QUICK) as server:
        yield server
        assert "Traceback" not in server.read_log()


@pytest.fixture
def friend(tmp_path: Path) -> Path:
    """A home that has nothing yet."""
    home = tmp_path / "friend"
    home.mkdir(mode=0o700)
    return home


def owner(server: testing.RunningServer, *words: str, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """What the one whose server it is calls."""
    return call("keys", *words, home=server.home, input=input)


def invited(server: testing.RunningServer, *words: str) -> bytes:
    done = owner(server, "invite", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def place(server: testing.RunningServer) -> str:
    return server.targets["tls"].removeprefix("tls:")


def test_the_whole_way(running: testing.RunningServer, friend: Path) -> None:
    """invite, pair, run; then both see it, and revoke ends it."""
    done = owner(running, "invite", "--label", "ann")
    assert done.returncode == 0 and done.stdout.count(b"\n") == 1
    line = done.stdout.decode()
    assert re.fullmatch(r"invitation1 127\.0\.0\.1:\d+ SHA256:\S{43} \S+Z [a-z2-7]{32}\n", line)
    said = done.stderr.decode()
    assert (
        "whoever has this line can add one key of theirs here, once, within 10 minutes: give it to nobody else." in said
    )
    assert "over there, type: remote-shell pair    and paste it." in said
    assert "listens to this machine alone" in said
    code = line.split()[-1]

    done = call("pair", home=friend, input=line.encode())
    assert done.returncode == 0, done.stderr
    told = done.stdout.decode()
    assert "may log in there from now on" in told and f"Next: remote-shell shell {place(running)}\n" in told
    assert done.stderr == b"" and code not in told
    done = call("run", place(running), "--", "echo", "in", home=friend)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"in\n", b"")

    listed = owner(running, "list").stdout.decode()
    assert re.search(
        r"SHA256:\S{12}  20\d\d-\S+ \d\d:\d\d  127\.0\.0\.1 +paired 20\S+ from 127\.0\.0\.1 as ann +everything\n",
        listed,
    )
    assert owner(running, "revoke", "ann").returncode == 0
    done = call("run", place(running), "--", "echo", "in", home=friend)
    assert done.returncode == 125 and "refuses every key" in one_line(done.stderr)
    again = call("pair", home=friend, input=line.encode())
    assert again.returncode == 125 and "it was used" in one_line(again.stderr)
    for path in [*friend.rglob("*"), *Path(running.home).rglob("*")]:
        assert not path.is_file() or code.encode() not in path.read_bytes(), path


def test_a_name_for_the_server(running: testing.RunningServer, friend: Path) -> None:
    (friend / "hosts.toml").write_text('[hosts.other]\ntarget = "192.0.2.9"')
    line = invited(running)
    done = call("pair", "--name", "box.home", home=friend, input=line)
    assert done.returncode == 0 and b"Next: remote-shell shell box.home\n" in done.stdout, done.stderr
    assert call("run", "box.home", "--", "echo", "in", home=friend).stdout == b"in\n"
    host = lookup("box.home", str(friend / "hosts.toml"))
    assert host is not None and host.fingerprint == running.fingerprint
    assert lookup("other", str(friend / "hosts.toml")) is not None
    assert call("pair", "--name", "box.home", home=friend, input=line).returncode == 0, "the same again"
    assert (friend / "hosts.toml").read_text().count("box.home") == 1


@pytest.mark.parametrize(
    ("name", "word"), [("other", "already"), ("a b", "no name"), ("-x", "no name"), ('x"]', "no name")]
)
def test_a_name_that_will_not_do_uses_nothing_up(
    name: str, word: str, running: testing.RunningServer, friend: Path
) -> None:
    (friend / "hosts.toml").write_text('[hosts.other]\ntarget = "192.0.2.9"\n')
    line = invited(running)
    done = call("pair", f"--name={name}", home=friend, input=line)
    assert done.returncode == 125 and word in one_line(done.stderr)
    assert call("pair", home=friend, input=line).returncode == 0


def test_a_key_of_ones_own(running: testing.RunningServer, friend: Path) -> None:
    """Named, with a passphrase that nobody can be asked for: said before the server hears of it; without one it is enrolled."""
    locked, plain = friend / "locked", friend / "plain"
    for path, passphrase in ((locked, "secret"), (plain, "")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "mine", "-f", path], check=True)
    line = invited(running)
    done = subprocess.run(
        ["setsid", *ARGV, "pair", "--identity", locked],
        input=line,
        capture_output=True,
        env=environment(friend),
        timeout=WITHIN,
    )
    assert done.returncode == 125 and "passphrase" in one_line(done.stderr)
    done = call("pair", "--identity", str(plain), home=friend, input=line)
    assert done.returncode == 0 and f"shell --identity {plain} " in done.stdout.decode(), done.stderr
    assert not (friend / "id_ed25519").exists()
    assert call("run", "--identity", str(plain), place(running), "true", home=friend).returncode == 0


def test_pasted_at_a_terminal_unseen(running: testing.RunningServer, friend: Path) -> None:
    line = invited(running).decode().strip()
    with Person(friend, "pair", "--name", "box", columns=100) as person:
        person.wait_for("invitation:")
        person.type(f"{line}\r")
        person.wait_for("Next: remote-shell shell box")
        assert line.split()[-1] not in person.text and "SHA256:" in person.text


def test_pasted_in_several_lines(running: testing.RunningServer, friend: Path) -> None:
    """As a mail breaks it, and in the middle of the code."""
    line = invited(running).decode().strip()
    broken = f"{line[:-10].replace(' ', chr(13), 3)}\r{line[-10:]}\r"
    with Person(friend, "pair", columns=100) as person:
        person.wait_for("invitation:")
        person.type(broken)
        person.wait_for("Next: remote-shell shell 127.0.0.1")
        assert line[-10:] not in person.text


def test_pasted_and_cut_off(running: testing.RunningServer, friend: Path) -> None:
    with Person(friend, "pair", columns=200) as person:
        person.wait_for("invitation:")
        person.type(f"{invited(running).decode()[:90]}\r\r")
        person.wait_for("paste the whole line")


@pytest.mark.parametrize("typed", ["\x04", "\r", "hello\r"])
def test_what_is_pasted_is_no_invitation(typed: str, friend: Path) -> None:
    with Person(friend, "pair", columns=160) as person:
        person.wait_for("invitation:")
        person.type(typed)
        person.wait_for("that is no whole invitation; paste the whole line")
        person.wait_until(lambda: person.text.count("invitation1") == 1, "how it looks")


def test_with_options_it_may_do_no_more(running: testing.RunningServer, friend: Path) -> None:
    line = invited(running, "--option", 'command="echo only this"', "--option", "no-pty")
    assert call("pair", home=friend, input=line).returncode == 0
    assert call("run", place(running), "--", "echo", "another", home=friend).stdout == b"only this\n"
    assert "runs only: echo only this; no terminal" in owner(running, "list").stdout.decode()


def test_expired_by_the_clock_there(running: testing.RunningServer, friend: Path) -> None:
    line = invited(running, "--minutes", "0.0001")
    done = call("pair", home=friend, input=line)
    assert done.returncode == 125
    assert "expired by the clock over there; the server's log says which. Ask for a new one" in one_line(done.stderr)
    assert "it has expired" in running.read_log()


def test_taken_back(running: testing.RunningServer, friend: Path) -> None:
    line = invited(running, "--label", "carol")
    assert re.search(r"an invitation for carol is open until \d\d:\d\d;", owner(running, "list").stdout.decode())
    assert b"open invitation" in owner(running, "revoke", "--invitations").stdout
    assert "or taken back" in one_line(call("pair", home=friend, input=line).stderr)
    assert b"is open" not in owner(running, "list").stdout


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda line: line[:70], "no whole invitation"),
        (lambda line: line[:-3], "damaged"),
        (lambda line: line.replace("127.0.0.1", "127.0.0.2"), "damaged"),
        (lambda line: "", "no whole invitation"),
        (lambda line: "x" * 100_000, "no whole invitation"),
    ],
)
def test_a_wrong_line(change: object, word: str, running: testing.RunningServer, friend: Path) -> None:
    assert callable(change)
    done = call("pair", home=friend, input=change(invited(running).decode()).encode())
    text = one_line(done.stderr)
    assert done.returncode == 125 and word in text and len(text) < 400
    assert os.listdir(friend) == [], "nothing was made"


def test_unreachable(running: testing.RunningServer, friend: Path) -> None:
    line = invited(running, "--address", "127.0.0.1:1")
    done = call("pair", home=friend, input=line)
    assert done.returncode == 125 and "127.0.0.1:1" in one_line(done.stderr)


def test_another_server_answers(running: testing.RunningServer, friend: Path) -> None:
    with testing.server(("tls:127.0.0.1:0",), config=QUICK) as other:
        line = invited(running, "--address", place(other))
        done = call("pair", home=friend, input=line)
        text = one_line(done.stderr)
        assert other.fingerprint is not None and running.fingerprint is not None
        assert done.returncode == 125 and other.fingerprint in text and running.fingerprint in text
        assert "invite" not in other.read_log() and not (friend / "known_hosts").exists()


# --- inviting


def test_no_server_runs(friend: Path) -> None:
    done = call("keys", "invite", home=friend)
    assert done.returncode == 125 and "remote-shell serve --listen tls:0.0.0.0:8822" in one_line(done.stderr)
    done = call("keys", "invite", "--address", "box.example", "--address", "[2001:db8::7]:22", home=friend)
    assert done.returncode == 0 and b" box.example:8822,[2001:db8::7]:22 SHA256:" in done.stdout
    assert b"no server of yours runs here now" in done.stderr


def test_a_server_that_was_killed_does_not_count(friend: Path) -> None:
    with testing.server(("tls:127.0.0.1:0",), config=QUICK) as server:
        assert owner(server, "invite").returncode == 0
        server.process.kill()
        server.process.wait()
        assert owner(server, "invite").returncode == 125


def test_where_all_addresses_are_listened_on_one_of_ours_is_named() -> None:
    with testing.server(("tls:0.0.0.0:0",), config=QUICK) as server:
        line = invited(server).decode()
        (target,) = parse_line(line).addresses
        assert target.host != "0.0.0.0"
        friend = Path(server.home) / "friend"
        friend.mkdir(mode=0o700)
        done = call("pair", home=friend, input=line.encode())
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "status", "word"),
    [
        (["--minutes", "0"], 2, "--minutes"),
        (["--minutes", "nan"], 2, "--minutes"),
        (["--minutes", "99999"], 2, "seven days"),
        (["--label", "a b"], 125, "--label"),
        (["--label", "a\n"], 125, "--label"),
        (["--address", "me@box"], 125, "--address"),
        (["--address", "not an address"], 125, "space"),
        ([*["--address", "box"] * 9], 125, "at most 8"),
        (["--option", "nosuch"], 125, "refused"),
        (["--option", 'command="x\n"'], 125, "control character"),
    ],
)
def test_what_makes_no_invitation(words: list[str], status: int, word: str, running: testing.RunningServer) -> None:
    before = sorted(os.listdir(Path(running.home) / "state"))
    done = owner(running, "invite", *words)
    assert done.returncode == status and word in one_line(done.stderr) and done.stdout == b""
    assert sorted(os.listdir(Path(running.home) / "state")) == before


def test_a_list_that_counts_for_nobody_is_told_at_once(running: testing.RunningServer, friend: Path) -> None:
    listed = friend / "authorized_keys"
    listed.write_text("")
    listed.chmod(0o666)
    done = owner(running, "invite", "--authorized-keys", str(listed), "--address", "box")
    assert done.returncode == 125 and "chmod go-w" in one_line(done.stderr) and done.stdout == b""


def test_of_several_servers_the_line_names_those_that_read_the_list(running: testing.RunningServer) -> None:
    with testing.server(("tls:127.0.0.1:0",), environment={"REMOTE_SHELL_HOME": running.home}) as other:
        for server in (running, other):
            line = invited(running, "--authorized-keys", f"{server.home}/authorized_keys").decode()
            assert [target.address for target in parse_line(line).addresses] == [place(server)]
            kept = [path.read_text() for path in Path(running.home, "state", "invitations").iterdir()]
            assert any(f"{server.home}/authorized_keys" in text for text in kept)


def test_the_end_of_one_that_is_good_for_days_has_its_day(running: testing.RunningServer) -> None:
    invited(running, "--label", "days", "--minutes", "10000")
    said = owner(running, "list").stdout.decode()
    assert re.search(r"an invitation for days is open until 20\d\d-\d\d-\d\d \d\d:\d\d;", said)


def test_minutes_are_in_the_line(running: testing.RunningServer) -> None:
    done = owner(running, "invite", "--minutes", "1")
    assert b"once, within 1 minute:" in done.stderr
    until = dt.datetime.fromtimestamp(parse_line(done.stdout.decode()).until, dt.UTC)
    assert dt.timedelta(seconds=0) < until - dt.datetime.now(dt.UTC) <= dt.timedelta(minutes=2)


def test_the_line_is_never_a_word_of_the_command(running: testing.RunningServer, friend: Path) -> None:
    line = invited(running).decode().strip()
    done = call("pair", line, home=friend)
    assert done.returncode == 2 and line.split()[-1] in line
    done = call("pair", *line.split(), home=friend)
    assert done.returncode == 2


def test_what_crossed_is_masked(running: testing.RunningServer, friend: Path) -> None:
    done = call("pair", "--trace", home=friend, input=invited(running))
    assert done.returncode == 0
    told = done.stderr.decode()
    assert told.count('"proof":"<44 masked>"') == 2, "ours and the server's"
    assert '"proof":"<88 masked>"' in told and " enrolled " in told
    kept = friend / "kept"
    assert call("pair", f"--trace={kept}", home=friend, input=invited(running)).returncode == 0
    shown = call("trace", str(kept), home=friend).stdout.decode()
    assert shown.count('"proof":"<44 masked>"') == 2 and " enrolled " in shown


def test_both_on_two_machines_that_share_nothing(running: testing.RunningServer, friend: Path) -> None:
    """As a new user would: the friend's account is made anew and has HOME and nothing of ours."""
    line = invited(running, "--label", "dora")
    bare = {
        name: value for name, value in environment(friend).items() if name in ("PATH", "PYTHONPATH", "HOME", "LANG")
    }
    done = subprocess.run([*ARGV, "pair", "--name", "box"], input=line, capture_output=True, env=bare, timeout=WITHIN)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([*ARGV, "run", "box", "--", "id", "-un"], capture_output=True, env=bare, timeout=WITHIN)
    assert done.returncode == 0 and done.stdout.strip()
    assert (friend / ".config" / "remote-shell" / "hosts.toml").exists() and shutil.which("id")
