"""What `shell` has to know of a shell's language, whichever it is: each has a file of its own for its words.

Must never run anything. Neighbours: `bash_text` and `zsh_text` implement it, `shell` and `shell_link` use it.
"""

from __future__ import annotations

from typing import Protocol


class ShellWords(Protocol):
    """One shell's words. The texts are typed lines, but for `source_text`."""

    @property
    def name(self) -> str:
        """As a person calls it."""

    def argv(self, path: bytes, *, startup_files: bool, terminal: bool) -> tuple[bytes, ...]:
        """How the program at `path` is started, interactive, with its lines from a pipe."""

    def start_text(self, stderr_fd: int, status_fd: int, text_fd: int) -> bytes:
        """What is typed first: descriptors in their places, prompts off, the report defined."""

    def report_text(self, serial: int) -> bytes:
        """Asks for a report; nothing happens if this serial was reported last."""

    def again_text(self, serial: int) -> bytes:
        """Asks once more for the report of what `run_text` ran under this serial: a SIGINT may have dropped it."""

    def run_text(self, serial: int, text: bytes, stdin: bytes) -> bytes:
        """Runs what lies in the file `text` with `stdin` (both are paths) and reports."""

    def source_text(self, line: bytes, stdin: bytes, flags: bytes, *, statuses: bool) -> bytes:
        """What lies in that file for the user's `line`. `flags` are those of the last report; `statuses`: a pipeline's are told."""

    def exit_text(self) -> bytes:
        """Ends the shell without a word; background jobs live on."""
