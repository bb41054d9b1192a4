"""Limits at their edge: the figure itself passes, and one more does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from remote_shell.config.checked import read_text
from remote_shell.errors import ConfigError
from remote_shell.limits import Limits
from remote_shell.server.strangers import Strangers

from .conftest import Place, Starter
from .requests.test_shell import LiveShell

pytestmark = pytest.mark.screen  # as a file it takes long


def test_one_stranger_too_many() -> None:
    strangers, evicted = Strangers(Limits(strangers_max=5)), []
    for number in range(5):
        strangers.admit("one", lambda number=number: evicted.append(number), 0)  # type: ignore[misc]
    assert len(strangers) == 5 and evicted == []
    strangers.admit("other", lambda: evicted.append("other"), 0)
    assert len(strangers) == 5 and evicted == [0]


def test_lines_that_wait_are_bounded_in_bytes(start: Starter) -> None:
    """Those that wait, with the one that runs; what has ended does not count."""
    place = Place(start(listen=("unix:",), shell_waiting_bytes_max=1000), "unix")
    with place.connect() as client:
        shell = LiveShell(client)
        for _ in range(3):
            assert shell.run("true".ljust(1000))[0] == 0
        shell.send("sleep 1000")
        shell.send("true".ljust(990))
        assert not client.ended and client.run(["echo", "here"]).text() == b"here\n"
        shell.send("x")
        assert client.wait_end() == "bad_message"


def test_a_file_of_the_size_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"#" * 100)
    path.chmod(0o600)
    assert read_text(str(path), what="list", limit=100, private=False) == "#" * 100
    with pytest.raises(ConfigError, match="has 101 bytes, more than 100"):
        path.write_bytes(b"#" * 101)
        read_text(str(path), what="list", limit=100, private=False)
