"""`--json`: how a command ended, and what it wrote, as one object on one line.

    {"argv","exit_status","signal","timed_out","connection_lost","job","started_at","duration_s","cwd","stdout","stderr"}

with `stdout_base64` and `stderr_base64` beside the texts where the bytes are not UTF-8, `line` where `-c` gave one, `again` where it
ran before under its id, and `error` with a `code` and a `message` where something failed. A failure before the start has the same keys.
A lost connection's `error` also has the `command_state` ("never_received", "running", "finished", "unknown") and, if it is finished, how.
Neighbours: `passing` runs, `mapping` runs on many.
"""

from __future__ import annotations

import json
import os
from typing import Any

from remote_shell.cli import exit_status
from remote_shell.cli.asking import answers
from remote_shell.cli.main import complain, describe
from remote_shell.cli.notices import Notices
from remote_shell.cli.passing import (
    EndedHereError,
    Errand,
    Signals,
    ended_on_error,
    left_unsure,
    out_of_time,
    status_of,
    timer,
    to_the_end,
)
from remote_shell.cli.waking import woken_by_signals
from remote_shell.client.blocking import Host, connect
from remote_shell.client.process import Described
from remote_shell.client.remote import RemoteProcess, write_all
from remote_shell.client.results import TimeoutExpired
from remote_shell.errors import (
    AccessDeniedError,
    CommandError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    IdentityError,
    NotStartedError,
    OutputTooLargeError,
    ServerIdentityError,
    UsageError,
)
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.terminal.visible import SPECIAL
from remote_shell.wire.messages import from_system

# the first that fits is the word in `error`; a CommandError brings its own
_CODES: tuple[tuple[type[BaseException], str], ...] = (
    (UsageError, "usage"),
    (ConfigError, "config"),
    (IdentityError, "identity"),
    (ConnectError, "connect"),
    (ServerIdentityError, "server_identity"),
    (AccessDeniedError, "access_denied"),
    (ConnectionLostError, "connection_lost"),
    (OutputTooLargeError, "output_too_large"),
    (NotStartedError, "not_started"),
    (KeyboardInterrupt, "interrupted"),
    (EndedHereError, "interrupted"),
)


def perform_for_report(target: str, options: dict[str, Any], errand: Errand) -> int:
    """Run it, print the object, return the exit status. Raises nothing of the client's: failures are in the object."""
    report = empty(errand)
    process: RemoteProcess | None = None
    on_state = Notices(target, complain, timer).on_state if os.isatty(2) else None
    try:
        with (
            connect(target, on_state=on_state, **answers(), **options) as host,
            woken_by_signals(host),
            Signals() as signals,
        ):
            try:
                process = errand.start(host, captured=True)
                signals.pass_to(process)
                status = _watch(host, process, errand, report)
            except EndedHereError:  # also where nothing was heard of the start: it may have come about
                status = _left(host, report)
    except (Exception, KeyboardInterrupt, EndedHereError) as error:
        stopped = not isinstance(error, Exception)
        status = exit_status.INTERRUPTED if stopped else exit_status.of_error(error)
        message = "interrupted before it started" if stopped else describe(error)
        put_error(report, error, message)
        complain(message)
    if process is not None:
        report |= facts(process)
    write_all(1, [line_of(report)])
    return status


def line_of(report: dict[str, Any]) -> bytes:
    """The object on its line."""
    if report["connection_lost"]:  # what is known is in `error`: a lost connection is never an exit status
        report |= {"exit_status": None, "signal": None, "timed_out": False}
    text = json_text(report) + "\n"
    # What was not UTF-8 in our argv is a lone surrogate in Python; so written, it is one in JSON's own escape.
    return text.encode("utf-8", "backslashreplace")


def json_text(facts: dict[str, Any]) -> str:
    """JSON for people too: what a terminal would obey, or show in another order, stands in it as \\uXXXX."""
    return SPECIAL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(facts, ensure_ascii=False))


def put_error(report: dict[str, Any], error: BaseException, message: str) -> None:
    """Something failed, and this is what a person reads of it."""
    report["error"] = {"code": code_of(error), "message": message}
    if isinstance(error, ConnectionLostError):
        report |= {"connection_lost": True, "job": error.command_id}
        report["error"] |= {
            "command_state": error.command_state,
            "exit_status": error.exit_status,
            "signal": error.signal,
            "timed_out": error.timed_out,
        }


def _watch(host: Host, process: RemoteProcess, errand: Errand, report: dict[str, Any]) -> int:
    try:
        with ended_on_error(process):
            out, err = to_the_end(process, errand, most=DEFAULT_LIMITS.report_output_max)
    except TimeoutExpired as expired:
        # Our own clock: the server has not said how the command ended, nor that it did; or it ended and its output did not.
        put_output(report, expired.output, expired.stderr)
        code, message = out_of_time(host, process, errand)
        complain(message)
        report |= {"timed_out": True, "error": {"code": code, "message": message}}
        return exit_status.TIMED_OUT
    put_output(report, out, err)
    return status_of(process)


def _left(host: Host, report: dict[str, Any]) -> int:
    """The person insisted on leaving."""
    unsure = left_unsure(host, host.name)
    if unsure is not None:
        report["error"] = {"code": "interrupted", "message": unsure}
        complain(unsure)
        return exit_status.INTERRUPTED
    report["signal"] = "SIGKILL"
    return exit_status.of_signal("SIGKILL")


def empty(errand: Errand) -> dict[str, Any]:
    """Nothing is known yet."""
    line = {"line": errand.line} if errand.line is not None else {}
    return {
        "argv": errand.argv if errand.line is None else None,
        **line,
        "exit_status": None,
        "signal": None,
        "timed_out": False,
        "connection_lost": False,
        "job": errand.command_id,
        "started_at": None,
        "duration_s": None,
        "cwd": None,
        "stdout": "",
        "stderr": "",
    }


def facts(process: Described) -> dict[str, Any]:
    """What the server said of start and end."""
    known: dict[str, Any] = {"job": process.job}
    opened, end = process.opened, process.result
    if opened is not None:
        known["started_at"] = _time_text(opened.started_at_ms) if opened.started_at_ms else None
        if opened.cwd is not None:
            known["cwd"] = from_system(opened.cwd).decode("utf-8", "backslashreplace")
        if opened.again:
            known["again"] = True
    if end is not None:
        known |= {
            "exit_status": end.status,
            "signal": end.signal,
            "duration_s": end.duration_us / 1_000_000,
        }
        if end.timed_out:
            known["timed_out"] = True
    return known


def put_output(report: dict[str, Any], out: bytes | None, err: bytes | None) -> None:
    """What it wrote."""
    for name, data in (("stdout", out or b""), ("stderr", err or b"")):
        try:
            report[name] = data.decode("utf-8")
        except UnicodeDecodeError:
            import base64

            report[name] = data.decode("utf-8", "replace")
            report[f"{name}_base64"] = base64.b64encode(data).decode("ascii")


def code_of(error: BaseException) -> str:
    """The word for `error`."""
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), "internal")


def _time_text(milliseconds: int) -> str:
    """RFC 3339, UTC, to the millisecond."""
    import time

    seconds, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03}Z"
