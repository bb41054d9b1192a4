"""Keys that ssh-agent holds: asking for their list and for signatures (draft-ietf-sshm-ssh-agent, sections 3.5 and 3.6).

The private key never enters this process. One connection a question; every length and every wait is bounded, since the agent
may be a forwarded one. Hardware keys and certificates are left out. Neighbours: `signers` puts these before key files.
"""

from __future__ import annotations

import os
import socket
import time

from remote_shell.errors import IdentityError
from remote_shell.identity.keys import KEY_TYPE, PublicKey
from remote_shell.identity.ssh_strings import Reader, TruncatedError, pack_string, pack_u32
from remote_shell.limits import DEFAULT_LIMITS

_REQUEST_IDENTITIES = 11
_IDENTITIES_ANSWER = 12
_SIGN_REQUEST = 13
_SIGN_RESPONSE = 14
_SIGNATURE_SIZE = 64


class AgentSigner:
    """One Ed25519 key of the agent that listens at `socket_path`."""

    __slots__ = ("_socket_path", "comment", "public_blob")

    def __init__(self, socket_path: str, public: PublicKey) -> None:
        self._socket_path = socket_path
        self.public_blob = public.blob
        self.comment = public.comment

    def __repr__(self) -> str:
        return f"AgentSigner({PublicKey(self.public_blob).fingerprint})"

    def sign(self, data: bytes) -> bytes:
        """The raw 64 bytes of an Ed25519 signature over `data`. Raises IdentityError if the agent does not give one."""
        request = bytes([_SIGN_REQUEST]) + pack_string(self.public_blob) + pack_string(data) + pack_u32(0)
        name = f"ssh-agent did not sign with the key {PublicKey(self.public_blob).fingerprint}"
        try:
            reader = Reader(_ask(self._socket_path, request, DEFAULT_LIMITS.agent_sign_time))
            if reader.take(1)[0] != _SIGN_RESPONSE:
                raise IdentityError(
                    f"{name}: it refused; is it locked (ssh-add -X), or was a question answered with no?"
                )
            answer = Reader(reader.string())
            kind, signature = answer.string(), answer.string()
        except TimeoutError:
            raise IdentityError(f"{name} within {DEFAULT_LIMITS.agent_sign_time:g} s") from None
        except (OSError, TruncatedError) as error:
            raise IdentityError(f"{name}: {getattr(error, 'strerror', None) or 'its answer is cut short'}") from None
        if kind != KEY_TYPE.encode("ascii") or len(signature) != _SIGNATURE_SIZE:
            raise IdentityError(f"{name}: its answer is not an Ed25519 signature")
        return signature


def agent_signers(socket_path: str | None = None) -> list[AgentSigner]:
    """The Ed25519 keys of the agent at `socket_path`, by default $SSH_AUTH_SOCK.

    No agent, or one that does not answer, has no keys: a stale SSH_AUTH_SOCK is common (tmux, a closed ssh) and no fault.
    """
    socket_path = socket_path or os.environ.get("SSH_AUTH_SOCK", "")
    if not socket_path:
        return []
    found: list[AgentSigner] = []
    try:
        reader = Reader(_ask(socket_path, bytes([_REQUEST_IDENTITIES]), DEFAULT_LIMITS.agent_list_time))
        if reader.take(1)[0] != _IDENTITIES_ANSWER:
            return []
        for _ in range(reader.u32()):  # each turn takes 8 bytes of a bounded answer, or raises
            blob, comment = reader.string(), reader.string()
            try:
                public = PublicKey(blob, comment.decode("utf-8", "replace"))
            except IdentityError:
                continue  # RSA, ECDSA, a hardware key, a certificate
            found.append(AgentSigner(socket_path, public))
    except (OSError, ValueError):  # TruncatedError is a ValueError, and so is a NUL in the path
        return []
    return found


def _ask(path: str, request: bytes, seconds: float) -> bytes:
    """The agent's answer to `request`, its length taken off. Raises OSError (TimeoutError for the deadline) or TruncatedError."""
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        connection.connect(path)
        connection.sendall(pack_string(request))
        size = int.from_bytes(_receive(connection, 4, deadline), "big")
        if not 0 < size <= DEFAULT_LIMITS.agent_reply_max:
            raise TruncatedError(f"an answer of {size} bytes")
        return _receive(connection, size, deadline)


def _receive(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = b""
    while len(data) < size:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)
        part = connection.recv(size - len(data))
        if not part:
            raise TruncatedError("the agent hung up")
        data += part
    return data
