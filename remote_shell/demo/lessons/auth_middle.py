"""The lesson auth, second part: the relay in the middle, the mirror, and what stops them."""

from __future__ import annotations

import contextlib

from remote_shell.demo.elements import ALARM, Arrow, Dump, Exchange, Span, Table
from remote_shell.demo.lessons.background import serving
from remote_shell.demo.programs import auth_meddler, auth_mirror, auth_password, auth_relay, auth_server, auth_signed
from remote_shell.demo.stage import Stage, text_of

COMMANDS = [b"echo one", b"echo two"]


def relay(stage: Stage) -> None:
    stage.heading("Passing questions on", "两头传话")
    stage.say(
        "So fresh challenges stop recordings. But what if the spy does not wait? It lures a client to its own address, connects to the "
        "server at the same time, and passes the question to the one and the answer to the other. It is a *man in the middle*. A child "
        "can play two grandmasters by letter that way and not lose both games: it only copies the moves.",
        "看来新的质询挡住了录音。但如果间谍不等到以后呢？它把客户端骗到自己的地址上来，同时自己连上服务器，把问题转给一边，把答案转给另"
        "一边。这就是*中间人*。下棋也可以这样：小孩同时和两位大师下通信棋，只要把两边的着法互相抄一遍，就不会两盘都输。",
    )
    stage.source("auth_relay", "relay")
    victim, log = _through_the_relay(bound=False)
    stage.show(_thief(stage, log, victim))
    loot = dict(log).get("loot", b"")
    stage.claim(
        "relay-works",
        loot == b"welcome\ngotcha\n",
        "Challenge fresh, response right, and the thief's command ran on the connection that the victim opened. The secret is still a "
        "secret; it just did not help.",
        "质询是新的，应答是对的，小偷的命令却在受害者打开的连接上执行了。秘密仍然是秘密，只是没帮上忙。",
    )
    stage.say(
        "Where is the hole? The response proves that somebody who knows the secret is alive somewhere. It does not say on which "
        "connection it means to log in, and nothing that comes after it is proved at all. So there are two cures.",
        "漏洞在哪里？应答只证明：某个知道秘密的人此刻在某处。它没有说自己想在哪一条连接上登录，而登录之后的内容更是没有任何证明。"
        "所以有两种办法。",
    )


