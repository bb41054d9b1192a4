"""The lesson "frames": the protocol of this project, byte by byte, from a real command.

Neighbours: `frames_run` records it, `frames_drawn` draws it.
"""

from __future__ import annotations

import itertools
import os.path

from remote_shell.demo.elements import Block, Blocks, Dump, Exchange, Row, Table
from remote_shell.demo.lessons import frames_run
from remote_shell.demo.lessons.frames_drawn import HIDDEN, arrow, dump, grouped, header_spans, pieces, says
from remote_shell.demo.lessons.frames_run import FROM_CLIENT, FROM_SERVER, SIZES, Recording, Seen
from remote_shell.demo.programs import frames_by_hand
from remote_shell.demo.stage import Stage, text_of
from remote_shell.errors import RemoteProtocolError
from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.wire import frames
from remote_shell.wire.frames import CONTROL, HEADER, HEADER_SIZE, FrameDecoder

FIRST = ["echo", "hi"]
INSIDE = ["seq", "20000"]  # more than one frame may hold
AROUND = ["tr", "a-z", "A-Z"]
TYPED = b"hello\n"


def play(stage: Stage) -> None:
    """Plays the lesson."""
    known = (
        "byte",
        "process",
        "shell",
        "command",
        "network",
        "kernel",
        "server",
        "client",
        "address",
        "port",
        "socket",
        "protocol",
    )
    stage.words(
        *known, "connection", "stream", "TCP", "message", "sticky packets", "delimiter", "header", "frame", "JSON"
    )
    recording = _set_up(stage)
    _conversation(stage, recording)
    _header(stage, recording)
    _control(stage, recording)
    _borders(stage, recording)
    _decoders(stage, recording)
    _channels(stage, recording)
    _too_large(stage)
    _cure(stage)


def _set_up(stage: Stage) -> Recording:
    stage.heading("Somebody in between", "中间站着一个人")
    command, long, waiting = " ".join(FIRST), " ".join(INSIDE), " ".join(AROUND)
    least, most = SIZES
    stage.say(
        "We start the server of this project, and its client. Between them we put a *relay*, a program that reads what one "
        "side sends, notes it, and sends it on to the other side. Neither of the two knows of it. The client has the server "
        f"run `{command}`, and later `{long}` while `{waiting}` waits for something to read.",
        "我们启动本项目的服务器和客户端，并在它们中间放一个*中继*：它读取一方发来的字节，记录下来，再转发给另一方。双方都不知道它的存在。"
        f"客户端让服务器执行 `{command}`，之后在 `{waiting}` 等待输入的同时再执行 `{long}`。",
    )
    stage.say(
        "All three are on this computer. Their sockets are *Unix sockets*: the address of such a socket is the name of a "
        "file, and there is no port. It carries a stream, as TCP does: bytes in order, and no borders.",
        "三者都在这台计算机上，它们用的是 *Unix 套接字*：这种套接字的地址是一个文件名，没有端口。"
        "它和 TCP 一样传送字节流：字节按顺序到达，没有边界。",
    )
    stage.say(
        f"What we arranged: the relay asks each `recv` for a random number of bytes, from {least} to {most}, so that the pieces "
        f"are small and of all sizes. And it begins to read the answer to `{command}` only when the kernel has all of it.",
        f"我们安排了什么：中继每次调用 `recv` 时，要的字节数是随机的，从 {least} 到 {most}，这样取到的一段段都很小，大小不一。"
        f"另外，`{command}` 的回答全部到达内核之后，它才开始读。",
    )
    recording = frames_run.record(FIRST, INSIDE, AROUND, TYPED)
    sizes = [len(chunk.data) for chunks in recording.chunks for chunk in chunks]
    stage.say(
        f"It is done: the relay called `recv` {len(sizes):,} times, and got {sum(sizes):,} bytes. What is told below is in them.",
        f"做完了：中继一共调用了 {len(sizes):,} 次 `recv`，得到 {sum(sizes):,} 个字节。下面所讲的一切都在这些字节里。",
    )
    return recording


