"""Revocation: a key that may not go on takes its open sessions, commands, shells and tunnels with it, and nobody else's."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from remote_shell.config.server import ServerConfig
from remote_shell.identity.restrictions import parse_options
from remote_shell.identity.secrets import load_secret
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.context import Context
from remote_shell.server.revocation import Revocation
from remote_shell.testing import RunningServer, server
from remote_shell.wire.messages import Detach, Terminal

from .raw_client import LoginDeniedError, RawClient, by_key, by_secret, living, until
from .test_rights import new_line, rewrite

pytestmark = pytest.mark.screen  # a server for each test

TERMINAL = Terminal(term="xterm", rows=24, columns=80)
LOOK = 0.05


@pytest.fixture
def running() -> Iterator[RunningServer]:
    with server(
        ("unix:", "tls:127.0.0.1:0"), config=f"[limits]\nrevocation_look_time = {LOOK}\nrefusal_time = 0.05\n"
    ) as one:
        yield one
        assert "Traceback" not in one.read_log()


class Line:
    """A key on the list."""

    def __init__(self, running: RunningServer, options: str = "") -> None:
        self.path = os.path.join(running.home, "authorized_keys")
        with open(self.path, encoding="utf-8") as file:
            self.others = file.read()
        key, self.line = new_line(options)
        self.target, self.prove = running.targets["tls"], by_key(key)
        self.write(self.line)

    def write(self, line: str) -> None:
        """The file with this line, and with those of others."""
        rewrite(self.path, self.others + line)

    def connect(self, **more: Any) -> RawClient:
        """Log in."""
        return RawClient(self.target, self.prove, **more)


def test_it_is_over_within_five_seconds() -> None:
    """Two looks, and the killing; the tests below show that it takes no more."""
    limits = DEFAULT_LIMITS
    assert 2 * limits.revocation_look_time + limits.bye_kill_time < 5 / 2, "with as much again for a busy machine"


def test_a_removed_key_ends_all_of_its_sessions_and_nothing_else(running: RunningServer) -> None:
    mine, tag = Line(running, "port-forwarding"), f"31{os.getpid()}.1"
    with (
        RawClient(running.targets["unix"]) as local,
        RawClient(running.targets["tls"], by_key(running.identity)) as other,
        RawClient(running.targets["tls"], by_secret(load_secret(running.secret_file))) as secret,
        socket.create_server(("127.0.0.1", 0)) as service,
    ):
        first, second, left = mine.connect(), mine.connect(), mine.connect(on_lost="keep")
        gone = mine.connect()
        first.start(["sleep", tag])
        first.start(["sh", "-c", f"trap '' TERM HUP; sleep {tag} & wait; sleep {tag}"])
        second.start(None, request="shell", terminal=TERMINAL, stdin="pipe")
        _, tunnel = second.start(None, request="connect", host="127.0.0.1", port=service.getsockname()[1], stdin="pipe")
        assert tunnel.opened is not None
        far, _ = service.accept()
        _, listener = second.start(None, request="listen", port=0)
        assert listener.opened is not None and listener.opened.port
        ident, shell = left.start(None, request="shell", terminal=TERMINAL, stdin="pipe")
        left.session.send_message(ident, Detach())
        left.finish(ident)
        assert shell.opened is not None and shell.opened.pid is not None
        gone.start(["sleep", tag])
        gone.cut()  # its session waits for it
        until(lambda: len(living(tag)) >= 3, "they run")
        assert all(client.run(["true"]).exit for client in (local, other, secret))

        before = time.monotonic()
        mine.write("")
        for client in (first, second, left):
            assert client.wait_end() == "revoked"
            assert client.disconnect is not None and "taken off the server's list" in client.disconnect.detail
        until(lambda: not living(tag), "its commands are dead", 5)
        until(lambda: not os.path.exists(f"/proc/{shell.opened.pid}"), "so is the shell that was left", 5)  # type: ignore[union-attr]
        far.settimeout(5)
        with far:
            try:
                assert far.recv(1) == b""
            except ConnectionResetError:
                pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listener.opened.port), 5)
        assert time.monotonic() - before < 5
        for client in (local, other, secret):
            assert client.run(["echo", "on"]).text() == b"on\n"
        mine.write(mine.line)
        with mine.connect() as again:
            assert again.run(["true"]).exit is not None


def test_a_job_goes_on(running: RunningServer) -> None:
    mine, tag = Line(running), f"32{os.getpid()}.1"
    client = mine.connect()
    _, job = client.start(["sleep", tag], detach=True)
    assert job.opened is not None
    mine.write("")
    assert client.wait_end() == "revoked"
    assert living(tag)


@pytest.mark.parametrize("options", ['allow="true"', "no-pty", 'from="127.0.0.1"', 'expiry-time="29991231"'])
def test_other_options_end_the_sessions_that_began_without_them(running: RunningServer, options: str) -> None:
    mine = Line(running)
    client = mine.connect()
    mine.write(f"{options} {mine.line}")
    assert client.wait_end() == "revoked"
    assert client.disconnect is not None and "has changed" in client.disconnect.detail
    with mine.connect() as again:
        assert again.run(["true"]).exit is not None


def test_a_shell_that_was_left_ends_with_the_options_that_it_was_started_under(running: RunningServer) -> None:
    mine = Line(running)
    with mine.connect(on_lost="keep") as client:
        ident, shell = client.start(None, request="shell", terminal=TERMINAL, stdin="pipe")
        client.session.send_message(ident, Detach())
        client.finish(ident)
    assert shell.opened is not None
    mine.write(f'timeout="60" {mine.line}')
    until(lambda: not os.path.exists(f"/proc/{shell.opened.pid}"), "it has ended")  # type: ignore[union-attr]


def test_a_time_that_comes_ends_the_session(running: RunningServer) -> None:
    for patience in (2, 8, 40):  # seconds; the first is enough unless the machine is very busy
        at = int(time.time()) + patience
        mine = Line(running, f'expiry-time="{time.strftime("%Y%m%d%H%M%S", time.gmtime(at))}Z"')
        with suppress(LoginDeniedError):
            client = mine.connect()
            break
    assert client.wait_end() == "revoked"
    assert at <= time.time() < at + 5
    assert client.disconnect is not None and "expired" in client.disconnect.detail


def test_a_secret_that_was_taken_away(running: RunningServer) -> None:
    client = RawClient(running.targets["tls"], by_secret(load_secret(running.secret_file)))
    rewrite(os.path.join(running.home, "secrets"), "# none\n")
    assert client.wait_end() == "revoked"


def test_a_session_with_changed_options_does_not_resume(running: RunningServer) -> None:
    mine = Line(running)
    client = mine.connect()
    client.cut()
    mine.write(f'allow="true" {mine.line}')
    client.connect(client.welcome.session)
    assert not client.welcome.resumed
    client.bye()


# --- looks, one by one


class Session:
    """As far as `Revocation` knows one."""

    name, principal, source = "a-session", "key:me", "10.0.0.1"

    def __init__(self, options: str) -> None:
        self.restrictions = parse_options(options)
        self.revoked: list[str] = []

    def revoke(self, why: str) -> None:
        """Note it."""
        self.revoked.append(why)


def looks(session: Session, *said: str | None) -> list[int]:
    """After which looks the session was ended, if they find these options for its key."""
    loop = asyncio.new_event_loop()
    context, ended = Context(loop, ServerConfig()), []
    try:
        revocation = Revocation(context, SimpleNamespace(all=lambda: [session]))  # type: ignore[arg-type]
        for number, options in enumerate(said, start=1):
            found = None if options is None else parse_options(options)
            context.restrictions_of = lambda principal, found=found: found  # type: ignore[misc]
            session.revoked.clear()
            revocation.look()
            if session.revoked:
                ended.append(number)
    finally:
        revocation.stop()
        context.scribe.close()
        loop.close()
    return ended


@pytest.mark.parametrize(
    ("options", "said", "ended"),
    [
        ("", ["", "", ""], []),
        ("restrict,pty", ["RESTRICT,pty", "pty,restrict,pty"], []),  # the same in other words
        ("", [None, "", None, "", None], []),  # an editor at work
        ("", [None, None], [2]),
        ("", ["restrict", "restrict"], [2]),
        ("restrict", ["", ""], [2]),
        ("", [None, "restrict"], [2]),
        ('expiry-time="29991231Z"', ['expiry-time="29991231Z"'] * 3, []),
        ('expiry-time="20200101Z"', ['expiry-time="20200101Z"'], [1]),  # time needs no second look
    ],
)
def test_what_is_seen_twice_is_believed(options: str, said: list[str | None], ended: list[int]) -> None:
    assert looks(Session(options), *said) == ended
