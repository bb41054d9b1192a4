"""The environment of a command: made from the account and the config, never from the server's own.

Must never read os.environ: what the server was started with (tokens, paths, LD_PRELOAD) is not the command's business.
Neighbours: the server adds up `base_environment` and `allowed_from_client` where a client gave no exact `env=`; `launch` hands it over.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence

COMMAND_ID = b"REMOTE_SHELL_COMMAND_ID"
# Where terminals are described: terminfo(5) and Debian's ncurses-base. The account's own come first.
TERMINFO = (
    b"/etc/terminfo",
    b"/lib/terminfo",
    b"/usr/share/terminfo",
    b"/usr/lib/terminfo",
    b"/usr/share/misc/terminfo",
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_ALLOWED = frozenset((b"TERM", b"LANG", b"COLORTERM", b"TZ"))
_ALLOWED_PREFIX = b"LC_"


def is_allowed_from_client(name: bytes) -> bool:
    """Whether a variable that a client sends unasked is taken: how text looks and what time it is, nothing else."""
    return name in _ALLOWED or name.startswith(_ALLOWED_PREFIX)


def known_terminal(term: bytes, home: bytes, folders: Sequence[bytes] = TERMINFO) -> bytes:
    """`term`, or the nearest one that this machine describes, so that programs start at all. Unchanged where none is described.

    What is a path is no terminal's name: it would lead to a description of the client's own making.
    """
    if b"/" in term:
        return b"dumb"
    places = [folder for folder in (home + b"/.terminfo", *folders) if os.path.isdir(folder)]
    if not places:
        return term
    colours = (
        b"xterm-256color"
        if term.endswith((b"256color", b"-direct")) or b"kitty" in term or b"ghostty" in term
        else b"xterm"
    )
    for name in (term, colours, b"xterm", b"vt100", b"linux"):
        first = name[:1]
        if any(
            os.path.exists(b"%b/%b/%b" % (place, part, name))
            for place in places
            for part in (first, first.hex().encode())
        ):
            return name
    return b"dumb"


def allowed_from_client(pairs: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Those that are taken of what a client sent unasked."""
    return {name: value for name, value in pairs.items() if is_allowed_from_client(name) and b"=" not in name}


def base_environment(account: pwd.struct_passwd, path: str) -> dict[bytes, bytes]:
    """HOME, USER, LOGNAME, SHELL and PATH."""
    name = os.fsencode(account.pw_name)
    return {
        b"HOME": os.fsencode(account.pw_dir),
        b"USER": name,
        b"LOGNAME": name,
        b"SHELL": os.fsencode(account.pw_shell or "/bin/sh"),  # empty means /bin/sh: passwd(5)
        b"PATH": os.fsencode(path),
    }
