"""The lessons by name, in the order in which they are learned. A lesson is imported when it is played."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple, cast

from remote_shell.demo.stage import Stage


class Lesson(NamedTuple):
    """A lesson's module below `lessons`, and its title and what it shows, each in English and Chinese."""

    module: str
    title: tuple[str, str]
    about: tuple[str, str]

    @property
    def play(self) -> Callable[[Stage], None]:
        """What plays it."""
        module = importlib.import_module(f"remote_shell.demo.lessons.{self.module}")
        return cast(Callable[[Stage], None], module.play)


LESSONS: dict[str, Lesson] = {
    "socket": Lesson(
        "socket_",
        ("Sockets, step by step", "套接字，一步一步来"),
        ("each call, and what the kernel does", "每个调用，以及内核做了什么"),
    ),
    "partial": Lesson(
        "partial",
        ("Less than you asked for", "比你要的少"),
        ("send may take less, recv gives what is there", "send 可能只收下一部分，recv 有多少给多少"),
    ),
    "sticky": Lesson(
        "sticky",
        ("Sticky packets", "粘包"),
        ("two commands in one recv, one answer in many", "两条命令被一次 recv 收走，一个回答要收许多次"),
    ),
    "cures": Lesson(
        "cures",
        ("Cures, poor and good", "解决办法：差的和好的"),
        ("sleep, delimiter, length first, header, JSON header", "睡眠、分隔符、先问长度、报头、JSON 报头"),
    ),
    "udp": Lesson(
        "udp",
        ("Datagrams", "数据报"),
        ("UDP keeps borders, and loses, cuts and reorders", "UDP 保留边界，却会丢失、截断、乱序"),
    ),
    "auth": Lesson(
        "auth",
        ("Who is there?", "来者何人？"),
        ("a stranger's command; challenge, replay, relay", "陌生人的命令；质询、重放、中继"),
    ),
    "many": Lesson(
        "many",
        ("Many at once", "同时服务许多客户端"),
        ("who waits for whom: one, threads, selectors, asyncio", "谁在等谁：逐个、多线程、selectors、asyncio"),
    ),
    "frames": Lesson(
        "frames",
        ("The frames of this project", "本项目的帧"),
        ("a real command, byte by byte", "一条真实的命令，逐字节地看"),
    ),
}


def after(name: str) -> str | None:
    """The lesson that follows, if one does."""
    names = [*LESSONS, None]
    return names[names.index(name) + 1]
