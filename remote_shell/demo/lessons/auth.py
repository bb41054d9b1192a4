"""The lesson auth: a stranger's command, a password that is overheard, challenge and response, and the recording of a login."""

from __future__ import annotations

import contextlib
import hmac
import io
import os
import shlex
import socket
import tempfile
from pathlib import Path

from remote_shell.demo.elements import Arrow, Exchange, Output, Table
from remote_shell.demo.lessons import auth_middle
from remote_shell.demo.lessons.background import serving
from remote_shell.demo.programs import auth_password, auth_relay, auth_server, sticky_server
from remote_shell.demo.stage import Stage, text_of

Heard = list[tuple[str, bytes]]


def play(stage: Stage) -> None:
    stage.words(
        *(
            "byte",
            "shell",
            "command",
            "server",
            "client",
            "network",
            "address",
            "socket",
            "protocol",
            "connection",
            "message",
            "hash",
            "HMAC",
        ),
        *("hexadecimal", "nonce", "relay", "challenge"),
    )
    _stranger(stage)
    _password(stage)
    _hmac(stage)
    _challenge(stage)
    _replay(stage)
    auth_middle.relay(stage)
    auth_middle.bound(stage)
    auth_middle.mirror(stage)
    auth_middle.signed(stage)
    auth_middle.meddler(stage)
    auth_middle.what_stops_what(stage)


def _stranger(stage: Stage) -> None:
    stage.heading("Come in, whoever you are", "不管是谁，请进")
    stage.say(
        "The command server of the first lessons runs whatever it is sent, for everybody who can reach its address. We are such a "
        "stranger: we connect and send one command. Ours only writes a file; it could as well delete all of yours.",
        "前几课的命令服务器，收到什么就执行什么，只要能连到它的地址，谁都可以。我们就来当一回陌生人：连上去，发一条命令。"
        "我们的命令只写一个文件；它同样可以把你的文件全部删掉。",
    )
    stage.program("sticky_server")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        marker = Path(folder, "marker")
        with serving(sticky_server.serve) as (address, server):
            with socket.create_connection(address) as stranger:
                stranger.sendall(
                    f"echo 'I was here, and nobody asked me who I am' > {shlex.quote(str(marker))}".encode()
                )
                stranger.shutdown(socket.SHUT_WR)
                server.result(10)
        written = marker.read_text() if marker.exists() else ""
    stage.show(Output(written, stage.pick("the file that the stranger's command wrote", "陌生人的命令写出的文件")))
    stage.claim(
        "stranger",
        "I was here" in written,
        "The server ran a stranger's command without a question.",
        "服务器一句话也没问，就执行了陌生人的命令。",
    )


def _password(stage: Stage) -> None:
    stage.heading("A password, said aloud", "口令：一说出口就不是秘密")
    stage.say(
        "Then let the server ask for a password. The client sends it as it is. Between the two sits a spy: a *wiretap*, a program that "
        "passes on all bytes both ways and keeps a copy. Neither end notices anything. On a real network the one who runs the wireless "
        "of the café can do that.",
        "那就让服务器要口令。客户端把口令原样发过去。两者之间坐着一个间谍：一个*窃听*程序，双向转发所有字节，自己留一份。"
        "两端都毫无察觉。在真实的网络上，管着咖啡馆无线网的人就能做到。",
    )
    stage.program("auth_password")
    stage.source("auth_password", "pump")
    heard: Heard = []
    with (
        serving(auth_password.serve) as (address, server),
        serving(auth_password.wiretap, address, heard) as (tap, spy),
    ):
        auth_password.use(tap, auth_password.PASSWORD, b"echo hello")
        spy.result(10)
        server.result(10)
    stage.show(wiretapped(stage, heard))
    stolen = b"".join(data for who, data in heard if who == "client").split(b"\n")[0]
    stage.claim(
        "password-heard",
        stolen == auth_password.PASSWORD,
        f"The spy heard the password: `{text_of(stolen)}`.",
        f"间谍听到了口令：`{text_of(stolen)}`。",
    )
    with serving(auth_password.serve) as (address, _):
        answer = auth_password.use(address, stolen, b"echo gotcha")
    stage.show(Output(answer.decode(), stage.pick("the spy logs in with it, later", "之后，间谍用它登录")))
    stage.claim(
        "password-stolen",
        answer == b"welcome\ngotcha\n",
        "Whoever hears a password once has it for good.",
        "口令只要被听到一次，就永远是别人的了。",
    )


