"""Commands beside the live shell, on its session: started, collected, signalled.

Each has one task, which ends with it. They have no input and no terminal. Never outlive the session: `close` ends what still
runs. Neighbours: `own_commands` starts them, `ran` keeps what they wrote.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from remote_shell.cli import exit_status
from remote_shell.cli.ran import Commands, Ran
from remote_shell.client.async_ import AsyncHost
from remote_shell.client.async_process import AsyncProcess
from remote_shell.client.redirect import DEVNULL, PIPE, STDOUT
from remote_shell.errors import RemoteShellError

_CHUNK = 64 * 1024
_REST = (
    0.1  # seconds for reading what has come already when the command has ended; what survivors write later is dropped
)


class Background:
    """Those of one REPL. `ended` is told of each end."""

    def __init__(self, host: AsyncHost, commands: Commands, ended: Callable[[Ran], None]) -> None:
        self._host = host
        self._commands = commands
        self._ended = ended
        self._tasks: dict[int, tuple[AsyncProcess, asyncio.Task[None]]] = {}

    async def start(self, text: str, directory: str) -> Ran:
        """Run `text` in `directory`. Raises what `popen` raises."""
        process = await self._host.popen(
            text, shell="account", cwd=directory, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
        )
        ran = self._commands.begin(text, directory, background=True)
        self._tasks[ran.number] = (process, asyncio.create_task(self._collect(ran, process)))
        return ran

    def send_signal(self, ran: Ran, number: int) -> None:
        """Signal it; nothing happens after its end."""
        if ran.number in self._tasks:
            self._tasks[ran.number][0].send_signal(number)

    async def wait(self, ran: Ran) -> None:
        """Until it has ended. Being cancelled does nothing to it."""
        if ran.number in self._tasks:
            await asyncio.wait({self._tasks[ran.number][1]})

    async def close(self) -> None:
        """End all."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _collect(self, ran: Ran, process: AsyncProcess) -> None:
        reading = asyncio.create_task(self._read(ran, process))
        try:
            code = await process.wait()
            await asyncio.wait({reading}, timeout=_REST)
            end = process.result
            process.release()
            signal = end.signal if end is not None else None
            status = exit_status.of_signal(signal) if signal is not None else code
            ran.end(status, signal, duration=end.duration_us / 1_000_000 if end is not None else None)
        except RemoteShellError as error:
            ran.end(None, lost=str(error))
        except BaseException:
            process.abandon()
            ran.end(None, lost="ended when the shell was left")
            raise
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            del self._tasks[ran.number]
        self._ended(ran)

    async def _read(self, ran: Ran, process: AsyncProcess) -> None:
        assert process.stdout is not None, "asked for"
        while data := await process.stdout.read(_CHUNK):
            self._commands.wrote(ran, bytes(data))
