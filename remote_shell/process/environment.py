"""The environment of a command: made from the account and the config, never from the server's own.

Must never read os.environ: what the server was started with (tokens, paths, LD_PRELOAD) is not the command's business.
Neighbours: the server calls `base_environment` where a client gave no exact `env=`; `launch` hands the result over.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

COMMAND_ID = b"REMOTE_SHELL_COMMAND_ID"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ALLOWED = frozenset((b"TERM", b"LANG", b"COLORTERM", b"TZ"))
_ALLOWED_PREFIX = b"LC_"


def is_allowed_from_client(name: bytes) -> bool:
    """Whether a variable that a client sends unasked is taken: how text looks and what time it is, nothing else."""
    return name in _ALLOWED or name.startswith(_ALLOWED_PREFIX)


def base_environment(account: pwd.struct_passwd, path: str, extra: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """HOME, USER, LOGNAME, SHELL and PATH, and those of `extra` (sent by the client) that the allow-list knows."""
    shell = account.pw_shell or "/bin/sh"  # empty means /bin/sh: passwd(5)
    name = os.fsencode(account.pw_name)
    environment = {
        b"HOME": os.fsencode(account.pw_dir),
        b"USER": name,
        b"LOGNAME": name,
        b"SHELL": os.fsencode(shell),
        b"PATH": os.fsencode(path),
    }
    allowed = {key: value for key, value in extra.items() if is_allowed_from_client(key) and b"=" not in key}
    return {**environment, **allowed}
