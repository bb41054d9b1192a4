"""What stands before a command: words that set limits and build a sandbox, and then become the command.

prlimit(1) sets the limits and bwrap(1) builds the sandbox, each by an exec, so the program's first instruction is behind both. Setting
them from outside after the start was rejected: what runs in between is unlimited. So was lowering the server's own around each fork: they
are the process's, and another of its threads would meet them.

Must never let a client's variables reach those words' own loader: what LD_PRELOAD names would run before the limits and outside the
sandbox. They are taken out of the environment, and put back by env(1) behind both; a value that may be secret never gets into words.

Neighbours: the server has one `Confinement` for all its commands, `launch` starts what comes out.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from remote_shell.errors import ConfigError
from remote_shell.process import children
from remote_shell.process.environment import DEFAULT_PATH

# name in prlimit(1) and in the settings -> number for getrlimit(2)
RLIMITS = {
    name: getattr(resource, f"RLIMIT_{name.upper()}")
    for name in (
        *("as", "core", "cpu", "data", "fsize", "memlock", "msgqueue", "nice", "nofile", "nproc"),
        *("rss", "rtprio", "sigpending", "stack"),
    )
}
# What glibc itself drops from a program with more rights than its caller (sysdeps/generic/unsecvars.h), and all of LD_.
_OF_THE_LOADER = re.compile(
    rb"LD_.*|GCONV_PATH|GETCONF_DIR|GLIBC_TUNABLES|HOSTALIASES|LOCALDOMAIN|LOCPATH|MALLOC_.*|NIS_PATH|NLSPATH|RESOLV_HOST_CONF"
    rb"|RES_OPTIONS|TMPDIR|TZDIR",
    re.DOTALL,
)
# All that a process may ignore but CHLD, which bwrap waits for, and CONT: it passes on no signal, and who is told of one is its command.
_IGNORED = b"HUP,INT,QUIT,TRAP,ABRT,USR1,USR2,PIPE,ALRM,TERM,STKFLT,TSTP,TTIN,TTOU,URG,XCPU,XFSZ,VTALRM,PROF,WINCH,POLL,PWR,SYS,RTMIN,RTMAX"
_ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")  # where /usr is merged: file-hierarchy(7)
CONSOLE = b"/dev/console"  # where bwrap shows a command its terminal
_TRIAL = 20.0  # seconds for `true`


class Confined(NamedTuple):
    """Words that go before a program, and the environment to start them with."""

    words: tuple[bytes, ...]
    env: Mapping[bytes, bytes]


@dataclass(frozen=True)
class Sandbox:
    """What a command sees of the machine: absolute paths, each at its own place; a /tmp and a HOME that are empty and its own."""

    read_only: tuple[str, ...]
    writable: tuple[str, ...]
    network: bool
    home: str
    tmp_max: int  # bytes of /tmp, and of HOME, and of /dev/shm

    def words(self, bwrap: str) -> list[str]:
        """bwrap's, without the command."""
        made = [bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
        if self.network:
            made.append("--share-net")
        shown = {path: ["--ro-bind", path, path] for path in self.read_only}
        shown |= {path: ["--bind", path, path] for path in self.writable}
        size = str(self.tmp_max)
        own = {
            "/tmp": ["--perms", "1777", "--size", size, "--tmpfs", "/tmp"],
            self.home: ["--perms", "0700", "--size", size, "--tmpfs", self.home],
        }
        for path, words in own.items():
            if path != "/" and not any(_is_within(path, other) for other in shown):
                shown.setdefault(path, words)
        shown["/dev"] = ["--dev", "/dev", "--perms", "1777", "--size", size, "--tmpfs", "/dev/shm"]
        shown["/dev"] += ["--remount-ro", "/dev"]
        # root's, whatever it may else do, could write core_pattern
        shown["/proc"] = ["--proc", "/proc", "--remount-ro", "/proc"]
        for path in sorted(shown, key=lambda path: path.split("/") if path != "/" else []):  # what is above comes first
            made += shown[path]
        for name in _ROOT_LINKS if "/" not in shown else ():
            if f"/{name}" in shown:
                continue
            if os.path.islink(f"/{name}"):
                made += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
            elif os.path.isdir(f"/{name}") and "/usr" in shown:
                made += ["--ro-bind", f"/{name}", f"/{name}"]
        if "/" not in self.writable:
            made += ["--remount-ro", "/"]
        return made


@dataclass(frozen=True)
class Confinement:
    """What a server's commands have before them."""

    rlimits: Mapping[str, int] = field(default_factory=dict)  # name -> figure; resource.RLIM_INFINITY is none
    sandbox: Sandbox | None = None
    _before: tuple[bytes, ...] = ()  # made by `of`

    @classmethod
    def of(cls, rlimits: Mapping[str, int], sandbox: Sandbox | None, path: str = DEFAULT_PATH) -> Confinement:
        """Raises ConfigError where a program for it is missing in `path`."""
        words: list[str] = []
        if rlimits:
            words.append(_find("prlimit", "util-linux", "rlimits", path))
            words += [f"--{name}={'unlimited' if value < 0 else value}" for name, value in sorted(rlimits.items())]
        made = [os.fsencode(word) for word in words]
        if sandbox is not None:
            env = _find("env", "coreutils", "sandbox", path)
            bwrap = _find("bwrap", "bubblewrap", "sandbox", path)
            made += [os.fsencode(env), b"--ignore-signal=" + _IGNORED]
            made += [os.fsencode(word) for word in sandbox.words(bwrap)]
        return cls(rlimits, sandbox, tuple(made))

    def confine(self, cwd: bytes, env: Mapping[bytes, bytes], more: Sequence[bytes] = ()) -> Confined:
        """For a command that is to start in the absolute `cwd` with `env`. `more` are bwrap's words for this one alone."""
        if not self._before:
            return Confined((), env)
        held_back = {name: value for name, value in env.items() if _OF_THE_LOADER.fullmatch(name)}
        clean = {name: value for name, value in env.items() if name not in held_back} if held_back else env
        words = self._before
        if self.sandbox is not None:
            # bwrap sets PWD, and where it can't enter `cwd` it goes elsewhere
            words += (
                *more,
                b"--chdir",
                b"/",
                b"--",
                b"/usr/bin/env",
                b"--default-signal=" + _IGNORED,
                b"--chdir=" + cwd,
            )
            words += (b"PWD=" + env[b"PWD"],) if b"PWD" in env else (b"--unset=PWD",)
        elif held_back:
            words += (b"/usr/bin/env",)
        return Confined((*words, *(b"%b=%b" % pair for pair in held_back.items())), clean)

    def prove(self, home: bytes, env: Mapping[bytes, bytes]) -> None:
        """Start `true` behind all of it. Raises ConfigError, with what to do, if that does not work: nothing is to run without."""
        if not self._before:
            return
        words, env = self.confine(home, env)
        try:
            with children.starting:
                process = subprocess.Popen(
                    [*words, b"/usr/bin/true"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=dict(env),
                    cwd="/",
                )
                children.note(process.pid)
            try:
                _, said = process.communicate(timeout=_TRIAL)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                said = b"no answer"
            finally:
                children.forget(process.pid)
        except OSError as error:
            raise ConfigError(f"{os.fsdecode(words[0])}: {error.strerror}") from None
        if process.returncode != 0:
            line = said.decode("utf-8", "backslashreplace").strip().rpartition("\n")[2]
            raise ConfigError(self._fault(line or f"status {process.returncode}"))

    def _fault(self, said: str) -> str:
        """What to do about what prlimit(1) or bwrap(1) said."""
        for name, value in self.rlimits.items():
            most = resource.getrlimit(RLIMITS[name])[1]
            if said.startswith("prlimit:") and most >= 0 and (value > most or value < 0):
                return (
                    f"[rlimits] {name}: this account may have {most} at most (prlimit --{name}); lower it, or raise the account's: "
                    f"Limit{name.upper()}= in the systemd unit, or limits.conf(5)"
                )
        if self.sandbox is None:
            return f"[rlimits]: no command starts under these limits, some is too low: {said}"
        if (
            "namespace" in said
            or "Operation not permitted" in said
            or "No space left" in said
            or "setting up uid map" in said
        ):
            return (
                f"[sandbox]: this system lets this account make no namespaces: {said}; see `sysctl kernel.unprivileged_userns_clone "
                "user.max_user_namespaces kernel.apparmor_restrict_unprivileged_userns`; a container needs the right to from its host"
            )
        return f"[sandbox]: no command starts in it: {said}; read_only has to hold what programs need, such as /usr"


def _find(program: str, package: str, table: str, path: str) -> str:
    found = shutil.which(program, path=path)
    if found is None:
        raise ConfigError(f"[{table}] needs {program}, which is not installed; type: apt install {package}")
    return found


def _is_within(path: str, other: str) -> bool:
    return path == other or other == "/" or path.startswith(other + "/")
