"""`remote-shell shell TARGET`: a person at a live shell; without a terminal on stdin, a script for the shell there.

Neighbours: `cli.repl` is the person's side, `cli.passing` the script's.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any, Literal

from remote_shell import PIPE
from remote_shell.cli.arguments import add_allow, add_client_options, client_options
from remote_shell.cli.own_line import is_own, sign, words_of
from remote_shell.config.shell import NOTHING, ShellDefaults
from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS

_PATIENT: dict[str, Any] = {"grace": DEFAULT_LIMITS.terminal_grace}
Wish = Literal["ask", "attach", "new"]  # what is to become of shells that were left

DESCRIPTION = """\
One live shell (bash, or zsh where the account has that) on TARGET: directory,
variables and functions stay from line to line, and the session outlives its
connection. Programs that want a terminal have one: vim, less, top, sudo.

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
  remote-shell shell ssh:build-box          through ssh, nothing to set up
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
    parser.add_argument(
        "--on-lost",
        choices=("kill", "keep", "ask"),
        help="what becomes of the shell when this window is closed (else hosts.toml's, or kill: it ends)",
    )
    add_allow(parser)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--attach", action="store_true", help="take up a shell of yours, one in use elsewhere too")
    which.add_argument("--new", action="store_true", help="a new shell, whatever was left")
    add_client_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Work until the person or the shell leaves. Raises what the client raises."""
    if arguments.attach and not (os.isatty(0) and os.isatty(1)):
        raise UsageError("--attach takes up a shell on a terminal: it needs one on stdin and stdout")
    if not arguments.raw:
        return person_or_script(
            arguments.target,
            client_options(arguments),
            plain=arguments.plain,
            given=ShellDefaults(arguments.prefix, arguments.on_lost),
            wish="attach" if arguments.attach else "new" if arguments.new else "ask",
            allowed=arguments.allow,
        )
    if arguments.attach or arguments.on_lost in ("keep", "ask"):
        raise UsageError(
            "a --raw shell ends with its window: it is neither kept nor attached to; leave --raw away for that"
        )
    if not os.isatty(0):
        raise UsageError("--raw needs a terminal on stdin; without --raw, stdin is run as a script")
    from remote_shell.cli.main import complain
    from remote_shell.cli.raw import perform_on_terminal
    from remote_shell.cli.showing import allowed_for
    from remote_shell.config.hosts import shell_settings

    on_lost = shell_settings(arguments.target, ShellDefaults(None, arguments.on_lost)).on_lost
    if on_lost != "kill":
        complain(
            f'on_lost = "{on_lost}" in hosts.toml does not hold for --raw: this shell ends with its window, or when the link is '
            "lost for longer than its grace; without --raw it would be kept"
        )
    return perform_on_terminal(
        arguments.target,
        client_options(arguments) | _PATIENT,
        lambda host: host.popen(None, stdin=PIPE, stdout=PIPE, pty=True),
        allowed=allowed_for(arguments.target, arguments.allow),
    )


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """What whoever starts the REPL takes besides."""
    parser.add_argument("--plain", action="store_true", help="no colours, marks, suggestions, toolbar")
    parser.add_argument(
        "--prefix", metavar="SIGN", type=_prefix, help="begins our own commands (else hosts.toml's, or :)"
    )


def _prefix(text: str) -> str:
    try:
        return sign(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!a}: must be one sign, such as ',', and no letter, digit, blank or '?'"
        ) from None


def person_or_script(
    target: str,
    options: dict[str, Any],
    *,
    trial: bool = False,
    plain: bool = False,
    given: ShellDefaults = NOTHING,
    wish: Wish = "new",
    allowed: frozenset[str] | None = None,
) -> int:
    """The REPL if stdin is a terminal, otherwise stdin as a script; returns the exit status.

    `trial`: the server is our own and goes when we do. `given` and `allowed` were on the command line and win over hosts.toml. Raises
    what the client raises.
    """
    if not os.isatty(0):
        from remote_shell.cli.passing import Errand, perform

        # The shell itself reads the script, so `read`, here-documents, `exit 3` and a syntax error in the last line mean
        # what they mean to `sh`: a script cut into commands by us would be another language.
        return perform(target, options, Errand(["bash", "-s"]), allowed)
    from remote_shell.cli import loop
    from remote_shell.cli.exit_status import leave_by_signal

    if "trace" in options:
        from remote_shell.cli.tracing import keep_off_screen

        keep_off_screen(options)
    from remote_shell.cli.repl import LeftBySignalError

    gone = os.eventfd(0, os.EFD_CLOEXEC)  # takes back a question that a thread still asks
    try:
        return loop.run(_person(target, options, trial, gone, plain, given, wish, allowed))
    except LeftBySignalError as left:
        return leave_by_signal(left.name)
    finally:
        os.close(gone)


async def _person(
    target: str,
    options: dict[str, Any],
    trial: bool,
    gone: int,
    plain: bool,
    given: ShellDefaults,
    wish: Wish,
    allowed: frozenset[str] | None,
) -> int:
    from remote_shell.cli.asking import answers
    from remote_shell.cli.editor import Editor
    from remote_shell.cli.greeting import greeting, visits
    from remote_shell.cli.history import History, state_path
    from remote_shell.cli.nameplate import Nameplate
    from remote_shell.cli.repl import Repl
    from remote_shell.cli.screen import Screen
    from remote_shell.cli.showing import allowed_for
    from remote_shell.cli.tabbing import Asker
    from remote_shell.cli.toolbar import is_wanted
    from remote_shell.client.async_ import connect_async
    from remote_shell.client.plan import OnLost
    from remote_shell.config.hosts import resolve, shell_settings

    settings = shell_settings(target, given)
    screen = Screen(
        terminal=os.isatty(1) or os.isatty(2), encoding=getattr(sys.stderr, "encoding", "ascii"), plain=plain
    )
    repl = Repl(screen, os.uname().nodename if trial else target, *settings, allowed_for(target, allowed), trial=trial)
    kept: OnLost = "keep" if settings.on_lost != "kill" and repl.on_terminal else "kill"
    connecting = connect_async(target, on_state=repl.on_state, on_lost=kept, **answers(gone), **options, **_PATIENT)
    try:
        host = await connecting
    except BaseException:
        os.eventfd_write(gone, 1)
        raise
    async with host:
        named = resolve(target)[1]
        plate = (
            Nameplate(host.welcome.host)
            if named is None
            else Nameplate(named.name, label=named.label, colour=named.colour, production=named.production)
        )
        counting = state_path("visits")
        counted = visits(counting) if counting is not None else 0
        grace = host.welcome.grace_ms / 1000
        for line in greeting(
            plate,
            host.welcome.account,
            host.target.kind,
            host.server_key,
            grace,
            trial=trial,
            visits=counted,
            keeps=kept == "keep",
            prefix=settings.prefix,
        ):
            screen.note(line)

        def asker(directory: Callable[[], str]) -> Asker:
            from remote_shell.cli.completing import RemoteCompleter  # at the first Tab
            from remote_shell.cli.own_completing import OwnCompleter

            return OwnCompleter(RemoteCompleter(host, directory), settings.prefix, repl.commands)

        history = History(state_path())
        editor = Editor(
            screen,
            plate=plate,
            history=history,
            sign="#" if host.welcome.account == "root" else "$",
            completer=asker,
            below=repl.below if is_wanted(plain) else None,
            is_own=repl.is_own,
            is_grave=lambda text: is_own(text, settings.prefix) and words_of(text, settings.prefix)[0] == "bg",
        )
        try:
            left = None
            if repl.on_terminal and (wish == "attach" or (wish == "ask" and host.welcome.left)):
                from remote_shell.cli.attaching import choose

                try:
                    left = await choose(host, screen, target, gone, every=wish == "attach")
                except BaseException:
                    os.eventfd_write(gone, 1)
                    raise
            return await repl.run(host, editor, left)
        finally:
            history.close()
