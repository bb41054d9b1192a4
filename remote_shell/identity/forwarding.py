"""What a line of authorized_keys says about tunnels: port-forwarding, permitopen, permitlisten and their "no", as sshd(8) has them.

Closed unless it is said. Opens nothing. Neighbours: `restrictions` reads the options, the server's `forwarding` asks for each tunnel.
"""

from __future__ import annotations

from dataclasses import dataclass

from remote_shell.errors import IdentityError


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What a line says about tunnels. `said` is False for a line that says nothing: then the server's settings decide."""

    said: bool = False
    everything: bool = False
    opens: frozenset[str] = frozenset()  # permitopen, as "host:port" in lower case
    listens: frozenset[str] = frozenset()  # permitlisten

    @classmethod
    def all(cls) -> Forwarding:
        """Anywhere, both ways."""
        return cls(said=True, everything=True)

    def may_connect(self, host: str, port: int) -> bool:
        """A tunnel to there; names are compared as they are, and `permitopen` narrows `port-forwarding`."""
        if not self.opens:
            return self.everything
        return not self.opens.isdisjoint((f"{_plain(host)}:{port}", f"{_plain(host)}:*"))

    def may_listen(self, host: str, port: int) -> bool:
        """A listener there; one that was permitted without a host is on loopback."""
        if not self.listens:
            return self.everything
        name = _listening(host)
        return not self.listens.isdisjoint((f"{name}:{port}", f"{name}:*"))


NOTHING_SAID = Forwarding()


def opens_to(value: str) -> str:
    """The value of permitopen as it is compared. Raises IdentityError."""
    host, colon, port = value.rpartition(":")
    if not (colon and host and _is_port(port)):
        raise IdentityError("permitopen is HOST:PORT, the port from 1 to 65535 or *")
    return f"{_plain(host)}:{port}"


def listens_at(value: str) -> str:
    """The value of permitlisten as it is compared. Raises IdentityError."""
    host, _, port = value.rpartition(":")
    if not _is_port(port):
        raise IdentityError("permitlisten is PORT or HOST:PORT, the port from 1 to 65535 or *")
    return f"{_listening(host)}:{port}"


def _is_port(text: str) -> bool:
    return text == "*" or (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536)


def _plain(host: str) -> str:
    return host.removeprefix("[").removesuffix("]").lower()


def _listening(host: str) -> str:
    """A listener's host, with one name for all that is loopback."""
    name = _plain(host)
    return "localhost" if name in ("", "127.0.0.1", "::1") else name
