"""~/.ssh/config and its like: the lines that are about one host. Reads files; decides nothing that `settings` does not.

`Host` blocks with patterns and their negation, and `Include`, as in ssh_config(5). `Match` blocks are passed over, with a note: half of
their conditions ask for things that are not here (a tag, a canonical name, the user that is not known yet), and one runs commands.
Neighbours: `words` splits lines, `places` asks.
"""

from __future__ import annotations

import glob
import os

from remote_shell.config.checked import read_checked
from remote_shell.config.paths import expand_home, shown
from remote_shell.errors import ConfigError, UsageError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.ssh.settings import Settings
from remote_shell.ssh.words import matches_list, split_line

SYSTEM_FILE = "/etc/ssh/ssh_config"
_DEPTH_MAX = 16  # readconf.c: READCONF_MAX_DEPTH
_FILES_MAX = 512  # of one start; an Include that leads to itself in two ways would double with each level


def read_config(settings: Settings, host: str, path: str | None = None, *, system: str = SYSTEM_FILE) -> None:
    """Add what the files say of `host`, which is the name as it was typed.

    `path` is the only file then, as with -F; "none" is no file. Raises ConfigError for a file, UsageError for a line.
    """
    if path is None:
        home = os.path.join(expand_home("~"), ".ssh")
        reader = _Reader(settings, host)
        reader.read(os.path.join(home, "config"), home)
        reader.read(system, os.path.dirname(system))
    elif path not in ("none", os.devnull):
        path = expand_home(path)
        if not os.path.exists(path):
            raise ConfigError(f"there is no file {shown(path)}, which -F names; -F none reads no file")
        _Reader(settings, host).read(path, os.path.join(expand_home("~"), ".ssh"))


class _Reader:
    """The files for one host."""

    def __init__(self, settings: Settings, host: str) -> None:
        self._settings = settings
        self._host = host
        self._files = 0

    def read(self, path: str, beside: str, depth: int = 0) -> None:
        """Add the lines of the file; Include counts from the folder `beside`."""
        self._files += 1
        if depth > _DEPTH_MAX or self._files > _FILES_MAX:
            raise ConfigError(f"{shown(path)}: Include leads through too many files; does one include itself?")
        self._settings.files.append(path)
        data = read_checked(path, what="ssh settings", limit=DEFAULT_LIMITS.list_file_max, private=False)
        active = True
        for number, text in enumerate((data or b"").decode("utf-8", "surrogateescape").split("\n"), start=1):
            where = f"{shown(path)}, line {number}"
            try:
                line = split_line(text)
            except UsageError as error:
                raise ConfigError(f"{where}: {error}") from None
            if line is None:
                continue
            if line.keyword == "host":
                active = matches_list(line.words, self._host)
            elif line.keyword == "match":
                active = False
                self._settings.note(f"{where}: a Match block is passed over")
            elif active and line.keyword == "include":
                for pattern in line.words:
                    pattern = os.path.join(beside, expand_home(pattern))
                    self._settings.files.append(os.path.dirname(pattern))
                    for found in sorted(glob.glob(pattern)):
                        self.read(found, beside, depth + 1)
            elif active:
                try:
                    self._settings.add_line(line, where)
                except UsageError as error:
                    raise ConfigError(str(error)) from None