def _conversation(stage: Stage, recording: Recording) -> None:
    command = " ".join(FIRST)
    stage.heading(f"`{command}`, from hello to close", f"`{command}`：从 hello 到 close")
    stage.say(
        "Each arrow below is a frame: a header of nine bytes, and then its *payload*, what the header tells about. The payload is "
        "either data, bytes as the command wrote them, or a message in JSON. The *channel* says whose it is: 0 is the "
        "connection itself, 1 is the first command. `9 + 320 B` means nine bytes of header and 320 bytes of payload.",
        "下面每个箭头是一个帧：九个字节的报头，后面是它的*载荷*，也就是报头所说明的内容。载荷要么是数据，即命令原样输出的字节，"
        "要么是一条 JSON 消息。*通道*说明它属于谁：0 是连接本身，1 是第一条命令。"
        "`9 + 320 B` 的意思是报头九个字节、载荷 320 个字节。",
    )
    arrows = [arrow(stage, each) for each in _first(recording)]
    stage.show(
        Exchange(
            (stage.pick("client", "客户端"), stage.pick("server", "服务器")),
            tuple(arrows),
            caption=stage.pick(
                f"The frames of the login and of `{command}`, in the order in which the relay had them whole.",
                f"登录和 `{command}` 的全部帧，按中继收全它们的先后排列。",
            ),
        )
    )
    names = [
        [each.name for each in _first(recording) if each.source == source] for source in (FROM_CLIENT, FROM_SERVER)
    ]
    count = sum(map(len, names))
    stage.claim(
        "conversation",
        names == [["hello", "auth", "open", "close"], ["hello", "welcome", "opened", "stdout", "exit", "close"]],
        f"This command took {count} frames: 4 to log in, and {count - 4} for the command itself.",
        f"这条命令用了 {count} 个帧：登录 4 个，命令本身 {count - 4} 个。",
    )


def _header(stage: Stage, recording: Recording) -> None:
    stage.heading("Nine bytes", "九个字节")
    data = next(each for each in _first(recording) if each.name == "stdout")
    stage.say(
        f"This is the frame with the output of `{' '.join(FIRST)}`, each byte in *hexadecimal*: two signs for a byte, of which "
        "each counts to sixteen, 0 to 9 and then a to f. So `0a` is 10, the end of a line. On the left stands the number of a row's first "
        "byte, and on the right the same bytes as text, with · where a byte is no letter or sign.",
        f"这就是装着 `{' '.join(FIRST)}` 的输出的那个帧，每个字节都写成*十六进制*：逢十六进一，一个字节正好写成两位，"
        "9 之后的数字是 a 到 f。所以 `0a` 就是 10，即换行。左边是这一行第一个字节的编号，"
        "右边是同样的字节当作文本的样子，不是字母或符号的写成 ·。",
    )
    stage.show(dump(stage, recording, data))
    stage.say(
        'In Python the header is `struct.pack("!IBI", length, type, channel)`. `I` is a number in four bytes, `B` one in a '
        "single byte, and `!` puts the byte that counts most first, as is the custom on networks. The length counts the "
        "payload alone.",
        '在 Python 里，报头就是 `struct.pack("!IBI", length, type, channel)`。`I` 是四个字节的数，`B` 是一个字节的数，'
        "`!` 表示网络字节序，即高位字节在前。长度只算载荷，不算报头。",
    )
    stage.show(
        Table(
            (stage.pick("Type", "类型"), stage.pick("Payload", "载荷"), stage.pick("From", "来自")),
            (
                (
                    "0",
                    stage.pick("what the command gets to read: stdin", "给命令读的：stdin"),
                    stage.pick("client", "客户端"),
                ),
                ("1", stage.pick("what it wrote: stdout", "命令写出的：stdout"), stage.pick("server", "服务器")),
                ("2", stage.pick("its errors: stderr", "命令的错误信息：stderr"), stage.pick("server", "服务器")),
                ("3", stage.pick("a message in JSON", "一条 JSON 消息"), stage.pick("both", "双方")),
            ),
            stage.pick("The four types", "四种类型"),
        )
    )
    crossed = recording.stream(FROM_SERVER)[data.start : data.end]
    length, kind, channel = HEADER.unpack_from(crossed)
    stage.claim(
        "header",
        (length, kind, channel) == (len(recording.outputs[1]), data.frame.type, data.frame.channel)
        and crossed[HEADER_SIZE:] == recording.outputs[1],
        f"The nine bytes say {length}, {kind}, {channel}; and what follows is what the command wrote: `{text_of(recording.outputs[1])}`.",
        f"这九个字节说的是 {length}、{kind}、{channel}；后面跟着的正是命令的输出：`{text_of(recording.outputs[1])}`。",
    )


