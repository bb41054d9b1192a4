"""The asyncio front for many hosts: `connect_many_async`. One loop, one task for each host that is at work.

Decides nothing: `many` says whose turn it is and what each end was. Neighbours: `async_` is one host, `blocking_many` has the same verbs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any

from remote_shell.client import opening
from remote_shell.client.async_ import AsyncHost
from remote_shell.client.many import Outcome, Plans, Results, Turns, in_order, prepare, run_options
from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS


async def in_turn(turns: Turns, parallel: int, one: Callable[[str], Awaitable[Outcome]]) -> dict[str, Outcome]:
    """Have `one` done for each host, `parallel` at a time. Whatever it raises, or a cancellation, ends all that are at work."""
    outcomes: dict[str, Outcome] = {}

    async def work() -> None:
        while (name := turns.next()) is not None:
            outcomes[name] = await one(name)
            turns.end(outcomes[name])

    try:
        await together(*(work() for _ in range(parallel)))
    except BaseException:
        turns.stop()
        raise
    return outcomes


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """All of them at once. What one raises is raised as it is, and ends the others first, which a TaskGroup would wrap."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            if not task.cancelling():  # `gather` may have; a second time would cut its last words short
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class AsyncHosts:
    """Many hosts. Each is connected when its first command's turn comes, and stays so until `close`."""

    def __init__(self, plans: Plans, parallel: int) -> None:
        self._plans = plans
        self._parallel = parallel
        self._hosts: dict[str, AsyncHost] = {}
        self._closed = False

    async def __aenter__(self) -> AsyncHosts:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def names(self) -> list[str]:
        """The hosts, in the order in which they were named, each once."""
        return self._plans.names

    async def run(
        self,
        args: opening.Args,
        *,
        input: Any = None,
        stderr: Any = None,
        shell: opening.Shell = False,
        cwd: opening.Text | None = None,
        timeout: float | None = None,
        check: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        text: bool | None = None,
        env: opening.Environment | None = None,
        env_add: opening.Environment | None = None,
        command_id: str | None = None,
        max_failures: int | None = None,
        most: int = DEFAULT_LIMITS.many_result_max,
    ) -> Results:
        """The same command on each; as `Hosts.run`. Cancelling ends it everywhere."""
        if self._closed:
            raise UsageError("these hosts were closed; connect again")
        turns = Turns(self.names, max_failures)
        options = run_options(
            input=input,
            stderr=stderr,
            shell=shell,
            cwd=cwd,
            timeout=timeout,
            encoding=encoding,
            errors=errors,
            text=text,
            env=env,
            env_add=env_add,
            command_id=command_id,
            most=most,
        )

        async def one(name: str) -> Outcome:
            try:
                return await (await self._host(name)).run(args, **options)
            except Exception as error:
                return error

        results = in_order(await in_turn(turns, min(self._parallel, len(self.names)), one), turns, self.names)
        if check:
            results.check()
        return results

    async def close(self) -> None:
        """Say goodbye to all: the servers end at once what still runs. Safe to repeat."""
        self._closed = True
        hosts, self._hosts = self._hosts, {}
        await asyncio.gather(*(host.close() for host in hosts.values()))

    async def _host(self, name: str) -> AsyncHost:
        host = self._hosts.get(name)
        if host is None:
            host = AsyncHost(self._plans.plans[name], credentials=self._plans.credentials(name))
            await host.open()
            self._hosts[name] = host
        return host


def connect_many_async(
    targets: str | Iterable[str], *, exclude: str | Iterable[str] = (), parallel: int | None = None, **options: Any
) -> AsyncHosts:
    """As `connect_many`: `async with remote_shell.connect_many_async(["@ci"]) as hosts: await hosts.run(["uptime"])`."""
    return AsyncHosts(*prepare(targets, exclude, parallel, options))
