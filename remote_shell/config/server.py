"""The server's settings: a TOML file and the options of `serve`, checked together.

Opens none of the files that it names and listens on nothing. Imported by the server only: pydantic takes 50 ms or more.
Neighbours: `targets` reads the addresses, `remote_shell.limits` has the figures that `[limits]` changes.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from remote_shell.config.checked import read_text
from remote_shell.config.confining import SandboxConfig, read_rlimits
from remote_shell.config.hosts import parse_toml
from remote_shell.config.paths import expand_home, shown
from remote_shell.config.targets import Target, parse_listen
from remote_shell.errors import ConfigError, UsageError
from remote_shell.limits import DEFAULT_LIMITS, Limits

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SUBSYSTEM = re.compile(r"[A-Za-z0-9._:/+@-]{1,64}", re.ASCII)  # a word of the protocol
_PATHS = ("authorized_keys", "secret_file", "file", "folder")  # options that may be relative
_FIGURES = {field.name: field.type for field in dataclasses.fields(Limits)}


class AuditConfig(BaseModel):
    """`[audit]`: who did what, a line each."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    file: str | None = None  # absolute; None: no lines are written
    argv: bool = True  # words and lines of commands are in them, and so is a password that somebody gives as a word
    required: bool = False  # what has no line, because the file can't be written, does not begin

    @field_validator("file", mode="after")
    @classmethod
    def _make_absolute(cls, value: str | None) -> str | None:
        return _absolute(value)


class RecordingConfig(BaseModel):
    """`[recording]`: what terminals showed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    folder: str | None = None  # absolute; None: nothing is recorded
    notice: bool = True  # the terminal says so in its first line
    required: bool = False  # a terminal that can't be recorded is refused

    @field_validator("folder", mode="after")
    @classmethod
    def _make_absolute(cls, value: str | None) -> str | None:
        return _absolute(value)


class ServerConfig(BaseModel):
    """What `serve` goes by. Frozen: HUP makes a new one."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True, validate_default=True
    )

    listen: tuple[Target, ...] = ()  # empty: the default socket and tls:127.0.0.1:8822
    authorized_keys: str = "~/.ssh/authorized_keys"
    secret_file: str | None = None
    insecure_tcp: bool = False  # plain tcp, on loopback, is listened on only with this
    path: str = Field(default=DEFAULT_PATH, min_length=1)  # PATH of the commands
    shell: str | None = None  # absolute; None is the account's own; live shells: if it is zsh, on a terminal, else bash
    startup_files: bool = True  # a live shell on a terminal is a login shell, which reads the account's profile
    grace: float | None = Field(default=None, ge=0)  # seconds; the same figure as [limits] grace
    subsystems: dict[str, list[str]] = {}  # name -> program and arguments; sftp is there without, and [] takes it away
    allow_tcp_forwarding: bool | None = (
        None  # tunnels: false nobody, true all; without: whose line in authorized_keys says so
    )
    gateway_ports: bool = False  # what listens for a tunnel may do so on other addresses than loopback
    idle_exit: float | None = Field(default=None, gt=0)  # seconds without anybody after which it ends by itself
    audit: AuditConfig = AuditConfig()
    recording: RecordingConfig = RecordingConfig()
    rlimits: dict[str, int] = {}  # of each command: name in prlimit(1) -> figure, soft and hard
    sandbox: SandboxConfig | None = None  # bubblewrap around each command; an empty table is one, too
    limits: Limits = DEFAULT_LIMITS
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("listen", mode="before")
    @classmethod
    def _read_addresses(cls, value: object) -> tuple[Target, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(one, str | Target) for one in value):
            raise ValueError('must be a list of addresses, such as ["tls:0.0.0.0:8822"]')
        try:
            return tuple(one if isinstance(one, Target) else parse_listen(one) for one in value)
        except UsageError as error:
            raise ValueError(str(error)) from None

    @field_validator("rlimits", mode="before")
    @classmethod
    def _read_rlimits(cls, value: object) -> dict[str, int]:
        return read_rlimits(value)

    @field_validator("limits", mode="before")
    @classmethod
    def _read_limits(cls, value: object) -> Limits:
        if isinstance(value, Limits):
            return value
        if not isinstance(value, dict):
            raise ValueError("must be a table of figures")
        for name, figure in value.items():
            _check_figure(name, figure)
        return dataclasses.replace(DEFAULT_LIMITS, **value)

    @field_validator("subsystems", mode="after")
    @classmethod
    def _check_subsystems(cls, value: dict[str, list[str]]) -> dict[str, list[str]]:
        for name, words in value.items():
            if not _SUBSYSTEM.fullmatch(name):
                raise ValueError(f"{name!a} is no name: 1 to 64 letters, digits and . _ : / + @ -")
            if (words and not os.path.isabs(words[0])) or any("\0" in word for word in words):
                raise ValueError(
                    f'{name}: must be a list of an absolute path and its arguments, such as ["/opt/sftp-server"]'
                )
        return value

    @field_validator("authorized_keys", "secret_file", "shell", mode="after")
    @classmethod
    def _make_absolute(cls, value: str | None) -> str | None:
        return _absolute(value)

    @model_validator(mode="after")
    def _check_together(self) -> ServerConfig:
        if not self.insecure_tcp and any(one.kind == "tcp" for one in self.listen):
            raise ValueError(
                "listens on plain tcp, which is unencrypted: set insecure_tcp (--insecure-tcp) or use tls:"
            )
        if self.grace is not None and self.limits.grace not in (DEFAULT_LIMITS.grace, self.grace):
            raise ValueError("grace and [limits] grace differ; leave one out")
        return self

    @property
    def effective_limits(self) -> Limits:
        """`limits` with `grace` in them. One that was set is also the longest, unless `grace_max` says otherwise."""
        grace = self.limits.grace if self.grace is None else self.grace
        most = self.limits.grace_max
        said = self.grace is not None or grace != DEFAULT_LIMITS.grace
        if said and most == DEFAULT_LIMITS.grace_max:
            most = grace
        return dataclasses.replace(self.limits, grace=grace, grace_max=most)


