"""One of each element, with what is hard to draw: wide characters, control characters, many small blocks beside a large one."""

from __future__ import annotations

from remote_shell.demo import elements
from remote_shell.demo.elements import Arrow, Bar, Block, Element, Lane, Piece, Row, Span

PROSE = (
    "A *stream* has no borders: `recv(1024)` returns what is there, be it half a command or three of them. It is not a fault. "
    "一个*字节流*没有边界：`recv(1024)` 返回的是已经到达的字节，可能是半条命令，也可能是三条（最多 1024 个字节）。"
    "这不是错误，而是它的本性。"
)

COMMANDS = elements.Blocks(
    (
        Row("sent", (Block((Piece("ls -l", 5, 1),)), Block((Piece("pwd", 3, 2),)), Block((Piece("whoami", 6, 3),)))),
        Row(
            "recv", (Block((Piece("ls -l", 5, 1), Piece("pw", 2, 2))), Block((Piece("d", 1, 2), Piece("whoami", 6, 3))))
        ),
    ),
    "what was sent, and what `recv` returned",
)
LARGE = elements.Blocks(
    (
        Row("发送", (Block((Piece("1⏎2⏎3⏎", 3893, 1),)), Block((Piece("hello⏎", 6, 2),)))),
        Row(
            "recv",
            (
                *(Block((Piece("x" * 1024, 1024, 1),)) for _ in range(3)),
                Block((Piece("y" * 821, 821, 1), Piece("hello⏎", 6, 2))),
            ),
        ),
        Row("lost", (Block((Piece("never", 2000, 4),), lost=True),)),
    ),
    "the rest of one answer in the next",
)
MANY = elements.Blocks(
    (Row("many", tuple(Block((Piece("ab", 2, number % 6 + 1),)) for number in range(90))),), "ninety of two bytes"
)
HANDSHAKE = elements.Exchange(
    ("client", "server"),
    (
        Arrow(0, 1, "SYN seq=1000", colour=1),
        Arrow(1, 0, "SYN, ACK", inferred=True),
        Arrow(0, 1, "ACK"),
        Arrow(1, 1, "accept() returns"),
        Arrow(0, 0, "connect() returns"),
        Arrow(
            0,
            1,
            "a text that is too long for the arrow on which it stands, and is broken into lines for that reason, 也有中文",
            colour=2,
        ),
        Arrow(1, 0, "FIN", lost=True),
    ),
    ((0, 0, "SYN_SENT"), (1, 0, "SYN_RECV"), (0, 2, "ESTABLISHED"), (1, 2, "ESTABLISHED")),
    "三次握手 the three-way handshake",
)
RELAY = elements.Exchange(
    ("client", "relay 中继", "server"),
    (
        Arrow(0, 1, "hello"),
        Arrow(1, 2, "hello"),
        Arrow(1, 1, "changes the name"),
        Arrow(2, 1, "no", colour=7),
        Arrow(1, 0, "no", lost=True),
    ),
    caption="a relay",
)
TIMELINE = elements.Timeline(
    (
        Lane("slow 慢", (Bar(0, 0.3, "works", 1),)),
        Lane("client 2", (Bar(0.01, 0.3, "waits", 0), Bar(0.3, 0.31, "answered", 3))),
        Lane("client 3", (Bar(0.02, 0.31, "等待", 0), Bar(0.31, 0.32, "answered", 3))),
    ),
    "who waits for whom",
)
DUMP = elements.Dump(
    bytes([0, 0, 0, 23, 3, 0, 0, 0, 1]) + b'{"type":"open","x":"\xe7\xb2\x98"}',
    (
        Span(0, 4, "length: 23", 1),
        Span(4, 5, "type: 3, control", 2),
        Span(5, 9, "channel: 1", 3),
        Span(
            9, 34, '{"type": "open", "x": "粘"}, and a text that goes on until it must be broken into a second line', 4
        ),
    ),
    (7, 20),
    "a frame",
)

ALL: tuple[Element, ...] = (
    elements.Heading("First step: a `socket`"),
    elements.Paragraph(PROSE),
    elements.Words(
        (
            ("byte", "a number from 0 to 255"),
            ("套接字", "两个程序对话的一端；在 Python 里就是 `socket` 对象，两个程序对话的一端"),
        )
    ),
    elements.Program("/a path/sticky_server.py", "python3 '/a path/sticky_server.py'"),
    elements.Source(
        'def serve(listener):\n    """Waits <one>."""\n    return listener.accept()  # 等一个', 12, "sticky_server.py"
    ),
    elements.Table(
        ("call", "what the kernel did"),
        (
            ("`socket()`", "made a socket & gave it the number 3"),
            ("`bind()`", "给套接字一个地址，别人用它来找到这个服务器，没有别的意思"),
        ),
        "calls",
    ),
    COMMANDS,
    LARGE,
    MANY,
    HANDSHAKE,
    RELAY,
    TIMELINE,
    DUMP,
    elements.Output("server: \x1b[31mred\x1b[0m\nit said <b>\t\x07\x9b2J" + "long " * 40, "what it printed"),
    elements.Claim("sticky", "Two commands came in one `recv`.", True),
    elements.Claim("cured", "没有一条消息被切断。", False),
)
