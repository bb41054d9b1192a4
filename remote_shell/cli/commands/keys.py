"""`remote-shell keys VERB`: who we are. `show` prints the public keys that we log in with, as lines for authorized_keys.

Prints nothing secret but the new secret that `--new-secret` asks for, and keeps no copy of that. Neighbours: identity's
`signers` decides which keys are offered, `secrets` makes secrets.
"""

from __future__ import annotations

import argparse
import os
import sys

DESCRIPTION = """\
Your public keys as lines for a server's ~/.ssh/authorized_keys, and the
fingerprint that a server started here shows to its clients.\
"""
EXAMPLES = """\
examples:
  remote-shell keys show
  remote-shell keys show | ssh box 'cat >> .ssh/authorized_keys'
  (umask 077; remote-shell keys show --new-secret ci > ci.secret)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `keys` takes."""
    parser.usage = "%(prog)s show [options]"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument("verb", choices=["show"], metavar="VERB", help=argparse.SUPPRESS)
    parser.add_argument("--identity", metavar="FILE", help="only the key in this file")
    parser.add_argument("--new-secret", metavar="NAME", help="make a shared secret of that name, print its line only")
    parser.add_argument("-v", "--verbose", action="store_true", help="a traceback with an error")


def run(arguments: argparse.Namespace) -> int:
    """Print to stdout. Raises IdentityError, ConfigError."""
    if arguments.new_secret is not None:
        from remote_shell.identity.secrets import generate

        print(generate(arguments.new_secret).line())
        return 0
    _show(arguments.identity)
    return 0


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
