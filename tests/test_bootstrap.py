"""The way from a clone to a running program: scripts/_env.py, run.py, test.py.

Here with a stand-in for uv, which makes a `.venv` without a network; test_bare_debian.py does it in earnest.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.screen  # as a file it takes long

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("_env.py", "run.py", "test.py")

# Notes its words; makes a .venv whose python notes its words too and ends with 7; fails, waits or does half when a file says so.
FAKE_UV = f"""#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
if [ "$PIP_USER" != 0 ]; then echo "a user's pip settings would refuse this" >&2; exit 3; fi
if [ -e "$here/fail-$1" ]; then echo "no route to the index" >&2; exit 2; fi
while [ -e "$here/wait" ]; do sleep 0.01; done
if [ "$1" = venv ]; then
    for venv; do :; done
    mkdir -p "$venv/bin" "$venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    printf '#!/bin/sh\\npwd\\nfor word; do echo "[$word]"; done\\nexit 7\\n' > "$venv/bin/python"
    chmod +x "$venv/bin/python"
fi
"""

FAKE_APT = """#!/bin/sh
cd '{fakes}'
echo "$*" >> apt-calls
case $3 in
    update) touch lists ;;
    install)
        [ -e lists ] || exit 100
        for name in ansible-playbook bash borg bwrap debootstrap fish git less ps rsync script setpriv sftp-server ss ssh sshd tmux \\
            systemd-analyze tshark chromium vim.tiny zsh; do echo > $name; chmod +x $name; done ;;
esac
"""

# Runs a script in a Python that has neither pip nor ensurepip, as on a bare Debian.
WITHOUT_PIP = """
import runpy, sys
sys.modules["ensurepip"] = sys.modules["pip"] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Checkout:
    """A copy of what the set-up needs, in a folder with a space in its name, and fake programs that come first in PATH."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.fakes = base / "fakes"
        self.fakes.mkdir()
        self.top = base / "a clone"
        for name in ("pyproject.toml", "requirements/ci.txt", *(f"scripts/{script}" for script in SCRIPTS)):
            target = self.top / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        self.fake("uv", FAKE_UV)

    def fake(self, name: str, script: str) -> None:
        (self.fakes / name).write_text(script)
        (self.fakes / name).chmod(0o755)

    def command(self, script: str, *words: str) -> list[str]:
        return [sys.executable, str(self.top / "scripts" / script), *words]

    def environment(self, **changes: str) -> dict[str, str]:
        return {"PATH": f"{self.fakes}:/usr/bin:/bin", "HOME": str(self.base), "LC_ALL": "C.UTF-8", **changes}

    def run(self, script: str, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return run(self.command(script, *words), self.environment(**changes))

    def calls(self) -> list[str]:
        """What uv was called with since the last look."""
        try:
            calls = (self.fakes / "calls").read_text().splitlines()
            (self.fakes / "calls").unlink()
        except FileNotFoundError:
            return []
        return calls

    @property
    def stamp(self) -> Path:
        return self.top / ".venv" / "remote-shell-stamp.json"


def run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=15
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def open_checkout() -> Iterator[Checkout]:
    """A checkout where every account may go and write; pytest's own folders are closed to others."""
    with tempfile.TemporaryDirectory(prefix="remote-shell-") as folder:
        checkout = Checkout(Path(folder))
        for path in (checkout.base, checkout.top):
            path.chmod(0o777)
        (checkout.fakes / "uv").unlink()
        yield checkout