def _control(stage: Stage, recording: Recording) -> None:
    stage.heading("The messages", "消息")
    stage.say(
        "Output is sent as it is, since it may be anything, and much. All else is JSON: there is little of it, and people can read "
        "it. This is how the client asks for the command:",
        "输出原样传送，因为它可能是任何内容，也可能很多。其余的都是 JSON：它们很少，而且人看得懂。客户端是这样请求执行命令的：",
    )
    first = _first(recording)
    asked = next(each for each in first if each.name == "open")
    stage.show(dump(stage, recording, asked))
    above = stage.pick("see above", "见上面")
    told = {each.name: above if each is asked else f"`{says(each.message)}`" for each in _once(first)}
    rows = tuple((name, text, stage.pick(*_MEANINGS[name])) for name, text in told.items())
    stage.show(
        Table(
            (
                stage.pick("Message", "消息"),
                stage.pick("What it said here", "这一次的内容"),
                stage.pick("Meaning", "含义"),
            ),
            rows,
            stage.pick(
                f"The messages of this run. `{HIDDEN}` stands for what is secret, or long and random.",
                f"这一次的各条消息。`{HIDDEN}` 代替秘密的内容，或者又长又随机的内容。",
            ),
        )
    )
    ended = next(each for each in first if each.name == "exit")
    stage.claim(
        "status",
        ended.message["status"] == recording.statuses[1] == 0,
        f"`exit` said {ended.message['status']}, and this is what the client returned as the command's exit status: 0 means that "
        "all went well.",
        f"`exit` 里写的是 {ended.message['status']}，客户端返回的命令退出状态也正是它：0 表示一切顺利。",
    )


_MEANINGS: dict[str, tuple[str, str]] = {
    "hello": ("what I speak, and how much I take", "我用哪个版本，一次收得下多少"),
    "auth": (
        "who I am; `peer`: ask the kernel whose process this is",
        "我是谁；`peer` 的意思是：请问内核，这是谁的进程",
    ),
    "welcome": ("come in; the session's name is a secret of the two", "请进；会话的名字是双方的秘密"),
    "open": ("run this program", "执行这个程序"),
    "opened": ("it runs, with this process id", "它在运行，进程号是这个"),
    "exit": ("it has ended, with this status", "它结束了，退出状态是这个"),
    "close": ("no more will come on this channel", "这个通道上不会再有内容"),
    "eof": ("the end of what there was to read", "要读的内容到此为止"),
    "disconnect": ("goodbye", "再见"),
}


def _borders(stage: Stage, recording: Recording) -> None:
    stage.heading("Frames on one row, `recv` on the other", "一行是帧，一行是 recv")
    answer = [each for each in recording.frames(FROM_SERVER) if each.frame.channel == 1]
    start, end = answer[0].start, answer[-1].end
    cuts = [start, *(cut for cut in recording.cuts(FROM_SERVER) if start < cut < end), end]
    sent = tuple(Block(pieces(stage, answer, each.start, each.end)) for each in answer)
    got = tuple(Block(pieces(stage, answer, low, high)) for low, high in itertools.pairwise(cuts))
    stage.show(
        Blocks(
            (Row(stage.pick("sent", "发送"), sent), Row("recv", got)),
            stage.pick(
                "The server's answer, "
                + ", ".join(f"`{each.name}`" for each in answer)
                + ": the frames as they were sent, and what each `recv` returned. Grey: headers.",
                "服务器的回答，依次是 "
                + "、".join(f"`{each.name}`" for each in answer)
                + "：上面是发送的帧，下面是每次 `recv` 返回的内容。灰色是报头。",
            ),
        )
    )
    ends = {each.end for each in answer}
    inside = [cut for cut in cuts[1:-1] if cut not in ends]
    several = [1 for low, high in itertools.pairwise(cuts) if any(low < each.end < high for each in answer)]
    stage.claim(
        "borders",
        inside and several,
        f"{len(inside)} of {len(got)} calls of `recv` ended in the middle of a frame, and {len(several)} returned parts of "
        "more than one.",
        f"{len(got)} 次 `recv` 中，有 {len(inside)} 次停在一个帧的中间，有 {len(several)} 次返回了不止一个帧的内容。",
    )
    stage.say(
        "These are sticky packets, no less than with a beginner's server. They only do no harm here: the next step is why.",
        "这就是粘包，和初学者的服务器上的一模一样。只不过在这里它们毫无害处，下一步就说明为什么。",
    )


