"""This account as a client: folders, hosts.toml, known servers, keys, agent. Reads, and never makes a key or a folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from remote_shell.cli.doctor.finding import Case, Finding, Table, edit, fault, of_error, ok, warning
from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.config.hosts import load_hosts
from remote_shell.config.paths import check_folder, expand_home, quoted, shown
from remote_shell.errors import ConfigError, IdentityError
from remote_shell.identity.agent import AgentSigner, agent_signers
from remote_shell.identity.known_hosts import KnownHosts
from remote_shell.identity.private_keys import PrivateKeyFile

_AGENT_TIME = 1.0  # seconds for a connection to an agent of this machine


def folders(case: Case) -> Iterator[Finding]:
    for what, path in case.folders.items():
        if not os.path.lexists(path):
            yield ok(f"{what}: {shown(path)} is made when it is needed")
            continue
        try:
            check_folder(path, private=what == "runtime")
        except ConfigError as error:
            yield of_error(error, "export REMOTE_SHELL_HOME=~/.remote-shell")
            continue
        if not os.access(path, os.W_OK | os.X_OK):
            yield fault(f"{what}: {shown(path)} can't be written by you", f"chmod u+rwx {quoted(path)}")
        else:
            yield ok(f"{what}: {shown(path)}")


def hosts(case: Case) -> Iterator[Finding]:
    try:
        found = load_hosts(case.hosts_file)
    except ConfigError as error:
        yield of_error(error, edit(case.hosts_file))
        return
    yield ok(f"{len(found)} hosts in {shown(case.hosts_file)}" if found else "none needed, and none there")
    for host in found.values():
        for path in (host.identity, host.secret_file):
            if path is not None and not os.path.exists(path):
                yield warning(f"[hosts.{host.name}] names {shown(path)}, which is not there", edit(case.hosts_file))


def known_hosts(case: Case) -> Iterator[Finding]:
    if not os.path.exists(case.known_hosts):
        yield ok("no server met yet; the first contact asks")
        return
    try:
        KnownHosts(case.known_hosts).check("nobody:1", format_fingerprint(bytes(32)))  # reads every line
    except ConfigError as error:
        yield of_error(error, edit(case.known_hosts))
        return
    yield ok(f"every line of {shown(case.known_hosts)} can be read")


def agent(case: Case) -> Iterator[Finding]:
    path = os.environ.get("SSH_AUTH_SOCK", "")
    held: list[AgentSigner] = []
    case.shared["held"] = held
    if not path:
        yield ok("none here; key files are used")
        return
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_AGENT_TIME)
            probe.connect(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        yield warning(f"SSH_AUTH_SOCK names {shown(path)}, where no agent is: {reason}", 'eval "$(ssh-agent -s)"')
        return
    held.extend(agent_signers(path))
    yield ok(f"holds {len(held)} Ed25519 {'key' if len(held) == 1 else 'keys'}")


def keys(case: Case) -> Iterator[Finding]:
    """After `agent`: a key that the agent holds needs no passphrase."""
    usable: list[PrivateKeyFile] = []
    case.shared["files"] = usable
    held = {signer.public_blob for signer in case.shared["held"]}
    if case.identity is not None:
        paths = [expand_home(case.identity)]
    else:
        paths = [
            os.path.join(expand_home("~"), ".ssh", "id_ed25519"),
            os.path.join(case.folders["config"], "id_ed25519"),
        ]
    faults = 0
    for path in paths:
        if case.identity is not None and path.endswith(".pub"):
            yield ok(f"{shown(path)} names a key of the agent")
            continue
        try:
            file = PrivateKeyFile.read(path)
        except IdentityError as error:
            faults += 1
            yield of_error(error, "ssh-keygen -t ed25519")
            continue
        if file is None and case.identity is not None:
            faults += 1
            yield fault(f"there is no key {shown(path)}", f"ssh-keygen -t ed25519 -f {quoted(path)}")
        elif file is not None:
            usable.append(file)
            yield _key(file, file.public.blob in held)
    if not (usable or held or faults):
        yield warning("no Ed25519 key yet: this makes one and prints its line for servers", "remote-shell keys show")


def _key(file: PrivateKeyFile, held: bool) -> Finding:
    name = f"{shown(file.path)} {file.public.fingerprint}"
    if not file.encrypted:
        return ok(f"{name}, without a passphrase")
    if held:
        return ok(f"{name}, with a passphrase; the agent holds it")
    return warning(f"{name} has a passphrase, which scripts can't type", f"ssh-add {quoted(file.path)}")


CHECKS: Table = (
    ("folders", folders),
    ("hosts.toml", hosts),
    ("known hosts", known_hosts),
    ("ssh-agent", agent),
    ("keys", keys),
)
