"""The lesson udp, third part: the command server on UDP; what its client must do itself; who waits for a slow command."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

from remote_shell.demo.elements import ALARM, Arrow, Bar, Exchange, Lane, Output, Table, Timeline
from remote_shell.demo.lessons.background import beside, wait_until
from remote_shell.demo.programs import udp_command_server, udp_relay, udp_threading_server
from remote_shell.demo.recorder import Note, RecordedSocket, of
from remote_shell.demo.stage import Stage

Address = tuple[str, int]


@contextlib.contextmanager
def _plain(notes: list[Note]) -> Iterator[Address]:
    """The plain server, running."""
    with RecordedSocket(udp_command_server.open_udp(), "server", notes) as udp:
        address = udp.getsockname()

        def stop() -> None:
            with udp_command_server.open_udp() as stopper:
                stopper.sendto(b"exit", address)

        with beside(udp_command_server.serve, udp, stop=stop):
            yield address


@contextlib.contextmanager
def _threading(notes: list[Note]) -> Iterator[Address]:
    """The server with a thread for each datagram, running."""
    with udp_threading_server.CommandServer(("127.0.0.1", 0), udp_threading_server.CommandHandler) as server:
        server.socket = RecordedSocket(server.socket, "server", notes)
        with beside(server.serve_forever, 0.02, stop=server.shutdown):
            yield server.socket.getsockname()


def first(stage: Stage) -> None:
    stage.heading("The command server on UDP", "UDP 上的命令服务器")
    stage.say(
        "The command server, as short as it gets: one `recvfrom` is one command, one `sendto` is one answer. No header is needed, and "
        "there is nothing to close. We ask it for a short answer, a longer one, and one that is too long for a datagram.",
        "命令服务器，短得不能再短：一次 `recvfrom` 就是一条命令，一次 `sendto` 就是一个回答。不需要报头，也没有什么要关闭。"
        "我们要一个短的回答、一个长一些的，再要一个数据报装不下的。",
    )
    stage.program("udp_command_server")
    stage.source("udp_command_server", "serve")
    notes: list[Note] = []
    commands = ["echo hello", "seq 1000", "seq 20000"]
    with _plain([]) as address, RecordedSocket(udp_command_server.open_udp(), "client", notes) as client:
        answers = [udp_command_server.ask(client, address, command, wait=10, tries=1) for command in commands]
    returns = of(notes, "client", "recvfrom")
    rows = [
        (f"`{command}`", str(len(answer)), answer if len(answer) < 80 else f"{answer[:9]} … {answer[-9:]}")
        for command, answer in zip(commands, answers, strict=True)
    ]
    stage.show(
        Table(
            (stage.pick("command", "命令"), stage.pick("bytes", "字节数"), stage.pick("answer", "回答")),
            tuple((command, size, " ".join(answer.split())) for command, size, answer in rows),
        )
    )
    whole = "".join(f"{number}\n" for number in range(1, 1001))
    stage.claim(
        "whole",
        answers[1] == whole and returns[1].data == whole.encode(),
        f"The {len(answers[1]):,} bytes of `seq 1000` came in one `recvfrom`, whole, without a header.",
        f"`seq 1000` 的 {len(answers[1])} 个字节由一次 `recvfrom` 完整返回，没有用报头。",
    )
    stage.claim(
        "answer-too-long",
        "Message too long" in answers[2],
        "The output of `seq 20000` fits into no datagram: `sendto` failed at the server, and all it could send was an excuse. To send "
        "more, you would have to cut the answer, number the parts and ask for lost ones: you would write a small TCP.",
        "`seq 20000` 的输出装不进任何一个数据报：服务器的 `sendto` 失败了，它只能发来一句道歉。想发更多，就得把回答切开、编号、"
        "丢了的再要一遍：等于自己写一个小 TCP。",
    )


def twice(stage: Stage) -> None:
    stage.heading("No answer: ask again?", "没有回答：再问一次？")
    stage.say(
        "A datagram may get lost, so the client must not wait for ever. It sets a *timeout*: the longest time that it waits, and then "
        "asks again. Sounds sensible. We let the client ask for a payment: `echo 10 yuan >> account` adds a line to the file "
        "`account`. The relay in between is told to "
        "lose the first answer; all else it passes on.",
        "数据报可能丢，所以客户端不能永远等下去。它设一个*超时*：最多等这么久，然后再问一次。听起来很合理。"
        "我们让客户端请求付一笔钱：`echo 10 yuan >> account` 在文件 `account` 末尾加一行。中间的中继被安排好丢掉第一个回答，其他的都放行。",
    )
    stage.source("udp_command_server", "ask")
    log: list[tuple[bool, str, bytes]] = []
    with tempfile.TemporaryDirectory() as folder:
        account = Path(folder, "account")
        command = f"echo 10 yuan >> {shlex.quote(str(account))}; echo paid"
        answer = _pay(command, log)
        paid = account.read_text() if account.exists() else ""
    stage.show(_payment(stage, log))
    stage.show(Output(paid, stage.pick("the file `account` afterwards", "之后 `account` 文件的内容")))
    runs = paid.count("10 yuan")
    stage.claim(
        "ran-twice",
        answer == "paid\n" and runs > 1,
        f"The client wanted to pay once and got one answer, `paid`. The command ran {runs} times.",
        f"客户端只想付一次，也只收到一个回答 `paid`。命令却执行了 {runs} 次。",
    )
    stage.say(
        "Nobody made a mistake, and still the money is gone twice. Seen from the client, a lost question, a lost answer and a slow "
        "server look the same: silence. The way out is to number the questions; the server remembers its last answers by number, and "
        "sends the old answer again instead of running the command again. (That also tells a late answer from the one to the next "
        "question.) This project runs over connections, and for connections that get cut it does just that: both ends count, and "
        "nothing is run again by itself (docs/protocol.md, section 5).",
        "谁也没有犯错，钱却付了两次。在客户端看来，问题丢了、回答丢了、服务器太慢，都是一个样：没有声音。办法是给问题编号：服务器按编号"
        "记住最近的回答，再收到同一个问题，就把旧的回答再发一遍，而不是再执行一遍。（这样也能分清迟到的回答和下一个问题的回答。）本项目"
        "使用连接，而对于中途断掉的连接，它正是这么做的：两端各自计数，任何命令都不会自动再执行一遍（docs/protocol.md 第 5 节）。",
    )


def _pay(command: str, log: list[tuple[bool, str, bytes]]) -> str:
    """Asks through a relay that loses the first answer."""
    answers = iter(["lost"])

    def choose(to_server: bool) -> str:
        return "passed" if to_server else next(answers, "passed")

    with _plain([]) as server, udp_relay.open_udp() as middle, udp_relay.open_udp() as client:
        to_relay = middle.getsockname()
        with beside(udp_relay.relay, middle, server, choose, log, stop=lambda: client.sendto(b"exit", to_relay)):
            # half a second, and many tries: on a slow computer it takes more of them, and shows the same
            answer: str = udp_command_server.ask(client, to_relay, command, wait=0.5, tries=20)
    return answer


def _payment(stage: Stage, log: list[tuple[bool, str, bytes]]) -> Exchange:
    arrows = []
    runs = 0
    for to_server, fate, data in log:
        lost = fate == "lost"
        text = stage.pick("pay!", "付款！") if to_server else f"{data.decode().strip()}"
        start, end = (0, 2) if to_server else (2, 0)
        arrows.append(Arrow(start, 1, text, colour=1 if to_server else 2))
        if lost:
            arrows.append(Arrow(1, end, text, lost=True, colour=ALARM))
            arrows.append(Arrow(0, 0, stage.pick("timeout: ask again", "超时：再问一次")))
        else:
            arrows.append(Arrow(1, end, text, colour=1 if to_server else 2))
        if to_server:
            runs += 1
            arrows.append(Arrow(2, 2, stage.pick(f"runs it, time {runs}", f"执行，第 {runs} 次")))
    actors = (stage.pick("client", "客户端"), stage.pick("relay", "中继"), stage.pick("server", "服务器"))
    return Exchange(actors, tuple(arrows), caption=stage.pick("the answer was lost", "丢了的是回答"))


def slow(stage: Stage) -> None:
    stage.heading("Who waits for a slow command?", "谁在等慢的命令？")
    stage.say(
        "Client A sends a slow command. While it runs, client B sends `echo quick`. The plain server does one thing after the other. "
        "The second server uses `socketserver.ThreadingUDPServer` of the standard library, which starts a thread for each datagram. "
        "Arranged: A's command lasts until we let it go. With the plain server we do so when B has waited 0.4 s in vain, with the other "
        "one when B has its answer.",
        "客户端 A 发一条慢的命令。它执行的时候，客户端 B 发 `echo quick`。普通的服务器一件做完再做下一件。第二个服务器用标准库的 "
        "`socketserver.ThreadingUDPServer`，为每个数据报启动一个线程。这里做了安排：A 的命令一直执行到我们放行为止。对普通的服务器，"
        "B 白等 0.4 秒之后放行；对另一个，B 得到回答之后放行。",
    )
    stage.program("udp_threading_server")
    stage.source("udp_threading_server", "CommandHandler")
    stage.source("udp_threading_server", "CommandServer")
    notes: list[Note] = []
    with _plain(notes) as address:
        _race(address, notes, patience=0.4)
    lane = stage.pick("server", "服务器")
    stage.show(Timeline(_lanes(stage, notes, lane, lane), stage.pick("the plain server", "普通的服务器")))
    stage.claim(
        "plain-waits",
        [note.data for note in of(notes, "server", "sendto")] == [b"slow\n", b"quick\n"],
        "Plain: B's quick command got its answer only after A's slow one.",
        "普通的服务器：B 的命令虽快，却要等 A 的慢命令完了才有回答。",
    )
    notes = []
    with _threading(notes) as address:
        _race(address, notes, patience=10)
    lanes = _lanes(stage, notes, stage.pick("thread 1", "线程 1"), stage.pick("thread 2", "线程 2"))
    stage.show(Timeline(lanes, "ThreadingUDPServer"))
    stage.claim(
        "threading-does-not",
        _answered(notes) == ["B", "A"],
        "With a thread for each datagram B had its answer while A's command still ran.",
        "每个数据报一个线程：A 的命令还在执行，B 就得到了回答。",
    )
    stage.say(
        "Two traps of `socketserver`: it calls `recvfrom` with 8192 unless you set `max_packet_size`, and you know by now what happens "
        "to a longer datagram. And a thread for each datagram means that a stranger who sends a million of them starts a million "
        "threads. A real server sets a limit.",
        "`socketserver` 的两个坑：不设 `max_packet_size` 时，它用 8192 调用 `recvfrom`，更长的数据报会怎么样，你已经知道了。"
        "还有，一个数据报一个线程，意味着陌生人发一百万个数据报，就启动一百万个线程。真正的服务器要设上限。",
    )


def _race(address: Address, notes: list[Note], patience: float) -> None:
    """A asks for something slow, B for something quick; A's command is let go when B has its answer or has run out of patience."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        begun, gate = Path(folder, "begun"), Path(folder, "gate")
        until = f"until test -e {shlex.quote(str(gate))}; do sleep 0.02; done"
        slow = f": > {shlex.quote(str(begun))}; {until}; echo slow"

        def ask(who: str, command: str) -> Future[str]:
            client = ends.enter_context(RecordedSocket(udp_command_server.open_udp(), who, notes))
            return ends.enter_context(beside(udp_command_server.ask, client, address, command, 15, 1, stop=gate.touch))

        slow_answer = ask("A", slow)
        wait_until(begun.exists)
        quick_answer = ask("B", "echo quick")
        wait_until(lambda: bool(of(notes, "B", "sendto")))
        with contextlib.suppress(NotYet):
            quick_answer.result(patience)
        gate.touch()
        slow_answer.result(15)
        quick_answer.result(15)


