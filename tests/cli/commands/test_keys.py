"""`keys`: what `show` prints, whom `authorize` lets in, what `list` tells of them, and what `revoke` takes away."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from remote_shell import testing
from remote_shell.client.blocking import connect
from remote_shell.identity import key_lines
from remote_shell.identity.authorized import AuthorizedKeys
from remote_shell.identity.keys import PublicKey
from remote_shell.identity.private_keys import make_key_file
from remote_shell.identity.secrets import parse_line
from remote_shell.identity.server_identity import ServerIdentity
from tests.cli.person import Person
from tests.cli.program import ARGV, WITHIN, call, environment, one_line
from tests.identity.test_key_lines import ONE, RSA, THREE, TWO
from tests.process.recorder import is_alive

pytestmark = pytest.mark.screen  # as a file it takes long


def test_the_first_call_makes_a_key_and_the_output_is_an_authorized_keys_file(tmp_path: Path) -> None:
    done = call("keys", "show", home=tmp_path)
    assert done.returncode == 0 and not done.stderr
    listed = tmp_path / "authorized_keys"
    listed.write_bytes(done.stdout)
    listed.chmod(0o600)
    (entry,) = AuthorizedKeys(str(listed)).entries()
    text = done.stdout.decode()
    assert entry.public.fingerprint in text and str(tmp_path / "id_ed25519") in text
    assert "PRIVATE" not in text
    assert call("keys", "show", home=tmp_path).stdout == done.stdout


def test_a_named_key_with_a_passphrase_is_shown_without_asking(tmp_path: Path) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-C", "me@there", "-f", path], check=True)
    done = call("keys", "show", "--identity", str(path), home=tmp_path)
    assert Path(f"{path}.pub").read_text().split()[1] in done.stdout.decode()
    assert "has a passphrase" in done.stdout.decode()


def test_a_comment_can_not_write_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "key"
    make_key_file(str(path), "me\x1b[31m\nssh-ed25519 AAAA")
    done = call("keys", "show", "--identity", str(path), home=tmp_path)
    lines = [line for line in done.stdout.decode().splitlines() if not line.startswith("#")]
    assert len(lines) == 1 and lines[0].isprintable()


def test_the_servers_own_fingerprint_is_shown_if_there_is_one(tmp_path: Path) -> None:
    assert b"what a server started here" not in call("keys", "show", home=tmp_path).stdout
    (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
    identity = ServerIdentity.load(str(tmp_path / "state" / "server_key"))
    assert identity.fingerprint in call("keys", "show", home=tmp_path).stdout.decode()


def test_a_new_secret_is_one_line_that_a_server_takes(tmp_path: Path) -> None:
    done = call("keys", "show", "--new-secret", "ci", home=tmp_path)
    secret = parse_line(done.stdout.decode().strip())
    assert secret.name == "ci" and len(secret.key) == 32
    assert call("keys", "show", "--new-secret", "ci", home=tmp_path).stdout != done.stdout
    assert list(tmp_path.iterdir()) == [], "no copy is kept"
    bad = call("keys", "show", "--new-secret", "../ci", home=tmp_path)
    assert bad.returncode == 125 and "name" in one_line(bad.stderr)


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    done = call("keys", "show", "--identity", str(tmp_path / "none"), home=tmp_path)
    assert done.returncode == 125
    assert "there is no key file" in one_line(done.stderr) and "ssh-keygen" in one_line(done.stderr)


def test_an_unknown_verb(tmp_path: Path) -> None:
    done = call("keys", "shwo", home=tmp_path)
    assert done.returncode == 2 and "show" in one_line(done.stderr)


# --- who may do what


def lines(home: Path) -> list[str]:
    return (home / ".ssh" / "authorized_keys").read_text().splitlines()


def test_authorize_from_a_file_and_from_stdin(tmp_path: Path) -> None:
    public = tmp_path / "ann.pub"
    public.write_text(f"{ONE.line()}\n")
    done = call("keys", "authorize", str(public), home=tmp_path)
    assert done.returncode == 0 and f"{ONE.fingerprint} ann@laptop may log in" in done.stdout.decode()
    done = call("keys", "authorize", "--comment", "bob, paid", "--option", "no-pty", "--option", 'from="192.0.2.0/24"', "-",
                home=tmp_path, input=f"# two\n{TWO.line()}\n{THREE.line()}\n".encode())  # fmt: skip
    assert done.returncode == 0 and done.stdout.count(b"may log in") == 2
    limited = 'no-pty,from="192.0.2.0/24" '
    named = [limited + PublicKey(key.blob, "bob, paid").line() for key in (TWO, THREE)]
    assert lines(tmp_path) == [ONE.line(), *named]
    assert stat.S_IMODE((tmp_path / ".ssh" / "authorized_keys").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / ".ssh").stat().st_mode) == 0o700


def test_authorize_what_keys_show_prints(tmp_path: Path) -> None:
    shown = call("keys", "show", home=tmp_path).stdout
    assert call("keys", "authorize", home=tmp_path, input=shown).returncode == 0
    assert call("keys", "authorize", home=tmp_path, input=shown).stdout.decode().rstrip().endswith("is listed already")
    assert len(lines(tmp_path)) == 1
    other = call("keys", "authorize", "--option", "no-pty", home=tmp_path, input=shown)
    assert other.returncode == 125 and "with other options (none); take it away first" in one_line(other.stderr)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no public key"),
        ("# nothing\n", "no public key"),
        (f"{ONE.line()}\n{RSA}\n", "line 2 is no key that can be used"),
        ("hello", "line 1"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n", "private key"),
        (f"no-pty {ONE.line()}", "line 1"),
        ("x" * 70_000, "more than"),
        (f"{ONE.line()} {TWO.line()}", "two keys"),
    ],
)
def test_what_is_no_key_adds_nothing(text: str, word: str, tmp_path: Path) -> None:
    done = call("keys", "authorize", home=tmp_path, input=text.encode())
    assert done.returncode == 125 and word in one_line(done.stderr)
    assert not (tmp_path / ".ssh").exists()


def test_bad_options_and_a_missing_file(tmp_path: Path) -> None:
    done = call("keys", "authorize", "--option", "nosuch", home=tmp_path, input=ONE.line().encode())
    assert done.returncode == 125 and "nosuch" in one_line(done.stderr)
    done = call("keys", "authorize", str(tmp_path / "none.pub"), home=tmp_path)
    assert done.returncode == 125 and "there is no file" in one_line(done.stderr)


def fill(home: Path, text: str) -> Path:
    folder = home / ".ssh"
    folder.mkdir(mode=0o700)
    path = folder / "authorized_keys"
    path.write_text(text)
    path.chmod(0o600)
    return path


FULL = f"""# mine
{ONE.line()}
no-pty,permitopen="db:5432" {TWO.line()}
{RSA}
nosuch {THREE.line()} carol
"""


def test_the_list(tmp_path: Path) -> None:
    fill(tmp_path, FULL)
    done = call("keys", "list", home=tmp_path)
    text = done.stdout.decode()
    assert done.returncode == 0 and "2 keys may log in" in text
    assert re.search(rf"^{re.escape(ONE.fingerprint[:19])}  never +- +ann@laptop  everything$", text, re.MULTILINE)
    assert re.search(r"bob +no terminal; tunnels to db:5432$", text, re.MULTILINE)
    assert re.search(
        r"^line 4 lets nobody in: ssh-rsa SHA256:\S{12} old@box: a key of type ssh-rsa", text, re.MULTILINE
    )
    assert re.search(r"^line 5 lets nobody in: .* carol: .*nosuch", text, re.MULTILINE)
    reports = [json.loads(line) for line in call("keys", "list", "--json", home=tmp_path).stdout.splitlines()]
    assert [one["line"] for one in reports] == [2, 3, 4, 5] and [one["allowed"] for one in reports] == [
        True,
        True,
        False,
        False,
    ]
    assert (
        reports[0]["fingerprint"] == ONE.fingerprint and reports[0]["last_login"] is None and reports[0]["why"] is None
    )
    assert reports[1]["options"] == 'no-pty,permitopen="db:5432"' and reports[2]["type"] == "ssh-rsa"


def test_nobody_is_listed(tmp_path: Path) -> None:
    assert b"0 keys may log in" in call("keys", "list", home=tmp_path).stdout
    assert call("keys", "list", "--json", home=tmp_path).stdout == b"" and not (tmp_path / ".ssh").exists()


def test_the_list_can_not_write_to_the_terminal(tmp_path: Path) -> None:
    fill(tmp_path, f"{ONE.line()} \x1b]0;x\x07\n\x1b[31m nonsense\n")
    assert b"\x1b" not in call("keys", "list", home=tmp_path).stdout


def test_a_list_that_others_may_write(tmp_path: Path) -> None:
    path = fill(tmp_path, FULL)
    path.chmod(0o622)
    for words in (["list"], ["authorize"], ["revoke", "bob"]):
        done = call("keys", *words, home=tmp_path, input=THREE.line().encode())
        assert done.returncode == 125 and "chmod go-w" in one_line(done.stderr)
    assert path.read_text() == FULL


def test_the_running_servers_list_is_meant_and_it_knows_who_was_here(tmp_path: Path) -> None:
    with testing.server(("unix:", "tls:127.0.0.1:0")) as server:
        listed = os.path.join(server.home, "authorized_keys")
        before = json.loads(call("keys", "list", "--json", home=server.home).stdout)
        assert before["file"] == listed and before["last_login"] is None
        with connect(server.targets["tls"], **server.options()) as host:
            host.run(["true"])
        done = call("keys", "authorize", home=server.home, input=TWO.line().encode())
        assert listed in done.stdout.decode()
        with testing.server(("unix:",), environment={"REMOTE_SHELL_HOME": server.home}):
            done = call("keys", "list", home=server.home)
            assert done.returncode == 125 and "--authorized-keys" in one_line(done.stderr)
        server.process.terminate()  # what was noted is written at the latest now
        server.process.wait()
        after = [json.loads(line) for line in call(
            "keys", "list", "--json", "--authorized-keys", listed, home=server.home).stdout.splitlines()]  # fmt: skip
        assert after[0]["last_source"] == "127.0.0.1" and after[0]["last_login"].endswith("Z")
        assert after[1]["last_login"] is None


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        (ONE.fingerprint, [3, 4, 5]),
        (ONE.fingerprint[:12], [3, 4, 5]),
        (ONE.fingerprint[7:16], [3, 4, 5]),
        ("ann@laptop", [3, 4, 5]),
        ("ann", [3, 4, 5]),
        ("bob", [2, 4, 5]),
        ("old@box", [2, 3, 5]),
        (THREE.fingerprint, [2, 3, 4]),  # refused here, and sshd may take it
        ("carol", [2, 3, 4]),
    ],
)
def test_revoke(pattern: str, left: list[int], tmp_path: Path) -> None:
    path = fill(tmp_path, FULL)
    done = call("keys", "revoke", pattern, home=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith(b"taken away: ")
    whole = FULL.split("\n")
    assert path.read_text() == "\n".join([whole[0], *(whole[number - 1] for number in left), ""])


def test_a_key_on_several_lines_is_taken_away_whole(tmp_path: Path) -> None:
    path = fill(
        tmp_path, f"{ONE.line()}\n{TWO.line()}\nno-pty {ONE.line()} again\nnosuch {PublicKey(ONE.blob, 'x').line()}\n"
    )
    done = call("keys", "revoke", "ann@laptop", home=tmp_path)
    assert done.returncode == 0 and done.stdout.count(b"taken away: ") == 3
    assert path.read_text() == f"{TWO.line()}\n"


def test_several_fit(tmp_path: Path) -> None:
    path = fill(
        tmp_path,
        f"{PublicKey(ONE.blob, 'ann@home').line()}\n{PublicKey(TWO.blob, 'ann@work').line()}\n{THREE.line()}\n",
    )
    before = path.read_text()
    with Person(tmp_path, "keys", "revoke", "ann", columns=120) as person:
        person.wait_for("Take all 2 away? [yes/no]")
        assert "ann@home" in person.text and "ann@work" in person.text
        person.type("no\r")
        person.wait_for("nothing was taken away")
    assert path.read_text() == before
    with Person(tmp_path, "keys", "revoke", "ann", columns=120) as person:
        person.wait_for("Take all 2 away? [yes/no]")
        person.type("yes\r")
        person.wait_until(lambda: person.text.count("taken away: ") == 2, "both")
    assert path.read_text() == f"{THREE.line()}\n"


def test_several_fit_and_nobody_can_be_asked(tmp_path: Path) -> None:
    path = fill(tmp_path, f"{PublicKey(ONE.blob, 'ann@home').line()}\n{PublicKey(TWO.blob, 'ann@work').line()}\n")
    done = subprocess.run(
        ["setsid", *ARGV, "keys", "revoke", "ann"], capture_output=True, env=environment(tmp_path), timeout=WITHIN
    )
    assert done.returncode == 125 and b"2 lines fit 'ann'; say which:" in done.stderr and b"ann@work" in done.stderr
    assert len(key_lines.read(str(path))) == 2
    assert call("keys", "revoke", "ann@work", home=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("words", "word"), [(["nobody"], "no key in"), ([], "which key?"), (["SHA256:"], "no key in"), ([""], "no key in")]
)
def test_revoke_what_is_not_there(words: list[str], word: str, tmp_path: Path) -> None:
    path = fill(tmp_path, FULL)
    done = call("keys", "revoke", *words, home=tmp_path)
    assert done.returncode == 125 and word in one_line(done.stderr)
    assert path.read_text() == FULL


def test_jobs_outlive_their_key_unless_that_is_said(tmp_path: Path) -> None:
    with testing.server() as server:
        with connect(server.targets["tls"], **server.options()) as host:
            gentle = host.detach(["sleep", "1000"]).info()
            deaf = host.detach("trap '' TERM; echo $$; while :; do sleep 0.05; done", shell=True)
            next(deaf.logs(follow=True))  # it has come to that
            pids = gentle.pid or 0, deaf.info().pid or 0
            host.detach(["true"]).wait()
        with connect(server.targets["unix"]) as other:  # somebody else's
            kept = other.detach(["sleep", "1000"])
            done = call("keys", "revoke", "test", home=server.home)
            fingerprint = done.stdout.decode().split()[2]
            assert done.returncode == 0 and b"2 jobs that it started by --detach go on" in done.stdout
            assert f"remote-shell keys revoke --jobs {fingerprint}\n" in done.stdout.decode()
            assert all(is_alive(pid) for pid in pids)
            done = call("keys", "revoke", "--jobs", fingerprint, home=server.home)
            assert (done.returncode, done.stdout.decode()) == (0, f"2 jobs of {fingerprint} ended\n")
            assert not any(is_alive(pid) for pid in pids)
            assert kept.info().state == "running"
            again = call("keys", "revoke", "--jobs", fingerprint, home=server.home)
            assert (again.returncode, again.stdout.decode()) == (0, f"0 jobs of {fingerprint} ended\n")


def test_a_key_is_taken_away_with_its_jobs(tmp_path: Path) -> None:
    with testing.server() as server:
        with connect(server.targets["tls"], **server.options()) as host:
            pid = host.detach(["sleep", "1000"]).info().pid or 0
        done = call("keys", "revoke", "test", "--jobs", home=server.home)
        assert done.returncode == 0 and b"taken away: " in done.stdout and b"1 job of SHA256:" in done.stdout
        assert not is_alive(pid)


def test_jobs_of_a_key_that_is_none(tmp_path: Path) -> None:
    fill(tmp_path, FULL)
    for pattern in ("SHA256:abc", "SHA256:" + "a" * 44, "nobody"):
        done = call("keys", "revoke", "--jobs", pattern, home=tmp_path)
        assert done.returncode == 125 and "no key in" in one_line(done.stderr)


@pytest.mark.parametrize("verb", ["show", "invite", "list", "authorize", "revoke"])
def test_each_verb_has_a_help_that_fits(verb: str, tmp_path: Path) -> None:
    text = call("keys", verb, "--help", home=tmp_path).stdout.decode()
    assert text.startswith(f"usage: remote-shell keys {verb}") and max(map(len, text.splitlines())) <= 80
