"""The middle of the lesson `socket`: the packets by which TCP begins, carries and ends a conversation, and the states in between."""

from __future__ import annotations

import socket

from remote_shell.demo import watcher
from remote_shell.demo.elements import Table
from remote_shell.demo.programs import socket_steps
from remote_shell.demo.stage import Stage
from remote_shell.demo.watcher import CLIENT, Watcher

TRIES = 5  # for the goodbye in three packets: the server must be quicker than 40 ms


def play(stage: Stage, watched: Watcher) -> None:
    """Shows what was watched of one conversation over IPv4."""
    _hello(stage, watched)
    _words_across(stage, watched)
    _goodbye(stage, watched)
    _goodbye_in_three(stage)
    _states(stage, watched)


def _hello(stage: Stage, watched: Watcher) -> None:
    stage.heading("The handshake: three packets", "三次握手：三个数据包")
    if watched.captured:
        stage.say(
            "How do two kernels connect? By packets. This process belongs to *root*, the user who may do everything, so we may look at "
            "them as they cross loopback. These crossed in the run that you have just seen:",
            "两边的内核怎样建立连接？靠数据包。这个进程属于 *root*（什么都能做的用户），所以我们可以看到经过环回的数据包。"
            "刚才那次运行中经过的是这些：",
        )
    else:
        stage.say(
            "How do two kernels connect? By packets. Only *root*, the user who may do everything, may look at packets, "
            "and this process may not. So the packets are drawn dashed: we did not see them, we know them from the rules of TCP. "
            "The states are seen, though: the kernel tells them to everybody.",
            "两边的内核怎样建立连接？靠数据包。只有 *root*（什么都能做的用户）可以看数据包，而这个进程没有这个权限，所以数据包画成虚线："
            "我们没有看到它们，是根据 TCP 的规则推断的。状态则是真的看到的：内核对谁都肯说。",
        )
    _picture(
        stage,
        watched,
        "listener.listen()",
        "connection = listener.accept()",
        (
            "hello: calls beside the lines, packets between them, states in colour",
            "建立连接：线旁是调用，中间是数据包，带颜色的是状态",
        ),
    )
    stage.say(
        "*SYN* means: let us begin, and I count my bytes from here (`seq`, the number of the packet's first byte). *ACK* means: "
        "I have everything before byte number `ack`. So: the client asks (SYN), the server agrees and asks in its turn "
        "(SYN+ACK), the client agrees (ACK). Each end now knows that the other hears it. Two packets would not tell the server that. "
        "Real numbers begin anywhere, so that nobody can guess them; we count from 0. A SYN counts as one byte, and so does the FIN "
        "that you will see in a moment.",
        "*SYN* 的意思是：我们开始吧，我的字节从这里开始编号（`seq` 是这个数据包第一个字节的编号）。"
        "*ACK* 的意思是：编号 `ack` 之前的我都收到了。"
        "于是：客户端请求（SYN），服务器同意，同时也提出请求（SYN+ACK），客户端同意（ACK）。现在两端都知道对方听得见自己。"
        "只有两个数据包的话，服务器还不知道这一点。真实的编号从一个随机的数开始，让别人猜不到；这里改成从 0 数起。"
        "SYN 算一个字节，待会儿要看到的 FIN 也算一个。",
    )
    connect = watched.find("client.connect()")
    both = connect.client == connect.server == "ESTABLISHED"
    if watched.captured:
        stage.claim(
            "handshake",
            both and [packet.flags for packet in connect.packets] == [("SYN",), ("SYN", "ACK"), ("ACK",)],
            "Three packets crossed, SYN, SYN+ACK and ACK, and then both ends were ESTABLISHED.",
            "经过了三个数据包：SYN、SYN+ACK、ACK；之后两端都是 ESTABLISHED。",
        )
    else:
        stage.claim(
            "handshake",
            both,
            "After the handshake both ends were ESTABLISHED.",
            "握手之后，两端都是 ESTABLISHED。",
        )


