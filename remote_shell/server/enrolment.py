"""Enrolment: a client that was invited proves the invitation and its own key, and that key is listed.

Judged like a login: everything that is proved is bound to this handshake and so to the server's key, and every failure is the one refusal.
A wrong guess changes nothing that is kept; an invitation is used up by its code alone. What waits for locks and disks is `Candidate.enrol`,
for a thread. Neighbours: identity's `invitations` decide who was first, `key_lines` writes the line, `arrival` has the thread.
"""

from __future__ import annotations

import base64
import socket
import time

from remote_shell.errors import RemoteShellError
from remote_shell.identity import key_lines, secrets, sshsig
from remote_shell.identity.invitations import InvitationError, Invitations, Record
from remote_shell.identity.keys import PublicKey
from remote_shell.identity.secrets import Secret
from remote_shell.limits import Limits
from remote_shell.server.tally import Tally
from remote_shell.wire.handshake import ServerHandshake, invitation
from remote_shell.wire.messages import Enrolled, unbase64


class EnrolmentError(RemoteShellError):
    """Why an invitation does not hold: for the log."""


class Candidate:
    """A client that knows the code and has the key."""

    def __init__(self, enrolments: Enrolments, secret: Secret, public: PublicKey, label: str, proof: bytes) -> None:
        self.public = public
        self.secret = secret
        self._enrolments = enrolments
        self._label = label
        self._proof = proof

    def begin(self) -> None:
        """Before `enrol`: one thread for an invitation, however many connections know its code. Raises EnrolmentError."""
        under_way = self._enrolments.under_way
        if self.secret.name in under_way:
            raise EnrolmentError(f"invitation {self.secret.name[:8]}…: somebody is using it at this moment")
        under_way.add(self.secret.name)

    def give_up(self) -> None:
        """After `begin`, where `enrol` can't be called."""
        self._enrolments.under_way.discard(self.secret.name)

    def enrol(self, address: str) -> Enrolled:
        """List the key, durably, and say so; `address` is where the client is. May wait. Raises EnrolmentError, ConfigError."""
        enrolments = self._enrolments
        try:
            again = enrolments.invitations.redeem(
                self.secret.name,
                self.public.fingerprint,
                lambda record: self._list(record, address),
                enrolments.authorized_keys,
            )
        except InvitationError as error:
            raise EnrolmentError(f"invitation {self.secret.name[:8]}…, {self.public.fingerprint}: {error}") from None
        finally:
            self.give_up()
        return Enrolled(
            proof=base64.b64encode(self._proof).decode(),
            account=enrolments.account,
            host=socket.gethostname()[:64],
            again=again,
        )

    def _list(self, record: Record, address: str) -> bool:
        path = self._enrolments.authorized_keys
        listed = next((line for line in key_lines.read(path) if line.entry and line.blob == self.public.blob), None)
        refusal = listed.entry.restrictions.refusal_at(time.time(), address) if listed and listed.entry else ""
        if listed and refusal:  # the first line of a key counts: another below it would change nothing
            raise InvitationError(
                f"its key is on line {listed.number} of {path}, and {refusal}; take that line away first"
            )
        if record.done:
            if listed is None:
                raise InvitationError("it was used, and its key was taken off the list since")
            return True
        comment = f"paired {time.strftime('%Y-%m-%d')} from {address}"
        name = record.label or self._label
        return not key_lines.add(path, self.public, record.options, f"{comment} as {name}" if name else comment)


class Enrolments:
    """The invitations of one server's life, and the list that they lead to."""

    def __init__(self, authorized_keys: str, account: str, limits: Limits) -> None:
        self.authorized_keys = authorized_keys
        self.account = account
        self.invitations = Invitations(limits=limits)
        self.under_way: set[str] = set()  # names of those that are being redeemed
        self._limits = limits
        self._wrong = Tally(limits.arrivals_window, limits.arrivals_sources_max)

    def judge(self, handshake: ServerHandshake, transport: str, source: str, now: float) -> Candidate:
        """Who may be listed. Raises EnrolmentError, RemoteProtocolError."""
        auth = handshake.auth
        assert auth is not None, "judged before the login came"
        if transport != "tls":
            raise EnrolmentError(f"method invite on {transport}")
        if self._wrong.count(source) >= self._limits.wrong_invitations_max:
            self._wrong.add(source, now)
            raise EnrolmentError("too many wrong invitations from there: this one was not looked at")
        offers = auth.keys or []
        blob = unbase64(offers[0].key) if len(offers) == 1 else b""
        signature = unbase64(offers[0].proof) if len(offers) == 1 else b""
        credential = invitation(auth, blob)
        transcript = handshake.transcript("client", credential)
        secret = self.invitations.find(auth.invite or "")
        # both are verified whatever the other says, so that time does not tell which was wrong
        known = secrets.verify(secret, "client", transcript, unbase64(auth.proof or ""))
        signed = sshsig.verify(blob, signature, transcript)
        if not (known and signed):
            self._wrong.add(source, now)
            what = "its key is not proved" if known else "unknown or wrong"
            raise EnrolmentError(f"invitation {(auth.invite or '')[:8]!a}…: {what}")
        proof = secrets.mac(secret, "server", handshake.transcript("server", credential))
        return Candidate(self, secret, PublicKey(blob), auth.label or "", proof)
