"""The second part of the lesson `cures`: the header, what a hostile one does, the JSON header. A neighbour of `cures_compared`."""

from __future__ import annotations

import hashlib
import json
import socket
import struct
import subprocess
import sys

from remote_shell.demo import pictures
from remote_shell.demo.elements import Blocks, Dump, Output, Row, Span, Table
from remote_shell.demo.ends import Ends, wait_until
from remote_shell.demo.pictures import short
from remote_shell.demo.programs import cure_header, cure_json_header
from remote_shell.demo.recorder import of
from remote_shell.demo.stage import PROGRAMS, Stage

MEMORY = 1 << 30  # bytes that the child of `hostile_length` may ask for
CHILD = """
import resource, socket, sys
sys.path.insert(0, sys.argv[1])
import cure_header
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), int(sys.argv[3])))
with socket.socket(fileno=int(sys.argv[2])) as connection:
    cure_header.receive_trusting(connection)
"""


def play(stage: Stage) -> None:
    """Plays the second part."""
    header(stage)
    header_cut(stage)
    hostile_length(stage)
    json_header(stage)
    json_refused(stage)


def header(stage: Stage) -> None:
    stage.heading("4. The length in front", "四、把长度放在最前面")
    stage.say(
        "The length again, but better: always in four bytes, right before the message, with no waiting. Such bytes before a message "
        "are called a *header*. A header of fixed size needs no border of its own: the receiver reads exactly four bytes, then "
        "exactly as many as they say. `struct.pack('!I', 5)` makes the four bytes: `I` is a whole number, not below zero, in four "
        "bytes; `!` puts the byte that counts most first, as is the custom on networks: `b'\\x00\\x00\\x00\\x05'`.",
        "还是长度，但做得更好：固定四个字节，紧挨在消息前面，不用等待。放在消息前面的这种字节叫做*报头*。"
        "大小固定的报头自己不需要边界：接收方正好读四个字节，再正好读它所说的那么多。"
        "`struct.pack('!I', 5)` 生成这四个字节：`I` 表示四个字节的非负整数；`!` 表示网络字节序，即高位字节在前："
        "`b'\\x00\\x00\\x00\\x05'`。",
    )
    stage.program("cure_header")
    stage.source("cure_header", "send")
    stage.source("cure_header", "receive")
    stage.source("cure_header", "read_exactly")
    stage.say(
        "Here is the command server from the lesson `sticky` with this cure. The client does the worst it can: "
        "it sends all its commands at once, before the server reads. (Headers are grey.)",
        "下面是 `sticky` 一课里的命令服务器，用上了这个办法。客户端使出最坏的一招：在服务器开始读之前，把所有命令一次全发出去。"
        "（报头是灰色的。）",
    )
    commands = [b"echo one", b"echo two", b"seq 100", b"echo hello"]
    with Ends() as ends:
        client = ends.call()
        for command in commands:
            cure_header.send(client, command)
        server = ends.start(cure_header.serve, ends.listener)
        answers = [cure_header.receive(client) for _ in commands]
        client.close()
        server.result()
    for who, other, en, zh in (("client", "server", "commands", "命令"), ("server", "client", "answers", "回答")):
        sent = [note.data for note in of(ends.notes, who, "sendall")]
        sizes = [size for data in sent for size in (cure_header.HEADER.size, len(data) - cure_header.HEADER.size)]
        received = [note.data for note in of(ends.notes, other, "recv")]
        stage.show(
            Blocks(
                (
                    Row(stage.pick(f"{who} sent", "发送"), pictures.calls(sent, sizes)),
                    Row(stage.pick(f"{other}'s recv returned", "recv 返回"), pictures.calls(received, sizes)),
                ),
                stage.pick(en, zh),
            )
        )
    rows = tuple((command.decode(), short(answer)) for command, answer in zip(commands, answers, strict=True))
    stage.show(Table((stage.pick("command", "命令"), stage.pick("answer", "回答")), rows))
    expected = [b"one\n", b"two\n", b"".join(b"%d\n" % number for number in range(1, 101)), b"hello\n"]
    stage.claim(
        "header_works",
        answers == expected,
        f"{len(answers)} commands sent at once got {len(answers)} answers, each whole and each its own.",
        f"一次发出 {len(answers)} 条命令，得到 {len(answers)} 个回答，每个都完整，每个都对得上。",
    )


