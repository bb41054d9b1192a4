"""The same call through `subprocess` and through a host: what it returned or raised, with every field, as one value to compare.

What can't be the same is taken out here and nowhere else, each with its reason. Neighbours: `test_parity` has calls of `run`,
`test_parity_popen` sequences of calls on a process.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import warnings
from collections.abc import Callable
from typing import Any

_DONE = ("args", "returncode", "stdout", "stderr")
_FAILED = (
    "returncode",
    "cmd",
    "output",
    "stdout",
    "stderr",
    "timeout",
    "filename",
    "filename2",
    "errno",
    "strerror",
    "args",
)


def described(value: Any) -> dict[str, Any]:
    """A result with all its fields."""
    fields = {name: getattr(value, name) for name in _DONE}
    twin = pickle.loads(pickle.dumps(value)) if picklable(value.args) else value  # noqa: S301
    assert type(twin) is type(value) and vars(twin) == vars(value)
    assert vars(copy.copy(value)) == vars(value)
    return {"result": fields, "repr": repr(value)}


def picklable(value: object) -> bool:
    try:
        pickle.dumps(value)
    except TypeError:
        return False
    return True


def failure(error: BaseException) -> dict[str, Any]:
    """An exception with all its fields, after a trip through pickle and copy."""
    fields = {name: getattr(error, name) for name in _FAILED if hasattr(error, name)}
    if isinstance(error, OSError) and error.filename is None:
        fields["args"] = error.args[:2]  # Popen passes None on, or does not
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301
        assert type(twin) is type(error) and str(twin) == str(error)
        assert all(getattr(twin, name) == value for name, value in fields.items() if name != "args")
        assert twin.args == error.args
    return {"error": error, "fields": fields, "str": str(error)}


def outcome(call: Callable[[], Any]) -> dict[str, Any]:
    """What a call did, warnings included."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # of Popen objects that a test let go of
        try:
            value = call()
            found = described(value) if isinstance(value, subprocess.CompletedProcess) else {"value": value}
        except Exception as error:
            found = failure(error)
    return found | {"warnings": {(warning.category, str(warning.message)) for warning in told}}


async def outcome_async(call: Callable[[], Any]) -> dict[str, Any]:
    """The same of an awaitable."""
    try:
        value: Any = await call()
    except Exception as error:
        value = error

    def again() -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return outcome(again)


def assert_same(mine: dict[str, Any], local: dict[str, Any]) -> None:
    """Raises AssertionError where a script could tell the two apart."""
    mine, local = copied(mine), copied(local)
    if "error" not in local:
        assert mine == local, told(mine, local)
        return
    assert "error" in mine, f"locally {local['error']!r}, here {mine}"
    error, there = mine.pop("error"), local.pop("error")
    if isinstance(there, AttributeError | TypeError) and not isinstance(there, OSError):
        # Popen finds a wrong type where it first trips over it, in that place's words; for text in bytes' place an AttributeError
        assert isinstance(error, TypeError if "encode" in str(there) else type(there))
        return
    assert isinstance(error, type(there)), f"{error!r} is no {type(there).__name__}"
    if isinstance(there, IndexError):  # Popen stumbles over an empty list; ours says that it is empty
        return
    if isinstance(there, subprocess.TimeoutExpired):
        # without pipes Popen names what was left of the time when it began to wait
        asked, left = mine["fields"].pop("timeout"), local["fields"].pop("timeout")
        assert asked - 0.5 <= left <= asked
        for found in (mine, local):
            found["fields"].pop("args")
            found["str"] = found["str"].partition(" timed out after ")[0]
    assert mine == local, told(mine, local)


def copied(found: dict[str, Any]) -> dict[str, Any]:
    """To take fields out of."""
    return {name: dict(value) if name == "fields" else value for name, value in found.items()}


def told(mine: dict[str, Any], local: dict[str, Any]) -> str:
    """The fields that differ."""
    names = [name for name in {**local, **mine} if mine.get(name) != local.get(name)]
    return "\n".join(
        f"{name}: here {str(mine.get(name))[:400]}, locally {str(local.get(name))[:400]}" for name in names
    )
