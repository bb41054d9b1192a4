"""A program called ssh that runs the line here, as an sshd would have the account's shell do it, and misbehaves as it is told."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from tests.piped import end_server

_SCRIPT = r"""#!/bin/sh
folder={folder}
echo "$$ $*" >> "$folder/calls"
asked=$*
while [ "$1" != -- ]; do shift; done
host=$2
shift 2
manner=$folder/manner
coming=SSH_CONNECTION=
[ -e "$manner" ] && . "$manner"
cd {home} || exit 254
unset REMOTE_SHELL_HOME
exec env -i "$coming" HOME={home} PATH="$folder/there:/usr/bin:/bin" {coverage} sh -c "$*"
"""


class FakeSsh:
    """One on PATH; `there` is the other side's home, whose server goes at the end."""

    def __init__(self, folder: Path, server_home: Path | None = None) -> None:
        """`server_home` is the REMOTE_SHELL_HOME over there, if several share a server."""
        self.folder = folder
        self.home = folder / "home"
        self.server_home = server_home or self.home / "ours"
        for path in (self.home, folder / "bin", folder / "there"):
            path.mkdir()
        coverage = " ".join(
            f"{name}={shlex.quote(value)}" for name, value in os.environ.items() if name.startswith("COVERAGE")
        )
        self._program(
            folder / "bin" / "ssh",
            _SCRIPT.format(folder=shlex.quote(str(folder)), home=shlex.quote(str(self.home)), coverage=coverage),
        )
        self.install(folder / "there" / "remote-shell")

    def install(self, path: Path) -> None:
        """Our program, as it is over there."""
        root = Path(__file__).resolve().parents[1]
        self._program(
            path,
            "#!/bin/sh\n"
            f"export PYTHONPATH={shlex.quote(str(root))} REMOTE_SHELL_HOME={shlex.quote(str(self.server_home))}\n"
            f'exec {shlex.quote(sys.executable)} -m remote_shell "$@"\n',
        )

    def uninstall(self) -> None:
        """There is none."""
        (self.folder / "there" / "remote-shell").unlink()

    def manner(self, line: str) -> None:
        """What it does from now on before it runs the line; in sh, where $host and $asked say what it was called with."""
        written = self.folder / "manner.new"
        written.write_text(line + "\n")
        written.replace(self.folder / "manner")

    @property
    def calls(self) -> list[list[str]]:
        """The words of each call, its pid first."""
        path = self.folder / "calls"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def close(self) -> None:
        """End the server over there."""
        end_server(self.server_home)

    @staticmethod
    def _program(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, server_home: Path | None = None) -> FakeSsh:
    """Make one, and put it first on our PATH."""
    fake = FakeSsh(folder, server_home)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    return fake
