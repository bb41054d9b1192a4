"""`remote-shell shell TARGET`: a person at a live shell; without a terminal on stdin, a script for the shell there.

Neighbours: `cli.repl` is the person's side, `cli.passing` the script's.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from remote_shell import PIPE
from remote_shell.cli.arguments import add_client_options, client_options
from remote_shell.cli.own_line import PREFIX, sign
from remote_shell.errors import UsageError

DESCRIPTION = """\
One live shell (bash) on TARGET: directory, variables and functions stay from
line to line, and the session outlives its connection. Programs that want a
terminal have one: vim, less, top, sudo.

  Enter      runs the line, or goes on if it is not whole
  Alt-Enter  begins a new line
  Tab        completes commands, files, $variables and git branches there
  Ctrl-R     searches the history; right takes what is suggested from it
  Ctrl-C     interrupts the command, or clears the line; Ctrl-Z stops it
  Ctrl-D     leaves, as exit does
  ?, :help   tells of our own commands: :jobs, :bg, :out, :hist and others

Without a terminal on stdin, what is read there is run as sh runs it. With --raw
it is a plain login shell, as ssh starts it: ~. leaves that, ~? has the rest.\
"""
EXAMPLES = """\
examples:
  remote-shell shell build-box
  remote-shell shell unix:/run/user/1000/remote-shell/server.sock
  remote-shell shell build-box < script
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `shell` takes."""
    parser.usage = "%(prog)s [options] TARGET"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("target", metavar="TARGET", help=argparse.SUPPRESS)
    parser.add_argument("--raw", action="store_true", help="a login shell on a terminal, every key passed on")
    add_prompt_options(parser)
    add_client_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Work until the person or the shell leaves. Raises what the client raises."""
    if not arguments.raw:
        return person_or_script(
            arguments.target, client_options(arguments), plain=arguments.plain, prefix=arguments.prefix
        )
    if not os.isatty(0):
        raise UsageError("--raw needs a terminal on stdin; without --raw, stdin is run as a script")
    from remote_shell.cli.raw import perform_on_terminal

    return perform_on_terminal(
        arguments.target,
        client_options(arguments),
        lambda host: host.popen(None, stdin=PIPE, stdout=PIPE, pty=True),
    )


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """What whoever starts the REPL takes besides."""
    parser.add_argument("--plain", action="store_true", help="no colours, marks, suggestions, toolbar")
    parser.add_argument("--prefix", metavar="SIGN", type=sign, default=PREFIX, help="begins our own commands (else :)")


def person_or_script(
    target: str, options: dict[str, Any], *, trial: bool = False, plain: bool = False, prefix: str = PREFIX
) -> int:
    """The REPL if stdin is a terminal, otherwise stdin as a script; returns the exit status.

    `trial`: the server is our own and goes when we do. Raises what the client raises.
    """
    if not os.isatty(0):
        from remote_shell.cli.passing import Errand, perform

        # The shell itself reads the script, so `read`, here-documents, `exit 3` and a syntax error in the last line mean
        # what they mean to `sh`: a script cut into commands by us would be another language.
        return perform(target, options, Errand(["bash", "-s"]))
    import asyncio

    from remote_shell.cli.exit_status import leave_by_signal
    from remote_shell.cli.repl import LeftBySignalError

    gone = os.eventfd(0, os.EFD_CLOEXEC)  # takes back a question that a thread still asks
    try:
        return asyncio.run(_person(target, options, trial, gone, plain, prefix))
    except LeftBySignalError as left:
        return leave_by_signal(left.name)
    finally:
        os.close(gone)


async def _person(target: str, options: dict[str, Any], trial: bool, gone: int, plain: bool, prefix: str) -> int:
    from remote_shell.cli.asking import answers
    from remote_shell.cli.editor import Editor
    from remote_shell.cli.greeting import greeting, visits
    from remote_shell.cli.history import History, state_path
    from remote_shell.cli.repl import Repl
    from remote_shell.cli.screen import Screen
    from remote_shell.cli.tabbing import Asker
    from remote_shell.cli.toolbar import is_wanted
    from remote_shell.client.async_ import connect_async
    from remote_shell.config.hosts import resolve

    screen = Screen(
        terminal=os.isatty(1) or os.isatty(2), encoding=getattr(sys.stderr, "encoding", "ascii"), plain=plain
    )
    repl = Repl(screen, os.uname().nodename if trial else target, prefix)
    connecting = connect_async(target, on_state=repl.on_state, **answers(gone), **options)
    try:
        host = await connecting
    except BaseException:
        os.eventfd_write(gone, 1)
        raise
    async with host:
        named = resolve(target)[1]
        name = host.welcome.host if named is None else named.name
        counting = state_path("visits")
        counted = visits(counting) if counting is not None else 0
        grace = host.welcome.grace_ms / 1000
        for line in greeting(
            name, host.welcome.account, host.target.kind, host.server_key, grace, trial=trial, visits=counted
        ):
            screen.note(line)

        def asker(directory: Callable[[], str]) -> Asker:
            from remote_shell.cli.completing import RemoteCompleter  # at the first Tab

            return RemoteCompleter(host, directory)

        history = History(state_path())
        editor = Editor(
            screen,
            name=name,
            history=history,
            colour=named.colour if named is not None else None,
            sign="#" if host.welcome.account == "root" else "$",
            completer=asker,
            below=repl.below if is_wanted(plain) else None,
            is_own=repl.is_own,
        )
        try:
            return await repl.run(host, editor)
        finally:
            history.close()
