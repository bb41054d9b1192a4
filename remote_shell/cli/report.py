"""`--json`: how a command ended, and what it wrote, as one object on one line.

    {"argv","exit_status","signal","timed_out","connection_lost","job","started_at","duration_s","cwd","stdout","stderr"}

with `stdout_base64` and `stderr_base64` beside the texts where the bytes are not UTF-8, `line` where `-c` gave one, `again` where it
ran before under its id, and `error` with a `code` and a `message` where something failed. A failure before the start has the same keys.
Neighbour: `passing` runs.
"""

from __future__ import annotations

import json
import os
from typing import Any

from remote_shell.cli import exit_status
from remote_shell.cli.asking import answers
from remote_shell.cli.main import complain, describe
from remote_shell.cli.notices import Notices
from remote_shell.cli.passing import EndedHereError, Errand, Signals, ended_on_error, left_unsure, status_of, timer
from remote_shell.client.blocking import Host, connect
from remote_shell.client.remote import RemoteProcess, write_all
from remote_shell.client.results import TimeoutExpired
from remote_shell.errors import (
    AccessDeniedError,
    CommandError,
    ConfigError,
    ConnectError,
    ConnectionLostError,
    IdentityError,
    OutputTooLargeError,
    ServerIdentityError,
    UsageError,
)
from remote_shell.limits import DEFAULT_LIMITS
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
    (KeyboardInterrupt, "interrupted"),
    (EndedHereError, "interrupted"),
)


def perform_for_report(target: str, options: dict[str, Any], errand: Errand) -> int:
    """Run it, print the object, return the exit status. Raises nothing of the client's: failures are in the object."""
    report = _empty(errand)
    process: RemoteProcess | None = None
    on_state = Notices(target, complain, timer).on_state if os.isatty(2) else None
    try:
        with connect(target, on_state=on_state, **answers(), **options) as host, Signals() as signals:
            process = errand.start(host, captured=True)
            signals.pass_to(process)
            status = _watch(host, process, errand, report)
    except (Exception, KeyboardInterrupt, EndedHereError) as error:
        stopped = not isinstance(error, Exception)
        status = exit_status.INTERRUPTED if stopped else exit_status.of_error(error)
        message = "interrupted before it started" if stopped else describe(error)
        report["connection_lost"] = isinstance(error, ConnectionLostError)
        report["error"] = {"code": _code(error), "message": message}
        complain(message)
    if process is not None:
        report |= _facts(process)
    text = json.dumps(report, ensure_ascii=False) + "\n"
    # What was not UTF-8 in our argv is a lone surrogate in Python; so written, it is one in JSON's own escape.
    write_all(1, [text.encode("utf-8", "backslashreplace")])
    return status


def _watch(host: Host, process: RemoteProcess, errand: Errand, report: dict[str, Any]) -> int:
    try:
        with ended_on_error(process):
            out, err = process.communicate(timeout=errand.patience, most=DEFAULT_LIMITS.report_output_max)
    except EndedHereError:
        unsure = left_unsure(host, host.name)
        if unsure is not None:
            report["error"] = {"code": "interrupted", "message": unsure}
            complain(unsure)
            return exit_status.INTERRUPTED
        report["signal"] = "SIGKILL"
        return exit_status.of_signal("SIGKILL")
    except TimeoutExpired as expired:
        report["timed_out"] = True
        _put_output(report, expired.output, expired.stderr)
        return exit_status.TIMED_OUT
    _put_output(report, out, err)
    return status_of(process)


def _empty(errand: Errand) -> dict[str, Any]:
    line = {"line": errand.line} if errand.line is not None else {}
    return {
        "argv": errand.argv if errand.line is None else None,
        **line,
        "exit_status": None,
        "signal": None,
        "timed_out": False,
        "connection_lost": False,
        "job": None,
        "started_at": None,
        "duration_s": None,
        "cwd": None,
        "stdout": "",
        "stderr": "",
    }


def _facts(process: RemoteProcess) -> dict[str, Any]:
    """What the server said of start and end."""
    facts: dict[str, Any] = {"job": process.job}
    opened, end = process.opened, process.result
    if opened is not None:
        facts["started_at"] = _time_text(opened.started_at_ms) if opened.started_at_ms else None
        if opened.cwd is not None:
            facts["cwd"] = from_system(opened.cwd).decode("utf-8", "backslashreplace")
        if opened.again:
            facts["again"] = True
    if end is not None:
        facts |= {
            "exit_status": end.status,
            "signal": end.signal,
            "timed_out": end.timed_out,
            "duration_s": end.duration_us / 1_000_000,
        }
    return facts


def _put_output(report: dict[str, Any], out: bytes | None, err: bytes | None) -> None:
    for name, data in (("stdout", out or b""), ("stderr", err or b"")):
        try:
            report[name] = data.decode("utf-8")
        except UnicodeDecodeError:
            import base64

            report[name] = data.decode("utf-8", "replace")
            report[f"{name}_base64"] = base64.b64encode(data).decode("ascii")


def _code(error: BaseException) -> str:
    if isinstance(error, CommandError):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), "internal")


def _time_text(milliseconds: int) -> str:
    """RFC 3339, UTC, to the millisecond."""
    import time

    seconds, rest = divmod(milliseconds, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03}Z"
