"""`join`: bytes both ways at once, ends as ends, and nothing left blocked when one side is gone."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from remote_shell.cli.joining import join

SIZE = 3 * 1024 * 1024  # beyond every buffer on the way


class Joined:
    """A `join` under way: `near` is what we wrote and read through ssh, `far` is the server's end."""

    def __init__(self, *, one_socket: bool) -> None:
        self.far, inner = socket.socketpair()
        if one_socket:  # as sshd gives it
            self.near, theirs = socket.socketpair()
            source, sink = os.dup(theirs.fileno()), os.dup(theirs.fileno())
            theirs.close()
            self.out = os.dup(self.near.fileno())
        else:
            self.near = socket.socket()
            source, self.into = os.pipe()
            self.out, sink = os.pipe()
        self.one_socket = one_socket
        self.descriptors = [source, sink, self.out, *([] if one_socket else [self.into])]

        def work() -> None:
            with socket.socket(fileno=inner.detach()) as sock:
                join(sock, source, sink)
            self.ended.set()

        self.ended = threading.Event()
        self.thread = threading.Thread(target=work)
        self.thread.start()

    def write(self, data: bytes) -> None:
        if self.one_socket:
            self.near.sendall(data)
        else:
            view = memoryview(data)
            while view:
                view = view[os.write(self.into, view) :]

    def end_input(self) -> None:
        if self.one_socket:
            self.near.shutdown(socket.SHUT_WR)
        else:
            os.close(self.into)
            self.descriptors.remove(self.into)

    def read(self, size: int) -> bytes:
        parts = b""
        while len(parts) < size and (part := os.read(self.out, size - len(parts))):
            parts += part
        return parts

    def close(self) -> None:
        self.far.close()
        self.near.close()
        self.thread.join(10)
        for descriptor in self.descriptors:
            try:
                os.close(descriptor)
            except OSError:  # `join` has closed its sink
                continue


@pytest.fixture(params=[True, False], ids=["one socket", "pipes"])
def joined(request: pytest.FixtureRequest) -> Iterator[Joined]:
    one = Joined(one_socket=request.param)
    yield one
    one.close()


def test_both_ways(joined: Joined) -> None:
    joined.write(b"up")
    assert joined.far.recv(10) == b"up"
    joined.far.sendall(b"down")
    assert joined.read(4) == b"down"


def test_what_goes_up_does_not_wait_for_what_comes_down(joined: Joined) -> None:
    flood = threading.Thread(target=joined.far.sendall, args=(b"x" * SIZE,))
    flood.start()
    joined.write(b"Ctrl-C")  # while nobody reads what comes down
    assert joined.far.recv(10) == b"Ctrl-C"
    assert joined.read(SIZE) == b"x" * SIZE
    flood.join()


def test_the_end_of_input_is_a_half_close(joined: Joined) -> None:
    joined.write(b"last")
    joined.end_input()
    assert joined.far.recv(10) == b"last"
    assert joined.far.recv(10) == b""
    joined.far.sendall(b"still here")
    assert joined.read(10) == b"still here"
    assert not joined.ended.is_set()


def test_the_servers_half_close_is_the_end_of_output_alone(joined: Joined) -> None:
    joined.far.shutdown(socket.SHUT_WR)
    assert joined.read(1) == b""
    joined.write(b"goes on")
    assert joined.far.recv(10) == b"goes on"
    joined.end_input()
    assert joined.ended.wait(10)


def test_a_server_that_is_gone_ends_it_though_input_goes_on(joined: Joined) -> None:
    joined.far.close()
    assert joined.ended.wait(10)
    joined.end_input()  # lets the other thread go