def _words_across(stage: Stage, watched: Watcher) -> None:
    stage.heading("Talking", "说话")
    _picture(
        stage,
        watched,
        "client.sendall()",
        "client.recv()",
        ("a word there, and a word back", "一句话过去，一句话回来"),
    )
    stage.say(
        "*PSH* means: that is all for now, so hand these bytes out at once. Each ACK names the byte that is expected next. If "
        "no ACK comes, TCP sends the bytes again: that is how nothing gets lost. `recv` did not send any packet: the bytes "
        "were in the buffer already.",
        "*PSH* 的意思是：眼下就这些了，请马上交出去。每个 ACK 都说出下一个等待的字节的编号。如果 ACK 一直不来，TCP 就把字节再发一遍："
        "所以什么也不会丢。`recv` 没有引起任何数据包：字节早就在缓冲区里了。",
    )


def _goodbye(stage: Stage, watched: Watcher) -> None:
    stage.heading("Goodbye: four packets", "四次挥手：四个数据包")
    stage.say(
        "Each direction ends by itself. `close` sends a *FIN*: I shall send nothing more. The other end confirms it (ACK), and "
        "says its own FIN when it closes; that is confirmed too. In between it may still send, but after `close` nobody "
        "reads that. (`shutdown(SHUT_WR)` sends the FIN, too, and its caller goes on reading.) Here the server "
        "waited until its kernel had confirmed the first FIN: we arranged that.",
        "两个方向各自结束。`close` 发出 *FIN*：我不会再发什么了。另一端确认（ACK）；等它也 close，"
        "就发出自己的 FIN，同样会得到确认。在这之间它还可以发送，但对方已经 `close`，没有人读了。"
        "（`shutdown(SHUT_WR)` 同样发出 FIN，但调用它的一方还能继续读。）这里，服务器一直等到内核确认了第一个 FIN 才挂断：这是我们安排的。",
    )
    _picture(
        stage,
        watched,
        "client.close()",
        "connection.close()",
        ("goodbye, taking its time", "断开连接，不慌不忙"),
    )
    if watched.captured:
        stage.say(
            "Books draw FIN alone. In truth each packet after the first SYN carries an ACK as well, which repeats what its sender has.",
            "书上画的通常只有 FIN。实际上，第一个 SYN 之后的每个数据包都带着 ACK，重申发送者已经收到了哪里。",
        )
    samples = watched.between("client.close()", "connection.close()")
    client, server = {each.client for each in samples}, {each.server for each in samples}
    shown = {"FIN_WAIT2", "TIME_WAIT"} <= client and "CLOSE_WAIT" in server
    if watched.captured:
        found = [("FIN" in packet.flags, watched.end(packet) == CLIENT) for each in samples for packet in each.packets]
        stage.claim(
            "goodbye",
            shown and found == [(True, True), (False, False), (True, False), (False, True)],
            "Four packets crossed: FIN, ACK, FIN, ACK. The client's end went on to TIME_WAIT, the server's end was gone.",
            "经过了四个数据包：FIN、ACK、FIN、ACK。客户端一端进入 TIME_WAIT，服务器一端消失了。",
        )
    else:
        stage.claim(
            "goodbye",
            shown,
            "After the first close: FIN_WAIT2 here, CLOSE_WAIT there. After the second: TIME_WAIT here, nothing there.",
            "第一次 close 之后：这边 FIN_WAIT2，那边 CLOSE_WAIT。第二次之后：这边 TIME_WAIT，那边什么也没有了。",
        )


