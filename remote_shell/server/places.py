"""Places: how many commands and shells run at once, of each principal and in all.

Counts what a server has for a child, from its start to its end. Detached jobs are counted by their table, since they outlive it.
Neighbours: `requests.exec` and `requests.shell` take places.
"""

from __future__ import annotations

from remote_shell.errors import CommandRefusedError
from remote_shell.limits import Limits


class Places:
    """Those of one server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: dict[str, int] = {}  # of each principal, above 0
        self._total = 0

    def take(self, principal: str) -> None:
        """One more. Raises CommandRefusedError (`too_many_commands`) where there is no place: nothing is to be started."""
        limits, own = self._limits, self._taken.get(principal, 0)
        if own >= limits.commands_per_principal_max:
            raise CommandRefusedError(f"{own} commands of {principal} run here already", "too_many_commands")
        if self._total >= limits.commands_max:
            raise CommandRefusedError(f"{self._total} commands run here already", "too_many_commands")
        self._taken[principal] = own + 1
        self._total += 1

    def leave(self, principal: str) -> None:
        """One that had a place has ended, or was not started after all."""
        self._total -= 1
        self._taken[principal] -= 1
        if not self._taken[principal]:
            del self._taken[principal]
