"""What `put`, `get`, `:put` and `:get` share: how a transfer is told to a person, and what Ctrl-C leaves.

The progress bar is rich's, on stderr, and imported only where stderr is a terminal. Neighbours: `commands.put` and `commands.get` parse.
"""

from __future__ import annotations

import argparse
import os
import shlex
import time
from collections.abc import Callable
from typing import Any, Literal

from remote_shell.cli import exit_status
from remote_shell.cli.arguments import add_client_options
from remote_shell.cli.main import complain
from remote_shell.transfer.progress import FileFault, Progress, Transferred

SOME_FAILED = 1
_OFTEN = 0.1  # seconds between two looks at the bar


def add_arguments(parser: argparse.ArgumentParser, sources: str, to: str) -> None:
    """`[-r] TARGET SOURCE… TO`."""
    parser.usage = f"%(prog)s [-r] [options] TARGET {sources}… {to}"
    parser.add_argument("target", metavar="TARGET", help="the server")
    parser.add_argument("paths", metavar=f"{sources}… {to}", nargs="+", help="what is copied, and where it goes to")
    parser.add_argument("-r", "--recursive", action="store_true", help="folders, too, with all that is in them")
    add_client_options(parser)
    parser.set_defaults(parser=parser)


def there(path: str, base: str = "") -> str:
    """A path of the server's, counted from HOME, or from `base`; `~/` is HOME, and an empty one the folder itself."""
    if path == "~" or path.startswith("~/"):
        return path[2:] or "."
    return os.path.join(base, path) or "."


def copy(verb: Literal["put", "get"], arguments: argparse.Namespace) -> int:
    """Do it; returns the exit status: 1 if something was not copied. Raises what the client raises."""
    *sources, to = arguments.paths
    if not sources:
        arguments.parser.error(f"where to? {arguments.parser.usage.replace('%(prog)s', arguments.parser.prog)}")
    from remote_shell.cli.job import connected  # the client: help needs none of it

    watch = Watch(bar=arguments.trace not in ("", "-"))
    try:
        with connected(arguments) as host:
            try:
                if verb == "put":
                    done = host.put(sources, there(to), **watch.arguments(arguments.recursive))
                else:
                    done = host.get([there(path) for path in sources], to, **watch.arguments(arguments.recursive))
            finally:
                watch.close()
    except KeyboardInterrupt:
        complain(watch.interrupted())
        return exit_status.INTERRUPTED
    except OSError as error:
        complain(fault_text(error))
        return SOME_FAILED
    return SOME_FAILED if done.faults else 0


def fault_text(error: OSError) -> str:
    """What a person reads: our words, where there are some."""
    notes = getattr(error, "__notes__", None)
    return notes[0] if notes else str(error)


def summary(done: Transferred, seconds: float) -> str:
    """One line about what was copied."""
    rate = f", {size(done.bytes / seconds)}/s" if done.bytes > 1_000_000 and seconds > 0.1 else ""
    resumed = f"; {size(done.resumed)} of it were there already" if done.resumed else ""
    failed = f"; {len(done.faults)} not" if done.faults else ""
    files = "1 file" if done.files == 1 else f"{done.files:,} files"
    return f"{files}, {size(done.bytes)}{rate}{resumed}{failed}"


def size(count: float) -> str:
    """Bytes, with a unit that a person reads."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def words_of(rest: str, name: str) -> tuple[bool, list[str], str]:
    """What was typed after `:put` or `:get`, read as the shell would: recursive, sources, destination. Raises WrongError."""
    from remote_shell.cli.own_commands import WrongError

    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise WrongError(f"{name}: {error}") from None
    recursive = bool(words) and words[0] == "-r"
    words = words[recursive:]
    if words[:1] == ["--"]:
        words = words[1:]
    elif words and words[0].startswith("-"):
        raise WrongError(f"{name} knows -r, not {printable(words[0])}")
    if len(words) < 2:
        raise WrongError(f"{name} [-r] SOURCE… TO")
    return recursive, words[:-1], words[-1]


class Watch:
    """Shows a transfer on stderr, if that is a terminal, and tells each fault."""

    def __init__(self, tell: Callable[[str], None] = complain, *, bar: bool = True) -> None:
        """`bar`: stderr has room for one; where a trace is printed it would be torn."""
        self._tell = tell
        self._bar: Any = None  # rich's
        self._task: Any = None
        self._shown = 0.0
        self._last = Progress("", 0, 0, 0, 0)
        self._is_terminal = bar and os.isatty(2)

    def arguments(self, recursive: bool) -> dict[str, Any]:
        """What put and get take."""
        return {"recursive": recursive, "progress": self.progress, "on_fault": self.fault}

    def progress(self, now: Progress) -> None:
        """Called often."""
        self._last = now
        moment = time.monotonic()
        if not self._is_terminal or moment - self._shown < _OFTEN:
            return
        self._shown = moment
        if self._bar is None:
            self._bar, self._task = _bar()
        name = os.path.basename(now.name.rstrip("/")) or now.name
        shown = "".join(sign if sign.isprintable() else "?" for sign in name)
        text = shown if now.files == 0 else f"{shown} (after {now.files:,})"
        self._bar.update(self._task, description=text, completed=now.done, total=now.size or None)

    def fault(self, fault: FileFault) -> None:
        """One was not copied."""
        if self._bar is None:
            self._tell(str(fault))
        else:
            self._bar.console.print(f"remote-shell: {printable(str(fault))}", markup=False, highlight=False)

    def interrupted(self) -> str:
        """What Ctrl-C leaves."""
        last = self._last
        if 0 < last.done < last.size:
            where = f" {last.name} got to {size(last.done)} of {size(last.size)};"
        else:
            where = ""
        done = f" {last.files:,} are whole and in their places;" if last.files else ""
        return f"interrupted:{done}{where} the same command again goes on from there"

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def printable(text: str) -> str:
    """Without what would be an order to the terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _bar() -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.start()
    return bar, bar.add_task("", total=None)
