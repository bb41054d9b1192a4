"""This machine: versions, the terminal, the locale, the clock."""

from __future__ import annotations

import importlib.metadata
import locale
import os
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator

from remote_shell.cli.doctor.finding import Case, Finding, Table, fault, ok, warning
from remote_shell.config.paths import shown

NEEDED = {"pydantic": (2, 9), "cryptography": (46,), "prompt_toolkit": (3, 0, 52), "rich": (13,)}  # as pyproject.toml
_TIMEDATECTL_TIME = 0.5  # seconds; it asks a service, which may have to start
_AHEAD = 60.0  # seconds that a file may be younger than now: a mounted folder has another machine's clock


def versions(case: Case) -> Iterator[Finding]:
    told = [f"Python {sys.version.split()[0]}"]
    for name, least in NEEDED.items():
        install = f"{sys.executable} -m pip install '{name}>={'.'.join(map(str, least))}'"
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield fault(f"the package {name} is missing", install)
            continue
        if _figures(version) < least:
            yield fault(f"{name} is {version}, which is too old", install)
        told.append(f"{name} {version}")
    told.append(ssl.OPENSSL_VERSION.rsplit(" ", 3)[0])
    if not ssl.HAS_TLSv1_3:
        yield fault(f"{ssl.OPENSSL_VERSION} has no TLS 1.3", "ssh -V")
    yield ok(", ".join(told))


def _figures(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def terminal(case: Case) -> Iterator[Finding]:
    term = os.environ.get("TERM", "")
    if term in ("", "dumb"):
        if sys.stdout.isatty():
            yield warning(f"TERM is {term or 'not set'}: no colours, no line editing", "export TERM=xterm-256color")
        else:
            yield ok("not at a terminal")
        return
    import curses

    try:
        with open(os.devnull, "wb") as nowhere:  # setupterm wants a descriptor, not a terminal
            curses.setupterm(term, nowhere.fileno())
    except curses.error:
        yield warning(f"TERM is {term!a}, which is not known here", "export TERM=xterm-256color")
        return
    yield ok(f"TERM is {term}")


def charset(case: Case) -> Iterator[Finding]:
    named = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "")
    try:
        locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        yield warning(f"the locale {named!a} is not installed here: texts may be shown as ?", "export LC_ALL=C.UTF-8")
        return
    encoding = locale.nl_langinfo(locale.CODESET)
    if encoding.upper().replace("-", "") != "UTF8":
        yield warning(f"the locale {named or 'C'} is {encoding}, not UTF-8", "export LC_ALL=C.UTF-8")
        return
    yield ok(f"{named or 'C'}, UTF-8")


def clock(case: Case) -> Iterator[Finding]:
    now = time.time()
    stamps = []
    for path in (*case.folders.values(), case.hosts_file, case.known_hosts, os.path.dirname(__file__)):
        try:
            stamps.append((os.stat(path).st_mtime, path))
        except OSError:
            continue
    newest, path = max(stamps)
    if newest > now + _AHEAD:
        yield warning(
            f"{shown(path)} was changed {newest - now:.0f} s from now: the clock is slow, or was ahead",
            "timedatectl set-ntp true",
        )
        return
    told = _ntp()
    if told == "no":
        yield warning("not synchronised by NTP, as timedatectl says", "timedatectl set-ntp true")
        return
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    yield ok(f"{at}, {'synchronised by NTP' if told == 'yes' else 'whether NTP keeps it is not known'}")


def _ntp() -> str:
    """ "yes", "no", or "" where nobody knows: a container has its host's clock, and no service to ask."""
    program = shutil.which("timedatectl")
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "show", "-p", "NTPSynchronized", "--value"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEDATECTL_TIME,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    word = done.stdout.decode("ascii", "replace").strip()
    return word if done.returncode == 0 and word in ("yes", "no") else ""


CHECKS: Table = (("versions", versions), ("terminal", terminal), ("locale", charset), ("clock", clock))