def as_user(command: list[str]) -> list[str]:
    """The command as an account that may nothing, by a Python that this account can start."""
    if os.geteuid() != 0:
        return command
    drop = [shutil.which("setpriv") or "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        probe = [*drop, python, "-c", "import sys, subprocess; subprocess.check_call([sys.executable, '-c', ''])"]
        if subprocess.run(probe, capture_output=True, timeout=10).returncode == 0:
            return [*drop, python, *command[1:]]
    pytest.fail("no Python here that an unprivileged account can start")


def test_the_first_run_makes_the_venv_and_the_second_does_not(checkout: Checkout) -> None:
    done = checkout.run("_env.py", "run")
    assert (done.returncode, done.stdout) == (0, f"{checkout.top}/.venv/bin/python\n")
    assert done.stderr == "remote_shell: setting up .venv (once, about 20 s)…\n"
    venv, install = checkout.calls()
    assert venv.endswith("a clone/.venv") and "pydantic" in install and "hypothesis" not in install
    [pth] = (checkout.top / ".venv").glob("lib/python*/site-packages/*.pth")
    assert pth.read_text() == f"{checkout.top}\n"

    again = checkout.run("_env.py", "run")
    assert (again.returncode, again.stdout, again.stderr, checkout.calls()) == (0, done.stdout, "", [])


def test_a_second_start_is_quick(checkout: Checkout) -> None:
    checkout.run("_env.py", "run")
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert checkout.run("run.py").returncode == 7
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_a_level_is_added_to_a_whole_venv(checkout: Checkout) -> None:
    checkout.run("_env.py", "run")
    checkout.calls()
    assert checkout.run("_env.py", "dev").returncode == 0
    [install] = checkout.calls()
    assert all(name in install for name in ("pydantic", "pytest", "mypy")) and "remote-shell[" not in install
    assert [checkout.run("_env.py", level).stderr for level in ("run", "test", "dev")] == ["", "", ""]
    assert checkout.calls() == []


def test_a_venv_that_was_not_added_to_whole_is_made_anew(checkout: Checkout) -> None:
    checkout.run("_env.py", "run")
    (checkout.fakes / "fail-pip").touch()
    assert checkout.run("_env.py", "test").returncode == 1
    (checkout.fakes / "fail-pip").unlink()
    checkout.calls()
    assert checkout.run("_env.py", "run").returncode == 0
    assert [call.split()[0] for call in checkout.calls()] == ["venv", "pip"]


def spoil_stamp(checkout: Checkout) -> None:
    checkout.stamp.unlink()


def tear_stamp(checkout: Checkout) -> None:
    checkout.stamp.write_text(checkout.stamp.read_text()[:-5])


def break_python(checkout: Checkout) -> None:
    (checkout.top / ".venv" / "bin" / "python").unlink()
    (checkout.top / ".venv" / "bin" / "python").symlink_to("/nonexistent/python3")


def want_more(checkout: Checkout) -> None:
    project = checkout.top / "pyproject.toml"
    project.write_text(project.read_text().replace('"rich>=13"', '"rich>=14"'))


def be_a_link(checkout: Checkout) -> None:
    (checkout.top / ".venv").rename(checkout.base / "elsewhere")
    (checkout.top / ".venv").symlink_to(checkout.base / "elsewhere")
    checkout.stamp.unlink()


def move(checkout: Checkout) -> None:
    checkout.top = checkout.top.rename(checkout.base / "moved here")


@pytest.mark.parametrize("change", [spoil_stamp, tear_stamp, break_python, want_more, be_a_link, move])
def test_a_venv_that_does_not_fit_is_made_anew(checkout: Checkout, change: object) -> None:
    assert callable(change)
    checkout.run("_env.py", "test")
    (checkout.top / ".venv" / "left over").touch()
    checkout.calls()
    change(checkout)
    done = checkout.run("_env.py", "test")
    assert (done.returncode, done.stdout) == (0, f"{checkout.top}/.venv/bin/python\n")
    assert len(checkout.calls()) == 2 and not (checkout.top / ".venv" / "left over").exists()
    assert checkout.run("_env.py", "test").stderr == ""


def test_settings_of_the_tools_do_not_matter(checkout: Checkout) -> None:
    checkout.run("_env.py", "run")
    checkout.calls()
    project = checkout.top / "pyproject.toml"
    project.write_text(project.read_text().replace("line-length = 120", "line-length = 100"))
    assert checkout.run("_env.py", "run").stderr == "" and checkout.calls() == []


@pytest.mark.parametrize("step", ["venv", "pip"])
def test_a_failing_step_says_why_and_what_to_do_and_poisons_nothing(checkout: Checkout, step: str) -> None:
    (checkout.fakes / f"fail-{step}").touch()
    done = checkout.run("run.py")
    _, reason, cure = done.stderr.splitlines()
    assert (
        done.returncode == 1
        and reason == "    no route to the index"
        and cure.startswith("remote_shell: `uv` failed (2): ")
    )
    (checkout.fakes / f"fail-{step}").unlink()
    assert checkout.run("run.py").returncode == 7


def test_two_at_once_make_it_once(checkout: Checkout) -> None:
    (checkout.fakes / "wait").touch()
    pair = [
        subprocess.Popen(
            checkout.command("_env.py", "run"),
            env=checkout.environment(),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    waiting = "waiting for another set-up"
    texts = [b"", b""]
    for index, process in enumerate(pair):
        assert process.stderr is not None
        texts[index] = process.stderr.readline()  # each has said which of the two it is
    (checkout.fakes / "wait").unlink()
    for process in pair:
        assert process.communicate(timeout=10)[0] == f"{checkout.top}/.venv/bin/python\n".encode()
    assert sorted(waiting in text.decode() for text in texts) == [False, True]
    assert [process.returncode for process in pair] == [0, 0] and len(checkout.calls()) == 2


def test_ci_installs_pinned_versions_by_their_hashes(checkout: Checkout) -> None:
    checkout.run("_env.py", "dev")
    checkout.calls()
    assert checkout.run("_env.py", "run", CI="true").returncode == 0
    _, install = checkout.calls()
    assert install.endswith(f"--require-hashes -r {checkout.top}/requirements/ci.txt")
    assert checkout.run("_env.py", "dev", CI="true").stderr == checkout.run("_env.py", "dev").stderr == ""
    with (checkout.top / "requirements" / "ci.txt").open("a") as pins:
        pins.write("# changed\n")
    assert checkout.run("_env.py", "dev", CI="true").returncode == 0
    assert len(checkout.calls()) == 2


def test_every_requirement_is_pinned_with_hashes_and_no_address() -> None:
    text = (ROOT / "requirements" / "ci.txt").read_text().lower().replace("_", "-")
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import _env
    finally:
        del sys.path[0]
    for requirement in _env.requirements("dev"):
        name = requirement.partition(">")[0].partition("[")[0].lower().replace("_", "-")
        assert f"\n{name}==" in text, name
    assert "://" not in text and "--index" not in text
    for block in text.split("\n\n")[-1].replace("\\\n", " ").splitlines():
        assert block.startswith("#") or "--hash=sha256:" in block


@pytest.mark.parametrize(
    ("script", "words", "expected"),
    [
        ("run.py", [], ["-P", "-m", "remote_shell", "try"]),
        ("run.py", ["--", "uname", "-a b"], ["-P", "-m", "remote_shell", "try", "--", "uname", "-a b"]),
        ("test.py", [], ["-m", "pytest", "-m", "not slow and not screen"]),
        ("test.py", ["-k", "one or two"], ["-m", "pytest", "-m", "not slow and not screen", "-k", "one or two"]),
    ],
)
def test_the_program_takes_over(checkout: Checkout, script: str, words: list[str], expected: list[str]) -> None:
    done = checkout.run(script, *words)
    where = checkout.top if script == "test.py" else Path("/")  # commands start where the user is, pytest at the top
    assert done.returncode == 7
    assert done.stdout.splitlines() == [str(where), *(f"[{word}]" for word in expected)]


def test_what_tests_start_is_compiled_once_whatever_the_environment_says(checkout: Checkout) -> None:
    checkout.run("test.py")
    (checkout.top / ".venv" / "bin" / "python").write_text("#!/bin/sh\necho ${PYTHONDONTWRITEBYTECODE-unset}\n")
    assert checkout.run("test.py", PYTHONDONTWRITEBYTECODE="1").stdout == "unset\n"


START = "import sys; from remote_shell.cli.main import main; sys.exit(main())"


def test_the_console_script_starts_the_checkout(checkout: Checkout) -> None:
    checkout.run("_env.py", "run")
    done = run([str(checkout.top / ".venv" / "bin" / "remote-shell"), "keys", "two words"], checkout.environment())
    assert done.stdout.splitlines()[1:] == ["[-P]", "[-c]", f"[{START}]", "[keys]", "[two words]"]
    done = run([str(checkout.top / ".venv" / "bin" / "remote-shell-ssh"), "-p", "two words"], checkout.environment())
    assert done.stdout.splitlines()[1:] == ["[-P]", "[-c]", f"[{START}]", "[ssh]", "[-p]", "[two words]"]


def test_an_older_python_is_told_so(checkout: Checkout) -> None:
    for script in SCRIPTS:
        ast.parse((checkout.top / "scripts" / script).read_text(), feature_version=(3, 8))
    older = "import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path(sys.argv[1], run_name='__main__')"
    done = run([sys.executable, "-c", older, str(checkout.top / "scripts" / "run.py")], checkout.environment())
    assert done.returncode == 1
    assert done.stderr.startswith("remote_shell: needs Python 3.11 or newer") and done.stderr.count("\n") == 1


def test_a_user_without_venv_and_pip_gets_the_line_to_type(open_checkout: Checkout) -> None:
    command = as_user([sys.executable, "-c", WITHOUT_PIP, str(open_checkout.top / "scripts" / "run.py")])
    done = run(command, open_checkout.environment())
    assert done.returncode == 1
    assert done.stderr == (
        "remote_shell: this Python can't make a virtual environment; type: sudo apt-get install -y python3-venv\n"
    )
    assert not (open_checkout.top / ".venv").exists()


def test_a_folder_of_somebody_else_is_named(open_checkout: Checkout) -> None:
    open_checkout.top.chmod(0o555)
    command = as_user(open_checkout.command("run.py"))
    done = run(command, open_checkout.environment())
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "Permission denied" in done.stderr and "is the folder yours" in done.stderr


def test_all_names_the_programs_that_a_user_has_to_install(open_checkout: Checkout) -> None:
    command = as_user(open_checkout.command("test.py", "--all"))
    done = run(command, open_checkout.environment(PATH="/nonexistent"))
    assert done.returncode == 1
    assert done.stderr.startswith(
        "remote_shell: --all needs more programs; type: sudo apt-get install -y ansible-core bash "
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs Debian packages; CI is root")
def test_all_installs_what_is_missing_and_runs_everything(checkout: Checkout) -> None:
    for tool in ("dirname", "mkdir", "chmod", "touch"):
        (checkout.fakes / tool).symlink_to(shutil.which(tool) or "")
    # as on a fresh machine: the first install fails for want of lists, `update` brings them
    checkout.fake("apt-get", FAKE_APT.format(fakes=checkout.fakes))
    done = checkout.run("test.py", "--all", "-x", PATH=str(checkout.fakes))
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines()[1:] == ["[-m]", "[pytest]", "[-x]"]
    assert done.stderr.startswith("remote_shell: installing ansible-core bash ")
    assert [line.split()[2] for line in (checkout.fakes / "apt-calls").read_text().splitlines()] == [
        "install",
        "update",
        "install",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs Debian packages; CI is root")
def test_all_stops_with_one_cure_when_apt_fails(checkout: Checkout) -> None:
    checkout.fake("apt-get", "#!/bin/sh\necho 'E: Unable to fetch'\nexit 100\n")
    done = checkout.run("test.py", "--all", PATH=str(checkout.fakes))
    _, reason, cure = done.stderr.splitlines()
    assert done.returncode == 1 and reason == "    E: Unable to fetch"
    assert cure == "remote_shell: `apt-get` failed (100): check the network and /etc/apt, then run this again"


def test_the_stamp_is_written_whole(checkout: Checkout) -> None:
    checkout.run("_env.py", "test")
    assert json.loads(checkout.stamp.read_text())["level"] == "test"
    assert not list(checkout.stamp.parent.glob("*.new"))
