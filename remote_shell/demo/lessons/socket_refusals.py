"""The second half of the lesson `socket`: what `bind` refuses, and what becomes of callers when the backlog is full."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from remote_shell.demo import kernel
from remote_shell.demo.elements import Table
from remote_shell.demo.programs import socket_backlog, socket_bind
from remote_shell.demo.stage import Stage

FIRST_FREE = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
PRIVILEGED = 80
NOT_OURS = ("192.0.2.1", 0)  # RFC 5737: for documentation only
PLACES = 1  # what we ask listen for
CALLERS = 4
QUICK = 0.3  # seconds: loopback connects in a thousandth of that
AGAIN = 10.0  # seconds until a caller must have asked again: Linux does after 1, 3 and 7


def bind(stage: Stage) -> None:
    """What `bind` says when it can't."""
    stage.heading("When bind says no", "bind 拒绝的时候")
    stage.program("socket_bind")
    stage.source("socket_bind", "try_bind")
    stage.say(
        "`bind` fails by an `OSError`. Its `errno` is a number with a name, and the name tells what is wrong. Let us "
        "provoke them all:",
        "`bind` 失败时抛出 `OSError`。它的 `errno` 是一个数，每个数都有名字，名字说明哪里错了。我们来让它们一个个现身：",
    )
    inet, pick = socket.AF_INET, stage.pick
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = socket_bind.try_bind(inet, listener.getsockname())
        taken_reuse = socket_bind.try_bind(inet, listener.getsockname(), reuse=True)
    address = socket_bind.talk_and_hang_up()
    haunted = socket_bind.try_bind(inet, address)
    reused = socket_bind.try_bind(inet, address, reuse=True)
    foreign = socket_bind.try_bind(inet, NOT_OURS)
    privileged = socket_bind.try_without_rights(PRIVILEGED)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "meeting-point")
        fresh = socket_bind.try_bind(socket.AF_UNIX, path)
        again = socket_bind.try_bind(socket.AF_UNIX, path)
    stage.show(
        Table(
            (pick("we want", "我们要的"), pick("the kernel says", "内核说")),
            (
                (pick("a port where a server listens", "正被某个服务器监听的端口"), taken),
                (pick("the same, with SO_REUSEADDR", "同一个，加上 SO_REUSEADDR"), taken_reuse),
                (pick("the port of a server that has just ended", "刚刚结束的服务器用过的端口"), haunted),
                (pick("the same, with SO_REUSEADDR", "同一个，加上 SO_REUSEADDR"), reused),
                (
                    pick(f"the address {NOT_OURS[0]}, which is not ours", f"地址 {NOT_OURS[0]}，不是我们的"),
                    foreign,
                ),
                (
                    pick(f"port {PRIVILEGED}, as an ordinary user", f"端口 {PRIVILEGED}，以普通用户的身份"),
                    privileged,
                ),
                (pick("a new file's name (Unix socket)", "一个新的文件名（Unix 套接字）"), fresh),
                (pick("the same name again", "还是这个文件名"), again),
            ),
        )
    )
    stage.claim(
        "taken",
        taken == taken_reuse == "EADDRINUSE",
        "`EADDRINUSE`: address in use. On Linux a living server keeps its port, with SO_REUSEADDR or without. Who is it? `ss -ltnp` "
        "lists all who listen.",
        "`EADDRINUSE`：地址正在使用。在 Linux 上，服务器活着，端口就归它，有没有 SO_REUSEADDR 都一样。是谁占着？`ss -ltnp` "
        "列出所有在监听的。",
    )
    stage.claim(
        "reuse",
        (haunted, reused) == ("EADDRINUSE", "OK"),
        "The server had ended, but it had hung up first, so its end was in TIME_WAIT, and that keeps the port for a minute. "
        "SO_REUSEADDR says: I know, give it to me anyway. Servers set it, or they could not restart at once; "
        "`socket.create_server` does so for you. (Not on Windows, where it means: take the port even from a living server.)",
        "服务器已经结束了，但先挂断的是它，所以它那一端处于 TIME_WAIT，端口还要被占一分钟。SO_REUSEADDR 的意思是：我知道，还是给我吧。"
        "服务器都会设置它，否则不能立刻重启；`socket.create_server` 会替你设置。"
        "（Windows 上除外：在那里它的意思是，服务器还活着也可以抢它的端口。）",
    )
    stage.claim(
        "not-ours",
        foreign == "EADDRNOTAVAIL",
        "`EADDRNOTAVAIL`: no such address on this computer. Often a typing error, or the address of the other computer.",
        "`EADDRNOTAVAIL`：这台计算机没有这个地址。往往是打错了，或者写成了另一台计算机的地址。",
    )
    _privileged(stage, privileged)
    stage.claim(
        "path-taken",
        (fresh, again) == ("OK", "EADDRINUSE"),
        "The file of a Unix socket outlives its program, and SO_REUSEADDR does not help. Delete the file before `bind`, "
        "but only when nobody answers there any more.",
        "Unix 套接字的文件比程序活得久，SO_REUSEADDR 也帮不上忙。`bind` 之前要删掉这个文件，但前提是那里已经没有人应答。",
    )


