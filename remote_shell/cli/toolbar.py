"""The line below the prompt: host, directory, round trip, connection, commands in the background.

Pure: what is known comes in, fragments for prompt_toolkit go out. Asked at each drawing of the prompt, so it must cost nothing; it
has no timer, whoever changes something has the prompt drawn anew. Neighbours: `repl` knows, `nameplate` names the host, `contact`
has it drawn anew while time goes by without an answer, `editor` shows.
"""

from __future__ import annotations

import os

from prompt_toolkit.formatted_text import StyleAndTextTuples

from remote_shell.cli.nameplate import Nameplate
from remote_shell.cli.screen import directory_text

STYLE = {"bottom-toolbar": "noreverse dim", "bottom-toolbar.text": ""}
COLOURS = {"toolbar.away": "ansired nodim"}
OFF = "REMOTE_SHELL_TOOLBAR"  # 0: no toolbar


def is_wanted(plain: bool) -> bool:
    """There shall be one."""
    return not plain and os.environ.get(OFF) != "0"


def fragments(
    plate: Nameplate, cwd: str, home: str, round_trip: float | None, trouble: str, background: int
) -> StyleAndTextTuples:
    """The line. `trouble` stands there instead of the connection's state."""
    parts: StyleAndTextTuples = [*plate.in_toolbar(), ("", f"  {directory_text(cwd, home)}")]
    if trouble:
        parts.append(("class:toolbar.away", f"  {trouble}"))
    else:
        parts.append(("", f"  connected{'' if round_trip is None else ', ' + milliseconds(round_trip)}"))
    if background:
        parts.append(("", f"  {background} in the background"))
    return parts


def milliseconds(seconds: float) -> str:
    """`0.3 ms`, `41 ms`."""
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
