"""Starting `remote-shell` as people do: a process of its own, with a REMOTE_SHELL_HOME of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

ARGV = [sys.executable, "-m", "remote_shell"]
WITHIN = 15.0  # seconds; a guard against a hang, never a wait


def environment(home: object, added: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without what would lead to the keys and agents of whoever runs the tests, and with the prompt as the last line."""
    kept = {name: value for name, value in os.environ.items() if name not in ("SSH_AUTH_SOCK", "NO_COLOR")}
    return {**kept, "REMOTE_SHELL_HOME": str(home), "HOME": str(home), "REMOTE_SHELL_TOOLBAR": "0", **(added or {})}


def call(
    *words: str | bytes,
    home: object,
    input: bytes | None = b"",
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run `remote-shell` to its end."""
    return subprocess.run([*ARGV, *words], input=input, capture_output=True, env=environment(home, env), timeout=WITHIN)


def one_line(error: bytes) -> str:
    """The text of a failure, which is one line and no traceback."""
    text = error.decode()
    assert text.count("\n") == 1 and text.endswith("\n"), text
    assert "Traceback" not in text
    return text.rstrip("\n")
