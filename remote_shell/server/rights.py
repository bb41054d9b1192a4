"""Rights: what the restrictions of a key mean for each request, decided when it comes and from authorized_keys as it is then.

Closed: a kind of request without a rule here is refused. A rule lets a request pass, changes it into what may be done, or refuses it;
what starts afterwards goes by the changed one alone. Starts nothing. Neighbours: `identity.restrictions` reads the options, `sessions`
asks for each request, `forwarding` knows the places of tunnels, `revocation` ends sessions whose restrictions have changed.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable
from typing import Any

from remote_shell.errors import CommandError, RemoteProtocolError
from remote_shell.identity.argv_patterns import plain_words
from remote_shell.identity.restrictions import UNRESTRICTED, Restrictions
from remote_shell.process.environment import is_allowed_from_client
from remote_shell.server.context import Context
from remote_shell.server.requests.base import reason
from remote_shell.server.subsystems import argv_of
from remote_shell.wire.messages import Open, Pair, from_system, to_system

# what the forced command reads of what was asked for: ours, and what scripts for sshd look for
ORIGINAL = (b"REMOTE_SHELL_ORIGINAL_COMMAND", b"SSH_ORIGINAL_COMMAND")
# how `remote-shell ssh` asks for nothing where there is no terminal, on which a shell could be asked for
LOGIN_SHELL = b'exec "$SHELL" -l'
# a language, a terminal, a time zone: never a path that leads anywhere, nor a text for a parser
_PLAIN_VALUE = re.compile(rb"(?!/|:|.*\.\./)[A-Za-z0-9_.,:+@/=<>-]{0,128}")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class NotPermittedError(Exception):
    """Why a request is refused: `code` and text are what the client is told."""

    def __init__(self, text: str, code: str = "not_permitted") -> None:
        super().__init__(text)
        self.code = code


def permitted(context: Context, principal: str, source: str, message: Open) -> Open:
    """The request as it may be done. `source`: the client's address, or "unix". Raises NotPermittedError."""
    said = context.restrictions_of(principal)
    if said is None:
        raise NotPermittedError("who logged in here may not any more: the key was taken off the server's list")
    refusal = said.refusal_at(time.time(), source)
    if refusal:
        raise NotPermittedError(refusal)
    rule = RULES.get(message.request)
    if rule is None:
        raise NotPermittedError(f"no rule says who may ask for {message.request}")
    if said is UNRESTRICTED:
        return message
    try:
        return rule(_Asked(context, principal, said, message))
    except (CommandError, RemoteProtocolError) as error:  # no such subsystem; a NUL in a string
        raise NotPermittedError(reason(error), error.code) from None


class _Asked:
    """A request, who asks, and what that key's line says."""

    __slots__ = ("context", "message", "principal", "said")

    def __init__(self, context: Context, principal: str, said: Restrictions, message: Open) -> None:
        self.context = context
        self.principal = principal
        self.said = said
        self.message = message

    def refuse_beyond(self, feature: str, what: str) -> None:
        """Raises NotPermittedError where the key may run some commands only, and `feature` was not allowed beside them."""
        if self.said.only_some and feature not in self.said.beyond:
            raise self.refusal(what)

    def refusal(self, what: str) -> NotPermittedError:
        """What a key may not that may run some commands only."""
        if self.said.command is not None:
            return NotPermittedError(f"this key runs one command, whatever is asked for; {what}")
        return NotPermittedError(f"this key may {self.said.may()}" + (f"; {what}" if what else ""))


# --- what runs


def _exec(asked: _Asked) -> Open:
    message, said = asked.message, asked.said
    if message.detach:
        asked.refuse_beyond(":detach", "it may not start jobs")
    _check_terminal(asked)
    changes: dict[str, Any] = {}
    original: bytes | None = None
    if said.command is not None:
        original = _original(asked)
        changes = {"argv": None, "line": to_system(_raw(said.command)), "subsystem": None}
    elif said.only_some:
        argv = [to_system(_raw(word)) for word in _allowed_argv(asked)]
        changes = {"argv": argv, "line": None, "subsystem": None}
    _check_count(asked)
    return _changed(message, changes | _place(asked) | _time(asked) | _environment(asked, original))


def _shell(asked: _Asked) -> Open:
    asked.refuse_beyond(":shell", "it may not have a shell; name the command: remote-shell run")
    _check_terminal(asked)
    _check_count(asked)
    return _changed(asked.message, _place(asked) | _time(asked) | _environment(asked, None))


def _attach(asked: _Asked) -> Open:
    asked.refuse_beyond(":shell", "it may not have a shell")
    _check_terminal(asked)
    return asked.message


def _check_terminal(asked: _Asked) -> None:
    if asked.message.terminal is not None and not asked.said.pty:
        raise NotPermittedError(
            "this key may not have a terminal (restrict or no-pty in authorized_keys); run without -t needs none"
        )


def _check_count(asked: _Asked) -> None:
    if asked.context.has_all_it_may(asked.principal):
        most = asked.said.max_commands
        raise NotPermittedError(f"this key may run {most} commands at once, and does; wait until one has ended")


def _words(asked: _Asked) -> list[bytes] | None:
    """What would be executed for what was asked; None: nothing was, or more than one thing."""
    message, context = asked.message, asked.context
    given = (message.argv is not None) + (message.line is not None) + (message.subsystem is not None)
    if given > 1:
        return None
    if message.argv is not None:
        return [from_system(word) for word in message.argv]
    if message.line is not None:
        return [context.shell, b"-c", from_system(message.line)]
    if message.subsystem is not None:
        return argv_of(message.subsystem, context.config.subsystems)
    return None if message.terminal is None else [context.shell, b"-l"]