def wiretapped(stage: Stage, heard: Heard, secret: bool = False) -> Exchange:
    """What a wiretap passed on between client and server. `secret`: the first of each end is random bytes, shown in hexadecimal."""
    arrows = []
    names = {"server": stage.pick("challenge", "质询"), "client": stage.pick("response", "应答")} if secret else {}
    for who, data in heard:
        name = names.pop(who, None)
        text = f"{name} {short(data)}" if name else text_of(data)
        ends, colour = ((0, 1, 2), 1) if who == "client" else ((2, 1, 0), 2)
        arrows += [Arrow(ends[0], ends[1], text, colour=colour), Arrow(ends[1], ends[2], text, colour=colour)]
    actors = (stage.pick("client", "客户端"), stage.pick("spy", "间谍"), stage.pick("server", "服务器"))
    return Exchange(actors, tuple(arrows), caption=stage.pick("what the spy passed on", "间谍转发的内容"))


def short(data: bytes) -> str:
    """The first bytes of something random, in hexadecimal."""
    return data[:4].hex(" ") + " …"


def _hmac(stage: Stage) -> None:
    stage.heading("To know a secret, and to prove it without saying it", "知道一个秘密，不说出来也能证明")
    stage.say(
        "`hmac.new(secret, message, 'sha256').digest()` mixes a secret and a message into 32 bytes, the HMAC. (`'sha256'` names the "
        "hash.) Three things make it useful: the same secret and message always give the same HMAC; if either changes by one letter, "
        "all of it changes; and from the HMAC nobody can compute the secret, if it is long and random. Look at the beginnings of "
        "three, in hexadecimal:",
        "`hmac.new(secret, message, 'sha256').digest()` 把秘密和消息搅在一起，得到 32 个字节，就是 HMAC。（`'sha256'` 是所用哈希的名"
        "字。）它有三个好处：秘密和消息相同，HMAC 就相同；改动任何一个字母，HMAC 就面目全非；只要秘密够长、够随机，从 HMAC "
        "就算不出秘密。看看下面三个的开头（用十六进制写）：",
    )
    inputs = ((b"apple", b"hello"), (b"apple", b"hallo"), (b"apply", b"hello"))
    made = [hmac.new(secret, message, "sha256").digest() for secret, message in inputs]
    stage.show(
        Table(
            (
                stage.pick("secret", "秘密"),
                stage.pick("message", "消息"),
                stage.pick("HMAC begins with", "HMAC 的开头"),
            ),
            tuple((a.decode(), b.decode(), digest[:8].hex(" ")) for (a, b), digest in zip(inputs, made, strict=True)),
        )
    )
    stage.claim(
        "hmac",
        len(set(made)) == 3 and made[0] == hmac.new(b"apple", b"hello", "sha256").digest(),
        "One other letter, and nothing is alike; the same again, and all is.",
        "差一个字母，就毫无相似之处；完全相同的再算一遍，结果完全相同。",
    )


