"""The options before a key in authorized_keys: what whoever proves that key may do.

Read as sshd(8) reads them, quotes and all, with some of ours. Closed: an option that is unknown, that is said twice where once has a
meaning, or that nothing here could enforce, is an error, and the line lets nobody in. What it says is a frozen value; the server's
`rights` makes it hold when something is to be started. Neighbours: `authorized` reads the file; `argv_patterns`, `sources`, `forwarding`
and `variables` are about single options.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase

from remote_shell.errors import IdentityError
from remote_shell.identity.argv_patterns import ArgvPattern
from remote_shell.identity.forwarding import NOTHING_SAID, Forwarding, listens_at, opens_to
from remote_shell.identity.sources import Sources
from remote_shell.identity.variables import is_hazardous

# beyond commands, what a key with allow= may be given; each is one pattern of its own
BEYOND = {":get": "get files", ":put": "put files", ":detach": "start jobs of what it may run"}
_VALUE_MAX = 8192  # characters: what sshd takes of a line
_COMMANDS_MAX = 1_000_000
_SECONDS_MAX = 366 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What one line allows. The default is all that the account may."""

    command: str | None = None  # runs whatever is asked for
    allow: tuple[ArgvPattern, ...] = ()  # what may be run, if this or `beyond` is not empty
    beyond: frozenset[str] = frozenset()  # of BEYOND
    sources: Sources | None = None  # from where it may log in
    expires: int | None = None  # Unix time
    pty: bool = True
    forwarding: Forwarding = NOTHING_SAID
    max_commands: int | None = None  # at once
    cwd: str | None = None  # absolute, or counted from HOME
    timeout: float | None = None  # seconds
    environment: tuple[tuple[str, str], ...] = ()  # set for each command
    accept_env: tuple[str, ...] = ()  # names that a client may set, with `*` and `?`
    restricted: bool = False  # a client's environment passes by an allow-list alone

    @property
    def only_some(self) -> bool:
        """It may not run whatever it asks for."""
        return self.command is not None or bool(self.allow or self.beyond)

    def allows(self, argv: Sequence[str]) -> bool:
        """Whether allow= lets these words be executed; everything where there is none."""
        return not (self.allow or self.beyond) or any(pattern.matches(argv) for pattern in self.allow)

    def accepts_variable(self, name: str) -> bool:
        """Whether accept-env lets a client set it. Never what could run another program."""
        return not is_hazardous(name) and any(fnmatchcase(name, pattern) for pattern in self.accept_env)

    def refusal_at(self, now: float, source: str) -> str:
        """Why it may not be used now from that address ("unix": a Unix socket); empty: it may."""
        if self.expires is not None and now >= self.expires:
            return f"this key expired at {_moment(self.expires)}"
        if self.sources is not None and not self.sources.match(source):
            return f"this key may not be used from {source}"
        return ""

    def described(self) -> list[str]:
        """For people: each restriction in a few words; empty for a key that may do all that the account may."""
        words = []
        if self.command is not None:
            words.append(f"runs only: {self.command}")
        elif self.only_some:
            words.append(f"may {self.may()}")
        if self.sources is not None:
            words.append(f"from {self.sources.text}")
        if self.expires is not None:
            words.append(f"until {_moment(self.expires)}")
        if self.cwd is not None:
            words.append(f"in {self.cwd}")
        if self.timeout is not None:
            words.append(f"{self.timeout:g} s each")
        if self.max_commands is not None:
            words.append(f"{self.max_commands} at once")
        if not self.pty:
            words.append("no terminal")
        if self.forwarding.said:
            words.append(_tunnels(self.forwarding))
        if self.environment:
            words.append(f"sets {', '.join(name for name, _ in self.environment)}")
        if self.accept_env:
            words.append(f"accepts {', '.join(self.accept_env)}")
        if self.restricted and not words:
            words.append("restricted")
        return words

    def may(self) -> str:
        """What a key with allow= may do: "run only: git *; get files"."""
        runs = [f"run only: {', '.join(pattern.text for pattern in self.allow)}"] if self.allow else []
        return "; ".join(runs + [BEYOND[one] for one in sorted(self.beyond)])

    def __str__(self) -> str:
        return "; ".join(self.described())


UNRESTRICTED = Restrictions()


