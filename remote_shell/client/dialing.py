"""Dialling for the blocking front: a stream to the target, and the steps of a login carried out by waiting.

Decides nothing: `login` says what comes next. Every wait has a deadline but the one for a person and the resolver's own.
Neighbours: `addresses` is shared with the asyncio front.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import time
from collections.abc import Generator
from typing import Any, TypeVar

from remote_shell.client import faults
from remote_shell.client.login import Dialled, LoggedIn, Login, Step
from remote_shell.client.plan import Plan
from remote_shell.config.targets import Target
from remote_shell.errors import RemoteShellError
from remote_shell.link import Link, PlainLink, TlsLink

T = TypeVar("T")
Address = tuple[socket.AddressFamily, Any]
_UCRED = struct.Struct("3i")  # unix(7): pid, uid, gid
_IN, _OUT = 1, 4


def is_name(target: Target) -> bool:
    """Finding its addresses asks the resolver, which may wait."""
    return target.kind in ("tls", "tcp") and ":" not in target.host and not target.host.replace(".", "").isdigit()


def addresses(target: Target) -> list[Address]:
    """Where `target` may be reached, best first. Asks the resolver, which has its own time limits. Raises OSError."""
    if target.kind == "unix":
        return [(socket.AF_UNIX, target.path)]
    if ":" in target.host:
        return [(socket.AF_INET6, (target.host, target.port))]
    if not is_name(target):
        return [(socket.AF_INET, (target.host, target.port))]
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def open_socket(family: socket.AddressFamily) -> socket.socket:
    """A stream socket whose descriptor is above 2: with `<&-` it would be 0, and read as the command's stdin."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    if sock.fileno() > 2:
        return sock
    try:
        return socket.socket(fileno=fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))
    finally:
        sock.close()


def link_of(sock: socket.socket, plan: Plan) -> PlainLink | TlsLink:
    """The link over a connected socket; TLS still has its handshake to do."""
    if plan.target.kind != "tls":
        return PlainLink(sock, plan.limits.unsent_max)
    from remote_shell.identity.tls import client_context

    return TlsLink(sock, plan.limits.unsent_max, client_context(), server_side=False)


def peer_uid(sock: socket.socket) -> int:
    """Whose process listens on the other end of a Unix socket."""
    uid: int = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]
    return uid


def log_in(
    login: Login, deadline: float, session: str | None = None, received: int = 0, *, prompt: bool = False
) -> tuple[Link, LoggedIn]:
    """Carry out a login until `deadline` (monotonic; the time that a person takes is added). Raises RemoteShellError."""
    return _Caller(login, deadline).carry_out(login.steps(session, received, prompt=prompt))


def call(login: Login, deadline: float, steps: Generator[Step, Any, T]) -> T:
    """Carry out other steps of a login, such as a pairing's, and hang up. Raises RemoteShellError."""
    link, result = _Caller(login, deadline).carry_out(steps)
    link.close()
    return result


def see_out(link: Link | None, deadline: float) -> None:
    """Wait until what was sent has left, where that is a program's doing; what comes is dropped, so that it can."""
    while link is not None and not link.finish() and time.monotonic() < deadline:
        try:
            link.recv()
        except OSError:
            return
        time.sleep(0.002)


_NAP = 0.2  # seconds: a Ctrl-C that comes right before poll(2) is heard after it, and never within


def _moved(descriptors: tuple[int, ...], events: int, until: float) -> bool:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, events)
    while (left := until - time.monotonic()) > 0:
        if poll.poll(min(left, _NAP) * 1000):
            return True
    return False


class _Caller:
    """One login under way."""

    def __init__(self, login: Login, deadline: float) -> None:
        self._login = login
        self._plan = login.plan
        self._deadline = deadline
        self._seconds = max(0.0, deadline - time.monotonic())
        self._link: Link | None = None

    def carry_out(self, steps: Generator[Step, Any, T]) -> tuple[Link, T]:
        result: Any = None
        try:
            while True:
                try:
                    step = steps.send(result)
                except StopIteration as end:
                    assert self._link is not None, "a login has a link"
                    link, self._link = self._link, None
                    return link, end.value
                result = self._do(step)
        finally:
            self._hang_up()

    def _do(self, step: Step) -> object:
        if step.what == "dial":
            try:
                dialled = self._dial()
            except RemoteShellError as error:
                self._login.not_dialled(error)
                raise
            assert self._link is not None, "dialled"
            self._link = self._login.traced(self._link)
            return dialled
        if step.what == "send":
            self._send(step.data)
            return None
        if step.what == "receive":
            return self._receive()
        if step.what == "work":
            before = time.monotonic()
            try:
                return step.work()
            finally:
                self._deadline += time.monotonic() - before
        self._hang_up()
        return None

    def _hang_up(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _dial(self) -> Dialled:
        target = self._plan.target
        if target.kind == "ssh":
            return self._dial_by_ssh()
        try:
            sock = self._connect(target)
        except OSError as error:
            raise faults.cannot_connect(target, error, self._seconds) from error
        try:
            link = self._link = link_of(sock, self._plan)
        except BaseException:
            sock.close()
            raise
        if isinstance(link, PlainLink):
            return Dialled(link.transport, uid=peer_uid(sock) if target.kind == "unix" else -1)
        try:
            while not link.handshake():
                self._wait(_IN if link.flush() else _IN | _OUT)
        except OSError as error:
            raise faults.no_tls(self._plan.name, error) from error
        return Dialled("tls", certificate=link.peer_certificate())

    def _dial_by_ssh(self) -> Dialled:
        from remote_shell.client.ssh_link import SshCall

        call = SshCall(self._login.trip(), self._plan.limits, self._deadline)
        link = self._link = call.link
        while not link.handshake():
            if not _moved(link.descriptors(), _IN, call.next_look()):
                call.look()
        self._deadline += call.person_took()
        return Dialled(link.transport)

    def _connect(self, target: Target) -> socket.socket:
        """The first address that answers. Raises OSError: the last one's."""
        places = addresses(target)
        fault: OSError = OSError(0, "the name has no address")
        for index, (family, address) in enumerate(places):
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            sock = open_socket(family)
            try:
                # one silent address must not eat the others' time
                sock.settimeout(left / min(2, len(places) - index))
                sock.connect(address)
            except OSError as error:
                sock.close()
                fault = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise fault

    def _send(self, data: bytes) -> None:
        link = self._link
        assert link is not None, "dialled first"
        view = memoryview(data)
        try:
            while view or not link.flush():
                count = link.send([view]) if view else 0
                view = view[count:]
                if not count:
                    self._wait(_OUT)
        except OSError as error:
            raise faults.hung_up(self._plan.name, self._plan.target.kind, error) from error

    def _receive(self) -> bytes:
        link = self._link
        assert link is not None, "dialled first"
        try:
            while (data := link.recv()) is None:
                self._wait(_IN)
        except OSError as error:
            raise faults.hung_up(self._plan.name, self._plan.target.kind, error) from error
        return data

    def _wait(self, events: int) -> None:
        assert self._link is not None, "dialled first"
        if not _moved((self._link.fileno(),), events, self._deadline):
            raise faults.too_slow(self._plan.name, self._seconds)
