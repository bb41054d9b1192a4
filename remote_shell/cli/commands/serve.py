"""`remote-shell serve`: the server in the foreground.

Says on stdout one JSON line when every listener accepts, and nothing else; logs go to stderr. Signals, accepting and draining
are the server's own. Neighbours: `server.serving` does the work, `config.server` reads the settings.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from remote_shell.cli.arguments import add_verbose, seconds

DESCRIPTION = """\
Lets those whose keys are in ~/.ssh/authorized_keys run commands here, as the
account that you are. When it accepts, it prints one line of JSON to stdout:
  {"event":"ready","pid":…,"listen":[…],"fingerprint":"SHA256:…"}
Logs go to stderr. TERM or Ctrl-C gives running commands 5 s to end by
themselves, then ends them and stops; a second one stops it at once. Detached
jobs go on. HUP reads again who may log in, and who may have tunnels.\
"""
EXAMPLES = """\
examples:
  remote-shell serve          a Unix socket of yours, and tls:127.0.0.1:8822
  remote-shell serve --listen tls:0.0.0.0:8822 --listen tls:[::]:8822
  remote-shell serve --listen unix:/run/user/1000/x.sock
  remote-shell serve --listen tcp:127.0.0.1:9000 --insecure-tcp     in class
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `serve` takes."""
    parser.usage = "%(prog)s [options]"
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        action="append",
        help="unix:PATH, tls:HOST:PORT or tcp:LOOPBACK:PORT, port 0 for any; may be repeated",
    )
    parser.add_argument("--config", metavar="FILE", help="settings in TOML; the options here win over it")
    parser.add_argument("--authorized-keys", metavar="FILE", help="who may log in (default ~/.ssh/authorized_keys)")
    parser.add_argument("--secret-file", metavar="FILE", help="shared secrets, one line each: NAME KEY (default: none)")
    parser.add_argument("--audit", metavar="FILE", help="append a line of JSON for each login, command, file and so on")
    parser.add_argument("--record", metavar="DIR", help="keep what terminals show here, for `remote-shell replay`")
    parser.add_argument("--insecure-tcp", action="store_true", help="allow tcp:, which is not encrypted")
    parser.add_argument(
        "--idle-exit", metavar="S", type=seconds, help="end after S seconds without a client; jobs go on (else never)"
    )
    add_verbose(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it. Raises ConfigError and what the server raises."""
    import asyncio

    from remote_shell.cli import logs
    from remote_shell.config.server import ServerConfig, load
    from remote_shell.server.serving import serve

    def settings() -> ServerConfig:
        return load(
            arguments.config,
            listen=arguments.listen,
            authorized_keys=arguments.authorized_keys,
            secret_file=arguments.secret_file,
            insecure_tcp=arguments.insecure_tcp or None,
            idle_exit=arguments.idle_exit,
            audit__file=arguments.audit,
            recording__folder=arguments.record,
            log_level="debug" if arguments.verbose else None,
        )

    config = settings()
    logs.start(config.log_level)
    asyncio.run(serve(config, ready=_say_ready, reload=settings))
    return 0


def _say_ready(facts: Mapping[str, object]) -> None:
    import json
    import logging

    if os.geteuid() == 0:
        logging.getLogger("remote_shell.server").warning(
            "running as root: whoever may log in is root here; an account of its own is safer"
        )
    try:
        print(json.dumps(facts, ensure_ascii=False, separators=(",", ":")), flush=True)
    except OSError:
        return  # nobody reads it
