"""The second half of the lesson `partial`: `recv` returns what is there, and how to read exactly as many bytes as one wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from remote_shell.demo import kernel, recorder
from remote_shell.demo.elements import Block, Blocks, Row, Table
from remote_shell.demo.programs import recv_exactly
from remote_shell.demo.recorder import Note, RecordedSocket
from remote_shell.demo.stage import Stage, pieces

MESSAGES = (b"0123456789", b"abcdefghij")
PARTS = (b"012345", b"6789abcdefghij")  # how they are sent: the first message arrives in two parts
SIZE = len(MESSAGES[0])
CIRCLES = 1000  # as often the wrong loop may turn before we stop it


def what_is_there(stage: Stage) -> None:
    """`recv(n)` with more, fewer, no bytes there, and after the end."""
    stage.heading("recv returns what is there", "recv 有多少返回多少")
    stage.say(
        "Now the other direction. `recv(n)` does not wait for n bytes. It waits until there is something, and returns that: "
        "from 1 byte "
        "up to n. We let the bytes arrive first, and then call `recv`:",
        "现在看另一个方向。`recv(n)` 并不等够 n 个字节。只要有字节，它就返回这些：从 1 个到 n 个。我们先让字节到达，再调用 `recv`：",
    )
    rows: list[tuple[str, str, str]] = []
    found: list[bytes] = []
    with ExitStack() as opened:
        sender, reader = (opened.enter_context(each) for each in recv_exactly.connect())
        reader.settimeout(10)

        def ask(size: int) -> None:
            there = kernel.unread(reader)
            data = reader.recv(size)
            found.append(data)
            rows.append((f"`recv({size})`", str(there), f"`{data!r}`"))

        sender.sendall(b"hello")
        kernel.wait_until(lambda: kernel.unread(reader) == 5)
        ask(100)
        sender.sendall(b"hello")
        kernel.wait_until(lambda: kernel.unread(reader) == 5)
        ask(3)
        ask(100)
        reader.setblocking(False)
        try:
            reader.recv(100)
            empty = ""
        except BlockingIOError as error:
            empty = type(error).__name__
        rows.append(("`recv(100)`", str(kernel.unread(reader)), f"`{empty}`"))
        reader.settimeout(10)
        sender.close()
        ask(100)
        ask(100)
    stage.show(
        Table(
            (
                stage.pick("call", "调用"),
                stage.pick("bytes there", "缓冲区里的字节数"),
                stage.pick("it returned", "返回"),
            ),
            tuple(rows),
            stage.pick(
                "the fourth call was on a non-blocking socket: an ordinary one would wait. Then the other end hung up.",
                "第四次调用时套接字是非阻塞的：普通的会一直等。然后对方挂断了。",
            ),
        )
    )
    stage.claim(
        "recv-what-is-there",
        found[:3] == [b"hello", b"hel", b"lo"] and empty == "BlockingIOError",
        "`recv` never returned more than it was asked for, and often less. What did not fit stayed in the buffer for the next call.",
        "`recv` 返回的从不比要的多，却常常比要的少。没取走的留在缓冲区里，等下一次调用。",
    )
    stage.claim(
        "recv-end",
        found[3:] == [b"", b""],
        "`b''` has one meaning only: the other end has hung up, and all that it sent has been read. It never means: nothing yet.",
        "`b''` 只有一个意思：对方已经挂断，而且它发的全都读完了。它从不表示“暂时还没有”。",
    )


def exactly(stage: Stage) -> None:
    """The wrong loop, the right loop, and both when the other end hangs up too early."""
    stage.heading("A wrong loop", "一个错的循环")
    stage.words("shell", "command", "message")
    stage.say(
        f"You know that a message has {SIZE} bytes. So read until there are {SIZE}. Here is how many write that:",
        f"你知道一条消息有 {SIZE} 个字节。那就一直读到够 {SIZE} 个。许多人是这样写的：",
    )
    stage.program("recv_exactly")
    stage.source("recv_exactly", "recv_wrong")
    stage.say(
        f"Two messages follow each other, and the first arrives in two parts, as it may on any network. We arranged that: the sender "
        f"waits after the first {len(PARTS[0])} bytes until the reader has taken them.",
        f"两条消息一前一后，第一条分两次到达，在任何网络上都可能如此。这是我们安排的：发送的一方发完前 {len(PARTS[0])} "
        "个字节后，等到读的一方取走为止。",
    )
    wrong, notes = _read(recv_exactly.recv_wrong, 1)
    stage.show(_rows(stage, notes, wrong))
    stage.claim(
        "wrong-loop",
        len(wrong[0]) > SIZE and wrong[0].startswith(MESSAGES[0]),
        f"It wanted {SIZE} bytes and got {len(wrong[0])}: the beginning of the second message is inside the first, and gone for whoever "
        "reads the second.",
        f"它想要 {SIZE} 个字节，却得到 {len(wrong[0])} 个：第二条消息的开头混进了第一条，再去读第二条的人就找不到它了。",
    )
    circles = _circles()
    stage.claim(
        "wrong-endless",
        circles >= CIRCLES,
        f"And when the other end hangs up too early, it never stops: `recv` returned `b''` {circles:,} times in a row before "
        "we stopped it. Such a loop keeps a processor busy and does nothing.",
        f"而且对方提前挂断时，它永远停不下来：`recv` 连续返回了 {circles:,} 次 `b''`，直到我们制止它。这样的循环让处理器忙个不停，"
        "却什么也没做。",
    )
    stage.heading("The right loop", "对的循环")
    stage.source("recv_exactly", "recv_exactly")
    right, notes = _read(recv_exactly.recv_exactly, len(MESSAGES))
    stage.show(_rows(stage, notes, right))
    stage.claim(
        "exactly",
        tuple(right) == MESSAGES and all(note.asked >= len(note.data) for note in notes),
        f"Twice it wanted {SIZE} bytes, and twice it got the {SIZE} that belong together. It asks for what is missing, and "
        "never for more.",
        f"它两次要 {SIZE} 个字节，两次都得到本来就在一起的 {SIZE} 个。缺多少要多少，绝不多要。",
    )
    told = _cut_short()
    stage.claim(
        "told",
        told == f"the other end hung up after 4 of {SIZE} bytes",
        f"And when the other end hangs up too early, it says so: `EOFError: {told}`.",
        f"对方提前挂断时，它会说出来：`EOFError: {told}`。",
    )
    stage.say(
        "These few lines are in nearly every program that talks over TCP. But where do you get the number from, if messages "
        "are not all of "
        "the same size? That is the trouble in the lesson `sticky`, and what `cures` is about.",
        "几乎每个用 TCP 通信的程序里都有这几行。可是，如果消息长短不一，这个数从哪里来呢？这正是 `sticky` 一课里的麻烦，也是 "
        "`cures` 一课要讲的。",
    )


def _read(receive: Callable[[socket.socket, int], bytes], times: int) -> tuple[list[bytes], list[Note]]:
    """Reads messages while they arrive in parts. Returns them, and what each `recv` gave."""
    notes: list[Note] = []
    with ExitStack() as opened:
        sender, plain = (opened.enter_context(each) for each in recv_exactly.connect())
        reader = opened.enter_context(RecordedSocket(plain, "reader", notes))
        reader.settimeout(10)
        with _speaking(sender, notes):
            return [receive(reader, SIZE) for _ in range(times)], notes


@contextmanager
def _speaking(sender: socket.socket, notes: list[Note]) -> Iterator[None]:
    """Sends the parts in a thread, each when the reader has taken the one before."""
    stopped = threading.Event()
    sent = 0

    def pause() -> None:
        nonlocal sent
        sent = min(sent + 1, len(PARTS))
        expected = sum(map(len, PARTS[:sent]))
        if sent < len(PARTS):
            kernel.wait_until(lambda: stopped.is_set() or sum(len(note.data) for note in notes) >= expected, 10)

    thread = threading.Thread(target=recv_exactly.send_in_parts, args=(sender, PARTS, pause))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _rows(stage: Stage, notes: list[Note], returned: list[bytes]) -> Blocks:
    calls = recorder.of(notes, "reader", "recv")

    def cut(parts: list[bytes]) -> tuple[Block, ...]:
        blocks: list[Block] = []
        at = 0
        for part in parts:
            blocks.append(Block(pieces(part, MESSAGES, at)))
            at += len(part)
        return tuple(blocks)

    return Blocks(
        (
            Row(stage.pick("messages", "消息"), cut(list(MESSAGES))),
            Row("sendall", cut(list(PARTS))),
            Row("recv", cut([note.data for note in calls])),
            Row(stage.pick("the loop", "循环"), cut(returned)),
        ),
        stage.pick(
            "a colour for each message; what each `recv` returned, and what the loop made of it",
            "每条消息一种颜色；每次 `recv` 返回了什么，循环又得到了什么",
        ),
    )


class _EnoughError(Exception):
    """The loop has turned often enough."""


class _Impatient(RecordedSocket):
    """Stops who calls `recv` after the end again and again."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        if sum(not note.data for note in self.notes) >= CIRCLES:
            raise _EnoughError
        return super().recv(size, flags)


def _circles() -> int:
    notes: list[Note] = []
    with ExitStack() as opened:
        sender, plain = (opened.enter_context(each) for each in recv_exactly.connect())
        reader = opened.enter_context(_Impatient(plain, "reader", notes))
        reader.settimeout(10)
        sender.sendall(MESSAGES[0][:4])
        sender.close()
        try:
            recv_exactly.recv_wrong(reader, SIZE)
        except _EnoughError:
            pass
    return sum(not note.data for note in notes)


def _cut_short() -> str:
    with ExitStack() as opened:
        sender, reader = (opened.enter_context(each) for each in recv_exactly.connect())
        reader.settimeout(10)
        sender.sendall(MESSAGES[0][:4])
        sender.close()
        try:
            recv_exactly.recv_exactly(reader, SIZE)
        except EOFError as error:
            return str(error)
    return ""
