"""How a remote is opened for ssh's callers: the one place where a connection is made, so that a shared one can stand in for it.

Neighbours: `places` says where, cli's `commands.ssh` runs the command.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from remote_shell.client.blocking import Host, connect
from remote_shell.client.retry import State
from remote_shell.ssh.places import Place


def open_remote(place: Place, answers: dict[str, Any], on_state: Callable[[State], None] | None) -> Host:
    """Connect and log in. `answers` are `ask` and `confirm` of `connect`. Raises what it raises."""
    return connect(place.target, on_state=on_state, **answers, **place.options)
