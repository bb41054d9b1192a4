"""The two commands of the README in earnest: a fresh Debian 12 with nothing but Python, made by debootstrap.

As root only (CI is). The network settings of this machine go along: apt's configuration but for its sources, pip's, proxies and
certificates. test_bootstrap.py has the many cases with stand-ins.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = (
    "/etc/apt/apt.conf",
    "/etc/apt/apt.conf.d",
    "/etc/apt/auth.conf",
    "/etc/apt/auth.conf.d",
    "/etc/pip.conf",
    "/etc/uv",
)
NETWORK = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt")
ENVIRONMENT = (
    "PIP_",
    "UV_",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)
USER = 65534

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap and chroot need root; CI is root"),
]


class Machine:
    """A Debian in a folder; commands run in it by chroot, with its own mounts and processes, which end with the command."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str, user: int = 0, stdin: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        mounts = 'mount -t proc proc "$0/proc" && mount -t devpts -o newinstance,ptmxmode=666 devpts "$0/dev/pts"'
        enter = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            f'{mounts} && exec chroot "$0" "$@"',
            str(self.root),
        ]
        drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        kept = {name: value for name, value in os.environ.items() if name.upper().startswith(ENVIRONMENT)}
        own = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",
            "LC_ALL": "C.UTF-8",
        }
        environment = {**kept, **own, **changes}
        return subprocess.run(
            [*enter, *drop, *command],
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=600,
        )

    def clone(self, name: str, *, owner: int = 0) -> str:
        """What git would give of this checkout, put into the machine; returns the path there."""
        top = self.root / "srv" / name
        listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for file in subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0"):
            if file and (ROOT / file).is_file():
                (top / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / file, top / file)
        for folder, _, files in os.walk(top):
            for path in (folder, *(os.path.join(folder, file) for file in files)):
                os.chown(path, owner, owner)
        return f"/srv/{name}"


def mirror() -> list[str]:
    """Where this machine's apt finds Debian 12, or nothing: then debootstrap's own choice."""
    targets = ["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"]
    for line in subprocess.run(targets, capture_output=True, text=True).stdout.splitlines():
        release, _, address = line.partition(" ")
        if release == "bookworm":
            return [address]
    return []


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    root = tmp_path_factory.mktemp("debian") / "root"
    build = ["debootstrap", "--variant=minbase", "--include=python3,ca-certificates", "bookworm", str(root), *mirror()]
    done = subprocess.run(build, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for path in filter(os.path.exists, (*SETTINGS, *NETWORK)):
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            target.unlink(missing_ok=True)
            shutil.copy(path, target)
    yield Machine(root)
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def top(machine: Machine) -> str:
    """A clean clone of root's, in a path with a space."""
    return machine.clone("a clean clone")


# The order matters: each test leaves the machine with more on it, as a user's would be.


def test_a_user_is_told_the_one_line(machine: Machine) -> None:
    top = machine.clone("of a user", owner=USER)
    for script in ("run.py", "test.py"):
        start = time.monotonic()
        done = machine.run("python3", f"{top}/scripts/{script}", user=USER)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.endswith("type: sudo apt-get install -y python3-venv\n") and done.stderr.count("\n") == 1
        assert time.monotonic() - start < 2


def test_a_user_with_pip_alone_gets_on(machine: Machine) -> None:
    assert machine.run("apt-get", "update").returncode == 0
    done = machine.run("apt-get", "install", "-y", "--no-install-recommends", "python3-pip")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    top = machine.clone("with pip alone", owner=USER)
    done = machine.run("python3", f"{top}/scripts/_env.py", "run", user=USER)
    assert (done.returncode, done.stdout) == (0, f"{top}/.venv/bin/python\n"), done.stderr
    done = machine.run(
        f"{top}/.venv/bin/python", "-c", "import remote_shell, pydantic; print(remote_shell.__file__)", user=USER
    )
    assert done.stdout == f"{top}/remote_shell/__init__.py\n", done.stderr
    done = machine.run("apt-get", "purge", "-y", "--auto-remove", "python3-pip")
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(machine.root / "var" / "lib" / "apt" / "lists")  # bare again


def test_run_sets_up_and_prints_the_kernel_line(machine: Machine, top: str) -> None:
    done = machine.run("python3", f"{top}/scripts/run.py", "--", "uname", "-a")
    assert done.returncode == 0, done.stderr
    assert done.stdout == subprocess.run(["uname", "-a"], capture_output=True, text=True).stdout
    assert "setting up" in done.stderr
    times = []
    for _ in range(3):
        start = time.monotonic()
        again = machine.run("python3", f"{top}/scripts/run.py", "--", "uname", "-a")
        times.append(time.monotonic() - start)
        assert (again.returncode, again.stdout) == (0, done.stdout) and "setting up" not in again.stderr
    assert min(times) < 1


def test_run_without_arguments_reads_commands_from_stdin(machine: Machine, top: str) -> None:
    done = machine.run("python3", f"{top}/scripts/run.py", stdin="cd /srv\necho $((6*7)) $PWD\n")
    assert (done.returncode, done.stdout) == (0, "42 /srv\n"), done.stderr


def test_the_tests_run_with_pinned_packages(machine: Machine, top: str) -> None:
    done = machine.run("python3", f"{top}/scripts/test.py", "tests/test_conftest.py", CI="true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout.splitlines()[-1]