def _decoders(stage: Stage, recording: Recording) -> None:
    stage.heading("The same frames, however they are cut", "怎么切，都是同样的帧")
    stage.program("frames_by_hand")
    stage.source("frames_by_hand", "Decoder")
    stage.say(
        "A decoder takes the pieces and gives the frames. It keeps what is not whole yet. Nine bytes there? Then it knows the "
        "length. As many more there? Then it cuts the frame off, and looks again: there may be a second one.",
        "解码器收下一段段字节，给出一个个帧，还不完整的就先留着。够九个字节了吗？够了，就知道长度。"
        "后面的也够了吗？够了，就切下这个帧，再看一遍：也许还有第二个。",
    )
    ways = []
    for source in (FROM_CLIENT, FROM_SERVER):
        stream = recording.stream(source)
        cut = [chunk.data for chunk in recording.chunks[source]]
        single = [stream[at : at + 1] for at in range(len(stream))]
        ways.append([_decoded(each) for each in (cut, single, [stream])])
    count = sum(len(way[0]) for way in ways)
    stage.claim(
        "same",
        count and all(way[0] == way[1] == way[2] for way in ways),
        f"The decoder of this project found the same {count} frames in the pieces as `recv` had returned them, in single "
        "bytes, and in all bytes at once.",
        f"把 `recv` 当时返回的一段段字节、一个一个的字节、一整块全部字节分别喂给本项目的解码器，得到的都是同样的 {count} 个帧。",
    )
    by_hand = [_by_hand([chunk.data for chunk in recording.chunks[source]]) for source in (FROM_CLIENT, FROM_SERVER)]
    stage.claim(
        "by_hand",
        by_hand == [way[0] for way in ways],
        "The decoder of the program above found these frames, too.",
        "上面那个程序里的解码器，找到的也是这些帧。",
    )


def _channels(stage: Stage, recording: Recording) -> None:
    inside, around = " ".join(INSIDE), " ".join(AROUND)
    stage.heading("Two commands, one connection", "两条命令，一个连接")
    stage.say(
        f"Now the channel shows what it is good for. `{around}` (channel 2) writes in capitals what it reads. While it waits "
        f"for something to read, `{inside}` (channel 3) runs over the same connection, from its beginning to its end.",
        f"现在来看通道有什么用。`{around}`（通道 2）把读到的字母改成大写再输出。它在等输入的时候，"
        f"`{inside}`（通道 3）在同一个连接上从头运行到尾。",
    )
    later = [each for each in recording.both if each.frame.channel in (2, 3)]
    stage.show(
        Exchange(
            (stage.pick("client", "客户端"), stage.pick("server", "服务器")),
            tuple(grouped(stage, later)),
            caption=stage.pick("The frames of both commands.", "这两条命令的帧。"),
        )
    )
    order = [each.frame.channel for each in later]
    output = {
        number: b"".join(each.frame.payload for each in later if (each.frame.channel, each.name) == (number, "stdout"))
        for number in (2, 3)
    }
    stage.claim(
        "channels",
        order.index(2) < order.index(3) < len(order) - 1 - order[::-1].index(3) < len(order) - 1 - order[::-1].index(2),
        "All frames of channel 3 crossed between the first and the last one of channel 2.",
        "通道 3 的所有帧，都夹在通道 2 的第一个帧和最后一个帧之间。",
    )
    cut = sum(1 for each in later if (each.frame.channel, each.name) == (3, "stdout"))
    stage.claim(
        "whole",
        all(output[number] == recording.outputs[number] for number in (2, 3))
        and output[2] == TYPED.upper()
        and output[3].count(b"\n") == int(INSIDE[-1])
        and cut > 1,
        f"The output of `{inside}`, {len(output[3]):,} bytes, was cut into {cut} frames; put together by channel, it was what "
        f"the client returned, and so was that of `{around}`: `{text_of(output[2])}`.",
        f"`{inside}` 的输出共 {len(output[3]):,} 个字节，被切成 {cut} 个帧；按通道拼起来，正是客户端返回的内容；"
        f"`{around}` 的也一样：`{text_of(output[2])}`。",
    )
    stage.say(
        f"Why cut it at all? No data frame here is larger than {DEFAULT_LIMITS.data_frame_max:,} bytes, so that the others "
        "do not wait behind a long one: between two frames it is their turn. `eof` says that there is no more to read; "
        "without it `tr` would wait for ever.",
        f"为什么要切开？这里的数据帧最多 {DEFAULT_LIMITS.data_frame_max:,} 个字节，"
        "这样别人就不必跟在一个很长的帧后面等：两个帧之间就轮到它们。"
        "`eof` 表示没有更多内容可读了；没有它，`tr` 会一直等下去。",
    )


