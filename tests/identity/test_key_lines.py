"""Lines of authorized_keys: read as they count, added and taken away whole or not at all, whoever writes at the same time."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from remote_shell.config import checked
from remote_shell.config.socket_lock import take
from remote_shell.errors import ConfigError, UsageError
from remote_shell.identity import key_lines
from remote_shell.identity.authorized import AuthorizedKeys
from remote_shell.identity.keys import PublicKey, make_blob
from remote_shell.identity.private_keys import public_of
from tests.config.account import as_nobody, give, nobodys_folder


def key(number: int, comment: str = "") -> PublicKey:
    return PublicKey(make_blob(public_of(number.to_bytes(32, "big"))), comment)


ONE, TWO, THREE = key(1, "ann@laptop"), key(2, "bob"), key(3)
RSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDkbW9k old@box"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "ssh" / "authorized_keys")


def listed(path: str) -> list[str]:
    """Whom the server would let in, by comment."""
    return [entry.comment for entry in AuthorizedKeys(path).entries()]


def litter(path: str) -> list[str]:
    return [name for name in os.listdir(os.path.dirname(path)) if name != os.path.basename(path)]


def test_file_and_folder_are_made(path: str) -> None:
    assert key_lines.read(path) == []
    assert key_lines.add(path, ONE)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert not key_lines.add(path, PublicKey(ONE.blob, "again")), "listed already"
    assert key_lines.add(path, TWO, 'from="192.0.2.0/24",no-pty', "bob, paired") and litter(path) == []
    assert listed(path) == ["ann@laptop", "bob, paired"]
    first, second = key_lines.read(path)
    assert (first.number, first.fingerprint, first.options, first.why) == (1, ONE.fingerprint, "", "")
    assert (second.number, second.options, second.comment) == (2, 'from="192.0.2.0/24",no-pty', "bob, paired")


def test_what_is_there_stays_byte_for_byte(path: str) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    before = f"# mine\r\n\n  {ONE.line()}\t\r\n{RSA}\nnonsense\xff".encode("latin-1")
    Path(path).write_bytes(before)
    os.chmod(path, 0o640)
    assert key_lines.add(path, TWO)
    assert Path(path).read_bytes() == before + f"\n{TWO.line()}\n".encode()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    assert key_lines.remove(path, [line for line in key_lines.read(path) if line.blob == TWO.blob])
    assert Path(path).read_bytes() == before + b"\n"


def test_lines_that_let_nobody_in_are_told(path: str) -> None:
    lines = key_lines.parse(f'{RSA}\nhello\nnosuch="x" {ONE.line()}\n\xff {TWO.line()}'.encode("latin-1"))
    assert [line.number for line in lines] == [1, 2, 3, 4] and all(line.entry is None and line.why for line in lines)
    assert [line.kind for line in lines] == ["ssh-rsa", "", "ssh-ed25519", "ssh-ed25519"]
    assert lines[0].comment == "old@box" and lines[0].fingerprint.startswith("SHA256:")
    assert lines[2].blob == ONE.blob and lines[2].options == 'nosuch="x"', "sshd may take it: `revoke` must find it"
    assert lines[3].blob == TWO.blob


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for line in key_lines.parse(data + b"\n" + ONE.line().encode() + data):
        assert line.comment.isprintable() and line.options.isprintable()
        assert (line.entry is None) == bool(line.why)


@given(st.text(max_size=80))
@example("me\nyou")
@example("me\r\x0b\x0c\x1c\x85\u2028you")
def test_a_comment_is_never_more_than_one_line(comment: str) -> None:
    try:
        line = key_lines.make_line(PublicKey(ONE.blob), "", comment)
    except UsageError:
        assert "AAAA" in comment
    else:
        (read,) = key_lines.parse(line)
        assert read.blob == ONE.blob and read.entry is not None


@pytest.mark.parametrize(
    "options",
    [
        "no-pty\n",
        "no-pty\rssh-ed25519",
        'command="x\n"',
        "nosuch",
        'command="x',
        " ",
        f"{TWO.line()} ",
        f"no-pty {TWO.line()}\x0b",
    ],
)
def test_options_that_would_refuse_the_line_or_be_another(options: str, path: str) -> None:
    with pytest.raises(UsageError):
        key_lines.add(path, ONE, options)
    assert not os.path.exists(path)


def test_an_option_is_one_line_whatever_its_reader_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_lines, "parse_line", lambda *_: None)
    with pytest.raises(UsageError, match="line end"):
        key_lines.make_line(ONE, 'command="\n"')


def test_a_symlink_stays_one(path: str, tmp_path: Path) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    real = tmp_path / "dotfiles"
    real.write_text(f"{ONE.line()}\n")
    real.chmod(0o600)
    os.symlink(real, path)
    assert key_lines.add(path, TWO)
    assert os.path.islink(path) and listed(path) == ["ann@laptop", "bob"]


def test_extended_attributes_stay(path: str) -> None:
    key_lines.add(path, ONE)
    try:
        os.setxattr(path, "user.note", b"mine")
    except OSError:
        pytest.skip("this file system has none")
    key_lines.add(path, TWO)
    assert os.getxattr(path, "user.note") == b"mine"


def test_a_file_that_would_not_count_is_not_written() -> None:
    with nobodys_folder() as folder:
        place = os.path.join(folder, "authorized_keys")

        def try_it() -> list[str]:
            key_lines.add(place, ONE)
            said = []
            for mode, what in ((0o602, place), (0o722, folder)):
                before = stat.S_IMODE(os.stat(what).st_mode)
                os.chmod(what, mode)
                for attempt in (
                    lambda: key_lines.add(place, TWO),
                    lambda: key_lines.remove(place, key_lines.parse(b"x")),
                ):
                    try:
                        attempt()
                    except ConfigError as error:
                        said.append("chmod" if "chmod" in str(error) else str(error))
                os.chmod(what, before)
            return [*said, *listed(place)]

        give(folder, 0o700)
        assert as_nobody(try_it) == repr(["chmod"] * 4 + ["ann@laptop"])


def test_a_list_that_can_not_be_written_is_told_before() -> None:
    with nobodys_folder() as folder:
        place = os.path.join(folder, "authorized_keys")

        def try_it() -> str:
            key_lines.check(place)
            os.chmod(folder, 0o500)
            try:
                key_lines.check(place)
            finally:
                os.chmod(folder, 0o700)
            return ""

        give(folder, 0o700)
        assert "not ours to write to" in as_nobody(try_it)
        if os.getuid() == 0:
            os.chown(place, 0, 0)
            os.chmod(place, 0o644)
            assert "Permission denied" in as_nobody(lambda: key_lines.check(place))


# --- at the same time


def test_many_edits_at_once_lose_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look and the rename each waits for a moment for another that would be there too: there is none."""
    real, renames, second = os.rename, threading.Lock(), threading.Event()

    def rename(source: str, target: str) -> None:
        if renames.acquire(blocking=False):
            second.wait(0.02)
            renames.release()
        else:
            second.set()
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    keys = [key(number, f"k{number}") for number in range(10, 26)]
    key_lines.add(path, ONE)
    threads = [threading.Thread(target=key_lines.add, args=(path, one)) for one in keys]
    threads.append(threading.Thread(target=key_lines.remove, args=(path, key_lines.read(path))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(listed(path)) == sorted(one.comment for one in keys) and litter(path) == []
    assert not second.is_set()


def test_what_an_editor_wrote_meanwhile_is_kept(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cat >>` holds no lock: its line comes between our look and our rename."""
    key_lines.add(path, ONE)
    real, times = checked._copy_attributes, list[int]()

    def and_cat(source: str, target: str) -> None:
        real(source, target)
        if not times:
            times.append(1)
            with open(path, "a", encoding="utf-8") as file:
                file.write(f"{THREE.line()} cat\n")

    monkeypatch.setattr(checked, "_copy_attributes", and_cat)
    assert key_lines.add(path, TWO)
    assert times and listed(path) == ["ann@laptop", "cat", "bob"] and litter(path) == []


def test_an_editor_that_replaced_the_file(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock was on the old file: the new one is locked and read."""
    key_lines.add(path, ONE)
    real, times = take, list[int]()

    def and_rename(descriptor: int, seconds: float) -> bool:
        if not times:
            times.append(1)
            other = f"{path}~"
            Path(other).write_text(f"{THREE.line()} vim\n")
            os.chmod(other, 0o600)
            os.rename(other, path)
        return real(descriptor, seconds)

    monkeypatch.setattr("remote_shell.config.edited.take", and_rename)
    assert key_lines.add(path, TWO) and listed(path) == ["vim", "bob"]


def test_one_that_never_stops_writing_is_named(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key_lines.add(path, ONE)
    monkeypatch.setattr("remote_shell.config.edited.replace", lambda *_, **__: False)
    with pytest.raises(ConfigError, match="all the time"):
        key_lines.add(path, TWO)


# --- faults

FAULTS = {
    "open": lambda *_, **__: fail(28),
    "fsync": lambda *_: fail(5),
    "rename": lambda *_: fail(30),
    "fchmod": lambda *_: fail(1),
}


def fail(number: int) -> Any:
    raise OSError(number, os.strerror(number))


@pytest.mark.parametrize("call", FAULTS)
@pytest.mark.parametrize(
    "edit", [lambda path: key_lines.add(path, TWO), lambda path: key_lines.remove(path, key_lines.read(path))]
)
def test_a_fault_leaves_the_file_as_it_was(
    call: str, edit: Callable[[str], object], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_lines.add(path, ONE)
    before, real = Path(path).read_bytes(), getattr(os, call)

    def faulty(*words: Any, **more: Any) -> Any:
        if call == "open" and not str(words[0]).endswith(".new"):
            return real(*words, **more)
        return FAULTS[call](*words, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, faulty)
        with pytest.raises(ConfigError, match="can't write"):
            edit(path)
    assert Path(path).read_bytes() == before and litter(path) == []
    edit(path)
    assert Path(path).read_bytes() != before


def test_a_full_disk(path: str) -> None:
    """RLIMIT_FSIZE stands in for it: the write stops in the middle."""
    key_lines.add(path, ONE)
    before = Path(path).read_bytes()
    text = (
        "import resource, signal, sys\n"
        "from remote_shell.errors import ConfigError\n"
        "from tests.identity.test_key_lines import TWO, key_lines\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) + 10}, resource.RLIM_INFINITY))\n"
        "try:\n    key_lines.add(sys.argv[1], TWO)\nexcept ConfigError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", text, path], capture_output=True, text=True, timeout=15)
    assert "can't write" in done.stdout and "as it was" in done.stdout, done
    assert Path(path).read_bytes() == before and litter(path) == []


KILLED = """
import json, os, signal, sys
from pathlib import Path
from tests.identity.test_key_lines import TWO, key_lines

def step(frame, event, argument):
    global left
    if frame.f_code.co_filename.endswith("config/checked.py") and frame.f_code.co_name in ("replace", "_write"):
        left -= event == "line"
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return step

path = sys.argv[1]
before, seen, status = Path(path).read_bytes(), [], 1
while status:
    Path(path).write_bytes(before)
    left = len(seen) + 1
    child = os.fork()
    if not child:
        sys.settrace(step)
        key_lines.add(path, TWO)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    seen.append(Path(path).read_text(encoding="utf-8"))
print(json.dumps(seen))
"""


def test_killed_at_any_moment(path: str) -> None:
    """Before each step of what writes: the first line is always there, and what is there is whole."""
    key_lines.add(path, ONE)
    before, after = f"{ONE.line()}\n", f"{ONE.line()}\n{TWO.line()}\n"
    done = subprocess.run([sys.executable, "-c", KILLED, path], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert len(seen) > 15 and seen[-1] == after, "the last one was not killed"
    assert set(seen) == {before, after}
    assert key_lines.add(path, THREE), "the lock went with the process"
