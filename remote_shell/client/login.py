"""The login: every decision between "connect" and a session, for both fronts, as a generator of steps.

`Login.steps` says what to do next (dial, send, receive, work, hang up); a front does it, in its own way of waiting, and gives
back the result. So which server is believed, what is signed, when a person is asked and when a second connection is made
are written once. No socket is touched in here. Neighbours: `plan` says what is wanted, `wire.handshake` what is legal.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple

from remote_shell import __version__
from remote_shell.client import faults
from remote_shell.client.plan import Plan
from remote_shell.errors import (
    AccessDeniedError,
    ConnectError,
    IdentityError,
    RemoteShellError,
    ServerIdentityError,
    UnknownServerError,
)
from remote_shell.limits import Limits
from remote_shell.wire.events import Failed, ServerGreeted, Welcomed
from remote_shell.wire.handshake import NONCE_SIZE, ClientHandshake
from remote_shell.wire.messages import Auth, Hello, KeyProof, Welcome, unbase64

KEYS_MAX = 8  # proofs in one `auth`


class Step(NamedTuple):
    """What the front does next: "dial" -> Dialled, "send" data, "receive" -> bytes, "work" -> its result, "hang_up"."""

    what: str
    data: bytes = b""
    work: Callable[[], object] = bool


DIAL, RECEIVE, HANG_UP = Step("dial"), Step("receive"), Step("hang_up")
Steps = Generator[Step, Any, "LoggedIn"]


class Dialled(NamedTuple):
    """A stream is there, and TLS in it if the target wants that."""

    transport: str  # "tls", "tcp" or "unix"
    certificate: bytes = b""  # TLS: what the server showed, DER
    uid: int = -1  # Unix: whose process listens, by SO_PEERCRED


class LoggedIn(NamedTuple):
    """The login holds."""

    handshake: ClientHandshake
    welcome: Welcome


class FirstContactError(UnknownServerError):
    """The server is not known, and there is somebody to ask: hang up, ask, dial again (a login has few seconds)."""

    def __init__(self, address: str, fingerprint: str) -> None:
        super().__init__(f"the server {address} is not known")
        self.address = address
        self.fingerprint = fingerprint


class Login:
    """The credentials of one host, kept for its reconnects."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.key_hash = b""  # of the server's key, when one was shown and believed
        self._loaded = False
        self._secret: Any = None
        self._ready: list[Any] = []  # identity.signers' Signers that sign without asking anybody
        self._locked: list[Any] = []  # its FileSigners that have a passphrase
        self.server_key: tuple[str, str] | None = None  # with TLS: its fingerprint, and "new", "known" or "pinned"
        self._introduced = ""  # the fingerprint that a person has just confirmed

    def steps(self, session: str | None = None, received: int = 0, *, prompt: bool) -> Steps:
        """Log in, to `session` again if it is given. Raises ConnectError, ServerIdentityError, AccessDeniedError, IdentityError."""
        if not self._loaded:
            yield Step("work", work=self._load)
        while True:
            try:
                return (yield from self._attempt(session, received, prompt))
            except FirstContactError as contact:
                yield HANG_UP
                yield Step("work", work=partial(self._introduce, contact))
            except AccessDeniedError:
                yield HANG_UP
                if not self._locked or self.plan.ask is None:
                    raise
                yield Step("work", work=self._unlock)

    # --- what we prove with

    @property
    def method(self) -> str:
        """One of "peer", "secret", "key"."""
        return "peer" if self.plan.target.kind == "unix" else "secret" if self.plan.secret_file else "key"

    def _load(self) -> None:
        if self.method == "secret":
            from remote_shell.identity.secrets import load_secret

            assert self.plan.secret_file is not None, "method says so"
            self._secret = load_secret(self.plan.secret_file)
        elif self.method == "key":
            from remote_shell.identity.signers import FileSigner, default_signers  # 4 ms that a Unix socket needs not

            for signer in default_signers(self.plan.identity, ask=self.plan.ask):
                if isinstance(signer, FileSigner) and signer.encrypted:
                    self._locked.append(signer)
                else:
                    self._ready.append(signer)
            del self._ready[KEYS_MAX:]
            if not self._ready:
                self._unlock()
        self._loaded = True

    def _unlock(self) -> None:
        """Ask for a passphrase, while no connection waits for it."""
        signer = self._locked[0]
        signer.sign(b"")  # the only way to have it ask; the signature of nothing goes nowhere
        del self._locked[0]
        self._ready = [signer, *self._ready[: KEYS_MAX - 1]]

    def _auth(self, handshake: ClientHandshake, session: str | None, received: int) -> Auth:
        """The login message, with proofs. May wait for ssh-agent. Raises IdentityError."""
        auth = Auth(
            method="peer" if self.method == "peer" else "secret" if self.method == "secret" else "key",
            secret=self._secret.name if self._secret is not None else None,
            user=self.plan.target.user or None,
            session=session,
            received=received,
        )
        if self.method == "secret":
            from remote_shell.identity.secrets import mac

            proof = mac(self._secret, "client", handshake.transcript("client", auth, self._secret.name.encode()))
            return auth.changed(proof=_base64(proof))
        if self.method == "key":
            return auth.changed(keys=self._proofs(handshake, auth))
        return auth

    def _proofs(self, handshake: ClientHandshake, auth: Auth) -> list[KeyProof]:
        from remote_shell.identity.sshsig import NAMESPACE, signed_data

        proofs: list[KeyProof] = []
        fault: IdentityError | None = None
        for signer in self._ready:
            blob = signer.public_blob
            try:
                proof = signer.sign(signed_data(NAMESPACE, handshake.transcript("client", auth, blob)))
            except IdentityError as error:  # one key that the agent does not give must not shut out the others
                fault = error
                continue
            proofs.append(KeyProof(key=_base64(blob), proof=_base64(proof)))
        if not proofs and fault is not None:
            raise fault
        return proofs

    # --- whom we believe

    def _judge(self, dialled: Dialled) -> bytes:
        """The hash of the server's key for the transcript, empty without TLS. Raises ServerIdentityError: nothing was sent yet."""
        if dialled.transport == "unix":
            if dialled.uid not in (0, os.geteuid()):
                raise ServerIdentityError(
                    f"the server on {self.plan.name} belongs to user id {dialled.uid}, not to you ({os.geteuid()}) or root; "
                    "nothing was sent. Use a socket of your own: remote-shell serve"
                )
            return b""
        if dialled.transport != "tls":
            return b""
        from remote_shell.config.fingerprints import format_fingerprint
        from remote_shell.identity.known_hosts import KnownHosts, check_pin
        from remote_shell.identity.tls import peer_key_hash

        digest = peer_key_hash(dialled.certificate)
        shown, address = format_fingerprint(digest), self.plan.target.address
        if self.plan.fingerprint is not None:
            check_pin(address, self.plan.fingerprint, shown)
            self.server_key = (shown, "pinned")
            return digest
        known = KnownHosts(self.plan.known_hosts)
        if self.plan.confirm is not None and known.check(address, shown) == "unknown":
            raise FirstContactError(address, shown)
        known.require(address, shown)
        self.server_key = (shown, "new" if shown == self._introduced else "known")
        return digest

    def _introduce(self, contact: FirstContactError) -> None:
        from remote_shell.identity.known_hosts import KnownHosts

        assert self.plan.confirm is not None, "FirstContactError says so"
        question = (
            f"The server {contact.address} is not known here. Its key is {contact.fingerprint}.\n"
            "Is that what it printed when it started? Trust it from now on?"
        )
        if not self.plan.confirm(question):
            raise UnknownServerError(
                f"the server {contact.address} stays unknown: its key {contact.fingerprint} was not confirmed; nothing was sent"
            )
        KnownHosts(self.plan.known_hosts).add(contact.address, contact.fingerprint)
        self._introduced = contact.fingerprint

    def _check_welcome(self, handshake: ClientHandshake, auth: Auth, welcome: Welcome) -> None:
        """A server that took our proof of a shared secret must know the secret too."""
        if self.method == "secret":
            from remote_shell.identity.secrets import verify

            transcript = handshake.transcript("server", auth, self._secret.name.encode())
            if not verify(self._secret, "server", transcript, unbase64(welcome.proof or "")):
                raise ServerIdentityError(
                    f"{self.plan.name} let us in but does not know the secret {self._secret.name!r} itself: it is not the "
                    "server that was meant; no command was sent. Compare the secret file with the server's"
                )
        user = self.plan.target.user
        if user and welcome.account != user:
            raise AccessDeniedError(
                f"{self.plan.name} runs commands as {welcome.account}, not as {user}; there is no user switching: leave {user}@ away"
            )

    # --- one connection

    def _attempt(self, session: str | None, received: int, prompt: bool) -> Steps:
        dialled: Dialled = yield DIAL
        key_hash = self.key_hash = self._judge(dialled)
        handshake = ClientHandshake(_hello(self.plan.limits, prompt), dialled.transport, key_hash, self.plan.limits)
        yield Step("send", handshake.data_to_send())
        yield from self._await(handshake, dialled.transport, ServerGreeted)
        auth: Auth = yield Step("work", work=partial(self._auth, handshake, session, received))
        handshake.log_in(auth)
        yield Step("send", handshake.data_to_send())
        event = yield from self._await(handshake, dialled.transport, Welcomed)
        assert isinstance(event, Welcomed), "that was waited for"
        self._check_welcome(handshake, auth, event.welcome)
        return LoggedIn(handshake, event.welcome)

    def _await(
        self, handshake: ClientHandshake, transport: str, kind: type[ServerGreeted] | type[Welcomed]
    ) -> Generator[Step, Any, ServerGreeted | Welcomed]:
        while True:
            event = handshake.next_event()
            if event is None:
                data: bytes = yield RECEIVE
                if not data:
                    raise faults.hung_up(self.plan.name, transport)
                handshake.receive_data(data)
            elif isinstance(event, kind):
                return event
            elif isinstance(event, Failed):
                raise ConnectError(
                    f"{self.plan.name} does not keep to the protocol ({event.error}); is it a remote-shell server of another version?"
                )
            else:
                raise self._denied()

    def _denied(self) -> RemoteShellError:
        name = self.plan.name
        if self.method == "secret":
            return AccessDeniedError(
                f"{name} refuses the secret {self._secret.name!r}: it is not the one in the server's secrets file; "
                "the server's log has the reason"
            )
        if self.method == "peer":
            return AccessDeniedError(
                f"{name} refuses this account (user id {os.geteuid()}): only the server's own account may log in; "
                "the server's log has the reason"
            )
        from remote_shell.identity.keys import fingerprint

        tried = ", ".join(f"{fingerprint(s.public_blob)} {s.comment}".rstrip() for s in self._ready) or "none"
        locked = f" Not tried, for want of a passphrase: {self._locked[0].path}." if self._locked else ""
        return AccessDeniedError(
            f"{name} refuses every key that was tried ({tried}).{locked} Add the line that `remote-shell keys show` prints "
            "to the server's authorized_keys; the server's log has the reason"
        )


def _hello(limits: Limits, prompt: bool) -> Hello:
    return Hello(
        software=f"remote-shell/{__version__}",
        nonce=_base64(os.urandom(NONCE_SIZE)),
        frame_max=limits.frame_max,
        window=limits.window,
        unacked_bytes_max=limits.unacked_bytes_max,
        unacked_frames_max=limits.unacked_frames_max,
        prompt=prompt,
    )


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
