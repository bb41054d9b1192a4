"""hosts.toml: the names that a person gave to servers, and what goes with each.

Checked by hand and not by pydantic: a client reads it at every start and pydantic would cost more than the connection. Opens
no key and asks no resolver. Neighbours: `targets` reads the target's text, `paths` says where the file is.
"""

from __future__ import annotations

import os

from remote_shell.config import shell
from remote_shell.config.checked import read_text
from remote_shell.config.fingerprints import parse_fingerprint
from remote_shell.config.paths import config_dir, expand_home, shown
from remote_shell.config.shell import OnLost, ShellDefaults, ShellSettings
from remote_shell.config.targets import Target, parse_target, split_user
from remote_shell.errors import ConfigError, UsageError
from remote_shell.limits import DEFAULT_LIMITS

COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
LABEL_MAX = 32  # cells of the terminal
_TEXT_KEYS = ("target", "identity", "secret_file", "fingerprint", "colour", "label", "remote_command")
_INSTEAD = {  # of an empty text; an empty label is none, as who writes one means it
    "target": "an address between the quotes, such as 10.0.0.7:8822",
    **dict.fromkeys(("identity", "secret_file"), "a file between the quotes, or leave the line away"),
    "fingerprint": "SHA256:… between the quotes, or leave the line away",
    "colour": f"one of {', '.join(COLOURS)} between the quotes, or leave the line away",
    "remote_command": "where remote-shell is over there, or leave the line away",
}
_KEYS = (
    *("target", "identity", "secret_file", "fingerprint", "remote_command", "groups", "label", "colour", "production"),
    *shell.KEYS,
)
_NOT_SSH = {"secret_file": "ssh logs in", "fingerprint": "ssh knows the host by its own known_hosts"}


class Host:
    """One `[hosts.NAME]` table. Paths are absolute; what the table leaves out is None, empty or False."""

    __slots__ = (
        *("colour", "fingerprint", "groups", "identity", "label", "name", "on_lost", "prefix", "production"),
        *("remote_command", "secret_file", "target"),
    )

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self.target = target
        self.identity: str | None = None
        self.secret_file: str | None = None
        self.fingerprint: str | None = None
        self.remote_command: str | None = None  # a line for sh over there that is our program, without `pipe`
        self.groups: tuple[str, ...] = ()
        self.label: str | None = None  # shown before the name
        self.colour: str | None = None
        self.production = False
        self.prefix: str | None = None  # of the shell's own commands
        self.on_lost: OnLost | None = None  # what becomes of a shell whose client is lost

    def __repr__(self) -> str:
        return f"Host({self.name!r}, {self.target!r})"


def resolve(text: str, path: str | None = None) -> tuple[Target, Host | None]:
    """The target that a person meant by `text`: a name of hosts.toml first, else what `parse_target` makes of it.

    `USER@NAME` works as well. `path` is the file, by default hosts.toml in the settings folder. Raises UsageError for the
    text, ConfigError for the file.
    """
    return resolve_in(load_hosts(path) if _name_of(text) else {}, text)


def resolve_in(hosts: dict[str, Host], text: str) -> tuple[Target, Host | None]:
    """The same with the file's hosts at hand."""
    name = _name_of(text)
    host = hosts.get(name) if name else None
    if host is None:
        return parse_target(text), None
    user = split_user(text, text)[0]
    return host.target.with_user(user or host.target.user, text), host


def lookup(name: str, path: str | None = None) -> Host | None:
    """The host of that name, or None. Raises ConfigError if the file can't be used."""
    return load_hosts(path).get(name)


def load_hosts(path: str | None = None) -> dict[str, Host]:
    """Every host of the file, by name; none if there is no file. Raises ConfigError, naming file, table and key."""
    return _load(path)[0]


def shell_settings(text: str, given: ShellDefaults = shell.NOTHING, path: str | None = None) -> ShellSettings:
    """What holds for a shell on the target that a person meant by `text`; `given` was on the command line, and wins.

    Raises ConfigError for the file.
    """
    hosts, defaults = _load(path)
    host = hosts.get(_name_of(text))
    named = ShellDefaults(host.prefix, host.on_lost) if host is not None else shell.NOTHING
    return shell.effective(given, named, defaults)


