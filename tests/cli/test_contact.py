"""Silence of a server, seen through a proxy that holds everything back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from remote_shell.cli import contact, notices
from remote_shell.cli.contact import Contact
from remote_shell.cli.notices import Notices
from remote_shell.client.async_ import AsyncHost, connect_async
from tests.proxy import Proxy

pytestmark = pytest.mark.screen


class Person:
    """What one would see."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[str] = []
        self.notices = Notices("box", self.said.append, lambda seconds, what: None, status=self.shown.append)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in a tenth of the time."""
    for name in ("_FIRST", "_AGAIN", "_TICK", "_AT_PROMPT", "_DRAW"):
        monkeypatch.setattr(contact, name, getattr(contact, name) / 20)


async def test_who_answers_is_asked_seldom_and_nothing_is_said(target: str, quick: None) -> None:
    person = Person()
    async with connect_async(target) as host:
        pings = counted(host)
        watch = Contact(host, person.notices)
        watch.begin()
        await until(lambda: len(pings) > 3)
        watch.end()
        assert pings[-1] - pings[0] >= 2 * contact._AGAIN and person.said == person.shown == []
        count = len(pings)
        await asyncio.sleep(3 * contact._AGAIN)
        assert len(pings) == count, "nobody waits"


async def test_silence_is_shown_and_its_end_too(target: str, quick: None) -> None:
    person = Person()
    with Proxy(target) as proxy:
        async with connect_async(proxy.target) as host:
            watch = Contact(host, person.notices)
            proxy.stall()
            watch.begin()
            await until(lambda: bool(person.shown))
            assert person.shown[0].startswith("no answer from box")
            proxy.stall(False)
            await until(lambda: person.shown[-1] == "")
            watch.end()
            assert person.said == []


async def test_a_long_silence_gives_the_connection_up_for_the_same_session(
    target: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact, "_GIVE_UP", 0.1)
    person = Person()
    with Proxy(target) as proxy:
        host: AsyncHost = await connect_async(proxy.target, on_state=person.notices.on_state)
        async with host:
            watch = Contact(host, person.notices)
            proxy.stall()
            watch.begin()
            await until(lambda: person.notices.away)
            proxy.cut()
            proxy.stall(False)
            done = await host.run(["echo", "on"], capture_output=True)
            watch.end()
            assert done.stdout == b"on\n" and host.conversation.reconnects == 1


# --- at the prompt


def counted(host: AsyncHost) -> list[float]:
    """When it was asked for a sign of life, from now on."""
    pings: list[float] = []
    real = host.ping

    def ping(answered: Callable[[], None] | None = None) -> None:
        pings.append(host.loop.time())
        real(answered)

    host.ping = ping  # type: ignore[method-assign]
    return pings


async def test_at_the_prompt_it_asks_seldom_and_draws_nothing(target: str, quick: None) -> None:
    person, drawn = Person(), []
    async with connect_async(target) as host:
        pings = counted(host)
        watch = Contact(host, person.notices, lambda: drawn.append(host.loop.time()))
        watch.rest()
        await until(lambda: len(pings) > 2)
        assert pings[-1] - pings[0] >= 2 * contact._AT_PROMPT
        assert person.said == person.shown == [] and not drawn
        watch.begin()  # a command: looked at sooner
        began = host.loop.time()
        count = len(pings)
        await until(lambda: len(pings) > count)
        assert pings[-1] - began < contact._AT_PROMPT
        watch.end()
        count = len(pings)
        await asyncio.sleep(2 * contact._AT_PROMPT)
        assert len(pings) == count


async def test_a_silent_cut_at_the_prompt_is_seen_without_a_key(
    target: str, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (contact, notices):
        monkeypatch.setattr(module, "STATUS", 0.1)
    monkeypatch.setattr(contact, "_GIVE_UP", 0.3)
    person, briefs = Person(), [""]
    with Proxy(target) as proxy:
        host: AsyncHost = await connect_async(proxy.target, on_state=person.notices.on_state)
        async with host:
            watch = Contact(host, person.notices, lambda: briefs.append(person.notices.brief()))
            watch.rest()
            proxy.stall()
            began = host.loop.time()
            await until(lambda: briefs[-1].startswith("no answer for"))
            assert host.loop.time() - began < contact._AT_PROMPT + 1
            await until(lambda: person.notices.away)
            watch.news()
            await until(lambda: briefs[-1].startswith("no contact for"))
            first = briefs[-1]
            await until(lambda: briefs[-1] != first)  # the time goes on
            proxy.cut()
            proxy.stall(False)
            await until(lambda: not person.notices.away)
            watch.news()
            assert briefs[-1] == "" and host.conversation.reconnects == 1
            watch.end()
