"""A server of an account without rights, where root is not held by what is tested."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from remote_shell.testing import RunningServer, server

NOBODY = 65534
# Without coverage, which writes where that account may not; and the client's key stays the client's.
_TAKE = """
unset COVERAGE_PROCESS_START
for file in "" config authorized_keys secrets; do chown "$0" "$REMOTE_SHELL_HOME/$file"; done
exec setpriv --reuid="$0" --regid="$0" --clear-groups "$@"
"""


@contextlib.contextmanager
def server_of_nobody(config: str, *wrapper: str) -> Iterator[RunningServer]:
    """On TLS alone: a Unix socket is for its own account. `wrapper` goes before all, and is still root's."""
    # setpriv starts the interpreter itself: it may lie in root's home, where nobody else could
    take = ("sh", "-c", _TAKE, str(NOBODY)) if os.geteuid() == 0 else ()
    with server(("tls:127.0.0.1:0",), config=config, command=(*wrapper, *take)) as running:
        yield running
