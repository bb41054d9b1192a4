"""Cures of sticky packets: sleeping, a delimiter, length first. `cures_headers` has the good ones, `cures_compared` the table."""

from __future__ import annotations

import socket
from itertools import groupby

from remote_shell.demo import pictures
from remote_shell.demo.elements import Arrow, Blocks, Exchange, Row, Table
from remote_shell.demo.ends import Ends, wait_until
from remote_shell.demo.lessons import cures_compared, cures_headers
from remote_shell.demo.pictures import short
from remote_shell.demo.programs import cure_delimiter, cure_length_first, cure_sleep
from remote_shell.demo.recorder import Note, of
from remote_shell.demo.stage import Stage, text_of

LUCK_TRIES = 5  # on a computer with much to do even the idle receiver may sleep too long

WORDS = (
    *(
        "byte",
        "process",
        "shell",
        "command",
        "network",
        "kernel",
        "server",
        "client",
        "address",
        "loopback",
        "socket",
        "protocol",
        "connection",
    ),
    *("packet", "stream", "TCP", "buffer", "message", "hexadecimal"),
)


def play(stage: Stage) -> None:
    """Plays the lesson."""
    stage.words(*WORDS)
    problem(stage)
    sleeping(stage)
    delimiter(stage)
    length_first(stage)
    cures_headers.play(stage)
    cures_compared.play(stage)


def problem(stage: Stage) -> None:
    stage.heading("What we want", "我们想要什么")
    stage.say(
        "TCP carries a stream: bytes without borders. (The lesson `sticky` shows what comes of it.) We want messages: whole, one at "
        "a time, whatever `recv` returns. Five cures are in use. Each gets the same questions: do the messages come whole? When does "
        "it fail? What does it cost in time and in bytes? At the end stands a table with what we measured.",
        "TCP 运送的是字节流：没有边界的字节。（后果请看 `sticky` 一课。）我们想要的是消息：完整的，一次一条，不管 `recv` 怎样返回。"
        "常见的办法有五种。我们对每一种都问同样的问题：消息完整吗？什么时候会失败？要花多少时间、多少字节？最后有一张表，"
        "里面全是实测的数字。",
    )


# --- sleeping


def sleeping(stage: Stage) -> None:
    stage.heading("1. Sleeping", "一、睡一会儿")
    stage.say(
        f"The first idea: after each message the sender sleeps {cure_sleep.PAUSE:g} s. By then the receiver will have read it. Will it?",
        f"第一个想法：发送方每发一条消息就睡 {cure_sleep.PAUSE:g} 秒。到那时接收方总该读走了吧。真的吗？",
    )
    stage.program("cure_sleep")
    stage.source("cure_sleep", "send")
    sent = [b"one", b"two", b"three"]
    tries, idle = 1, slept(sent, busy=False)
    while [note.data for note in idle] != sent and tries < LUCK_TRIES:
        tries, idle = tries + 1, slept(sent, busy=False)
    busy = slept(sent, busy=True)
    stage.show(
        Blocks(
            (
                pictures.sent(stage.pick("sent", "发送"), sent),
                pictures.received(stage.pick("recv, receiver idle", "recv，接收方空闲"), idle, sent),
                pictures.received(stage.pick("recv, receiver busy", "recv，接收方正忙"), busy, sent),
            )
        )
    )
    stage.say(
        "The second row is luck. In the third the receiver had something else to do: it read only when the sender was done (we "
        "arranged that; a slow disk or a busy processor does it as well). And you pay for the luck with every message: at most "
        f"{1 / cure_sleep.PAUSE:.0f} of them a second, on the fastest network of the world.",
        "第二行只是运气好。第三行里，接收方正忙别的事，等发送方全部发完才来读（这是我们安排的；磁盘慢一点、处理器忙一点，也是一样）。"
        f"而且每条消息都要为这点运气付出时间：网络再快，一秒最多也只能发 {1 / cure_sleep.PAUSE:.0f} 条。",
    )
    stage.claim(
        "sleep_lucky",
        [note.data for note in idle] == sent,
        f"With an idle receiver {len(sent)} messages came in {len(idle)} recvs (try {tries}).",
        f"接收方空闲时，{len(sent)} 条消息分 {len(idle)} 次 recv 到达（第 {tries} 次尝试）。",
    )
    stage.claim(
        "sleep_fails",
        [note.data for note in busy] == [b"".join(sent)],
        f"With a busy receiver they came in {len(busy)}: the sleep was of no use.",
        f"接收方正忙时，它们 {len(busy)} 次就到齐了：白睡了。",
    )


def slept(sent: list[bytes], *, busy: bool) -> list[Note]:
    """What recv returned to a receiver that reads at once, or only when the sender is done."""
    with Ends() as ends:
        client, server = ends.pair()
        sender = ends.start(cure_sleep.send_all, client, sent)
        if busy:
            sender.result()
        while cure_sleep.receive(server):
            pass
        sender.result()
    return [note for note in of(ends.notes, "server", "recv") if note.data]


