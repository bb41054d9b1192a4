"""The error tree: drawn as it is, and each error survives pickle and copy with all it says."""

from __future__ import annotations

import copy
import errno
import inspect
import os
import pickle

import pytest

from remote_shell import errors
from remote_shell.errors import CommandNotFoundError, RemoteShellError, SystemFaultError

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, RemoteShellError)]


def made(kind: type[RemoteShellError]) -> RemoteShellError:
    parameters = list(inspect.signature(kind.__init__).parameters)
    if issubclass(kind, SystemFaultError):
        return kind("in our words", b"file", errno.ELOOP)
    if "code" in parameters:
        return kind("a", "b")
    if "command_state" in parameters:
        return kind("text", command_state="running", command_id="id")  # type: ignore[call-arg]
    return kind("text")


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_each_survives_pickle_and_copy(kind: type[RemoteShellError]) -> None:
    error = made(kind)
    error.add_note("a note")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  # our own
        assert type(twin) is kind and str(twin) == str(error) and vars(twin) == vars(error)
        if isinstance(error, OSError) and isinstance(twin, OSError):
            assert (twin.errno, twin.strerror, twin.filename) == (error.errno, error.strerror, error.filename)


@pytest.mark.parametrize(
    "kind", [kind for kind in ALL if issubclass(kind, SystemFaultError)], ids=lambda kind: kind.__name__
)
def test_what_the_system_says_reads_as_the_systems_word(kind: type[SystemFaultError]) -> None:
    error = kind("in our words", "name")
    assert str(error) == f"[Errno {kind.number}] {os.strerror(kind.number)}: 'name'"
    assert error.args == (kind.number, os.strerror(kind.number)) and error.filename == "name"
    assert error.detail == "in our words" and error.code
    assert str(kind("x")) == f"[Errno {kind.number}] {os.strerror(kind.number)}"


def test_a_missing_program_is_caught_as_locally() -> None:
    with pytest.raises(FileNotFoundError):
        raise CommandNotFoundError("x", "y")
