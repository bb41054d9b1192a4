"""The lesson "many": five servers, the same three clients, and who waits for whom.

Neighbours: `many_run` runs them, `many_cost` measures.
"""

from __future__ import annotations

import socketserver

from remote_shell.demo.elements import ALARM, GREY, Bar, Lane, Table, Timeline
from remote_shell.demo.lessons import many_cost, many_run
from remote_shell.demo.lessons.many_run import HOLD, LINGER, Meeting, Visit
from remote_shell.demo.stage import Stage

CLIENTS = 200  # of whom it is measured what they cost
_SERVED = 3  # the colour


def play(stage: Stage) -> None:
    """Plays the lesson."""
    stage.words(
        "byte",
        "process",
        "shell",
        "command",
        "thread",
        "network",
        "kernel",
        "server",
        "client",
        "socket",
        "connection",
        "message",
    )
    _question(stage)
    meetings = {
        "one": _one(stage),
        "threads": _threads(stage),
        "socketserver": _socketserver(stage),
        "selectors": _selectors(stage),
        "asyncio": _asyncio(stage),
        "blocking": _blocked(stage),
        "in_thread": _cured(stage),
    }
    _cost(stage)
    _which(stage, meetings)


def _question(stage: Stage) -> None:
    stage.heading("One server, three clients", "一个服务器，三个客户端")
    stage.say(
        "A server that can serve one client can serve three as well, if they come one after the other. Here they come "
        "together. One of them asks for something slow, the other two for something quick. Who has to wait for whom? We put "
        "this question to five servers.",
        "能服务一个客户端的服务器，也能服务三个，只要它们一个接一个地来。现在它们一起来：一个要做一件慢的事，另外两个要做快的事。"
        "谁得等谁？我们拿这个问题去考五种服务器。",
    )
    stage.say(
        "All five do the same. A client sends a command as one message; the server runs it, and sends back what it printed. "
        "Before each message goes a *header*, four bytes that tell its length, so each side finds where it ends.",
        "五种服务器做的事一样：客户端把一条命令作为一条消息发来，服务器执行它，再把它打印的内容发回去。"
        "每条消息前面都有一个四个字节的*报头*，写明消息的长度，双方由此知道它到哪里结束。",
    )
    stage.say(
        "What we arranged: the slow command is `cat gate`: it prints what is in `gate`, and that is a *named pipe*, a file in which "
        "`cat` finds "
        "nothing to read until somebody writes into it. The somebody is this lesson, and it writes when both quick clients "
        f"have their answers, but not before {HOLD:g} s are over. Where the quick ones get no answer while the slow command "
        f"runs, it writes after those {HOLD:g} s. When the slow client has its answer, it stays connected for {LINGER:g} s "
        "more and says nothing, as people do.",
        "我们安排了什么：慢的命令是 `cat gate`，它打印 `gate` 的内容，而 `gate` 是一个*命名管道*。这种文件在有人往里写之前，`cat` "
        "什么也读不到，只能等着。"
        f"往里写的就是本课：两个快的客户端都得到回答之后它才写，而且至少等满 {HOLD:g} 秒。"
        f"如果慢命令运行期间快的客户端得不到回答，那么 {HOLD:g} 秒一到它就写。"
        f"慢的客户端得到回答以后，还会保持连接 {LINGER:g} 秒，一句话也不说，就像真人常常那样。",
    )


def _one(stage: Stage) -> Meeting:
    stage.heading("One client at a time", "一次只服务一个客户端")
    stage.program("many_one")
    stage.source("many_one", "talk")
    stage.source("many_one", "serve")
    stage.say(
        "`accept` waits for a client, and returns a socket for talking with it. `talk` serves this client until it hangs up. "
        "Only then does the loop come back to `accept`.",
        "`accept` 等一个客户端到来，返回一个用来和它对话的套接字。`talk` 服务这个客户端，直到它挂断。这时循环才回到 `accept`。",
    )
    meeting = many_run.meet("one", patience=HOLD)
    _picture(stage, meeting, "One client at a time.", "一次一个。")
    stage.claim(
        "one",
        meeting.taken_in_turn() and meeting.held_up(),
        "Each client was accepted only after the one before it had left, and the quick ones had to wait for the slow one.",
        "每个客户端都是在前一个离开之后才被接受的，两个快的只好等那个慢的。",
    )
    stage.say(
        "Look at what the quick ones waited for. It was not the slow command alone: even when that had ended, they waited "
        "until its client hung up. A client that connects and never says a word stops this server for everybody.",
        "看看快的客户端等的是什么：不只是那条慢命令。命令结束以后，它们还得等那个客户端挂断。"
        "一个连上来却始终不说话的客户端，就足以让这个服务器谁也服务不了。",
    )
    _backlog(stage, meeting)
    return meeting


