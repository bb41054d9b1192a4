"""The lesson `socket` in both languages, as root and as somebody else, and its programs run alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from remote_shell.demo import capture, diag, elements, watcher
from remote_shell.demo.catalogue import LESSONS
from remote_shell.demo.lessons import socket_packets, socket_refusals
from remote_shell.demo.programs import socket_bind, socket_steps
from remote_shell.demo.stage import PROGRAMS, Stage
from tests.config.account import as_nobody
from tests.demo.playing import played

ROOT = os.geteuid() == 0
FIRST = ["connect-before-accept", "ipv4", "handshake", "goodbye"]
FAMILIES = ["ipv6", "unix", "unix-file"]
REFUSALS = ["taken", "reuse", "not-ours", "privileged", "path-taken", "full", "let-in", "full-unix"]


def may_capture() -> bool:
    try:
        capture.Capture(1).__exit__(None, None, None)
    except OSError:
        return False
    return True


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


CLAIMS = [
    *FIRST,
    *(["merged"] if may_capture() else []),
    *(FAMILIES if has_ipv6() else FAMILIES[1:]),
    *REFUSALS,
]


def named(on: Stage) -> list[str]:
    return [each.name for each in on.shown.elements if isinstance(each, elements.Claim)]


def pictures(on: Stage) -> list[elements.Exchange]:
    return [each for each in on.shown.elements if isinstance(each, elements.Exchange)]


def tables(on: Stage) -> list[elements.Table]:
    return [each for each in on.shown.elements if isinstance(each, elements.Table)]


@pytest.mark.screen
@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_lesson_shows_what_it_claims(language: str) -> None:
    on = played("socket", language)
    assert on.failed == []
    assert named(on) == CLAIMS
    hello, talk, goodbye, *_ = pictures(on)
    crossed = [arrow for arrow in hello.arrows if arrow.source != arrow.destination]
    assert [(arrow.source, arrow.text.split()[0]) for arrow in crossed] == [(0, "SYN"), (1, "SYN+ACK"), (0, "ACK")]
    assert all(arrow.inferred != may_capture() for arrow in crossed)
    assert {(end, text) for end, _, text in hello.states} >= {(1, "LISTEN"), (0, "ESTABLISHED"), (1, "ESTABLISHED")}
    assert {(end, text) for end, _, text in goodbye.states} >= {(0, "FIN_WAIT2"), (1, "CLOSE_WAIT"), (0, "TIME_WAIT")}
    if may_capture():
        assert sum(repr(b"hello") in arrow.text for arrow in talk.arrows if arrow.source != arrow.destination) == 1
    assert len(tables(on)[0].rows) == 14
    assert all(len(row) == len(table.head) for table in tables(on) for row in table.rows)


@pytest.mark.screen
@pytest.mark.parametrize("cut", [True, False], ids=["broken off", "to the end"])
def test_the_lesson_leaves_nothing_behind(cut: bool) -> None:
    steps = 0

    def leave() -> None:
        nonlocal steps
        steps += 1
        if cut and steps == 7:  # before the backlog
            raise KeyboardInterrupt

    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    try:
        LESSONS["socket"].play(Stage(("", ""), "en", pause=leave))
    except KeyboardInterrupt:
        assert cut
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)


def test_without_the_right_to_look_the_packets_are_inferred(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(port: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(watcher, "Capture", refuse)
    on = Stage(("", ""), "en")
    with watcher.Watcher() as watched:
        socket_steps.converse(socket.AF_INET, ("127.0.0.1", 0), watched)
    socket_packets.play(on, watched)
    assert on.failed == []
    assert named(on) == ["handshake", "goodbye"]
    crossed = [arrow for each in pictures(on) for arrow in each.arrows if arrow.source != arrow.destination]
    assert len(crossed) == 3 + 4 + 4
    assert all(arrow.inferred for arrow in crossed)


@pytest.mark.skipif(not ROOT, reason="only root may look at packets")
def test_captured_packets_are_of_our_port_only_and_taken_once() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    other = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    with listener, other, capture.Capture(port) as looking:
        for server in (other, listener):
            with socket.create_connection(server.getsockname()) as client:
                client.sendall(b"only " + str(server is listener).encode())
                with server.accept()[0] as taken:
                    taken.recv(100)
        found = looking.packets()
    assert all(port in (each.source, each.destination) for each in found)
    assert [each.data for each in found if each.data] == [b"only True"]
    assert [each.flags for each in found][:1] == [("SYN",)]


@pytest.mark.parametrize("data", [b"", b"\x45" * 19, b"\x60" + bytes(60), b"\x45" + bytes(8) + b"\x11" + bytes(40)])
def test_what_is_no_tcp_packet_is_left_out(data: bytes) -> None:
    assert capture.parsed(data) is None


@pytest.mark.screen
def test_the_states_are_told_without_sock_diag_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no module tcp_diag")

    monkeypatch.setattr(diag, "state", refuse)
    with watcher.Watcher() as watched:
        socket_steps.converse(socket.AF_INET, ("127.0.0.1", 0), watched)
    connected = watched.find("client.connect()")
    assert (connected.client, connected.server) == ("ESTABLISHED", "ESTABLISHED")
    assert watched.find("connection.close()").client == "TIME_WAIT"
    assert watched.find("connection.close()").server == ""


@pytest.mark.parametrize(
    ("first", "answer", "shown"),
    [("0", "OK", True), ("0", "EACCES", False), ("1024", "OK", False), ("1024", "PermissionError: no", False)],
)
def test_the_privileged_port_is_held_against_the_kernels_own_setting(
    first: str, answer: str, shown: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = tmp_path / "ip_unprivileged_port_start"
    setting.write_text(first)
    monkeypatch.setattr(socket_refusals, "FIRST_FREE", setting)
    monkeypatch.setattr(socket_bind, "try_without_rights", lambda port: answer)
    on = Stage(("", ""), "en")
    socket_refusals.bind(on)
    assert ("privileged" not in on.failed) is shown


@pytest.mark.screen
@pytest.mark.skipif(not ROOT, reason="another account is needed")
@pytest.mark.parametrize("language", ["en", "zh"])
def test_somebody_who_is_not_root_gets_the_lesson_too(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # the Python and the programs that root uses may lie in root's home, where nobody can start or read them
    monkeypatch.setattr(
        socket_bind, "try_without_rights", lambda port: socket_bind.try_bind(socket.AF_INET, ("127.0.0.1", port))
    )
    monkeypatch.setattr(Stage, "source", lambda on, program, function: None)

    def play() -> list[list[str]]:
        on = Stage(("", ""), language)
        LESSONS["socket"].play(on)
        return [on.failed, named(on)]

    assert as_nobody(play) == repr([[], [name for name in CLAIMS if name != "merged"]])


STEPS = {
    "socket_steps": ["--- IPv4", "client.connect()", "b'HELLO'", "the file is still there: True"],
    "socket_bind": ["EADDRINUSE", "EADDRNOTAVAIL", "a new path:                        OK"],
    "socket_backlog": [
        "TCP: connect said EINPROGRESS - through: False",
        "another one is through",
        "Unix: connect said EAGAIN",
    ],
}


@pytest.mark.screen
@pytest.mark.parametrize("name", STEPS)
def test_what_each_program_prints(name: str) -> None:
    done = subprocess.run([sys.executable, PROGRAMS / f"{name}.py"], capture_output=True, text=True, timeout=15)
    assert all(text in done.stdout for text in STEPS[name]), done.stdout


def test_numbers_are_counted_from_each_ends_first_packet() -> None:
    with watcher.Watcher() as watched:
        socket_steps.converse(socket.AF_INET, ("127.0.0.1", 0), watched)
    drawn = watcher.exchange(watched, watched.samples, ("c", "s"), "")
    crossed = [arrow.text for arrow in drawn.arrows if arrow.source != arrow.destination]
    if may_capture():
        assert crossed[:3] == ["SYN seq=0", "SYN+ACK seq=0 ack=1", "ACK seq=1 ack=1"]
        assert crossed[3].startswith("PSH+ACK seq=1 ack=1")
