"""The server: listeners, the accept loop, and the order in which everything ends.

We accept ourselves and admit before TLS: asyncio's own server allots 256 KiB to each TLS connection before the peer said a word. A
full descriptor table pauses accepting, it does not end it. Neighbours: `listening` makes the sockets, `strangers` has the places,
`arrival` the logins, `sessions` the rest; `serving` is a server's life as a process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import os
import resource
import select
import signal
import socket
from collections.abc import Mapping
from typing import Any

from remote_shell import __version__
from remote_shell.audit.events import KeyChange, ServerEnd, ServerStart
from remote_shell.config.paths import default_socket, shown
from remote_shell.config.server import ServerConfig
from remote_shell.config.socket_lock import hold
from remote_shell.config.targets import Target
from remote_shell.errors import ConfigError
from remote_shell.identity.forwarding import Forwarding
from remote_shell.identity.server_identity import ServerIdentity
from remote_shell.identity.sources import UNIX
from remote_shell.limits import Limits
from remote_shell.process.children import OrphanReaper
from remote_shell.process.prepare import prepare_process
from remote_shell.process.tree import ProcessTree, TreeKiller, under_way
from remote_shell.server.arrival import Arrival
from remote_shell.server.audit import KeyWatch
from remote_shell.server.auth import Authenticator
from remote_shell.server.context import Context
from remote_shell.server.listening import listen_on
from remote_shell.server.revocation import Revocation
from remote_shell.server.sessions import Sessions
from remote_shell.server.strangers import Strangers, source_of

log = logging.getLogger("remote_shell.server")

ACCEPTS_A_TURN = 16  # so that a flood of connections never keeps the sessions waiting
GIVEN_TOLD = 1.0  # seconds between two lines of the log about strangers that gave their places
TRIMMED = 0.3  # seconds between two times that their memory is given back
PAUSE = 0.5  # seconds without accepting when descriptors ran out
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Server:
    """A server on a running loop. `start`, and later `drain` or `close`."""

    def __init__(self, config: ServerConfig, identity: ServerIdentity | None = None) -> None:
        self.config = config
        self._identity = identity
        self._listeners: list[tuple[socket.socket, Target]] = []
        self._tls: Any = None
        self._key_hash = b""
        self._strangers = Strangers(_affordable(config.effective_limits))
        self._arrivals: set[Arrival] = set()
        self._context: Context | None = None
        self._sessions: Sessions | None = None
        self._reaper: OrphanReaper | None = None
        self._key_watch: KeyWatch | None = None
        self._authenticator: Authenticator | None = None
        self._revocation: Revocation | None = None
        self.visits = 0  # connections so far
        self._given = 0  # strangers that gave their places, not told yet
        self._last_given = ""
        self._trims = False  # that memory is about to be given back

    @property
    def fingerprint(self) -> str | None:
        """The identity that TLS clients pin, "SHA256:…"; None where nothing listens on TLS."""
        return None if self._identity is None else self._identity.fingerprint

    @property
    def addresses(self) -> list[str]:
        """Where it listens, with the ports that "any" became."""
        return [str(target) for _, target in self._listeners]

    @property
    def sessions(self) -> Sessions:
        """The sessions. Only after `start`."""
        assert self._sessions is not None, "not started"
        return self._sessions

    async def start(self) -> None:
        """Listen. Raises ConnectError (port in use, no permission) and ConfigError."""
        loop = asyncio.get_running_loop()
        prepare_process()
        self._context = Context(loop, self.config)
        self._context.audit.open()
        self._context.recordings.open()
        self._context.prove_confinement()  # before anybody may come
        self._reaper = OrphanReaper(loop, self._context.limits.orphan_reap_time)
        self._reaper.start()
        self._sessions = Sessions(self._context)
        self._revocation = Revocation(self._context, self._sessions)
        self.reload(self.config)
        targets = self.config.listen or (
            Target("unix", path=default_socket()),
            Target("tls", host="127.0.0.1", port=8822),
        )
        if any(target.kind == "tls" for target in targets):
            if self._identity is None:
                self._identity = ServerIdentity.load()
            self._tls = self._identity.server_context()
            self._key_hash = self._identity.key_hash
        try:
            for target in targets:
                self._listeners.append(listen_on(target))
        except BaseException:
            self._stop_listening()
            raise
        self._begin_audit()
        for sock, target in self._listeners:
            loop.add_reader(sock.fileno(), self._accept, sock, target)
        self._revocation.start()

    def _begin_audit(self) -> None:
        """The server's own first line, before anybody can be accepted."""
        context = self._context
        assert context is not None and self._authenticator is not None, "starting"
        if not context.audit.on:
            return

        def look() -> Mapping[str, tuple[str, object]]:
            assert self._authenticator is not None, "started"
            return self._authenticator.listed()

        def tell(
            added: tuple[str, ...], removed: tuple[str, ...], comments: tuple[str, ...], changed: tuple[str, ...]
        ) -> None:
            assert self._authenticator is not None, "started"
            file, problem = self._authenticator.keys_file
            context.audit.write(KeyChange(file, added, removed, comments, problem or None, changed))

        watch = self._key_watch = KeyWatch(context.loop, context.limits.audit_keys_time, look, tell)
        account, listen = context.account.pw_name, tuple(self.addresses)
        context.audit.write(ServerStart(os.getpid(), __version__, account, listen, watch.known))

    def reload(self, config: ServerConfig) -> None:
        """Who may log in and what they may forward, read anew. Listeners and limits stay until the next start."""
        assert self._context is not None, "not started"
        account = self._context.account.pw_name
        self._authenticator = Authenticator(config.authorized_keys, config.secret_file, account, self._context.limits)
        restrictions = self._context.restrictions_of = self._authenticator.restrictions

        def forwarding(principal: str) -> Forwarding | None:
            said = restrictions(principal)
            return None if said is None else said.forwarding

        self._context.forwards.go_by(config.allow_tcp_forwarding, config.gateway_ports, forwarding)

    async def drain(self) -> None:
        """TERM: take no one new, let running commands end for `drain_time`, then end them."""
        assert self._context is not None and self._sessions is not None, "not started"
        self._context.draining = True
        self._stop_listening()
        limits = self._context.limits
        deadline = self._context.loop.time() + limits.drain_time
        while (self._let_idle_go() or self._killing()) and self._context.loop.time() < deadline:  # noqa: ASYNC110  # rare, bounded, simple
            await asyncio.sleep(0.02)
        self._hasten(0)
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """End everything: trees are killed within `grace` seconds (default `kill_grace`), sessions are told.

        Also those whose sessions are gone: a goodbye is soon followed by a server's end, and a ladder ends with its server.
        """
        assert self._context is not None and self._sessions is not None, "not started"
        self._context.draining = True
        self._stop_listening()
        limits, loop = self._context.limits, self._context.loop
        grace = limits.kill_grace if grace is None else grace
        sessions = self._sessions.all()
        for session in sessions:
            session.kill_commands(grace)
        for held in self._context.terminals.all_left():
            held.kill(grace)
        self._hasten(grace)
        deadline = loop.time() + grace + limits.end_time
        while (any(session.running for session in sessions) or self._killing()) and loop.time() < deadline:
            self._let_idle_go()
            await asyncio.sleep(0.02)
        for session in sessions:
            session.let_go("shutting_down")
            session.end(0, reason="shutting_down")
        await self._killed()
        self._context.scribe.close()
        self._context.guests.close()
        if self._revocation is not None:
            self._revocation.stop()
        if self._key_watch is not None:
            self._key_watch.stop()
            self._context.audit.write(ServerEnd(os.getpid()))
        self._context.audit.close()
        if self._reaper is not None:
            self._reaper.stop()

    async def end_daemons(self) -> None:
        """After `close`: end what commands left behind at their normal end, as far as it carries their ids."""
        assert self._context is not None, "not started"
        limits, loop = self._context.limits, self._context.loop
        tree = ProcessTree.left_behind(self._context.token_prefix)
        killer = TreeKiller(loop, tree, lambda: None, limits)
        grace = limits.bye_kill_time / 2
        killer.start(signal.SIGTERM, grace)
        killer.leader_ended()  # there is none: look often, since mostly nothing was left
        await self._killed(grace)

    def _killing(self) -> bool:
        assert self._context is not None, "not started"
        return bool(under_way(self._context.loop))

    def _hasten(self, grace: float) -> None:
        assert self._context is not None, "not started"
        for killer in under_way(self._context.loop):
            killer.hasten(grace)

    async def _killed(self, grace: float = 0.0) -> None:
        """Wait until every tree that is being killed is gone, or can't be killed."""
        assert self._context is not None, "not started"
        self._hasten(grace)
        deadline = self._context.loop.time() + grace + self._context.limits.end_time
        while self._killing():
            if self._context.loop.time() >= deadline:
                log.warning("processes that were killed are still there: they hang, or are another account's")
                return
            await asyncio.sleep(0.002)

    def _let_idle_go(self) -> bool:
        """End the sessions that have nothing left to do or to say. True while some have."""
        busy = False
        for session in self.sessions.all():
            if session.busy:
                busy = True
            else:
                session.let_go("shutting_down")
                session.end(0, reason="shutting_down")
        assert self._context is not None, "started"
        for held in self._context.terminals.all_left():
            if held.idle:
                held.kill(0)
            else:
                busy = True
        return busy

    # --- leaving by itself

    @property
    def busy(self) -> bool:
        """Somebody is here, or may come back to what is kept for them."""
        assert self._context is not None, "not started"
        return bool(self._arrivals or len(self.sessions) or self._context.terminals.all_left() or self._killing())

    def leave_unasked(self) -> bool:
        """Listen no more, unless somebody is at the door or about to be. False: ask again later.

        The lock is that of those who connect by `pipe`: a connection that they have made is in the backlog when we have it.
        """
        locks: list[int] = []
        try:
            for sock, target in self._listeners:
                if target.kind == "unix":
                    lock = hold(target.path, 0.0)
                    if lock is None:
                        return False
                    locks.append(lock)
                door = select.poll()  # select(2) takes no descriptor above 1023
                door.register(sock, select.POLLIN)
                if door.poll(0):
                    return False
            self._stop_listening()
            return True
        except ConfigError as error:
            log.error("idle, and goes on: %s", error)
            return False
        finally:
            for lock in locks:
                os.close(lock)

    # --- listening

    def _stop_listening(self) -> None:
        loop = None if self._context is None else self._context.loop
        listeners, self._listeners = self._listeners, []
        for sock, target in listeners:
            if loop is not None:
                loop.remove_reader(sock.fileno())
            if target.kind == "unix":
                # Before the close: a successor must not find it dead and put its own there, only to lose it to us.
                try:
                    os.unlink(target.path)
                except OSError:
                    log.info("%s: already gone", shown(target.path))
            sock.close()
        for arrival in list(self._arrivals):
            arrival.leave()

    def _accept(self, listener: socket.socket, target: Target) -> None:
        assert self._context is not None, "not started"
        for _ in range(ACCEPTS_A_TURN):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    log.warning("accept on %s: %s", target, error)
                    return
                log.error("accept on %s: %s; next try in %.1f s", target, error.strerror, PAUSE)
                self._context.loop.remove_reader(listener.fileno())
                self._context.loop.call_later(PAUSE, self._accept_again, listener, target)
                return
            self._admit(sock, address, target)

    def _accept_again(self, listener: socket.socket, target: Target) -> None:
        assert self._context is not None, "not started"
        if listener.fileno() >= 0:
            self._context.loop.add_reader(listener.fileno(), self._accept, listener, target)

    def _admit(self, sock: socket.socket, address: object, target: Target) -> None:
        assert self._context is not None and self._sessions is not None and self._authenticator is not None
        self.visits += 1
        source, place = source_of(address), 0
        peer, where = f"{target.kind} {source}", UNIX
        if isinstance(address, tuple):
            peer, where = f"{target.kind} {address[0]}:{address[1]}", str(address[0])

        def left(known: bool) -> None:
            # place 0 is nobody's: a newcomer that is evicted at once has given its place back already
            self._arrivals.discard(arrival)
            if known:
                self._strangers.welcome(source, place)
            else:
                self._strangers.leave(source, place)

        def evict() -> None:
            self._gave_way(peer)
            arrival.leave()

        arrival = Arrival(
            sock,
            peer,
            where,
            context=self._context,
            tls=self._tls if target.kind == "tls" else None,
            key_hash=self._key_hash,
            authenticator=self._authenticator,
            sessions=self._sessions,
            on_leave=left,
        )
        self._arrivals.add(arrival)
        place = self._strangers.admit(source, evict, self._context.loop.time())

    def _gave_way(self, peer: str) -> None:
        """One line a second for all: a flood must not fill the disk."""
        assert self._context is not None, "not started"
        if not self._given:
            self._context.loop.call_later(GIVEN_TOLD, self._tell_given)
        if not self._trims:
            self._trims = True
            self._context.loop.call_later(TRIMMED, self._trim)
        self._given += 1
        self._last_given = peer

    def _tell_given(self) -> None:
        given, self._given = self._given, 0
        log.info("%d before login gave their places to newcomers, the last of them %s", given, self._last_given)

    def _trim(self) -> None:
        self._trims = False
        give_back_memory()


def give_back_memory() -> None:
    """What a flood's TLS objects took lies between what is in use, and glibc would keep it: malloc_trim(3), some milliseconds."""
    import ctypes  # which servers that see no flood can do without

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # musl has none
        trim(0)


def _affordable(limits: Limits) -> Limits:
    """Strangers may take a quarter of our descriptors: those who are known need some for their commands."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or limits.strangers_max <= most // 4:
        return limits
    log.info("%d descriptors: at most %d connections before login (ulimit -n)", most, max(1, most // 4))
    return dataclasses.replace(limits, strangers_max=max(1, most // 4))