def _backlog(stage: Stage, meeting: Meeting) -> None:
    stage.say(
        "But how could they connect, when nobody called `accept`? The kernel did it. Since the server called `listen`, the "
        "kernel makes the connections by itself and keeps them in a queue, the *backlog*, from which `accept` takes the "
        "oldest. A client in the queue can even send: its bytes wait in the kernel, too.",
        "可是没有人调用 `accept`，它们是怎么连上的？是内核做的。服务器调用 `listen` 之后，"
        "内核就自己建立连接，放进一个队列，叫*全连接队列*；"
        "`accept` 每次从中取走最早的一个。排队的客户端甚至可以发送数据：这些字节也在内核里等着。",
    )
    stage.claim(
        "backlog",
        meeting.waiting == len(meeting.quick) <= meeting.room,
        f"While the slow command ran, the kernel counted {meeting.waiting} connections in this server's queue, "
        f"where there is room for {meeting.room}.",
        f"慢命令运行期间，内核统计出这个服务器的队列里有 {meeting.waiting} 个连接，队列最多放 {meeting.room} 个。",
    )
    usual = socketserver.TCPServer.request_queue_size
    stage.say(
        "When the queue is full, Linux gives newcomers no answer; they try again a second later, and again, and to "
        "whoever waits there the server seems dead. So the room must do for all who may come at once. `listen(5)` or "
        f"`socket.create_server(…, backlog=5)` sets it; `socketserver` sets {usual} unless we say otherwise.",
        "队列满了以后，Linux 不再理会新来的连接；对方过一秒再试，然后再试……在那边的用户看来，服务器就像死了一样。"
        "所以队列要容得下可能同时到来的客户端。`listen(5)` 或 `socket.create_server(…, backlog=5)` 可以设置它的长度；"
        f"`socketserver` 在我们不指定时用的是 {usual}。",
    )


def _threads(stage: Stage) -> Meeting:
    stage.heading("A thread for each client", "每个客户端一个线程")
    stage.program("many_threads")
    stage.source("many_threads", "serve")
    stage.say(
        "One line is new. `talk` is the same as before, but now a thread of its own runs it, and the loop is back at "
        "`accept` at once.",
        "只有一处是新的：`talk` 和前面一模一样，但现在由一个单独的线程来执行，循环立刻回到 `accept`。",
    )
    meeting = many_run.meet("threads")
    _picture(stage, meeting, "A thread for each client.", "每个客户端一个线程。")
    _claim_meanwhile(stage, "threads", meeting)
    stage.say(
        "`recv` and `subprocess.run` still come back only when there is something for them; such calls are named *blocking*. "
        "They block their thread, and no other. The price: threads share all variables. When two of them change the same "
        "list, dict or file at the same time, they can spoil it. A `threading.Lock` lets one in and makes the others wait.",
        "`recv` 和 `subprocess.run` 仍然要等到有结果才返回，这样的调用叫做*阻塞*调用。它们只阻塞自己所在的线程，不影响别的线程。"
        "代价是：所有线程共用全部变量。两个线程同时修改同一个列表、字典或文件，就可能把它弄坏。`threading.Lock`（锁）一次只放一个线程进去，其余的等着。",
    )
    return meeting


def _socketserver(stage: Stage) -> Meeting:
    stage.heading("The same, ready-made", "同样的事，现成的做法")
    stage.program("many_socketserver")
    stage.source("many_socketserver", "Handler")
    stage.source("many_socketserver", "Server")
    stage.say(
        "The standard library has the loop and the threads already: `socketserver.ThreadingTCPServer`. We write only what is "
        "to be done for one client, as the method `handle` of a class of ours.",
        "标准库里已经有这样的循环和线程：`socketserver.ThreadingTCPServer`。"
        "我们只要写明对一个客户端做什么，也就是自己的类里的 `handle` 方法。",
    )
    meeting = many_run.meet("socketserver")
    _picture(stage, meeting, "`socketserver`, with a thread for each client.", "`socketserver`，每个客户端一个线程。")
    _claim_meanwhile(stage, "socketserver", meeting)
    stage.say(
        "`socketserver.ForkingTCPServer` (not on Windows) starts a process for each client instead of a thread. Processes share no "
        "variables, "
        "and when one crashes, the others live on. But a process takes longer to start than a thread, and more memory.",
        "`socketserver.ForkingTCPServer`（Windows 上没有）为每个客户端启动一个进程，而不是线程。进程之间不共用变量，一个崩溃了，"
        "别的照常运行；"
        "但进程启动得比线程慢，占的内存也更多。",
    )
    return meeting