def _moment(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def _tunnels(forwarding: Forwarding) -> str:
    places = [f"to {place}" for place in sorted(forwarding.opens)]
    places += [f"at {place}" for place in sorted(forwarding.listens)]
    if forwarding.everything:
        places += ["to anywhere"] * (not forwarding.opens) + ["at any port"] * (not forwarding.listens)
    return f"tunnels {', '.join(places)}" if places else "no tunnels"


# --- reading


def parse_options(text: str) -> Restrictions:
    """What a line's options say together, "" for a line without. Raises IdentityError, whose text repeats no value."""
    if not text:
        return UNRESTRICTED
    options, rest = split_options(text)
    if rest:
        raise IdentityError("blanks in options stand between double quotes")
    reading = _Reading()
    for name, value in options:
        reading.take(name, value)
    return reading.made()


def split_options(line: str) -> tuple[list[tuple[str, str | None]], str]:
    """The options at the beginning of a line, and what follows the blanks behind them. Raises IdentityError.

    As OpenSSH: names in any capitals, values between double quotes, in which `\\"` is a quote and nothing else is special; a comma between
    two; the first blank outside of quotes ends them.
    """
    options: list[tuple[str, str | None]] = []
    at = 0
    while True:
        found = _NAME.match(line, at)
        if found is None:
            raise IdentityError("an option has a name, a comma stands between two, and no blank outside of quotes")
        at = found.end()
        value: str | None = None
        if line[at : at + 1] == "=":
            value, at = _quoted(line, at + 1)
            if len(value) > _VALUE_MAX or not value:
                raise IdentityError(f"an option's value has from 1 to {_VALUE_MAX} characters")
        options.append((found[0].lower(), value))
        border = line[at : at + 1]
        if border == ",":
            at += 1
        elif border in ("", " ", "\t"):
            return options, line[at:].lstrip(" \t")
        else:
            raise IdentityError("between two options stands a comma")


_NAME = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)


def _quoted(line: str, at: int) -> tuple[str, int]:
    """The value that begins there with a quote, and where it ends. Raises IdentityError. No regular expression, which might try again."""
    end = line.find('"', at + 1)
    while end > 0 and line[end - 1] == "\\":
        end = line.find('"', end + 1)
    if line[at : at + 1] != '"' or end < 0:
        raise IdentityError("an option's value stands between double quotes")
    return line[at + 1 : end].replace('\\"', '"'), end + 1


class _Reading:
    """Options as they come; the last of a flag and its "no-" wins as with sshd, but for "no-port-forwarding", which wins anywhere."""

    def __init__(self) -> None:
        self._so_far = UNRESTRICTED
        self._once: set[str] = set()
        self._forwards = False  # port-forwarding
        self._forbidden = False  # no-port-forwarding
        self._closed = False  # restrict
        self._opens: set[str] = set()
        self._listens: set[str] = set()
        self._said = False  # something about tunnels

    def take(self, name: str, value: str | None) -> None:
        """One option. Raises IdentityError."""
        why = _REFUSED.get(name)
        if why is not None:
            raise IdentityError(f"the option {name}: {why}")
        if name in _FLAGS:
            if value is not None:
                raise IdentityError(f"the option {name} takes no value")
            _FLAGS[name](self)
        elif name in _VALUES:
            if value is None:
                raise IdentityError(f'the option {name} needs a value: {name}="…"')
            if any(not (sign.isprintable() or sign == "\t") for sign in value):
                raise IdentityError(f"the option {name} has a character that can't be seen")
            if name in _ONCE and name in self._once:
                raise IdentityError(f"the option {name} is said twice")
            self._once.add(name)
            _VALUES[name](self, value)
        else:
            raise IdentityError(f"the option {name} is unknown, and without it the key would be allowed too much")

    def made(self) -> Restrictions:
        """All together. Raises IdentityError for options that contradict one another."""
        made = self._so_far
        if made.command is not None and (made.allow or made.beyond):
            raise IdentityError("command= runs whatever is asked for, so allow= beside it would mean nothing")
        if made.beyond == {":detach"} and not made.allow:
            raise IdentityError('allow=":detach" is about what other allow= let it run, and there is none')
        opens, listens = self._opens, self._listens
        if self._forbidden or (self._closed and not self._forwards):
            opens = listens = set()
        closed = self._said or self._closed or made.only_some
        forwards = self._forwards and not self._forbidden
        return replace(
            made,
            forwarding=Forwarding(closed, forwards, frozenset(opens), frozenset(listens)),
        )

    # --- flags

    def restrict(self) -> None:
        """Closed, also to what later versions may add."""
        self._closed, self._forwards = True, False
        self._so_far = replace(self._so_far, pty=False, restricted=True)

    def pty(self) -> None:
        """A terminal after all."""
        self._so_far = replace(self._so_far, pty=True)

    def no_pty(self) -> None:
        """No terminal."""
        self._so_far = replace(self._so_far, pty=False, restricted=True)

    def port_forwarding(self) -> None:
        """Tunnels."""
        self._said = self._forwards = True

    def no_port_forwarding(self) -> None:
        """None."""
        self._said = self._forbidden = True

    def nothing(self) -> None:
        """About what is never done here."""

    # --- values

    def command(self, value: str) -> None:
        """What runs."""
        self._so_far = replace(self._so_far, command=value, restricted=True)

    def allow(self, value: str) -> None:
        """What may run."""
        if value.startswith(":"):
            if value not in BEYOND:
                raise IdentityError(f"allow is a command, or one of {', '.join(BEYOND)}")
            beyond = self._so_far.beyond | {value}
            self._so_far = replace(self._so_far, beyond=beyond, restricted=True)
            return
        patterns = (*self._so_far.allow, ArgvPattern(value))
        self._so_far = replace(self._so_far, allow=patterns, restricted=True)

    def sources(self, value: str) -> None:
        """From where."""
        self._so_far = replace(self._so_far, sources=Sources(value))

    def expiry_time(self, value: str) -> None:
        """Until when; the earliest counts."""
        at = _expiry(value)
        before = self._so_far.expires
        self._so_far = replace(self._so_far, expires=at if before is None else min(at, before))

    def permitopen(self, value: str) -> None:
        """To where."""
        self._said = True
        self._opens.add(opens_to(value))

    def permitlisten(self, value: str) -> None:
        """At which port."""
        self._said = True
        self._listens.add(listens_at(value))

    def max_commands(self, value: str) -> None:
        """How many at once."""
        if not (value.isascii() and value.isdigit() and len(value) <= 7 and 0 < int(value) <= _COMMANDS_MAX):
            raise IdentityError(f"max-commands is a number from 1 to {_COMMANDS_MAX}")
        self._so_far = replace(self._so_far, max_commands=int(value), restricted=True)

    def cwd(self, value: str) -> None:
        """Where."""
        self._so_far = replace(self._so_far, cwd=value, restricted=True)

    def timeout(self, value: str) -> None:
        """How long."""
        seconds = float(value) if _SECONDS.fullmatch(value) else math.nan
        if not 0.001 <= seconds <= _SECONDS_MAX:
            raise IdentityError(f"timeout is in seconds, from 0.001 to {_SECONDS_MAX:.0f}")
        self._so_far = replace(self._so_far, timeout=seconds, restricted=True)

    def environment(self, value: str) -> None:
        """One variable; the first of a name counts, as with sshd."""
        name, equals, content = value.partition("=")
        if not equals or is_hazardous(name):
            raise IdentityError(
                "environment is NAME=VALUE, and NAME none by which another program would run; write it into the command"
            )
        if all(name != other for other, _ in self._so_far.environment):
            pairs = (*self._so_far.environment, (name, content))
            self._so_far = replace(self._so_far, environment=pairs)

    def accept_env(self, value: str) -> None:
        """What a client may set."""
        if not _VARIABLES.fullmatch(value):
            raise IdentityError("accept-env is the name of a variable; * and ? stand for other characters")
        self._so_far = replace(self._so_far, accept_env=(*self._so_far.accept_env, value), restricted=True)


