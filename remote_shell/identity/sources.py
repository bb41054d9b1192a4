"""from="pattern-list": from where a key may be used, by address alone.

Patterns as sshd(8) has them: addresses with `*` and `?`, networks as ADDRESS/BITS, either with `!` before it, which refuses whatever else
matches. No name is looked up, since whoever answers for an address names it as they please: a pattern that could only be a name is an
error. A Unix socket has no address and is called "unix". Neighbour: `restrictions` reads the option.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from remote_shell.errors import IdentityError

UNIX = "unix"  # what a Unix socket is called, where an address is expected
_GLOB = re.compile(r"[0-9a-f:.*?]+")
_NETWORK = re.compile(r"[0-9a-f:.]+/[0-9]{1,3}", re.ASCII)
_PATTERNS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Sources:
    """A pattern-list. `text` is what was written."""

    text: str

    def __post_init__(self) -> None:
        """Raises IdentityError for a pattern that is none."""
        if self.text.count(",") >= _PATTERNS_MAX:
            raise IdentityError(f"from has more than {_PATTERNS_MAX} patterns")
        for word in self.text.split(","):
            _pattern(word.removeprefix("!"))

    def match(self, source: str) -> bool:
        """Whether that address, or "unix", is one of these: something names it, and nothing with `!` does. Closed for any other text."""
        address = canonical(source)
        if address is None:
            return False
        found = False
        for word in self.text.split(","):
            if _matches(_pattern(word.removeprefix("!")), address):
                if word.startswith("!"):
                    return False
                found = True
        return found


def canonical(source: str) -> IPv4Address | IPv6Address | str | None:
    """An address without its zone, an IPv4 one as such however it was written; "unix"; None for anything else."""
    if source == UNIX:
        return UNIX
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _matches(
    pattern: str | IPv4Network | IPv6Network | re.Pattern[str], address: IPv4Address | IPv6Address | str
) -> bool:
    if isinstance(pattern, str):
        return pattern == address
    if isinstance(pattern, re.Pattern):
        return pattern.fullmatch(str(address)) is not None
    return not isinstance(address, str) and address in pattern  # False for the other version's


def _pattern(word: str) -> str | IPv4Network | IPv6Network | re.Pattern[str]:
    lower = word.lower()
    if lower == UNIX:
        return UNIX
    if _NETWORK.fullmatch(lower):
        try:
            return _unmapped(ip_network(lower))
        except ValueError:
            raise IdentityError(
                "from has a network that is none: ADDRESS/BITS, with no bits of the address behind them"
            ) from None
    if not _GLOB.fullmatch(lower):
        raise IdentityError("from takes addresses, networks and unix; names are not looked up")
    if not set(lower) & set("*?"):
        address = canonical(lower)
        if address is None or isinstance(address, str):
            raise IdentityError("from has an address that is none")
        return ip_network(address)  # however it was written: IPv6 has many spellings
    if "." in lower:
        lower = lower.removeprefix("::ffff:")
    return re.compile(re.sub(r"\\?[*?]", lambda found: ".*" if "*" in found[0] else ".", re.escape(lower)))


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """IPv4 addresses are compared as such, so a network of mapped ones would match none, nor keep any out."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return network if mapped is None or network.prefixlen < 96 else ip_network((mapped, network.prefixlen - 96))
