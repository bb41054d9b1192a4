"""Revocation: sessions whose key was taken off the list, has expired, or may something else now, end by themselves.

Looks at the list's file now and then (`config.watched`: a stat, mostly), and believes what it sees there at the second look, since
an editor that writes a file anew leaves it empty for a moment. A time that has come is believed at once. A session ends as by a goodbye:
its client is told why, and its commands, shells and tunnels are dead within `bye_kill_time`. Jobs go on: they are no session's.
Neighbours: `sessions` ends, `rights` judges new requests meanwhile, without waiting for a second look.
"""

from __future__ import annotations

import asyncio
import logging
import time

from remote_shell.identity.restrictions import Restrictions
from remote_shell.server.context import Context
from remote_shell.server.sessions import ServerSession, Sessions

log = logging.getLogger("remote_shell.server")

_GONE = "its key was taken off the server's list"
_CHANGED = "what its key may do has changed; connect again"


class Revocation:
    """One server's."""

    def __init__(self, context: Context, sessions: Sessions) -> None:
        self._context = context
        self._sessions = sessions
        self._doubted: set[object] = set()  # what the last look would have ended
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on."""
        self._timer = self._context.loop.call_later(self._context.limits.revocation_look_time, self._look_and_again)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look_and_again(self) -> None:
        self.start()
        self.look()

    def look(self) -> None:
        """Look once: end what the look before would have ended too, and whose time is over."""
        known: dict[str, Restrictions | None] = {}  # one look at the file for each key, however many sessions it has

        def said_of(principal: str) -> Restrictions | None:
            if principal not in known:
                known[principal] = self._context.restrictions_of(principal)
            return known[principal]

        doubted, self._doubted = self._doubted, set()
        now = time.time()
        for session in self._sessions.all():
            why, at_once = _why(session, said_of(session.principal), now)
            if why and (at_once or session in doubted):
                log.warning("%s: session %s… ends: %s", session.principal, session.ident[:6], why)
                session.revoke(why)
            elif why:
                self._doubted.add(session)
        for held in self._context.terminals.all_left():
            said = said_of(held.principal)
            expired = said is not None and _has_expired(said, now)
            if said is not None and said == held.restrictions and not expired:
                continue
            if held in doubted or expired:
                log.warning("%s: a shell that was left ends: %s", held.principal, _GONE if said is None else _CHANGED)
                held.kill(self._context.limits.bye_kill_time / 2)
            else:
                self._doubted.add(held)


def _why(session: ServerSession, said: Restrictions | None, now: float) -> tuple[str, bool]:
    """Why a session is to end, or an empty text; and whether that needs no second look."""
    if _has_expired(session.restrictions, now):
        return session.restrictions.refusal_at(now, session.source), True
    if said is None:
        return _GONE, False
    return (_CHANGED, False) if said != session.restrictions else ("", False)


def _has_expired(said: Restrictions, now: float) -> bool:
    return said.expires is not None and now >= said.expires