def _through_the_relay(bound: bool) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A victim logs in at the relay. Returns what it was told, and what went by."""
    log: list[tuple[str, bytes]] = []
    with (
        serving(auth_server.serve, None, bound) as (address, _),
        serving(auth_relay.relay, address, b"echo gotcha", log) as (trap, thief),
    ):
        told = auth_server.use(trap, b"echo hello", bound)
        thief.result(10)
    return told, log


def _thief(stage: Stage, log: list[tuple[str, bytes]], told: bytes) -> Exchange:
    went = dict(log)
    challenge, proof, loot = (went.get(name, b"") for name in ("server", "victim", "loot"))
    asks = stage.pick("challenge ", "质询 ") + challenge[:4].hex(" ") + " …"
    answers = stage.pick("response ", "应答 ") + proof[:4].hex(" ") + " …"
    verdict, _, output = loot.partition(b"\n")
    arrows = [
        *(Arrow(2, 1, asks, colour=2), Arrow(1, 0, asks, colour=2)),
        *(Arrow(0, 1, answers, colour=1), Arrow(1, 2, answers, colour=1)),
        Arrow(2, 1, text_of(verdict), colour=2),
    ]
    if output:
        arrows += [Arrow(1, 2, "echo gotcha", colour=ALARM), Arrow(2, 1, text_of(output), colour=ALARM)]
    arrows.append(Arrow(1, 0, text_of(told), colour=3))
    return Exchange(
        (stage.pick("victim", "受害者"), stage.pick("thief", "小偷"), stage.pick("server", "服务器")), tuple(arrows)
    )


def bound(stage: Stage) -> None:
    stage.heading("First cure: prove where you are", "办法一：证明你在哪里")
    stage.say(
        "The response also covers a place: the address that the client believes to talk to. The server computes it with its own "
        "address. The victim was lured to the thief's address, so it proves the wrong one.",
        "应答里把地点也算进去：客户端以为自己在和哪个地址说话。服务器则用自己的地址来算。受害者被骗到了小偷的地址上，它证明的地址就对不"
        "上。",
    )
    told, log = _through_the_relay(bound=True)
    stage.show(_thief(stage, log, told))
    with serving(auth_server.serve, None, True) as (address, _):
        friend = auth_server.use(address, b"echo hello", True)
    stage.claim(
        "bound-relay-fails",
        dict(log).get("loot") == b"denied\n",
        "The same relay, the same victim, and the server says denied.",
        "同样的中继，同样的受害者，服务器却说 denied（拒绝）。",
    )
    stage.claim(
        "bound-friend",
        friend == b"welcome\nhello\n",
        "A friend who calls the server itself is still let in.",
        "直接连接服务器的朋友照样能进来。",
    )
    stage.say(
        "To be honest: an address is a weak name for a place. Who owns a cable on the way can answer for every address. A better name "
        "is a *public key*: bytes that everybody may know, and that only the server can prove to be its own, by a secret that belongs "
        "to them. *TLS*, the protocol behind the lock in your browser, makes an encrypted connection (nobody else can read it), and the "
        "server proves its key in it. This project puts a hash of the public key that the client saw into what the client proves. A man "
        "in the middle has another key, so a proof made for him is worth nothing at the server (docs/protocol.md, section 4: the "
        "transcript).",
        "说实话：用地址表示地点并不可靠。掌握着途中某一段线路的人，可以冒充任何地址。更好的办法是用*公钥*：这段字节谁都可以知道，"
        "但只有服务器"
        "能用配套的秘密证明它是自己的。*TLS* 就是浏览器里那把小锁背后的协议，它建立加密的连接（别人读不懂），服务器在其中证明自己的公钥。"
        "本项目让客户端把它看到的公钥的哈希也放进要证明的"
        "内容里。中间人的密钥不一样，所以给他的证明拿到服务器那里毫无用处（见 docs/protocol.md 第 4 节：transcript）。",
    )


def mirror(stage: Stage) -> None:
    stage.heading("And who is the server? A trap with a mirror", "那么服务器又是谁？镜子陷阱")
    stage.say(
        "So far only the client proved itself. Let both ends do it: each sends a challenge, each answers the other's. Now call a server "
        "that knows no secret, and merely sends back every byte that it gets. It sends your challenge back as its own; you answer it, "
        "kindly; and it sends you your own answer. That is a *reflection attack*.",
        "到现在为止，只有客户端证明了自己。那就两端都来：各发一个质询，各自应答对方的。现在连到一个不知道任何秘密的服务器，它只会把收到"
        "的字节原样送回来。它把你的质询当作它的质询送回来；你好心地作了应答；它再把你自己的应答送还给你。这叫*反射攻击*。",
    )
    stage.program("auth_mirror")
    stage.source("auth_mirror", "check_each_other")
    stage.source("auth_mirror", "mirror")
    client, server = b"client", b"server"
    believed = (
        auth_mirror.visit(auth_mirror.mirror, b"", b""),
        auth_mirror.visit(auth_mirror.mirror, client, server),
        auth_mirror.visit(auth_mirror.honest, client, server, server, client),
    )
    no, yes = (
        stage.pick("HMAC of the challenge", "质询的 HMAC"),
        stage.pick("HMAC of role + challenge", "角色 + 质询的 HMAC"),
    )
    false, real = stage.pick("a mirror", "镜子"), stage.pick("the real one", "真的")
    stage.show(
        Table(
            (
                stage.pick("response", "应答"),
                stage.pick("server", "服务器"),
                stage.pick("does the client believe it?", "客户端相信吗？"),
            ),
            tuple(
                (how, who, stage.pick(*(("yes", "相信") if each else ("no", "不信"))))
                for how, who, each in zip((no, yes, yes), (false, false, real), believed, strict=True)
            ),
        )
    )
    stage.claim(
        "mirror-believed",
        believed[0] is True,
        "Without roles the client took a mirror for the real server.",
        "没有角色时，客户端把镜子当成了真的服务器。",
    )
    stage.claim(
        "mirror-refused",
        believed[1:] == (False, True),
        "One word cured it: who answers says `client` or `server` within the HMAC. Your own answer says `client`, so it is no server's.",
        "一个词就解决了：应答的人在 HMAC 里写明 `client` 或 `server`。你自己的应答里写的是 `client`，所以不可能出自服务器。",
    )


def signed(stage: Stage) -> None:
    stage.heading("Second cure: prove every message", "办法二：每条消息都证明")
    stage.say(
        "Being let in once is not enough; each message needs its own proof. Both ends send a challenge. From the secret, both "
        "challenges and the role they compute a key, again 32 secret bytes, for each direction (`hmac.digest` is "
        "`hmac.new(…).digest()` in one call). Then each "
        "message goes out as length, proof, bytes. The proof is the HMAC of its number and its bytes. The number is not even sent: both "
        "ends count.",
        "放进来一次还不够，每条消息都要有自己的证明。两端各发一个质询，然后用秘密、两个质询和角色，为每个方向算出一把密钥（又是 32 "
        "个保密的字节）"
        "（`hmac.digest` 就是把 `hmac.new(…).digest()` 合成一次调用）。之后每条消息都按“长度、证明、内容”的顺序发出。"
        "证明就是编号和内容的 HMAC。编号根本不用发：两端各自数着。",
    )
    stage.program("auth_signed")
    stage.source("auth_signed", "Signed")
    heard: list[tuple[str, bytes]] = []
    ran: list[bytes] = []
    with (
        serving(auth_signed.serve, ran) as (address, _),
        serving(auth_password.wiretap, address, heard) as (tap, spy),
    ):
        answers = auth_signed.use(tap, COMMANDS[:1])
        spy.result(10)
    crossed = b"".join(data for who, data in heard if who == "client")[32:]
    names = (("length", "长度", 2), ("proof", "证明", 32), ("message", "内容", len(crossed) - 34))
    spans, at = [], 0
    for colour, (en, zh, size) in enumerate(names, 1):
        spans.append(Span(at, at + size, stage.pick(en, zh), colour))
        at += size
    caption = stage.pick("the client's first message, as it crossed", "客户端的第一条消息，在网络上的样子")
    stage.show(Dump(crossed, tuple(spans), caption=caption))
    stage.claim(
        "signed-works",
        (answers, ran) == ([b"one"], COMMANDS[:1]),
        "The server checked the proof, ran the command, and signed its answer.",
        "服务器核对证明，执行命令，并给自己的回答也加上了证明。",
    )
    stage.claim(
        "not-hidden",
        COMMANDS[0] in crossed,
        "But a spy can read along: the command stands there as it is. A proof is not a curtain.",
        "但间谍可以跟着读：命令原样摆在那里。证明不是窗帘。",
    )


def meddler(stage: Stage) -> None:
    stage.heading("Let the man in the middle try", "让中间人试试")
    stage.say(
        "The client sends two commands, `echo one` and `echo two`. The relay passes the challenges on, and then plays one trick with "
        "the two messages. It may keep every proof that it has seen, and use it as it likes.",
        "客户端发两条命令：`echo one` 和 `echo two`。中继把质询转过去，然后拿这两条消息耍一个花招。它见过的证明都可以留着，爱怎么用就怎"
        "么用。",
    )
    stage.program("auth_meddler")
    rows, results = [], {}
    for name, trick in auth_meddler.TRICKS.items():
        ran, why = _meddle(trick)
        results[name] = ran
        commands = ", ".join(f"`{each.decode()}`" for each in ran) or stage.pick("nothing", "没有")
        ended = why if why != "the other end has hung up" else stage.pick("(the end)", "（正常结束）")
        rows.append((stage.pick(name, _TRICKS[name]), commands, ended))
    head = (
        stage.pick("trick", "花招"),
        stage.pick("the server ran", "服务器执行了"),
        stage.pick("and stopped because", "停下的原因"),
    )
    stage.show(Table(head, tuple(rows)))
    honest = results.pop("pass on")
    stage.claim(
        "passed-on",
        honest == COMMANDS,
        "What is passed on untouched runs: a relay that changes nothing is just a piece of cable.",
        "原样转发的照常执行：什么都不改的中继，不过是一段网线。",
    )
    stage.claim(
        "meddling-fails",
        results and all(ran == COMMANDS[: len(ran)] and len(ran) < 2 for ran in results.values()),
        f"{len(results)} tricks, and the server never ran anything but the client's commands, in order, once each, up to the first lie.",
        f"{len(results)} 种花招，服务器执行的始终只有客户端的命令：按顺序、各一次，直到第一个谎言为止。",
    )
    stage.say(
        "What the man in the middle still can do: read, wait, and cut the connection. Our small server can't even tell a cut from a "
        "goodbye; a real protocol says goodbye in a message that is proved as well. Against reading only encryption helps. TLS does all "
        "of this, and has been looked at by many clever people. So learn how it works from our few lines, and use TLS.",
        "中间人还能做什么？读、拖延、掐断连接。我们的小服务器甚至分不清掐断和告别；真正的协议会用一条同样带证明的消息来告别。"
        "要不让人读，只有加密。这些 TLS 全都做了，还经过许多高手的检查。所以，从我们这七十几行里学原理，真正用的时候用 TLS。",
    )


_TRICKS = {
    "pass on": "原样转发",
    "invent": "捏造一条",
    "change": "改内容",
    "repeat": "重复一条",
    "swap": "交换顺序",
    "drop": "扣下一条",
}


def _meddle(trick: object) -> tuple[list[bytes], str]:
    """Two commands through a relay that plays a trick. Returns what the server ran, and why it stopped."""
    ran: list[bytes] = []
    with (
        serving(auth_signed.serve, ran) as (address, server),
        serving(auth_meddler.meddle, address, trick) as (trap, _),
    ):
        with contextlib.suppress(ConnectionError):  # the victim notices: the server has hung up
            auth_signed.use(trap, COMMANDS)
        why: str = server.result(10)
    return ran, why


def what_stops_what(stage: Stage) -> None:
    stage.heading("What stops what", "什么挡住什么")
    rows = (
        (("stranger", "陌生人"), ("a secret", "一个秘密")),
        (("listening", "窃听"), ("never send the secret: challenge and response", "不发送秘密：质询与应答")),
        (("replay", "重放"), ("a nonce in every challenge", "每个质询都用随机数")),
        (("trying all words", "挨个试单词"), ("32 random bytes as the secret", "用 32 个随机字节作秘密")),
        (("relay of a login", "转发登录"), ("the place within the proof", "把地点算进证明")),
        (("reflection", "反射"), ("the role within the proof", "把角色算进证明")),
        (("meddling afterwards", "事后插手"), ("a proof and a number on each message", "每条消息都有证明和编号")),
        (("reading", "偷看"), ("encryption: TLS", "加密：TLS")),
    )
    head = (stage.pick("attack", "攻击"), stage.pick("what stops it", "对策"))
    stage.show(Table(head, tuple(tuple(stage.pick(*cell) for cell in row) for row in rows)))
    stage.say(
        "Over a network, the login of this project has all of them: nonces of 32 random bytes from both ends, the role, the place "
        "and both ends' first "
        "words within what is proved, proofs in both directions, and TLS around it.",
        "走网络时，本项目的登录把它们全用上了：两端各有 32 个随机字节，角色、地点和双方的第一句话都算进证明，两个方向都要证明，外面还有 "
        "TLS。",
    )
