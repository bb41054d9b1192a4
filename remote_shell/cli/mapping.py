"""One command on many hosts, as `remote-shell map` shows it: output gathered, labelled, or one JSON object a host.

No host is ever left out: each has an outcome, whatever became of it. Memory is bounded whatever the hosts write. Neighbours:
client's `many` decides and words, `gathered` and `spool` have the output, `report` the object.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from remote_shell import DEVNULL, PIPE
from remote_shell.cli import exit_status, report
from remote_shell.cli.gathered import Labelled, Printer, PrintingError, Section, show
from remote_shell.cli.main import complain
from remote_shell.cli.passing import EndedHereError, Errand
from remote_shell.cli.spool import Spool, Store
from remote_shell.client.async_ import AsyncHost
from remote_shell.client.async_many import in_turn, together
from remote_shell.client.async_process import AsyncProcess
from remote_shell.client.many import NEVER_RAN, Outcome, Plans, Turns, descriptors, headline, kind_of, summary
from remote_shell.client.outcome import returncode_of, time_allowed
from remote_shell.client.results import CompletedProcess, TimeoutExpired
from remote_shell.errors import ConnectionLostError, NotStartedError, OutputTooLargeError, UsageError
from remote_shell.limits import DEFAULT_LIMITS

_PIECE = 64 * 1024  # bytes of our stdin that go to a host at once
_THREADS = 64  # for names, keys and agents: a name server that hangs holds one for each host behind it

SOME_FAILED = 1  # exit status; 125 is for "not one was reached"

_Result = TypeVar("_Result")


class Stream(Protocol):
    """Where one stream of one host goes."""

    async def put(self, data: bytes) -> None: ...

    async def end(self) -> None: ...


class _Kept:
    """Into a spool."""

    def __init__(self) -> None:
        self.spool = Spool()

    async def put(self, data: bytes) -> None:
        self.spool.put(data)

    async def end(self) -> None:
        pass


class Mapping:
    """One call of `map`."""

    def __init__(
        self,
        plans: Plans,
        errand: Errand,
        turns: Turns,
        parallel: int,
        *,
        manner: str = "gather",
        input: bytes | None = None,
    ) -> None:
        """`manner`: "gather", "label" or "json". `input` goes to every host; without it stdin is empty there."""
        self._plans = plans
        self._errand = errand
        self._turns = turns
        self._parallel = parallel
        self._manner = manner
        self._input = input
        self._outcomes: dict[str, Outcome] = {}
        self._store = Store()
        self._sections: dict[object, Section] = {}
        self._printers: dict[int, Printer] = {}
        self._stopped_by = 0
        self._progress: Any = None

    def perform(self) -> int:
        """Run it on all, show what came, return the exit status. Raises OSError of our own stdout."""
        try:
            try:
                asyncio.run(self._run())
            except PrintingError as error:
                assert isinstance(error.__cause__, OSError), "that is what it stands for"
                raise error.__cause__ from None
            return self._show()
        finally:
            self._store.close()

    # --- on all hosts

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(_THREADS))
        task = asyncio.current_task()
        assert task is not None, "we are in one"
        self._catch_signals(loop, task)
        if self._manner != "gather":
            self._printers = {1: Printer(1), 2: Printer(2)}
        drawing = self._begin_progress(loop)
        try:
            await in_turn(self._turns, self._parallel, self._one)
            await self._tell_of_skipped()
        except asyncio.CancelledError:
            if not self._stopped_by:
                raise
            task.uncancel()
            await self._tell_of_skipped()
        finally:
            if drawing is not None:
                drawing.cancel()
                self._progress.end()
            for printer in self._printers.values():
                printer.close()

    def _catch_signals(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
        """The first ends the commands everywhere and waits for the hosts' word, a moment; the second ends us."""

        def stop(number: int) -> None:
            if self._stopped_by:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
                return
            self._stopped_by = number
            task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or `&` in a script
                loop.add_signal_handler(number, stop, number)

    def _begin_progress(self, loop: asyncio.AbstractEventLoop) -> asyncio.Task[None] | None:
        shared = self._manner == "label" or (self._manner == "json" and os.isatty(1))
        shared = shared or any(getattr(plan.trace, "on_terminal", False) for plan in self._plans.plans.values())
        if shared or not os.isatty(2) or os.environ.get("TERM", "dumb") == "dumb":
            return None
        from remote_shell.cli.progress import HostsProgress  # rich takes 100 ms

        progress = self._progress = HostsProgress(len(self._plans.names))
        progress.begin()

        async def draw() -> None:
            while True:
                progress.draw()
                await asyncio.sleep(progress.every)

        return loop.create_task(draw())

    # --- on one

    async def _one(self, name: str) -> Outcome:
        streams: tuple[Stream, Stream]
        if self._manner == "label":
            streams = Labelled(name, self._printers[1]), Labelled(name, self._printers[2])
        else:
            streams = _Kept(), _Kept()
        process: AsyncProcess | None = None
        cancelled = asked = False
        outcome: Outcome
        host = AsyncHost(self._plans.plans[name], credentials=self._plans.credentials(name))
        try:
            try:
                await host.open()
                asked = True
                process = await host.popen(
                    **self._errand.arguments(),
                    stdin=DEVNULL if self._input is None else PIPE,
                    stdout=PIPE,
                    stderr=PIPE,
                )
                outcome = await self._watched(process, streams)
            except PrintingError:
                raise
            except Exception as error:
                outcome = error
                if process is not None:
                    process.abandon()
            except asyncio.CancelledError:
                cancelled = True
                if process is not None:
                    process.abandon()
                outcome = await _apart(self._left(host)) if asked else NotStartedError("not started")
        finally:
            await _apart(host.close())
        outcome = self._outcomes[name] = self._kept(name, outcome, streams)
        if not cancelled or self._stopped_by:
            await self._report(name, outcome, process, streams)
        if self._progress is not None:
            self._progress.tell(len(self._outcomes), sum(1 for one in self._outcomes.values() if kind_of(one) != "ok"))
        if cancelled:
            raise asyncio.CancelledError
        return outcome

    async def _watched(self, process: AsyncProcess, streams: tuple[Stream, Stream]) -> Outcome:
        patience = self._errand.patience
        try:
            async with asyncio.timeout(patience):
                works = [_move(process.stdout, streams[0]), _move(process.stderr, streams[1])]
                if self._input is not None:
                    works.append(_feed(process.stdin, self._input))
                await together(*works)
                await process.wait()
        except TimeoutError:
            # our own clock: the server has not said how the command ended, nor that it did
            process.abandon()
            return TimeoutExpired(process.args, self._errand.timeout or 0.0)
        process.release()
        end = process.result
        assert end is not None, "it ended"
        seconds = end.duration_us / 1_000_000
        if end.timed_out:
            timeout = time_allowed(end, self._errand.timeout)
            return TimeoutExpired(process.args, timeout, signal=end.signal, duration=seconds, job=process.job)
        done = CompletedProcess(process.args, returncode_of(end), signal=end.signal, duration=seconds, job=process.job)
        if process.opened is not None and process.opened.again:
            done.again = True
        return done

    async def _left(self, host: AsyncHost) -> EndedHereError:
        """Its command is to end: what is known of that."""
        if await host.heard(DEFAULT_LIMITS.bye_time):
            return EndedHereError("the command there was ended")
        return EndedHereError(
            "whether the command there has ended is not known: no answer; it ends when the server's grace is over"
        )

    def _kept(self, name: str, outcome: Outcome, streams: tuple[Stream, Stream]) -> Outcome:
        """Put what it wrote to that of the others. A success whose output is not whole is none."""
        spools = [stream.spool for stream in streams if isinstance(stream, _Kept)]
        if not spools:
            return outcome
        if self._manner == "gather":
            out, err = (self._store.keep(spool) for spool in spools)
            dropped = out.dropped + err.dropped
        else:
            dropped = sum(spool.dropped for spool in spools)
        if dropped and kind_of(outcome) == "ok":
            outcome = OutputTooLargeError(
                f"it ended with 0, but {dropped} bytes of its output were not kept; with -l all is shown as it comes"
            )
        if self._manner == "gather":
            how = "" if kind_of(outcome) == "ok" else headline(outcome)
            if isinstance(outcome, CompletedProcess) and outcome.again:
                how = ", ".join(filter(None, (how, "ran before under this id")))
            self._sections.setdefault((how, out, err), Section(how, out, err)).names.append(name)
            for spool in spools:
                spool.close()
        return outcome

    # --- showing

    async def _report(
        self, name: str, outcome: Outcome, process: AsyncProcess | None, streams: tuple[Stream, Stream]
    ) -> None:
        """In the manners that show each host when it has ended. Raises PrintingError."""
        for stream in streams:
            await stream.end()
        if self._manner != "json":
            return
        out, err = (stream.spool for stream in streams if isinstance(stream, _Kept))
        facts = report.facts(process) if process is not None else {}
        line = self._line(
            name, outcome, facts, b"".join(out.chunks()), b"".join(err.chunks()), out.dropped, err.dropped
        )
        out.close()
        err.close()
        await self._printers[1].put(line)

    def _line(
        self,
        name: str,
        outcome: Outcome,
        facts: dict[str, Any],
        out: bytes = b"",
        err: bytes = b"",
        out_dropped: int = 0,
        err_dropped: int = 0,
    ) -> bytes:
        object_ = {"target": name, "outcome": kind_of(outcome), **report.empty(self._errand), "error": None}
        if isinstance(outcome, TimeoutExpired):
            object_["timed_out"] = True
        elif not isinstance(outcome, CompletedProcess):
            report.put_error(object_, outcome, _message(outcome))
        report.put_output(object_, out, err)
        if out_dropped or err_dropped:
            object_ |= {"stdout_dropped": out_dropped, "stderr_dropped": err_dropped}
        object_ |= facts
        if isinstance(outcome, ConnectionLostError):
            object_["job"] = outcome.command_id
        return report.line_of(object_)

    async def _tell_of_skipped(self) -> None:
        for name, outcome in self._turns.skipped().items():
            self._outcomes[name] = outcome
            if self._manner == "json":
                await self._printers[1].put(self._line(name, outcome, {}))

    def _show(self) -> int:
        """The output that was gathered, then the summary; returns the exit status."""
        order = {name: number for number, name in enumerate(self._plans.names)}
        for section in self._sections.values():
            section.names.sort(key=order.__getitem__)
        show(sorted(self._sections.values(), key=lambda section: order[section.names[0]]), self._store)
        outcomes = {name: self._outcomes.get(name, EndedHereError("what became of it is not known")) for name in order}
        for line in summary(outcomes):
            complain(line)
        kinds = {kind_of(outcome) for outcome in outcomes.values()}
        if self._stopped_by:
            return exit_status.SIGNALLED + self._stopped_by
        if kinds == {"ok"}:
            return 0
        return exit_status.FAILED if kinds <= NEVER_RAN else SOME_FAILED


