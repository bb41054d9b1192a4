"""Many hosts: whose turn it is, what kind of end each had, which are alike, and how that is told. Plain functions for both fronts.

No I/O but `check_names`, no waiting, no printing. Neighbours: `async_many` and `blocking_many` run the commands, `cli.mapping` is the
command line's; `config.selection` says which hosts, `config.names` folds their names.
"""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from remote_shell.client.login import Credentials
from remote_shell.client.plan import Plan
from remote_shell.client.redirect import DEVNULL, PIPE
from remote_shell.client.results import CompletedProcess, TimeoutExpired
from remote_shell.config.names import fold
from remote_shell.config.selection import Chosen, select
from remote_shell.errors import (
    AccessDeniedError,
    CommandError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    IdentityError,
    ManyFailedError,
    NotStartedError,
    OutputTooLargeError,
    ServerIdentityError,
    SystemFaultError,
    UsageError,
)
from remote_shell.limits import DEFAULT_LIMITS, Limits

Outcome = CompletedProcess | BaseException

# kind of end -> what a person reads, in the order in which a summary has them
KINDS = {
    "ok": "exit status 0",
    "failed": "failed",
    "signalled": "died by a signal",
    "timed_out": "timed out",
    "output_cut": "wrote more than is kept",
    "not_run": "could not be run",
    "lost": "connection lost",
    "refused": "refused",
    "unreachable": "unreachable",
    "interrupted": "interrupted here",
    "skipped": "not started",
    "internal": "a fault of ours",
}
NEVER_RAN = frozenset(("refused", "unreachable", "skipped"))  # the server was not reached, or did not let us in

_KIND_OF: tuple[tuple[type[BaseException], str], ...] = (  # the first that fits
    (TimeoutExpired, "timed_out"),
    (CommandError, "not_run"),
    (ConnectError, "unreachable"),
    (AccessDeniedError, "refused"),
    (ServerIdentityError, "refused"),
    (ConnectionLostError, "lost"),
    (OutputTooLargeError, "output_cut"),
    (NotStartedError, "skipped"),
    (IdentityError, "refused"),
    (UsageError, "not_run"),
    (ConfigError, "not_run"),
)


def kind_of(outcome: Outcome) -> str:
    """Which of `KINDS` it is."""
    if isinstance(outcome, CompletedProcess):
        return "ok" if not outcome.returncode else "signalled" if outcome.signal is not None else "failed"
    if not isinstance(outcome, Exception):
        return "interrupted"
    return next((kind for types, kind in _KIND_OF if isinstance(outcome, types)), "internal")


def headline(outcome: Outcome) -> str:
    """How a host ended, so that hosts of which the same can be said have the same text."""
    kind = kind_of(outcome)
    if isinstance(outcome, CompletedProcess):
        if outcome.signal is not None:
            return f"died by {outcome.signal}"
        return f"exit status {outcome.returncode}"
    if isinstance(outcome, TimeoutExpired):
        return f"timed out after {outcome.timeout:g} s"
    if isinstance(outcome, ConnectionLostError):
        return f"{KINDS[kind]}, {_lost_text(outcome)}"
    if not isinstance(outcome, Exception):
        return f"{KINDS[kind]}, {outcome}" if str(outcome) else KINDS[kind]
    if isinstance(outcome, NotStartedError):
        return str(outcome)
    return KINDS[kind]


def detail(outcome: Outcome) -> str:
    """What else there is to say of one host; empty where the headline says it all."""
    if isinstance(outcome, (CompletedProcess, TimeoutExpired, NotStartedError)) or not isinstance(outcome, Exception):
        return ""
    if isinstance(outcome, SystemFaultError):
        return outcome.detail
    return str(outcome) or type(outcome).__name__


def _lost_text(error: ConnectionLostError) -> str:
    if error.command_state == "finished":
        how = error.signal if error.signal is not None else f"exit status {error.exit_status}"
        return f"the command ran to its end ({how}), its output is lost"
    return {
        "never_received": "the command never ran",
        "running": "the command still runs",
    }.get(error.command_state, "whether the command ran is not known")


