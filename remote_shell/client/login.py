"""The login: every decision between "connect" and a session, for both fronts, as a generator of steps.

`Login.steps` says what to do next (dial, send, receive, work, hang up); a front does it, in its own way of waiting, and gives
back the result. So which server is believed, what is signed, when a person is asked and when a second connection is made
are written once. No socket is touched in here. Neighbours: `plan` says what is wanted, `wire.handshake` what is legal.
"""

from __future__ import annotations

import base64
import os
from _thread import allocate_lock  # threading.Lock, without importing threading
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple

from remote_shell import __version__
from remote_shell.client import faults
from remote_shell.client.plan import Plan, Trace, Trip
from remote_shell.errors import (
    AccessDeniedError,
    ConnectError,
    IdentityError,
    RemoteShellError,
    ServerIdentityError,
    UnknownServerError,
)
from remote_shell.limits import Limits
from remote_shell.link import Link
from remote_shell.wire.events import Failed, ServerGreeted, WasEnrolled, Welcomed
from remote_shell.wire.handshake import NONCE_SIZE, ClientHandshake
from remote_shell.wire.messages import FEATURES, Auth, Hello, KeyProof, Welcome, unbase64

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
        super().__init__(f"the server {address} is not known", address, fingerprint)


class Credentials:
    """What logins prove with: read once, and a passphrase asked once, for all hosts of one call that name the same files."""

    def __init__(self, plan: Plan) -> None:
        self.loaded = False
        self.secret: Any = None
        self.ready: list[Any] = []  # identity.signers' Signers that sign without asking anybody
        self.locked: list[Any] = []  # its FileSigners that have a passphrase
        self.fault: IdentityError | None = None  # the person gave no right passphrase: nobody asks again
        self._plan = plan
        self._one_at_a_time = allocate_lock()

    def load(self) -> None:
        """Read them, if nobody has. Raises IdentityError."""
        with self._one_at_a_time:
            if self.loaded:
                return
            if self._plan.method == "secret":
                from remote_shell.identity.secrets import load_secret

                assert self._plan.secret_file is not None, "method says so"
                self.secret = load_secret(self._plan.secret_file)
            elif self._plan.method == "key":
                self._load_keys()
            self.loaded = True

    def unlock(self, seen: int) -> None:
        """Ask for a passphrase, while no connection waits for it, unless one was given since `seen` keys were locked.

        Raises IdentityError.
        """
        with self._one_at_a_time:
            if len(self.locked) == seen:
                self._unlock()

    def _load_keys(self) -> None:
        from remote_shell.identity.signers import FileSigner, default_signers  # 4 ms that a Unix socket needs not

        if self.fault is not None:
            raise self.fault.with_traceback(None)
        ready: list[Any] = []
        locked: list[Any] = []
        for signer in default_signers(self._plan.identity, ask=self._plan.ask):
            (locked if isinstance(signer, FileSigner) and signer.encrypted else ready).append(signer)
        self.ready, self.locked = ready[:KEYS_MAX], locked
        if not self.ready:
            self._unlock()

    def _unlock(self) -> None:
        if self.fault is not None:
            raise self.fault.with_traceback(None)
        signer = self.locked[0]
        try:
            signer.sign(b"")  # the only way to have it ask; the signature of nothing goes nowhere
        except IdentityError as error:
            self.fault = error
            raise
        self.ready = [signer, *self.ready[: KEYS_MAX - 1]]  # first: who reads both in between tries once more
        self.locked = self.locked[1:]


