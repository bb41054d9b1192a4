"""Keys that may not do all, as people and scripts see them: one line that says why, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from remote_shell import testing
from tests.cli.program import call, one_line
from tests.server.test_rights import new_line, rewrite

pytestmark = pytest.mark.screen

LINES = {
    "echo": 'restrict,allow="echo *",allow="sleep *",timeout="0.2"',
    "forced": 'restrict,command="echo forced: $SSH_ORIGINAL_COMMAND"',
    "drop": 'restrict,allow=":put",cwd="drop"',
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A client's home, in whose hosts.toml each key has a name."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    folder = tmp_path_factory.mktemp("home")
    folder.chmod(0o700)
    (folder / "drop").mkdir()
    with testing.server(("tls:127.0.0.1:0",)) as running:
        lines, hosts = [], []
        for name, options in LINES.items():
            private, line = new_line(options.replace('cwd="drop"', f'cwd="{folder}/drop"'))
            lines.append(line)
            (folder / name).with_suffix(".key").write_bytes(
                private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            )
            (folder / name).with_suffix(".key").chmod(0o600)
            hosts.append(
                f'[hosts.{name}]\ntarget = "{running.removeprefix("tls:")}"\nidentity = "{folder}/{name}.key"\n'
                f'fingerprint = "{running.fingerprint}"\n'
            )
        rewrite(f"{running.home}/authorized_keys", "".join(lines))
        for place in (folder, folder / "config"):
            place.mkdir(exist_ok=True)
            (place / "hosts.toml").write_text("".join(hosts))
        yield folder


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (("run", "echo", "--", "rm", "-rf", "/srv"), 125, "remote-shell: echo: refused: this key may run only: echo *, sleep *"),
        (("run", "-c", "echo a; id", "echo"), 125, "remote-shell: echo: refused: this key may run only: echo *, sleep *"),
        (("run", "-t", "echo", "echo"), 125, "this key may not have a terminal"),
        (("run", "--detach", "echo", "echo"), 125, "it may not start jobs"),
        (("jobs", "echo"), 125, "it has no jobs"),
        (("get", "echo", "/etc/hostname", "."), 125, "it may not get files"),
        (("put", "echo", "/etc/hostname", "x"), 125, "it may not put files"),
        (("put", "drop", "/etc/hostname", "../x"), 125, "and may not go elsewhere"),
        (("ssh", "echo", "id"), 255, "refused: this key may run only: echo *, sleep *"),
        (("run", "echo", "sleep", "60"), 124, "ended by the server after"),
        (("run", "--timeout", "50", "echo", "sleep", "60"), 124, "this key may run nothing for longer"),
    ],
)  # fmt: skip
def test_what_is_refused(home: Path, words: tuple[str, ...], status: int, text: str) -> None:
    done = call(*words, home=home)
    assert done.returncode == status, done
    assert text in one_line(done.stderr)


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (("run", "-c", "echo 'a  b'", "echo"), b"a  b\n"),
        (("ssh", "echo", "echo", "a", "b"), b"a b\n"),
        (("run", "forced", "rm", "a b"), b"forced: rm 'a b'\n"),
        (("ssh", "forced", "rm", "a", "b"), b"forced: rm a b\n"),
        (("ssh", "forced"), b"forced:\n"),
    ],
)
def test_what_is_not(home: Path, words: tuple[str, ...], out: bytes) -> None:
    done = call(*words, home=home)
    assert (done.returncode, done.stdout) == (0, out), done


def test_doctor_finds_no_fault_in_what_is_meant_so(home: Path) -> None:
    done = call("doctor", "--json", "echo", home=home)
    findings = json.loads(done.stdout)["findings"]
    assert [one["text"] for one in findings if one["level"] == "fault"] == []
    assert any(one["text"].startswith("not looked at: this key may run only: echo *") for one in findings)


def test_a_place_to_drop_files(home: Path, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    assert call("put", "drop", str(tmp_path / "here"), "there", home=home).returncode == 0
    assert (home / "drop" / "there").read_text() == "x"
