"""The blocking front for many hosts: `connect_many`. A thread for each host that is at work, since no event loop may hide in here.

Threads work under gevent's patches and inside a notebook's loop. Decides nothing: `many` says whose turn it is and what each end was.
Neighbours: `blocking` is one host, `async_many` has the same verbs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from remote_shell.client import opening
from remote_shell.client.blocking import Host
from remote_shell.client.many import Outcome, Plans, Results, Turns, in_order, prepare, run_options
from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS


def connect_many(
    targets: str | Iterable[str], *, exclude: str | Iterable[str] = (), parallel: int | None = None, **options: Any
) -> Hosts:
    """Many hosts, to run the same command on.

        with remote_shell.connect_many(["@ci", "node[1-3]"], exclude="node2") as hosts:
            results = hosts.run(["uptime"], text=True)

    `targets` and `exclude` as on the command line: targets, names and `@GROUP`s of hosts.toml, ranges, lists of these with commas; a host
    that is named twice is one. `parallel` hosts are worked on at once (else 64). `options` as `connect` takes them. Connects when the first
    command's turn comes: a host that can't be reached is a result, not an error. Raises UsageError for an unknown group or name, or where
    the limit of open files is too low for all; ConfigError.
    """
    return Hosts(*prepare(targets, exclude, parallel, options))


class Hosts:
    """Many hosts. Each is connected when its first command's turn comes, and stays so until `close`. For one thread at a time."""

    def __init__(self, plans: Plans, parallel: int) -> None:
        self._plans = plans
        self._parallel = parallel
        self._hosts: dict[str, Host] = {}
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Hosts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def names(self) -> list[str]:
        """The hosts, in the order in which they were named, each once."""
        return self._plans.names

    def run(
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
        """The same command on each. Arguments mean what they mean for `Host.run`; output is always captured, stdin empty without `input`.

        The result maps every host to its CompletedProcess or to the exception; none is left out. After `max_failures` hosts that failed
        no other is started: those have a NotStartedError. More than `most` bytes of one stream end that host's command
        (OutputTooLargeError). With `check` ManyFailedError is raised if any failed; it has all the results. Ctrl-C ends
        the commands everywhere.
        """
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
        results = in_order(self._in_turn(turns, args, options), turns, self.names)
        if check:
            results.check()
        return results

    def close(self) -> None:
        """Say goodbye to all: the servers end at once what still runs. Safe to repeat."""
        with self._lock:
            self._closed = True
            hosts, self._hosts = list(self._hosts.values()), {}
        fault: BaseException | None = None
        for host in hosts:
            try:
                host.close()
            except BaseException as error:  # Ctrl-C too: the others have to hear it first
                fault = error
        if fault is not None:
            raise fault

    def _in_turn(self, turns: Turns, args: opening.Args, options: dict[str, Any]) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}

        def work() -> None:
            while True:
                with self._lock:
                    name = turns.next()
                if name is None:
                    return
                outcome = self._one(name, args, options)
                with self._lock:
                    outcomes[name] = outcome
                    turns.end(outcome)

        # daemons: after Ctrl-C one that waits for a machine that is off does not hold the program
        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(self._parallel, len(self.names)))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:
            with self._lock:
                turns.stop()
            self.close()
            deadline = time.monotonic() + DEFAULT_LIMITS.bye_time
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, deadline - time.monotonic()))
            raise
        return outcomes

    def _one(self, name: str, args: opening.Args, options: dict[str, Any]) -> Outcome:
        try:
            return self._host(name).run(args, **options)
        except Exception as error:
            return error

    def _host(self, name: str) -> Host:
        host = self._hosts.get(name)
        if host is None:
            host = Host(self._plans.plans[name], credentials=self._plans.credentials(name))
            with self._lock:
                if not self._closed:
                    self._hosts[name] = host
            if self._closed:
                host.close()
        return host
