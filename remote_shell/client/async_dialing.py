"""Dialling for the asyncio front: the same steps as `dialing`, awaited. Decides nothing."""

from __future__ import annotations

import asyncio
import socket
import time

from remote_shell.client import faults
from remote_shell.client.dialing import Address, addresses, is_name, link_of, open_socket, peer_uid
from remote_shell.client.login import Dialled, LoggedIn, Login, Step
from remote_shell.client.plan import Plan
from remote_shell.config.targets import Target
from remote_shell.errors import RemoteShellError
from remote_shell.link import Link, PlainLink


async def log_in(login: Login, deadline: float, session: str | None = None, received: int = 0) -> tuple[Link, LoggedIn]:
    """Carry out a login until `deadline` (monotonic; the time that a person takes is added). Raises RemoteShellError."""
    caller = _Caller(login, deadline)
    steps = login.steps(session, received, prompt=True)
    result: object = None
    try:
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                return caller.take_link(), end.value
            result = await caller.do(step)
    finally:
        caller.hang_up()


class _Caller:
    """One login under way."""

    def __init__(self, login: Login, deadline: float) -> None:
        self._login = login
        self._plan: Plan = login.plan
        self._loop = asyncio.get_running_loop()
        self._deadline = deadline
        self._seconds = max(0.0, deadline - time.monotonic())
        self._link: Link | None = None

    async def do(self, step: Step) -> object:
        """Carry out one step."""
        if step.what == "dial":
            try:
                dialled = await self._dial()
            except RemoteShellError as error:
                self._login.not_dialled(error)
                raise
            assert self._link is not None, "dialled"
            self._link = self._login.traced(self._link)
            return dialled
        if step.what == "send":
            await self._send(step.data)
        elif step.what == "receive":
            return await self._receive()
        elif step.what == "work":
            return await self._work(step)
        else:
            self.hang_up()
        return None

    def take_link(self) -> Link:
        """The link of a login that holds."""
        link, self._link = self._link, None
        assert link is not None, "a login has a link"
        return link

    def hang_up(self) -> None:
        """Close what was dialled."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    async def _work(self, step: Step) -> object:
        if self._login.method == "peer":
            return step.work()  # nobody to ask, nothing to read: not worth a thread
        before = time.monotonic()
        try:
            return await asyncio.to_thread(step.work)
        finally:
            self._deadline += time.monotonic() - before

    async def _dial(self) -> Dialled:
        target = self._plan.target
        if target.kind == "ssh":
            return await self._dial_by_ssh()
        try:
            sock = await self._connect(target)
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
                await self._wait(writing=not link.flush())
        except OSError as error:
            raise faults.no_tls(self._plan.name, error) from error
        return Dialled("tls", certificate=link.peer_certificate())

    async def _dial_by_ssh(self) -> Dialled:
        from remote_shell.client.ssh_link import SshCall

        call = SshCall(self._login.trip(), self._plan.limits, self._deadline)
        link = self._link = call.link
        while not link.handshake():
            if not await self._moved(link.descriptors(), call.next_look()):
                call.look()
        self._deadline += call.person_took()
        return Dialled(link.transport)

    async def _connect(self, target: Target) -> socket.socket:
        places: list[Address]
        if not is_name(target):
            places = addresses(target)
        else:
            async with asyncio.timeout(self._left()):
                places = await asyncio.to_thread(addresses, target)
        fault: OSError = OSError(0, "the name has no address")
        for index, (family, address) in enumerate(places):
            sock = open_socket(family)
            try:
                sock.setblocking(False)
                async with asyncio.timeout(self._left() / min(2, len(places) - index)):
                    await self._loop.sock_connect(sock, address)
            except OSError as error:
                sock.close()
                fault = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise fault

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    async def _send(self, data: bytes) -> None:
        link = self._link
        assert link is not None, "dialled first"
        view = memoryview(data)
        try:
            while view or not link.flush():
                count = link.send([view]) if view else 0
                view = view[count:]
                if not count:
                    await self._wait(writing=True)
        except OSError as error:
            raise faults.hung_up(self._plan.name, self._plan.target.kind, error) from error

    async def _receive(self) -> bytes:
        link = self._link
        assert link is not None, "dialled first"
        try:
            while (data := link.recv()) is None:
                await self._wait()
        except OSError as error:
            raise faults.hung_up(self._plan.name, self._plan.target.kind, error) from error
        return data

    async def _wait(self, *, writing: bool = False) -> None:
        """Until the link is readable, or writable too. Raises ConnectError at the deadline."""
        assert self._link is not None, "dialled first"
        if not await self._moved((self._link.fileno(),), self._deadline, writing=writing):
            raise faults.too_slow(self._plan.name, self._seconds)

    async def _moved(self, descriptors: tuple[int, ...], until: float, *, writing: bool = False) -> bool:
        """Until one of them is readable, or writable too. False at `until`, monotonic."""
        moved: asyncio.Future[bool] = self._loop.create_future()

        def move(found: bool) -> None:
            if not moved.done():
                moved.set_result(found)

        for descriptor in descriptors:
            self._loop.add_reader(descriptor, move, True)
            if writing:
                self._loop.add_writer(descriptor, move, True)
        timer = self._loop.call_later(max(0.0, until - time.monotonic()), move, False)
        try:
            return await moved
        finally:
            timer.cancel()
            for descriptor in descriptors:
                self._loop.remove_reader(descriptor)
                if writing:
                    self._loop.remove_writer(descriptor)
