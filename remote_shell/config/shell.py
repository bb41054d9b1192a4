"""What `remote-shell shell` is told by hosts.toml: each value from the host's table, else from `[shell]`, else the default.

Checked as the rest of hosts.toml is: by hand, with errors that name file, table and key. Neighbours: `hosts` reads the file,
`cli.own_line` asks what can be a prefix.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

from remote_shell.errors import ConfigError

OnLost = Literal["kill", "keep", "ask"]

PREFIX = ":"
ON_LOST: tuple[OnLost, ...] = ("kill", "keep", "ask")
KEYS = ("prefix", "on_lost")  # both in [shell] and in a host's table


class ShellDefaults(NamedTuple):
    """A `[shell]` table; None is what it leaves out."""

    prefix: str | None = None
    on_lost: OnLost | None = None


NOTHING = ShellDefaults()


class ShellSettings(NamedTuple):
    """What holds for one target."""

    prefix: str = PREFIX
    on_lost: OnLost = "kill"


def is_prefix(text: object) -> bool:
    """It can begin our own commands: one sign that neither a word of the shell nor `?` begins with."""
    return (
        isinstance(text, str)
        and len(text) == 1
        and text.isascii()
        and text.isprintable()
        and not text.isalnum()
        and text not in " ?"
    )


def parse_shell(table: object, where: str) -> ShellDefaults:
    """The `[shell]` table of a file. Raises ConfigError, which begins with `where`."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is not a table")
    for key, value in table.items():
        if key not in KEYS:
            raise ConfigError(f"{where}: unknown key {key!a}; known are {', '.join(KEYS)}")
        check_key(where, key, value)
    return ShellDefaults(table.get("prefix"), cast("OnLost | None", table.get("on_lost")))


def check_key(where: str, key: str, value: object) -> None:
    """One of `KEYS`. Raises ConfigError."""
    if key == "prefix" and not is_prefix(value):
        raise ConfigError(f'{where} prefix: must be one sign, such as ",", and no letter, digit, blank or "?"')
    if key == "on_lost" and value not in ON_LOST:
        raise ConfigError(f"{where} on_lost: must be one of {', '.join(ON_LOST)}")


def effective(first: ShellDefaults, *then: ShellDefaults) -> ShellSettings:
    """The first that says something wins, for each value."""
    every = (first, *then)
    return ShellSettings(
        next((one.prefix for one in every if one.prefix is not None), PREFIX),
        next((one.on_lost for one in every if one.on_lost is not None), "kill"),
    )
