"""Programs that call ssh, with `remote-shell ssh` in its place: rsync, git, sftp, scp, Borg and Ansible, as Debian has them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxy import Proxy
from tests.server.raw_client import living

from .conftest import Around

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
BIG = 64 * MIB
RSH = "remote-shell ssh"


def big_file(path: Path, size: int = BIG) -> Path:
    """Bytes that no compression makes small, the same each time."""
    source = random.Random(size)
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(source.randbytes(MIB))
    return path


def digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_tree(top: Path) -> None:
    """2,000 files and more: names that break quoting and line protocols, links, nothing, holes."""
    source = random.Random(1)
    for number in range(2000):
        folder = top / f"d{number % 37}" / f"e {number % 5}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"file {number}"
        path.write_bytes(source.randbytes(source.choice((0, 1, 100, 4096, 20_000))))
        path.chmod(source.choice((0o644, 0o600, 0o755)))
    odd = [
        b"line\nend",
        b"\xff\xfe not utf-8",
        b"'quote\"s`",
        b"$HOME",
        b"-rf",
        b"*",
        b"a\\b",
        b" ",
        b"#x",
        b"tab\t",
        b"\x1b[31m",
    ]
    folder_name = os.fsencode(top) + b"/odd \n names"
    os.mkdir(folder_name)
    for name in odd:
        with open(folder_name + b"/" + name, "wb") as file:
            file.write(name * 3)
    for number, goal in enumerate((b"d1/e 1/file 1", b"nowhere", b"odd \n names/line\nend", b"/etc/passwd", b"../..")):
        os.symlink(goal, os.fsencode(top) + b"/link %d" % number)
    (top / "empty folder").mkdir()
    with open(top / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(32 * MIB)
        file.write(b"end")


def listing(top: Path) -> dict[bytes, tuple[object, ...]]:
    """Every entry below `top`: its kind, mode, time and content."""
    found: dict[bytes, tuple[object, ...]] = {}
    root = os.fsencode(top)
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
            found[path[len(root) :]] = (status.st_mode, status.st_mtime_ns // 10**9, content)
    return found


def blocks(path: Path) -> int:
    """What it takes on the disk, in bytes."""
    return path.stat().st_blocks * 512


# --- rsync


def test_rsync_of_a_tree_with_delete(around: Around, tmp_path: Path) -> None:
    here, there, back = tmp_path / "here", tmp_path / "there", tmp_path / "back"
    make_tree(here)
    assert len(listing(here)) > 2000
    around.run("rsync", "-aS", "--delete", "-e", RSH, f"{here}/", f"box:{there}/")
    assert listing(there) == listing(here)
    assert blocks(there / "sparse") < MIB
    for number in range(0, 2000, 10):
        (here / f"d{number % 37}" / f"e {number % 5}" / f"file {number}").unlink()
    (here / "d2" / "e 2" / "file 2").write_bytes(b"changed")
    around.run("rsync", "-aS", "--delete", "-e", RSH, f"{here}/", f"box:{there}/")
    assert listing(there) == listing(here)
    around.run("rsync", "-aS", "-e", RSH, f"box:{there}/", f"{back}/")
    assert listing(back) == listing(here)


def test_rsync_that_is_interrupted_goes_on_from_there(around: Around, tmp_path: Path) -> None:
    here = big_file(tmp_path / "big")
    there = tmp_path / "there"
    there.mkdir()

    def arrived() -> int:
        return sum(path.stat().st_size for path in there.iterdir())

    words = ["rsync", "--partial", "--inplace", "--bwlimit=40m", "-e", RSH, str(here), f"box:{there}/"]
    with around.popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: arrived() > 4 * MIB, "part of the file", process)
        os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.communicate()
    assert process.returncode == 20, "rsync's own status for a signal"
    wait_until(lambda: not living(str(there)), "end of the rsync over there")
    part = arrived()
    assert 4 * MIB < part < BIG
    told = around.run("rsync", "--partial", "--inplace", "--stats", "-e", RSH, str(here), f"box:{there}/")
    assert digest(there / "big") == digest(here)
    literal = int(told.partition("Literal data: ")[2].partition(" ")[0].replace(",", ""))
    assert literal < BIG - part + MIB, "it sent again what was there"


def test_rsync_keeps_the_part_of_a_file_when_it_is_interrupted(around: Around, tmp_path: Path) -> None:
    """Without --inplace the rsync over there writes beside, and has to rename it when it is told to end."""
    here = big_file(tmp_path / "big")
    there = tmp_path / "there"
    there.mkdir()
    words = ["rsync", "--partial", "--bwlimit=40m", "-e", RSH, str(here), f"box:{there}/"]
    with around.popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_until(lambda: any(p.stat().st_size > 4 * MIB for p in there.iterdir()), "part of the file", process)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
    wait_until(lambda: not living(str(there)), "end of the rsync over there")
    assert [path.name for path in there.iterdir()] == ["big"]
    around.run("rsync", "--partial", "-e", RSH, str(here), f"box:{there}/")
    assert digest(there / "big") == digest(here)


def test_rsync_over_a_link_that_is_cut(around: Around, tmp_path: Path) -> None:
    """What ssh has no answer to."""
    here = big_file(tmp_path / "big", 16 * MIB)
    cuts = {1: 1 * MIB, 2: 5 * MIB, 3: 3 * MIB}
    with Proxy(around.running.targets["tls"], cut_after=cuts.get) as proxy:
        around.point_at(proxy.target)
        around.run("rsync", "-e", RSH, str(here), f"box:{tmp_path}/there")
        assert proxy.accepted > 3
    assert digest(tmp_path / "there") == digest(here)


# --- git


def make_repository(around: Around, path: Path) -> None:
    """A bare one of 500 commits."""
    around.run("git", "init", "-q", "--bare", "-b", "main", path)
    lines = []
    for number in range(1, 501):
        text = f"content {number}\n" * 50
        lines.append(
            f"commit refs/heads/main\nmark :{number}\ncommitter A <a@b> {1_700_000_000 + number} +0000\n"
            f"data {len(str(number))}\n{number}\n" + (f"from :{number - 1}\n" if number > 1 else "")
            + f"M 100644 inline d{number % 20}/f{number % 50}\ndata {len(text)}\n{text}\n"
        )  # fmt: skip
    done = subprocess.run(
        ["git", "-C", path, "fast-import", "--quiet"], input="".join(lines).encode(), env=around.environment
    )
    assert done.returncode == 0


@pytest.mark.parametrize("form", ["box:{}", "ssh://box{}", "ssh://{user}@box:{port}{}"])
def test_git_clone_push_and_fsck(form: str, around: Around, tmp_path: Path) -> None:
    make_repository(around, tmp_path / "bare")
    port = around.running.targets["tls"].rpartition(":")[2]
    user = around.run("id", "-un").strip()
    url = form.format(tmp_path / "bare", port=port, user=user)
    added = {"GIT_SSH_COMMAND": RSH}
    around.run("git", "clone", "-q", url, tmp_path / "clone", added=added)
    assert around.run("git", "-C", tmp_path / "clone", "rev-list", "--count", "HEAD").strip() == "500"
    around.run("git", "-C", tmp_path / "clone", "fsck", "--full", "--strict")
    (tmp_path / "clone" / "new").write_bytes(random.Random(2).randbytes(4 * MIB))
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    around.run("git", "-C", tmp_path / "clone", "add", "new")
    around.run("git", "-C", tmp_path / "clone", *author, "commit", "-q", "-m", "new")
    around.run("git", "-C", tmp_path / "clone", "push", "-q", "origin", "HEAD:refs/heads/other", added=added)
    around.run("git", "-C", tmp_path / "bare", "fsck", "--full", "--strict")
    here = around.run("git", "-C", tmp_path / "clone", "rev-parse", "HEAD")
    assert around.run("git", "-C", tmp_path / "bare", "rev-parse", "other") == here
    assert around.run("git", "-C", tmp_path / "clone", "ls-remote", "origin", added=added).count("refs/heads/") == 2


def test_git_says_what_failed(around: Around, tmp_path: Path) -> None:
    told = around.run(
        "git", "clone", f"nobody@box:{tmp_path}/bare", tmp_path / "clone", added={"GIT_SSH_COMMAND": RSH}, status=128
    )
    assert "leave nobody@ away" in told


# --- sftp and scp


def test_sftp(around: Around, tmp_path: Path) -> None:
    here = big_file(tmp_path / "here")
    batch = tmp_path / "batch"
    batch.write_text(f"put {here} {tmp_path}/there\nget {tmp_path}/there {tmp_path}/back\nls -l {tmp_path}/there\n")
    told = around.run("sftp", "-S", "remote-shell-ssh", "-b", batch, "box")
    assert str(BIG) in told
    assert digest(tmp_path / "there") == digest(tmp_path / "back") == digest(here)


@pytest.mark.parametrize("protocol", [[], ["-O"]], ids=["sftp", "scp"])
def test_scp(protocol: list[str], around: Around, tmp_path: Path) -> None:
    here = big_file(tmp_path / "here")
    around.run("scp", *protocol, "-q", "-S", "remote-shell-ssh", here, f"box:{tmp_path}/there")
    around.run("scp", *protocol, "-q", "-S", "remote-shell-ssh", f"box:{tmp_path}/there", tmp_path / "back")
    assert digest(tmp_path / "there") == digest(tmp_path / "back") == digest(here)


def test_scp_with_a_port(around: Around, tmp_path: Path) -> None:
    """-P becomes -p or -oPort, which is a port of ours."""
    (tmp_path / "here").write_text("x")
    host, _, port = around.running.targets["tls"].removeprefix("tls:").rpartition(":")
    known = around.home / "rs" / "known_hosts"
    known.write_text(f"{host}:{port} {around.running.fingerprint}\n")
    key = ("-i", around.running.identity)
    around.run("scp", "-q", *key, "-P", port, "-S", "remote-shell-ssh", tmp_path / "here", f"{host}:{tmp_path}/there")
    assert (tmp_path / "there").read_text() == "x"


# --- Borg


def test_borg(around: Around, tmp_path: Path) -> None:
    here = tmp_path / "here"
    make_tree(here)
    added = {
        "BORG_RSH": RSH,
        "BORG_BASE_DIR": str(around.home),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }
    repository = f"ssh://box{tmp_path}/repository"
    around.run("borg", "init", "-e", "none", repository, added=added)
    around.run("borg", "create", f"{repository}::first", "here", added=added, cwd=tmp_path)
    around.run("borg", "check", "--verify-data", repository, added=added)
    (tmp_path / "back").mkdir()
    around.run("borg", "extract", f"{repository}::first", added=added, cwd=tmp_path / "back")
    assert listing(tmp_path / "back" / "here") == listing(here)


# --- Ansible

PLAYBOOK = """
- hosts: box
  gather_facts: true
  tasks:
    - command: sh -c 'echo out; echo err >&2; exit 3'
      register: command
      failed_when: command.rc != 3 or command.stdout != "out" or command.stderr != "err"
    - shell: cat; echo "$0 $PWD"
      args: {stdin: "über 汉语"}
      register: shell
      failed_when: "'über 汉语' not in shell.stdout"
    - raw: exit 7
      register: raw
      failed_when: raw.rc != 7
    - copy: {src: "{{ top }}/big", dest: "{{ top }}/{{ copied }}", mode: "0640"}
    - copy: {content: "x y\\n", dest: "{{ top }}/汉语"}
    - template: {src: "{{ top }}/template.j2", dest: "{{ top }}/templated"}
    - fetch: {src: "{{ top }}/{{ copied }}", dest: "{{ top }}/fetched", flat: true}
    - command: sh -c 'sleep 1; echo slept'
      async: 30
      poll: 0
      register: job
    - async_status: {jid: "{{ job.ansible_job_id }}"}
      register: later
      until: later.finished
      retries: 50
      delay: 1
      failed_when: later.stdout | default("") != "slept"
    - command: tty
      register: tty
      failed_when: false
