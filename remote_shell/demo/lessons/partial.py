"""The lesson `partial`: `send` may take a part of what it is given, and `sendall` can't say which. `recv` is in `partial_exactly`."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from remote_shell.demo import kernel
from remote_shell.demo.elements import ALARM, Block, Blocks, Output, Piece, Row, Table
from remote_shell.demo.lessons import partial_exactly
from remote_shell.demo.programs import short_send
from remote_shell.demo.stage import Stage

DATA = short_send.DATA
SIZE = len(DATA)
TIMEOUT = 0.3  # seconds; long enough to be seen, as nothing depends on it


def play(stage: Stage) -> None:
    """Plays the lesson."""
    _short(stage)
    _waiting(stage)
    _sendall(stage)
    _no_receipt(stage)
    partial_exactly.what_is_there(stage)
    partial_exactly.exactly(stage)


def _pair(opened: ExitStack) -> tuple[socket.socket, socket.socket]:
    sender, reader = short_send.connect_with_small_buffers()
    return opened.enter_context(sender), opened.enter_context(reader)


def _short(stage: Stage) -> None:
    stage.heading("A short send", "send 只收下了一部分")
    stage.words(
        "byte",
        "process",
        "network",
        "kernel",
        "signal",
        "socket",
        "protocol",
        "connection",
        "stream",
        "TCP",
        "buffer",
        "timeout",
    )
    stage.say(
        "`send` does not send. It puts bytes into a buffer of the kernel's, and the kernel sends them when it can. At the other end "
        "they wait in a buffer too, until somebody calls `recv`. Buffers have an end. If nobody reads, both fill up, and then "
        "`send` has to decide: wait, or take only what still fits.",
        "`send` 并不发送。它只是把字节放进内核的缓冲区，内核有机会时才发出去。到了另一端，字节也在缓冲区里等着，直到有人调用 `recv`。"
        "缓冲区是有限的。如果没有人读，两边都会满，这时 `send` 必须决定：是等，还是只收下放得下的那部分。",
    )
    stage.program("short_send")
    stage.source("short_send", "send_once")
    stage.say(
        f"We try it: {SIZE:,} bytes, and nobody who reads. So that it fills up soon, we have made the buffers small (`SO_SNDBUF` and "
        "`SO_RCVBUF`, see the program); the kernel takes such wishes as a hint.",
        f"我们来试试：{SIZE:,} 个字节，没有人读。为了让它很快就满，我们把缓冲区设得很小（`SO_SNDBUF` 和 `SO_RCVBUF`，见程序）；"
        "内核只把这种要求当作参考。",
    )
    with ExitStack() as opened:
        sender, reader = _pair(opened)
        took = short_send.send_once(sender, DATA, 0)
        # the bytes are on their way between the two buffers for a moment: until the other end has confirmed them, they count here
        settled = kernel.wait_until(lambda: kernel.unsent(sender) + kernel.unread(reader) == took)
        here, there = kernel.unsent(sender), kernel.unread(reader)
        full = _error(lambda: _until_full(sender))
    stage.show(_taken(stage, took))
    stage.claim(
        "short",
        0 < took < SIZE,
        f"`send` was given {SIZE:,} bytes, took {took:,} of them, and returned {took}. It raised nothing. Who does not look at "
        "the number "
        "that `send` returns loses the rest.",
        f"交给 `send` 的是 {SIZE:,} 个字节，它收下 {took:,} 个，返回 {took}。它没有抛出任何异常。谁不看 `send` 返回的数，"
        "谁就丢掉其余的字节。",
    )
    stage.claim(
        "where-they-wait",
        settled and there > 0,
        f"The kernel tells where they are: {there:,} in the reader's buffer and {here:,} still in the sender's, together {took:,}.",
        f"内核能告诉我们它们在哪里：读的一方的缓冲区里有 {there:,} 个，发送一方的缓冲区里还有 {here:,} 个，加起来 {took:,} 个。",
    )
    stage.claim(
        "full",
        full == "BlockingIOError",
        f"When nothing at all fits any more, `send` takes no byte and raises `{full}`: I should have to wait, and you told me not to.",
        f"等到一个字节也放不下时，`send` 一个字节也不收，抛出 `{full}`：我本来得等，可你说过不要等。",
    )


def _until_full(sender: socket.socket) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        sender.send(DATA)


def _taken(stage: Stage, took: int) -> Blocks:
    left = Block((Piece(stage.pick("not taken", "没有收下"), SIZE - took),), lost=True)
    return Blocks(
        (
            Row(
                stage.pick(f"given {SIZE:,}", f"交给它 {SIZE:,}"),
                (Block((Piece("DATA", took, 1), Piece("DATA", SIZE - took, 2))),),
            ),
            Row(stage.pick(f"taken {took:,}", f"收下 {took:,}"), (Block((Piece("", took, 1),)), left)),
        ),
        stage.pick("one `send`, and nobody who reads", "一次 `send`，没有人读"),
    )


def _waiting(stage: Stage) -> None:
    stage.heading("When does that happen?", "什么时候会这样？")
    stage.say(
        "A *blocking* call waits until it can do its work; that is how sockets are at first. `setblocking(False)`, or a timeout of "
        "0, makes a socket *non-blocking*: its calls never wait. With another *timeout*, they wait so long and then raise "
        "`TimeoutError`. "
        "The same bytes, in four ways:",
        "*阻塞*的调用会一直等到能做完它的事；套接字一开始都是这样。`setblocking(False)`，也就是超时为 0，"
        "让套接字变成*非阻塞*的：它的调用从不等待。"
        "设了别的*超时*，调用就最多等这么久，然后抛出 `TimeoutError`。同样的字节，四种方式：",
    )
    with ExitStack() as opened:
        quick = short_send.send_once(_pair(opened)[0], DATA, 0)
    with ExitStack() as opened:
        sender, _ = _pair(opened)
        timed = short_send.send_once(sender, DATA, TIMEOUT)
        late = _error(lambda: _until_full(sender))
    interrupted = _interrupted(stage)
    with ExitStack() as opened:
        sender, reader = _pair(opened)
        blocking, before = _read_slowly(sender, reader)
    pick = stage.pick
    stage.show(
        Table(
            (pick("the socket", "套接字"), pick("send took", "send 收下"), pick("and then", "然后")),
            (
                (pick("non-blocking", "非阻塞"), f"{quick:,}", pick("returned at once", "立刻返回")),
                (
                    pick(f"timeout of {TIMEOUT} s", f"超时 {TIMEOUT} 秒"),
                    f"{timed:,}",
                    pick(f"returned at once; when all was full: `{late}`", f"立刻返回；等到全满时：`{late}`"),
                ),
                (
                    pick("blocking, disturbed by a signal", "阻塞，被信号打断"),
                    f"{interrupted:,}",
                    pick("returned when the signal came", "信号到来时返回"),
                ),
                (
                    pick("blocking, and somebody reads", "阻塞，并且有人读"),
                    f"{blocking:,}",
                    pick(f"returned; {before:,} had been read by then", f"返回；此时已有 {before:,} 个被读走"),
                ),
            ),
            pick(f"what one `send` of {SIZE:,} bytes took", f"一次 `send` {SIZE:,} 个字节，收下了多少"),
        )
    )
    stage.claim(
        "timeout",
        0 < timed < SIZE and late == "TimeoutError",
        "With a timeout, `send` waits only while nothing fits at all. Once something fits, it takes that and returns: short again.",
        "有超时的 `send`，只在一点也放不下的时候才等。只要放得下一些，它就收下这些并返回：又只是一部分。",
    )
    stage.claim(
        "interrupted",
        0 < interrupted < SIZE,
        "A blocking `send` on Linux goes on until all is taken, unless a signal comes (the kernel knocks at the "
        "process's door, for instance as an alarm rings) when something has been taken already: then it returns that.",
        "在 Linux 上，阻塞的 `send` 会一直做到全部收下，除非在已经收下一些的时候来了信号（内核敲一下进程的门，例如闹钟响了）："
        "那样它就返回已经收下的数。",
    )
    stage.claim(
        "blocking",
        blocking == SIZE and before > 0,
        f"Undisturbed, it took all {SIZE:,}, and for that it had to wait until the other end had read some.",
        f"没有被打扰时，它收下了全部 {SIZE:,} 个，为此它必须等另一端读走一些。",
    )
    stage.say(
        "So a program with plain `send` works for years, until somebody sets a timeout or the other end is slow. And no "
        "rule promises, on any system, that `send` takes all.",
        "所以，只用 `send` 的程序可能多年都没事，直到有人设了超时，或者对方变慢。而且无论在"
        "哪个系统上，都没有规则保证 `send` 会全部收下。",
    )


def _interrupted(stage: Stage) -> int:
    """Runs the program alone: signals belong to a process, and ours has other things to do with them."""
    done = subprocess.run([sys.executable, short_send.__file__], capture_output=True, text=True)
    stage.show(
        Output(
            done.stdout + done.stderr,
            stage.pick("what `short_send.py` printed when we ran it alone", "单独运行 `short_send.py` 时的输出"),
        )
    )
    line = next((line for line in done.stdout.splitlines() if "interrupted" in line), "")
    return next((int(word) for word in line.split() if word.isdigit()), 0)


def _read_slowly(sender: socket.socket, reader: socket.socket) -> tuple[int, int]:
    """A blocking send, and a reader that begins when the buffers are full. Returns what send took, and what had been read by then."""
    read = 0
    stopped = threading.Event()

    def consume() -> None:
        nonlocal read
        kernel.wait_until(lambda: stopped.is_set() or (kernel.unread(reader) > 0 and kernel.unsent(sender) > 0))
        while part := reader.recv(4096):
            read += len(part)

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        took = short_send.send_once(sender, DATA, None)
        before = read
    finally:
        stopped.set()
        sender.shutdown(socket.SHUT_RDWR)
        thread.join()
    return took, before


def _sendall(stage: Stage) -> None:
    stage.heading("sendall, and what it can't tell", "sendall，以及它说不出来的事")
    stage.source("short_send", "send_all")
    stage.say(
        "`sendall` is this loop, written in C. It returns nothing, as there is nothing to say: either all was taken, or an error comes. "
        "Again nobody reads, and we give it a timeout:",
        "`sendall` 就是这个循环，只不过是用 C 写的。它什么也不返回，因为没什么可说的：要么全部收下，要么抛出错误。"
        "这次还是没有人读，我们给它设一个超时：",
    )
    with ExitStack() as opened:
        sender, reader = _pair(opened)
        sender.settimeout(TIMEOUT)
        error: OSError | None = None
        try:
            sender.sendall(DATA)
        except OSError as raised:
            error = raised
        sender.close()  # what was taken still goes out: the kernel sees to that
        arrived = short_send.read_everything(reader)
    said = f"{type(error).__name__}: {error}" if error else ""
    stage.show(
        Blocks(
            (
                Row(
                    stage.pick(f"given {SIZE:,}", f"交给它 {SIZE:,}"),
                    (Block((Piece("DATA", arrived, 1), Piece("DATA", SIZE - arrived, 2))),),
                ),
                Row(
                    stage.pick(f"arrived {arrived:,}", f"到达 {arrived:,}"),
                    (
                        Block((Piece("", arrived, 1),)),
                        Block((Piece(stage.pick("never came", "没有到"), SIZE - arrived, ALARM),), lost=True),
                    ),
                ),
            ),
            stage.pick(f"`sendall` raised `{said}`", f"`sendall` 抛出 `{said}`"),
        )
    )
    known = error is not None and any(str(arrived) in str(each) for each in error.args)
    stage.claim(
        "sendall-unknown",
        isinstance(error, TimeoutError) and 0 < arrived < SIZE and not known,
        f"`sendall` raised an error, and yet {arrived:,} bytes arrived. The error does not say how many. So after a failed "
        "`sendall` there is "
        "only one thing to do: close the connection. To send it all again would put the beginning there twice.",
        f"`sendall` 抛出了错误，可还是有 {arrived:,} 个字节到达了。错误里没有说是多少。所以 `sendall` 失败之后只能做一件事：关闭连接。"
        "如果从头再发一遍，对方就会收到两次开头。",
    )


def _no_receipt(stage: Stage) -> None:
    stage.heading("No error is not a receipt", "没有错误不等于回执")
    with ExitStack() as opened:
        sender, reader = _pair(opened)
        sender.settimeout(5)
        sender.sendall(b"transfer 100 to Ann")
        kernel.wait_until(lambda: kernel.unread(reader) > 0)
        waiting = kernel.unread(reader)
        reader.close()  # without having read
        later = _error(lambda: sender.recv(1))
    stage.say(
        "And when `sendall` raises nothing? We sent `transfer 100 to Ann`, without any error. The other end closed its socket "
        "without calling "
        "`recv` even once.",
        "那么 `sendall` 没有报错呢？我们发送了 `transfer 100 to Ann`，没有任何错误。另一端一次 `recv` 也没有调用，就关闭了套接字。",
    )
    stage.claim(
        "no-receipt",
        waiting > 0 and later == "ConnectionResetError",
        f"All {waiting} bytes were in the other end's buffer, and went with it. The sender learned of it by its next `recv`: `{later}`. "
        "`sendall` means: my kernel has it. Only an answer means: the other program has it.",
        f"全部 {waiting} 个字节都在另一端的缓冲区里，随着它一起没了。发送的一方直到下一次 `recv` 才知道：`{later}`。"
        "`sendall` 只表示：我的内核收下了。只有对方的回答才表示：对方的程序收到了。",
    )


def _error(call: Callable[[], object]) -> str:
    """The name of the error that a call raises, "" if none."""
    try:
        call()
    except OSError as error:
        return type(error).__name__
    return ""
