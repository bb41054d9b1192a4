"""docs/rmsh.lua on a real session over `tcp:`, captured on loopback. Needs tshark, and root to capture."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import remote_shell
from remote_shell import testing
from remote_shell.limits import DEFAULT_LIMITS
from tests.proxy import Proxy
from tests.wireshark.captures import DISSECTOR, Pairs, packets, streams, trees, tshark
from tests.wireshark.random_streams import AS_JSON
from tests.wireshark.reading import expected, is_frame, seen


class Capture:
    """dumpcap on lo, for the ports of some servers."""

    def __init__(self, path: Path, ports: list[str]) -> None:
        self.path = path
        program = shutil.which("dumpcap")
        assert program, "the test needs tshark; type: apt-get install -y --no-install-recommends tshark"
        words = " or ".join(f"tcp port {port}" for port in ports)
        self.process = subprocess.Popen(
            [program, "-i", "lo", "-B", "64", "-P", "-w", str(path), "-f", words],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        said = []
        while not (line := self.process.stderr.readline()).startswith("File: "):
            said.append(line)
            if not line:
                self.close()
                pytest.fail(f"dumpcap ended, and said: {''.join(said)} (capturing needs root)")

    def end(self, last: bytes) -> None:
        """When `last` is in the file: the kernel hands packets over in batches."""
        deadline = time.monotonic() + 30
        while not any(last in packet.data for packet in packets(self.path)):
            assert time.monotonic() < deadline, "what was sent last was not captured"
            time.sleep(0.05)
        self.close()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Path]:
    """A capture of a session over `tcp:`: commands, a terminal, a shell, files, a cut and the resume."""
    path = tmp_path / "session.pcap"
    with testing.server(listen=("tcp:127.0.0.1:0",)) as target, Proxy(target.targets["tcp"]) as proxy:
        capture = Capture(path, [proxy.target.rpartition(":")[2], target.targets["tcp"].rpartition(":")[2]])
        try:
            talk(proxy, target.options("tcp"), tmp_path)
            capture.end(b'"code":"bye"')
        finally:
            capture.close()
    yield path


def talk(proxy: Proxy, options: dict[str, Any], folder: Path) -> None:
    """What is captured."""
    with remote_shell.connect(proxy.target, insecure_tcp=True, **options) as host:
        assert host.run(["printf", "%s", "ä\n"], capture_output=True, env={"A": "b"}).stdout == "ä\n".encode()
        assert host.run(["cat"], input=b"x" * 300_000, capture_output=True).stdout == b"x" * 300_000
        assert host.run("kill -9 $$", shell=True).returncode == -9
        with pytest.raises(FileNotFoundError):
            host.run(["no-such-program"])
        with host.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pty=True) as process:
            assert process.stdin and process.stdout
            process.stdin.write(b"over a terminal\n\4")
            process.stdin.flush()
            assert b"over a terminal" in process.stdout.read()
        with host.shell() as shell:
            shell.run("cd /tmp; false")
            proxy.cut()
            assert shell.run("pwd").stdout == "/tmp\n"
        host.put(__file__, str(folder / "copy"))
    assert proxy.accepted == 2


def filters() -> list[str]:
    """Those of docs/wireshark.md."""
    page = (DISSECTOR.parent / "wireshark.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*`) \|", page, re.MULTILINE)
    found = [text.replace("\\|", "|") for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(found) > 9
    return found


@pytest.mark.slow
def test_a_real_session_over_tcp(session: Path, tmp_path: Path) -> None:
    """Found with no option at all; each frame as our decoder has it, between the client and the proxy, and the proxy and the server."""
    shown = trees(tshark(session, *AS_JSON))
    found: dict[tuple[int, int], list[Pairs]] = {}
    for packet, packet_trees in zip(packets(session), shown, strict=True):
        found.setdefault(packet.way, []).extend(filter(is_frame, packet_trees))
    all_streams = streams(session)
    assert len(all_streams) == 8, "two connections of the client, each with one of the proxy, both ways"
    names = set()
    for way, data in all_streams.items():
        ours = list(expected(data, DEFAULT_LIMITS.frame_max))
        assert [seen(tree) for tree in found[way]] == ours
        names |= {dict(pairs).get("rmsh.message", "data") for *_, pairs in ours}
    assert names >= {
        "hello",
        "auth",
        "welcome",
        "open",
        "opened",
        "rejected",
        "exit",
        "close",
        "command",
        "done",
        "eof",
        "window",
    }
    assert names >= {"data", "entry", "stored", "disconnect"}
    resumed = tshark(session, "-Y", "rmsh.welcome.resumed == true", "-T", "fields", "-e", "rmsh.welcome.received")
    assert len(resumed.split()) == 2
    assert (
        tshark(session, "-Y", 'rmsh.channel == 3 && rmsh.exit.signal == "SIGKILL"').count("exit 3 signal SIGKILL") == 2
    )
    assert tshark(session, "-Y", "rmsh.fault || rmsh.no_border || rmsh.cut") == ""
    for text in filters():  # one that names no field of ours, or has it wrong, is an error
        tshark(session, "-Y", text)
