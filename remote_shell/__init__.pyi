# What type checkers see instead of the imports on first use in __init__.py; a test compares the two.

from subprocess import SubprocessError as SubprocessError

from remote_shell import errors as errors
from remote_shell import testing as testing
from remote_shell.client.async_ import AsyncHost as AsyncHost
from remote_shell.client.async_ import connect_async as connect_async
from remote_shell.client.async_many import AsyncHosts as AsyncHosts
from remote_shell.client.async_many import connect_many_async as connect_many_async
from remote_shell.client.blocking import Host as Host
from remote_shell.client.blocking import connect as connect
from remote_shell.client.blocking_many import Hosts as Hosts
from remote_shell.client.blocking_many import connect_many as connect_many
from remote_shell.client.jobs import JobInfo as JobInfo
from remote_shell.client.jobs import LogPiece as LogPiece
from remote_shell.client.many import Results as Results
from remote_shell.client.opening import Pty as Pty
from remote_shell.client.results import CalledProcessError as CalledProcessError
from remote_shell.client.results import CompletedProcess as CompletedProcess
from remote_shell.client.results import TimeoutExpired as TimeoutExpired
from remote_shell.client.tracing import TraceEvent as TraceEvent
from remote_shell.errors import *  # noqa: F403 - as `remote_shell.ConnectError` and so on
from remote_shell.server.server import Server as Server
from remote_shell.transfer.progress import FileFault as FileFault
from remote_shell.transfer.progress import Progress as Progress
from remote_shell.transfer.progress import Transferred as Transferred

__version__: str
PIPE: int
STDOUT: int
DEVNULL: int
