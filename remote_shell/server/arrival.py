"""An arrival: one connection from accept to login.

The table of what it may say holds one entry at each step (`wire.handshake`); everything else gets the same refusal, byte for
byte, after the same time since accept. No TLS object, 15 KiB, exists while the peer has only begun a hello. Nothing here starts a
command, or keeps state for a stranger beyond its own connection.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from remote_shell import __version__
from remote_shell.audit import events
from remote_shell.errors import ConfigError, RemoteProtocolError, UsageError
from remote_shell.link import Link, PlainLink, TlsLink, awaits_hello
from remote_shell.server.auth import Authenticator, Login, LoginRefusedError
from remote_shell.server.context import Context
from remote_shell.server.enrolment import Candidate, EnrolmentError
from remote_shell.server.sessions import Sessions
from remote_shell.server.strangers import source_of
from remote_shell.wire import frames
from remote_shell.wire.events import Failed, LoginAsked
from remote_shell.wire.handshake import NONCE_SIZE, ServerHandshake
from remote_shell.wire.messages import FEATURES, Disconnect, Enrolled, Hello, Welcome

log = logging.getLogger("remote_shell.server")

_UCRED = struct.Struct("3i")
_ENVIRONMENT_READ = 64 * 1024  # bytes of it that are looked at
_ADDRESS_MAX = 64  # characters; IPv6 with a zone has fewer


def _ssh_client(pid: int) -> str:
    """Where the ssh session of a process comes from, by its own word (sshd's SSH_CONNECTION); empty without one. For people to read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read(_ENVIRONMENT_READ).split(b"\0")
    except OSError:
        return ""
    for variable in variables:
        name, _, value = variable.partition(b"=")
        address = value.split(b" ")[0].decode("ascii", "replace")
        if name == b"SSH_CONNECTION" and 0 < len(address) <= _ADDRESS_MAX and address.isprintable():
            return f", through ssh from {address}"
    return ""


def _nothing(known: bool) -> None:
    """Nobody is told twice."""


class Arrival:
    """A stranger's connection."""

    __slots__ = (
        "_accepted_at", "_authenticator", "_context", "_handshake", "_heard", "_key_hash", "_left", "_link", "_on_leave", "_peer",
        "_refused", "_sessions", "_sock", "_source", "_timer", "_tls",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        peer: str,
        source: str,
        *,
        context: Context,
        tls: Any,
        key_hash: bytes,
        authenticator: Authenticator,
        sessions: Sessions,
        on_leave: Callable[[bool], None],
    ) -> None:
        """`source`: the peer's address, or "unix". `tls`: the server's SSLContext, or None. `on_leave` is called once, when this is no
        stranger any more; True after a login."""
        sock.setblocking(False)
        self._sock = sock
        self._peer = peer  # for the log
        self._source = source  # for from= in authorized_keys
        self._context = context
        self._tls = tls
        self._key_hash = key_hash
        self._authenticator = authenticator
        self._sessions = sessions
        self._on_leave = on_leave
        self._heard = b""  # the beginning of a TLS client's first record
        self._link: Link | None = None
        self._handshake: ServerHandshake | None = None
        self._left = False
        self._refused = False
        loop = context.loop
        self._accepted_at = loop.time()
        self._timer = loop.call_later(context.limits.login_time, self._too_slow)
        loop.add_reader(sock.fileno(), self._readable)

    def leave(self) -> None:
        """Close without a word: evicted, too slow, or the server ends."""
        self._depart()
        if self._link is not None:
            self._link.close()
        self._sock.close()

    def _depart(self, *, known: bool = False) -> None:
        if self._left:
            return
        self._left = True
        self._timer.cancel()
        if self._sock.fileno() >= 0:
            self._context.loop.remove_reader(self._sock.fileno())
        # It refers to us: as a cycle we would live, with 8 KiB of TLS, until the collector's rare turn.
        on_leave, self._on_leave = self._on_leave, _nothing
        on_leave(known)

    def _too_slow(self) -> None:
        log.info("%s: no login within %.0f s", self._peer, self._context.limits.login_time)
        self.leave()

    def _readable(self) -> None:
        try:
            self._read()
        except OSError as error:  # ssl.SSLError too
            log.info("%s: %s", self._peer, error)
            self.leave()

    def _read(self) -> None:
        link = self._link
        if link is None:
            if self._tls is not None and not self._hear():
                return
            link = self._make_link()
        if isinstance(link, TlsLink) and not link.established and not link.handshake():
            return
        handshake = self._handshake
        if handshake is None:
            handshake = self._handshake = self._greet(link)
        data = link.recv()
        if data is None:
            return
        if not data:
            self.leave()
            return
        handshake.receive_data(data)
        while not self._left and not self._refused:
            event = handshake.next_event()
            if event is None:
                break  # the decoder holds at most one frame of `frame_max_before_login`
            if isinstance(event, Failed):
                self._refuse(str(event.error))
            elif isinstance(event, LoginAsked):
                self._judge(link, handshake)
        if not self._left and not self._refused:
            self._say(link, handshake)

    def _hear(self) -> bool:
        """Read until TLS has something to do with it."""
        most = self._context.limits.frame_max_before_login
        try:
            data = self._sock.recv(most - len(self._heard))
        except BlockingIOError:
            return False
        if not data:
            self.leave()
            return False
        self._heard += data
        return len(self._heard) >= most or not awaits_hello(self._heard)

    def _make_link(self) -> Link:
        limits = self._context.limits
        if self._tls is None:
            local = self._sock.family == socket.AF_UNIX
            self._link = PlainLink(self._sock, limits.unsent_local_max if local else limits.unsent_max)
        else:
            self._link = TlsLink(self._sock, limits.unsent_max, self._tls, server_side=True, heard=self._heard)
            self._heard = b""
        return self._link

    def _greet(self, link: Link) -> ServerHandshake:
        limits = self._context.limits
        hello = Hello(
            software=f"remote_shell {__version__}",
            features=list(FEATURES),
            nonce=base64.b64encode(os.urandom(NONCE_SIZE)).decode(),
            frame_max=limits.frame_max,
            window=limits.window,
            unacked_bytes_max=limits.unacked_bytes_max,
            unacked_frames_max=limits.unacked_frames_max,
            prompt=True,
            instance=self._context.instance,
        )
        return ServerHandshake(hello, link.transport, self._key_hash if link.transport == "tls" else b"", limits)

    def _say(self, link: Link, handshake: ServerHandshake) -> None:
        """A handshake's two small messages always fit the socket's empty buffer; a peer that made them not fit goes."""
        data = handshake.data_to_send()
        if data and (link.send([data]) != len(data) or not link.flush()):
            self.leave()

    def _judge(self, link: Link, handshake: ServerHandshake) -> None:
        assert handshake.auth is not None, "asked for"
        try:
            if handshake.auth.method == "invite":
                now, source = self._context.loop.time(), source_of((self._source,))
                self._enrol(self._authenticator.invited(handshake, link.transport, source, now))
                return
            login = self._authenticator.judge(handshake, link.transport, self._peer_uid(link), self._source)
            self._welcome(link, handshake, login)
        except LoginRefusedError as error:
            self._refuse(str(error))

    def _enrol(self, candidate: Candidate) -> None:
        """List an invited key, in a thread: locks and disks may take their time."""
        loop, address = self._context.loop, self._source
        loop.remove_reader(self._sock.fileno())  # it has nothing more to say

        def work() -> None:
            try:
                outcome: Enrolled | str = candidate.enrol(address)
            except (EnrolmentError, ConfigError, UsageError) as error:
                outcome = str(error)
            except Exception as error:  # a fault of ours: the client must not wait for ever
                log.exception("enrolment: internal error")
                outcome = f"a fault of the server: {type(error).__name__}"
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._enrolled, candidate, outcome)

        try:
            threading.Thread(target=work, name="enrolment", daemon=True).start()
        except RuntimeError as error:  # no thread is to be had: it may be asked again
            candidate.give_up()
            self._refuse(str(error))

    def _enrolled(self, candidate: Candidate, outcome: Enrolled | str) -> None:
        if isinstance(outcome, str):
            if not self._left:
                self._refuse(outcome)
            return
        what = "is listed already" if outcome.again else "was enrolled"
        name, key = candidate.secret.name, candidate.public.fingerprint
        log.warning("%s: key:%s %s by invitation %s…", self._peer, key, what, name[:8])
        self._context.audit.write(events.Enrolled(self._peer, key, name[:8], outcome.again))
        link, handshake = self._link, self._handshake
        if self._left or link is None or handshake is None:  # it may ask again, with the same key
            return
        handshake.enrol(outcome)
        try:
            self._say(link, handshake)
        except OSError as error:
            log.info("%s: %s", self._peer, error)
        self.leave()

    def _welcome(self, link: Link, handshake: ServerHandshake, login: Login) -> None:
        auth, peer, context = handshake.auth, handshake.peer, self._context
        assert auth is not None and peer is not None, "the handshake is complete"
        session = None
        if auth.session:
            session = self._sessions.resume(auth.session, login.principal, login.restrictions)
        resumed = session is not None
        if session is None:
            grace = None if auth.grace_ms is None else auth.grace_ms / 1000
            session = self._sessions.create(login.principal, grace, login.restrictions)
        if session is None:
            raise LoginRefusedError(f"{login.principal} has too many sessions")
        session.peer, session.source = self._whereabouts(link), self._source
        session.origin = f"{link.transport} {session.peer}" if link.transport == "unix" else self._peer
        session.keeps = auth.on_lost == "keep"
        handshake.welcome(
            Welcome(
                session=session.ident,
                resumed=resumed,
                received=session.core.received,
                principal=login.principal,
                account=context.account.pw_name,
                host=socket.gethostname()[:64],
                grace_ms=int(session.grace * 1000),
                left=0 if resumed else len(context.terminals.of(login.principal, lambda held: not held.is_held)),
                proof=None if login.proof is None else base64.b64encode(login.proof).decode(),
            )
        )
        try:
            self._say(link, handshake)
        except OSError as error:
            log.info("%s: %s", self._peer, error)
            self.leave()
        if self._left:  # it never heard the welcome: nobody holds a new session, an old one may still be asked for
            if resumed:
                session.wait_for_client()
            else:
                session.end(0)
            return
        log.info(
            "%s: %s %s, session %s",
            self._peer,
            login.principal,
            "resumed" if resumed else "logged in",
            session.name,
        )
        session.logged_in(auth.method, peer.software, resumed=resumed)
        if not login.principal.startswith("uid:"):  # this account itself is on no list
            context.guests.note(login.principal, session.peer)
        self._depart(known=True)
        try:
            session.attach(link, handshake.decoder, peer, auth.received if resumed else 0)
        except RemoteProtocolError as error:
            log.warning("%s: %s: %s", self._peer, login.principal, error)
            last_word = frames.encode(frames.CONTROL, 0, Disconnect(code=error.code).encode())
            with contextlib.suppress(OSError):
                link.send([last_word])
            link.close()
            session.end(context.limits.kill_grace, reason=error.code)

    def _peer_uid(self, link: Link) -> int | None:
        return self._credentials()[1] if link.transport == "unix" else None

    def _credentials(self) -> tuple[int, int, int]:
        """Process, user and group at the other end of a Unix socket."""
        pid, uid, gid = _UCRED.unpack(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return pid, uid, gid

    def _whereabouts(self, link: Link) -> str:
        """Where the client is, for other clients of the same principal."""
        if link.transport == "unix":
            pid = self._credentials()[0]
            return f"process {pid} on {socket.gethostname()[:64]}{_ssh_client(pid)}"
        return self._peer.partition(" ")[2].rpartition(":")[0]

    def _refuse(self, reason: str) -> None:
        """Tell the log why and the peer nothing, and that only when every refusal is told."""
        log.warning("%s: refused: %s", self._peer, reason)
        self._context.audit.login_refused(self._peer, reason)
        self._refused = True
        loop = self._context.loop
        loop.remove_reader(self._sock.fileno())  # a stranger whose verdict is out is not listened to
        self._timer.cancel()
        self._timer = loop.call_at(self._accepted_at + self._context.limits.refusal_time, self._tell_refusal)

    def _tell_refusal(self) -> None:
        link, handshake = self._link, self._handshake
        if link is not None and handshake is not None:
            handshake.deny()
            try:
                self._say(link, handshake)
            except OSError as error:
                log.info("%s: %s", self._peer, error)
        self.leave()
