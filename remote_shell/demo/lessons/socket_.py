"""The lesson `socket`: a conversation call by call, over IPv4, IPv6 and a Unix socket.

The packets of it are in `socket_packets`; what `bind` refuses and what a full backlog does, in `socket_refusals`.
"""

from __future__ import annotations

import os
import socket
import tempfile

from remote_shell.demo.elements import Table
from remote_shell.demo.lessons import socket_packets, socket_refusals
from remote_shell.demo.programs import socket_steps
from remote_shell.demo.stage import Stage
from remote_shell.demo.watcher import Watcher

IPV4 = (socket.AF_INET, ("127.0.0.1", 0))
IPV6 = (socket.AF_INET6, ("::1", 0))


def play(stage: Stage) -> None:
    """Plays the lesson."""
    with Watcher() as watched:
        socket_steps.converse(*IPV4, watched)
    _calls(stage, watched)
    socket_packets.play(stage, watched)
    _families(stage)
    socket_refusals.bind(stage)
    socket_refusals.backlog(stage)


def _calls(stage: Stage, watched: Watcher) -> None:
    stage.heading("A conversation, call by call", "一次对话，逐个调用来看")
    stage.words("byte", "process", "network", "kernel", "server", "client", "socket")
    stage.say(
        "Two programs want to talk. It works like the telephone: the server gets a number and waits, the client calls it, "
        "both talk, both hang up. Here a server and a client sit in one program, so that you can watch both at once.",
        "两个程序想要对话。这很像打电话：服务器有一个号码，等着；客户端拨这个号码；双方说话，然后都挂断。"
        "这里把服务器和客户端写在同一个程序里，这样可以同时看到两边。",
    )
    stage.words("address", "loopback", "port", "IPv4", "IPv6", "Unix socket", "protocol", "connection", "stream", "TCP")
    stage.program("socket_steps")
    stage.source("socket_steps", "converse")
    stage.say(
        "We have just run it. After each call we asked the kernel about both ends. It describes an end by a *state*: a word "
        "for how far the conversation has got. More about these words in a moment.",
        "我们刚刚运行了它。每个调用之后，我们都向内核询问两端的情况。内核用一个*状态*来描述一端：一个说明对话进行到哪一步的词。"
        "这些词稍后再解释。",
    )
    stage.words("packet", "handshake", "buffer", "backlog")
    did = _did(stage, watched)
    stage.show(
        Table(
            (
                stage.pick("call", "调用"),
                stage.pick("what the kernel did", "内核做了什么"),
                stage.pick("client's end", "客户端一端"),
                stage.pick("server's end", "服务器一端"),
            ),
            tuple(
                (
                    f"`{sample.call}`" + (f" → `{sample.returned!r}`" if sample.returned is not None else ""),
                    did[number],
                    sample.client or "—",
                    sample.server or "—",
                )
                for number, sample in enumerate(each for each in watched.samples if each.call)
            ),
            stage.pick("over IPv4; — means that the kernel knows no such end", "经由 IPv4；— 表示内核里没有这一端"),
        )
    )
    after = watched.find("client.connect()")
    stage.claim(
        "connect-before-accept",
        after.client == after.server == "ESTABLISHED",
        "Look at `client.connect()`: both ends were connected before the server called `accept`. The kernel answers the "
        "telephone; `accept` only hands over what is in the queue.",
        "看 `client.connect()` 这一行：服务器还没有调用 `accept`，两端就已经连上了。接电话的是内核；`accept` 只是把队列里的连接取出来。",
    )
    _answered(stage, "ipv4", "IPv4", watched)


