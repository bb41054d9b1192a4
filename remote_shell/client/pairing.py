"""Pairing: what `pair` does with an invitation. The server is pinned by the line, the code is proved, our key is enrolled.

Tries the addresses of the line one after the other; who answers there with another key hears nothing of us. What is proved is bound to the
server's key and to ours: it can be passed on to nobody, and used for no other key. Neighbours: `login` has the steps of every login,
identity's `invitation` the line.
"""

from __future__ import annotations

import re
import time
from collections.abc import Generator
from functools import partial
from typing import Any, NamedTuple

from remote_shell.client.dialing import call
from remote_shell.client.login import Login, Step, base64_of, hello_of
from remote_shell.client.plan import Ask, Plan, Trace
from remote_shell.config.targets import Target
from remote_shell.errors import AccessDeniedError, ConnectError, RemoteShellError, ServerIdentityError
from remote_shell.identity.invitation import Invitation
from remote_shell.identity.keys import PublicKey
from remote_shell.identity.known_hosts import KnownHosts
from remote_shell.identity.secrets import mac, verify
from remote_shell.identity.signers import FileSigner
from remote_shell.identity.sshsig import NAMESPACE, signed_data
from remote_shell.wire.events import ServerGreeted, WasEnrolled
from remote_shell.wire.handshake import ClientHandshake, invitation
from remote_shell.wire.messages import Auth, Enrolled, KeyProof, unbase64

_LABEL = re.compile(r"[^A-Za-z0-9._:/+@-]+", re.ASCII)  # what no word of the protocol has
AGAIN = "ask for a new one; over there: remote-shell keys invite"


class Paired(NamedTuple):
    """It worked."""

    target: Target  # the address that answered
    account: str  # that commands run as over there
    host: str  # the server's name for itself
    key: PublicKey  # ours, that is enrolled
    again: bool  # it was listed before


def pair(
    invited: Invitation,
    *,
    identity: str | None = None,
    known_hosts: str | None = None,
    connect_timeout: float | None = None,
    ask: Ask | None = None,
    trace: Trace | None = None,
) -> Paired:
    """Enrol a key of ours and remember the server.

    Raises ConnectError, ServerIdentityError, AccessDeniedError, IdentityError, ConfigError.
    """
    faults: list[RemoteShellError] = []
    for target in invited.addresses:
        plan = Plan(
            target,
            identity=identity,
            fingerprint=invited.fingerprint,
            known_hosts=known_hosts,
            connect_timeout=connect_timeout,
            ask=ask,
            trace=trace,
        )
        known = KnownHosts(plan.known_hosts)
        try:
            if known.check(target.address, invited.fingerprint) == "changed":
                known.require(target.address, invited.fingerprint)
            pairing = Pairing(plan, invited)
            enrolled = call(pairing, time.monotonic() + plan.connect_time, pairing.invited_steps())
        except (ConnectError, ServerIdentityError) as error:  # another machine may have this address where we are
            faults.append(error)
            continue
        known.add(target.address, invited.fingerprint)
        return Paired(target, enrolled.account, enrolled.host, pairing.key, enrolled.again)
    worst = next((fault for fault in faults if isinstance(fault, ServerIdentityError)), faults[0])
    if len(faults) > 1:
        others = "; ".join(str(fault) for fault in faults if fault is not worst)
        raise type(worst)(f"{worst}; and {others}")
    raise worst


class Pairing(Login):
    """The login of who was invited."""

    def __init__(self, plan: Plan, invited: Invitation) -> None:
        super().__init__(plan)
        self._invited = invited
        self._signer: Any = None

    @property
    def key(self) -> PublicKey:
        """The one that is enrolled. Only after the login."""
        return PublicKey(self._signer.public_blob, self._signer.comment)

    def invited_steps(self) -> Generator[Step, Any, Enrolled]:
        """From the first dial to the end."""
        yield Step("work", work=self._choose)
        dialled = yield Step("dial")
        key_hash = self._judge(dialled)
        handshake = ClientHandshake(hello_of(self.plan.limits, True), dialled.transport, key_hash, self.plan.limits)
        yield Step("send", handshake.data_to_send())
        greeted = yield from self._await(handshake, ServerGreeted)
        assert isinstance(greeted, ServerGreeted), "that was waited for"
        if "pairing" not in (greeted.hello.features or ()):
            raise ConnectError(
                f"{self.plan.name} is older than invitations: {greeted.hello.software[:80]!a}; send the line that "
                "`remote-shell keys show` prints to who runs it"
            )
        auth: Auth = yield Step("work", work=partial(self._prove, handshake))
        handshake.log_in(auth)
        yield Step("send", handshake.data_to_send())
        event = yield from self._await(handshake, WasEnrolled)
        assert isinstance(event, WasEnrolled), "that was waited for"
        credential = invitation(auth, self._signer.public_blob)
        proof = unbase64(event.enrolled.proof)
        if not verify(self._invited.secret(), "server", handshake.transcript("server", auth, credential), proof):
            raise ServerIdentityError(
                f"{self.plan.name} says that our key is enrolled, and does not know the invitation"
            )
        return event.enrolled

    def _choose(self) -> None:
        """A key in a file of this account goes before the agent's, which may be another machine's; a locked one comes last."""
        self._credentials.load()
        ready = self._credentials.ready
        self._signer = next((signer for signer in ready if isinstance(signer, FileSigner)), ready[0])
        self._signer.sign(b"")  # it can: a fault is told before the server hears of us; the signature goes nowhere

    def _prove(self, handshake: ClientHandshake) -> Auth:
        secret, blob = self._invited.secret(), self._signer.public_blob
        label = _LABEL.sub("-", self._signer.comment)[:64].strip("-")
        auth = Auth(method="invite", invite=secret.name, label=label or None)
        transcript = handshake.transcript("client", auth, invitation(auth, blob))
        signature = self._signer.sign(signed_data(NAMESPACE, transcript))
        return auth.changed(
            proof=base64_of(mac(secret, "client", transcript)),
            keys=[KeyProof(key=base64_of(blob), proof=base64_of(signature))],
        )

    def _denied(self) -> RemoteShellError:
        """The server says the same to all; but the line was whole, and the server is the one that printed it."""
        late = time.time() - self._invited.until
        name = self.plan.name
        if late >= 0:
            since = f"{late / 60:.0f} minutes" if late < 7200 else f"{late / 3600:.0f} hours"
            return AccessDeniedError(
                f"{name} refuses the invitation: it expired {since} ago by the clock here; {AGAIN}"
            )
        return AccessDeniedError(
            f"{name} refuses the invitation: it was used, or taken back, or it expired by the clock over there; "
            f"the server's log says which. {AGAIN[0].upper()}{AGAIN[1:]}"
        )
