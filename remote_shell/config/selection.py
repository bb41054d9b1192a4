"""Which hosts a person meant by `web1,node[1-3],@ci`: names, ranges and the groups of hosts.toml, each host once.

Reads hosts.toml once for all of them, connects to nobody and asks no resolver. Neighbours: `names` unfolds, `hosts` has the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from remote_shell.config.hosts import Host, load_hosts, resolve_in
from remote_shell.config.names import expand, split
from remote_shell.config.targets import Target
from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS

ALL = "all"  # the group of every host in the file


class Chosen(NamedTuple):
    """One host: the name it was chosen by, where that is, and its table in hosts.toml if there is one."""

    name: str
    target: Target
    entry: Host | None


def select(wanted: Iterable[str], excluded: Iterable[str] = (), path: str | None = None) -> list[Chosen]:
    """The hosts of `wanted` without those of `excluded`, in the order in which they were first named.

    Each text is a list with commas of targets, names, ranges and `@GROUP`s; `@all` is every host of the file. Raises UsageError for
    a group that no host has, a text that is no target, and if nobody is left; ConfigError for the file.
    """
    hosts = load_hosts(path)
    chosen: dict[object, Chosen] = {}
    for one in _all(wanted, hosts):
        chosen.setdefault(_key(one), one)
    if len(chosen) > DEFAULT_LIMITS.many_targets_max:
        raise UsageError(f"{len(chosen)} hosts are more than the {DEFAULT_LIMITS.many_targets_max} that one call takes")
    for one in _all(excluded, hosts):
        chosen.pop(_key(one), None)
    if not chosen:
        raise UsageError("no host is left to run on: every one that was named is excluded too, or none was named")
    return list(chosen.values())


def _all(texts: Iterable[str], hosts: dict[str, Host]) -> Iterable[Chosen]:
    for text in texts:
        for word in split(text):
            names = _members(word[1:], hosts) if word.startswith("@") else expand(word)
            for name in names:
                yield Chosen(name, *resolve_in(hosts, name))


def _key(one: Chosen) -> object:
    """Two names of the file are two hosts, whatever their targets; of the rest two are one if they lead to the same place."""
    return (one.entry.name, one.target.user) if one.entry is not None else one.target


def _members(group: str, hosts: dict[str, Host]) -> list[str]:
    members = [host.name for host in hosts.values() if group == ALL or group in host.groups]
    if members:
        return members
    if group == ALL:
        raise UsageError("@all: there is no host in hosts.toml")
    import difflib  # 5 ms, and only a mistyped group needs it

    known = sorted({name for host in hosts.values() for name in host.groups})
    near = difflib.get_close_matches(group, known, n=1)
    hint = f"did you mean @{near[0]}?" if near else f"groups are {', '.join(known)}" if known else "no host has a group"
    shown = group if group.isprintable() else ascii(group)
    raise UsageError(f"@{shown}: no host in hosts.toml has that group; {hint}")