def header_cut(stage: Stage) -> None:
    stage.heading("The header may be cut as well", "报头也可能被切开")
    stage.say(
        "Many programs get the header by `recv(4)`: four bytes surely come at once? The same stream, the same answer: no. "
        "We let one byte of the header arrive, and the other three later. Here is the wrong way, and what it says; "
        "`receive` from above calls `recv` again until it has all four.",
        "许多程序用 `recv(4)` 取报头：四个字节总会一起到吧？同样是字节流，同样的答案：不一定。"
        "我们让报头先到一个字节，另外三个晚点到。下面是错误的写法，以及它的下场；而前面的 `receive` 会反复调用 `recv`，直到四个字节到齐。",
    )
    stage.source("cure_header", "receive_trusting")
    message = b"one message"
    error = ""
    with Ends() as ends:
        client, server = ends.pair()
        client.sendall(cure_header.HEADER.pack(len(message))[:1])
        try:
            cure_header.receive_trusting(server)
        except struct.error as caught:
            error = f"struct.error: {caught}"
    stage.show(
        Output(error, stage.pick("What receive_trusting says of one byte:", "receive_trusting 只收到一个字节时说："))
    )
    with Ends() as ends:
        client, server = ends.pair()
        receiver = ends.start(cure_header.receive, server)
        whole = cure_header.HEADER.pack(len(message)) + message
        client.sendall(whole[:1])
        cut = wait_until(lambda: of(ends.notes, "server", "recv"))
        client.sendall(whole[1:])
        received = receiver.result()
    sizes = [cure_header.HEADER.size, len(message)]
    calls = [note.data for note in of(ends.notes, "server", "recv")]
    stage.show(
        Blocks(
            (
                Row(stage.pick("arrived", "到达"), pictures.calls([whole[:1], whole[1:]], sizes)),
                Row(stage.pick("recv returned", "recv 返回"), pictures.calls(calls, sizes)),
            )
        )
    )
    stage.claim(
        "header_cut",
        bool(error) and cut and received == message and len(calls[0]) < cure_header.HEADER.size,
        f"A header that came in two parts broke receive_trusting; receive got the message whole, in {len(calls)} recvs.",
        f"报头分两次到达，receive_trusting 就出错了；receive 用 {len(calls)} 次 recv 完整地收下了消息。",
    )


def hostile_length(stage: Stage) -> None:
    stage.heading("A length is a claim, not a fact", "长度只是对方的一面之词")
    stage.say(
        "Four bytes can announce 4294967295 bytes: 4 GiB (a GiB is 1024·1024·1024 bytes). A stranger needs one small packet to do "
        "so. We run `receive_trusting` in a "
        f"process of its own, which may ask for {MEMORY >> 30} GiB of memory (arranged, so that your computer is safe), and send it "
        "four bytes:",
        "四个字节可以声称后面有 4294967295 字节，也就是 4 GiB（1 GiB 是 1024·1024·1024 字节）。陌生人只要发一个小小的数据包就够了。"
        f"我们在单独的进程里运行 `receive_trusting`，只准它用 {MEMORY >> 30} GiB 内存（这样安排，你的计算机才安全），然后给它发四个字节：",
    )
    hostile = cure_header.HEADER.pack(0xFFFF_FFFF)
    with Ends() as ends:
        client, server = ends.pair()
        client.sendall(hostile)
        argv = [sys.executable, "-I", "-c", CHILD, str(PROGRAMS), str(server.fileno()), str(MEMORY)]
        child = subprocess.run(argv, pass_fds=[server.fileno()], capture_output=True, text=True, timeout=15)
    last = child.stderr.strip().rpartition("\n")[2]
    stage.show(Output(last, stage.pick("The last words of receive_trusting:", "receive_trusting 的遗言：")))
    stage.say(
        "With more memory it would not have died but waited, perhaps for ever, with 4 GiB set aside for a stranger; and for the next one. "
        "Now the same four bytes for `receive`, which looks at the length first:",
        "内存更多的话，它不会死，而是一直等下去，还为一个陌生人留着 4 GiB；再来一个，再留 4 GiB。"
        "现在把同样的四个字节发给 `receive`，它会先看长度：",
    )
    refusal = ""
    with Ends() as ends:
        client, server = ends.pair()
        client.sendall(hostile)
        try:
            cure_header.receive(server)
        except ValueError as caught:
            refusal = f"ValueError: {caught}"
    read = pictures.total(of(ends.notes, "server", "recv"))
    stage.show(Output(refusal, stage.pick("What receive says:", "receive 说：")))
    stage.say(
        "After a refusal the only thing to do is to hang up: where the next message would begin, nobody knows any more.",
        "拒绝之后，唯一能做的就是挂断：下一条消息从哪里开始，已经没有人知道了。",
    )
    stage.claim(
        "hostile_length",
        child.returncode != 0 and "MemoryError" in last,
        f"Four bytes from a stranger ended the trusting process with {last or 'nothing'}.",
        f"陌生人的四个字节，让轻信的进程以 {last or '（无输出）'} 告终。",
    )
    stage.claim(
        "length_refused",
        bool(refusal) and read == len(hostile),
        f"With a limit it was refused when {read} bytes had been read.",
        f"有了上限，只读了 {read} 个字节就拒绝了。",
    )