"""


@pytest.mark.parametrize(("transfer", "pipelining"), [("sftp", "false"), ("scp", "false"), ("piped", "true")])
def test_ansible(transfer: str, pipelining: str, around: Around, tmp_path: Path) -> None:
    copied = (
        "copied big" if transfer == "sftp" else "copied-big"
    )  # the others of Ansible's forget the quotes when they fetch
    big_file(tmp_path / "big", 4 * MIB)
    (tmp_path / "template.j2").write_text("{{ ansible_user_id }} {{ inventory_hostname }}\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "hosts").write_text(
        f"box ansible_ssh_executable=remote-shell-ssh ansible_ssh_transfer_method={transfer} "
        "ansible_sftp_extra_args='-S remote-shell-ssh' ansible_scp_extra_args='-S remote-shell-ssh' "
        f"ansible_pipelining={pipelining} ansible_python_interpreter=/usr/bin/python3 "
        f"ansible_remote_tmp={tmp_path}/remote ansible_async_dir={tmp_path}/async\n"
    )
    told = around.run(
        "ansible-playbook", "-i", tmp_path / "hosts", "-e", f'{{"top": "{tmp_path}", "copied": "{copied}"}}',
        tmp_path / "play.yml",
        added={"ANSIBLE_NOCOLOR": "1", "ANSIBLE_TIMEOUT": "30"}, timeout=200,
    )  # fmt: skip
    assert "failed=0" in told and "unreachable=0" in told, told
    assert digest(tmp_path / "fetched") == digest(tmp_path / copied) == digest(tmp_path / "big")
    assert stat.S_IMODE((tmp_path / copied).stat().st_mode) == 0o640
    assert (tmp_path / "汉语").read_text() == "x y\n"
    assert (tmp_path / "templated").read_text() == f"{around.run('id', '-un').strip()} box\n"


def test_ansible_tells_a_host_that_is_out_of_reach(around: Around, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("box ansible_ssh_executable=remote-shell-ssh ansible_port=1\n")
    told = around.run("ansible", "-i", tmp_path / "hosts", "box", "-m", "raw", "-a", "true", status=4)
    assert "UNREACHABLE" in told and "remote-shell: " in told


# --- waiting


def wait_until(condition: object, what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 30
    assert callable(condition)
    while True:
        with contextlib.suppress(FileNotFoundError):  # a file that is renamed meanwhile
            if condition():
                return
        assert time.monotonic() < deadline, f"never: {what}"
        assert process is None or process.poll() is None, f"it ended with {process.returncode} before: {what}"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def nothing_goes_on(tmp_path: Path) -> Iterator[None]:
    """No program of a test is left on the server."""
    yield
    for pid in living(
        str(tmp_path)
    ):  # a shared connection idles for longer than we wait; Ansible's options name our folder
        with contextlib.suppress(OSError):
            if b"\0mux\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not living(str(tmp_path)), "end of all processes")
