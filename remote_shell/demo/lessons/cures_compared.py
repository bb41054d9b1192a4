"""The last part of the lesson `cures`: 10,000 messages, and the table of all cures. `cures_measured` does the measuring."""

from __future__ import annotations

from remote_shell.demo.elements import Table
from remote_shell.demo.lessons.cures_measured import (
    BUSY_FROM,
    CURES,
    DELIMITER,
    HEADER,
    JSON_HEADER,
    LENGTH_FIRST,
    MESSAGES,
    ONE_WAY,
    SIZE_MAX,
    SLEEP,
    measure,
    trial,
)
from remote_shell.demo.stage import Stage

MANY = 10_000  # messages
SEED = 2024


def play(stage: Stage) -> None:
    """Plays the last part."""
    ten_thousand(stage)
    table(stage)


def ten_thousand(stage: Stage) -> None:
    stage.heading(f"The proof: {MANY:,} messages", f"证明：{MANY:,} 条消息")
    stage.say(
        f"One message that comes whole proves little. So both headers now get {MANY:,} messages of random bytes, of 0 to {SIZE_MAX} "
        "bytes each, through a socket on a bad day (arranged): it cuts what is sent at random places, also in the middle of headers, "
        "pauses at random, and often returns less than it was asked for. Each message is compared with the one that was sent.",
        f"一条消息完整到达说明不了什么。所以现在两种报头各传 {MANY:,} 条随机内容的消息，每条 0 到 {SIZE_MAX} 字节，"
        "走一个“今天状态很差”的套接字（我们安排的）：它在随机的地方把要发送的数据切开（报头中间也切），随机地停顿，"
        "返回的常常比要的少。每条消息都和发送的那条比较。",
    )
    results = {cure: trial(cure, MANY, SEED) for cure in (HEADER, JSON_HEADER)}
    rows = tuple(
        (
            stage.pick(cure.en, cure.zh),
            f"{result.whole:,} / {MANY:,}",
            f"{result.size:,}",
            f"{result.pieces_sent:,}",
            f"{result.pieces_received:,}",
            f"{result.seconds:.1f}",
        )
        for cure, result in results.items()
    )
    head = (
        stage.pick("cure", "办法"),
        stage.pick("whole", "完整"),
        stage.pick("bytes", "字节"),
        stage.pick("pieces sent", "发送的块数"),
        stage.pick("pieces received", "收到的块数"),
        stage.pick("seconds", "秒"),
    )
    stage.show(Table(head, rows))
    for cure, result in results.items():
        stage.claim(
            "whole_" + cure.en.lower().replace(" ", "_"),
            result.whole == MANY and result.pieces_sent > MANY,
            f"{cure.en}: {result.whole:,} of {MANY:,} messages came whole.",
            f"{cure.zh}：{MANY:,} 条消息中有 {result.whole:,} 条完整到达。",
        )


def table(stage: Stage) -> None:
    stage.heading("All of them, side by side", "放在一起比一比")
    stage.say(
        f"Now each cure sends the same {MESSAGES} messages, every fifth of them with a line end inside, to a computer that is far "
        f"away: we hold back each byte for {ONE_WAY * 1000:.0f} ms each way (arranged: one round trip takes {2 * ONE_WAY * 1000:.0f} "
        f"ms, as from one city to another). After {BUSY_FROM} messages the receiver is busy once, until the sender is done or waits "
        "for an answer.",
        f"现在每种办法都把同样的 {MESSAGES} 条消息（每五条有一条含换行符）发给一台远方的计算机：每个字节每个方向都被我们拖住 "
        f"{ONE_WAY * 1000:.0f} 毫秒（我们安排的：一次往返 {2 * ONE_WAY * 1000:.0f} 毫秒，相当于两座城市之间）。"
        f"收到 {BUSY_FROM} 条之后，接收方会忙一次，直到发送方发完或者在等回应。",
    )
    costs = {cure: measure(cure) for cure in CURES}
    stage.show(
        Table(
            (
                stage.pick("cure", "办法"),
                stage.pick("whole", "完整"),
                stage.pick("round trips a message", "每条的往返次数"),
                stage.pick("extra bytes a message", "每条多出的字节"),
                stage.pick(f"seconds for {MESSAGES}", f"{MESSAGES} 条用时（秒）"),
            ),
            tuple(
                (
                    stage.pick(cure.en, cure.zh),
                    f"{cost.whole} / {MESSAGES}",
                    f"{cost.round_trips:g}",
                    f"{cost.extra:.1f}",
                    f"{cost.seconds:.2f}",
                )
                for cure, cost in costs.items()
            ),
            stage.pick(
                "measured in this run; a round trip is counted when the sender waits for an answer",
                "全部为本次运行实测；发送方等一次回应，算一次往返",
            ),
        )
    )
    length, four = costs[LENGTH_FIRST], costs[HEADER]
    stage.say(
        "So: sleep never. A delimiter with escaping where people read along. A header of fixed size for everything else, with JSON "
        "after it when there is more to tell. And never ask a question whose answer you can do without. This project does the same "
        "with nine bytes before each message: see `remote-shell demo frames`.",
        "结论：永远不要靠睡眠。希望人能直接读懂时，用分隔符加转义。其余一律用固定大小的报头；要说的多，就在后面加 JSON。"
        "还有：不需要回应的问题，就不要问。本项目也是这样做的，每条消息前面有九个字节：见 `remote-shell demo frames`。",
    )
    stage.claim(
        "poor_cures_fail",
        costs[SLEEP].whole < MESSAGES and costs[DELIMITER].whole < MESSAGES,
        f"Sleeping brought {costs[SLEEP].whole} of {MESSAGES} messages whole, the bare delimiter {costs[DELIMITER].whole}.",
        f"靠睡眠，{MESSAGES} 条里完整的有 {costs[SLEEP].whole} 条；不转义的分隔符，有 {costs[DELIMITER].whole} 条。",
    )
    stage.claim(
        "others_whole",
        all(cost.whole == MESSAGES for cure, cost in costs.items() if cure not in (SLEEP, DELIMITER)),
        "All other cures brought all of them.",
        "其余的办法全部完整。",
    )
    stage.claim(
        "round_trips_cost",
        (length.round_trips, four.round_trips) == (1, 0) and length.seconds >= MESSAGES * 2 * ONE_WAY > 0,
        f"Length first took {length.seconds:.2f} s for {MESSAGES} messages, the header {four.seconds:.2f} s.",
        f"{MESSAGES} 条消息，先问长度用了 {length.seconds:.2f} 秒，报头用了 {four.seconds:.2f} 秒。",
    )