def _challenge(stage: Stage) -> None:
    stage.heading("Challenge and response", "质询与应答")
    stage.say(
        "Now the login that textbooks teach. Both ends know a secret. The server sends 32 random bytes, from `os.urandom(32)`: the "
        "*challenge*. The client sends back the HMAC of the secret and the challenge: the *response*. The server computes the same and "
        "compares. The secret itself never crosses the network.",
        "现在来看教科书上的登录方法。两端都知道一个秘密。服务器用 `os.urandom(32)` 产生 32 个随机字节发过去，这叫*质询*。"
        "客户端把秘密和质询合起来算出 HMAC 发回来，这叫*应答*。服务器自己也算一遍，比较两者。秘密本身从来不经过网络。"
        "（教材里也叫挑战—应答；双方都知道的秘密叫共享密钥。）",
    )
    stage.program("auth_server")
    stage.source("auth_server", "prove")
    stage.source("auth_server", "serve")
    heard, answer = _overheard_login(None)
    stage.show(wiretapped(stage, heard, secret=True))
    stage.claim(
        "friend",
        answer == b"welcome\nhello\n",
        "The friend, who knows the secret, was let in, and its command ran.",
        "朋友知道秘密，被放了进来，它的命令也执行了。",
    )
    stage.claim(
        "secret-unsaid",
        heard and auth_server.SECRET not in b"".join(data for _, data in heard),
        "The spy listened to all of it, and the secret was not in there.",
        "间谍从头听到尾，里面没有那个秘密。",
    )
    with serving(auth_server.serve) as (address, _):
        guess = auth_server.use(address, b"echo gotcha", proof=lambda challenge, place: os.urandom(32))
    stage.claim(
        "guess",
        guess == b"denied\n",
        "A stranger who answers with 32 random bytes was denied.",
        "陌生人拿 32 个随机字节来应答，被拒绝了。",
    )
    stage.say(
        "Why `hmac.compare_digest(a, b)` and not `a == b`? Both say the same. But `==` may stop at the first byte that differs, so the "
        "more bytes are right, the longer it takes, by some billionths of a second. Who tries often enough and measures well may find "
        "the right bytes one after the other. `compare_digest` always looks at all bytes. (We don't measure it here: in one run you "
        "would see nothing but noise.)",
        "为什么用 `hmac.compare_digest(a, b)` 而不用 `a == b`？结果是一样的。但 `==` 遇到第一个不同的字节就可以停下，所以对的字节越多，"
        "花的时间就越长，虽然只长十亿分之几秒。试的次数够多、测得够准的人，就有可能一个一个地找出正确的字节。`compare_digest` 总是把所有"
        "字节都看一遍。（这里不去测量：只跑一次，看到的全是噪声。）",
    )
    stage.say(
        "And choose the secret well: 32 random bytes, not a word. Who has overheard one login can try all words at home, one HMAC "
        "each, until the response fits.",
        "秘密也要选好：要 32 个随机字节，不要一个单词。偷听过一次登录的人，可以回家把所有单词挨个试一遍，每个算一次 HMAC，直到和应答对上"
        "为止。",
    )


def _overheard_login(challenge: bytes | None) -> tuple[Heard, bytes]:
    """A friend logs in through a wiretap. Returns what was heard, and what the friend got."""
    heard: Heard = []
    with (
        serving(auth_server.serve, challenge) as (address, _),
        serving(auth_password.wiretap, address, heard) as (tap, spy),
    ):
        answer: bytes = auth_server.use(tap, b"echo hello")
        spy.result(10)
    return heard, answer


def _replay(stage: Stage) -> None:
    stage.heading("Play the recording", "把录音再放一遍")
    stage.say(
        "The spy can't compute a response, but it has heard one. To send a recording again is called a *replay*. We let a friend "
        "log in through the wiretap, and the spy send the recorded response to the server afterwards. First to a server whose author was "
        "lazy and always asks with the same 32 bytes, then to one that takes fresh random bytes each time.",
        "间谍算不出应答，但听到过一个。把录下来的东西再发一遍，叫做*重放*。我们让朋友经过窃听登录一次，然后由间谍把录下的应答发给服务器。"
        "先发给一个作者偷懒的服务器，它的质询永远是同样的 32 个字节；再发给每次都用新随机字节的服务器。",
    )
    stage.program("auth_relay")
    stage.source("auth_relay", "replay")
    rows = []
    answers = []
    lazy, fresh = stage.pick("always the same", "永远相同"), stage.pick("fresh each time", "每次都新")
    for name, challenge in ((lazy, bytes(32)), (fresh, None)):
        heard, _ = _overheard_login(challenge)
        recorded = b"".join(data for who, data in heard if who == "client")[:32]
        with serving(auth_server.serve, challenge) as (address, _):
            answers.append(auth_relay.replay(address, recorded, b"echo gotcha"))
        rows.append((name, short(recorded), text_of(answers[-1])))
    stage.show(
        Table(
            (
                stage.pick("the challenge is", "质询"),
                stage.pick("recorded response", "录下的应答"),
                stage.pick("the server to the spy", "服务器对间谍说"),
            ),
            tuple(rows),
        )
    )
    stage.claim(
        "replay-works",
        answers[0] == b"welcome\ngotcha\n",
        "With a fixed challenge the recording opened the door.",
        "质询固定不变时，录音打开了门。",
    )
    stage.claim(
        "replay-fails",
        answers[1] == b"denied\n",
        "With a fresh one it did not: it was the right answer to yesterday's question. Such bytes, used once, are a nonce.",
        "质询每次都新时，门没有开：那是昨天那个问题的正确答案。这种只用一次的字节就是随机数。",
    )