def _answered(notes: list[Note]) -> list[str]:
    """Who got an answer, in the order in which the clients had them."""
    return [note.who for note in notes if note.who != "server" and note.call == "recvfrom"]


def _lanes(stage: Stage, notes: list[Note], *servers: str) -> tuple[Lane, ...]:
    """A lane for each client, and one for each place in the server where commands ran (the same name twice: one lane)."""
    start = min(note.at for note in notes)
    lanes, ran = [], []
    for number, who in enumerate(("A", "B")):
        (asked,), (got,) = of(notes, who, "sendto"), of(notes, who, "recvfrom")
        waits = Bar(asked.at - start, got.at - start, stage.pick("waits", "等待"), number + 1)
        lanes.append(Lane(stage.pick(f"client {who}", f"客户端 {who}"), (waits,)))
        begins = next(note.at for note in of(notes, "server", "recvfrom") if note.data == asked.data)
        ends = next(note.at for note in of(notes, "server", "sendto") if note.data == got.data)
        ran.append(Bar(begins - start, ends - start, stage.pick(f"runs {who}", f"执行 {who}"), number + 1))
    if len(set(servers)) == 1:
        return (*lanes, Lane(servers[0], tuple(ran)))
    return (*lanes, *(Lane(name, (bar,)) for name, bar in zip(servers, ran, strict=True)))


