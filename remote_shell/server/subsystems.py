"""Subsystems: programs that a client asks for by a name, as RFC 4254 section 6.5 has them. The server alone says what a name runs.

Runs nothing itself. `sftp` is there unless the settings take it away; its program is looked for where systems put it, at each
start, so that installing it needs no restart. Neighbour: `requests.exec` starts what comes out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from remote_shell.errors import CommandNotFoundError, CommandRefusedError

SFTP = "sftp"
# Debian and Ubuntu; Fedora, RHEL and OpenBSD; Arch and Alpine; SUSE; FreeBSD; Gentoo; built from source
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/ssh/sftp-server",
    "/usr/libexec/sftp-server",
    "/usr/lib64/misc/sftp-server",
    "/usr/lib/misc/sftp-server",
    "/usr/local/libexec/sftp-server",
)


def argv_of(name: str, configured: Mapping[str, Sequence[str]], places: Sequence[str] = SFTP_SERVERS) -> list[bytes]:
    """The program and arguments of a subsystem. Raises CommandRefusedError (`no_such_subsystem`), CommandNotFoundError.

    No shell stands between, as there is with sshd: what its startup files print would be the protocol's first bytes.
    """
    words = configured.get(name)
    if words:
        return [os.fsencode(word) for word in words]
    if name != SFTP or words is not None:  # an empty list takes it away
        known = sorted({SFTP, *configured} - {one for one, argv in configured.items() if not argv})
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise CommandRefusedError(f"this server has no subsystem {name!a}; {has}", "no_such_subsystem")
    found = next((path for path in places if os.access(path, os.X_OK)), None)
    if found is None:
        raise CommandNotFoundError(
            "sftp-server is not installed on the server (Debian: openssh-sftp-server); if it is somewhere else, name it in "
            'the server\'s settings: [subsystems] sftp = ["/path/of/sftp-server"]',
            "sftp-server",
        )
    return [os.fsencode(found)]
