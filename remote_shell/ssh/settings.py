"""What was asked for, keyword by keyword: of each the first value counts, as in ssh_config(5).

The command line is added before the files, so it wins. Opens nothing. Neighbours: `keywords` says what becomes of each,
`options` and `config` add to it, `places` and the command read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from remote_shell.errors import UsageError
from remote_shell.ssh.keywords import KEYWORDS, Keyword
from remote_shell.ssh.words import Line, matches, split_line

Wish = Literal["no", "auto", "yes", "force"]  # RequestTTY

_YES = frozenset(("yes", "true", "on"))  # Debian's and OpenSSH's words for a flag
_NO = frozenset(("no", "false", "off"))
_FLAGS = frozenset(("batchmode", "forkafterauthentication", "stdinnull", "clearallforwardings", "exitonforwardfailure"))
_FLAGS |= {"gatewayports"}
_RAW = frozenset(("remotecommand",))  # the rest of the line, as it stands
_TIME = re.compile(r"(?:\d{1,9}[smhdwSMHDW])*\d{1,9}[smhdwSMHDW]?", re.ASCII)
_PART = re.compile(r"(\d+)([a-zA-Z]?)", re.ASCII)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_NOTES_MAX = 50  # a file with a thousand hosts is no reason for a thousand lines


class Tunnel(NamedTuple):
    """Who connects to `address` and `port` reaches `host` and `host_port`; `reverse`: there and as we do. "" is loopback."""

    reverse: bool
    address: str
    port: int
    host: str
    host_port: int


def parse_tunnel(text: str, where: str, *, reverse: bool) -> Tunnel:
    """`[ADDRESS:]PORT:HOST:HOST_PORT`, IPv6 addresses in brackets. Raises UsageError."""
    found = _TUNNEL.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{where} {text[:200]!a}: write [address:]port:host:hostport; there are no tunnels for sockets, and no SOCKS"
        )
    address, port, host, host_port = found.groups()
    if address is not None:
        address = address.strip("[]") or "*"  # ssh(1): an empty one is all
    host = host.strip("[]")
    if not host or not (int(port) < 65536 and 0 < int(host_port) < 65536):
        raise UsageError(f"{where} {text[:200]!a}: ports go from 1 to 65535; only the first may be 0, which is any")
    return Tunnel(reverse, address or "", int(port), host, int(host_port))


_FIELD = r"(\[[^\[\]/]*\]|[^:\[\]/]*)"
_TUNNEL = re.compile(rf"(?:{_FIELD}:)?(\d{{1,5}}):{_FIELD}:(\d{{1,5}})", re.ASCII)


class Settings:
    """Values of keywords that are served. Every method that adds raises UsageError."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._terminal: Wish | None = None  # -t and -T, which win over RequestTTY
        self.given_identities: list[str] = []  # -i and -o
        self.file_identities: list[str] = []
        self._sent: list[str] = []  # patterns of SendEnv
        self._tunnels: list[Tunnel] = []  # LocalForward and RemoteForward
        self._set: dict[str, str] | None = None
        self.notes: list[str] = []  # what -v tells
        self.files: list[str] = []  # that were read or looked for, and the folders that an Include looks through

    def note(self, text: str) -> None:
        """For -v: something that was not done."""
        if len(self.notes) < _NOTES_MAX and text not in self.notes:
            self.notes.append(text)

    # --- adding

    def add_option(self, text: str) -> None:
        """-o: one line of ssh_config(5)."""
        line = split_line(text)
        if line is None:
            raise UsageError("-o needs a keyword of ssh_config(5) and a value: -o User=me")
        self._add(line, f"-o {line.keyword[:40]}", in_file=False)

    def add_given(self, beginning: str, argument: str, shown: str) -> None:
        """An option that stands for a line: its argument is one word, whatever is in it."""
        keyword, _, value = beginning.partition(" ")
        value = value or argument
        self._add(Line(keyword.lower(), value, [value]), shown, in_file=False)

    def add_line(self, line: Line, where: str) -> None:
        """A line of a file, for a host that it is about. `where` is told with what is wrong."""
        self._add(line, where, in_file=True)

    def ask_terminal(self, *, wanted: bool) -> None:
        """-t, which twice means in any case, or -T."""
        again = self._terminal in ("yes", "force")
        self._terminal = "no" if not wanted else "force" if again else "yes"

    def _add(self, line: Line, where: str, *, in_file: bool) -> None:
        known = KEYWORDS.get(line.keyword)
        if known is None:
            if not in_file:
                raise UsageError(f"{where}: ssh_config(5) has no such keyword")
            self.note(f"{where}: {line.keyword[:40]!a} is not known, and passed over")
            return
        if in_file:
            where = f"{where}: {known.name}"
        if not line.words:
            raise UsageError(f"{where} needs a value")
        if known.fate == "served":
            self._serve(line, where, in_file)
        elif known.fate == "ignored":
            self.note(f"{where} is ignored: {known.why}")
        else:
            self._refuse(known, line.words, where, in_file)

    def _refuse(self, known: Keyword, words: list[str], where: str, in_file: bool) -> None:
        if words[0].lower() in known.harmless:
            self._values.setdefault(known.name.lower(), "none")
        elif known.name.lower() in self._values:
            return  # "none" was said before, as to ssh
        elif not in_file or known.in_file == "refused":
            raise UsageError(f"{where} is refused: {known.why}")
        else:
            self.note(f"{where} is passed over: {known.why}")

    def _serve(self, line: Line, where: str, in_file: bool) -> None:
        keyword, words = line.keyword, line.words
        if keyword == "port" and in_file:
            self.note(
                f"{where} is passed over: it is sshd's; the port of a remote-shell server is in hosts.toml, or -p"
            )
        elif keyword == "identityfile":
            (self.file_identities if in_file else self.given_identities).extend(words[:1])
        elif keyword in ("localforward", "remoteforward"):
            self._tunnels.append(parse_tunnel(":".join(words), where, reverse=keyword == "remoteforward"))
        elif keyword == "sendenv":
            self._send(words)
        elif keyword == "setenv":
            if self._set is None:  # the first line counts, whole
                self._set = dict(_pair(word, where) for word in words)
        else:
            value = line.text if keyword in _RAW else words[0]
            _check(keyword, value, where)
            self._values.setdefault(keyword, value)

    def _send(self, patterns: Iterable[str]) -> None:
        for pattern in patterns:
            if pattern.startswith("-"):
                self._sent = [one for one in self._sent if not matches(pattern[1:], one)]
            else:
                self._sent.append(pattern)

    # --- reading

    def text(self, keyword: str) -> str:
        """The value, "" if there is none."""
        return self._values.get(keyword, "")

    def flag(self, keyword: str) -> bool:
        """Whether it is yes."""
        return self.text(keyword).lower() in _YES

    @property
    def port(self) -> int | None:
        """-p and its like."""
        return int(self._values["port"]) if "port" in self._values else None

    @property
    def terminal(self) -> Wish:
        """-t, -tt, -T, RequestTTY."""
        if self._terminal is not None:
            return self._terminal
        value = self.text("requesttty").lower()
        return "yes" if value in _YES else "no" if value in _NO else "force" if value == "force" else "auto"

    @property
    def tunnels(self) -> list[Tunnel]:
        """-L, -R and their like, none with ClearAllForwardings. GatewayPorts is about those that listen here and say no address."""
        if self.flag("clearallforwardings"):
            return []
        everywhere = self.flag("gatewayports")
        return [
            one._replace(address="*") if everywhere and not (one.reverse or one.address) else one
            for one in self._tunnels
        ]

    @property
    def is_quiet(self) -> bool:
        """-q."""
        return self.text("loglevel").upper() == "QUIET"

    @property
    def is_verbose(self) -> bool:
        """-v."""
        return self.text("loglevel").upper() in ("VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3")

    @property
    def remote_command(self) -> str:
        """RemoteCommand, "" for none."""
        value = self.text("remotecommand")
        return "" if value.lower() == "none" else value

    @property
    def connect_timeout(self) -> float | None:
        """Seconds."""
        value = self.text("connecttimeout")
        return float(_seconds(value) or 0) or None if value else None

    @property
    def escape(self) -> int | None:
        """The key's code; None for none."""
        return _key(self.text("escapechar") or "~")

    def environment(self, ours: dict[str, str]) -> dict[str, str]:
        """What SendEnv and SetEnv add to the command's."""
        sent = {name: value for name, value in ours.items() if any(matches(pattern, name) for pattern in self._sent)}
        return sent | (self._set or {})