def _selectors(stage: Stage) -> Meeting:
    stage.heading("One thread that waits for all", "一个线程，等所有人")
    stage.program("many_selectors")
    stage.source("many_selectors", "serve")
    stage.source("many_selectors", "run_next")
    stage.say(
        "Threads spend nearly all of their time in `recv`, waiting. But one call can wait for many sockets: we give the kernel "
        "a list of them, and it tells us where something has come. In Python that is `selectors`: `register` a socket "
        "together with a function, call `select`, and call the functions of what it returns. This is an *event loop*.",
        "线程几乎把全部时间都花在 `recv` 里等待。其实一个调用就能等许多个套接字：把它们的清单交给内核，由内核告诉我们哪里来了东西。"
        "在 Python 里这就是 `selectors`：用 `register` 注册一个套接字和一个函数（回调函数），调用 `select`，"
        "再调用它返回的那些套接字所对应的函数。这就是*事件循环*。",
    )
    meeting = many_run.meet("selectors")
    _picture(stage, meeting, "One thread, with `selectors`.", "一个线程，使用 `selectors`。")
    stage.claim(
        "selectors",
        meeting.served_meanwhile() and meeting.threads == 1,
        "Both quick clients had their answers while the slow command still ran, and the server had a single thread.",
        "慢命令还在运行时，两个快的客户端就都得到了回答，而服务器只有一个线程。",
    )
    stage.say(
        "The price: none of the functions may wait, and the server must write down how far it has come with each client. So "
        "`run_next` starts the command, does not wait for it, and registers its output as one more thing to watch. One call "
        "in this program may still wait: `sendall`, when a client does not take its answer. A server for the open network "
        "sends only as much as the kernel takes, keeps the rest, and registers the socket with `EVENT_WRITE`.",
        "代价是：这些函数谁也不许等待，而且服务器要把每个客户端进行到哪一步都记下来。"
        "所以 `run_next` 只启动命令，不等它结束，而是把它的输出也注册上去，一起监视。"
        "这个程序里还有一个调用可能要等：`sendall`，当客户端不取走回答的时候。面向公网的服务器只发送内核收得下的部分，"
        "留下其余的，再用 `EVENT_WRITE` 注册这个套接字。",
    )
    return meeting


def _asyncio(stage: Stage) -> Meeting:
    stage.heading("The same with `asyncio`", "用 `asyncio` 做同样的事")
    stage.program("many_asyncio")
    stage.source("many_asyncio", "run")
    stage.source("many_asyncio", "talk")
    stage.say(
        "`asyncio` has an event loop inside. `async def` makes a *coroutine*, a function that can pause: at each `await` it "
        "says what it waits for, the loop goes on with others, and comes back when that is there. So `talk` reads like a "
        "server for one client, and yet there is no thread for each of them.",
        "`asyncio` 里面就有一个事件循环。`async def` 定义的是*协程*，一种可以暂停的函数：每到一个 `await`，它就说明自己在等什么，"
        "循环去做别的，等到了再回来接着执行。所以 `talk` 读起来就像只服务一个客户端，却不必为每个客户端开一个线程。",
    )
    meeting = many_run.meet("asyncio")
    _picture(stage, meeting, "`asyncio`, the command awaited.", "`asyncio`，用 `await` 等命令结束。")
    _claim_meanwhile(stage, "asyncio", meeting)
    return meeting


