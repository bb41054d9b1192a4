"""The command line of ssh for a target `ssh:HOST`, and the line that it has run over there.

Pure but for PATH. What a person's ssh settings say holds (names, jump hosts, keys, ports), but for what would get in the way of a stream of
bytes. Neighbour: `ssh_link` starts it.
"""

from __future__ import annotations

import math
import os

from remote_shell.client.plan import Trip
from remote_shell.config.targets import Target

# A login by ssh is no login shell: what pip and pipx install is mostly not on its PATH.
_DEFAULT = (
    'PATH="$PATH:$HOME/.local/bin"; command -v remote-shell >/dev/null 2>&1 || '
    '{ echo "looked in $PATH" >&2; exit 127; }; exec remote-shell pipe'
)
# As scp and sftp have them: no forwarding, no command of the settings', no terminal, which would change bytes.
_OPTIONS = ("ForwardAgent=no", "PermitLocalCommand=no", "ClearAllForwardings=yes", "RemoteCommand=none")
# A dead link is ours to notice, but an ssh that outlives us must end too.
_ALIVE = ("ServerAliveInterval=15", "ServerAliveCountMax=3")
# Of its own signals it has TERM alone: ^C, ^\ and ^Z mean the command, and a closed window still has a goodbye to send.
_UNDISTURBED = 'trap "" HUP INT QUIT TSTP; exec "$@"'


def argv(trip: Trip, seconds: float) -> list[str]:
    """The words, sh's first. `seconds` is how long it may take to connect; a person's time is not counted."""
    options = [*_OPTIONS, *_ALIVE, f"ConnectTimeout={max(1, math.ceil(seconds))}"]
    if not trip.asks:
        options.append("BatchMode=yes")
    if trip.again:
        options.append("ControlPath=none")  # a shared connection may be the dead one, which would hold us as well
    words = ["ssh", "-T", "-x", *(word for option in options for word in ("-o", option))]
    if trip.identity is not None:
        words += ["-i", trip.identity, "-o", "IdentitiesOnly=yes"]
    line = over_there(trip.remote_command)
    return ["sh", "-c", _UNDISTURBED, "sh", *words, *place(trip.target), "--", trip.target.host, line]


def place(target: Target) -> list[str]:
    """The options that say which port and account, where the target does."""
    return [*(("-p", str(target.port)) if target.port else ()), *(("-l", target.user) if target.user else ())]


def typed(target: Target) -> str:
    """The `ssh …` that a person types to get there."""
    port = f"-p {target.port} " if target.port else ""
    return f"ssh {port}{target.user}@{target.host}" if target.user else f"ssh {port}{target.host}"


def over_there(remote_command: str | None) -> str:
    """One line for whatever shell the account has there: sh is given the rest, in quotes that bash, zsh, fish and csh all know."""
    script = _DEFAULT if remote_command is None else f"exec {remote_command} pipe"
    return "exec sh -c '" + script.replace("'", "'\\''") + "'"


def is_installed() -> bool:
    """There is an ssh on PATH."""
    return any(
        os.access(os.path.join(folder, "ssh"), os.X_OK)
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
    )