def _check(keyword: str, value: str, where: str) -> None:
    """Raises UsageError for a value that the keyword does not take."""
    low = value.lower()
    takes = ""
    if keyword == "port" and not (value.isascii() and value.isdigit() and len(value) <= 5 and 0 < int(value) < 65536):
        takes = "a number from 1 to 65535"
    elif keyword == "connecttimeout" and low != "none" and _seconds(value) is None:
        takes = "a number of seconds, or none"
    elif keyword in _FLAGS and low not in _YES | _NO:
        takes = "yes or no"
    elif keyword == "requesttty" and low not in _YES | _NO | {"force", "auto"}:
        takes = "no, yes, force or auto"
    elif keyword == "sessiontype" and low not in ("subsystem", "none", "default"):
        takes = "subsystem, none or default"
    elif keyword == "escapechar" and low != "none" and _key(value) is None:
        takes = "one character, ^ and a letter, or none"
    if takes:
        raise UsageError(f"{where} takes {takes}, not {value[:40]!a}")


def _seconds(value: str) -> int | None:
    """A time as ssh writes it: 90, 1m30s. None for none and for what is no time; 0 counts as none."""
    if not _TIME.fullmatch(value):
        return None
    return sum(int(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(value))


def _key(value: str) -> int | None:
    if len(value) == 1 and value.isascii():
        return ord(value)
    if len(value) == 2 and value[0] == "^" and "@" <= value[1].upper() <= "_":
        return ord(value[1].upper()) & 31
    return None


def _pair(word: str, where: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not (name and equals):
        raise UsageError(f"{where} takes NAME=VALUE, not {word[:40]!a}")
    return name, value
