"""One line on the terminal that says how far many hosts are. Only where stderr is a terminal: rich is imported here and nowhere else.

Neighbour: `mapping` tells it.
"""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_EVERY = 0.1  # seconds between two drawings


class HostsProgress:
    """`begin` and `end` around the work; `tell` after each host, `draw` from time to time."""

    every = _EVERY

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            TextColumn("hosts"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            auto_refresh=False,  # no thread: the loop draws
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("", total=total, failed="")

    def begin(self) -> None:
        """Draw it."""
        self._progress.start()

    def tell(self, ended: int, failures: int) -> None:
        """So many have ended."""
        self._progress.update(self._task, completed=ended, failed=f"{failures} failed" if failures else "")

    def draw(self) -> None:
        """As of now."""
        self._progress.refresh()

    def end(self) -> None:
        """Take it away."""
        self._progress.stop()
