"""The lesson udp: datagrams keep their borders, and get cut, dropped, lost, doubled and reordered instead."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence

from remote_shell.demo import elements
from remote_shell.demo.elements import ALARM, Block, Blocks, Piece, Row, Table
from remote_shell.demo.lessons import udp_network, udp_servers
from remote_shell.demo.lessons.background import wait_until
from remote_shell.demo.programs import udp_datagrams, udp_relay
from remote_shell.demo.recorder import Note, RecordedSocket, of
from remote_shell.demo.stage import Stage, pieces, text_of


def play(stage: Stage) -> None:
    stage.words(
        *(
            "byte",
            "process",
            "shell",
            "command",
            "thread",
            "network",
            "kernel",
            "server",
            "client",
            "address",
            "loopback",
            "port",
            "socket",
            "IPv4",
        ),
        *("protocol", "connection", "packet", "stream", "TCP", "buffer", "message", "header"),
    )
    stage.say(
        "TCP is like a water pipe: what goes in as bytes comes out as bytes, and nobody sees where one message ended. There is a "
        "second protocol, "
        "*UDP*, and it is the post office. It carries letters. Each letter, called a *datagram*, has an address on it, arrives whole "
        "or not at all, and nobody promises when, in which order, or how often.",
        "TCP 像一根水管：字节从这头进去，从那头出来，一条消息到哪里为止，谁也看不出来。另外还有一种协议，叫 *UDP*，它像邮局，送的是一封"
        "一封的信。每封信叫一个*数据报*，上面写着地址，要么整封送到，要么根本不到；至于什么时候到、按什么顺序到、到几次，谁也不保证。",
    )
    stage.program("udp_datagrams")
    with _pair() as (sender, receiver, notes):
        _borders(stage, sender, receiver, notes)
        _cut(stage, sender, receiver, notes)
        _empty(stage, sender, receiver, notes)
        _limit(stage, sender, receiver)
        _nobody(stage, sender)
        udp_network.loopback(stage, sender, receiver)
    udp_network.overflow(stage)
    udp_network.relay(stage)
    udp_servers.first(stage)
    udp_servers.twice(stage)
    udp_servers.slow(stage)
    udp_servers.what_it_takes(stage)


@contextlib.contextmanager
def _pair() -> Iterator[tuple[RecordedSocket, RecordedSocket, list[Note]]]:
    notes: list[Note] = []
    sender, receiver = udp_datagrams.open_pair()
    with RecordedSocket(sender, "sender", notes) as sender, RecordedSocket(receiver, "receiver", notes) as receiver:
        yield sender, receiver, notes


def _send(
    sender: RecordedSocket, receiver: RecordedSocket, notes: list[Note], messages: Sequence[bytes], size: int
) -> tuple[list[bytes], list[bytes]]:
    """Sends messages and takes as many; returns what the calls really sent and returned."""
    notes.clear()
    udp_datagrams.send_each(sender, receiver.getsockname(), messages)
    with contextlib.suppress(TimeoutError):  # then fewer came than were sent, and the claim fails
        udp_datagrams.receive_each(receiver, size, len(messages))
    return [note.data for note in of(notes, "sender")], [note.data for note in of(notes, "receiver")]


def _blocks(messages: Sequence[bytes]) -> tuple[Block, ...]:
    return tuple(Block((Piece(text_of(each), len(each), number % 6 + 1),)) for number, each in enumerate(messages))


def _borders(stage: Stage, sender: RecordedSocket, receiver: RecordedSocket, notes: list[Note]) -> None:
    stage.heading("Three letters are three letters", "三封信就是三封信")
    stage.say(
        "A UDP socket is made with `SOCK_DGRAM` in place of `SOCK_STREAM`. No `listen`, no `accept`, no `connect`: `sendto` names the "
        "address each time, and `recvfrom` returns one datagram and the address it came from. We send three commands, and only "
        "then call `recvfrom(1024)` three times. After that we do the same over TCP, to compare: three times `sendall`, and when "
        "all of it has arrived, one `recv(1024)`.",
        "创建 UDP 套接字时，用 `SOCK_DGRAM` 代替 `SOCK_STREAM`。不需要 `listen`、`accept` 和 `connect`：每次 `sendto` 都写明地址，每次 "
        "`recvfrom` 返回一个数据报和它来自的地址。我们先发出三条命令，然后才调用三次 `recvfrom(1024)`。"
        "接着用 TCP 再做一遍，作个比较：三次 `sendall`，等全部到达之后，调用一次 `recv(1024)`。",
    )
    stage.source("udp_datagrams", "receive_each")
    sent, received = _send(sender, receiver, notes, [b"date", b"echo hello", b"seq 1000"], 1024)
    stream = _one_recv_over_tcp(sent)
    stage.show(
        Blocks(
            (
                Row("sendto", _blocks(sent)),
                Row("recvfrom", _blocks(received)),
                Row("TCP recv", (Block(pieces(stream, sent)),)),
            ),
            stage.pick("three commands over UDP, then over TCP", "三条命令，先走 UDP，再走 TCP"),
        )
    )
    stage.claim(
        "borders",
        received == sent and stream == b"".join(sent),
        f"{len(sent)} calls of `sendto` became {len(received)} returns of `recvfrom`, with the same borders; over TCP one `recv` "
        "returned all of it in one lump.",
        f"{len(sent)} 次 `sendto` 对应 {len(received)} 次 `recvfrom`，边界完全一样；而走 TCP 时，一次 `recv` 就把它们连成一块全拿走了。",
    )
    stage.say(
        "So with UDP nothing sticks together. Is that the cure? Let us see what it costs.",
        "所以用 UDP 时什么也不会粘在一起。那么问题解决了吗？来看看代价是什么。",
    )


def _one_recv_over_tcp(messages: Sequence[bytes]) -> bytes:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        connection, _ = listener.accept()
        with connection:
            for message in messages:
                client.sendall(message)
            whole = sum(map(len, messages))
            wait_until(lambda: len(connection.recv(whole, socket.MSG_PEEK)) == whole)
            return connection.recv(1024)


def _cut(stage: Stage, sender: RecordedSocket, receiver: RecordedSocket, notes: list[Note]) -> None:
    stage.heading("Ask for too little, and the rest is gone", "要得太少，剩下的就没了")
    stage.say(
        "In TCP the number in `recv(16)` is harmless: the rest waits for the next call. In UDP it is a pair of scissors. We send two "
        "datagrams and take each with `recvfrom(16)`. (The first is a command to remove an old folder. Nobody runs it here.)",
        "在 TCP 里，`recv(16)` 中的数字没有危险：剩下的等下次再取。在 UDP 里，它却是一把剪刀。我们发两个数据报，每个都用 "
        "`recvfrom(16)` 来取。（第一个是删除一个旧目录的命令。放心，这里没有人执行它。）",
    )
    sent, received = _send(sender, receiver, notes, [b"rm -r /tmp/class/old", b"date"], 16)
    rest = len(sent[0]) - len(received[0])
    first = (Block((Piece(text_of(received[0]), len(received[0]), 1),)),)
    gone = (Block((Piece("✗", rest, ALARM),), lost=True),) if rest else ()
    stage.show(
        Blocks(
            (
                Row("sendto", _blocks(sent)),
                Row("recvfrom", (*first, *gone, *(Block(block.pieces) for block in _blocks(received)[1:]))),
            ),
            stage.pick("recvfrom(16); ✗: cut off and thrown away", "recvfrom(16)；✗：被剪掉、扔掉的部分"),
        )
    )
    stage.claim(
        "cut",
        rest > 0 and received == [sent[0][:16], sent[1]],
        f"`recvfrom(16)` returned the first 16 bytes; the other {rest} are gone for good: the next call returned the next datagram.",
        f"`recvfrom(16)` 返回了前 16 个字节，其余 {rest} 个再也找不回来：下一次调用返回的是下一个数据报。",
    )
    stage.say(
        "Read aloud what arrived: it is a command too, and not the one that was sent. And Linux cut it without a word. (Windows at least "
        "raises an error.) The kernel does set a flag, `MSG_TRUNC`, but `recvfrom` keeps it from you. `recvmsg` returns it:",
        "把收到的内容念出来：它也是一条命令，却不是发出的那一条。而 Linux 剪的时候一声不响。（Windows 至少会报错。）其实内核设了一个标志 "
        "`MSG_TRUNC`，只是 `recvfrom` 不告诉你，`recvmsg` 才会返回它：",
    )
    stage.source("udp_datagrams", "receive_and_check")
    udp_datagrams.send_each(sender, receiver.getsockname(), sent)
    checked = [udp_datagrams.receive_and_check(receiver, 16) for _ in sent]
    stage.show(
        Table(
            (stage.pick("recvmsg(16) returned", "recvmsg(16) 返回"), stage.pick("MSG_TRUNC set?", "有 MSG_TRUNC 吗？")),
            tuple(
                (f"`{text_of(data)}`", stage.pick(*(("yes", "有") if cut else ("no", "没有")))) for data, cut in checked
            ),
        )
    )
    stage.claim(
        "cut-is-told",
        [cut for _, cut in checked] == [True, False],
        "`recvmsg` told which of the two was cut.",
        "`recvmsg` 说出了两个里面哪一个被剪过。",
    )


def _empty(stage: Stage, sender: RecordedSocket, receiver: RecordedSocket, notes: list[Note]) -> None:
    stage.heading("An empty letter is not the end", "空信不等于结束")
    stage.say(
        "In TCP `recv` returns `b''` when the other end has hung up. In UDP there is nobody to hang up. But an empty datagram is a "
        "datagram: an envelope with nothing in it. A loop with `if not data: break` would stop here.",
        "在 TCP 里，`recv` 返回 `b''` 表示对方已经挂断。UDP 没有电话可挂。但空数据报也是数据报：一个里面什么都没有的信封。"
        "写着 `if not data: break` 的循环会在这里停下来。",
    )
    sent, received = _send(sender, receiver, notes, [b"before", b"", b"after"], 1024)
    stage.show(
        Table(
            (stage.pick("call", "调用"), "sendto", stage.pick("recvfrom returned", "recvfrom 返回")),
            tuple((str(n), f"`{a!r}`", f"`{b!r}`") for n, (a, b) in enumerate(zip(sent, received, strict=False), 1)),
        )
    )
    stage.claim(
        "empty",
        received == sent and b"" in received,
        "The empty datagram arrived as `b''`, and the one behind it arrived as well.",
        "空数据报到达时就是 `b''`，它后面的那个也照样到了。",
    )


def _limit(stage: Stage, sender: RecordedSocket, receiver: RecordedSocket) -> None:
    stage.heading("A letter has a greatest weight", "信有最大重量")
    stage.say(
        "A packet between IPv4 addresses states its length in two bytes: 65,535 at most. Of that 20 bytes go to the header with the "
        "addresses and "
        "8 to UDP's own header. That leaves 65,507 for you. We try that many, and one more.",
        "IPv4 地址之间的数据包用两个字节写自己的长度，最大 65535。其中写地址的报头占 20 字节，UDP 自己的报头占 8 字节，留给你的是 65507。"
        "我们就发这么多，然后再多发一个字节试试。",
    )
    results = [(size, udp_datagrams.try_to_send(sender, receiver.getsockname(), size)) for size in (65507, 65508)]
    arrived = 0
    with contextlib.suppress(TimeoutError):
        arrived = len(receiver.recvfrom(65535)[0])
    stage.show(
        Table(
            (stage.pick("bytes", "字节数"), stage.pick("sendto said", "sendto 的结果")),
            tuple((f"{size:,}", f"`{result}`") for size, result in results),
        )
    )
    stage.claim(
        "limit",
        results[0][1] == arrived == 65507 and getattr(results[1][1], "errno", 0) == errno.EMSGSIZE,
        f"{arrived:,} bytes went through in one datagram; with one byte more the kernel refused: `EMSGSIZE`.",
        f"{arrived} 个字节装在一个数据报里过去了；再多一个字节，内核就拒绝：`EMSGSIZE`。",
    )
    stage.say(
        "And that is the friendly case. On a real network a datagram above some 1,400 bytes is cut into several packets, and if "
        "one of them is lost, the whole datagram is. Careful programs stay below 1,200.",
        "这还算客气的。在真实的网络上，超过大约 1400 字节的数据报在路上会被拆成几个数据包（这叫分片），丢了其中一个，整个数据报就没了。"
        "谨慎的程序每个只发 1200 字节以内。",
    )


def _nobody(stage: Stage, sender: RecordedSocket) -> None:
    stage.heading("A letter to nobody", "寄给不存在的人")
    stage.say(
        "We open a socket, note its port, and close it. Nobody is there now. Then we send a datagram to that port.",
        "我们打开一个套接字，记下端口，再把它关掉：现在那里没有人了。然后往这个端口发一个数据报。",
    )
    with udp_relay.open_udp() as gone:
        address = gone.getsockname()
    result = udp_datagrams.try_to_send(sender, address, 5)
    stage.show(
        elements.Exchange(
            (stage.pick("sender", "发送方"), stage.pick("nobody", "没有人")),
            (
                elements.Arrow(0, 1, stage.pick("5 bytes", "5 个字节"), lost=True, colour=1),
                elements.Arrow(0, 0, stage.pick(f"sendto returned {result}", f"sendto 返回 {result}")),
            ),
        )
    )
    stage.claim(
        "nobody",
        result == 5,
        "`sendto` returned 5, as if all were well. It only means: the kernel took 5 bytes. (The news that nobody is "
        "there may come back, but only a socket that has called `connect` hears of it, later, by ConnectionRefusedError.)",
        "`sendto` 返回 5，好像一切正常。它只表示：内核收下了 5 个字节。"
        "（“那里没有人”的消息也许会传回来，但只有调用过 `connect` 的套接字才会在以后得知，以 ConnectionRefusedError 的形式。）",
    )
