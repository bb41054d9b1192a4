"""A sender or receiver in a thread of its own, beside an event loop: no disk ever holds the loop up.

One thread a transfer, from its start to its end; it takes what the loop gives it in order, and what it has to say comes to the loop in one
callback for each batch. What waits in between is bounded by the channel's window, by two pieces that were asked for ahead, and
messages by a size of their own.
Neighbours: `sending` and `receiving` do the work; the server's requests and the asyncio client are the two sides of the loop.
"""

from __future__ import annotations

import asyncio
import errno
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from remote_shell.errors import RemoteProtocolError
from remote_shell.limits import Limits
from remote_shell.transfer.receiving import Receiver
from remote_shell.transfer.sending import Item, Sender
from remote_shell.wire.fields import Message

_CLOSE, _END, _MORE = object(), object(), object()
_AHEAD = 2  # pieces that are read ahead of the channel's room


def no_thread() -> OSError:
    """What `threading` calls RuntimeError: EAGAIN of pthread_create(3)."""
    return OSError(errno.EAGAIN, "no more threads or processes can be started here now; try again when some have ended")


class _Worker:
    """The thread. Its subclasses say what is done with a batch, and what with the result in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, name: str) -> None:
        self._loop = loop
        self._limits = limits
        self._given = self._seen = 0  # memory of all messages that came, and of those that were seen to, in the thread
        self._weights: deque[int] = deque()  # of those between
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.stopped = False
        self.gone = threading.Event()  # all is closed: locks of partial files are free
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin. Where the system has no thread for it, it has failed."""
        try:
            self._thread.start()
        except RuntimeError:
            self.gone.set()
            self._loop.call_soon(self._failed, no_thread())
            self._loop.call_soon(self._over, None)

    def stop(self) -> None:
        """End soon: what is under way is left as the next attempt can use it. Nothing is called back but `_over`."""
        self.stopped = True
        self._inbox.put(_CLOSE)

    def finish(self) -> None:
        """End when what came until now was seen to."""
        self._inbox.put(_CLOSE)

    def _give(self, message: Message) -> None:
        weight = message.weight
        self._given += weight
        self._weights.append(weight)
        if self._given - self._seen > self._limits.transfers_ahead_max:
            raise RemoteProtocolError("unexpected_message", f"{message.name} before those that came were seen to")
        self._inbox.put(message)

    def _is_stopped(self) -> bool:
        return self.stopped

    def _run(self) -> None:
        try:
            self._post(self._began, self._begin())
            going = True
            while going and not self.stopped:
                batch = [self._inbox.get()]
                while not self._inbox.empty():
                    batch.append(self._inbox.get())
                closing = _CLOSE in batch
                if closing:
                    batch = batch[: batch.index(_CLOSE)]
                if batch:
                    result, going = self._work(batch)
                    self._seen += sum(self._weights.popleft() for item in batch if isinstance(item, Message))
                    self._post(self._done, result)
                going = going and not closing
        except BaseException as error:
            self._post(self._failed, error)
        finally:
            self._finish()
            self.gone.set()
            self._post(self._over, None)

    def _post(self, callback: Callable[[Any], None], value: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, value)
        except RuntimeError:
            self.stopped = True  # the loop is closed: nobody listens any more

    # in the thread

    def _begin(self) -> Any:
        raise NotImplementedError

    def _work(self, batch: list[Any]) -> tuple[Any, bool]:
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError

    # in the loop

    def _began(self, value: Any) -> None:
        raise NotImplementedError

    def _done(self, value: Any) -> None:
        raise NotImplementedError

    def _failed(self, error: BaseException) -> None:
        raise NotImplementedError

    def _over(self, value: Any) -> None:
        raise NotImplementedError


class Wire:
    """What a transfer needs of its channel, and of who wanted it; all called in the loop."""

    def begun(self) -> None:
        """What it needs is there: it runs."""

    def send(self, message: Message) -> bool:
        """Queue a message. False: `writable` comes later."""
        raise NotImplementedError

    def send_data(self, data: bytes | memoryview) -> bool:
        """Queue data. False: `writable` comes later."""
        raise NotImplementedError

    def sent_all(self) -> None:
        """The sender has said everything."""
        raise NotImplementedError

    def consumed(self, count: int) -> None:
        """So much data was taken."""
        raise NotImplementedError

    def moved(self) -> None:
        """There is news of the progress."""

    def failed(self, error: BaseException) -> None:
        """It can't begin, or can't go on."""
        raise NotImplementedError

    def over(self) -> None:
        """The thread has ended: everything was said, or it was stopped."""
        raise NotImplementedError