def _privileged(stage: Stage, answer: str) -> None:
    """The kernel's answer must be what its own setting says: containers often let everybody have each port."""
    try:
        first = int(FIRST_FREE.read_text())
    except (OSError, ValueError):
        first = 1024  # what it was before there was a setting
    who_en = "root started a process that gave up its rights and tried" if os.geteuid() == 0 else "we tried"
    who_zh = "root 启动了一个进程，这个进程放弃自己的权限之后去试" if os.geteuid() == 0 else "我们试了一下"
    if answer != "OK" and answer not in errno.errorcode.values():
        stage.claim(
            "privileged",
            False,
            f"We could not try a port below {first}: the process could not give up its rights. It said: `{answer}`.",
            f"没能去试 {first} 以下的端口：那个进程无法放弃自己的权限。它说：`{answer}`。",
        )
    elif first > PRIVILEGED:
        stage.claim(
            "privileged",
            answer == "EACCES",
            f"`EACCES`: not allowed ({who_en}). On Linux, ports below {first} are for root: so who finds a server there knows that "
            "the computer's owner put it there.",
            f"`EACCES`：不允许（{who_zh}）。在 Linux 上，{first} 以下的端口只给 root 用：这样，在那里找到的服务器，"
            "一定是计算机的主人放的。",
        )
    else:
        stage.claim(
            "privileged",
            answer in ("OK", "EADDRINUSE"),
            f"On most Linux computers ports below 1024 are for root, and the answer is `EACCES`. This one allows everybody each port "
            f"from {first} ({FIRST_FREE}), as containers often do: {who_en}, and the kernel had nothing against it.",
            f"在大多数 Linux 计算机上，1024 以下的端口只给 root 用，回答是 `EACCES`。这台机器允许任何人使用从 {first} "
            f"起的端口（{FIRST_FREE}），"
            f"容器里常常如此：{who_zh}，内核没有反对。",
        )


def backlog(stage: Stage) -> None:
    """More callers than places, over TCP and over a Unix socket."""
    stage.heading("When too many call", "呼叫太多的时候")
    stage.program("socket_backlog")
    stage.source("socket_backlog", "knock")
    stage.say(
        f"A server that does not call `accept` lets callers pile up in the backlog. `listen({PLACES})` asks for a backlog of {PLACES}; "
        f"then {CALLERS} call, and none of them waits for its answer (`setblocking(False)`), so that we can look at them all:",
        f"服务器不调用 `accept`，连接就堆在全连接队列里。`listen({PLACES})` 要求队列长度为 {PLACES}；然后有 {CALLERS} 个客户端来呼叫，"
        "谁也不等回答（`setblocking(False)`），这样我们可以同时观察它们：",
    )
    with ExitStack() as opened:
        listener = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.bind(("127.0.0.1", 0))
        listener.listen(PLACES)
        address = listener.getsockname()
        callers = socket_backlog.knock(socket.AF_INET, address, CALLERS)
        for caller, _ in callers:
            opened.enter_context(caller)
        through = [socket_backlog.is_through(caller, QUICK / CALLERS) for caller, _ in callers]
        ends = [
            (
                kernel.state(caller),
                kernel.tcp_state(socket.AF_INET, address, caller.getsockname()) or "—",
            )
            for caller, _ in callers
        ]
        _queue(stage, [said for _, said in callers], through, ends)
        served = [caller for (caller, _), ok in zip(callers, through, strict=True) if ok]
        waiting = [caller for (caller, _), ok in zip(callers, through, strict=True) if not ok]
        _let_in(stage, listener, served, waiting)
    _unix(stage)


