"""The lesson udp, second part: what loopback keeps, what a full buffer drops, and what a relay of ours does to datagrams."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Sequence

from remote_shell.demo.elements import Block, Blocks, Piece, Row, Table
from remote_shell.demo.lessons.background import beside, wait_until
from remote_shell.demo.programs import udp_datagrams, udp_overflow, udp_relay
from remote_shell.demo.recorder import Note, RecordedSocket, of
from remote_shell.demo.stage import Stage, text_of

SEED = 5  # of the relay's dice: with it ten datagrams meet every fate


def loopback(stage: Stage, sender: RecordedSocket, receiver: RecordedSocket) -> None:
    stage.heading("Does loopback lose anything?", "环回会丢东西吗？")
    stage.say(
        "These programs run on one computer and talk over loopback. It has no cables and no weather: by itself it neither loses nor "
        "reorders. We send 1,000 numbered datagrams, ten at a time, and read them along.",
        "这些程序都在一台计算机上，通过环回通信。那里没有网线，也没有刮风下雨：它自己既不丢失，也不乱序。"
        "我们发 1000 个编了号的数据报，每次十个，边发边取。",
    )
    messages = [b"%d" % number for number in range(1000)]
    received: list[bytes] = []
    for first in range(0, len(messages), 10):
        udp_datagrams.send_each(sender, receiver.getsockname(), messages[first : first + 10])
        with contextlib.suppress(TimeoutError):  # then there are fewer than were sent, and the claim fails
            received += udp_datagrams.receive_each(receiver, 1024, 10)
    stage.claim(
        "loopback-keeps",
        received == messages,
        f"{len(received):,} of {len(messages):,} arrived, in order.",
        f"{len(messages)} 个里到了 {len(received)} 个，顺序也没乱。",
    )


def overflow(stage: Stage) -> None:
    stage.heading("But a full letter box drops letters", "但信箱满了照样丢信")
    stage.say(
        "Now nobody reads along. Arriving datagrams wait in the socket's buffer. Arranged for this step: the buffer is tiny "
        "(`SO_RCVBUF`), and we read only after all 16 datagrams were sent. In TCP the sender would have to wait. In UDP nobody tells "
        "the sender anything.",
        "这回没有人边发边取。到达的数据报在套接字的缓冲区里等着。这一步做了安排：缓冲区很小（`SO_RCVBUF`），"
        "而且 16 个全发完之后才开始读。换成 TCP，发送方必须等待；而在 UDP 里，没有人通知发送方。",
    )
    stage.program("udp_overflow")
    stage.source("udp_overflow", "count_dropped")
    counts = os.path.exists("/proc/net/udp")
    total, numbers, dropped = 16, [], 0
    with udp_overflow.open_small_receiver() as receiver:
        udp_overflow.flood(receiver.getsockname(), total, 512)

        def all_accounted_for() -> bool:
            nonlocal dropped
            numbers.extend(udp_overflow.take_what_is_there(receiver))
            dropped = udp_overflow.count_dropped(receiver) if counts else total - len(numbers)
            return len(numbers) + dropped >= total

        wait_until(all_accounted_for)
    sent = tuple(Block((Piece(str(n), 512, n % 6 + 1),)) for n in range(total))
    dropped_one = Block((Piece("✗", 512),), lost=True)
    arrived = tuple(block if n in numbers else dropped_one for n, block in enumerate(sent))
    stage.show(
        Blocks(
            (
                Row("sendto", sent),
                Row("recv", arrived),
            ),
            stage.pick("16 datagrams of 512 bytes; ✗: dropped", "16 个 512 字节的数据报；✗：被丢弃"),
        )
    )
    stage.claim(
        "overflow",
        0 < len(numbers) < total,
        f"{total} were sent without any error, {len(numbers)} arrived.",
        f"发出 {total} 个，没有任何报错；到了 {len(numbers)} 个。",
    )
    if counts:
        stage.claim(
            "overflow-counted",
            len(numbers) + dropped == total,
            f"The kernel counted what it threw away (on Linux, the file `/proc/net/udp` tells): {dropped}. With the {len(numbers)} "
            f"that makes {total}.",
            f"扔掉了多少，内核都数着（Linux 上写在文件 `/proc/net/udp` 里）：{dropped} 个。加上到达的 {len(numbers)} 个，正好 {total} 个。",
        )
    stage.say(
        "So even without any network a datagram can get lost: it is enough that the receiver is slow.",
        "所以，即使完全没有网络，数据报也会丢：接收方慢一点就够了。",
    )


def relay(stage: Stage) -> None:
    stage.heading("A bad network, made by ourselves", "自己造一个糟糕的网络")
    stage.say(
        "To lose and reorder as the Internet does, loopback needs help. We put a *relay* in between: a program that takes each datagram "
        "and passes it on, but rolls dice first. It may lose it, send it twice, or hold it back until the next one has overtaken it. "
        "These "
        f"accidents are ours, and the dice always fall the same way (`random.Random({SEED})`), so that you can repeat the run.",
        "要像互联网那样丢失和乱序，环回需要帮一点忙。我们在中间放一个*中继*：它收下每个数据报再转发出去，不过先掷一次骰子。"
        "它可能把数据报丢掉、发两次，或者扣下来，等下一个超过去之后再发。这些事故是我们自己制造的，而且骰子每次都掷得一样"
        f"（`random.Random({SEED})`），方便你重做这个实验。",
    )
    stage.program("udp_relay")
    stage.source("udp_relay", "relay")
    sent, fates, received = _ten_through_the_relay()
    colours = {message: number % 6 + 1 for number, message in enumerate(sent)}

    def block(data: bytes) -> Block:
        return Block((Piece(text_of(data), len(data), colours[data]),))

    def gone(data: bytes) -> Block:
        return Block((Piece(text_of(data)[:-1] + "✗", len(data), colours[data]),), lost=True)

    stage.show(
        Table(
            (stage.pick("datagram", "数据报"), stage.pick("the dice said", "骰子说")),
            tuple((text_of(data), stage.pick(fate, _FATES[fate])) for data, fate in zip(sent, fates, strict=True)),
        )
    )
    stage.show(
        Blocks(
            (
                Row("sendto", tuple(block(each) if each in received else gone(each) for each in sent)),
                Row("recvfrom", tuple(block(each) for each in received)),
            ),
            stage.pick("through the relay; ✗: never arrived", "经过中继；✗：没有到达"),
        )
    )
    lost = [each for each in sent if each not in received]
    doubled = [each for each in sent if received.count(each) > 1]
    numbers = [sent.index(each) for each in received]
    stage.claim("lost", lost, f"Lost: {_names(lost)}.", f"丢失的有：{_names(lost)}。")
    stage.claim("doubled", doubled, f"Arrived twice: {_names(doubled)}.", f"到了两次的有：{_names(doubled)}。")
    stage.claim(
        "reordered",
        numbers != sorted(numbers),
        f"Overtaken on the way; the order of arrival was {_names(received)}.",
        f"路上有超车；到达的顺序是 {_names(received)}。",
    )


_FATES = {"passed": "放行", "lost": "丢掉", "twice": "发两次", "late": "扣下，晚点再发"}


def _names(messages: Sequence[bytes]) -> str:
    return " ".join(text_of(each).strip() for each in messages)


def _ten_through_the_relay() -> tuple[list[bytes], list[str], list[bytes]]:
    """What was sent, what the dice said to each, and what arrived."""
    dice = random.Random(SEED)
    notes: list[Note] = []
    log: list[tuple[bool, str, bytes]] = []
    messages = [b" %2d " % number for number in range(1, 11)]
    with udp_relay.open_udp() as client, udp_relay.open_udp() as middle, udp_relay.open_udp() as plain:
        with RecordedSocket(plain, "receiver", notes) as receiver, RecordedSocket(middle, "relay", notes) as middle:
            to_relay = middle.getsockname()
            arguments = (middle, receiver.getsockname(), lambda to_server: dice.choice(udp_relay.FATES), log)
            with beside(udp_relay.relay, *arguments, stop=lambda: client.sendto(b"exit", to_relay)):
                udp_datagrams.send_each(client, to_relay, messages)
            receiver.settimeout(5)
            with contextlib.suppress(TimeoutError):
                udp_datagrams.receive_each(receiver, 1024, len(of(notes, "relay", "sendto")))
    return [data for _, _, data in log], [fate for _, fate, _ in log], [note.data for note in of(notes, "receiver")]