async def _apart(work: Coroutine[Any, Any, _Result]) -> _Result:
    """In a task of its own. Python 3.11.2, Debian's: in a task that was cancelled a timeout is no TimeoutError but cancels again."""
    return await asyncio.get_running_loop().create_task(work)


def raise_descriptors(count: int) -> None:
    """Allow ourselves as many open files as `count` hosts at once need. Raises UsageError where the hard limit is lower."""
    from remote_shell.client.many import check_descriptors

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = hard if hard != resource.RLIM_INFINITY else 1 << 20
    check_descriptors(count, max(soft, highest))
    if soft < descriptors(count):
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors(count), hard))


def read_input(most: int = DEFAULT_LIMITS.many_input_max) -> bytes:
    """All of our stdin, since every host gets it. Raises UsageError above `most` bytes."""
    parts: list[bytes] = []
    size = 0
    while data := os.read(0, _PIECE):
        size += len(data)
        if size > most:
            raise UsageError(
                f"more than {most} bytes on stdin: every host gets a copy, so it is held in memory; put a file there first, "
                "and have the command read that"
            )
        parts.append(data)
    return b"".join(parts)


def _message(outcome: BaseException) -> str:
    from remote_shell.cli.main import describe

    return describe(outcome) if isinstance(outcome, Exception) else f"interrupted here, {outcome}"


async def _move(reader: Any, stream: Stream) -> None:
    while data := await reader.some():
        await stream.put(data)


async def _feed(writer: Any, data: bytes) -> None:
    view = memoryview(data)
    try:
        for at in range(0, len(view), _PIECE):
            writer.write(view[at : at + _PIECE])
            await writer.drain()
    except BrokenPipeError:
        return  # it ended without reading all
    writer.close()
