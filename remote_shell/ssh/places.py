"""Where a command line leads: one server, and how to log in there. Reads files, connects to nothing.

A name of hosts.toml goes first: it was written for this program, and says all (address, key, fingerprint), so ssh's own files are
not read then. Any other name is a host: ssh's files may give it another address, an account and a key, but never a port, since
that is where sshd listens. Neighbours: `remote` connects there.
"""

from __future__ import annotations

import os
import pwd
from typing import Any, NamedTuple

from remote_shell.config.hosts import NOTHING_ALLOWED, Allowed, lookup
from remote_shell.config.paths import expand_home
from remote_shell.config.targets import DEFAULT_PORT, Target, parse_target
from remote_shell.errors import IdentityError, UsageError
from remote_shell.ssh.config import SYSTEM_FILE, read_config
from remote_shell.ssh.options import CommandLine

_OWN_KINDS = ("unix:", "tls:", "tcp:")


class Place(NamedTuple):
    """`name` is the host as it was typed. `options` are for `connect`; `identities` are those that may be used, best first.

    `allowed` is what output may do to our terminal, by hosts.toml.
    """

    name: str
    target: Target
    options: dict[str, Any]
    identities: list[str]
    allowed: Allowed = NOTHING_ALLOWED


class Destination(NamedTuple):
    """`[USER@]HOST` or `ssh://[USER@]HOST[:PORT]`, or a target as other commands take it."""

    host: str
    user: str = ""
    port: str = ""


def parse_destination(text: str) -> Destination:
    """As ssh(1) reads it. Raises UsageError."""
    if text.startswith(_OWN_KINDS):
        return Destination(text)
    if text.lower().startswith("ssh://"):
        return _uri(text)
    user, at, host = text.rpartition("@")
    if not host or (at and not user) or host.startswith("-"):
        raise UsageError(f"bad host {text[:200]!a}: write [user@]host or ssh://[user@]host[:port]")
    return Destination(host, user)


def _uri(text: str) -> Destination:
    from urllib.parse import unquote_to_bytes  # 10 ms, and few hosts are written so

    authority, _, path = text[len("ssh://") :].partition("/")
    user, _, rest = authority.rpartition("@")
    if rest.startswith("["):
        host, bracket, after = rest[1:].partition("]")
        colon, port = after[:1], after[1:]
        bad = not bracket or colon not in ("", ":")
    else:
        host, colon, port = rest.partition(":")
        bad = ":" in port
    if path or bad or not host or (colon and not port) or host.startswith("-"):
        raise UsageError(f"bad host {text[:200]!a}: write ssh://[user@]host[:port], without a path")
    return Destination(host, os.fsdecode(unquote_to_bytes(user.partition(";")[0])), port)


def find(line: CommandLine, *, system: str = SYSTEM_FILE) -> Place:
    """The place that the command line means; its settings get what files say. Raises UsageError, ConfigError, IdentityError."""
    destination = parse_destination(line.destination)
    settings = line.settings
    if destination.user:
        settings.add_given("User", destination.user, "the account")
    if destination.port:
        settings.add_given("Port", destination.port, f"{line.destination[:200]!a}: the port")
    options: dict[str, Any] = {}
    host, allowed = destination.host, NOTHING_ALLOWED
    if host.startswith(_OWN_KINDS):
        target = parse_target(host)
    elif (entry := lookup(host)) is not None:
        target, allowed = entry.target, entry.allow
        options = {"identity": entry.identity, "secret_file": entry.secret_file, "fingerprint": entry.fingerprint}
    else:
        read_config(settings, host, line.config_file, system=system)
        target = _host_target(_address(settings.text("hostname") or "%h", host))
    target = _changed(target, settings.port, settings.text("user") or target.user, host)
    _use_agent(settings.text("identityagent"))
    given = [name for name in settings.given_identities if name.lower() != "none"]
    identities = [_expanded(name, target, host) for name in given]
    if identities:
        options |= {"identity": _first_there(identities), "secret_file": None}
    elif not options.get("identity") and not options.get("secret_file"):
        named = [name for name in settings.file_identities if name.lower() != "none"]
        identities = [_expanded(name, target, host) for name in named]
        if target.kind != "unix":
            options |= {"identity": _first_usable(identities, line)}
    options["connect_timeout"] = settings.connect_timeout
    return Place(host, target, options, identities, allowed)


def _host_target(host: str) -> Target:
    """A server at `host`, an IPv6 address without brackets among them. Raises UsageError."""
    return parse_target(f"tls:[{host}]" if ":" in host else f"tls:{host}")


def _changed(target: Target, port: int | None, user: str, name: str) -> Target:
    if port is not None and target.kind == "unix":
        raise UsageError(f"{name} is a Unix socket and has no port; leave -p away")
    if user and (user.startswith("-") or not user.isprintable() or any(sign in " :/@,[]" for sign in user)):
        raise UsageError(f"{user[:80]!a} is no account name")
    return Target(target.kind, host=target.host, port=port or target.port, path=target.path, user=user, text=name)


def _address(pattern: str, host: str) -> str:
    """HostName, whose %h is the name that was typed. Raises UsageError."""
    return _filled(pattern, {"h": host}, "HostName")


def _expanded(name: str, target: Target, host: str) -> str:
    """IdentityFile as a path. Raises UsageError, ConfigError."""
    account = pwd.getpwuid(os.getuid())
    marks = {
        "d": expand_home("~"),
        "h": target.host or host,
        "n": host,
        "p": str(target.port or DEFAULT_PORT),
        "r": target.user or account.pw_name,
        "u": account.pw_name,
        "i": str(os.getuid()),
        "l": os.uname().nodename,
        "L": os.uname().nodename.partition(".")[0],
    }
    return expand_home(_filled(name, marks, "IdentityFile"))


def _filled(pattern: str, marks: dict[str, str], keyword: str) -> str:
    """`pattern` with its %-signs filled in."""
    marks = {**marks, "%": "%"}
    parts = pattern.split("%")
    made, at = parts[0], 1
    while at < len(parts):
        part = parts[at]
        if not part and at + 1 < len(parts):  # %%
            made, at = f"{made}%{parts[at + 1]}", at + 2
            continue
        if part[:1] not in marks or not part:
            raise UsageError(f"{keyword} {pattern[:80]!a}: %{part[:1]} is not known here; known are {' '.join(marks)}")
        made, at = made + marks[part[0]] + part[1:], at + 1
    return made


def _first_there(paths: list[str]) -> str:
    """With -i, a file that is missing is passed over as ssh does; but not the last."""
    return next((path for path in paths if os.path.exists(path)), paths[-1])


def _first_usable(paths: list[str], line: CommandLine) -> str | None:
    """The first Ed25519 key; None: as if no file had named one. ssh's own files name RSA keys too."""
    if not paths:
        return None
    from remote_shell.identity.signers import default_signers  # only who names keys in a file pays for it

    for path in paths:
        try:
            default_signers(path)
        except IdentityError as error:
            line.settings.note(f"a key is passed over: {error}")
        else:
            return path
    return None


def _use_agent(wish: str) -> None:
    """IdentityAgent, for this process."""
    if wish.lower() == "none":
        os.environ.pop("SSH_AUTH_SOCK", None)
    elif wish.startswith("$"):
        os.environ["SSH_AUTH_SOCK"] = os.environ.get(wish[1:].strip("{}"), "")
    elif wish and wish != "SSH_AUTH_SOCK":
        os.environ["SSH_AUTH_SOCK"] = expand_home(wish)