def summary(outcomes: Mapping[str, Outcome]) -> list[str]:
    """A line for each kind of end but success, which names every host, and one for each host that has more to say. Empty: all went well."""
    alike: dict[tuple[int, str], list[str]] = {}
    order = list(KINDS)
    for name, outcome in outcomes.items():
        kind = kind_of(outcome)
        if kind != "ok":
            alike.setdefault((order.index(kind), headline(outcome)), []).append(name)
    lines = []
    for (_, text), names in sorted(alike.items()):
        lines.append(f"{text}: {fold(names)} ({len(names)} of {len(outcomes)})")
        said: dict[str, list[str]] = {}
        for name in names:
            said.setdefault(detail(outcomes[name]).removeprefix(f"{name}: "), []).append(name)
        lines += [f"  {fold(those)}: {words}" for words, those in said.items() if words]
    return lines


class Group(NamedTuple):
    """Hosts that ended alike: the same end, the same stdout, the same stderr. `outcome` is one of theirs."""

    names: tuple[str, ...]
    outcome: Outcome

    @property
    def folded(self) -> str:
        """Their names in one text: `node[1-3,7]`."""
        return fold(self.names)


def grouped(outcomes: Mapping[str, Outcome]) -> list[Group]:
    """The hosts by equal ends, in the order of each group's first host."""
    groups: dict[Hashable, list[str]] = {}
    for name, outcome in outcomes.items():
        groups.setdefault(_alike(name, outcome), []).append(name)
    return [Group(tuple(names), outcomes[names[0]]) for names in groups.values()]


def _alike(name: str, outcome: Outcome) -> Hashable:
    if isinstance(outcome, (CompletedProcess, TimeoutExpired)):
        code = outcome.returncode if isinstance(outcome, CompletedProcess) else None
        return kind_of(outcome), code, outcome.signal, outcome.stdout, outcome.stderr
    return kind_of(outcome), headline(outcome), detail(outcome).replace(name, "")


class Results(Mapping[str, Outcome]):
    """What came of every host, by its name, in the order in which they were named: a CompletedProcess, or the exception."""

    def __init__(self, outcomes: Mapping[str, Outcome]) -> None:
        self._outcomes = dict(outcomes)

    def __getitem__(self, name: str) -> Outcome:
        return self._outcomes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outcomes)

    def __len__(self) -> int:
        return len(self._outcomes)

    def __repr__(self) -> str:
        return f"<Results: {len(self.ok)} of {len(self)} hosts ended with 0>"

    @property
    def ok(self) -> dict[str, CompletedProcess]:
        """The hosts whose command ended with 0."""
        return {
            name: outcome
            for name, outcome in self.items()
            if isinstance(outcome, CompletedProcess) and not outcome.returncode
        }

    @property
    def failed(self) -> dict[str, Outcome]:
        """All the others."""
        return {name: outcome for name, outcome in self.items() if kind_of(outcome) != "ok"}

    def groups(self) -> list[Group]:
        """The hosts by equal ends and equal output, as `clush -b` shows them."""
        return grouped(self)

    def summary(self) -> list[str]:
        """Lines that name every host that failed, by how; empty if none did."""
        return summary(self)

    def check(self) -> None:
        """Raises ManyFailedError if any host failed."""
        if self.failed:
            text = f"{len(self.failed)} of {len(self)} hosts failed: "
            raise ManyFailedError(text + "; ".join(line for line in self.summary() if not line.startswith(" ")), self)


class Turns:
    """Whose turn it is. Bounded by who asks; here is only counted. For one thread at a time."""

    def __init__(self, names: Sequence[str], max_failures: int | None = None) -> None:
        """Raises UsageError for a `max_failures` below 1."""
        if max_failures is not None and max_failures < 1:
            raise UsageError("max_failures is 1 or more: after so many hosts that failed no other is started")
        self._left = list(reversed(names))
        self._max_failures = max_failures
        self.failures = 0
        self.ended = 0
        self.stopped = False

    def next(self) -> str | None:
        """The next host, or None: nobody is left, or no more are to start."""
        if self.stopped or not self._left or self.given_up:
            return None
        return self._left.pop()

    @property
    def given_up(self) -> bool:
        """As many failed as may."""
        return self._max_failures is not None and self.failures >= self._max_failures

    def end(self, outcome: Outcome) -> None:
        """One came to its end."""
        self.ended += 1
        self.failures += kind_of(outcome) != "ok"

    def stop(self) -> None:
        """No more."""
        self.stopped = True

    def skipped(self) -> dict[str, NotStartedError]:
        """Those whose turn never came."""
        why = "not started"
        if self.given_up:
            why += f", since {self.failures} of those before had failed (max-failures {self._max_failures})"
        return {name: NotStartedError(why) for name in reversed(self._left)}