def json_header(stage: Stage) -> None:
    stage.heading("5. More than a length", "五、不只是长度")
    stage.say(
        "Who sends files has more to tell than a length: the name, say, and a *hash*, a fingerprint of the bytes, by which the "
        "receiver can see that all is as it was. A header of fixed size has no room for all that. So we take two steps: four bytes "
        "give the length "
        "of the header, the header is *JSON* (a dict written as text), and in it stands the size of the *body*: what is sent, the "
        "bytes of the file.",
        "发送文件时要说的不只是长度，还有名字，以及*哈希*——字节的指纹，接收方用它检查内容是否原样。"
        "固定大小的报头装不下这些。所以分两步：四个字节写明报头的长度；报头是 *JSON*（把字典写成文本）；"
        "报头里再写明*正文*（要发送的内容本身，即文件的字节）的大小。",
    )
    stage.program("cure_json_header")
    stage.source("cure_json_header", "send")
    stage.source("cure_json_header", "receive")
    name, body = "hello.txt", b"hello\nworld\n"
    with Ends() as ends:
        client, server = ends.pair()
        cure_json_header.send(client, name, body)
        found, received = cure_json_header.receive(server)
    data = b"".join(note.data for note in of(ends.notes, "client", "sendall"))
    start = cure_json_header.LENGTH.size
    middle = start + cure_json_header.LENGTH.unpack_from(data)[0]
    stage.say(
        "Here is every byte of it: on the left the number of a row's first byte, in the middle the bytes in hexadecimal, on the right "
        "the same bytes as text, with · where a byte is no letter or sign.",
        "下面是其中的每一个字节：左边是这一行第一个字节的编号，中间是用十六进制写的字节，右边是同样的字节当作文本的样子，"
        "不是字母或符号的写成 ·。",
    )
    stage.show(
        Dump(
            data,
            (
                Span(
                    0, start, stage.pick(f"length of the header: {middle - start}", f"报头的长度：{middle - start}"), 1
                ),
                Span(start, middle, stage.pick("header, JSON", "报头，JSON"), 2),
                Span(
                    middle,
                    len(data),
                    stage.pick(f"body, {len(data) - middle} bytes", f"正文，{len(data) - middle} 字节"),
                    3,
                ),
            ),
            caption=stage.pick("all that crossed", "传送的全部字节"),
        )
    )
    stage.claim(
        "json_header_works",
        (found["name"], received) == (name, body),
        f"{found['name']} came whole: {len(received)} bytes, and {len(data) - len(received)} bytes that tell about them.",
        f"{found['name']} 完整到达：{len(received)} 字节，另有 {len(data) - len(received)} 字节用来说明它。",
    )


def json_refused(stage: Stage) -> None:
    stage.say(
        "Old textbooks use MD5 as the hash. Take SHA-256: for MD5 two different bodies with one hash have been made on purpose. And "
        "again we believe nothing that we have not checked. Here is what `receive` says of headers and bodies that are wrong:",
        "旧教材用 MD5 做哈希。请用 SHA-256：早已有人故意造出 MD5 相同的两份不同内容。同样，没检查过的一概不信。"
        "下面是 `receive` 遇到有问题的报头和正文时怎么说：",
    )
    good = {"name": "x", "size": 5, "sha256": hashlib.sha256(b"hello").hexdigest()}
    attempts = [
        (stage.pick("one byte of the body changed", "正文有一个字节变了"), json.dumps(good).encode(), b"hallo"),
        ('"size": -1', json.dumps(good | {"size": -1}).encode(), b"hello"),
        ('"size": "5"', json.dumps(good | {"size": "5"}).encode(), b"hello"),
        ('"size": 10**12', json.dumps(good | {"size": 10**12}).encode(), b"hello"),
    ]
    answers = [
        (what, refused(cure_json_header.LENGTH.pack(len(header)) + header + body)) for what, header, body in attempts
    ]
    answers.append((stage.pick("header of 4 GiB", "4 GiB 的报头"), refused(cure_json_header.LENGTH.pack(0xFFFF_FFFF))))
    stage.show(Table((stage.pick("sent", "发送"), stage.pick("`receive` says", "`receive` 说")), tuple(answers)))
    stage.claim(
        "json_header_refuses",
        all(answer for _, answer in answers),
        f"{sum(bool(answer) for _, answer in answers)} of {len(answers)} wrong ones were refused.",
        f"{len(answers)} 个有问题的，拒绝了 {sum(bool(answer) for _, answer in answers)} 个。",
    )


def refused(data: bytes) -> str:
    """The error with which the JSON cure refuses these bytes; nothing if it takes them."""
    with Ends() as ends:
        client, server = ends.pair()
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        try:
            cure_json_header.receive(server)
        except ValueError as error:
            return str(error)
    return ""
