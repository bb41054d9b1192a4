"""Somebody in the middle who passes a login on, and one who says again what he heard.

The control takes the binding out on both sides, the server's by a `sitecustomize` of its own: then the same relay gets in, so what
refuses it is the binding and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import _env

from remote_shell.identity.secrets import load_secret
from remote_shell.testing import RunningServer, server
from remote_shell.wire import frames, handshake
from remote_shell.wire.messages import Auth
from tests.server.conftest import ALL
from tests.server.raw_client import LoginDeniedError, Prove, RawClient, Stranger, by_key, by_secret
from tests.server.test_auth import Relay
from torture_parts.figure import Figure, Settings, none, show

CONFIG = "[limits]\nrefusal_time = 0.05\n"
AT_ONCE = 100  # replays

UNBOUND = """
import importlib.abc, importlib.util, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "remote_shell.wire.handshake":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            bound = module.transcript
            module.transcript = lambda role, transport, hellos, auth, credential, key: bound(
                role, "", hellos, auth, credential, b"")

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def run(settings: Settings) -> Iterator[Figure]:
    """Relayed logins with the binding and without, and replayed ones."""
    each = settings.many(20, 2)
    with server(ALL, config=CONFIG) as running:
        direct, relayed, tried = relays(running, each)
        yield Figure("direct logins let in", f"{tried}", f"{direct}", direct == tried)
        yield none("relayed logins let in, of key and secret, to tls, tcp, unix", relayed, f" of {tried}")
        yield from replays(running, 1000 if not settings.quick else 60)
    with tempfile.TemporaryDirectory() as folder, unbound():
        with open(os.path.join(folder, "sitecustomize.py"), "w", encoding="ascii") as file:
            file.write(UNBOUND)
        with server(ALL, config=CONFIG, environment={"PYTHONPATH": f"{folder}:{_env.ROOT}"}) as running:
            _, relayed, tried = relays(running, each)
    yield Figure("the control: relayed logins let in without the binding", f"{tried}", f"{relayed}", relayed == tried)


def relays(running: RunningServer, each: int) -> tuple[int, int, int]:
    """Logins let in directly, logins let in through a relay, and how many of each there were."""
    proofs: list[Prove] = [by_key(running.identity), by_secret(load_secret(running.secret_file))]
    direct = relayed = tried = 0
    for kind, target in running.targets.items():
        for prove in proofs:
            for number in range(each):
                show(f"relay: {kind} {number}")
                tried += 1
                direct += gets_in(target, prove)
                relay = Relay(target)
                relayed += gets_in(relay.address, prove)
                relay.close()
    return direct, relayed, tried


def gets_in(target: str, prove: Prove) -> bool:
    """Whether a login there succeeds."""
    try:
        RawClient(target, prove).bye()
    except LoginDeniedError:
        return False
    return True


def replays(running: RunningServer, count: int) -> Iterator[Figure]:
    """Good logins by key and secret, heard to the last byte and said again, on each transport."""
    heard = []
    for prove in (by_key(running.identity), by_secret(load_secret(running.secret_file))):
        for kind in running.targets:
            with RawClient(running.targets[kind], prove) as client:
                auth = prove(client.handshake, Auth(method="key"))
                payloads = client.handshake._own, auth.encode()
            heard.append((kind, b"".join(frames.encode(frames.CONTROL, 0, payload) for payload in payloads)))
    accepted = answered = 0
    for first in range(0, count, AT_ONCE):
        show(f"relay: {first} of {count} replays")
        cases = [heard[number % len(heard)] for number in range(first, min(first + AT_ONCE, count))]
        strangers = [(Stranger(running.targets[kind]), said) for kind, said in cases]
        for stranger, said in strangers:
            stranger.send(said)
        for stranger, _ in strangers:
            answer = stranger.rest()
            accepted += b'"welcome"' in answer
            answered += b'"denied"' in answer
    yield none("replayed logins let in", accepted, f" of {count:,}")
    yield Figure("replayed logins that were told they are refused", f"{count:,}", f"{answered:,}", answered == count)


@contextlib.contextmanager
def unbound() -> Iterator[None]:
    """Our side proves what names neither the transport nor the server's key."""
    bound = handshake.transcript

    def transcript(role: str, transport: str, hellos: Any, auth: Auth, credential: bytes, key: bytes) -> bytes:
        return bound(role, "", hellos, auth, credential, b"")

    handshake.transcript = transcript
    try:
        yield
    finally:
        handshake.transcript = bound