def _queue(stage: Stage, said: list[str], through: list[bool], ends: list[tuple[str, str]]) -> None:
    pick = stage.pick
    stage.show(
        Table(
            (
                pick("caller", "客户端"),
                pick("connect said", "connect 说"),
                pick("client's end", "客户端一端"),
                pick("server's end", "服务器一端"),
                pick("through?", "通了吗？"),
            ),
            tuple(
                (
                    str(number + 1),
                    said[number],
                    *ends[number],
                    pick("yes", "通了") if through[number] else pick("no", "没有"),
                )
                for number in range(len(said))
            ),
        )
    )
    stage.say(
        "`EINPROGRESS` is no failure. It means: I have asked, and have no answer yet.",
        "`EINPROGRESS` 不是失败，意思是：已经去问了，还没有回答。",
    )
    fit = sum(through)
    stage.claim(
        "full",
        0 < fit < len(through)
        and ends[:fit] == [("ESTABLISHED", "ESTABLISHED")] * fit
        and ends[fit:] == [("SYN_SENT", "—")] * (len(through) - fit),
        f"{fit} got through (Linux lets one more in than we asked for). The others are in SYN_SENT: the server's kernel drops their SYN "
        "and says nothing. Nobody is refused: they just wait, and an ordinary `connect` would hang, for some two minutes if nobody "
        "makes room.",
        f"{fit} 个通了（Linux 比我们要求的多放一个）。其余的处于 SYN_SENT：服务器的内核丢掉它们的 SYN，一声不吭。"
        "没有谁被拒绝：它们只是等着，"
        "普通的 `connect` 会卡在那里，如果一直没有空位，要等两分钟左右才报错。",
    )


def _let_in(stage: Stage, listener: socket.socket, served: list[socket.socket], waiting: list[socket.socket]) -> None:
    """Accepts one, and waits for one of the waiting callers to ask again."""
    began = time.monotonic()
    entered = False
    if served and waiting:  # else accept would wait: there is nobody in the queue
        with listener.accept()[0]:
            entered = kernel.wait_until(lambda: any(kernel.state(caller) == "ESTABLISHED" for caller in waiting), AGAIN)
            took = time.monotonic() - began
    else:
        took = 0.0
    stage.claim(
        "let-in",
        entered,
        f"Then the server called `accept` once: one place was free. {took:.1f} s later one of the waiting callers was through. Its kernel "
        "had sent the SYN again, without being told: the first time after a second, and then after longer and longer pauses.",
        f"然后服务器调用了一次 `accept`，空出一个位置。{took:.1f} 秒之后，等着的客户端里有一个通了。是它的内核自己又发了一次 SYN："
        "第一次在一秒之后，以后间隔越来越长。",
    )


def _unix(stage: Stage) -> None:
    with ExitStack() as opened:
        folder = opened.enter_context(tempfile.TemporaryDirectory())
        listener = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(os.path.join(folder, "meeting-point"))
        listener.listen(PLACES)
        callers = socket_backlog.knock(socket.AF_UNIX, listener.getsockname(), CALLERS)
        for caller, _ in callers:
            opened.enter_context(caller)
    said = [answer for _, answer in callers]
    stage.show(
        Table(
            (stage.pick("caller", "客户端"), stage.pick("connect said", "connect 说")),
            tuple((str(number + 1), answer) for number, answer in enumerate(said)),
            stage.pick(
                f"the same over a Unix socket, also with `listen({PLACES})`",
                f"换成 Unix 套接字，同样是 `listen({PLACES})`",
            ),
        )
    )
    fit = said.count("OK")
    stage.claim(
        "full-unix",
        0 < fit < len(said) and said == ["OK"] * fit + ["EAGAIN"] * (len(said) - fit),
        "A Unix socket has no packets that could be lost, so the kernel says it at once: `EAGAIN`, full, try again later.",
        "Unix 套接字没有会丢失的数据包，所以内核当场就说：`EAGAIN`，满了，等会儿再试。",
    )
    stage.say(
        "So give `listen` a generous number, or none (Python then takes up to 128), and call `accept` again soon. How one server serves "
        "many clients is the lesson `many`.",
        "所以，给 `listen` 一个大一点的数，或者不给（Python 最多取 128），并且尽快再次调用 `accept`。"
        "一个服务器怎样同时服务许多客户端，见 `many` 一课。",
    )
