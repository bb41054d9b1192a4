"""Makes the checkout's `.venv` and says where its interpreter is; shared by run.py, test.py and check.

Standard library only, and it has to parse on Pythons that are too old, to tell them so. It never imports the project and never
touches anything but `.venv` and `.venv.lock` (as root it may install Debian packages). As a program:
`python3 scripts/_env.py LEVEL` prints the interpreter. LEVEL is "run", "test" or "dev"; each holds the one before.

The project itself is not installed by pip: a .pth file names the checkout, and `bin/remote-shell` (with `-ssh` too) is written here. That
needs no build backend, no network for it and no dist-info that grows stale, and saves about five seconds.
"""

from __future__ import annotations

import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "remote-shell-stamp.json")  # written last: without it a .venv is half made
PINNED = os.path.join(ROOT, "requirements", "ci.txt")
LEVELS = ("run", "test", "dev")
START = "import sys; from remote_shell.cli.main import main; sys.exit(main())"  # -m takes 2 ms more, for runpy
STEP_TIME = 1200.0  # seconds that one step of pip, uv or apt may take
# the one below a virtual environment: it outlives our .venv, should that have started us
BASE_PYTHON = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
VENV_LINE = "sudo apt-get install -y python3-venv"  # Debian, Ubuntu; elsewhere venv comes with Python


def fail(message: str) -> SystemExit:
    """The exception that ends a script with one line (status 1)."""
    return SystemExit(f"remote_shell: {message}")


def ensure(level: str) -> str:
    """Makes or widens `.venv` if needed; returns the path of its interpreter. Raises SystemExit with what to type next."""
    if sys.version_info < (3, 11):  # noqa: UP036 - whoever clones this may have an older one
        have = ".".join(map(str, sys.version_info[:2]))
        raise fail(f"needs Python 3.11 or newer, and {sys.executable} is {have}; start the script with a newer one")
    if not ready(level):
        try:
            _make_alone(level)
        except KeyboardInterrupt:
            raise SystemExit(130) from None
        except OSError as error:
            raise fail(f"can't set up {VENV}: {error}; is the folder yours, and is there room?") from None
    return PYTHON


def ready(level: str) -> bool:
    """Whether `.venv` is whole, belongs to this place and these requirements, and holds `level`."""
    stamp = _read_stamp()
    if stamp.get("key") != key() or not os.access(PYTHON, os.X_OK):
        return False
    if in_ci():
        return stamp.get("pinned") == pinned_hash()
    return level in LEVELS[: LEVELS.index(stamp["level"]) + 1]


def in_ci() -> bool:
    return os.environ.get("CI") == "true"


def key() -> str:
    """What a `.venv` is made for: the requirements (not all of pyproject.toml: lint settings don't matter), Python, the place."""
    import hashlib

    made_for = [2, [requirements(level) for level in LEVELS], sys.implementation.cache_tag, ROOT]
    return hashlib.sha256(repr(made_for).encode("utf-8", "surrogateescape")).hexdigest()