def _load(path: str | None) -> tuple[dict[str, Host], ShellDefaults]:
    path = path or os.path.join(config_dir(), "hosts.toml")
    text = read_text(path, what="hosts file", limit=DEFAULT_LIMITS.list_file_max, private=False)
    if text is None:
        return {}, shell.NOTHING
    document = parse_toml(text, path)
    for key in document:
        if key not in ("hosts", "shell"):
            raise ConfigError(
                f"{shown(path)}: unknown key {key!a}; every host is a table [hosts.NAME], for all of them there is [shell]"
            )
    tables = document.get("hosts", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{shown(path)}: 'hosts' is not a table; every host is a table [hosts.NAME]")
    hosts = {name: _host(name, table, path) for name, table in tables.items()}
    return hosts, shell.parse_shell(document.get("shell", {}), f"{shown(path)}: [shell]")


def parse_toml(text: str, path: str) -> dict[str, object]:
    """`text` as TOML. Raises ConfigError, naming the file and, as tomllib does, line and column."""
    import tomllib  # 10 ms, and most people have no such file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown(path)}: not TOML: {shown(str(error)[:200])}") from None
    except (RecursionError, ValueError) as error:  # deep nesting; a number too long for int()
        raise ConfigError(f"{shown(path)}: not TOML that can be read: {type(error).__name__}") from None


def _name_of(text: str) -> str:
    """The name that may be in the file, without USER@; "" if it can be none."""
    user, _, name = text.rpartition("@")
    return name if _is_name(name) and not any(sign in ":@" for sign in user) else ""  # ssh:USER@HOST says all by itself


def _is_name(text: str) -> bool:
    return bool(text) and text.isprintable() and not any(sign in " :/@,[]" for sign in text)


def _host(name: str, table: object, path: str) -> Host:
    where = f"{shown(path)}: [hosts.{name if _is_name(name) else ascii(name)}]"
    if not _is_name(name):
        raise ConfigError(f"{where}: a name has no spaces and none of : / @ , [ ]")
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is not a table")
    for key, value in table.items():
        _check_key(where, key, value)
    if "target" not in table:
        raise ConfigError(f'{where}: needs a target, such as target = "{name}:8822"')
    try:
        host = Host(name, parse_target(table["target"]))
    except UsageError as error:
        raise ConfigError(f"{where} target: {error}") from None
    if host.target.kind == "ssh":
        for key in _NOT_SSH.keys() & table.keys():
            raise ConfigError(f"{where} {key}: not with a target ssh:…, where {_NOT_SSH[key]}; leave it out")
    elif "remote_command" in table:
        raise ConfigError(f"{where} remote_command: only for a target ssh:…, which is what runs a command over there")
    if "fingerprint" in table:
        try:
            host.fingerprint = parse_fingerprint(table["fingerprint"])
        except UsageError as error:
            raise ConfigError(f"{where} fingerprint: {error}") from None
    host.identity = _file(table.get("identity"), path)
    host.secret_file = _file(table.get("secret_file"), path)
    host.remote_command = table.get("remote_command")
    host.groups = tuple(table.get("groups", ()))
    host.colour = table.get("colour")
    host.production = table.get("production", False)
    host.label, host.prefix, host.on_lost = table.get("label") or None, table.get("prefix"), table.get("on_lost")
    return host


def _check_key(where: str, key: str, value: object) -> None:
    if key not in _KEYS:
        raise ConfigError(f"{where}: unknown key {key!a}; known are {', '.join(_KEYS)}")
    if key in _TEXT_KEYS and not (isinstance(value, str) and value.isprintable()):
        raise ConfigError(f"{where} {key}: must be a text between quotes, in one line and without control characters")
    if value == "" and key in _INSTEAD:
        raise ConfigError(f"{where} {key}: is empty; write {_INSTEAD[key]}")
    shell.check_key(where, key, value)
    if key == "label" and isinstance(value, str) and (value != value.strip() or _cells(value) > LABEL_MAX):
        raise ConfigError(f"{where} label: must be at most {LABEL_MAX} cells wide, without blanks around it")
    if key == "colour" and value not in COLOURS:
        raise ConfigError(f"{where} colour: must be one of {', '.join(COLOURS)}")
    if key == "production" and not isinstance(value, bool):
        raise ConfigError(f"{where} production: must be true or false")
    if key == "groups" and not (
        isinstance(value, list) and all(isinstance(group, str) and _is_name(group) for group in value)
    ):
        raise ConfigError(f'{where} groups: must be a list of names, such as ["linux", "ci"]')


def _cells(text: str) -> int:
    """How wide a terminal shows it."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text if not unicodedata.combining(sign)
    )


def _file(value: str | None, path: str) -> str | None:
    """A path as the table gives it, made absolute: `~` is the home folder, the rest starts at the file's own folder."""
    if value is None:
        return None
    return os.path.join(os.path.dirname(os.path.abspath(path)), expand_home(value))
