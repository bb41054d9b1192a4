"""Claims: a command's id belongs to a principal and runs at most once, as long as this server lives.

A claim is made before the start. The same request under the same id gets the same end, another request is `id_conflict`, and asking
about an unknown id burns it. Bounded: the oldest ended claims are forgotten above `commands_remembered_max`, and after
`commands_remembered_time`; that is the promise's limit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal

from remote_shell.limits import Limits
from remote_shell.wire.messages import Exit, Open

Verdict = Literal["new", "again", "id_conflict", "id_burnt"]


class Claim:
    """What is known of one id."""

    __slots__ = ("_asked", "_hash", "_waiting", "ended_at", "exit")

    def __init__(self, asked: Open | None) -> None:
        """`asked` is None for an id that was burnt."""
        self._asked = asked
        self._hash = b""  # SHA-256 of what was asked for, once it ended: the request itself may be large
        self.exit: Exit | None = None
        self.ended_at = 0.0
        self._waiting: list[Callable[[Exit], None]] = []

    @property
    def burnt(self) -> bool:
        """It will never run."""
        return self._asked is None and not self._hash

    def is_for(self, message: Open) -> bool:
        """Whether this is what was asked for."""
        return request_hash(message) == (self._hash if self._asked is None else request_hash(self._asked))

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
    """What makes two requests the same: all but the first window."""
    return hashlib.sha256(message.to_json(without="window")).digest()


class Claims:
    """All ids of all principals."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._claims: OrderedDict[tuple[str, str], Claim] = OrderedDict()

    def __len__(self) -> int:
        return len(self._claims)

    def claim(self, principal: str, message: Open, now: float) -> tuple[Verdict, Claim]:
        """Claim an id before its command starts."""
        known = self._claims.get((principal, message.id))
        if known is None:
            made = self._claims[principal, message.id] = Claim(message)
            self._forget(now)
            return "new", made
        if known.burnt:
            return "id_burnt", known
        return ("again" if known.is_for(message) else "id_conflict"), known

    def release(self, principal: str, ident: str) -> None:
        """Nothing was started under this id: it may be tried again."""
        self._claims.pop((principal, ident), None)

    def ask(self, principal: str, ident: str, now: float) -> Claim | None:
        """What is known of an id. None: nothing, and from now on it will never run."""
        known = self._claims.get((principal, ident))
        if known is None:
            self._claims[principal, ident] = Claim(None)
            self._forget(now)
            return None
        return None if known.burnt else known

    def _forget(self, now: float) -> None:
        """Each new claim pushes out at most two old ones: the work stays constant."""
        for _ in range(2):
            key, claim = next(iter(self._claims.items()))
            old = claim.exit is not None and now - claim.ended_at > self._limits.commands_remembered_time
            if len(self._claims) <= self._limits.commands_remembered_max and not old:
                return
            if claim.exit is None and not claim.burnt:
                self._claims.move_to_end(key)  # it still runs
            else:
                del self._claims[key]