_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", re.ASCII)
_VARIABLES = re.compile(r"[A-Za-z_*?][A-Za-z0-9_*?]{0,63}", re.ASCII)
_EXPIRY = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)", re.ASCII)


def _expiry(value: str) -> int:
    """YYYYMMDD[HHMM[SS]][Z] as Unix time; without Z in the machine's own time zone, as sshd has it. Raises IdentityError."""
    found = _EXPIRY.fullmatch(value.upper())
    try:
        if found is None:
            raise ValueError(value)
        year, month, day, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
        at = datetime(year, month, day, hour, minute, second)
        if found[7]:
            return int((at - datetime(1970, 1, 1)).total_seconds())
        return int(time.mktime((*at.timetuple()[:8], -1)))
    except (ValueError, OverflowError):
        raise IdentityError("expiry-time is YYYYMMDD, or YYYYMMDDHHMM[SS]; Z behind it for UTC") from None


_FLAGS: dict[str, Callable[[_Reading], None]] = {
    "restrict": _Reading.restrict,
    "pty": _Reading.pty,
    "no-pty": _Reading.no_pty,
    "port-forwarding": _Reading.port_forwarding,
    "no-port-forwarding": _Reading.no_port_forwarding,
    # neither agents nor X11 are forwarded here, and ~/.ssh/rc is not run
    "agent-forwarding": _Reading.nothing,
    "no-agent-forwarding": _Reading.nothing,
    "x11-forwarding": _Reading.nothing,
    "no-x11-forwarding": _Reading.nothing,
    "user-rc": _Reading.nothing,
    "no-user-rc": _Reading.nothing,
}
_VALUES: dict[str, Callable[[_Reading, str], None]] = {
    "command": _Reading.command,
    "allow": _Reading.allow,
    "from": _Reading.sources,
    "expiry-time": _Reading.expiry_time,
    "permitopen": _Reading.permitopen,
    "permitlisten": _Reading.permitlisten,
    "max-commands": _Reading.max_commands,
    "cwd": _Reading.cwd,
    "timeout": _Reading.timeout,
    "environment": _Reading.environment,
    "accept-env": _Reading.accept_env,
}
_ONCE = frozenset(("command", "from", "max-commands", "cwd", "timeout"))
# of sshd's, those that nothing here could make hold
_REFUSED = {
    "cert-authority": "certificates are not taken",
    "principals": "certificates are not taken",
    "verify-required": "keys on hardware are not taken",
    "no-touch-required": "keys on hardware are not taken",
    "tunnel": "network devices are not forwarded",
}
OPTIONS = frozenset((*_FLAGS, *_VALUES))  # all that a line may have
REFUSED_OPTIONS = frozenset(_REFUSED)  # and what sshd knows besides