def _allowed_argv(asked: _Asked) -> list[str]:
    """The words that will be executed: those of a line, where it is nothing but words, else its shell's, which must be allowed then."""
    words = [_text(word) for word in _words(asked) or ()]
    if len(words) == 3 and words[0] in (_text(asked.context.shell), "/bin/sh") and words[1] == "-c":
        plain = plain_words(words[-1])
        if plain is not None and asked.said.allows(plain):
            return plain
    if not words or not asked.said.allows(words):
        raise asked.refusal("" if asked.said.allow else "it may run no command")
    return words


def _original(asked: _Asked) -> bytes | None:
    """What was asked for, as a shell would take it; None where nothing was, as with sshd."""
    message = asked.message
    if message.argv is None and message.line is not None:
        line = from_system(message.line)
        return None if line == LOGIN_SHELL else line
    if message.argv is None and message.subsystem is None:
        return None
    return _raw(shlex.join(_text(word) for word in _words(asked) or ()))


def _place(asked: _Asked) -> dict[str, Any]:
    """Where it starts: in cwd= or below, after all symlinks; what runs some commands only starts in HOME if there is no cwd=.

    Elsewhere `make` would be whatever a Makefile there says.
    """
    said, cwd = asked.said, asked.message.cwd
    if said.cwd is None and said.command is not None:
        return {"cwd": None}  # as with sshd
    if cwd == "" or (said.cwd is None and (cwd is None or not said.only_some)):
        return {}
    given = b"" if cwd is None else from_system(cwd)
    if said.cwd is None:
        home = asked.context.home
        if os.path.realpath(os.path.join(home, given)) != os.path.realpath(home):
            raise NotPermittedError("this key starts in the home of the account, since its line has no cwd=")
        return {}
    return {"cwd": to_system(os.path.realpath(_within(asked, given)))}


def _within(asked: _Asked, path: bytes) -> bytes:
    """A path that counts from cwd=. Raises NotPermittedError where it leads out of it."""
    root = asked.context.folder_of(asked.principal)
    joined = os.path.join(root, path)
    if os.path.commonpath((root, os.path.realpath(joined))) != root:
        raise NotPermittedError(f"this key starts in {asked.said.cwd} and below, and may not go elsewhere")
    return joined


def _time(asked: _Asked) -> dict[str, Any]:
    most = asked.said.timeout
    if most is None:
        return {}
    given = asked.message.timeout_ms
    return {"timeout_ms": int(most * 1000) if given is None else min(given, int(most * 1000))}


def _environment(asked: _Asked, original: bytes | None) -> dict[str, Any]:
    """The variables that a command gets beyond the server's base, by the key's line; exact ones stay exact where it is not restricted."""
    message, said = asked.message, asked.said
    own = [(_raw(name), _raw(value)) for name, value in said.environment]
    if original is not None:
        own += [(name, original) for name in ORIGINAL]
    if not said.restricted:
        which = "env_add" if message.env is None else "env"
        return {which: [*(getattr(message, which) or ()), *_pairs(own)]} if own else {}
    given = [*(message.env_offer or ()), *(message.env or ()), *(message.env_add or ())]
    kept = [(name, value) for name, value in map(_decoded, given) if _accepts(said, name, value)]
    return {"env": None, "env_offer": None, "env_add": _pairs([*kept, *own])}


def _accepts(said: Restrictions, name: bytes, value: bytes) -> bool:
    if is_allowed_from_client(name) and b"=" not in name and _PLAIN_VALUE.fullmatch(value):
        return True
    return said.accepts_variable(_text(name))


def _decoded(pair: Pair) -> tuple[bytes, bytes]:
    return from_system(pair[0]), from_system(pair[1])


def _pairs(pairs: list[tuple[bytes, bytes]]) -> list[Pair]:
    return [[to_system(name), to_system(value)] for name, value in pairs]


def _changed(message: Open, changes: dict[str, Any]) -> Open:
    return Open.of(**{**message.__dict__, **changes}) if changes else message


# --- all else


def _put(asked: _Asked) -> Open:
    asked.refuse_beyond(":put", "it may not put files")
    message = asked.message
    if asked.said.cwd is None or message.to is None:
        return message
    return _changed(message, {"to": to_system(_within(asked, from_system(message.to)))})


def _get(asked: _Asked) -> Open:
    asked.refuse_beyond(":get", "it may not get files")
    message = asked.message
    if asked.said.cwd is None:
        return message
    paths = [to_system(_within(asked, from_system(path))) for path in message.paths or ()]
    return _changed(message, {"paths": paths or None})


def _jobs(asked: _Asked) -> Open:
    asked.refuse_beyond(":detach", "it has no jobs")
    return asked.message


def _tunnel(asked: _Asked) -> Open:
    """`Forwards` knows the places, and asks for the same line."""
    return asked.message


def _accept(asked: _Asked) -> Open:
    refusal = asked.context.forwards.refusal_to_accept(asked.principal)
    if refusal:
        raise NotPermittedError(refusal, "forwarding_denied")
    return asked.message


def _anybody(asked: _Asked) -> Open:
    """What became of its own commands, and which shells it has."""
    return asked.message


RULES: dict[str, Callable[[_Asked], Open]] = {
    "exec": _exec,
    "shell": _shell,
    "query": _anybody,
    "attach": _attach,
    "shells": _anybody,
    "jobs": _jobs,
    "job_logs": _jobs,
    "job_wait": _jobs,
    "job_signal": _jobs,
    "job_remove": _jobs,
    "connect": _tunnel,
    "listen": _tunnel,
    "accept": _accept,
    "put": _put,
    "get": _get,
}
