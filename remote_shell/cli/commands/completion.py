"""`remote-shell completion SHELL`: a script for bash, zsh or fish that completes our command line.

The script is made by shtab from the very parsers that read the command line, so it can't know other options than they do. The names of
hosts.toml are looked up while a person types. Neighbours: `arguments` and the commands, whose parsers are read here.
"""

from __future__ import annotations

import argparse
import importlib
import sys

from remote_shell.cli.arguments import Layout
from remote_shell.errors import UsageError

SHELLS = ("bash", "zsh", "fish")
DESCRIPTION = """\
Prints a script that completes commands, options, files and the names of your
hosts.toml. It is made by shtab (pip install shtab, where this is installed).\
"""
EXAMPLES = """\
examples:
  eval "$(remote-shell completion bash)"                  now, and in ~/.bashrc
  remote-shell completion zsh > ~/.zfunc/_remote-shell      a folder of $fpath
  remote-shell completion fish > ~/.config/fish/completions/remote-shell.fish
"""

# Each asks for the names at the time of the completion; a broken hosts.toml completes nothing and says nothing there.
_TARGETS = {
    "bash": """\
_remote_shell_targets() { compgen -W "$(remote-shell completion --targets 2>/dev/null)" -- "$1"; }""",
    "zsh": """\
_remote_shell_targets() { local -a names; names=(${(f)"$(remote-shell completion --targets 2>/dev/null)"}); compadd -- $names; }""",
    "fish": "",
}
_TARGET = {
    "bash": "_remote_shell_targets",
    "zsh": "_remote_shell_targets",
    "fish": "(remote-shell completion --targets 2>/dev/null)",
}
# what `add_arguments` calls a thing -> what completes it; other metavars are nothing that could be looked up
_FILES = ("FILE", "LOCAL")
_FOLDERS = ("DIR",)
_HOSTS = ("TARGET",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `completion` takes."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("shell", metavar="SHELL", nargs="?", choices=SHELLS, help=", ".join(SHELLS))
    group.add_argument("--targets", action="store_true", help="print the names in hosts.toml instead")


def run(arguments: argparse.Namespace) -> int:
    """Print it. Raises UsageError without shtab, ConfigError."""
    if arguments.targets:
        from remote_shell.config.hosts import load_hosts

        sys.stdout.write("".join(f"{name}\n" for name in load_hosts()))
        return 0
    try:
        import shtab
    except ImportError:
        raise UsageError(
            f"tab completion is made by shtab, which is not installed; type: {sys.executable} -m pip install shtab"
        ) from None
    shell = arguments.shell
    sys.stdout.write(shtab.complete(whole_parser(), shell, preamble=_TARGETS[shell]) + "\n")
    return 0


def whole_parser() -> argparse.ArgumentParser:
    """One parser that holds those of all commands, told what completes each argument."""
    from remote_shell.cli.main import COMMANDS

    parser = argparse.ArgumentParser(prog="remote-shell", allow_abbrev=False)
    parser.add_argument("-V", "--version", action="store_true", help="the version")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, description=summary, formatter_class=Layout, allow_abbrev=False
        )
        add = getattr(importlib.import_module(f"remote_shell.cli.commands.{module}"), "add_arguments", None)
        if add is None:  # its options are ssh's
            command.add_argument("target", metavar="TARGET")
        else:
            add(command)
        command.description = summary  # a page of text is of no use in a menu
        for action in tuple(command._actions):
            if (
                action.nargs == argparse.REMAINDER
            ):  # TARGET and the command's own words are one to argparse, and two to a person
                command._actions.remove(action)
                command.add_argument("target", metavar="TARGET")
                command._actions.append(action)
                action.metavar = "FILE"
        for action in command._actions:
            completes(action)
            for verb in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
                for inner in verb._actions:
                    completes(inner)
    return parser


def completes(action: argparse.Action) -> None:
    """Note on the action what completes it, where shtab looks for it."""
    import shtab

    if action.help == argparse.SUPPRESS and not action.option_strings:
        action.help = None  # left out of the help's table since the usage has it, and shtab would leave it out too
    words = action.metavar if isinstance(action.metavar, tuple) else (action.metavar or "",)
    names = {word.rstrip("…") for word in words}
    if names & set(_FILES):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
    elif names & set(_FOLDERS):
        action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    elif names & set(_HOSTS):
        action.complete = _TARGET  # type: ignore[attr-defined]