def _goodbye_in_three(stage: Stage) -> None:
    """Plays the conversation again, in a hurry, until the kernel saved a packet. Only a capture can show that."""
    tried = 0
    while tried < TRIES:
        tried += 1
        with Watcher(patient=False) as hurried:
            socket_steps.converse(socket.AF_INET, ("127.0.0.1", 0), hurried)
        samples = hurried.between("client.close()", "connection.close()")
        packets = [packet for each in samples for packet in each.packets]
        if not hurried.captured:
            return
        if len(packets) == 3:
            break
    stage.heading("Goodbye in a hurry: three packets", "匆忙的告别：三个数据包")
    stage.say(
        "The kernel does not like to send an ACK by itself. It waits a little (on Linux often 40 milliseconds): perhaps a packet goes "
        "that way anyway, and takes it along. If the server closes at once, its FIN carries the ACK for the client's FIN. "
        f"The same program, without our pause{f' (it took {tried} runs until it showed)' if tried > 1 else ''}:",
        "内核不喜欢单独发一个 ACK，它会稍等一会儿（在 Linux 上常常是 40 毫秒，教材里叫延迟确认）：也许正好有数据包往那边去，可以捎上。"
        "如果服务器马上 close，它的 FIN 就把对客户端 FIN 的 ACK 一起带过去了。"
        f"还是那个程序，去掉我们安排的停顿{f'（运行了 {tried} 次才出现）' if tried > 1 else ''}：",
    )
    _picture(stage, hurried, "client.close()", "connection.close()", ("goodbye in a hurry", "匆忙的告别"))
    stage.claim(
        "merged",
        [("FIN" in packet.flags) for packet in packets] == [True, True, False],
        "Three packets: FIN, then FIN and ACK in one, then ACK. So don't be surprised if you record the packets yourself and find "
        "no fourth.",
        "三个数据包：FIN，FIN 和 ACK 合在一个里，最后 ACK。所以，如果你自己把数据包记录下来（抓包），却没看到第四个，不必惊讶。",
    )


def _states(stage: Stage, watched: Watcher) -> None:
    stage.heading("The states", "各种状态")
    seen = {state for each in watched.samples for state in (each.client, each.server)}
    pick = stage.pick
    rows = (
        ("CLOSE", pick("a socket without a connection (books write CLOSED)", "没有连接的套接字（书上写作 CLOSED）")),
        ("LISTEN", pick("takes calls", "接听呼叫")),
        ("SYN_SENT", pick("has called, no answer yet (you will see it below)", "已经呼叫，还没有回答（下面会看到）")),
        ("SYN_RECV", pick("has answered, waits for the last ACK", "已经回答，等最后一个 ACK：半连接")),
        ("ESTABLISHED", pick("connected: both may talk", "已连接：双方都可以说话")),
        ("FIN_WAIT1", pick("has said FIN, not confirmed yet", "发了 FIN，还没得到确认")),
        (
            "FIN_WAIT2",
            pick(
                "its FIN is confirmed; the other one has not said its own yet", "FIN 已被确认；对方还没有发自己的 FIN"
            ),
        ),
        ("CLOSE_WAIT", pick("has got a FIN; waits for its own program to close", "收到了 FIN；等自己的程序调用 close")),
        ("LAST_ACK", pick("has said the second FIN, waits for the ACK", "发了第二个 FIN，等 ACK")),
        (
            "TIME_WAIT",
            pick("is over, but stays for a while: on Linux a minute", "已经结束，但还要保留一阵：Linux 上是一分钟"),
        ),
    )
    stage.show(
        Table(
            (pick("state", "状态"), pick("meaning", "意思"), pick("seen in the first run", "第一次运行中看到")),
            tuple((name, meaning, pick("yes", "是") if name in seen else pick("no", "否")) for name, meaning in rows),
        )
    )
    stage.say(
        "SYN_RECV and LAST_ACK last some millionths of a second on loopback: they are over before we can ask. TIME_WAIT is with the one "
        "who hung up first. Its last ACK may have been lost, and then the other end repeats its FIN: somebody must be there to answer. "
        "Many CLOSE_WAIT in a server mean a bug: it forgets to close.",
        "在环回上，SYN_RECV 和 LAST_ACK 只存在百万分之几秒：我们还没来得及问，它们就过去了。TIME_WAIT 在先挂断的那一方。"
        "它的最后一个 ACK 可能丢失，那样对方会重发 FIN：得有人在那里回答。如果服务器里有许多 CLOSE_WAIT，那是程序有错：它忘了 close。",
    )


def _picture(stage: Stage, watched: Watcher, first: str, last: str, caption: tuple[str, str]) -> None:
    actors = (stage.pick("client", "客户端"), stage.pick("server", "服务器"))
    stage.show(watcher.exchange(watched, watched.between(first, last), actors, stage.pick(*caption)))
