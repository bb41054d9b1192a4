"""The text that we exchange with bash, and the reasons for each word of it. Pure functions.

Bash runs as `bash --noediting -i`, because only an interactive bash drops the rest of a command on SIGINT and lives on. It reads
*typed* lines from its descriptor 0. A typed line is fixed but for a serial number; the user's own text lies in a memfd, which the
typed line sources (`.`) and which holds one `eval` of that text. Sourced text runs as non-interactive: no "[1] 4711" for `&`, no
"exit", no complaint that there is no terminal. The `eval` names it in messages ("bash: eval: line 2: syntax error"),
keeps an unfinished line from eating the next typed one, and carries the redirections: its own stdin, and neither of our
descriptors, so that programs hold 0, 1 and 2 only. `$?` reaches the next command because no word between the two changes it.

A function writes the report: serial, status, option letters, directory. It is read-only, since nothing else would stop a user's
`unset -f`. It is called in the same typed line, which SIGINT drops: then `report_text` asks for it once more. PROMPT_COMMAND was
rejected for that: whoever sets their own (direnv, starship) would end the reports. It empties the prompts only; it, PS1 and
PS2 are set anew after each command. So was a second typed line after each first: 20 of 70 microseconds. The same words are
typed with a backslash or after `builtin` because users may have aliases and functions of these names.

On a terminal the commands of a pipeline have their statuses told, by a word of ours that follows the user's own.

What it costs a user: `set -x` shows three signs (+++) instead of one; traps on ERR and DEBUG run for our words too;
`$_` and PIPESTATUS are not kept; under `set -e` a last `a && b` that fails ends the shell; SIGINT writes a newline on stderr.

Must never put a user's text into a typed line. Neighbours: `bash_link` sends and receives it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Descriptors in bash: below the 63 that process substitution counts down from, above those that people choose by hand.
TEXT_FD = 46
STATUS_FD = 47

ARGUMENTS = (b"--noediting", b"-i")
NO_STARTUP_FILES = (b"--norc", b"--noprofile")

# What double quotes leave a meaning to. Single quotes were rejected: a text with many of them takes quadratic time (1 MB: minutes).
_SPECIAL = re.compile(rb'[\\"$`]')

# Looks first: a redirection costs bash eight system calls. Nothing is traced here, the report has switched that off.
_QUIET = b"[[ -z ${PS1-}${PS2-} ]] || { PS1= PS2=; } 2>/dev/null"

# The number is noted after the report was written: SIGINT between the two must give two reports, never none.
_REPORT = rb"""__remote_shell_report() {
builtin set -- "$?" "$-" "$1"
if [[ $3 != "${__remote_shell_last-}" ]]; then
builtin printf '%%s\0' "$3" "$1" "$2" "${PWD-}" "${__remote_shell_statuses-}" >&%d
__remote_shell_last=$3
__remote_shell_statuses=
if [[ $2 == *[vx]* ]]; then
builtin set +vx
fi
if [[ ${PROMPT_COMMAND[*]-} != '%s' ]]; then
builtin unset -v PROMPT_COMMAND
PROMPT_COMMAND='%s'
fi
fi
builtin return "$1"
}
readonly -f __remote_shell_report
__remote_shell_pipe() {
builtin set -- "$?" "$@"
builtin local IFS=' '
__remote_shell_statuses="${*:2}"
builtin return "$1"
}
readonly -f __remote_shell_pipe
""" % (STATUS_FD, _QUIET, _QUIET)

# Interactive shells keep a history file, look for mail and expand `!`: none of that is wanted of a program's shell. That a
# failed `exec` keeps the shell holds for interactive text only, unless `execfail` says so for all.
_SETTINGS = b"set +H +o history; history -c; unset HISTFILE MAILCHECK; shopt -s execfail\n"


@dataclass(frozen=True, slots=True)
class Report:
    """What bash tells after a command: `flags` are the letters of `$-`, `cwd` is `$PWD` (empty if it was unset)."""

    serial: int
    status: int
    flags: bytes
    cwd: bytes
    statuses: tuple[int, ...] = ()


def start_text(stderr_fd: int, status_fd: int, text_fd: int) -> bytes:
    """The first typed lines: no prompt before stderr is the user's, descriptors in their places, the report defined."""
    moves = (b"2>&%d" % stderr_fd, b"%d>&%d" % (STATUS_FD, status_fd), b"%d<&%d" % (TEXT_FD, text_fd))
    closes = (b"%d>&-" % fd for fd in (stderr_fd, status_fd, text_fd))
    return (
        b"PS1= PS2=; \\builtin unset -v PROMPT_COMMAND; exec %s %s\n" % (b" ".join(moves), b" ".join(closes))
        + _SETTINGS
        + _REPORT
    )


def report_text(serial: int) -> bytes:
    """A typed line that asks for a report; nothing happens if this serial was reported last."""
    return b"{ __remote_shell_report %d; } 2>/dev/null\n" % serial


def run_text(serial: int) -> bytes:
    """The typed line that runs what lies in the memfd and reports."""
    return b"\\builtin . /dev/fd/%d; %s" % (TEXT_FD, report_text(serial))


def exit_text() -> bytes:
    """A typed line that ends the shell, without the "exit" that the end of its input would print."""
    return b"{ \\builtin exit; } 2>/dev/null\n"


def source_text(line: bytes, stdin: bytes, flags: bytes, *, statuses: bool = False) -> bytes:
    """What lies in the memfd: the user's line, with the tracing that the report switched off switched on again.

    With `statuses` the report tells those of a last pipeline. They are gone once `eval` returns, so it is a word of ours after the
    user's own; not where that might become a part of them, in a here-document or after a backslash.
    """
    if statuses and b"|" in line and b"<<" not in line and not line.endswith(b"\\"):
        line += b'\n__remote_shell_pipe "${PIPESTATUS[@]}"'
    if b"x" in flags:
        line = b"set -x;" + line  # in the same line, so that line numbers stay true
    if b"v" in flags:
        line = b"set -v\n" + line  # -v echoes from the next line on
    return b'\\builtin \\eval "%s" 0<%s %d>&- %d>&-' % (_SPECIAL.sub(rb"\\\g<0>", line), stdin, TEXT_FD, STATUS_FD)


class ReportReader:
    """Reports out of a byte stream, however it is cut. Names with newlines are safe: only NUL ends a field."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Report]:
        """The reports that are complete with `data`."""
        *fields, self._rest = (self._rest + data).split(b"\0")
        left = len(fields) % 5
        if left:
            self._rest = b"\0".join([*fields[-left:], self._rest])
            del fields[-left:]
        for at in range(0, len(fields), 5):
            serial, status, flags, cwd, statuses = fields[at : at + 5]
            if serial.isdigit() and status.isdigit():  # else somebody wrote nonsense to our descriptor
                several = tuple(int(one) & 255 for one in statuses.split()[:256] if one.isdigit())
                yield Report(int(serial), int(status), flags, cwd, several)