class Login:
    """One host's logins: the first, and those after a cut."""

    def __init__(self, plan: Plan, credentials: Credentials | None = None) -> None:
        self.plan = plan
        self.key_hash = b""  # of the server's key, when one was shown and believed
        self._credentials = credentials if credentials is not None else Credentials(plan)
        self._tried_without = 0  # keys that were locked at the last attempt
        self.server_key: tuple[str, str] | None = None  # with TLS: its fingerprint, and "new", "known" or "pinned"
        self._was_in = False
        self._tracer: Any = None  # tracing.Tracer, if somebody looks on
        self._introduced = ""  # the fingerprint that a person has just confirmed

    def steps(self, session: str | None = None, received: int = 0, *, prompt: bool) -> Steps:
        """Log in, to `session` again if it is given. Raises ConnectError, ServerIdentityError, AccessDeniedError, IdentityError."""
        if not self._credentials.loaded:
            yield Step("work", work=self._credentials.load)
        while True:
            try:
                logged_in = yield from self._attempt(session, received, prompt)
                self._was_in = True
                return logged_in
            except FirstContactError as contact:
                yield HANG_UP
                yield Step("work", work=partial(self._introduce, contact))
            except AccessDeniedError:
                yield HANG_UP
                if not self._tried_without or self.plan.ask is None:
                    raise
                yield Step("work", work=partial(self._credentials.unlock, self._tried_without))

    def trip(self) -> Trip:
        """For a target through ssh: where to, and whether it may ask. After the first login it may not: the screen is in use."""
        plan = self.plan
        asks = plan.ask is not None and not self._was_in
        return Trip(plan.name, plan.target, plan.remote_command, plan.identity, asks, self._was_in)

    def traced(self, link: Link) -> Link:
        """The link that was dialled, seen by who asked for a trace."""
        if self.plan.trace is None:
            return link
        seen: Link = self._look_on(self.plan.trace).over(link)
        return seen

    def not_dialled(self, error: RemoteShellError) -> None:
        """For whoever asked for a trace: no link came about."""
        if self.plan.trace is not None:
            self._look_on(self.plan.trace).failed(str(error))

    def _look_on(self, trace: Trace) -> Any:
        if self._tracer is None:
            from remote_shell.client.tracing import Tracer

            self._tracer = Tracer(self.plan.name, str(self.plan.target), self.plan.limits.frame_max, trace)
        return self._tracer

    # --- what we prove with

    @property
    def method(self) -> str:
        """One of "peer", "secret", "key"."""
        return self.plan.method

    @property
    def _user(self) -> str:
        """The account that was named, for the server to compare; ssh has seen to it already, and knows other names for accounts."""
        return "" if self.plan.target.kind == "ssh" else self.plan.target.user

    def _auth(self, handshake: ClientHandshake, session: str | None, received: int) -> Auth:
        """The login message, with proofs. May wait for ssh-agent. Raises IdentityError."""
        auth = Auth(
            method="peer" if self.method == "peer" else "secret" if self.method == "secret" else "key",
            secret=self._credentials.secret.name if self._credentials.secret is not None else None,
            user=self._user or None,
            session=session,
            received=received,
            on_lost=self.plan.on_lost,
            grace_ms=None if self.plan.grace is None else int(self.plan.grace * 1000),
        )
        if self.method == "secret":
            from remote_shell.identity.secrets import mac

            proof = mac(
                self._credentials.secret,
                "client",
                handshake.transcript("client", auth, self._credentials.secret.name.encode()),
            )
            return auth.changed(proof=base64_of(proof))
        if self.method == "key":
            return auth.changed(keys=self._proofs(handshake, auth))
        return auth

    def _proofs(self, handshake: ClientHandshake, auth: Auth) -> list[KeyProof]:
        from remote_shell.identity.sshsig import NAMESPACE, signed_data

        proofs: list[KeyProof] = []
        fault: IdentityError | None = None
        self._tried_without = len(self._credentials.locked)
        for signer in self._credentials.ready:
            blob = signer.public_blob
            try:
                proof = signer.sign(signed_data(NAMESPACE, handshake.transcript("client", auth, blob)))
            except IdentityError as error:  # one key that the agent does not give must not shut out the others
                fault = error
                continue
            proofs.append(KeyProof(key=base64_of(blob), proof=base64_of(proof)))
        if not proofs and fault is not None:
            raise fault
        return proofs

    # --- whom we believe

    def _judge(self, dialled: Dialled) -> bytes:
        """The hash of the server's key for the transcript, empty without TLS. Raises ServerIdentityError: nothing was sent yet."""
        if self.plan.target.kind == "ssh":
            return b""  # ssh knows the machine, and `pipe` looked whose process listens there
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

            transcript = handshake.transcript("server", auth, self._credentials.secret.name.encode())
            if not verify(self._credentials.secret, "server", transcript, unbase64(welcome.proof or "")):
                raise ServerIdentityError(
                    f"{self.plan.name} let us in but does not know the secret {self._credentials.secret.name!r} itself: it is not the "
                    "server that was meant; no command was sent. Compare the secret file with the server's"
                )
        user = self._user
        if user and welcome.account != user:
            raise AccessDeniedError(
                f"{self.plan.name} runs commands as {welcome.account}, not as {user}; there is no user switching: leave {user}@ away"
            )

    # --- one connection

    def _attempt(self, session: str | None, received: int, prompt: bool) -> Steps:
        dialled: Dialled = yield DIAL
        key_hash = self.key_hash = self._judge(dialled)
        handshake = ClientHandshake(hello_of(self.plan.limits, prompt), dialled.transport, key_hash, self.plan.limits)
        yield Step("send", handshake.data_to_send())
        yield from self._await(handshake, ServerGreeted)
        auth: Auth = yield Step("work", work=partial(self._auth, handshake, session, received))
        handshake.log_in(auth)
        yield Step("send", handshake.data_to_send())
        event = yield from self._await(handshake, Welcomed)
        assert isinstance(event, Welcomed), "that was waited for"
        self._check_welcome(handshake, auth, event.welcome)
        return LoggedIn(handshake, event.welcome)

    def _await(
        self, handshake: ClientHandshake, kind: type[ServerGreeted] | type[Welcomed] | type[WasEnrolled]
    ) -> Generator[Step, Any, ServerGreeted | Welcomed | WasEnrolled]:
        while True:
            event = handshake.next_event()
            if event is None:
                data: bytes = yield RECEIVE
                if not data:
                    raise faults.hung_up(self.plan.name, self.plan.target.kind)
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
        name, user = self.plan.name, self.plan.target.user
        # a server says the same to all; but it may have been this, and then the keys are right
        other = f"; or it does not run as {user}: there is no user switching, leave {user}@ away" if user else ""
        if self.method == "secret":
            return AccessDeniedError(
                f"{name} refuses the secret {self._credentials.secret.name!r}: it is not the one in the server's secrets file{other}; "
                "the server's log has the reason"
            )
        if self.plan.target.kind == "ssh":
            return AccessDeniedError(
                f"{name} refuses the account that ssh logs in as: it is not the server's own. The server's log has the reason: there, "
                "~/.local/state/remote-shell/server.log"
            )
        if self.method == "peer":
            return AccessDeniedError(
                f"{name} refuses this account (user id {os.geteuid()}): only the server's own account may log in{other}; "
                "the server's log has the reason"
            )
        from remote_shell.identity.keys import fingerprint

        tried = (
            ", ".join(f"{fingerprint(s.public_blob)} {s.comment}".rstrip() for s in self._credentials.ready) or "none"
        )
        locked = (
            f" Not tried, for want of a passphrase: {self._credentials.locked[0].path}."
            if self._credentials.locked
            else ""
        )
        return AccessDeniedError(
            f"{name} refuses every key that was tried ({tried}).{locked} Add the line that `remote-shell keys show` prints "
            f"to the server's authorized_keys{other}; the server's log has the reason"
        )


def hello_of(limits: Limits, prompt: bool) -> Hello:
    """A client's hello, with a fresh nonce."""
    return Hello(
        software=f"remote-shell/{__version__}",
        features=list(FEATURES),
        nonce=base64_of(os.urandom(NONCE_SIZE)),
        frame_max=limits.frame_max,
        window=limits.window,
        unacked_bytes_max=limits.unacked_bytes_max,
        unacked_frames_max=limits.unacked_frames_max,
        prompt=prompt,
    )


def base64_of(raw: bytes) -> str:
    """Bytes as messages carry them."""
    return base64.b64encode(raw).decode("ascii")