def _blocked(stage: Stage) -> Meeting:
    stage.heading("How to stop everybody", "怎样把所有人都卡住")
    stage.source("many_asyncio", "run_and_wait")
    stage.source("many_asyncio", "run_blocking")
    stage.say(
        "In an event loop all goes well as long as everybody is brief. Now we put `run_blocking` in the place of `run`: "
        "`subprocess.run` blocks the thread until the command ends, and in this thread runs the loop.",
        "在事件循环里，只要谁都不长时间占着线程，就一切顺利。现在我们用 `run_blocking` 代替 `run`："
        "`subprocess.run` 会阻塞线程，直到命令结束，而循环正是在这个线程里运行的。",
    )
    meeting = many_run.meet("blocking", patience=HOLD)
    _picture(stage, meeting, "`asyncio`, with a blocking call.", "`asyncio`，里面有一个阻塞调用。")
    stage.claim(
        "blocked",
        meeting.held_up(),
        "No quick client had its answer before the slow command was let go.",
        "在慢命令被放行之前，没有一个快的客户端得到回答。",
    )
    stage.say(
        "One `await` is missing, and we are back at the first server. `time.sleep`, a long calculation or a slow database do "
        "the same, and so would `subprocess.run` in our server with `selectors`.",
        "少了一个 `await`，就又回到了第一个服务器的样子。`time.sleep`、很长的计算、很慢的数据库查询都会这样；"
        "在我们用 `selectors` 的服务器里写 `subprocess.run`，结果也一样。",
    )
    return meeting


def _cured(stage: Stage) -> Meeting:
    stage.heading("And how to avoid it", "怎样不卡住")
    stage.source("many_asyncio", "run_in_thread")
    stage.say(
        "There are two cures. Use something that can be awaited: `asyncio.sleep` for `time.sleep`, and for commands "
        "`asyncio.create_subprocess_shell`, as `run` above did. Or, where there is nothing of the kind, let a thread make the "
        "call, and await the thread.",
        "有两个办法。一是换成可以 `await` 的东西：用 `asyncio.sleep` 代替 `time.sleep`，命令则用 `asyncio.create_subprocess_shell`，"
        "就像前面的 `run` 那样。二是找不到这样的东西时，让一个线程去做这个调用，再 `await` 这个线程。",
    )
    meeting = many_run.meet("in_thread")
    _picture(stage, meeting, "`asyncio`, with the blocking call in a thread.", "`asyncio`，阻塞调用放在线程里。")
    _claim_meanwhile(stage, "in_thread", meeting)
    return meeting


def _cost(stage: Stage) -> None:
    stage.heading("What a thread for each client costs", "每个客户端一个线程，代价是多少")
    stage.say(
        f"We start two of the servers anew, each in a process of its own, connect {CLIENTS} clients that say nothing, and "
        "read what the kernel has noted about each server (on Linux in the file `/proc/self/status`), before and after.",
        f"我们把其中两个服务器重新启动，各在一个单独的进程里，然后连上 {CLIENTS} 个一句话也不说的客户端，"
        "并读出内核对每个服务器的记录（Linux 上在文件 `/proc/self/status` 里），前后各一次。",
    )
    costs = {kind: many_cost.measure(kind, CLIENTS) for kind in ("threads", "asyncio")}
    head = (
        stage.pick("Server", "服务器"),
        stage.pick("Threads", "线程数"),
        stage.pick("Memory in use, MiB", "占用内存 MiB"),
        stage.pick("For each client, KiB", "每个客户端 KiB"),
        stage.pick("Memory asked for, MiB", "申请内存 MiB"),
    )
    names = {"threads": stage.pick("a thread for each", "一客一线程"), "asyncio": "asyncio"}
    rows = tuple(
        (
            names[kind],
            f"{cost.before.threads} → {cost.after.threads}",
            f"{cost.before.used / 1024:.1f} → {cost.after.used / 1024:.1f}",
            f"{(cost.after.used - cost.before.used) / cost.clients:.1f}",
            f"{cost.before.asked / 1024:,.0f} → {cost.after.asked / 1024:,.0f}",
        )
        for kind, cost in costs.items()
    )
    stage.show(
        Table(
            head,
            rows,
            stage.pick(
                f"Without clients → with {CLIENTS} of them. 1 KiB is 1,024 bytes, 1 MiB is 1,024 KiB.",
                f"没有客户端 → 有 {CLIENTS} 个客户端。1 KiB 是 1,024 个字节，1 MiB 是 1,024 KiB。",
            ),
        )
    )
    stage.claim(
        "thread_each",
        costs["threads"].threads == CLIENTS,
        f"For {CLIENTS} clients the server with threads had {costs['threads'].threads} threads more.",
        f"为了 {CLIENTS} 个客户端，用线程的服务器多了 {costs['threads'].threads} 个线程。",
    )
    stage.claim(
        "thread_none",
        costs["asyncio"].threads == 0,
        f"For the same clients the server with asyncio had {costs['asyncio'].threads} threads more.",
        f"为了同样多的客户端，用 asyncio 的服务器多了 {costs['asyncio'].threads} 个线程。",
    )
    stage.say(
        "The memory asked for is mostly a promise: each thread may use some MiB for what its functions remember, and only "
        "what it has touched counts as in use. So a few hundred threads are no trouble. With many thousands of clients, "
        "the kernel's limits on threads and the changing from one to the other become one.",
        "申请的内存大多只是许诺：每个线程都可以用几 MiB 来存放函数的局部变量，但只有真正碰过的部分才算实际占用。"
        "所以几百个线程并不成问题；到了成千上万个客户端，内核对线程数的限制和线程之间的来回切换才成为问题。",
    )


