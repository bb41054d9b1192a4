"""A sender and a receiver joined in memory: what each says goes through the wire's JSON to the other."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from remote_shell.files import names
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.transfer.progress import FileFault
from remote_shell.transfer.receiving import Receiver
from remote_shell.transfer.sending import Item, Sender
from remote_shell.wire.fields import Message
from remote_shell.wire.messages import decode

SMALL = replace(DEFAULT_LIMITS, files_resume_min=5000, files_ahead_max=8)  # what is large is large soon


class Joined:
    """One transfer in this process."""

    def __init__(
        self, sources: list[str | bytes | Path], to: str | bytes | Path, recursive: bool = True, limits: Limits = SMALL
    ) -> None:
        paths = [os.fsencode(source) for source in sources]
        self.sender = Sender(paths, b"/", recursive, limits, lambda: False)
        self.receiver = Receiver(os.fsencode(to), [names.top_name(path) for path in paths], limits)
        self.faults: list[FileFault] = []  # as the receiver has them
        self.sender_faults: list[FileFault] = []
        self.said: list[Message] = []  # by both
        self.data = 0  # bytes that crossed

    def pass_on(self, item: Item) -> None:
        """One item of the sender's."""
        if isinstance(item, Message):
            message = decode(item.encode())
            self.said.append(message)
            self.receiver.message(message)
        else:
            self.data += len(item)
            for at in range(0, len(item), 1 << 16):
                self.receiver.data(memoryview(item)[at : at + (1 << 16)])

    def answer(self) -> None:
        """What the receiver has to say."""
        for answer in self.receiver.take_answers():
            message = decode(answer.encode())
            self.said.append(message)
            self.sender.receive(message)
        self.faults += self.receiver.take_faults()
        self.sender_faults += self.sender.take_faults()

    def run(self, until: Callable[[], bool] = lambda: False) -> Joined:
        """To its end, or until `until()` after an item: then it is cut off."""
        while not self.sender.exhausted:
            piece = self.sender.produce()
            for item in piece:
                self.pass_on(item)
                if until():
                    self.sender.close()
                    self.receiver.close()
                    return self
            if not piece:
                self.receiver.settle()
            before = len(self.said)
            self.answer()
            assert piece or len(self.said) > before or self.sender.exhausted, "each waits for the other"
        self.receiver.end()
        self.answer()
        assert self.sender.settled
        self.sender.close()
        return self


def tree(root: str | bytes | Path) -> dict[bytes, tuple[str, int, int, bytes]]:
    """All below a folder: kind, mode, time, and content or target."""
    found = {}
    base = os.fsencode(root)
    for folder, folders, files in os.walk(base):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if os.path.islink(path):
                entry = ("symlink", 0, status.st_mtime_ns, os.readlink(path))
            elif os.path.isdir(path):
                entry = ("folder", status.st_mode & 0o7777, status.st_mtime_ns, b"")
            else:
                with open(path, "rb") as file:
                    entry = ("file", status.st_mode & 0o7777, status.st_mtime_ns, file.read())
            found[os.path.relpath(path, base)] = entry
    return found
