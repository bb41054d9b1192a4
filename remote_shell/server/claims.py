"""Claims: a command's id belongs to a principal and runs at most once.

A claim is made before the start. The same request under the same id gets the same end, another request is `id_conflict`, and asking
about an unknown id burns it. Ids that clients made for themselves are known in memory, as long as this server lives: they begin
with its instance, so that another life of it never mistakes them for unknown ones. Those that people chose (`once`) are on disk
before the start; while the disk is asked, a claim is pending, and who meets it waits. Neighbours: `scribe` and `ledger` have the
disk, `requests.deferred` waits, `requests.exec` and `requests.query` decide by the verdicts.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

from remote_shell.errors import LedgerError
from remote_shell.limits import Limits
from remote_shell.wire.messages import Exit, Open

log = logging.getLogger("remote_shell.server")

# "asking": the disk is asked, and the claim's `verdict` will be the answer; "wait": another does, ask again when that is settled
Verdict = Literal["new", "again", "asking", "wait", "id_conflict", "id_burnt"]
State = Literal["asking", "wait", "never_received", "running", "finished", "unknown"]
_OF_A_LIFE = re.compile(r"([0-9a-f]{16})\.")
_Key = tuple[str, str]


class Keeper(Protocol):
    """What claims need of the disk."""

    def submit(self, work: Callable[[Any], Any], tell: Callable[[Any], None], *, hurried: bool = True) -> None:
        """Have `work(ledger)` done durably, then call `tell` with its result or a LedgerError. Always in order."""


class Claim:
    """What is known of one id."""

    __slots__ = (
        "_asked",
        "_hash",
        "_settling",
        "_waiting",
        "ended_at",
        "exit",
        "key",
        "kept",
        "pending",
        "verdict",
        "why",
    )

    def __init__(self, key: _Key, asked: Open | None) -> None:
        """`asked` is None for an id that was burnt."""
        self.key = key
        self._asked = asked
        self._hash = b""  # SHA-256 of what was asked for, once it ended: the request itself may be large
        self.exit: Exit | None = None
        self.ended_at = 0.0
        self.kept = False  # on disk
        self.pending = False  # the disk is asked
        self.verdict = (
            ""  # and what came of it: a Verdict, "id_running", "id_unknown" or "id_not_kept"; of a question a State
        )
        self.why = ""  # it is not kept
        self._settling: list[Callable[[], None]] = []
        self._waiting: list[Callable[[Exit], None]] = []

    @property
    def burnt(self) -> bool:
        """It will never run."""
        return self._asked is None and not self._hash

    @property
    def state(self) -> State:
        """What a question is answered with."""
        if self.pending:
            return "wait"
        return "never_received" if self.burnt else "running" if self.exit is None else "finished"

    def is_for(self, message: Open) -> bool:
        """Whether this is what was asked for."""
        return request_hash(message) == (self._hash if self._asked is None else request_hash(self._asked))

    def when_settled(self, go_on: Callable[[], None]) -> None:
        """Call when the disk has answered; in order."""
        if self.pending:
            self._settling.append(go_on)
        else:
            go_on()

    def settle(self, verdict: str, why: str = "") -> None:
        """The disk has answered."""
        self.pending, self.verdict, self.why = False, verdict, why
        settling, self._settling = self._settling, []
        for go_on in settling:
            go_on()

    def when_ended(self, tell: Callable[[Exit], None]) -> None:
        """Call `tell` with the end, now or then."""
        if self.exit is not None:
            tell(self.exit)
        else:
            self._waiting.append(tell)

    def end(self, how: Exit, now: float) -> None:
        """The command ended, for the first and only time."""
        self.exit, self.ended_at = how, now
        if self._asked is not None:
            self._hash, self._asked = request_hash(self._asked), None
        waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell(how)


def request_hash(message: Open) -> bytes:
    """What makes two requests the same: what should run, and not from which window or terminal, nor with what as its input.

    What is false or absent leaves no trace, so that a field that is new in a later version changes no hash that is on disk.
    """
    terminal = b"" if message.terminal is None else b"terminal"
    return hashlib.sha256(message.digestible(_NOT_ASKED) + terminal).digest()


_NOT_ASKED = frozenset(("window", "env_offer", "terminal", "stdin", "stdout_from", "stderr_from"))


class Claims:
    """All ids of all principals."""

    def __init__(self, limits: Limits, keeper: Keeper, instance: str) -> None:
        self._limits = limits
        self._keeper = keeper
        self._instance = instance
        self._claims: OrderedDict[_Key, Claim] = OrderedDict()

    def __len__(self) -> int:
        return len(self._claims)

    # --- starting

    def claim(self, principal: str, message: Open, now: float) -> tuple[Verdict, Claim]:
        """Claim an id before its command starts. "asking": `Claim.when_settled`, then its `verdict`."""
        key = (principal, message.id)
        known = self._claims.get(key)
        if known is not None:
            if known.pending:
                return "wait", known
            if known.burnt:
                return "id_burnt", known
            return ("again" if known.is_for(message) else "id_conflict"), known
        made = self._claims[key] = Claim(key, message)
        self._forget(now)
        if not message.once:
            return "new", made
        made.kept = made.pending = True
        request = request_hash(message)
        self._keeper.submit(lambda ledger: ledger.claim(*key, request), partial(self._claimed, made, request))
        return "asking", made

    def _claimed(self, made: Claim, request: bytes, found: Any) -> None:
        """The disk's word on a claim: LedgerError, None, which is a new one, or an Entry."""
        if found is None:
            made.settle("new")
            return
        del self._claims[made.key]
        if isinstance(found, LedgerError):
            log.error("%s: the id %s is not taken: %s", *made.key, found)
            made.settle("id_not_kept", str(found))
        elif found.state == "burnt":
            made.settle("id_burnt")
        elif found.hash != request:
            made.settle("id_conflict")
        elif found.end is None:
            made.settle("id_running" if found.state == "running" else "id_unknown")
        else:
            made.exit = found.end
            made.settle("again")

    def release(self, claim: Claim) -> None:
        """Nothing was started under this id: it may be tried again."""
        if self._claims.get(claim.key) is claim:
            del self._claims[claim.key]
            if claim.kept:
                self._keeper.submit(lambda ledger: ledger.release(*claim.key), partial(_written, claim, "its release"))

    def hand_over(self, claim: Claim) -> None:
        """A job was started under this id: its folder is the claim now. What is on disk stays, since a folder may have to make room."""
        if self._claims.get(claim.key) is claim:
            del self._claims[claim.key]

    def free(self, principal: str, ident: str) -> None:
        """A person has removed the job of this id, which may be used again."""
        made = Claim((principal, ident), None)
        self._keeper.submit(lambda ledger: ledger.release(principal, ident), partial(_written, made, "its release"))

    def started(self, claim: Claim, pid: int) -> None:
        """Its process is there. Without this on disk, nobody will know after a crash that it ever was."""
        if claim.kept:
            from remote_shell.server.ledger import proof_of

            proof = proof_of(pid)
            self._keeper.submit(
                lambda ledger: ledger.started(*claim.key, proof),
                partial(_written, claim, "its start"),
                hurried=False,
            )

    def ended(self, claim: Claim, how: Exit, now: float, tell: Callable[[], None]) -> None:
        """Its end: `tell` is called when it is known for good, and so may be told."""
        if not claim.kept:
            tell()
            claim.end(how, now)  # last: somebody waits for the rest
            return

        def written(result: Any) -> None:
            _written(claim, "its end", result)
            tell()
            claim.end(how, now)

        self._keeper.submit(lambda ledger: ledger.ended(*claim.key, how), written)

    # --- asking

    def ask(self, principal: str, ident: str, now: float) -> tuple[State, Claim]:
        """What is known of an id. "never_received": nothing, and from now on it will never run. "asking" as in `claim`."""
        key = (principal, ident)
        known = self._claims.get(key)
        if known is not None:
            return known.state, known
        made = self._claims[key] = Claim(key, None)
        self._forget(now)
        life = _OF_A_LIFE.match(ident)
        if life is not None and life[1] == self._instance:
            return "never_received", made
        # One of another life may have run there, unless it was a person's: only the disk knows of those.
        burn = life is None
        made.pending = True
        self._keeper.submit(lambda ledger: ledger.ask(*key, burn), partial(self._answered, made, burn))
        return "asking", made

    def _answered(self, made: Claim, burn: bool, found: Any) -> None:
        """The disk's word on a question."""
        if (found is None and burn) or getattr(found, "state", "") == "burnt":
            made.settle("never_received")
            return
        del self._claims[made.key]
        if isinstance(found, LedgerError):
            log.error("%s: what became of the id %s is not known: %s", *made.key, found)
        elif found is not None:
            made.exit = found.end
            made.settle(found.state)
            return
        made.settle("unknown")

    def _forget(self, now: float) -> None:
        """Each new claim pushes out at most two old ones: the work stays constant."""
        claims, most = self._claims, self._limits.commands_remembered_max
        for _ in range(2):
            key, claim = next(iter(claims.items()))
            if len(claims) <= most and (
                claim.exit is None or now - claim.ended_at <= self._limits.commands_remembered_time
            ):
                return
            if claim.pending or (claim.exit is None and not claim.burnt):
                self._claims.move_to_end(key)  # it still runs
            else:
                del self._claims[key]


def _written(claim: Claim, what: str, result: Any) -> None:
    if isinstance(result, LedgerError):
        log.error("%s: of the id %s %s is not on disk: %s", *claim.key, what, result)