def _which(stage: Stage, meetings: dict[str, Meeting]) -> None:
    stage.heading("Which one?", "该用哪一个？")
    names = {
        "one": stage.pick("one at a time", "一次一个"),
        "threads": stage.pick("a thread for each", "一客一线程"),
        "blocking": stage.pick("asyncio, blocked", "asyncio，被阻塞"),
        "in_thread": stage.pick("asyncio with a thread", "asyncio 加线程"),
    }
    rows = tuple(
        (
            names.get(kind, kind),
            stage.pick(", ", "、").join(_name(stage, each) for each in meeting.order),
            _waited(meeting),
            f"{meeting.threads}",
        )
        for kind, meeting in meetings.items()
    )
    head = (
        stage.pick("Server", "服务器"),
        stage.pick("Order of the answers", "回答的先后"),
        stage.pick("Last quick answer after", "最后一个快的回答用时"),
        stage.pick("Threads", "线程数"),
    )
    stage.show(Table(head, rows, stage.pick("What happened in this run", "这一次运行中发生的事")))
    if meetings["asyncio"].threads > 1:
        stage.say(
            "(Where `asyncio` shows a second thread: this version of Python lends one to each command that runs, to wait for "
            "its end. It is gone when the command is.)",
            "（`asyncio` 一行里的第二个线程：这个版本的 Python 会为每条正在运行的命令借出一个线程，等它结束；命令结束，线程也就没有了。）",
        )
    stage.say(
        "One at a time is right for what is quick and has one user. `socketserver.ThreadingTCPServer` is the shortest way to "
        "serve some dozens or hundreds, and blocking calls do no harm in it. `selectors` shows how `asyncio` works inside. `asyncio` "
        "serves thousands, as long as nobody in it blocks. The server of this project is made with `asyncio`.",
        "事情很快、只有一个用户时，一次一个就够了。要服务几十上百个客户端，`socketserver.ThreadingTCPServer` 最省事，里面有阻塞调用也无妨。"
        "`selectors` 让人看清 `asyncio` 里面是怎么回事。`asyncio` 能服务成千上万个客户端，只要里面没有谁阻塞。"
        "本项目的服务器用的就是 `asyncio`。",
    )


def _claim_meanwhile(stage: Stage, name: str, meeting: Meeting) -> None:
    stage.claim(
        name,
        meeting.served_meanwhile(),
        "Both quick clients had their answers while the slow command still ran.",
        "慢命令还在运行时，两个快的客户端就都得到了回答。",
    )


def _waited(meeting: Meeting) -> str:
    waited = [visit.answered - visit.called for visit in meeting.quick if visit.answered is not None]
    return f"{max(waited) * 1000:,.0f} ms" if waited else "–"


def _picture(stage: Stage, meeting: Meeting, en: str, zh: str) -> None:
    begin = meeting.slow.called
    lanes = tuple(Lane(_name(stage, visit.name), _bars(stage, visit, begin)) for visit in meeting.visits)
    en += " Red: connected, but not accepted. Green: its command is with the server. Grey: connected and silent."
    zh += "红（等待）：已连接，但还没有被接受。绿（处理）：命令在服务器那里。灰（沉默）：连接着，不说话。"
    stage.show(Timeline(lanes, stage.pick(en, zh)))


def _bars(stage: Stage, visit: Visit, begin: float) -> tuple[Bar, ...]:
    accepted, answered, left = visit.accepted, visit.answered, visit.left
    if accepted is None:
        return ()
    works = max(accepted, visit.sent)
    bars = [Bar(visit.called - begin, accepted - begin, stage.pick("waits", "等待"), ALARM)]
    if answered is not None:
        bars.append(Bar(works - begin, answered - begin, stage.pick("served", "处理"), _SERVED))
        if left is not None:
            bars.append(Bar(answered - begin, left - begin, stage.pick("silent", "沉默"), GREY))
    return tuple(bars)


def _name(stage: Stage, name: str) -> str:
    return stage.pick(name, name.replace("slow", "慢").replace("quick", "快"))