def what_it_takes(stage: Stage) -> None:
    stage.heading("So, UDP or TCP?", "那么，UDP 还是 TCP？")
    rows = (
        (("borders", "边界"), ("kept", "保留"), ("none: use a header", "没有：要用报头")),
        (("lost bytes", "丢失"), ("your problem", "自己解决"), ("sent again by TCP", "由 TCP 重发")),
        (("order", "顺序"), ("your problem", "自己解决"), ("kept", "保持")),
        (("twice", "重复"), ("your problem", "自己解决"), ("sorted out by TCP", "由 TCP 去重")),
        (("greatest size", "最大长度"), ("65,507 bytes", "65507 字节"), ("none", "没有上限")),
        (("receiver too slow", "接收方太慢"), ("bytes are dropped", "丢弃"), ("the sender waits", "发送方等待")),
        (("is anybody there?", "对方在吗？"), ("not certain", "说不准"), ("connect tells", "connect 会告诉你")),
    )
    stage.show(Table(("", "UDP", "TCP"), tuple(tuple(stage.pick(*cell) for cell in row) for row in rows)))
    stage.say(
        "UDP is right where a late answer is worth nothing (voice, games), or where question and answer are one small datagram each (the "
        "names of the Internet, DNS). For commands, whose output has any length and which must not run twice, take TCP and a header.",
        "迟到就没有用的东西（语音、游戏），或者一问一答各是一个小数据报的场合（互联网的域名查询 DNS），用 UDP 正合适。"
        "至于命令，输出可长可短，又不能执行两次，那就用 TCP 加报头。",
    )
