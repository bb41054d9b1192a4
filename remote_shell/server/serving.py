"""A server's life as a process of its own: what signals do to it, and what it tells those who started it.

Neighbours: `server` serves; `cli.commands.serve` reads the settings, `cli.trial` has one of its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping

from remote_shell.config.running import Running, Sign, put_up
from remote_shell.config.server import ServerConfig
from remote_shell.errors import ConfigError
from remote_shell.server.idling import Idling
from remote_shell.server.server import Server
from remote_shell.server.service_manager import Manager

log = logging.getLogger("remote_shell.server")


async def serve(
    config: ServerConfig,
    *,
    ready: Callable[[Mapping[str, object]], None] = lambda facts: None,
    reload: Callable[[], ServerConfig] | None = None,
    private: bool = False,
) -> None:
    """Serve until TERM or INT, which drain, or until it idled for `config.idle_exit`; a second one ends at once. HUP calls `reload`.

    `ready` is told once every listener accepts. `private`: the server is one person's, and nothing is to be left when they are
    gone: the first signal ends everything within `bye_kill_time`, and daemons too. Raises what `Server.start` raises.
    """
    loop = asyncio.get_running_loop()
    server = Server(config)
    asked_to_end: asyncio.Queue[None] = asyncio.Queue()

    sign: Sign | None = None

    def read_again() -> None:
        nonlocal sign
        if reload is not None:
            try:
                settings = reload()
                server.reload(settings)
                log.info("settings read again")
                if sign is not None:
                    sign.take_down()
                    sign = _put_up_sign(server, settings.authorized_keys)
            except ConfigError as error:
                log.error("settings stay as they were: %s", error)

    await server.start()
    # after start: prepare_process has set the dispositions that commands inherit
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_end.put_nowait, None)
    loop.add_signal_handler(signal.SIGHUP, read_again)

    def leave() -> bool:
        left = server.leave_unasked()
        if left:
            log.info("nobody was here for %g s", config.idle_exit)
            asked_to_end.put_nowait(None)
        return left

    if config.idle_exit is not None:
        Idling(loop, config.idle_exit, busy=lambda: server.busy, visits=lambda: server.visits, leave=leave)
    manager = Manager()
    sign = None if private else _put_up_sign(server, config.authorized_keys)
    ready(
        {"event": "ready", "pid": os.getpid(), "listen": server.addresses, "fingerprint": server.fingerprint},
    )
    manager.tell("READY=1")
    await asked_to_end.get()
    manager.tell("STOPPING=1")
    log.info("draining")
    draining = asyncio.create_task(_end_private(server) if private else server.drain())
    second = asyncio.create_task(asked_to_end.get())
    await asyncio.wait((draining, second), return_when=asyncio.FIRST_COMPLETED)
    if not draining.done():
        draining.cancel()
        await server.close(0.0)
        if private:
            await server.end_daemons()
    second.cancel()
    if sign is not None:
        sign.take_down()
    await asyncio.gather(draining, second, return_exceptions=True)
    log.info("ended")


def _put_up_sign(server: Server, listed: str) -> Sign | None:
    """For `keys`, which looks where we listen and which list counts; a server can do without."""
    try:
        return put_up(Running(os.getpid(), tuple(server.addresses), server.fingerprint or "", listed))
    except (OSError, ConfigError) as error:
        log.warning("`remote-shell keys` will not know that this server runs: %s", error)
        return None


async def _end_private(server: Server) -> None:
    await server.close(server.config.effective_limits.bye_kill_time / 2)
    await server.end_daemons()
