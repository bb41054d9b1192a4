"""Windows: how much data each side may have under way on a channel.

Credit follows consumption by the application, never receipt: who does not read stalls its own channel, no other.
One window covers stdout and stderr together, so credit is given back not only at half a window but at once when the
peer has less than a quarter left; otherwise unread stderr would starve stdout.
"""

from __future__ import annotations

from remote_shell.errors import RemoteProtocolError


class SendWindow:
    """What the peer lets us send."""

    __slots__ = ("credit", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.credit = window

    def spend(self, count: int) -> None:
        """Account for data that goes out. The caller never takes more than `credit`."""
        self.credit -= count

    def grant(self, credit: int, window: int) -> None:
        """A `window` message. Raises RemoteProtocolError (`bad_credit`): never more credit than the stated window."""
        if window < self.window or self.credit + credit > window:
            raise RemoteProtocolError("bad_credit", f"{self.credit} + {credit} of {self.window}, now {window}")
        self.window = window
        self.credit += credit


class ReceiveWindow:
    """What we let the peer send. Always: left + unread + returned = window."""

    unread = 0  # received, not consumed by the application
    returned = 0  # consumed, credit not given back yet
    _updated_at = float("-inf")

    def __init__(self, window: int) -> None:
        self.first = window  # what it was before it grew
        self.window = window
        self.left = window  # the peer may still send so much

    def receive(self, count: int) -> None:
        """Account for data that came in. Raises RemoteProtocolError (`window_exceeded`)."""
        if count > self.left:
            raise RemoteProtocolError("window_exceeded", f"{count} bytes, {self.left} were left")
        self.left -= count
        self.unread += count

    def consume(self, count: int) -> bool:
        """The application took `count` bytes. True when a `window` message is due."""
        assert count <= self.unread, "more consumed than received"
        self.unread -= count
        self.returned += count
        return self.returned > 0 and (self.returned * 2 >= self.window or self.left * 4 < self.window)

    def grows(self, now: float, round_trip: float) -> bool:
        """Half a window went by in less than two round trips: the window, not the link, was the bound."""
        return now - self._updated_at < 2 * round_trip

    def give_back(self, now: float, growth: int = 0) -> int:
        """The credit of the `window` message that is sent now."""
        credit = self.returned + growth
        self.window += growth
        self.left += credit
        self.returned = 0
        self._updated_at = now
        return credit
