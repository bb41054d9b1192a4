"""`[rlimits]` and `[sandbox]` of the server's settings: what its commands may use, and what they see.

Starts nothing. Imported by `config.server` only. Neighbour: `process.confinement` makes words of what comes out.
"""

from __future__ import annotations

import os
import re

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from remote_shell.config.paths import expand_home
from remote_shell.errors import ConfigError

_SIZES = frozenset(("as", "core", "data", "fsize", "memlock", "msgqueue", "rss", "stack"))  # bytes: getrlimit(2)
_COUNTS = frozenset(("cpu", "nice", "nofile", "nproc", "rtprio", "sigpending"))
RLIMIT_NAMES = _SIZES | _COUNTS
UNLIMITED = -1  # RLIM_INFINITY
_SIZE = re.compile(r"([0-9]{1,15})([KMGT])", re.ASCII)
NOFILE_LEAST = 72  # a live shell has descriptors of ours up to 66
_NEVER = ("/dev", "/proc")  # a sandbox has its own


def read_rlimits(value: object) -> dict[str, int]:
    """Figures by the names of prlimit(1), sizes in bytes. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError("must be a table of figures")
    return {name: _figure(name, figure) for name, figure in value.items()}


def _figure(name: str, figure: object) -> int:
    if name not in RLIMIT_NAMES:
        raise ValueError(f"unknown limit {name!a}; known are {', '.join(sorted(RLIMIT_NAMES))}")
    if isinstance(figure, int) and not isinstance(figure, bool) and 0 <= figure < 1 << 63:
        if name == "nofile" and figure < NOFILE_LEAST:
            raise ValueError(f"nofile must be {NOFILE_LEAST} at least: a live shell needs that many")
        return figure
    if figure == "unlimited":
        return UNLIMITED
    size = _SIZE.fullmatch(figure) if isinstance(figure, str) and name in _SIZES else None
    if size is not None:
        return int(size[1]) << 10 * (1 + "KMGT".index(size[2]))
    as_text = ' of bytes, a text such as "2G",' if name in _SIZES else ""
    raise ValueError(f'{name} must be a whole number{as_text} or "unlimited"')


class SandboxConfig(BaseModel):
    """What commands see where there is a sandbox. All else is not there for them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)

    read_only: tuple[str, ...] = ("/usr", "/etc")
    writable: tuple[str, ...] = ()
    network: bool = False

    @field_validator("read_only", "writable", mode="before")
    @classmethod
    def _read_paths(cls, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) and one for one in value):
            raise ValueError('must be a list of paths, such as ["/usr", "~/work"]')
        return tuple(_path(one) for one in value)

    @model_validator(mode="after")
    def _check_together(self) -> SandboxConfig:
        both = sorted({*self.read_only} & {*self.writable})
        if both:
            raise ValueError(f"{both[0]!a} is in read_only and in writable; leave one out")
        return self


def _path(text: str) -> str:
    """Where it leads, since a link in a sandbox may lead to nowhere."""
    try:
        path = expand_home(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if not os.path.isabs(path) or "\0" in path:
        raise ValueError(f"{text!a} must be an absolute path, or begin with ~")
    real = os.path.realpath(path)
    if any(real == one or real.startswith(f"{one}/") for one in _NEVER):
        raise ValueError(f"{text!a}: a sandbox has its own {' and '.join(_NEVER)}")
    if not os.path.exists(real):
        raise ValueError(f"{text!a}: no such file or folder; make it, or leave it out")
    return real
