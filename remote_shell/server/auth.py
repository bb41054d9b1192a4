"""Logins: judge what a client proved. One answer for every failure; the reason goes to the log alone.

Everything proved is bound to this handshake by the transcript: role, transport, both hellos with their nonces, and the server's key
as the client saw it. Neighbours: `identity` has the keys and the cryptography, `server` sends the verdict.
"""

from __future__ import annotations

import os
import time

from remote_shell.errors import RemoteProtocolError
from remote_shell.identity import secrets, sshsig
from remote_shell.identity.authorized import AuthorizedKeys
from remote_shell.identity.restrictions import UNRESTRICTED, Restrictions
from remote_shell.identity.secrets import Secrets
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.server.enrolment import Candidate, EnrolmentError, Enrolments
from remote_shell.wire.handshake import ServerHandshake
from remote_shell.wire.messages import Auth, KeyProof, unbase64


class LoginRefusedError(Exception):
    """Why a login does not hold: for the log."""


class Login:
    """A login that holds: who, under which restrictions, and what the server proves in turn."""

    __slots__ = ("principal", "proof", "restrictions")

    def __init__(self, principal: str, proof: bytes | None = None, restrictions: Restrictions = UNRESTRICTED) -> None:
        self.principal = principal
        self.proof = proof
        self.restrictions = restrictions


class Authenticator:
    """The server's lists of who may log in."""

    def __init__(
        self, authorized_keys: str, secret_file: str | None, account: str, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._enrolments = Enrolments(authorized_keys, account, limits)
        self._keys = AuthorizedKeys(authorized_keys)
        self._secrets = Secrets(secret_file) if secret_file is not None else None
        self._account = account

    def judge(self, handshake: ServerHandshake, transport: str, peer_uid: int | None, source: str) -> Login:
        """Who this is. `source` is an address, or "unix". Raises LoginRefusedError."""
        auth = handshake.auth
        assert auth is not None, "judged before the login came"
        try:
            if auth.method == "peer":
                login = self._peer(transport, peer_uid)
            elif auth.method == "secret":
                login = self._secret(handshake, auth)
            else:
                login = self._key(handshake, auth, source)
        except RemoteProtocolError as error:
            raise LoginRefusedError(str(error)) from None
        self._check_account(auth)
        return login

    def invited(self, handshake: ServerHandshake, transport: str, source: str, now: float) -> Candidate:
        """Who may be listed, for a login by method `invite`. Raises LoginRefusedError."""
        assert handshake.auth is not None, "judged before the login came"
        try:
            candidate = self._enrolments.judge(handshake, transport, source, now)
            self._check_account(handshake.auth)
            candidate.begin()
        except (RemoteProtocolError, EnrolmentError) as error:
            raise LoginRefusedError(str(error)) from None
        return candidate

    def _check_account(self, auth: Auth) -> None:
        if auth.user and auth.user != self._account:
            raise LoginRefusedError(f"account {auth.user[:40]!a} was asked for, commands run as {self._account}")

    def restrictions(self, principal: str) -> Restrictions | None:
        """What that principal may do now; None for one that could not log in any more, such as a key that was taken off the list.

        The account itself, over the Unix socket, and secrets have no restrictions.
        """
        kind, _, name = principal.partition(":")
        if kind == "key":
            return self._keys.restrictions(principal)
        if kind == "secret":
            return UNRESTRICTED if self._secrets is not None and self._secrets.find(name).known else None
        return UNRESTRICTED

    def listed(self) -> dict[str, tuple[str, Restrictions]]:
        """Whom authorized_keys lets in now: fingerprints, with their comments and what they may do."""
        entries = reversed(self._keys.entries())  # the first line of a key counts
        return {entry.public.fingerprint: (entry.comment, entry.restrictions) for entry in entries}

    @property
    def keys_file(self) -> tuple[str, str]:
        """Path of authorized_keys, and why it is not used, if so."""
        return self._keys.path, self._keys.problem

    def _peer(self, transport: str, peer_uid: int | None) -> Login:
        if transport != "unix" or peer_uid is None:
            raise LoginRefusedError(f"method peer on {transport}")
        if peer_uid not in (os.geteuid(), 0):
            raise LoginRefusedError(f"peer's user id is {peer_uid}")
        return Login(f"uid:{peer_uid}")

    def _secret(self, handshake: ServerHandshake, auth: Auth) -> Login:
        name = auth.secret or ""
        if self._secrets is None:
            raise LoginRefusedError("method secret, and no secrets file is configured")
        secret = self._secrets.find(name)
        proof = unbase64(auth.proof or "")
        if not secrets.verify(secret, "client", handshake.transcript("client", name.encode()), proof):
            raise LoginRefusedError(f"secret {name!a} is unknown or wrong")
        return Login(secret.principal, secrets.mac(secret, "server", handshake.transcript("server", name.encode())))

    def _key(self, handshake: ServerHandshake, auth: Auth, source: str) -> Login:
        tried = []
        for offer in auth.keys or ():
            login = self._one_key(handshake, offer)
            if login is not None:
                refusal = login.restrictions.refusal_at(time.time(), source)
                if not refusal:
                    return login
                tried.append(f"{offer.key[-12:]} ({login.principal}: {refusal})")
            else:
                tried.append(offer.key[-12:])
        raise LoginRefusedError(
            f"none of the keys ending in {', '.join(tried) or '(none sent)'} is authorized and proved"
        )

    def _one_key(self, handshake: ServerHandshake, offer: KeyProof) -> Login | None:
        blob, proof = unbase64(offer.key), unbase64(offer.proof)
        entry = self._keys.find(blob)
        # verified whether it is listed or not, so that time does not tell which
        proved = sshsig.verify(blob, proof, handshake.transcript("client", blob))
        return Login(entry.principal, restrictions=entry.restrictions) if entry is not None and proved else None
