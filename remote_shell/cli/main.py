"""The entry point: finds the command, lets its module parse and run, and turns every failure into one line.

Must not import anything heavy: `--help` and a mistyped word should cost no more than Python's own start. A command's module,
and argparse, are imported when the command is called. Neighbours: `arguments` builds parsers, `commands` does the work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from remote_shell import __version__
from remote_shell.cli.exit_status import INTERRUPTED, USAGE, leave_by_signal, of_error
from remote_shell.errors import RemoteShellError, SystemFaultError

# command -> (module below cli.commands, what it does); the order is that of the help text
COMMANDS = {
    "try": ("try_", "server and client in one: a first look, nothing to set up"),
    "run": ("run", "one command there, its streams passed through byte for byte"),
    "map": ("map", "one command on many hosts, equal output shown once"),
    "shell": ("shell", "work there: one live shell that keeps directory and variables"),
    "put": ("put", "files and folders, from here to there"),
    "get": ("get", "files and folders, from there to here"),
    "jobs": ("jobs", "what `run --detach` started there, and how it ended"),
    "logs": ("logs", "what a job wrote; -f: and goes on writing"),
    "attach": ("attach", "be there while a job runs, and end as it ends"),
    "wait": ("wait", "wait for a job's end, and end as it did"),
    "signal": ("signal", "signal a job"),
    "rm": ("rm", "forget a job and its log"),
    "ssh": ("ssh", "as ssh: for rsync -e, git, sftp -S, scp -S, Borg, Ansible"),
    "mux": ("mux", "a connection that calls of ssh share; they start it themselves"),
    "trace": ("trace", "what a command's --trace=FILE kept, frame by frame"),
    "serve": ("serve", "the server: those whose keys you list may run commands here"),
    "keys": ("keys", "your public keys; who may log in here; invitations for friends"),
    "pair": ("pair", "take an invitation: one line, and you may log in there"),
    "replay": ("replay", "what a terminal showed, as `serve --record` kept it"),
    "doctor": ("doctor", "what is wrong here, or on the way to a server, and what mends it"),
    "pipe": ("pipe", "what ssh:HOST runs there: joins it to a server, started if absent"),
    "demo": ("demo", "the classroom: what TCP does to messages, and framing's cure"),
    "completion": ("completion", "a script that completes all this in bash, zsh or fish"),
}

HELP = f"""\
usage: remote-shell COMMAND [options] … (COMMAND --help says more) | -h | -V

Runs commands on other machines. A session outlives its connection: what runs
goes on after a cut, and its output arrives whole.

commands:
{chr(10).join(f"  {name:<11}{summary}" for name, (_, summary) in COMMANDS.items())}

A TARGET is HOST[:PORT] or tls:HOST:PORT (port 8822 unless told otherwise),
ssh:[USER@]HOST (through ssh, nothing to set up but this program over there),
unix:PATH, tcp:127.0.0.1:PORT (not encrypted), or a name from hosts.toml.

exit status of run, try, wait, attach: the command's own; 128+N by signal N; 124
timed out; 125 our failure; 126 can't be run; 127 not found; 130 Ctrl-C; 2 usage

examples:
  remote-shell serve --listen tls:0.0.0.0:8822    for ~/.ssh/authorized_keys
  remote-shell shell ssh:box                      work there, through ssh
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv`, without the program's name; returns the exit status. Raises nothing of ours."""
    words = sys.argv[1:] if argv is None else argv
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _fill_closed_descriptors()
    try:
        status = _dispatch(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        # `remote-shell --help | head -1`: not a failure worth a word. What is still buffered must not fail again at exit.
        _forget_stdout()
        return leave_by_signal("SIGPIPE")
    except KeyboardInterrupt:
        return INTERRUPTED


def ssh() -> int:
    """The entry point of `remote-shell-ssh`: for programs that want the path of an ssh and no words behind it."""
    return main(["ssh", *sys.argv[1:]])


def complain(text: str) -> None:
    """One line on stderr, or one for each line of `text`; a stderr that is closed or full is no reason to fail again."""
    for line in text.splitlines() or [""]:
        shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)
        try:
            print(f"remote-shell: {shown}", file=sys.stderr, flush=True)
        except (OSError, ValueError):
            return


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else "--help"
    if first in ("-h", "--help", "help"):
        if first == "help" and words[1:2] and words[1] in COMMANDS:
            return _dispatch([words[1], "--help"])
        print(HELP, end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else USAGE
    if first in ("-V", "--version"):
        print(f"remote-shell {__version__}")
        return 0
    if first not in COMMANDS:
        complain(_unknown(first))
        return USAGE
    return _run(first, words[1:])


def _run(name: str, words: list[str]) -> int:
    if name == "ssh":
        from remote_shell.ssh.mux import hand_over

        shared = hand_over(words)
        if shared is not None:
            return shared
    if (
        name == "pipe" and not words
    ):  # argparse would be a third of its start, for which each connection through ssh waits
        from remote_shell.cli.piping import pipe

        return _guarded(pipe)
    import importlib

    module = importlib.import_module(f"remote_shell.cli.commands.{COMMANDS[name][0]}")
    if name in ("ssh", "mux"):  # their options are ssh's
        ended: int = module.main(words)
        return ended
    from remote_shell.cli.arguments import make_parser

    parser = make_parser(name)
    module.add_arguments(parser)
    arguments = parser.parse_args(words)
    return _guarded(lambda: module.run(arguments), verbose=getattr(arguments, "verbose", False))


def _guarded(command: Callable[[], int], *, verbose: bool = False) -> int:
    try:
        return command()
    except (KeyboardInterrupt, BrokenPipeError):
        raise
    except Exception as error:
        if verbose:
            import traceback

            traceback.print_exc()
        complain(describe(error))
        return of_error(error)


def describe(error: BaseException) -> str:
    """What a person reads of `error`. Ours say it all; anything else is either the system's word or a bug of ours."""
    if isinstance(error, RemoteShellError):
        # FileNotFoundError's own text would begin with "[Errno 2]"
        return (error.detail if isinstance(error, SystemFaultError) else str(error)) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return f"{where}{error.strerror}"
    return f"a fault of ours: {type(error).__name__}: {error}; run it again with -v and report what it prints"


def _unknown(word: str) -> str:
    if word.startswith("-"):
        return f"unknown option {word!a}; options of a command come after it; see remote-shell --help"
    import difflib  # 5 ms, and only a mistyped word needs it

    near = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"commands are {', '.join(COMMANDS)}."
    return f"unknown command {word!a}; {hint} See remote-shell --help"


def _fill_closed_descriptors() -> None:
    """Started with `<&-`, `>&-` or `2>&-`: the first socket that we open would become our stdin, or worse, our stdout."""
    # stdin is empty; what goes to stdout fails, as it does for any program; of stderr nobody wanted to hear
    for descriptor, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest number that is free: this one


def _forget_stdout() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
