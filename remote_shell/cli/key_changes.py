"""`keys authorize` and `keys revoke`: lines are added to authorized_keys, and taken away. Neighbour: identity's `key_lines` writes."""

from __future__ import annotations

import argparse
import os
import re
import sys

from remote_shell.cli.asking import answers
from remote_shell.cli.key_list import the_list
from remote_shell.config.checked import read_checked
from remote_shell.config.paths import expand_home, places, shown
from remote_shell.errors import ConfigError, IdentityError, UsageError
from remote_shell.identity import key_lines
from remote_shell.identity.invitations import Invitations
from remote_shell.identity.key_lines import KeyLine
from remote_shell.identity.keys import PublicKey, parse_public_line
from remote_shell.limits import DEFAULT_LIMITS

_PRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")  # a whole fingerprint


def authorize(arguments: argparse.Namespace) -> None:
    """Add public keys. Raises UsageError, ConfigError."""
    keys = _public_keys(_text(arguments.file), arguments.file)
    path, options = the_list(arguments.authorized_keys), ",".join(arguments.option)
    for public in keys:
        key_lines.make_line(public, options, arguments.comment)  # all are good, or none is added
    for public in keys:
        added = key_lines.add(path, public, options, arguments.comment)
        comment = arguments.comment if arguments.comment is not None else public.comment
        what = f"{public.fingerprint} {comment}".rstrip()
        if added:
            _say(f"{shown(path)}: {what} may log in")
            continue
        there = next(line for line in key_lines.read(path) if line.entry is not None and line.blob == public.blob)
        if there.options != options:
            raise ConfigError(
                f"{shown(path)}, line {there.number}: {public.fingerprint} is listed with other options "
                f"({there.options or 'none'}); take it away first: remote-shell keys revoke {public.fingerprint}"
            )
        _say(f"{shown(path)}, line {there.number}: {what} is listed already")


def revoke(arguments: argparse.Namespace) -> None:
    """Take keys away. Raises UsageError, ConfigError."""
    if not arguments.pattern and not arguments.invitations:
        raise UsageError(
            "which key? Type a fingerprint or a comment, or how it begins; remote-shell keys list has them"
        )
    path = the_list(arguments.authorized_keys)
    lines = key_lines.read(path)
    found: list[KeyLine] = []
    gone: set[str] = set()
    for pattern in arguments.pattern:
        fitting = _fitting(lines, pattern)
        if not fitting and arguments.jobs and _PRINT.fullmatch(pattern):
            gone.add(pattern)  # taken away before, and its jobs are still there
            continue
        if not fitting:
            raise ConfigError(
                f"no key in {shown(path)} is or begins with {pattern[:100]!a}; see remote-shell keys list"
            )
        if len({line.blob or line.raw for line in fitting}) > 1:
            _ask_about(pattern, fitting)
        found += fitting
    if arguments.invitations:
        count = Invitations().take_back()
        _say(f"{count} open invitation{'' if count == 1 else 's'} taken back")
    taken = key_lines.remove(path, found)
    for line in taken:
        _say(f"taken away: {_described(line, of=shown(path))}")
    if taken:
        _say("sessions that are open end within 5 s")
    for fingerprint in sorted({line.fingerprint for line in taken if line.fingerprint} | gone):
        _see_to_jobs(fingerprint, end=arguments.jobs)


def _see_to_jobs(fingerprint: str, *, end: bool) -> None:
    """What a key started by --detach outlives it, unless that is said. Raises ConfigError: it can't be known."""
    from remote_shell.jobs.ending import end_jobs
    from remote_shell.jobs.table import Table

    table, principal = Table(os.path.join(places()["state"], "jobs"), DEFAULT_LIMITS), f"key:{fingerprint}"
    try:
        if not end:
            running = sum(job.kept for job in table.of(principal))
            if running:
                how = f"to end {'it' if running == 1 else 'them'}: remote-shell keys revoke --jobs {fingerprint}"
                _say(f"{_jobs(running)} that it started by --detach {'goes' if running == 1 else 'go'} on; {how}")
            return
        ended, left = end_jobs(table, principal, DEFAULT_LIMITS.kill_grace)
    except OSError as error:
        raise ConfigError(f"the jobs of {fingerprint} in {shown(table.root)}: {error.strerror or error}") from None
    _say(f"{_jobs(len(ended))} of {fingerprint} ended")
    if left:
        raise ConfigError(
            f"{_jobs(len(left))} of {fingerprint} did not end: {', '.join(left)}; see them in {shown(table.root)}"
        )


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _fitting(lines: list[KeyLine], pattern: str) -> list[KeyLine]:
    """The lines that are meant: exactly, or by a word of the comment, or by how it begins; of a key, all of its lines."""
    exact = [line for line in lines if pattern in (line.fingerprint, line.comment)]
    named = exact or [line for line in lines if pattern in line.comment.split()]
    found = named or [line for line in lines if pattern and pattern != "SHA256:" and _begins(line, pattern)]
    blobs = {line.blob for line in found if line.blob}
    return [line for line in lines if line in found or line.blob in blobs]


def _begins(line: KeyLine, pattern: str) -> bool:
    prints = line.fingerprint, line.fingerprint.removeprefix("SHA256:")
    return any(text.startswith(pattern) for text in (*prints, line.comment))


def _ask_about(pattern: str, lines: list[KeyLine]) -> None:
    """Several keys fit. Raises UsageError unless a person says that all are meant."""
    listed = "\n".join(f"  {_described(line)}" for line in lines)
    confirm = answers()["confirm"]
    if confirm is None:
        raise UsageError(f"{len(lines)} lines fit {pattern[:100]!a}; say which:\n{listed}")
    if not confirm(f"{listed}\nTake all {len(lines)} away?"):
        raise UsageError("nothing was taken away")


def _described(line: KeyLine, of: str = "") -> str:
    where = f"line {line.number} of {of}" if of else f"line {line.number}"
    return f"{' '.join(filter(None, (line.fingerprint or line.kind, line.comment[:100])))} ({where})"


def _text(file: str) -> str:
    limit = DEFAULT_LIMITS.key_file_max
    if file == "-":
        if sys.stdin.isatty():
            print("Paste the public key, a line ssh-ed25519 AAAA…, then Ctrl-D:", file=sys.stderr)
        data = sys.stdin.buffer.read(limit + 1)
    else:
        path = expand_home(file)
        read = read_checked(path, what="public key file", limit=limit, private=False)
        if read is None:
            raise ConfigError(f"there is no file {shown(path)}")
        data = read
    if len(data) > limit:
        raise UsageError(f"that is more than {limit} bytes, and no public key")
    return data.decode("utf-8", "replace")


def _public_keys(text: str, file: str) -> list[PublicKey]:
    if "PRIVATE KEY" in text:
        raise UsageError(
            f"{shown(file)} is a private key, which nobody but its owner may see; name the file that ends in .pub"
        )
    keys = []
    # Only "\n" ends a line, as in the file that this goes to
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.append(parse_public_line(line.strip()))
            except IdentityError as error:
                raise UsageError(f"line {number} is no key that can be used: {error}; nothing was added") from None
    if not keys:
        raise UsageError("there is no public key; the owner's `remote-shell keys show` prints it")
    return keys


def _say(text: str) -> None:
    print("".join(sign if sign.isprintable() else "?" for sign in text), flush=True)
