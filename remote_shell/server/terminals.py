"""Shells with a terminal, which outlive their windows: who holds each, and what it wrote unseen.

A `Held` stands between a session's channel and the request that runs the shell, to each as the other: taking its channel away leaves the
shell to itself, and another channel of the same principal takes it over. Without a holder output never pauses the shell: the last 256 KiB
are kept. Must never let two hold one, or one principal see another's. Neighbours: `sessions` has the channels, `requests.shell` runs the
shell, `requests.attach` hands it over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from hashlib import sha256

from remote_shell.audit.events import Who
from remote_shell.errors import LocalProtocolError
from remote_shell.identity.restrictions import Restrictions
from remote_shell.limits import Limits
from remote_shell.server.output import Output
from remote_shell.server.requests.base import Request, SessionChannel
from remote_shell.wire.frames import STDOUT
from remote_shell.wire.messages import (
    Attached,
    Command,
    Detach,
    Detached,
    Done,
    Exit,
    LeftShell,
    Line,
    Message,
    Mode,
    Open,
    Opened,
    Resize,
    SystemString,
    Unread,
    from_system,
    to_system,
)

log = logging.getLogger("remote_shell.server")

_LINE_LISTED = 200  # bytes of a running command's line in a list
_HIDDEN_MAX = 64  # lines, of each of which a hash is kept: one may have a mebibyte
_LINE_TOLD = 16 * 1024  # and to who attaches


class Held:
    """One shell with a terminal. A `Request` for its holder's session, a `ServerChannel` for the request that runs it."""

    def __init__(self, terminals: Terminals, channel: SessionChannel, message: Open) -> None:
        self.ident = message.id
        self.principal = channel.principal
        self.restrictions: Restrictions | None = None  # under which it was started: with others it ends
        self._peer = ""  # who held it last
        self._who = channel.who
        self._terminals = terminals
        self._channel: SessionChannel | None = channel
        self._request: Request
        self._term = message.terminal.term if message.terminal is not None else None
        self._opened = Opened()
        self._output = Output(terminals.limits)
        self._unseen = 0  # bytes that the holder before had not seen when it went
        self._told_from = 0  # how much had been written before the first byte that the present holder was sent
        self._left_at = 0.0  # monotonic, of a shell without a holder
        self._expiry: asyncio.TimerHandle | None = None
        self._command: Command | None = None  # the last
        self._done: Done | None = None  # the last
        self._began = 0  # how much had been written when the command began
        self._mode: Mode | None = None
        self._unread: list[tuple[float, Unread]] = []  # when it came, while no client could hear of it
        self._hidden: deque[bytes] = deque(maxlen=_HIDDEN_MAX)  # hashes of lines that were typed unseen
        self._exit: Exit | None = None
        self._over = False  # the request said everything
        self._doomed = False  # killed: nobody will ask for it
        self._arrived = self._stale = (
            0  # bytes of input that the shell did not take yet; of these, what came from holders before
        )

    def run(self, request: Request) -> Request:
        """It has started."""
        self._request = request
        self._terminals.add(self)
        return self

    # --- a request, for the session that holds it

    @property
    def idle(self) -> bool:
        """Nothing runs that a shutdown should wait for."""
        return self._over or self._request.idle

    def data(self, data: bytes) -> None:
        """Keys."""
        self._arrived += len(data)
        self._request.data(data)

    def input_end(self) -> None:
        """No more of them, nor commands."""
        self._request.input_end()

    def message(self, message: Message) -> None:
        """What its holder says."""
        if isinstance(message, Detach):
            self.leave("")
            return
        if not isinstance(message, Command):
            if isinstance(message, Line) and self._mode is not None and self._mode.mode == "no_echo":
                self._hidden.append(sha256(from_system(message.text)).digest())
            self._request.message(message)
            return
        began = self._output.written
        self._request.message(message)  # it may be one that is a fault: then it was never given to the shell
        self._command, self._began = message, began

    def writable(self) -> None:
        """Read on."""
        self._request.writable()

    def kill(self, grace: float) -> None:
        """End it."""
        self._doomed = True
        if self._over:
            self._terminals.remove(self)
        else:
            self._request.kill(grace)

    def keep(self) -> bool:
        """Its session is gone, and it goes on."""
        self._let_go()
        return True

    # --- a channel, for the request that runs it

    def send(self, message: Message) -> bool:
        """Pass it on, and remember what another holder has to know."""
        self._note(message)
        return self._channel is None or self._channel.send(message)

    def send_now(self, message: Message) -> None:
        """The same, and now."""
        self._note(message)
        if self._channel is not None:
            self._channel.send_now(message)

    def _note(self, message: Message) -> None:
        if isinstance(message, Opened):
            self._opened = message
            self._term = message.term or self._term
        elif isinstance(message, Done):
            self._done = message
            if message.shell != "replaced":
                self._output.command_ended()
        elif isinstance(message, Mode):
            self._mode = message
        elif isinstance(message, Exit):
            self._exit = message
        elif isinstance(message, Unread) and (self._channel is None or not self._channel.connected):
            lines = from_system(message.text).split(b"\n")
            kept = b"\n".join(
                line for line in lines if not line or sha256(line).digest() not in self._hidden
            )  # no password for the next
            given = (time.monotonic(), Unread(text=to_system(kept)))
            self._unread = [*self._unread, given][-self._terminals.limits.shell_waiting_max :]

    def send_data(self, stream: int, data: bytes) -> bool:
        """It wrote."""
        self._output.add(data)
        if self._channel is not None:
            return self._channel.send_data(stream, data)
        self._unseen += len(data)
        return True

    def consumed(self, count: int) -> None:
        """It took input. Credit is for who sent that."""
        self._arrived -= count
        stale = min(self._stale, count)
        self._stale -= stale
        if self._channel is not None:
            self._channel.consumed(count - stale)

    def reject(self, code: str, detail: str, system: str | None = None) -> None:
        """It did not start."""
        if self._channel is not None:
            self._channel.reject(code, detail, system)

    def finish(self, last: Message | None = None) -> None:
        """It has ended. That is kept to be told until a holder has heard it."""
        if last is not None:
            self._note(last)
        self._over = True
        self._terminals.note_end(self, self._ending())
        if self._doomed:
            self._terminals.remove(self)
        if self._channel is not None:
            self._say_end(self._channel, last)

    def _say_end(self, channel: SessionChannel, last: Message | None = None) -> None:
        if not self._doomed:  # before anything is sent: that may be the end of the session
            channel.when_closed(partial(self._heard, channel))
        channel.finish(last)

    def _heard(self, channel: SessionChannel, all_of_it: bool) -> None:
        """Its end was told on this channel."""
        if self._channel is not channel:
            return  # another has it
        if all_of_it:
            self._channel = None
            self._terminals.remove(self)
        else:
            self._let_go()

    def _ending(self) -> str:
        """How it ended, and when, for who asks later."""
        at = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        end = self._exit
        if end is None or self._doomed:
            return f"it was ended at {at}"
        return f"it ended {f'by {end.signal}' if end.signal is not None else f'with status {end.status}'} at {at}"

    # --- who holds it

    @property
    def is_held(self) -> bool:
        """By a session that has a connection."""
        return self._channel is not None and self._channel.connected

    @property
    def is_told(self) -> bool:
        """It has ended, and its holder hears that in a moment."""
        return self._over and self.is_held

    @property
    def is_left(self) -> bool:
        """No session has it."""
        return self._channel is None

    @property
    def left_at(self) -> float:
        """Monotonic time at which the last session let it go."""
        return self._left_at

    @property
    def peer(self) -> str:
        """Who holds it, or held it last."""
        return self._channel.peer if self._channel is not None else self._peer

    @property
    def who(self) -> Who:
        """Who holds it, or held it last, for the audit."""
        return self._channel.who if self._channel is not None else self._who

    def leave(self, by: str) -> None:
        """Take it from its holder, who is told: `by` has it now, or nobody."""
        channel = self._channel
        self._let_go(for_another=bool(by))
        if channel is not None:
            channel.drop_unsent()
            channel.send(Detached(by=by))
            channel.finish()

    def hand_over(self, channel: SessionChannel, message: Open) -> Request | None:
        """Give it to this channel; the present holder is told by whom. None if it has ended, which is told with its last output."""
        terminals = self._terminals
        away = self._away()
        if self._over:
            self._let_go(for_another=True)  # who held it will hear its end all the same, should it come back
        elif self._channel is not None:
            log.info("%s: %s is taken from %s by %s", self.principal, self._text(), self.peer, channel.peer)
            self.leave(channel.peer)
        self.forget_expiry()
        unseen, self._unseen = self._unseen, 0
        line = self._running()
        seen = max(0, self._output.written - self._began - unseen)
        context = min(seen, terminals.limits.terminal_context_max)
        if line is None or (self._mode is not None and self._mode.mode == "raw"):
            context = 0  # an idle shell has nothing to be seen, and a program with the screen paints it anew
        missed, dropped = self._output.take(unseen, context, whole=context == seen)
        self._told_from = self._output.written - self._output.size
        try:
            channel.send(self._attached(line, len(missed), dropped, away))
        except LocalProtocolError:  # more than its client reads in a frame: it stays left
            self._unseen = unseen
            self._expiry = self._terminals.left(self)
            raise
        self._channel = channel
        if missed:
            channel.send_data(STDOUT, missed)
        if self._mode is not None:
            channel.send(self._mode)
        for _, given in self._unread:
            channel.send(given)
        self._unread.clear()
        if self._is_replaced and self._done is not None:
            channel.send(self._done)  # what runs took the shell's place: its end is the command's
        if self._over:
            if self._exit is not None:
                channel.send(self._exit)
            self._say_end(channel)
            return None
        if message.terminal is not None:
            self._request.message(Resize(rows=message.terminal.rows, columns=message.terminal.columns))
        self._request.writable()  # the holder before may have stopped it by not reading
        return self

    def listed(self) -> LeftShell:
        """For those who ask what there is."""
        line = self._running()
        return LeftShell.of(
            id=self.ident,
            started_at_ms=self._opened.started_at_ms,
            cwd=self._cwd(),
            line=_cut(line, _LINE_LISTED),
            ended=self._over,
            away_ms=None if self.is_held else int(self._away() * 1000),
            holder=self.peer,
        )

    def forget_expiry(self) -> None:
        """Somebody holds it, or it is gone: its time does not run out."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _let_go(self, *, for_another: bool = False) -> None:
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._peer, self._who = channel.peer, channel.who
        lost_at = time.monotonic() - channel.away
        self._unread = [one for one in self._unread if one[0] >= lost_at]  # what came before, its client has had
        # what switched the modes on is unseen as well, and no output
        self._unseen = min(channel.unseen(), self._output.written - self._told_from)
        self._stale = self._arrived
        self._left_at = time.monotonic()
        log.info("%s: %s is left by %s", self.principal, self._text(), self.peer)
        if not self._over:
            self._request.writable()
        if not for_another:  # else it is not left, and no other has to go for it
            self._expiry = self._terminals.left(self)

    def _attached(self, line: bytes | None, missed: int, dropped: int, away: float) -> Attached:
        done = self._done
        return Attached.of(
            pid=self._opened.pid,
            cwd=self._cwd(),
            first_cwd=self._opened.cwd,
            started_at_ms=self._opened.started_at_ms,
            term=self._term,
            shell=self._opened.shell,
            number=self._command.number if self._command is not None else 0,
            line=_cut(line, _LINE_TOLD),
            status=None if done is None else done.status,
            signal=None if done is None else done.signal,
            missed=missed,
            dropped=dropped,
            away_ms=int(away * 1000),
        )

    def _cwd(self) -> SystemString:
        done = self._done
        return done.cwd if done is not None and done.cwd is not None else self._opened.cwd or "/"

    def _running(self) -> bytes | None:
        """The line of the command that runs."""
        command, done = self._command, self._done
        if self._over or command is None:
            return None
        if done is not None and done.number >= command.number and not self._is_replaced:
            return None
        return from_system(command.line)

    @property
    def _is_replaced(self) -> bool:
        """By exec: that command goes on as what it became, and is the last."""
        return self._done is not None and self._done.shell == "replaced" and self._done.status is None

    def _away(self) -> float:
        if self._channel is not None:
            return self._channel.away
        return time.monotonic() - self._left_at

    def _text(self) -> str:
        return f"shell {self.ident} (pid {self._opened.pid})"


def _cut(line: bytes | None, most: int) -> SystemString | None:
    """The beginning of a line."""
    if line is None or len(line) <= most:
        return None if line is None else to_system(line)
    return to_system(line[:most].decode("utf-8", "ignore").encode())


class Terminals:
    """All of a server's, by their principals."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.limits = limits
        self._loop = loop
        self._of: dict[str, dict[str, Held]] = {}
        self._ends: dict[str, dict[str, str]] = {}  # by principal and id: how those ended that ended last

    def add(self, held: Held) -> None:
        """One has started."""
        self._of.setdefault(held.principal, {})[held.ident] = held

    def remove(self, held: Held) -> None:
        """One is over, and everybody knows."""
        held.forget_expiry()
        ours = self._of.get(held.principal, {})
        if ours.get(held.ident) is held:
            del ours[held.ident]
            if not ours:
                del self._of[held.principal]

    def note_end(self, held: Held, how: str) -> None:
        """One has ended, so: for who asks after everybody was told, or nobody could be."""
        ends = self._ends.setdefault(held.principal, {})
        ends[held.ident] = how
        if len(ends) > self.limits.terminals_left_max:
            del ends[next(iter(ends))]

    def end_of(self, principal: str, ident: str) -> str | None:
        """How that shell of this principal's has ended; None: it is not known, or it has not."""
        return self._ends.get(principal, {}).get(ident)

    def find(self, principal: str, ident: str) -> Held | None:
        """That shell, if it is this principal's."""
        return self._of.get(principal, {}).get(ident)

    def of(self, principal: str, wanted: Callable[[Held], bool] = lambda held: True) -> list[Held]:
        """This principal's, the oldest first."""
        return [held for held in self._of.get(principal, {}).values() if wanted(held)]

    def all_left(self) -> list[Held]:
        """Those that no session has."""
        return [held for ours in self._of.values() for held in ours.values() if held.is_left]

    def left(self, held: Held) -> asyncio.TimerHandle:
        """Nobody holds it: not for ever, and not too many. Returns its end's timer."""
        mine = sorted(self.of(held.principal, lambda other: other.is_left), key=lambda other: other.left_at)
        for other in mine[: -self.limits.terminals_left_max]:
            log.warning("%s: more than %d shells are left: the oldest is ended", held.principal, len(mine) - 1)
            other.kill(self.limits.kill_grace)
        return self._loop.call_later(self.limits.terminals_left_time, held.kill, self.limits.kill_grace)