class Plans:
    """How each host is connected to. One reading of keys and one question for a passphrase serve all."""

    def __init__(self, chosen: Iterable[Chosen], limits: Limits = DEFAULT_LIMITS, **options: Any) -> None:
        """`options` as `Plan` takes them. Raises UsageError, ConfigError: before anything is sent anywhere."""
        self.plans = {
            one.name: Plan(one.name, limits=limits, found=(one.target, one.entry), **options) for one in chosen
        }
        self._credentials: dict[tuple[object, ...], Credentials] = {}

    @property
    def names(self) -> list[str]:
        """In the order in which they were named."""
        return list(self.plans)

    def credentials(self, name: str) -> Credentials:
        """What that host's logins prove with, shared by all that name the same files."""
        plan = self.plans[name]
        key = (plan.method, plan.identity, plan.secret_file)
        return self._credentials.setdefault(key, Credentials(plan))


def check_names(chosen: Iterable[Chosen], patience: float) -> None:
    """Plain words that are in no file must at least be known to the resolver: a typo must not leave half of a list done.

    Asks one after the other, for `patience` seconds at most. Raises UsageError.
    """
    until = time.monotonic() + patience
    for one in chosen:
        host = one.target.host
        if one.entry is not None or one.target.kind == "unix" or "." in host or ":" in host or host.isdigit():
            continue
        if time.monotonic() > until:
            return  # a resolver that does not answer is told of with each host
        try:
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            if error.errno == socket.EAI_NONAME:
                raise UsageError(
                    f"{one.name} is neither in hosts.toml nor known to the resolver; nothing was run on any host"
                ) from None
        except UnicodeError:
            raise UsageError(f"{one.name!a} can be no host's name; nothing was run on any host") from None


def check_descriptors(count: int, limit: int) -> None:
    """`count` hosts at once need descriptors. Raises UsageError where `limit` allows fewer."""
    needed = descriptors(count)
    if needed > limit:
        raise UsageError(
            f"{count} hosts at once need about {needed} open files, and this process may have {limit}: "
            f"take fewer at once (parallel), or raise the limit first: ulimit -n {needed}"
        )


def descriptors(count: int) -> int:
    """How many descriptors `count` hosts at once take: a connection each, what their output is kept in, and known_hosts for a moment."""
    return 64 + 4 * count


def prepare(
    targets: str | Iterable[str], exclude: str | Iterable[str], parallel: int | None, options: dict[str, Any]
) -> tuple[Plans, int]:
    """Plans for all hosts, and how many at once. Raises UsageError, ConfigError: before anything is sent anywhere."""
    if parallel is not None and parallel < 1:
        raise UsageError("parallel is 1 or more: so many hosts are worked on at once")
    chosen = select(_list(targets), _list(exclude))
    plans = Plans(chosen, **options)
    check_descriptors(len(chosen), resource.getrlimit(resource.RLIMIT_NOFILE)[0])  # each stays connected
    check_names(chosen, DEFAULT_LIMITS.connect_time)
    return plans, parallel if parallel is not None else DEFAULT_LIMITS.many_parallel


def run_options(*, input: Any, stderr: Any, **others: Any) -> dict[str, Any]:
    """What each host's `run` gets. Output is captured, since on our own descriptors nobody could tell whose it is; stdin is empty
    unless there is an `input`, since one stdin can't be read by many.
    """
    return {
        **others,
        "input": input,
        "stdin": DEVNULL if input is None else None,
        "stdout": PIPE,
        "stderr": PIPE if stderr is None else stderr,
    }


def in_order(outcomes: dict[str, Outcome], turns: Turns, names: Sequence[str]) -> Results:
    """All hosts, those whose turn never came too."""
    every: dict[str, Outcome] = {**outcomes, **turns.skipped()}
    return Results({name: every[name] for name in names})


def _list(texts: str | Iterable[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
