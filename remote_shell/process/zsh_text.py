"""The text that we exchange with zsh, and the reasons for each word of it. Pure functions.

Zsh runs as `zsh -i` with its lines from a pipe, and without ZLE, its line editor, which would read the terminal instead. As for
bash a *typed* line is fixed but for a serial number and two paths, the user's own text lies in a memfd, an `eval` of it carries the
redirections, and a function writes the report; `bash_text` has the reasons. What differs:

- The `eval` stands in the typed line itself, since zsh calls itself by name in messages ("zsh: command not found: x") only
  outside of sourced text. `$(<file)` reads without a process, and leaves `$?` alone.
- Redirections name descriptors of one digit only, and only those come back after a command. So the report's is 9, and the text has none.
- No function is read-only. Who removes ours is found by `shell_watch`.
- Before each of our lines zsh would run hooks (`precmd`, `preexec`, and others for the history), mark an output that ends within a
  line, correct the spelling of our words, and write them to the history file. All that is off, and off again after each command;
  before the first line it is so by options of the command line, and each line begins with a blank, which keeps it out of the
  history. What a startup file switches on in spite of these options is there once, before the first command.
- A SIGINT in a loop can leave `eval` with 2, zsh's own sign of it, instead of 130.

What it costs a user: descriptor 9 cannot be kept by `exec 9>file`; the first job has the number 2, since the `eval` is one itself, and
the end of a job that was stopped once is told with our words; an alias that a line defines is known from the next command on;
`err_return` and traps on ZERR or DEBUG hide a pipeline's statuses; hooks that run before a prompt (direnv) do not, and there is no
history; a syntax error is status 1 and `exec` of what is missing ends the shell, as ever in zsh. A startup file that switches ZLE on
(`setopt zle`) makes it deaf.

Must never put a user's text into a typed line. Neighbours: `shell_link` sends it, `shell_report` reads what comes back, `bash_text` has
the same for bash.
"""

from __future__ import annotations

import os
import re

from remote_shell.process.shell_words import ShellWords

STATUS_FD = 9
_FD = b"__remote_shell_fd"

# Without ZLE (+Z), without a mark after output that ends within a line (-V), blanks keep lines out of the history (-g).
_OPTIONS = (b"-i", b"-g", b"-V", b"+Z")

_SETTINGS = rb"""\builtin \unset HISTFILE MAILCHECK
SAVEHIST=0 HISTSIZE=1
"""

# The number is noted after the report was written: SIGINT between the two must give two reports, never none.
_REPORT = rb"""__remote_shell_report() {
if [[ "$1" != "${__remote_shell_last-}" ]]; then
if [[ -n "${2-}" && "$__remote_shell_status" == 2 ]]; then
__remote_shell_status=130
fi
\builtin \print -rN -- "$1" "$__remote_shell_status" "$__remote_shell_flags" "${PWD-}" "${__remote_shell_statuses-}" >&%d
__remote_shell_last="$1"
__remote_shell_statuses=
__remote_shell_quiet
fi
\builtin \return "$__remote_shell_status"
}
__remote_shell_quiet() {
if [[ -n "${PS1-}${PS2-}" ]]; then
PS1= PS2=
fi
if [[ -o zle || -o correct || -o correct_all || -o prompt_cr || ! -o hist_ignore_space ]]; then
\builtin \unsetopt zle correct correct_all prompt_cr
\builtin \setopt hist_ignore_space
fi
if [[ -n "${HISTFILE-}" ]]; then
\builtin \unset HISTFILE
fi
\builtin \local __remote_shell_hook
for __remote_shell_hook in precmd preexec periodic zshaddhistory; do
if (( ${+functions[$__remote_shell_hook]} )); then
\builtin \unset -f "$__remote_shell_hook"
fi
done
precmd_functions=() preexec_functions=() periodic_functions=() zshaddhistory_functions=()
}
__remote_shell_pipe() {
\builtin \set -- "$?" "$@"
\builtin \local IFS=' '
__remote_shell_statuses="${*:2}"
\builtin \return "$1"
}
__remote_shell_exit() {
\builtin \set -- "$?"
\builtin \unsetopt hup check_jobs
\builtin \exit "$1"
}
__remote_shell_quiet
""" % (STATUS_FD,)


def is_zsh(path: bytes) -> bool:
    """Whether the program of that name speaks zsh: `zsh`, `zsh-5.9`, `zsh5`, `zsh-static`."""
    return re.fullmatch(rb"zsh[-.0-9]*(static)?", os.path.basename(path)) is not None


class Zsh:
    """The words as `ShellWords`."""

    name = "zsh"

    def argv(self, path: bytes, *, startup_files: bool, terminal: bool) -> tuple[bytes, ...]:
        """With startup files a login shell. Without any it asks no new user for settings, as its stdin is no terminal."""
        return (path, b"-l" if startup_files else b"-f", *_OPTIONS)

    def start_text(self, stderr_fd: int, status_fd: int, text_fd: int) -> bytes:
        """No prompt before stderr is the user's. A descriptor of two digits is closed by the name of a variable that holds it.

        It is one command, in braces: before a second one the account's own hooks would have run once more.
        """
        closes = b"".join(b"%b=%d; \\exec {%b}>&-\n" % (_FD, fd, _FD) for fd in (stderr_fd, status_fd, text_fd))
        moves = b"\\exec 2>&%d %d>&%d\n" % (stderr_fd, STATUS_FD, status_fd)
        return b" {\nPS1= PS2=\n" + moves + closes + b"\\builtin \\unset %b\n" % _FD + _SETTINGS + _REPORT + b"}\n"

    def report_text(self, serial: int) -> bytes:
        """Nothing is told if this serial was reported last."""
        return self._report_text(b"%d" % serial)

    def again_text(self, serial: int) -> bytes:
        """Was the report dropped, then by a SIGINT, and the status 2 is zsh's."""
        return self._report_text(b"%d again" % serial)

    def run_text(self, serial: int, text: bytes, stdin: bytes) -> bytes:
        """The text sees the status of the command before: no word between the two changes it."""
        return b' \\builtin \\eval "$(<%b)" 0<%b %d>&-;%b' % (text, stdin, STATUS_FD, self.report_text(serial))

    def source_text(self, line: bytes, stdin: bytes, flags: bytes, *, statuses: bool) -> bytes:
        """The user's line; tracing, and the word that tells a pipeline's statuses, as in `bash_text.source_text`."""
        if statuses and b"|" in line and b"<<" not in line and not line.endswith(b"\\"):
            line += b'\n__remote_shell_pipe "${pipestatus[@]}"'
        if b"x" in flags:
            line = b"set -x;" + line
        if b"v" in flags:
            line = b"set -v\n" + line
        return line

    def exit_text(self) -> bytes:
        """Without a word of jobs that still run, which live on."""
        return b" { __remote_shell_exit; } 2>/dev/null\n"

    def _report_text(self, arguments: bytes) -> bytes:
        """Tracing is switched off out here, since a function's end restores it."""
        return (
            b' { __remote_shell_status="$?" __remote_shell_flags="$-"; \\builtin \\unsetopt xtrace verbose;'
            b" __remote_shell_report %b; } 2>/dev/null\n" % arguments
        )


ZSH: ShellWords = Zsh()