# --- a delimiter


def delimiter(stage: Stage) -> None:
    stage.heading("2. A mark at the end", "二、在结尾做个记号")
    stage.say(
        "The second idea is a good one: mark the end of each message with a *delimiter*, a byte that means “here it ends”. "
        "Usually it is the line end, `\\n` (drawn as ⏎). The receiver reads until it finds one. What came after it "
        "belongs to the next message: the receiver must keep it, in a buffer of its own.",
        "第二个想法不错：用一个*分隔符*标记每条消息的结尾，也就是一个表示“到此为止”的字节，通常是换行符 `\\n`（图中画作 ⏎）。"
        "接收方一直读到它为止。它后面多收到的字节属于下一条消息，接收方必须自己用一个缓冲区留着。",
    )
    stage.program("cure_delimiter")
    stage.source("cure_delimiter", "send")
    stage.source("cure_delimiter", "receive")
    plain = [b"one", b"two", b"three"]
    nasty = [b"one", b"two\nlines", b"100% three"]
    good, found = delimited(plain), delimited(nasty)
    escaped = [cure_delimiter.unescape(each) for each in delimited([cure_delimiter.escape(each) for each in nasty])]
    end = cure_delimiter.END
    sizes = [
        0,
        *(size for each in nasty for size in (len(each), len(end))),
    ]  # no header before the first, but an end behind it
    stage.show(
        Blocks(
            (
                Row(stage.pick("messages", "消息"), pictures.calls([each + end for each in nasty], sizes)),
                Row(stage.pick("received", "收到"), pictures.calls([each + end for each in found], sizes)),
            ),
            stage.pick("a message that holds a line end; the delimiters are grey", "消息里含有换行符；灰色的是分隔符"),
        )
    )
    stage.say(
        f"Three plain words come whole. But the message `{text_of(nasty[1])}` holds a line end itself, and becomes two. "
        f"{len(nasty)} messages were sent, {len(found)} received. A picture or a program holds every byte there is: "
        "no byte is free to be the delimiter.",
        f"三个普通的单词都完整到达。但消息 `{text_of(nasty[1])}` 自己就含有换行符，结果变成两条：发了 {len(nasty)} 条，收到 "
        f"{len(found)} 条。一张图片、一个程序里什么字节都有：没有哪个字节能空出来专门当分隔符。",
    )
    stage.say(
        "The way out is *escaping*: before sending, we write something else in the place of each line end, and the receiver puts it back. "
        "Here `%0A` stands for a line end, as in web addresses. Now `%` is special too, and becomes `%25`. The order matters; "
        "try what happens when you swap the two steps.",
        "出路是*转义*：发送之前，把每个换行符换成别的写法，接收方再换回来。这里像网址那样用 `%0A` 代表换行符。"
        "这样一来 `%` 也变得特殊，要写成 `%25`。顺序很重要：不妨把两步对调，看看会怎样。",
    )
    stage.source("cure_delimiter", "escape")
    stage.source("cure_delimiter", "unescape")
    stage.show(
        Table(
            (stage.pick("message", "消息"), stage.pick("crosses as", "传送的样子"), stage.pick("received", "收到")),
            tuple(
                (short(each), short(cure_delimiter.escape(each) + cure_delimiter.END), short(back))
                for each, back in zip(nasty, escaped, strict=False)
            ),
        )
    )
    stage.say(
        "What it costs: at least one byte a message, two more for each byte that is escaped, and the receiver must look at every byte. "
        "And it needs a limit: a sender that never sends the delimiter would fill our memory. Good protocols work like this, "
        "when people should be able to read along: e-mail, for one.",
        "代价：每条消息至少多一个字节，每个被转义的字节再多两个，接收方还得把每个字节都看一遍。"
        "另外必须有上限：否则一个从不发送分隔符的发送方会把我们的内存塞满。希望人也能直接读懂的协议常这样做，例如电子邮件。",
    )
    stage.claim(
        "delimiter_works",
        good == plain,
        f"{len(good)} of {len(plain)} messages without a line end came whole.",
        f"不含换行符的消息，{len(plain)} 条中有 {len(good)} 条完整到达。",
    )
    stage.claim(
        "delimiter_fails",
        found != nasty and b"\n".join(found) == b"\n".join(nasty),
        f"With a line end in the data {len(nasty)} messages became {len(found)}.",
        f"数据里有换行符时，{len(nasty)} 条消息变成了 {len(found)} 条。",
    )
    stage.claim(
        "escaping_works",
        escaped == nasty,
        f"Escaped, {sum(map(nasty.__contains__, escaped))} of {len(nasty)} came whole.",
        f"转义之后，{len(nasty)} 条中有 {sum(map(nasty.__contains__, escaped))} 条完整到达。",
    )


