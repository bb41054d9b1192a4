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

While it reports its stderr is the text's descriptor, which can't be written to: /dev/null would have to be opened, 15 of 75
microseconds. /dev/fd is a link to /proc/self/fd.

On a terminal the commands of a pipeline have their statuses told, by a word of ours that follows the user's own.

What it costs a user: `set -x` shows three signs (+++) instead of one; traps on ERR and DEBUG run for our words too;
`$_` and PIPESTATUS are not kept; under `set -e` a last `a && b` that fails ends the shell; SIGINT writes a newline on stderr.

Must never put a user's text into a typed line. Neighbours: `shell_link` sends it, `shell_report` reads what comes back,
`zsh_text` has the same for zsh.
"""

from __future__ import annotations

import re

from remote_shell.process.shell_words import ShellWords

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


def start_text(stderr_fd: int, status_fd: int, text_fd: int) -> bytes:
    """The first typed lines: no prompt before stderr is the user's, descriptors in their places, the report defined.

    The first of them says that there is no history file: a shell that is hung up behind it would write it into the account's.
    """
    moves = (b"2>&%d" % stderr_fd, b"%d>&%d" % (STATUS_FD, status_fd), b"%d<&%d" % (TEXT_FD, text_fd))
    closes = (b"%d>&-" % fd for fd in (stderr_fd, status_fd, text_fd))
    return (
        b"PS1= PS2=; \\builtin unset -v PROMPT_COMMAND HISTFILE; exec %s %s\n" % (b" ".join(moves), b" ".join(closes))
        + _SETTINGS
        + _REPORT
    )


def report_text(serial: int) -> bytes:
    """A typed line that asks for a report; nothing happens if this serial was reported last."""
    return b"{ __remote_shell_report %d; } 2<&%d\n" % (serial, TEXT_FD)


def run_text(serial: int) -> bytes:
    """The typed line that runs what lies in the memfd and reports."""
    return b"\\builtin . /proc/self/fd/%d; %s" % (TEXT_FD, report_text(serial))


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
    return b'\\builtin \\eval "%s" 0<%s %d>&- %d>&-' % (_SPECIAL.sub(_escaped, line), stdin, TEXT_FD, STATUS_FD)


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"\\" + found[0]


class Bash:
    """These words as `ShellWords`."""

    name = "bash"

    def argv(self, path: bytes, *, startup_files: bool, terminal: bool) -> tuple[bytes, ...]:
        """No startup file, unless asked for; on a terminal a login shell, as sshd's would be."""
        if startup_files and terminal:
            return (path, b"--login", *ARGUMENTS)
        return (path, *(() if startup_files else NO_STARTUP_FILES), *ARGUMENTS)

    def start_text(self, stderr_fd: int, status_fd: int, text_fd: int) -> bytes:
        """See above."""
        return start_text(stderr_fd, status_fd, text_fd)

    def report_text(self, serial: int) -> bytes:
        """See above."""
        return report_text(serial)

    def again_text(self, serial: int) -> bytes:
        """The same."""
        return report_text(serial)

    def run_text(self, serial: int, text: bytes, stdin: bytes) -> bytes:
        """See above; bash has the text on a descriptor, and the text has the redirections."""
        return run_text(serial)

    def source_text(self, line: bytes, stdin: bytes, flags: bytes, *, statuses: bool) -> bytes:
        """See above."""
        return source_text(line, stdin, flags, statuses=statuses)

    def exit_text(self) -> bytes:
        """See above."""
        return exit_text()


BASH: ShellWords = Bash()
