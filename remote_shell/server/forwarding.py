"""Who may have tunnels, and to where: decided anew for each one, from the settings and authorized_keys as they are then.

Closed by default. `allow_tcp_forwarding` is sshd_config(5)'s: false is nobody, true is everybody who may log in, and without it those
whose line in authorized_keys says so, and the account itself over the Unix socket, which may connect on this machine anyway.
Opens nothing. Neighbours: `requests.tunnel` and `requests.listen` ask; `identity.authorized` reads the lines.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable

from remote_shell.identity.forwarding import Forwarding

# what a listener's host may be called, besides an address
_NAMES = {"": "127.0.0.1", "localhost": "127.0.0.1", "*": "::"}

_NOT_AT_ALL = "this server forwards nothing (allow_tcp_forwarding = false in its settings)"
_NOT_THIS_KEY = (
    'this login may not forward: on the server, write port-forwarding or permitopen="HOST:PORT" before its key in authorized_keys, '
    "or allow_tcp_forwarding = true into the settings"
)


class Waiting:
    """A connection that was accepted, and that its client has not taken yet."""

    __slots__ = ("leave", "sock", "timer")

    def __init__(self, sock: socket.socket, timer: asyncio.TimerHandle, leave: Callable[[], None]) -> None:
        self.sock = sock
        self.timer = timer
        self.leave = leave  # tells the listener that it waits no longer


class Forwards:
    """The rules, and the connections that were accepted and wait for their client."""

    def __init__(self) -> None:
        self._allowed: bool | None = False  # until `go_by` was called
        self._gateway = False
        self._of_principal: Callable[[str], Forwarding | None] = lambda principal: None
        self._waiting: dict[tuple[str, str], Waiting] = {}  # (principal, id)

    def go_by(self, allowed: bool | None, gateway: bool, of_principal: Callable[[str], Forwarding | None]) -> None:
        """The settings, and what finds a key's line. Tunnels that are there stay."""
        self._allowed = allowed
        self._gateway = gateway
        self._of_principal = of_principal

    def put(self, principal: str, ident: str, waiting: Waiting) -> None:
        """It waits for its client."""
        self._waiting[principal, ident] = waiting

    def take(self, principal: str, ident: str) -> socket.socket | None:
        """Its client is here, or nobody will come any more; None where none of that principal's waits under this id."""
        waiting = self._waiting.pop((principal, ident), None)
        if waiting is None:
            return None
        waiting.timer.cancel()
        waiting.leave()
        return waiting.sock

    def refusal_to_connect(self, principal: str, host: str, port: int) -> str:
        """Why this principal may not have a tunnel to there; empty: it may."""
        rights = self._rights(principal)
        if isinstance(rights, str):
            return rights
        if not rights.may_connect(host, port):
            return f"this key may not forward to {host}:{port}: its line in authorized_keys permits other places"
        return ""

    def refusal_to_listen(self, principal: str, host: str, port: int) -> str:
        """The same for a listener on the server's machine."""
        rights = self._rights(principal)
        if isinstance(rights, str):
            return rights
        if not rights.may_listen(host, port):
            return f"this key may not listen on {host or 'localhost'}:{port}: its line in authorized_keys permits other ports"
        if not (self._gateway or _is_loopback(address_of(host))):
            return f"listening on {host} would let others in; the server needs gateway_ports = true for that"
        return ""

    def refusal_to_accept(self, principal: str) -> str:
        """The same for a connection that came to a listener of its own."""
        rights = self._rights(principal)
        if isinstance(rights, str):
            return rights
        return "" if rights.everything or rights.listens else _NOT_THIS_KEY

    def _rights(self, principal: str) -> Forwarding | str:
        if self._allowed is False:
            return _NOT_AT_ALL
        said = self._of_principal(principal)
        if said is None:
            return "this key is not in authorized_keys any more"
        if said.said:
            return said
        if self._allowed or principal.startswith("uid:"):
            return Forwarding.all()
        return _NOT_THIS_KEY


def address_of(host: str) -> str:
    """The address that a listener's host means. Raises ValueError: names are not looked up, as they may lead anywhere."""
    return str(ipaddress.ip_address(_NAMES.get(host, host)))


def listen(host: str, port: int) -> socket.socket:
    """A listener on that address. Raises OSError, ValueError."""
    address = address_of(host)
    everywhere = host == "*"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server(
        (address, port), family=family, dualstack_ipv6=everywhere and socket.has_dualstack_ipv6()
    )
    listener.setblocking(False)
    return listener


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