def delimited(sent: list[bytes]) -> list[bytes]:
    """The messages that the program finds when all of these were sent."""
    found = []
    buffer = bytearray()
    with Ends() as ends:
        client, server = ends.pair()
        for message in sent:
            cure_delimiter.send(client, message)
        client.shutdown(socket.SHUT_WR)
        try:
            while True:
                found.append(cure_delimiter.receive(server, buffer))
        except EOFError:
            return found


# --- length first


def length_first(stage: Stage) -> None:
    stage.heading("3. Ask for the length first", "三、先问长度")
    stage.say(
        "The third idea: tell the length first, as a text such as `3893`. Then the receiver knows how much to read. "
        "So that the length does not stick to the message, the sender waits for an answer in between: `ready`.",
        "第三个想法：先告诉对方长度，写成 `3893` 这样的文本，接收方就知道要读多少。"
        "为了不让长度和消息粘在一起，发送方在中间等一个回应：`ready`。",
    )
    stage.program("cure_length_first")
    stage.source("cure_length_first", "send")
    stage.source("cure_length_first", "receive")
    stage.source("cure_length_first", "read_exactly")
    message = b"".join(b"%d\n" % number for number in range(1, 1001))  # as `seq 1000` prints it: 3893 bytes
    with Ends() as ends:
        client, server = ends.pair()
        sender = ends.start(cure_length_first.send, client, message)
        received = cure_length_first.receive(server)
        sender.result()
    # in the order of arrival: a call that sends is noted when it is over, and then the answer may be there already
    crossed = [
        (who, b"".join(note.data for note in group))
        for who, group in groupby(arrivals(ends.notes), lambda note: note.who)
    ]
    stage.show(
        Exchange(
            (stage.pick("sender", "发送方"), stage.pick("receiver", "接收方")),
            tuple(
                Arrow(0, 1, short(data, 24), colour=1) if who == "server" else Arrow(1, 0, short(data, 24), colour=2)
                for who, data in crossed
            ),
        )
    )
    trips = len(of(ends.notes, "client", "recv"))
    stage.say(
        "It works. But before each message a question has to go there and an answer has to come back: a *round trip*. "
        "On loopback that is nothing. From Beijing to New York it takes a fifth of a second, and no faster computer will change that.",
        "它管用。但每条消息之前，都要一个问题过去、一个回应回来：这叫一次*往返*。"
        "在环回上这不算什么；从北京到纽约却要五分之一秒，而且再快的计算机也改变不了。",
    )
    stage.claim(
        "length_first_works",
        received == message,
        f"The message came whole, all {len(received)} bytes, for {trips} round trip more.",
        f"消息完整到达，共 {len(received)} 字节，代价是多了 {trips} 次往返。",
    )
    digits_cut(stage, message)


def arrivals(notes: list[Note]) -> list[Note]:
    """What recv returned, of both ends, in order."""
    return sorted((note for note in notes if note.call == "recv" and note.data), key=lambda note: note.at)


def digits_cut(stage: Stage, message: bytes) -> None:
    stage.say(
        "And there is a hole in it. Who says that the four digits arrive together? They are bytes in a stream like all others. "
        "We arrange what a network may do at any time: `38` arrives, and `93` a little later.",
        "而且它有一个漏洞。谁说这四个数字会一起到达？它们和别的字节一样，也是字节流里的字节。"
        "我们来安排一件网络随时可能做的事：`38` 先到，`93` 晚一点到。",
    )
    digits = str(len(message)).encode()
    with Ends() as ends:
        client, server = ends.pair()
        receiver = ends.start(cure_length_first.receive, server)
        client.sendall(digits[:2])
        reading = wait_until(lambda: of(ends.notes, "server", "sendall"))  # it has read them, and said that it is ready
        client.sendall(digits[2:])
        client.recv(1024)
        client.sendall(message)
        received = receiver.result()
    sent = [note.data for note in of(ends.notes, "client", "sendall")]
    first, *_ = of(ends.notes, "server", "recv")
    stage.show(
        Table(
            (stage.pick("the receiver", "接收方"), ""),
            (
                (stage.pick("took for the length", "当成长度的内容"), text_of(first.data)),
                (stage.pick("took for the message", "当成消息的内容"), short(received)),
                (
                    stage.pick("leaves for the next one", "留给下一条消息的内容"),
                    short(b"".join(sent)[len(first.data) + len(received) :]),
                ),
            ),
        )
    )
    stage.claim(
        "length_first_fails",
        reading and received != message and len(received) == int(first.data),
        f"The receiver took {text_of(first.data)} for the length, and got {len(received)} bytes instead of {len(message)}.",
        f"接收方把 {text_of(first.data)} 当成了长度，只收下 {len(received)} 字节，而不是 {len(message)} 字节。",
    )
