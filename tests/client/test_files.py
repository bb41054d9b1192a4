"""put and get of both fronts, against a real server: files, faults as the system's exceptions, cuts, and a server that lies."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from remote_shell import PIPE, testing
from remote_shell.client import files
from remote_shell.client.async_ import connect_async
from remote_shell.client.blocking import Host, connect
from remote_shell.errors import CommandRefusedError, ConnectionLostError, RemoteProtocolError, TransferError, UsageError
from remote_shell.transfer.progress import Progress
from remote_shell.wire.file_messages import Skipped
from tests.client.hostile_server import HostileServer, Said
from tests.proxy import Proxy
from tests.transfer.hostile import escapes, file
from tests.transfer.joined import tree
from tests.transfer.test_ends import make_tree

pytestmark = pytest.mark.screen  # as a file it takes long

Call = Callable[..., Any]


@pytest.fixture(params=["blocking", "asyncio"])
def call(request: pytest.FixtureRequest, running: testing.RunningServer) -> Call:
    """`call("put", …)` on one front."""

    def blocking(verb: str, *words: Any, **options: Any) -> Any:
        with connect(running.targets["unix"]) as host:
            return getattr(host, verb)(*words, **options)

    async def awaited(verb: str, *words: Any, **options: Any) -> Any:
        async with connect_async(running.targets["unix"]) as host:
            return await getattr(host, verb)(*words, **options)

    def on_a_loop(verb: str, *words: Any, **options: Any) -> Any:
        return asyncio.run(awaited(verb, *words, **options))

    return blocking if request.param == "blocking" else on_a_loop


@pytest.mark.parametrize("verb", ["put", "get"])
def test_a_tree(call: Call, verb: str, tmp_path: Path) -> None:
    source = make_tree(tmp_path / "source")
    (source / "big").write_bytes(os.urandom(5 << 20))
    told: list[Progress] = []
    done = call(verb, source, tmp_path / "copy", recursive=True, progress=told.append)
    assert done.files == 8 and done.faults == () and tree(tmp_path / "copy") == tree(source)
    assert done.bytes == sum(len(entry[3]) for entry in tree(source).values() if entry[0] == "file")
    # how often it is told depends on how busy the machine is; its end always is
    assert (told[-1].files, told[-1].bytes) == (8, done.bytes)
    assert any(one.size == 5 << 20 and one.done for one in told) and max(one.done for one in told) <= 5 << 20


@pytest.mark.parametrize("verb", ["put", "get"])
def test_several_into_a_folder_and_back(call: Call, verb: str, tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "d").mkdir()
    assert call(verb, [str(tmp_path / "x"), os.fsencode(tmp_path / "y")], tmp_path / "d").files == 2
    assert sorted(os.listdir(tmp_path / "d")) == ["x", "y"]


@pytest.mark.parametrize("verb", ["put", "get"])
@pytest.mark.parametrize("path", ["x" * 5000, b"./" * 2500])
def test_a_path_that_is_too_long_leaves_the_connection_alone(
    running: testing.RunningServer, verb: str, path: Any, tmp_path: Path
) -> None:
    with connect(running.targets["unix"]) as host, host.popen(["cat"], stdin=PIPE) as process:
        for source, to in ((path, tmp_path), ("/etc/hostname", path)):
            with pytest.raises(OSError, match="File name too long") as fault:
                getattr(host, verb)(source, to)
            assert fault.value.errno == errno.ENAMETOOLONG
        assert process.poll() is None


@pytest.mark.parametrize("verb", ["put", "get"])
def test_faults_are_the_systems_own(call: Call, verb: str, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(FileNotFoundError) as missing:
        call(verb, tmp_path / "none", tmp_path / "x")
    assert missing.value.filename == str(tmp_path / "none")
    with pytest.raises(IsADirectoryError) as folder:
        call(verb, tmp_path / "d", tmp_path / "x")
    assert folder.value.filename == str(tmp_path / "d") and "add -r" in folder.value.__notes__[0]
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(FileNotFoundError) as nowhere:
        call(verb, tmp_path / "f", tmp_path / "no" / "where")
    assert nowhere.value.filename == str(tmp_path / "no" / "where")
    with pytest.raises(NotADirectoryError):
        call(verb, [tmp_path / "f", tmp_path / "f"], tmp_path / "f")


@pytest.mark.parametrize("verb", ["put", "get"])
def test_several_faults_are_one_error_after_the_rest(call: Call, verb: str, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    os.mkfifo(tmp_path / "s" / "a")
    os.mkfifo(tmp_path / "s" / "b")
    (tmp_path / "s" / "z").write_bytes(b"z")
    with pytest.raises(TransferError, match="2 were not copied") as caught:
        call(verb, tmp_path / "s", tmp_path / "t", recursive=True)
    assert caught.value.errno == errno.EINVAL and len(caught.value.faults) == 2
    assert (tmp_path / "t" / "z").read_bytes() == b"z"
    told: list[Any] = []
    done = call(verb, tmp_path / "s", tmp_path / "u", recursive=True, on_fault=told.append)
    assert [os.path.basename(fault.path) for fault in told] == [b"a", b"b"] and done.faults == tuple(told)


def test_of_very_many_faults_the_first_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile server may name more and more; all are counted."""
    monkeypatch.setattr(files, "_FAULTS_KEPT", 10)
    said: Said = [Skipped(source=0, path=str(number), errno="EACCES", detail="no") for number in range(100)]
    with HostileServer(tmp_path, said, ["files"]) as target, connect(target) as host:
        with pytest.raises(TransferError, match="100 were not copied") as caught:
            host.get("x", tmp_path / "t", recursive=True)
        assert len(caught.value.faults) == 10


