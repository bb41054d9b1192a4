"""What went wrong with ssh, in words: its own, what is likely, and what to type next. One line each.

ssh says 255 for whatever is its own fault, and tells more on stderr alone. Its texts are not translated, so some are known here. Neighbour:
`ssh_link` knows how it ended.
"""

from __future__ import annotations

import os
import signal
from typing import NamedTuple

from remote_shell.client.plan import Trip
from remote_shell.client.ssh_command import typed
from remote_shell.errors import AccessDeniedError, ConnectError, RemoteShellError, ServerIdentityError
from remote_shell.wire.preamble import NOISE_MAX

_SHOWN = 300  # characters of what the other side said
_OWN_FAULT = 255  # ssh(1)
_NO_COMMAND, _NO_PERMISSION = 127, 126  # sh(1)


class Ended(NamedTuple):
    """An ssh, as far as it came. `status` is waitpid's, None if nobody knows it; `words` is its stderr, `noise` what was no preamble."""

    over: bool
    status: int | None
    words: bytes
    noise: bytes


def no_ssh(trip: Trip) -> ConnectError:
    """There is none to run."""
    return ConnectError(f"{trip.name}: there is no ssh on this machine's PATH; install it: apt install openssh-client")


def did_not_start(trip: Trip, end: Ended) -> RemoteShellError:
    """It ended, or its stream did, before the preamble came."""
    status = None if end.status is None else os.waitstatus_to_exitcode(end.status)
    if status == _NO_COMMAND:
        return _not_installed(trip, end)
    if status == _OWN_FAULT:
        return _own_fault(trip, end)
    how = _how(status)
    if status == _NO_PERMISSION:
        what = trip.remote_command or "remote-shell"
        return ConnectError(
            f"{trip.name}: {what} can't be run there{_said(end)}; look: {typed(trip.target)} ls -l {what}"
        )
    if status == 0:
        return ConnectError(
            f"{trip.name}: ssh got through, but something else than remote-shell answered{_said(end)}. Does this key or account "
            f"run one command alone there (ForceCommand, command= in authorized_keys)? Try: {typed(trip.target)} remote-shell --version"
        )
    return ConnectError(
        f"{trip.name}: `{trip.remote_command or 'remote-shell'} pipe` {how} there{_said(end)}; try it: "
        f"{typed(trip.target)} {trip.remote_command or 'remote-shell'} --version"
    )


def too_noisy(trip: Trip, noise: bytes) -> ConnectError:
    """What should be a short greeting does not end."""
    return ConnectError(
        f"{trip.name}: more than {NOISE_MAX // 1024} KiB of something else came before a word of remote-shell, beginning with "
        f"{_text(noise[:40])!r}: a startup file there (~/.bashrc) prints without a terminal; have it return early: [ -t 1 ] || return"
    )


def too_slow(trip: Trip, seconds: float, end: Ended) -> ConnectError:
    """Neither the preamble nor an end."""
    hint = "" if trip.asks else ", or it waits for an answer that nobody was asked for"
    return ConnectError(
        f"{trip.name}: ssh did not bring a connection within {seconds:.3g} s{_said(end)}: the machine is far or busy, or a startup "
        f"file there waits{hint}; try: {typed(trip.target)} true"
    )


def epitaph(end: Ended) -> str | None:
    """Why a connection ended, if that was ssh's doing."""
    status = None if end.status is None else os.waitstatus_to_exitcode(end.status)
    if status == 0:
        return None
    words = _text(end.words)
    return f"ssh ended: {words}" if words else f"ssh {_how(status)}"


def _not_installed(trip: Trip, end: Ended) -> ConnectError:
    host = typed(trip.target)
    if trip.remote_command is not None:
        return ConnectError(
            f"{trip.name}: there is no {trip.remote_command!r} there{_said(end)}; it comes from remote_command in hosts.toml. Look: "
            f"{host} 'command -v remote-shell; ls ~/.local/bin'"
        )
    # Not by its name: what PyPI has under it is somebody else's.
    return ConnectError(
        f"{trip.name}: remote-shell is not installed there{_said(end)}. Install it, here in the folder of its source: "
        f"tar c --exclude=.venv . | {host} 'mkdir -p remote_shell && tar x -C remote_shell && pipx install ./remote_shell'. "
        'If it is somewhere else: remote_command = "/path/of/remote-shell" in hosts.toml'
    )


def _own_fault(trip: Trip, end: Ended) -> RemoteShellError:
    words = _text(end.words) or "it does not say why"
    host = typed(trip.target)
    if "Permission denied (" in words or "Too many authentication failures" in words:
        text = f"{trip.name}: ssh is not let in: {words}"
        if trip.again:
            text += (
                ". Nobody is asked for a password in the middle of a session: use a key (ssh-copy-id, ssh-agent). The session is kept "
                f"there for its grace; to a shell of it: remote-shell shell --attach {trip.name}"
            )
        elif not trip.asks:
            text += f". There is no terminal to ask for a password on; use a key (ssh-copy-id, ssh-agent), and try: {host} true"
        else:
            text += f"; try: {host} true"
        return AccessDeniedError(text)
    if "Host key verification failed" in words:
        cure = (
            "compare the key with the machine's, then" if "CHANGED" in end.words.decode("utf-8", "replace") else "first"
        )
        return ServerIdentityError(
            f"{trip.name}: ssh does not believe that it is the machine: {words}; {cure} try: {host} true"
        )
    return ConnectError(f"{trip.name}: ssh does not get there: {words}; try: {host} true")


def _how(status: int | None) -> str:
    if status is None:
        return "ended"
    if status < 0:
        try:
            return f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"was ended by signal {-status}"
    return f"ended with status {status}"


def _said(end: Ended) -> str:
    """What was on stderr, or else on stdout, in brackets."""
    text = _text(end.words) or _text(end.noise)
    return f" ({text})" if text else ""


def _text(raw: bytes) -> str:
    """Its last lines as one that can be shown."""
    lines = [line.strip() for line in raw.decode("utf-8", "replace").splitlines() if line.strip()]
    text = " / ".join(lines[-3:])
    text = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}"
