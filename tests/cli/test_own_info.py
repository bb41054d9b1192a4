"""What `:info` tells of a session over TLS, of a named host, and of what is not known."""

from __future__ import annotations

import time
from typing import Any

import pytest

from remote_shell import __version__, testing
from remote_shell.cli.nameplate import Nameplate
from remote_shell.cli.own_info import facts
from remote_shell.client.async_ import AsyncHost, connect_async

pytestmark = pytest.mark.screen


def told(host: AsyncHost, plate: Nameplate | None = None, **more: Any) -> dict[str, str]:
    now = time.monotonic()
    given: dict[str, Any] = {
        "began": now - 125,
        "connected": now - 5,
        "pid": 42,
        "directory": "/sr\x1bv",
        "on_lost": "kill",
        "history": "/h",
    }
    lines = facts(host, plate or Nameplate(host.welcome.host), **(given | more))
    assert all(line.isprintable() for line in lines)
    return {line[:10].strip(): line[11:] for line in lines}


async def test_over_a_unix_socket(target: str) -> None:
    async with connect_async(target) as host:
        shown = told(host)
        assert list(shown) == [
            *("host", "target", "way", "server", "you are", "trip", "session", "connected", "if lost", "shell"),
            "history",
        ]
        assert shown["target"] == target and shown["way"].startswith("Unix socket: not encrypted")
        assert shown["server"].endswith(f"; this client {__version__}") and "protocol 1" in shown["server"]
        assert shown["trip"] == "no answer" and shown["connected"] == "for 5.0s"
        assert shown["session"] == "for 2m 05s"
        assert shown["if lost"] == "the session is kept for 60 s, then what runs is ended"
        assert shown["shell"] == "pid 42, in /sr?v" and shown["history"] == "/h"
        assert told(host, pid=None)["shell"] == "in /sr?v"
        assert told(host, on_lost="keep")["if lost"].endswith("then the shell stays, to be attached again")
        host.drop_connection("for a look")
        assert told(host)["connected"] == "not now"
        done = await host.run(["true"])
        assert done.returncode == 0 and told(host)["session"] == "for 2m 05s, resumed once"


async def test_a_named_production_host(target: str) -> None:
    async with connect_async(target) as host:
        shown = told(host, Nameplate("box", label="EU", production=True))
        assert shown["named"] == "PRODUCTION [EU] box"
        assert told(host, Nameplate("box"))["named"] == "box"


async def test_with_tls_the_key_and_how_it_is_known(running: testing.RunningServer) -> None:
    async with connect_async(running.targets["tls"], **running.options("tls")) as host:
        shown = told(host)
        assert shown["way"].startswith("TLS 1.3") and shown["key"] == f"{host.fingerprint}, the one that was asked for"
