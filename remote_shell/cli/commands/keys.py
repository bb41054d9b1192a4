"""`remote-shell keys VERB`: who we are (`show`), and who may do what here: `list`, `invite`, `authorize`, `revoke`.

Prints nothing secret but what was asked for: a new shared secret, an invitation. Neighbours: `cli.key_list`, `cli.inviting` and
`cli.key_changes` do the work of all but `show`.
"""

from __future__ import annotations

import argparse
import os
import sys

from remote_shell.cli.arguments import Layout

DESCRIPTION = """\
show       your public keys as lines for a server's ~/.ssh/authorized_keys, and
           the fingerprint that a server started here shows to its clients
invite     a line with which one friend, once, adds a key of theirs here
list       who may log in here, what they may do, when they were last here
authorize  let a public key in
revoke     take one away\
"""
EXAMPLES = """\
examples:
  remote-shell keys show | ssh box 'cat >> .ssh/authorized_keys'
  remote-shell keys invite --label ann         over there: remote-shell pair
  remote-shell keys list
  remote-shell keys authorize --comment ann ann.pub
  remote-shell keys revoke ann                 or how its fingerprint begins
  (umask 077; remote-shell keys show --new-secret ci > ci.secret)
(remote-shell keys VERB --help says more)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `keys` takes."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.usage = "%(prog)s VERB [options]"
    verbs = parser.add_subparsers(metavar="VERB", dest="verb", required=True, help=argparse.SUPPRESS, prog=parser.prog)

    def verb(name: str, description: str) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = verbs.add_parser(
            name, description=description, formatter_class=Layout, allow_abbrev=False
        )
        return made

    show = verb("show", "Your public keys as lines for a server's authorized_keys.")
    show.add_argument("--identity", metavar="FILE", help="only the key in this file")
    show.add_argument("--new-secret", metavar="NAME", help="make a shared secret of that name, print its line only")
    invite = verb("invite", "Prints one line. Whoever has it adds a key of theirs here, once.")
    invite.add_argument("--minutes", metavar="N", type=_minutes, default=10, help="it is good for so long (else 10)")
    invite.add_argument("--label", metavar="NAME", help="who is invited: a word for the key's comment")
    invite.add_argument(
        "--address", metavar="HOST[:PORT]", action="append", help="where this server is seen from over there"
    )
    _add_option(invite, "what the key may do")
    _add_list(invite)
    listed = verb("list", "Who may log in here, what they may do, and when they were last here.")
    listed.add_argument("--json", action="store_true", help="one JSON object a line for each line of the file")
    _add_list(listed)
    authorize = verb("authorize", "Adds public keys: those of a .pub file, or of stdin.")
    authorize.add_argument("file", metavar="FILE", nargs="?", default="-", help="lines ssh-ed25519 AAAA…; -: stdin")
    authorize.add_argument("--comment", metavar="TEXT", help="instead of the key's own")
    _add_option(authorize, "what the key may do")
    _add_list(authorize)
    revoke = verb("revoke", "Takes keys away. When several fit, you are asked.")
    revoke.add_argument("pattern", metavar="KEY", nargs="*", help="a fingerprint or a comment, or how it begins")
    revoke.add_argument(
        "--jobs", action="store_true", help="end what they started by --detach; of a key that is gone, too"
    )
    revoke.add_argument("--invitations", action="store_true", help="take back all invitations that are open")
    _add_list(revoke)
    for one in (show, invite, listed, authorize, revoke):
        one.usage = f"%(prog)s [options]{' [FILE]' if one is authorize else ' [KEY…]' if one is revoke else ''}"
        one.add_argument("-v", "--verbose", action="store_true", help="a traceback with an error")


def run(arguments: argparse.Namespace) -> int:
    """Do it. Raises UsageError, IdentityError, ConfigError."""
    if arguments.verb == "show":
        if arguments.new_secret is not None:
            from remote_shell.identity.secrets import generate

            print(generate(arguments.new_secret).line())
            return 0
        _show(arguments.identity)
    elif arguments.verb == "invite":
        from remote_shell.cli.inviting import invite

        invite(arguments)
    elif arguments.verb == "list":
        from remote_shell.cli.key_list import show_list

        show_list(arguments)
    elif arguments.verb == "authorize":
        from remote_shell.cli.key_changes import authorize

        authorize(arguments)
    else:
        from remote_shell.cli.key_changes import revoke

        revoke(arguments)
    return 0


def _minutes(text: str) -> float:
    """Not longer than an invitation may be good for."""
    from remote_shell.limits import DEFAULT_LIMITS

    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value * 60 <= DEFAULT_LIMITS.invitation_time_max:  # nan compares false
        raise argparse.ArgumentTypeError(
            f"{text!a}: must be a number of minutes above 0, and at most {DEFAULT_LIMITS.invitation_time_max / 60:.0f} (seven days)"
        )
    return value


def _add_option(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--option",
        metavar="OPTION",
        action="append",
        default=[],
        help=f'{what}: an option of authorized_keys, such as from="192.0.2.0/24"; may be repeated',
    )


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--authorized-keys", metavar="FILE", help="the list (else that of the running server, ~/.ssh/authorized_keys)"
    )


def _show(identity: str | None) -> None:
    from remote_shell.config.paths import shown, state_dir
    from remote_shell.identity.agent import AgentSigner
    from remote_shell.identity.keys import PublicKey
    from remote_shell.identity.signers import FileSigner, default_signers

    # What is no key stands behind "#", so that the whole may be appended to an authorized_keys file.
    for signer in default_signers(identity):
        public = PublicKey(signer.public_blob, signer.comment)
        source = "a key"
        if isinstance(signer, FileSigner):
            source = shown(signer.path) + (", which has a passphrase" if signer.encrypted else "")
        elif isinstance(signer, AgentSigner):
            source = "held by ssh-agent"
        print(f"# {public.fingerprint}  {source}")
        print(_printable(public.line()))
    path = os.path.join(state_dir(), "server_key")
    if identity is None and os.path.exists(path):
        from remote_shell.identity.server_identity import ServerIdentity

        print(f"\n# {ServerIdentity.load(path).fingerprint}  is what a server started here shows to its clients")
        print(f"# ({shown(path)})")
    if sys.stdout.isatty():
        print("\nOne key line, appended to ~/.ssh/authorized_keys on the server, lets you in there.", file=sys.stderr)


def _printable(line: str) -> str:
    """A key's comment is free text that others may have written."""
    return "".join(sign if sign.isprintable() else "?" for sign in line)
