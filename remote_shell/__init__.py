"""remote_shell: run commands elsewhere as `subprocess` runs them here.

    import remote_shell
    with remote_shell.connect("build-box") as host:
        host.run(["uname", "-a"])

Everything is imported when it is first used: `import remote_shell` costs nothing.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

PIPE = -1  # the figures of subprocess, so that either module's names work
STDOUT = -2
DEVNULL = -3

_WHERE = {
    "connect": "remote_shell.client.blocking",
    "Host": "remote_shell.client.blocking",
    "connect_async": "remote_shell.client.async_",
    "AsyncHost": "remote_shell.client.async_",
    "connect_many": "remote_shell.client.blocking_many",
    "Hosts": "remote_shell.client.blocking_many",
    "connect_many_async": "remote_shell.client.async_many",
    "AsyncHosts": "remote_shell.client.async_many",
    "Results": "remote_shell.client.many",
    "Pty": "remote_shell.client.opening",
    "TraceEvent": "remote_shell.client.tracing",
    "JobInfo": "remote_shell.client.jobs",
    "LogPiece": "remote_shell.client.jobs",
    "Progress": "remote_shell.transfer.progress",
    "FileFault": "remote_shell.transfer.progress",
    "Transferred": "remote_shell.transfer.progress",
    "CompletedProcess": "remote_shell.client.results",
    "CalledProcessError": "remote_shell.client.results",
    "TimeoutExpired": "remote_shell.client.results",
    "SubprocessError": "subprocess",
    "Server": "remote_shell.server.server",
    "testing": "remote_shell.testing",
    "errors": "remote_shell.errors",
}


def __getattr__(name: str) -> object:
    """Import on first use (PEP 562). Exceptions of `errors` are here too."""
    if name in _WHERE:
        module = importlib.import_module(_WHERE[name])
        value: object = module if _WHERE[name] == f"remote_shell.{name}" else getattr(module, name)
    elif name.endswith("Error"):
        errors = importlib.import_module("remote_shell.errors")
        if not hasattr(errors, name):
            raise AttributeError(f"module 'remote_shell' has no attribute {name!r}")
        value = getattr(errors, name)
    else:
        raise AttributeError(f"module 'remote_shell' has no attribute {name!r}")
    globals()[name] = value
    return value