class Incoming(_Worker):
    """A receiver in a thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        make: Callable[[Callable[[], bool]], Receiver],
        wire: Wire,
    ) -> None:
        """`make(stopped)` is called in the thread."""
        super().__init__(loop, limits, "remote-shell-receive")
        self._make = make
        self._wire = wire
        self.receiver: Receiver | None = None
        self._ended = False

    def put(self, item: Item) -> None:
        """A message or data that came. Raises RemoteProtocolError: messages come faster than they can be seen to."""
        if isinstance(item, Message):
            self._give(item)
        else:
            self._inbox.put(item)

    def end(self) -> None:
        """No more comes."""
        self._inbox.put(_END)

    def _begin(self) -> Any:
        self.receiver = self._make(self._is_stopped)

    def _work(self, batch: list[Any]) -> tuple[Any, bool]:
        receiver = self.receiver
        assert receiver is not None, "it began"
        count = 0
        for item in batch:
            if self.stopped:
                break
            if isinstance(item, bytes | memoryview):
                receiver.data(item)
                count += len(item)
            elif item is _END:
                receiver.end()
                self._ended = True
            else:
                receiver.message(item)
        if self._inbox.empty() and not self._ended:
            receiver.settle()
        return (count, receiver.take_answers()), not self._ended

    def _finish(self) -> None:
        if self.receiver is not None and not self._ended:
            self.receiver.close()

    def _began(self, value: Any) -> None:
        if not self.stopped:
            self._wire.begun()

    def _done(self, value: Any) -> None:
        count, answers = value
        if self.stopped:
            return
        for answer in answers:
            self._wire.send(answer)
        if count:
            self._wire.consumed(count)
        self._wire.moved()

    def _failed(self, error: BaseException) -> None:
        if not self.stopped:
            self._wire.failed(error)

    def _over(self, value: Any) -> None:
        self._wire.over()


class Outgoing(_Worker):
    """A sender in a thread."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        make: Callable[[Callable[[], bool]], Sender],
        wire: Wire,
    ) -> None:
        super().__init__(loop, limits, "remote-shell-send")
        self._make = make
        self._wire = wire
        self.sender: Sender | None = None
        self._asked = 0  # in the thread: pieces that the loop has room for
        self._room = True  # in the loop: the channel takes more
        self._owed = 0  # in the loop: pieces that will be asked for when it does
        self._said = False

    def put(self, message: Message) -> None:
        """The receiver's word. Raises RemoteProtocolError, as `Incoming.put`."""
        self._give(message)

    def writable(self) -> None:
        """The channel has room again."""
        self._room = True
        while self._owed:
            self._owed -= 1
            self._inbox.put(_MORE)

    def _begin(self) -> Any:
        self.sender = self._make(self._is_stopped)

    def _work(self, batch: list[Any]) -> tuple[Any, bool]:
        sender = self.sender
        assert sender is not None, "it began"
        for item in batch:
            if item is _MORE:
                self._asked += 1
            else:
                sender.receive(item)
        pieces: list[list[Item]] = []
        while self._asked and (piece := sender.produce()):
            self._asked -= 1
            pieces.append(piece)
        return (pieces, sender.exhausted), not sender.settled

    def _finish(self) -> None:
        if self.sender is not None:
            self.sender.close()

    def _began(self, value: Any) -> None:
        if not self.stopped:
            self._wire.begun()
            for _ in range(_AHEAD):
                self._inbox.put(_MORE)

    def _done(self, value: Any) -> None:
        pieces, exhausted = value
        if self.stopped:
            return
        for piece in pieces:
            for item in piece:
                if not (self._wire.send(item) if isinstance(item, Message) else self._wire.send_data(item)):
                    self._room = False
        for _ in pieces:
            if self._room:
                self._inbox.put(_MORE)
            else:
                self._owed += 1
        if exhausted and not self._said:
            self._said = True
            self._wire.sent_all()
        self._wire.moved()

    def _failed(self, error: BaseException) -> None:
        if not self.stopped:
            self._wire.failed(error)

    def _over(self, value: Any) -> None:
        self._wire.over()
