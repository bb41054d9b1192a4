"""Strangers: connections before login. Admission, and who has to go when the places are full.

The newest is never refused. When the places are full, the noisiest source (an IPv4 address, an IPv6 /64) loses its oldest stranger: that
of the largest product of arrivals in the last minute and places that it holds. Refusing newcomers, or evicting the oldest of all, would let
a flood keep a known user out; by arrivals alone the noisiest would keep no place, and nobody could log in from an address of the flood's.
An arrival that logged in counts no more: a script that logs in again and again must not be the noisiest of all.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address

from remote_shell.limits import Limits
from remote_shell.server.tally import Tally

Rank = tuple[int, str]  # minus its arrivals times its places, the source


def source_of(address: object) -> str:
    """Who a peer counts as: its IPv4 address, its IPv6 /64, or "local" for a Unix socket."""
    if not isinstance(address, tuple) or not address:
        return "local"
    if len(address) == 2:
        return str(address[0])  # ip(7): dotted, in one form; a flood has no time for more
    try:
        ip = ip_address(str(address[0]).split("%", 1)[0])
    except ValueError:
        return "local"
    mapped = getattr(ip, "ipv4_mapped", None)
    if mapped is not None:
        return str(mapped)
    if ip.version == 4:
        return str(ip)
    return (int(ip) >> 64).to_bytes(8, "big").hex()


class Strangers:
    """The places for connections before login."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places: dict[str, OrderedDict[int, Callable[[], None]]] = {}  # source -> its strangers, oldest first
        self._count = 0
        self._next = 0
        self._arrived = Tally(limits.arrivals_window, limits.arrivals_sources_max)
        # The noisiest first. A source's last rank counts, and may be too high: who leaves is not looked for in here.
        self._queue: list[Rank] = []
        self._ranks: dict[str, Rank] = {}

    def __len__(self) -> int:
        return self._count

    def admit(self, source: str, evict: Callable[[], None], now: float) -> int:
        """Give a place to a newcomer; `evict` is called if it loses it. Returns the place's number for `leave`."""
        self._arrived.add(source, now)
        self._next += 1
        place = self._next
        self._places.setdefault(source, OrderedDict())[place] = evict
        self._rank(source)
        self._count += 1
        if self._count > self._limits.strangers_max:
            self._evict_one()
        return place

    def welcome(self, source: str, place: int) -> None:
        """A stranger logged in, and so was none: its arrival is not held against its source."""
        self.leave(source, place)
        self._arrived.take_back(source)

    def leave(self, source: str, place: int) -> None:
        """A stranger went away. Safe to repeat."""
        places = self._places.get(source)
        if places is not None and places.pop(place, None) is not None:
            self._count -= 1
            if not places:
                del self._places[source], self._ranks[source]

    def _rank(self, source: str) -> Rank:
        """Where it stands now. A search through all sources for each eviction would be dear where a flood has a thousand of them."""
        rank = (-self._arrived.count(source) * len(self._places[source]), source)
        if rank != self._ranks.get(source):
            self._ranks[source] = rank
            heapq.heappush(self._queue, rank)
            if len(self._queue) > 64 + 4 * len(
                self._ranks
            ):  # ranks that are no more: few, for a crowd must leave nothing behind
                self._queue = sorted(self._ranks.values())
        return rank

    def _evict_one(self) -> None:
        while True:
            rank = heapq.heappop(self._queue)
            noisiest = rank[1]
            if rank == self._ranks.get(noisiest):  # else it has another by now
                del self._ranks[noisiest]
                if self._rank(noisiest) == rank:
                    break
        place, evict = next(iter(self._places[noisiest].items()))
        self.leave(noisiest, place)
        evict()