def _too_large(stage: Stage) -> None:
    stage.heading("What a stranger may write", "陌生人会写什么")
    bad = HEADER.pack(2**32 - 1, CONTROL, 0)
    stage.say(
        "A length is only a promise. This header promises 4 GiB, over four thousand million bytes, and costs its sender nine. A "
        "server that "
        "believed it would keep so much memory for nothing:",
        "报头里的长度只是对方的一面之词。下面这个报头声称后面有 4 GiB，也就是四十多亿字节，而发送者只花了九个字节。"
        "信了它的服务器，就会白白留出那么多内存：",
    )
    stage.show(Dump(bad, header_spans(stage, bad)))
    decoder = FrameDecoder(DEFAULT_LIMITS.frame_max)
    ours = by_hand = ""
    decoder.feed(bad)
    try:
        decoder.next_frame()
    except RemoteProtocolError as error:
        ours = error.code
    try:
        frames_by_hand.Decoder().feed(bad)
    except ValueError as error:
        by_hand = str(error)
    stage.claim(
        "too_large",
        ours == "frame_too_large" and by_hand,
        f"Both decoders refused it at its ninth byte: `{ours}`, `{by_hand}`.",
        f"两个解码器都在第九个字节处拒绝了它：`{ours}`，`{by_hand}`。",
    )


def _cure(stage: Stage) -> None:
    stage.heading("So this is the cure", "办法就在这里")
    path = os.path.abspath(frames.__file__)
    stage.say(
        "TCP brings bytes, whole and in order. It never promised messages. The header makes them: who reads it knows how "
        "many bytes are to come, and so where this message ends and the next one begins. No pauses, no delimiter that must not "
        "occur in the data, no question and answer about the length: nine bytes for each frame.",
        "TCP 送来的是字节，不缺，也不乱。它从来没有承诺过消息。消息是报头造出来的：读了报头，就知道后面还有多少字节，"
        "也就知道这条消息在哪里结束、下一条从哪里开始。不必停顿，不必找一个数据里不会出现的分隔符，也不必先为长度一问一答：每个帧只花九个字节。",
    )
    stage.say(
        f"In this project that is done in one place, the short file `{path}`. What each message means and "
        "when it may come is written in `docs/protocol.md`: enough to write a client of your own.",
        f"在本项目里，这件事只在一个地方做，就是 `{path}` 这个不长的文件。每条消息的含义、什么时候可以出现，"
        "都写在 `docs/protocol.md` 里，照着它足以写出自己的客户端。",
    )


def _first(recording: Recording) -> list[Seen]:
    """The frames of the login and of the first command."""
    return [each for each in recording.both if each.frame.channel == 1 or each.name in ("hello", "auth", "welcome")]


def _once(seen: list[Seen]) -> list[Seen]:
    """One control frame of each name."""
    found: dict[str, Seen] = {}
    for each in seen:
        if each.frame.type == CONTROL:
            found.setdefault(each.name, each)
    return list(found.values())


def _decoded(chunks: list[bytes]) -> list[tuple[int, int, bytes]]:
    decoder = FrameDecoder(DEFAULT_LIMITS.frame_max)
    found: list[tuple[int, int, bytes]] = []
    for chunk in chunks:
        decoder.feed(chunk)
        while (frame := decoder.next_frame()) is not None:
            found.append((frame.type, frame.channel, frame.payload))
    return found


def _by_hand(chunks: list[bytes]) -> list[tuple[int, int, bytes]]:
    decoder = frames_by_hand.Decoder()
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]