def _did(stage: Stage, watched: Watcher) -> list[str]:
    """What each call made the kernel do, with this run's addresses."""
    listener = watched.find("listener.bind()").address
    client = watched.find("client.connect()").address
    pick = stage.pick
    return [
        pick("Made a socket. It has no address yet.", "建了一个套接字，还没有地址。"),
        pick(
            f"Gave it the address {listener}. We asked for port 0: any free one.",
            f"给了它地址 {listener}。我们要的是端口 0，意思是随便一个空闲的。",
        ),
        pick("From now on, takes calls for this address.", "从现在起，替这个地址接听呼叫。"),
        pick("Made another socket, for the client.", "又建了一个套接字，给客户端用。"),
        pick(
            f"Gave the client an address too, {client}, and connected both ends.",
            f"给客户端也挑了一个地址 {client}，并把两端连接起来。",
        ),
        pick(
            "Took the connection out of the queue and made a new socket of it.",
            "从队列里取出这个连接，为它建了一个新的套接字。",
        ),
        pick(
            "Took the bytes and carried them into the buffer at the other end.",
            "收下这些字节，送进另一端的缓冲区。",
        ),
        pick("Handed out what was in the buffer.", "把缓冲区里的字节交出来。"),
        pick("The same in the other direction.", "反方向再来一次。"),
        pick("Handed out what was in the buffer.", "把缓冲区里的字节交出来。"),
        pick("Told the other end: from here nothing more will come.", "告诉另一端：这边不会再有字节过来了。"),
        pick("Said: no bytes, and there never will be any again.", "回答：没有字节，以后也不会再有。"),
        pick(
            "Said the same to the client's end. The server's end is gone.",
            "对客户端一端也说了同样的话。服务器一端消失了。",
        ),
        pick("Takes no more calls.", "不再接听呼叫。"),
    ]


def _families(stage: Stage) -> None:
    stage.heading("The same over IPv6 and over a Unix socket", "换成 IPv6 和 Unix 套接字")
    stage.say(
        "The very same function, with other addresses. Only `socket()` and `bind()` differ: the kind of address, and the address.",
        "还是同一个函数，只是换了地址。不同的只有 `socket()` 和 `bind()`：地址的种类，以及地址本身。",
    )
    columns: list[tuple[str, Watcher]] = []
    with Watcher() as watched:
        try:
            socket_steps.converse(*IPV6, watched)
        except OSError as error:
            reason = error.strerror or str(error)
            stage.say(
                f"This machine has no IPv6, so that part is left out; the kernel said: {reason}.",
                f"这台机器没有 IPv6，所以略过这一部分；内核说：{reason}。",
            )
        else:
            columns.append(("IPv6", watched))
    with tempfile.TemporaryDirectory() as folder, Watcher() as local:
        path = os.path.join(folder, "meeting-point")
        socket_steps.converse(socket.AF_UNIX, path, local)
        stays = os.path.exists(path)
    columns.append((stage.pick("Unix socket", "Unix 套接字"), local))
    calls = [each.call for each in local.samples if each.call]
    stage.show(
        Table(
            (stage.pick("call", "调用"), *(name for name, _ in columns)),
            tuple((f"`{call}`", *(_cell(each, number) for _, each in columns)) for number, call in enumerate(calls)),
            stage.pick(
                "the state of the call's own socket after it, its address where it got one, and what `recv` returned",
                "调用之后该套接字自己的状态，得到地址时的地址，以及 `recv` 返回了什么",
            ),
        )
    )
    if columns[0][1] is watched:
        _answered(stage, "ipv6", "IPv6", watched)
    _answered(stage, "unix", "Unix socket", local)
    stage.claim(
        "unix-file",
        stays,
        "A Unix socket's file is still there after `close`. A server deletes it by `os.unlink`, or its next start will fail: see below.",
        "`close` 之后，Unix 套接字的文件还在。服务器要用 `os.unlink` 删掉它，否则下次启动会失败：见下文。",
    )
    stage.say(
        "A Unix socket needs no packets and no TCP: the kernel moves the bytes from one program to the other, and so it has no "
        "handshake, no TIME_WAIT, and only a few states.",
        "Unix 套接字不需要数据包，也不需要 TCP：内核直接把字节从一个程序交给另一个程序。"
        "所以它没有握手，没有 TIME_WAIT，状态也只有寥寥几个。",
    )


def _cell(watched: Watcher, number: int) -> str:
    sample = [each for each in watched.samples if each.call][number]
    parts = [sample.own or "—"]
    if sample.call in ("listener.bind()", "client.connect()") and sample.address:
        parts.append(sample.address)
    if sample.returned is not None:
        parts.append(f"→ `{sample.returned!r}`")
    return " ".join(parts)


def _answered(stage: Stage, name: str, family: str, watched: Watcher) -> None:
    returned = [each.returned for each in watched.samples if each.returned is not None]
    stage.claim(
        name,
        returned == [b"hello", b"HELLO", b""],
        f"{family}: the server got `hello`, the client got `HELLO`, and after the goodbye `recv` returned `b''`.",
        f"{'Unix 套接字' if family == 'Unix socket' else family}：服务器收到 `hello`，客户端收到 `HELLO`，告别之后 `recv` 返回 `b''`。",
    )
