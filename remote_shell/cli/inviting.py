"""`keys invite`: the line for a friend, and the two sentences that say what it is worth.

The line alone goes to stdout. Where the server is, its own sign says (`config.running`); what it is called elsewhere nobody here can know,
hence --address. Neighbours: identity's `invitation` and `invitations`.
"""

from __future__ import annotations

import argparse
import ipaddress
import math
import os
import re
import socket
import sys

from remote_shell.cli.key_list import the_list
from remote_shell.cli.main import complain
from remote_shell.config.running import running
from remote_shell.config.targets import DEFAULT_PORT, Target, parse_target
from remote_shell.errors import ConfigError, UsageError
from remote_shell.identity import key_lines
from remote_shell.identity.invitation import Invitation
from remote_shell.identity.invitations import Invitations
from remote_shell.identity.keys import PublicKey, make_blob
from remote_shell.identity.private_keys import public_of
from remote_shell.identity.server_identity import ServerIdentity
from remote_shell.limits import DEFAULT_LIMITS

_LABEL = re.compile(r"[A-Za-z0-9._:/+@-]{1,64}", re.ASCII)
_SERVE = "remote-shell serve --listen tls:0.0.0.0:8822"
# RFC 5737 and RFC 3849: addresses for examples. Nothing is sent there; the system says which of ours it would send from.
_ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
_ANY = ("0.0.0.0", "::")  # noqa: S104


def invite(arguments: argparse.Namespace) -> None:
    """Make an invitation and print it. Raises UsageError, ConfigError."""
    if arguments.label is not None and not _LABEL.fullmatch(arguments.label):
        raise UsageError(f"--label {arguments.label[:80]!a}: a word of at most 64 letters, digits and . _ : / + @ -")
    options = ",".join(arguments.option)
    key_lines.make_line(PublicKey(make_blob(public_of(bytes(32)))), options)  # the options are good, or this raises
    listed = the_list(arguments.authorized_keys)
    real = os.path.realpath(listed)
    here = [one for one in running() if one.fingerprint and os.path.realpath(one.authorized_keys) == real]
    addresses = (
        _given(arguments.address) if arguments.address else _found([text for one in here for text in one.listen])
    )
    fingerprint = here[0].fingerprint if here else ServerIdentity.load().fingerprint
    key_lines.check(listed)  # or the friend would be refused
    record, code = Invitations().make(arguments.minutes * 60, arguments.label or "", options, listed)
    line = Invitation(tuple(addresses), fingerprint, math.ceil(record.until / 60) * 60, code).line()
    limited = " that may do no more than its options say" if options else ""
    print(
        f"whoever has this line can add one key of theirs here{limited}, once, within {_minutes(arguments.minutes)}: "
        "give it to nobody else.",
        file=sys.stderr,
        flush=True,
    )
    print(line, flush=True)
    print("over there, type: remote-shell pair    and paste it.", file=sys.stderr)
    _warn(addresses, bool(here))


def _minutes(count: float) -> str:
    return "1 minute" if count == 1 else f"{count:g} minutes"


def _given(texts: list[str]) -> list[Target]:
    if len(texts) > DEFAULT_LIMITS.invitation_addresses_max:
        raise UsageError(f"--address: at most {DEFAULT_LIMITS.invitation_addresses_max} of them")
    targets = [parse_target(f"tls:{text.removeprefix('tls:')}") for text in texts]
    if any(target.user for target in targets):
        raise UsageError("--address is HOST[:PORT], without an account before it")
    return targets


def _found(listening: list[str]) -> list[Target]:
    """Where the servers that run here are reached. Raises ConfigError if none is."""
    targets: dict[Target, None] = {}
    for text in listening:
        kind, _, place = text.partition(":")
        if kind != "tls":
            continue
        host, _, port = place.rpartition(":")
        host = host.strip("[]")
        for name in _own_addresses(host) if host in _ANY else [host]:
            targets[Target("tls", host=name, port=int(port))] = None
    if not targets:
        raise ConfigError(
            f"no server of yours that reads this list listens on TLS here now; start one: {_SERVE}"
            f" (or name the place where it will be: --address HOST:{DEFAULT_PORT})"
        )
    # from elsewhere loopback leads elsewhere: last, and only if there is nothing else
    best = [target for target in targets if not _is(target, "is_loopback")] or list(targets)
    return best[: DEFAULT_LIMITS.invitation_addresses_max]


def _own_addresses(listening: str) -> list[str]:
    """This machine's addresses towards others, of the family that is listened on; loopback if it has no network."""
    for family, far in _ELSEWHERE:
        if (family == socket.AF_INET6) == (listening == "::"):
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                try:
                    probe.connect((far, 9))
                    return [str(probe.getsockname()[0])]
                except OSError:
                    return ["::1" if family == socket.AF_INET6 else "127.0.0.1"]
    return []


def _is(target: Target, what: str) -> bool:
    """A property of ipaddress; a name has none."""
    try:
        return bool(getattr(ipaddress.ip_address(target.host), what))
    except ValueError:
        return False


def _warn(addresses: list[Target], runs: bool) -> None:
    if not runs:
        complain(f"no server of yours runs here now; the invitation waits for one: {_SERVE}")
    if all(_is(target, "is_loopback") for target in addresses):
        complain(f"the server listens to this machine alone, and so does the line; for others: {_SERVE}")
    elif all(_is(target, "is_private") for target in addresses):
        complain(
            "those are addresses of a private network; from elsewhere name the server's other name: --address HOST:PORT"
        )