def test_what_makes_no_sense(host: Host) -> None:
    for sources in ([], ["x"] * 1025, ""):
        with pytest.raises(UsageError):
            host.put(sources, "x")
    with pytest.raises(ValueError, match="null byte"):
        host.get("a\0b", "x")


def test_an_older_server(tmp_path: Path) -> None:
    with HostileServer(tmp_path, []) as target, connect(target) as host:
        with pytest.raises(CommandRefusedError, match="update remote-shell there"):
            host.get("x", tmp_path)


@pytest.mark.parametrize("way", range(len(list(escapes(b"")))))
def test_a_hostile_server_gets_nothing_outside(tmp_path: Path, way: int) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    _, said = list(escapes(os.fsencode(outside)))[way]
    with HostileServer(tmp_path, said, ["files"]) as target, connect(target) as host:
        host.get("source", tmp_path / "to", recursive=True, on_fault=lambda fault: None)
    assert os.listdir(outside) == [] and set(os.listdir(tmp_path)) <= {"outside", "to", "s"}


def test_a_hostile_server_names_nothing(tmp_path: Path) -> None:
    """What was asked for is called here what it was asked for by, whatever the server would like."""
    (tmp_path / "to").mkdir()
    with HostileServer(tmp_path, file(1, b""), ["files"]) as target, connect(target) as host:
        host.get("/etc/passwd", tmp_path / "to")
    assert os.listdir(tmp_path / "to") == ["passwd"]


def test_a_server_that_breaks_the_rules(tmp_path: Path) -> None:
    with HostileServer(tmp_path, [b"data"], ["files"]) as target, connect(target) as host:
        with pytest.raises(RemoteProtocolError):
            host.get("x", tmp_path / "y")


# --- cuts


@pytest.mark.parametrize("verb", ["put", "get"])
def test_cuts_do_not_show(running: testing.RunningServer, verb: str, tmp_path: Path) -> None:
    """The session goes on over other connections; every byte crosses once."""
    (tmp_path / "x").write_bytes(os.urandom(24 << 20))
    with Proxy(running.targets["unix"]) as proxy, connect(proxy.target) as host:
        cut_at = iter((4 << 20, 12 << 20, 20 << 20))
        at = next(cut_at)

        def progress(now: Progress) -> None:
            nonlocal at
            if now.done >= at:
                at = next(cut_at, 1 << 40)
                proxy.cut()

        done = getattr(host, verb)(tmp_path / "x", tmp_path / "y", progress=progress)
    assert done.files == 1 and done.resumed == 0 and at == 1 << 40
    assert (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()


@pytest.mark.parametrize("verb", ["put", "get"])
def test_an_interrupted_one_is_gone_on_with(host: Host, verb: str, tmp_path: Path) -> None:
    """As Ctrl-C: an exception in the middle; the connection stays good."""
    (tmp_path / "x").write_bytes(os.urandom(24 << 20))

    def progress(now: Progress) -> None:
        if now.done >= 8 << 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        getattr(host, verb)(tmp_path / "x", tmp_path / "y", progress=progress)
    assert not (tmp_path / "y").exists()
    for _ in range(200):  # the server's thread lets go of its lock soon
        try:
            done = getattr(host, verb)(tmp_path / "x", tmp_path / "y")
            break
        except OSError as error:
            assert error.errno == errno.EBUSY
            host.run(["sleep", "0.02"])
    assert done.resumed >= 4 << 20 and (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]


@pytest.mark.parametrize("verb", ["put", "get"])
def test_a_lost_session_is_gone_on_with(verb: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(24 << 20))
    with testing.server(["unix:"], config="[limits]\ngrace = 0.0\n") as server:
        with Proxy(server.targets["unix"]) as proxy, connect(proxy.target) as host:
            cut = threading.Event()

            def progress(now: Progress) -> None:
                if now.done >= 8 << 20 and not cut.is_set():
                    cut.set()
                    proxy.cut()

            with pytest.raises(ConnectionLostError, match="the same command goes on from there"):
                getattr(host, verb)(tmp_path / "x", tmp_path / "y", progress=progress)
            done = getattr(host, verb)(tmp_path / "x", tmp_path / "y")
    assert done.resumed >= 4 << 20 and (tmp_path / "y").read_bytes() == (tmp_path / "x").read_bytes()


async def test_a_cancelled_one_leaves_the_session_alone(running: testing.RunningServer, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(os.urandom(24 << 20))
    async with connect_async(running.targets["unix"]) as host:
        begun = asyncio.Event()

        def progress(now: Progress) -> None:
            if now.done:
                begun.set()

        task = asyncio.create_task(host.get(tmp_path / "x", tmp_path / "y", progress=progress))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await host.run(["echo", "there"], capture_output=True)).stdout == b"there\n"


async def test_a_live_shell_beside_it(running: testing.RunningServer, tmp_path: Path) -> None:
    """Its commands' ends do not wait behind the file."""
    with open(tmp_path / "x", "wb") as made:
        made.truncate(200 << 20)
    os.pwrite(fd := os.open(tmp_path / "x", os.O_RDWR), b"1" * (1 << 20), 0)
    os.close(fd)
    async with connect_async(running.targets["unix"]) as host:
        shell = await host.shell()
        task = asyncio.create_task(host.put(tmp_path / "x", tmp_path / "y"))
        count = 0
        while not task.done() and count < 50:
            await asyncio.wait_for(shell.run("echo here"), 5)
            count += 1
        assert count > 3
        assert (await task).files == 1
        await shell.close()
