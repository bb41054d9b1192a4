"""`map` from within: hosts that wait for the resolver leave the others their turn."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from remote_shell import testing
from remote_shell.cli.mapping import Mapping
from remote_shell.cli.passing import Errand
from remote_shell.client.many import Plans, Turns
from remote_shell.config.selection import select


def test_a_name_server_that_hangs_does_not_hold_up_other_hosts(
    running: testing.RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "ran"
    too_late: list[str] = []
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, *words: Any, **options: Any) -> Any:
        if not str(host).startswith("hang"):
            return known(host, *words, **options)
        deadline = time.monotonic() + 8
        while not marker.exists():
            if time.monotonic() > deadline:
                too_late.append(host)
                break
            time.sleep(0.01)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    table = f'target = "{running.targets["tls"]}"\nidentity = "{running.identity}"\n'
    (tmp_path / "hosts.toml").write_text(f'[hosts.good]\n{table}fingerprint = "{running.fingerprint}"\n')
    chosen = select(["hang[1-20].example,good"], path=str(tmp_path / "hosts.toml"))
    plans = Plans(chosen, identity=running.identity)
    turns = Turns(plans.names)
    assert Mapping(plans, Errand(["touch", str(marker)]), turns, 64).perform() == 1
    assert not too_late and marker.exists()
    assert "unreachable: hang[1-20].example (20 of 21)" in capfd.readouterr().err
