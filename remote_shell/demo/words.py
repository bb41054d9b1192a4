"""The glossary: each technical word of the lessons in both languages, with what it means, in the order in which they can be learned.

A meaning uses plain words, Python's basics and words further up, nothing else. tests/demo/test_words.py holds the lessons to this list: a
word of it is either explained by the lesson (written `*word*` where it first stands) or named in the lesson's call of `stage.words`.
"""

from __future__ import annotations

from typing import NamedTuple


class Word(NamedTuple):
    """A word and its meaning in English, then in Chinese."""

    en: str
    en_meaning: str
    zh: str
    zh_meaning: str


GLOSSARY: dict[str, Word] = {
    "byte": Word(
        "byte",
        "a number from 0 to 255; all that programs send to each other is bytes",
        "字节",
        "0 到 255 之间的一个数；程序之间传送的一切都是字节",
    ),
    "process": Word("process", "a program that is running", "进程", "正在运行的程序"),
    "shell": Word(
        "shell",
        "the program that reads what you type in a terminal, line by line, and runs it",
        "shell",
        "一行一行读取你在终端里输入的内容并执行的程序",
    ),
    "command": Word(
        "command",
        "a line for the shell, such as `echo hi`, which prints hi",
        "命令",
        "交给 shell 执行的一行文字，例如 `echo hi`，它打印 hi",
    ),
    "root": Word("root", "the user who may do everything on a computer", "root", "在一台计算机上什么都能做的用户"),
    "thread": Word("thread", "a second line of execution inside one process", "线程", "同一个进程里的另一条执行路线"),
    "network": Word(
        "network", "what carries bytes from one computer to another", "网络", "把字节从一台计算机送到另一台的设施"
    ),
    "kernel": Word(
        "kernel",
        "the core of the operating system; it does for programs what they may not do themselves, such as using the network",
        "内核",
        "操作系统的核心；程序自己不能做的事（比如使用网络）由它代劳",
    ),
    "signal": Word(
        "signal",
        "a knock by which the kernel interrupts a process, for instance when you press Ctrl-C",
        "信号",
        "内核打断一个进程的敲门声，例如你按下 Ctrl-C 的时候",
    ),
    "server": Word(
        "server", "a program that waits for others and serves them", "服务器", "等待别人来找、并为其服务的程序"
    ),
    "client": Word("client", "a program that asks a server for something", "客户端", "向服务器请求服务的程序"),
    "address": Word(
        "address", "names a computer on a network, such as 127.0.0.1", "地址", "网络上一台计算机的名字，例如 127.0.0.1"
    ),
    "loopback": Word(
        "loopback",
        "the addresses 127.0.0.1 and ::1, by which a computer talks to itself",
        "环回",
        "127.0.0.1 和 ::1 这两个地址，计算机通过它们与自己通信",
    ),
    "port": Word(
        "port",
        "a number from 1 to 65535 that names one program's place at an address",
        "端口",
        "1 到 65535 之间的一个数，指明某个地址上的某个程序",
    ),
    "socket": Word(
        "socket",
        "one end of a conversation between two programs; Python's `socket` object stands for it",
        "套接字",
        "两个程序对话的一端；在 Python 里就是 `socket` 对象",
    ),
    "IPv4": Word(
        "IPv4",
        "the addresses made of four numbers, such as 127.0.0.1",
        "IPv4",
        "写成四个数的地址，例如 127.0.0.1",
    ),
    "IPv6": Word("IPv6", "the newer and longer addresses, such as ::1", "IPv6", "更新、更长的一种地址，例如 ::1"),
    "Unix socket": Word(
        "Unix socket",
        "a socket between programs on one computer; its address is the name of a file",
        "Unix 套接字",
        "同一台计算机上的程序之间使用的套接字；它的地址是一个文件名",
    ),
    "protocol": Word("protocol", "the rules that both ends of a conversation keep", "协议", "对话双方共同遵守的规则"),
    "connection": Word(
        "connection",
        "what two sockets share once one has called and the other has answered",
        "连接",
        "一方呼叫、另一方应答之后，两个套接字之间建立起来的通路",
    ),
    "backlog": Word(
        "backlog",
        "the queue of connections that the kernel has made and the server has not taken yet",
        "全连接队列",
        "内核已经建立好、服务器还没有取走的连接排成的队",
    ),
    "packet": Word(
        "packet",
        "some bytes with addresses in front, which cross the network as one piece",
        "数据包",
        "前面写着地址、作为一个整体在网络上传送的一段字节",
    ),
    "stream": Word(
        "stream",
        "bytes in order, one after the other, without borders between them",
        "字节流",
        "按顺序一个接一个、中间没有边界的字节",
    ),
    "TCP": Word(
        "TCP",
        "the protocol of most connections; it delivers a stream of bytes, all of them and in order",
        "TCP",
        "大多数连接使用的协议；它送达一个字节流，不丢失、不乱序",
    ),
    "handshake": Word(
        "handshake",
        "the packets by which two kernels agree on a new connection",
        "握手",
        "两边的内核用来约定一个新连接的几个数据包",
    ),
    "buffer": Word(
        "buffer", "memory in which bytes wait until somebody takes them", "缓冲区", "字节等待被取走时所在的内存"
    ),
    "message": Word(
        "message",
        "bytes that mean something as a whole, such as one command or one answer",
        "消息",
        "合在一起才有意义的一段字节，例如一条命令或一个回答",
    ),
    "sticky packets": Word(
        "sticky packets",
        "the usual name in Chinese textbooks for what happens when several messages arrive as one, or one in several parts",
        "粘包",
        "几条消息连在一起到达，或一条消息分几次到达的现象",
    ),
    "blocking": Word(
        "blocking",
        "said of a call that comes back only when there is what it waits for; until then its thread does nothing else",
        "阻塞",
        "形容一个调用：要等的东西来了才返回，在此之前它所在的线程什么也不做",
    ),
    "timeout": Word(
        "timeout",
        "how long a call may wait; when that is over, it raises TimeoutError",
        "超时",
        "一个调用最多可以等多久；时间一到，它就抛出 TimeoutError",
    ),
    "named pipe": Word(
        "named pipe",
        "a file into which one program writes and from which another one reads; the reader waits for the writer",
        "命名管道",
        "一个程序往里写、另一个程序从中读的文件；读的一方会等写的一方",
    ),
    "event loop": Word(
        "event loop",
        "a loop that waits for many things at once, and calls the function that belongs to what has come",
        "事件循环",
        "同时等待许多件事的循环，哪件事来了，就调用它对应的函数",
    ),
    "coroutine": Word(
        "coroutine",
        "a function that can pause and go on later; Python makes one with `async def`",
        "协程",
        "可以暂停、以后再继续的函数；Python 用 `async def` 定义它",
    ),
    "Nagle's algorithm": Word(
        "Nagle's algorithm",
        "a habit of kernels: while a small packet is on its way, what is sent next waits, and then crosses as one packet",
        "Nagle 算法",
        "内核的一种习惯：一个小数据包还在路上时，后面要发的数据先等着，之后合成一个数据包发出",
    ),
    "round trip": Word(
        "round trip",
        "one message there and one back; the time that this takes",
        "往返",
        "一条消息过去、一条消息回来；也指所花的时间",
    ),
    "delimiter": Word(
        "delimiter",
        "a byte or several that mark where a message ends",
        "分隔符",
        "标记一条消息在哪里结束的一个或几个字节",
    ),
    "escaping": Word(
        "escaping",
        "writing a byte that has a special meaning in another way, so that it may be part of a message",
        "转义",
        "把有特殊含义的字节换一种写法，使它可以出现在消息里",
    ),
    "header": Word(
        "header",
        "a few bytes before a message that tell about it, above all its length",
        "报头",
        "放在消息前面、说明这条消息（首先是长度）的几个字节",
    ),
    "framing": Word(
        "framing",
        "putting a header before each message, so that the other end finds the borders again",
        "封装成帧",
        "在每条消息前加上报头，使对方能重新找到边界",
    ),
    "frame": Word("frame", "a header and the bytes that it tells about", "帧", "一个报头加上它所说明的字节"),
    "payload": Word("payload", "the bytes of a frame behind its header", "载荷", "一个帧里报头后面的那些字节"),
    "channel": Word(
        "channel",
        "one of several conversations over the same connection; a number tells them apart",
        "通道",
        "同一个连接上的几个对话之一，用编号区分",
    ),
    "hexadecimal": Word(
        "hexadecimal",
        "numbers written with sixteen signs, 0 to 9 and a to f: two of them make a byte, ff is 255",
        "十六进制",
        "用 0 到 9 和 a 到 f 这十六个符号写数：两个符号正好是一个字节，ff 就是 255",
    ),
    "JSON": Word(
        "JSON",
        'a text for numbers, strings, lists and dicts, as `json.dumps` writes it: {"size": 3}',
        "JSON",
        '用文本表示数字、字符串、列表和字典的格式，由 `json.dumps` 写出：{"size": 3}',
    ),
    "UDP": Word(
        "UDP",
        "the protocol of single messages: no connection, no order, no promise",
        "UDP",
        "一条一条发送消息的协议：没有连接、不保证顺序、不保证送达",
    ),
    "datagram": Word(
        "datagram",
        "one message of UDP, which arrives whole or not at all",
        "数据报",
        "UDP 的一条消息，要么整条到达，要么不到",
    ),
    "hash": Word(
        "hash",
        "a short fingerprint of some bytes; other bytes give another one",
        "哈希",
        "一段字节的简短指纹；字节不同，指纹就不同",
    ),
    "HMAC": Word(
        "HMAC",
        "a hash of a message together with a secret: only who knows the secret can make it",
        "HMAC",
        "把消息和秘密合在一起算出的哈希：只有知道秘密的人才算得出来",
    ),
    "nonce": Word("nonce", "random bytes that are used once", "随机数", "只使用一次的随机字节"),
    "relay": Word(
        "relay",
        "a program between two others that passes on what they send",
        "中继",
        "夹在两个程序中间、转发双方所发内容的程序",
    ),
    "challenge": Word(
        "challenge",
        "bytes that a server sends, for the client to prove with them that it knows a secret",
        "质询",
        "服务器发出的一段字节，客户端用它来证明自己知道秘密",
    ),
    "replay": Word("replay", "sending again what was recorded earlier", "重放", "把以前录下来的内容再发一遍"),
    "man in the middle": Word(
        "man in the middle",
        "a relay that nobody asked for, and that uses or changes what it passes on",
        "中间人",
        "没人请来的中继，会利用或篡改经手的内容",
    ),
    "public key": Word(
        "public key",
        "bytes that everybody may know, and that only one can prove to be its own, by a secret that belongs to them",
        "公钥",
        "谁都可以知道的一段字节，但只有一方能用配套的秘密证明它是自己的",
    ),
    "TLS": Word(
        "TLS",
        "the protocol behind the lock in your browser: nobody on the way can read or change what crosses",
        "TLS",
        "浏览器里那把小锁背后的协议：途中没有人能读懂或篡改传送的内容",
    ),
}


def entry(name: str, language: str) -> tuple[str, str]:
    """A word and its meaning in a language (`en` or `zh`)."""
    word = GLOSSARY[name]
    return (word.zh, word.zh_meaning) if language == "zh" else (word.en, word.en_meaning)
