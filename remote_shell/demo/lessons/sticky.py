"""Sticky packets: two sends in one recv, one send in many, the rest of one answer in the next."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterator

from remote_shell.demo import pictures
from remote_shell.demo.elements import Block, Blocks, Output, Row, Table
from remote_shell.demo.ends import Ends, on_the_way, wait_until
from remote_shell.demo.pictures import short, total
from remote_shell.demo.programs import nagle, sticky_server
from remote_shell.demo.recorder import Note, of
from remote_shell.demo.stage import Stage, pieces, text_of

SMALL_BUFFER = 16 * 1024  # bytes for the client's kernel in the step about bigger numbers; Linux takes twice as many

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
    *("packet", "stream", "TCP", "buffer", "message"),
)


def play(stage: Stage) -> None:
    """Plays the lesson."""
    stage.words(*WORDS)
    the_program(stage)
    two_in_one(stage)
    one_in_many(stage)
    rest_in_next(stage)
    bigger_number(stage)
    why(stage)
    nagles_algorithm(stage)
    what_now(stage)


def the_program(stage: Stage) -> None:
    stage.heading("A remote command, as everybody writes it first", "远程执行命令：大家第一次都这么写")
    stage.say(
        "The client sends a command, the server runs it and sends back what the command printed. Here is the heart of the program. "
        "It works when you try it once. That is what makes it dangerous.",
        "客户端发送一条命令，服务器执行它，再把命令的输出发回来。程序的核心就在下面。试一次，它能用——危险就在这里。",
    )
    stage.program("sticky_server")
    stage.source("sticky_server", "serve")
    stage.source("sticky_server", "ask")
    stage.say(
        "`sendall` gives bytes to our own kernel, which carries them across. `recv(1024)` takes bytes that have arrived, 1024 at most. "
        "Both functions believe that one `recv` returns one message. We now catch them three times being wrong. The runs are real: "
        "server and client talk over loopback, and each call notes what it sent or returned.",
        "`sendall` 把字节交给自己这边的内核，由内核送过去。`recv(1024)` 取走已经到达的字节，最多 1024 个。"
        "这两个函数都相信：一次 `recv` 返回一条消息。下面我们三次当场证明它们错了。每次都是真实运行："
        "服务器和客户端通过环回对话，每个调用都记下自己发了什么、收到了什么。",
    )


def two_in_one(stage: Stage) -> None:
    stage.heading("Two sends in one recv", "两次 send，一次 recv 全收到")
    stage.say(
        "The client sends two commands, one right after the other: `echo one` and `echo two`. (We arrange one thing: the server is busy "
        "and begins to read only when both have arrived. On a real server this happens all the time.) Until then the bytes wait in a "
        "buffer of the server's kernel. Then the server calls `recv(1024)` once:",
        "客户端紧接着发出两条命令：`echo one` 和 `echo two`。（我们只安排了一件事：服务器正忙，等两条都到了才开始读。"
        "真实的服务器上，这种情况随时都在发生。）在那之前，字节在服务器内核的缓冲区里等着。然后服务器调用一次 `recv(1024)`：",
    )
    with Ends() as ends, printed() as output:
        client = ends.call()
        client.sendall(b"echo one")
        client.sendall(b"echo two")
        wait_until(lambda: on_the_way(client) == 0)  # the server's kernel has both
        server = ends.start(sticky_server.serve, ends.listener)
        answers = [client.recv(1024), *sticky_server.rest(client)]
        server.result()
    sent, received = of(ends.notes, "client", "sendall"), of(ends.notes, "server", "recv")
    stage.show(
        rows(stage, ("client sent", "客户端发送", sent), ("server's recv returned", "服务器的 recv 返回", received))
    )
    stage.show(Output(output.getvalue(), stage.pick("What the server printed:", "服务器打印的内容：")))
    answer = b"".join(answers)
    stage.show(Output(answer.decode(), stage.pick("What the client got back:", "客户端收到的回答：")))
    stage.say(
        "Two messages went in, one lump came out. The server took the lump for one command, `echo oneecho two`, and ran it. Nobody "
        "reported an error. Think of `rm old` and `rm new` (`rm` deletes a file), or of an amount of money and the next one.",
        "进去的是两条消息，出来的是一整块。服务器把这一整块当成一条命令 `echo oneecho two` 执行了，没有任何人报错。"
        "想想 `rm old` 和 `rm new`（`rm` 删除文件），或者两笔紧挨着的金额，会变成什么。",
    )
    lump = b"".join(note.data for note in sent)
    stage.claim(
        "two_in_one",
        len(sent) == 2 and received[:1] and received[0].data == lump and answer != b"one\ntwo\n",
        f"{len(sent)} calls of sendall arrived in one recv of {len(received[0].data)} bytes.",
        f"{len(sent)} 次 sendall 的数据，被一次 recv 全部收到（{len(received[0].data)} 字节）。",
    )


def one_in_many(stage: Stage) -> None:
    stage.heading("One send in many recvs", "一次 send，许多次 recv 才收完")
    stage.say(
        "Now a command that prints more: `seq 1000` prints the numbers from 1 to 1000. The server sends all of it with one `sendall`. "
        "The client calls `recv(1024)` until nothing is left:",
        "现在换一条输出多一些的命令：`seq 1000` 打印 1 到 1000 这些数。服务器用一次 `sendall` 全部发出。"
        "客户端反复调用 `recv(1024)`，直到一点不剩：",
    )
    with Ends() as ends, printed():
        client = ends.call()
        server = ends.start(sticky_server.serve, ends.listener)
        sticky_server.ask(client, b"seq 1000")
        sticky_server.rest(client)
        server.result()
    sent, received = answers_of(ends.notes)
    stage.show(
        rows(stage, ("server sent", "服务器发送", sent), ("client's recv returned", "客户端的 recv 返回", received))
    )
    first = received[0].data
    stage.say(
        f"The first `recv` ended after `{text_of(first[-12:])}` (⏎ is the end of a line). Who calls `recv` once and goes on sees a "
        "part of the answer and takes it "
        "for all of it. And look where the cuts are: 1024 bytes know nothing of lines or numbers.",
        f"第一次 `recv` 到 `{text_of(first[-12:])}` 就结束了（⏎ 表示换行）。只调用一次 `recv` 就往下走的人，看到的只是一部分，"
        "却以为是全部。"
        "再看看切口在哪里：1024 这个数可不认识什么行、什么数字。",
    )
    stage.claim(
        "one_in_many",
        len(sent) == 1 and len(received) > 1 and total(sent) == total(received),
        f"One sendall of {total(sent)} bytes came in {len(received)} recvs.",
        f"一次 sendall 的 {total(sent)} 字节，分 {len(received)} 次 recv 才收完。",
    )


def rest_in_next(stage: Stage) -> None:
    stage.heading("The rest of one answer in the next one", "上一个回答的尾巴，跑到下一个回答里")
    stage.say(
        "What happens to the bytes that nobody took? Nothing: they wait. The client now asks three questions with `ask`, "
        "one `recv(1024)` each. (Arranged, in its favour: it asks only when the server has sent the answer before. Else its commands "
        "would stick together as well.)",
        "没被取走的字节会怎样？不会怎样：它们等着。现在客户端用 `ask` 连问三个问题，每次只调用一次 `recv(1024)`。"
        "（安排，而且是帮它的忙：服务器发出上一个回答之后，它才问下一个，否则连命令也会粘在一起。）",
    )
    questions = [b"seq 1000", b"echo hello", b"echo bye"]
    with Ends() as ends, printed():
        client = ends.call()
        server = ends.start(sticky_server.serve, ends.listener)
        answers: list[bytes] = []
        for question in questions:
            answers.append(sticky_server.ask(client, question))
            wait_until(lambda: len(of(ends.notes, "server", "sendall")) == len(answers))
        left = sticky_server.rest(client)
        server.result()
    waiting = sum(len(part) for part in left)
    stage.show(
        Table(
            (stage.pick("question", "问题"), stage.pick("what `ask` returned", "`ask` 返回的内容")),
            tuple((question.decode(), short(answer)) for question, answer in zip(questions, answers, strict=True)),
        )
    )
    sent, received = answers_of(ends.notes)
    stage.show(
        rows(stage, ("server sent", "服务器发送", sent), ("client's recv returned", "客户端的 recv 返回", received))
    )
    stage.say(
        f"`echo hello` and `echo bye` were answered with numbers. Their own answers came too, but {waiting} bytes were still waiting "
        "after the third question. From the first long answer on, every answer belongs to an earlier question, for as long as the "
        "connection lives. To be fair we let the client read the rest before it hung up; most programs would not.",
        f"`echo hello` 和 `echo bye` 得到的回答都是一串数字。它们真正的回答其实也来了，只是问完第三个问题，还有 {waiting} 字节在排队。"
        "从第一个长回答开始，每个回答都属于更早的问题，只要连接还在，就一直错下去。"
        "为了公平，我们让客户端把剩下的读完才挂断；多数程序可不会这么做。",
    )
    sent_data = b"".join(note.data for note in sent)
    stage.claim(
        "rest_in_next",
        len(answers[0]) < len(sent[0].data) and sent[0].data[len(answers[0]) :].startswith(answers[1]) and answers[1],
        f"The answer to echo hello was {len(answers[1])} bytes of seq 1000's output.",
        f"echo hello 得到的回答，是 seq 1000 输出里的 {len(answers[1])} 字节。",
    )
    stage.claim(
        "nothing_lost",
        b"".join([*answers, *left]) == sent_data,
        "Not one byte was lost or changed places: only the borders between the messages are gone.",
        "没有丢一个字节，顺序也没有变：不见了的，只是消息之间的边界。",
    )


def bigger_number(stage: Stage) -> None:
    stage.heading("A bigger number, then?", "那把数字写大一点？")
    with Ends(receive_buffer=SMALL_BUFFER) as ends, printed():
        client = ends.call()
        buffer = client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        server = ends.start(sticky_server.serve, ends.listener)
        client.sendall(b"seq 20000")
        client.shutdown(socket.SHUT_WR)  # no more commands
        while client.recv(1_000_000):
            pass
        server.result()
    stage.say(
        "`recv(1000000)`, and all is well? No. The number is the most that `recv` may return. It never waits for more than is there. "
        "Here the same server prints `seq 20000`, and the client asks for a million bytes each time. "
        f"(Arranged: the client's kernel has a buffer of {buffer} bytes only, so that you see it with little data. "
        "Every buffer ends somewhere.)",
        "写成 `recv(1000000)` 就好了吗？不行。这个数只是 `recv` 最多返回多少，它从不为了凑够而等待。"
        "这次同一个服务器执行 `seq 20000`，客户端每次都要一百万字节。"
        f"（安排：客户端内核的缓冲区只给 {buffer} 字节，这样数据不多也看得到。再大的缓冲区也有尽头。）",
    )
    sent, received = answers_of(ends.notes)
    stage.show(
        rows(stage, ("server sent", "服务器发送", sent), ("client's recv returned", "客户端的 recv 返回", received))
    )
    stage.say(
        "And a bigger number makes the first mistake worse: more messages fit into one lump.",
        "而且数字越大，第一种错误越严重：一整块里能装进更多条消息。",
    )
    stage.claim(
        "bigger_is_no_cure",
        len(sent) == 1 and len(received) > 1 and total(sent) == total(received),
        f"recv(1000000) returned {len(received)} times for one sendall of {total(sent)} bytes.",
        f"一次 sendall 的 {total(sent)} 字节，recv(1000000) 返回了 {len(received)} 次。",
    )


def why(stage: Stage) -> None:
    stage.heading("Whose fault is it?", "这是谁的错？")
    stage.say(
        "Nobody's. TCP did what it promises: all bytes arrive, each once, in order. It promises a stream, and a stream has no borders, "
        "as the water from a tap does not show how many buckets were poured in at the waterworks.",
        "谁也没错。TCP 做到了它承诺的一切：所有字节都到达，每个一次，顺序不变。它承诺的是字节流，而字节流没有边界——"
        "就像水龙头里流出来的水，看不出自来水厂那头倒进去的是几桶。",
    )
    stage.say(
        "In Chinese textbooks this is called *sticky packets* (粘包). The name is handy and wrong. No packet sticks to another. "
        "Packets are how the kernels carry the stream; your program never sees one. It sees bytes. "
        "The messages exist in your head and in your program, and so it is your program that has to mark their borders.",
        "中文教材把这叫做*粘包*。这个名字好用，却不准确：没有哪个数据包粘到了另一个上。"
        "数据包是内核运送字节流的方式，你的程序从来见不到它，见到的只是字节。"
        "消息只存在于你的头脑和你的程序里，所以它们的边界也得由你的程序来标明。",
    )
    table = (
        (
            "sender",
            "two small sends wait together and leave in one packet",
            "发送方",
            "两次小的 send 一起等着，装进同一个数据包出发",
        ),
        ("network", "one big send is cut into several packets", "网络", "一次大的 send 被切成几个数据包"),
        (
            "receiver",
            "what arrived waits in one buffer, without marks",
            "接收方",
            "到达的字节在同一个缓冲区里等待，没有任何记号",
        ),
        ("recv", "takes what is there, up to the number you gave", "recv", "有多少取多少，不超过你给的那个数"),
    )
    stage.show(
        Table(
            (stage.pick("where", "在哪里"), stage.pick("how borders get lost", "边界怎样丢失")),
            tuple((stage.pick(line[0], line[2]), stage.pick(line[1], line[3])) for line in table),
        )
    )


def nagles_algorithm(stage: Stage) -> None:
    stage.heading("Is the kernel too thrifty?", "是内核太节俭了吗？")
    stage.say(
        "Many pages on this subject blame *Nagle's algorithm*: a kernel that has sent a small packet keeps further small ones back "
        "and joins them, until the other kernel has confirmed the first. It saves packets. The option `TCP_NODELAY` turns it off. "
        "Let us look. This program sends ten words with ten sends, and asks the kernel how many packets that made:",
        "很多文章把责任推给 *Nagle 算法*：内核发出一个小数据包之后，会把后面的小数据先留住、合并起来，"
        "等对方内核确认收到前一个再发。这样可以少用数据包。选项 `TCP_NODELAY` 可以关掉它。我们来看看。"
        "这个程序用十次 send 发出十个单词，再问内核一共用了多少个数据包：",
    )
    stage.program("nagle")
    stage.source("nagle", "send_small")
    found: list[tuple[int, bytes]] = []
    for nodelay in (0, 1):
        with Ends() as ends:
            found.append(nagle.send_small(*ends.pair(), nodelay))
    sends = len(nagle.WORDS)
    (merged, first), (single, second) = found
    stage.show(
        Table(
            ("TCP_NODELAY", "send", stage.pick("packets", "数据包"), stage.pick("one recv returned", "一次 recv 返回")),
            tuple((str(nodelay), str(sends), str(count), short(data)) for nodelay, (count, data) in enumerate(found)),
            stage.pick("packets as the sender's kernel counted them", "数据包的个数由发送方的内核统计"),
        )
    )
    stage.show(
        Blocks(
            (
                pictures.sent(stage.pick("ten sends", "十次 send"), nagle.WORDS),
                Row(stage.pick("one recv, Nagle on", "一次 recv，开 Nagle"), (Block(pieces(first, nagle.WORDS)),)),
                Row(stage.pick("one recv, Nagle off", "一次 recv，关 Nagle"), (Block(pieces(second, nagle.WORDS)),)),
            )
        )
    )
    stage.say(
        "So the algorithm does join small sends. But turn it off, and ten packets arrive one by one, wait in the same buffer, and one "
        "`recv` returns them all the same. `TCP_NODELAY` lets small messages leave sooner. It marks no borders.",
        "可见这个算法确实会合并小的 send。但关掉它以后，十个数据包一个一个到达，在同一个缓冲区里等着，照样被一次 `recv` 全部取走。"
        "`TCP_NODELAY` 能让小消息早点出发，却标不出任何边界。",
    )
    stage.claim(
        "nagle_merges",
        merged < sends,
        f"With Nagle's algorithm {sends} sends left in {merged} packets.",
        f"开着 Nagle 算法，{sends} 次 send 只用了 {merged} 个数据包。",
    )
    stage.claim(
        "nodelay_is_no_cure",
        single == sends and second == b"".join(nagle.WORDS),
        f"Without it {single} packets crossed, and one recv still returned all of them.",
        f"关掉之后走了 {single} 个数据包，一次 recv 还是全部取走。",
    )


def what_now(stage: Stage) -> None:
    stage.heading("What now?", "怎么办？")
    stage.say(
        "Remember one sentence: TCP carries bytes, not messages. One `send` is not one `recv`, never, not even when it was so in all "
        "your tests. The receiver must be able to tell from the bytes themselves where a message ends. How, and which ways only "
        "seem to work, is the next lesson: `remote-shell demo cures`.",
        "记住一句话：TCP 运送的是字节，不是消息。一次 `send` 不等于一次 `recv`，永远不等于，哪怕你测试时每次都恰好相等。"
        "接收方必须能从字节本身看出一条消息在哪里结束。怎样做到，又有哪些办法只是看起来管用，请看下一课：`remote-shell demo cures`。",
    )


# --- pictures


@contextlib.contextmanager
def printed() -> Iterator[io.StringIO]:
    """What the program prints meanwhile, kept from the lesson's own screen."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        yield output


def rows(stage: Stage, sent: tuple[str, str, list[Note]], received: tuple[str, str, list[Note]]) -> Blocks:
    """Two rows over one scale: what each call sent, and what each recv returned, cut and coloured by what was sent."""
    messages = [note.data for note in sent[2]]
    upper = pictures.sent(stage.pick(*sent[:2]), messages)
    return Blocks((upper, pictures.received(stage.pick(*received[:2]), received[2], messages)))


def answers_of(notes: list[Note]) -> tuple[list[Note], list[Note]]:
    """What the server sent, and what the client's recv returned (without the empty one at the end)."""
    return of(notes, "server", "sendall"), [note for note in of(notes, "client", "recv") if note.data]