def _absolute(value: str | None) -> str | None:
    if value is None:
        return None
    if not value.isprintable() or not value:
        raise ValueError("must be a path")
    try:
        value = expand_home(value)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if not os.path.isabs(value):
        # The folder that a server happens to start in must not decide who may log in.
        raise ValueError("must be an absolute path, or begin with ~")
    return value


def load(path: str | None, **options: Any) -> ServerConfig:
    """The settings of the file at `path`, if one is given, under `options`, which win where they are not None.

    `TABLE__NAME` is an option in a table. Relative paths among the options are taken from the current folder, as the shell does; in the
    file they are refused.
    Raises ConfigError, one line a fault, each naming the file, the key and what is allowed.
    """
    document: dict[str, object] = {}
    if path is not None:
        text = read_text(path, what="server's settings", limit=DEFAULT_LIMITS.list_file_max, private=False)
        if text is None:
            raise ConfigError(f"{shown(path)}: no such file; leave --config away to serve with the defaults")
        document = parse_toml(text, path)
    for name, value in options.items():
        if value is None:
            continue
        table, _, key = name.rpartition("__")
        there = document.setdefault(table, {}) if table else document
        if isinstance(there, dict):  # else the file has a fault, which is told below
            there[key] = os.path.abspath(expand_home(value)) if key in _PATHS else value
    try:
        return ServerConfig.model_validate(document)
    except ValidationError as error:
        where = shown(path) if path is not None else "serve"
        raise ConfigError("\n".join(f"{where}: {_line(fault)}" for fault in error.errors())) from None


def _check_figure(name: str, figure: object) -> None:
    kind = _FIGURES.get(name)
    if kind is None:
        raise ValueError(f"unknown figure {name!a}; known are {', '.join(_FIGURES)}")
    numbers = (int,) if kind == "int" else (int, float)
    if isinstance(figure, bool) or not isinstance(figure, numbers) or not math.isfinite(figure):
        raise ValueError(f"{name} must be {'a whole number' if kind == 'int' else 'a number'}")
    if figure < 0 or (kind == "int" and figure == 0):
        raise ValueError(f"{name} must be above zero")


def _line(fault: Any) -> str:
    """One pydantic fault as one line. pydantic's own texts name classes, web pages and the input."""
    key = ".".join(str(part) for part in fault["loc"])
    kind = fault["type"]
    if kind == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {
            "audit": AuditConfig,
            "recording": RecordingConfig,
            "sandbox": SandboxConfig,
        }
        model = models.get(str(fault["loc"][0]), ServerConfig) if len(fault["loc"]) > 1 else ServerConfig
        return f"unknown key {key!a}; known are {', '.join(model.model_fields)}"
    allowed = {
        "string_type": "must be a text between quotes",
        "list_type": "must be a list of texts",
        "dict_type": "must be a table",
        "model_type": "must be a table",
        "string_too_short": "must not be empty",
        "bool_type": "must be true or false",
        "float_type": "must be a number of seconds",
        "greater_than_equal": "must not be below zero",
        "greater_than": "must be above zero",
    }.get(kind)
    if kind == "literal_error":
        allowed = f"must be one of {fault['ctx']['expected']}"
    if kind == "value_error":
        allowed = str(fault["ctx"]["error"])
    text = allowed or str(fault["msg"])
    return f"{key}: {text}" if key else text