def pinned_hash() -> str:
    import hashlib

    with open(PINNED, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def requirements(level: str) -> list[str]:
    """The requirements of a level, from pyproject.toml."""
    import tomllib

    with open(os.path.join(ROOT, "pyproject.toml"), "rb") as file:
        project = tomllib.load(file)["project"]
    wanted: list[str] = list(project["dependencies"])
    for extra in LEVELS[1 : LEVELS.index(level) + 1]:
        wanted += [
            item for item in project["optional-dependencies"][extra] if not item.startswith(project["name"] + "[")
        ]
    return wanted


def apt_install(packages: list[str]) -> None:
    """Installs Debian packages, as root. The package lists are fetched only if it can't be done without."""
    install = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", *packages]
    if _run(install, "", check=False) != 0:
        _run(
            ["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"],
            "check the network and /etc/apt, then run this again",
        )
        _run(install, f"try `apt-get install {' '.join(packages)}` by hand, then run this again")


def finish(level: str) -> None:
    """Puts the project into `.venv` and writes the stamp, whole or not at all."""
    import json
    import shlex

    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    with open(os.path.join(VENV, "lib", version, "site-packages", "remote_shell_checkout.pth"), "wb") as file:
        file.write(os.fsencode(ROOT) + b"\n")
    for name, words in (("remote-shell", ""), ("remote-shell-ssh", "ssh ")):
        script = os.path.join(VENV, "bin", name)
        with open(script, "w", encoding="utf-8", errors="surrogateescape") as file:
            # sh, since a #! line can't hold a path with a space; -P keeps the current folder out of the import path
            file.write(f'#!/bin/sh\nexec {shlex.quote(PYTHON)} -P -c {shlex.quote(START)} {words}"$@"\n')
        os.chmod(script, 0o755)  # noqa: S103 - a program is for everybody
    stamp = {"key": key(), "level": "dev" if in_ci() else level, "pinned": pinned_hash() if in_ci() else ""}
    with open(STAMP + ".new", "w", encoding="utf-8") as file:
        json.dump(stamp, file)
    os.replace(STAMP + ".new", STAMP)


def _read_stamp() -> dict[str, str]:
    import json

    try:
        with open(STAMP, encoding="utf-8") as file:
            stamp = json.load(file)
        return stamp if isinstance(stamp, dict) and stamp.get("level") in LEVELS else {}
    except (OSError, ValueError):
        return {}


def _make_alone(level: str) -> None:
    """Makes `.venv` under a lock: of two scripts started at once the second finds it made."""
    import fcntl

    with open(VENV + ".lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("remote_shell: waiting for another set-up of .venv…", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready(level):
            _make(level)


def _make(level: str) -> None:
    import shutil

    uv = shutil.which("uv")
    # A whole .venv that only lacks a level is added to, since a program may be running from it; others are made anew.
    whole = not in_ci() and _read_stamp().get("key") == key() and os.access(PYTHON, os.X_OK)
    create = [] if whole and _installer(uv) else _create_command(uv)
    print("remote_shell: setting up .venv (once, about 20 s)…", file=sys.stderr, flush=True)
    if not create:
        os.remove(STAMP)
    else:
        _remove()
        _run(create, f"is {BASE_PYTHON} whole? If its venv module is missing, type: {VENV_LINE}")
    installer = _installer(uv)
    if installer is None:
        raise fail(f"there is no pip for {PYTHON}; type: {VENV_LINE}")
    what = ["--require-hashes", "-r", PINNED] if in_ci() else requirements(level)
    _run([*installer, *what], "check the network and the package index settings of pip or uv, then run this again")
    finish(level)


def _remove() -> None:
    import shutil

    if os.path.islink(VENV):
        os.remove(VENV)
    elif os.path.exists(VENV):
        shutil.rmtree(VENV)


def _create_command(uv: str | None) -> list[str]:
    """The command that makes an empty `.venv`, by the first way that is open; as root the last way is to open one."""
    from importlib.util import find_spec

    if uv is not None:
        return [uv, "venv", "--quiet", "--python", BASE_PYTHON, VENV]
    venv = [BASE_PYTHON, "-m", "venv"]
    if find_spec("venv") is not None and find_spec("ensurepip") is not None:
        return [*venv, VENV]
    if find_spec("venv") is not None and find_spec("pip") is not None:  # Debian with python3-pip alone
        return [*venv, "--without-pip", VENV]
    if os.geteuid() != 0 or not BASE_PYTHON.startswith("/usr/bin/"):
        raise fail(f"this Python can't make a virtual environment; type: {VENV_LINE}")
    print("remote_shell: installing python3-venv…", file=sys.stderr, flush=True)
    apt_install(["python3-venv"])
    return [*venv, VENV]


def _installer(uv: str | None) -> list[str] | None:
    """The words that install packages into `.venv`, or None if nothing here can."""
    from importlib.util import find_spec

    quiet = ["--quiet", "--no-input", "--disable-pip-version-check"]
    if uv is not None:
        return [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", PYTHON]
    if os.path.exists(os.path.join(VENV, "bin", "pip")):
        return [PYTHON, "-m", "pip", "install", *quiet]
    if find_spec("pip") is not None:
        return [BASE_PYTHON, "-m", "pip", "--python", PYTHON, "install", *quiet]
    return None


def _run(command: list[str], cure: str, *, check: bool = True) -> int:
    """Runs a step in silence; if it fails, shows its last lines and the cure."""
    import subprocess

    # PIP_USER: a `user = true` in pip's settings would refuse a venv
    settings = {"PIP_USER": "0", "DEBIAN_FRONTEND": "noninteractive", "UV_NO_PROGRESS": "1"}
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")
    } | settings
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=STEP_TIME,
            text=True,
            errors="replace",
        )
        status, output = done.returncode, done.stdout
    except FileNotFoundError:
        status, output = 127, f"{command[0]}: not found"
    except subprocess.TimeoutExpired:
        status, output = 124, f"no end after {STEP_TIME:.0f} s"
    if status != 0 and check:
        last = [line for line in output.splitlines() if line.strip()][-5:]
        print("\n".join(f"    {line}" for line in last), file=sys.stderr)
        program = command[2] if command[1] == "-m" else os.path.basename(command[0])
        raise fail(f"`{program}` failed ({status}): {cure}")
    return status


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in LEVELS:
        raise fail(f"usage: python3 scripts/_env.py {{{'|'.join(LEVELS)}}}")
    print(ensure(sys.argv[1]))
