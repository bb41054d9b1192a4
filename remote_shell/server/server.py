"""The server: listeners, the accept loop, and the order in which everything ends.

We accept ourselves and admit before TLS: asyncio's own server allots 256 KiB to each TLS connection before the peer said a word. A
full descriptor table pauses accepting, it does not end it. Neighbours: `strangers` has the places, `arrival` the logins,
`sessions` the rest.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import os
import pwd
import resource
import select
import signal
import socket
import stat
from collections.abc import Callable, Mapping
from typing import Any

from remote_shell import __version__
from remote_shell.audit.events import KeyChange, ServerEnd, ServerStart
from remote_shell.config.paths import default_socket, quoted, runtime_dir, shown
from remote_shell.config.running import Running, Sign, put_up
from remote_shell.config.server import ServerConfig
from remote_shell.config.socket_lock import hold
from remote_shell.config.targets import Target
from remote_shell.errors import ConfigError, ConnectError
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
from remote_shell.server.idling import Idling
from remote_shell.server.revocation import Revocation
from remote_shell.server.service_manager import Manager
from remote_shell.server.sessions import Sessions
from remote_shell.server.strangers import Strangers, source_of

log = logging.getLogger("remote_shell.server")

BACKLOG = 1024
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
                self._listen(target)
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

    def _listen(self, target: Target) -> None:
        try:
            if target.kind == "unix":
                self._listeners.append((_unix_listener(target.path), target))
                return
            family, address = _resolve(target)
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(address)
                sock.listen(BACKLOG)
            except BaseException:
                sock.close()
                raise
            port = sock.getsockname()[1]
            self._listeners.append((sock, Target(target.kind, host=target.host, port=port)))
        except OSError as error:
            raise ConnectError(_bind_text(target, error)) from None

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


async def serve(
    config: ServerConfig,
    *,
    ready: Callable[[Mapping[str, object]], None] = lambda facts: None,
    reload: Callable[[], ServerConfig] | None = None,
    private: bool = False,
) -> None:
    """Serve until TERM or INT, which drain, or until it idled for `config.idle_exit`; a second one ends at once. HUP calls `reload`.

    `ready` is told once every listener accepts. `private`: the server is one person's, and nothing is to be left when they are
    gone: the first signal ends everything within `bye_kill_time`, and daemons too. Raises what `Server.start` raises.
    """
    loop = asyncio.get_running_loop()
    server = Server(config)
    asked_to_end: asyncio.Queue[None] = asyncio.Queue()

    sign: Sign | None = None

    def read_again() -> None:
        nonlocal sign
        if reload is not None:
            try:
                settings = reload()
                server.reload(settings)
                log.info("settings read again")
                if sign is not None:
                    sign.take_down()
                    sign = _put_up_sign(server, settings.authorized_keys)
            except ConfigError as error:
                log.error("settings stay as they were: %s", error)

    await server.start()
    # after start: prepare_process has set the dispositions that commands inherit
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_end.put_nowait, None)
    loop.add_signal_handler(signal.SIGHUP, read_again)

    def leave() -> bool:
        left = server.leave_unasked()
        if left:
            log.info("nobody was here for %g s", config.idle_exit)
            asked_to_end.put_nowait(None)
        return left

    if config.idle_exit is not None:
        Idling(loop, config.idle_exit, busy=lambda: server.busy, visits=lambda: server.visits, leave=leave)
    manager = Manager()
    sign = None if private else _put_up_sign(server, config.authorized_keys)
    ready(
        {"event": "ready", "pid": os.getpid(), "listen": server.addresses, "fingerprint": server.fingerprint},
    )
    manager.tell("READY=1")
    await asked_to_end.get()
    manager.tell("STOPPING=1")
    log.info("draining")
    draining = asyncio.create_task(_end_private(server) if private else server.drain())
    second = asyncio.create_task(asked_to_end.get())
    await asyncio.wait((draining, second), return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        draining.cancel()
        await server.close(0.0)
        if private:
            await server.end_daemons()
    second.cancel()
    if sign is not None:
        sign.take_down()
    await asyncio.gather(draining, second, return_exceptions=True)
    log.info("ended")


def _put_up_sign(server: Server, listed: str) -> Sign | None:
    """For `keys`, which looks where we listen and which list counts; a server can do without."""
    try:
        return put_up(Running(os.getpid(), tuple(server.addresses), server.fingerprint or "", listed))
    except (OSError, ConfigError) as error:
        log.warning("`remote-shell keys` will not know that this server runs: %s", error)
        return None


async def _end_private(server: Server) -> None:
    await server.close(server.config.effective_limits.bye_kill_time / 2)
    await server.end_daemons()


def _affordable(limits: Limits) -> Limits:
    """Strangers may take a quarter of our descriptors: those who are known need some for their commands."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY or limits.strangers_max <= most // 4:
        return limits
    log.info("%d descriptors: at most %d connections before login (ulimit -n)", most, max(1, most // 4))
    return dataclasses.replace(limits, strangers_max=max(1, most // 4))


def _resolve(target: Target) -> tuple[socket.AddressFamily, Any]:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return found[0][0], found[0][4]


def _unix_listener(path: str) -> socket.socket:
    folder = os.path.dirname(os.path.abspath(path))
    info = os.stat(folder)
    if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(f"unix:{shown(path)}: its folder must be yours alone: {_private_folder(folder, info, path)}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(path)
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _private_folder(folder: str, info: os.stat_result, path: str) -> str:
    """What to do about a socket's folder that others reach. What others rely on is not to be closed: /tmp, /, a /home."""
    own = info.st_uid == os.geteuid() and not info.st_mode & stat.S_ISVTX
    if own and not _is_shared(folder):
        return f"chmod 700 {quoted(folder)}, or choose another"
    try:
        better = os.path.join(runtime_dir(), os.path.basename(path))
    except ConfigError:  # that one has a fault of its own, which is not what was asked for
        return "choose a folder of your own"
    return f"choose a folder of your own, such as {shown(os.path.dirname(better))}: --listen unix:{quoted(better)}"


def _is_shared(folder: str) -> bool:
    """The root, another account's home, or a folder that holds somebody's, however deep."""
    real = os.path.realpath(folder)
    ours = os.geteuid()
    homes = {(os.path.realpath(entry.pw_dir), entry.pw_uid) for entry in pwd.getpwall() if os.path.isabs(entry.pw_dir)}
    return real == "/" or any(
        uid != ours if home == real else os.path.commonpath((real, home)) == real for home, uid in homes
    )


def _remove_stale(path: str) -> None:
    """A socket file that nobody listens on is left over from a server that was killed."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def _bind_text(target: Target, error: OSError) -> str:
    where = str(target)
    if isinstance(error, socket.gaierror):
        return f"{where}: {error.strerror}: not an address of this machine"
    if error.errno == errno.EADDRINUSE:
        if target.kind == "unix" and not stat.S_ISSOCK(os.lstat(target.path).st_mode):
            return f"{where}: a file that is no socket is there; move it away or choose another path"
        return f"{where}: address in use: another server listens there; stop it or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where}: permission denied: ports below 1024 are root's, and a socket's folder must be writable; choose another"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: not an address of this machine; `ip addr` lists them"
    if error.errno == errno.ENOENT:
        return f"{where}: no such folder; make it: mkdir -m 700 {shown(os.path.dirname(target.path))}"
    return f"{where}: {error.strerror or error}"
