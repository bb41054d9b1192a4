"""hosts.toml: the names that a person gave to servers, and what goes with each.

Checked by hand and not by pydantic: a client reads it at every start and pydantic would cost more than the connection. Opens
no key and asks no resolver. Neighbours: `targets` reads the target's text, `paths` says where the file is.
"""

from __future__ import annotations

import os

from remote_shell.config.checked import read_text
from remote_shell.config.fingerprints import parse_fingerprint
from remote_shell.config.paths import config_dir, expand_home, shown
from remote_shell.config.targets import Target, parse_target, split_user
from remote_shell.errors import ConfigError, UsageError
from remote_shell.limits import DEFAULT_LIMITS

COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_TEXT_KEYS = ("target", "identity", "secret_file", "fingerprint", "colour")
_KEYS = ("target", "identity", "secret_file", "fingerprint", "groups", "colour", "production")


class Host:
    """One `[hosts.NAME]` table. Paths are absolute; what the table leaves out is None, empty or False."""

    __slots__ = ("colour", "fingerprint", "groups", "identity", "name", "production", "secret_file", "target")

    def __init__(self, name: str, target: Target) -> None:
        self.name = name
        self.target = target
        self.identity: str | None = None
        self.secret_file: str | None = None
        self.fingerprint: str | None = None
        self.groups: tuple[str, ...] = ()
        self.colour: str | None = None
        self.production = False

    def __repr__(self) -> str:
        return f"Host({self.name!r}, {self.target!r})"


def resolve(text: str, path: str | None = None) -> tuple[Target, Host | None]:
    """The target that a person meant by `text`: a name of hosts.toml first, else what `parse_target` makes of it.

    `USER@NAME` works as well. `path` is the file, by default hosts.toml in the settings folder. Raises UsageError for the
    text, ConfigError for the file.
    """
    user, name = split_user(text, text) if text.count("@") == 1 else ("", text)
    host = lookup(name, path) if _is_name(name) else None
    if host is None:
        return parse_target(text), None
    return host.target.with_user(user or host.target.user, text), host


def lookup(name: str, path: str | None = None) -> Host | None:
    """The host of that name, or None. Raises ConfigError if the file can't be used."""
    return load_hosts(path).get(name)


def load_hosts(path: str | None = None) -> dict[str, Host]:
    """Every host of the file, by name; none if there is no file. Raises ConfigError, naming file, table and key."""
    path = path or os.path.join(config_dir(), "hosts.toml")
    text = read_text(path, what="hosts file", limit=DEFAULT_LIMITS.list_file_max, private=False)
    if text is None:
        return {}
    document = parse_toml(text, path)
    for key in document:
        if key != "hosts":
            raise ConfigError(f"{shown(path)}: unknown key {key!a}; every host is a table [hosts.NAME]")
    tables = document.get("hosts", {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{shown(path)}: 'hosts' is not a table; every host is a table [hosts.NAME]")
    return {name: _host(name, table, path) for name, table in tables.items()}


def parse_toml(text: str, path: str) -> dict[str, object]:
    """`text` as TOML. Raises ConfigError, naming the file and, as tomllib does, line and column."""
    import tomllib  # 10 ms, and most people have no such file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{shown(path)}: not TOML: {shown(str(error)[:200])}") from None
    except (RecursionError, ValueError) as error:  # deep nesting; a number too long for int()
        raise ConfigError(f"{shown(path)}: not TOML that can be read: {type(error).__name__}") from None


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
    if "fingerprint" in table:
        try:
            host.fingerprint = parse_fingerprint(table["fingerprint"])
        except UsageError as error:
            raise ConfigError(f"{where} fingerprint: {error}") from None
    host.identity = _file(table.get("identity"), path)
    host.secret_file = _file(table.get("secret_file"), path)
    host.groups = tuple(table.get("groups", ()))
    host.colour = table.get("colour")
    host.production = table.get("production", False)
    return host


def _check_key(where: str, key: str, value: object) -> None:
    if key not in _KEYS:
        raise ConfigError(f"{where}: unknown key {key!a}; known are {', '.join(_KEYS)}")
    if key in _TEXT_KEYS and not (isinstance(value, str) and value and value.isprintable()):
        raise ConfigError(f"{where} {key}: must be a text between quotes")
    if key == "colour" and value not in COLOURS:
        raise ConfigError(f"{where} colour: must be one of {', '.join(COLOURS)}")
    if key == "production" and not isinstance(value, bool):
        raise ConfigError(f"{where} production: must be true or false")
    if key == "groups" and not (
        isinstance(value, list) and all(isinstance(group, str) and _is_name(group) for group in value)
    ):
        raise ConfigError(f'{where} groups: must be a list of names, such as ["linux", "ci"]')


def _file(value: str | None, path: str) -> str | None:
    """A path as the table gives it, made absolute: `~` is the home folder, the rest starts at the file's own folder."""
    if value is None:
        return None
    return os.path.join(os.path.dirname(os.path.abspath(path)), expand_home(value))
