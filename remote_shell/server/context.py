"""What all requests of a server share: its account, its settings, its claims."""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import threading
from collections.abc import Callable
from typing import Protocol

from remote_shell.config.paths import state_dir
from remote_shell.config.server import ServerConfig
from remote_shell.errors import WorkingDirectoryError
from remote_shell.identity.restrictions import Restrictions
from remote_shell.process.confinement import Confinement, Sandbox
from remote_shell.process.environment import allowed_from_client, base_environment, known_terminal
from remote_shell.server.audit import Trail
from remote_shell.server.claims import Claims
from remote_shell.server.forwarding import Forwards
from remote_shell.server.guestbook import Guestbook
from remote_shell.server.jobs import Jobs
from remote_shell.server.places import Places
from remote_shell.server.recording import Recordings
from remote_shell.server.scribe import Scribe
from remote_shell.server.terminals import Terminals
from remote_shell.wire.messages import Open, Pair, from_system
from remote_shell.wire.replay import ReplayPool


class Replaceable(Protocol):
    """A put whose client may be gone; who sends the same again goes on where it was."""

    def give_way(self, principal: str, what: tuple[bytes, ...]) -> threading.Event | None:
        """End, if it is this principal's, is about just this, and has lost its client. Set when it has let go; None: it stays."""


class Context:
    """One life of a server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: ServerConfig) -> None:
        self.loop = loop
        self.config = config
        self.limits = config.effective_limits
        self.account = pwd.getpwuid(os.geteuid())
        self.home = os.fsencode(self.account.pw_dir)
        self.shell = os.fsencode(config.shell or self.account.pw_shell or "/bin/sh")
        self.confinement = _confinement(config, self.account.pw_dir, self.limits.sandbox_tmp_max)
        self.instance = secrets.token_hex(
            8
        )  # told in `hello`; ids that clients made for themselves are forgotten with it
        self.audit = Trail(loop, config.audit, self.limits)
        self.recordings = Recordings(config.recording, self.limits, self.audit, loop.time)
        self.scribe = Scribe(loop, self.limits)
        self.claims = Claims(self.limits, self.scribe, self.instance)
        self.terminals = Terminals(loop, self.limits)
        self.forwards = Forwards()
        self.guests = Guestbook(self.limits)
        self.places = Places(self.limits)
        self.replay_pool = ReplayPool(self.limits.unacked_total_max)
        self.jobs = Jobs(loop, state_dir, self.limits)
        self._base = {**base_environment(self.account, config.path), b"SHELL": self.shell}
        self._offer: list[Pair] | None = None  # the last one, which the next command of a client brings again
        self._offered: dict[bytes, bytes] = {}  # what is taken of it
        self.restrictions_of: Callable[[str], Restrictions | None] = lambda principal: None  # until `reload`
        self.commands: dict[str, int] = {}  # of each principal's sessions: commands and shells that have not ended
        self.draining = False
        self.transfers = 0  # put and get that are under way
        self.puts: set[Replaceable] = set()
        self._started = 0

    def count_command(self, principal: str, by: int) -> None:
        """One has started in a session, or has ended."""
        count = self.commands.get(principal, 0) + by
        if count:
            self.commands[principal] = count
        else:
            del self.commands[principal]

    def has_running(self, principal: str, count: int) -> bool:
        """Whether so many of its commands have not ended: those of its sessions, shells that were left, and jobs."""
        left = len(self.terminals.of(principal, lambda held: held.is_left))
        others = count - self.commands.get(principal, 0) - left
        return others <= 0 or self.jobs.has_running(principal, others)

    def has_all_it_may(self, principal: str) -> bool:
        """Whether as many of its commands run as its key's max-commands= says."""
        said = self.restrictions_of(principal)
        most = None if said is None else said.max_commands
        return most is not None and self.has_running(principal, most)

    def folder_of(self, principal: str) -> bytes:
        """The real path of the folder that the key's cwd= names; empty where it names none."""
        said = self.restrictions_of(principal)
        if said is None or said.cwd is None:
            return b""
        written = said.cwd.encode("utf-8", "surrogateescape")
        return os.path.realpath(os.path.join(self.home, written[2:] if written[:2] == b"~/" else written))

    def next_token(self) -> str:
        """A name for one start of a process, unlike any other of this machine's."""
        self._started += 1
        return f"{self.token_prefix}{self._started}"

    @property
    def token_prefix(self) -> str:
        """How the names of this server's commands begin."""
        return f"{self.instance}-"

    def environment(self, message: Open) -> dict[bytes, bytes]:
        """What the command sees: exactly `env`, or the clean base with what was offered and added. Raises RemoteProtocolError.

        On a terminal TERM is that terminal's, as far as this machine knows it.
        """
        environment = self._environment(message)
        if message.terminal is not None and message.env is None:
            environment[b"TERM"] = known_terminal(message.terminal.term.encode(), self.home)
        return environment

    def _environment(self, message: Open) -> dict[bytes, bytes]:
        if message.env is not None:
            return _pairs(message.env)
        if message.env_offer != self._offer:
            self._offered = allowed_from_client(_pairs(message.env_offer))
            self._offer = message.env_offer
        return {**self._base, **self._offered, **_pairs(message.env_add)}

    def prove_confinement(self) -> None:
        """Raises ConfigError where commands can't be confined as the settings say: then none is to run."""
        self.confinement.prove(self.home, self._base)

    def outside_of_sandbox(self, request: str) -> tuple[str, str] | None:
        """Why a request that the server would serve itself is refused where commands are in a sandbox: it would be a way out of it."""
        sandbox = self.confinement.sandbox
        if sandbox is None:
            return None
        if request in ("put", "get"):
            how = "sftp, scp and rsync with `remote-shell ssh` copy within it"
            return "refused", f"put and get reach beyond the sandbox in which commands run here; {how}"
        if request in ("connect", "listen", "accept") and not sandbox.network:
            return (
                "forwarding_denied",
                "commands run in a sandbox without network here, and tunnels would be a way out of it",
            )
        return None

    def directory(self, message: Open) -> bytes:
        """Where the command starts: HOME, or `cwd`, which counts from there. Raises RemoteProtocolError, WorkingDirectoryError."""
        if message.cwd is None:
            return self.home
        cwd = from_system(message.cwd)
        if not cwd:  # joined to HOME it would be HOME; chdir(2) has ENOENT for it
            raise WorkingDirectoryError("the directory's name is empty; leave it away to start in HOME", "")
        return os.path.join(self.home, cwd)


def _confinement(config: ServerConfig, home: str, tmp_max: int) -> Confinement:
    asked = config.sandbox
    if asked is None:
        return Confinement.of(config.rlimits, None)
    return Confinement.of(config.rlimits, Sandbox(asked.read_only, asked.writable, asked.network, home, tmp_max))


def _pairs(pairs: list[Pair] | None) -> dict[bytes, bytes]:
    return {from_system(name): from_system(value) for name, value in pairs or ()}
