"""What a client imports: on a Unix socket nothing heavy, on TLS no more of cryptography than signing needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from remote_shell.identity.private_keys import make_key_file

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("unmeasured")
HEAVY = ("asyncio", "cryptography", "pydantic", "ssl", "tomllib", "subprocess", "logging")


def imported(code: str) -> set[str]:
    """The modules that a fresh interpreter imports for `code`."""
    line = [sys.executable, "-I", "-X", "importtime", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return {row.rpartition("|")[2].strip() for row in done.stderr.splitlines() if row.startswith("import time:")}


def test_a_unix_target_imports_nothing_heavy() -> None:
    code = "from remote_shell.config.targets import parse_target; parse_target('unix:/x'); parse_target('box')"
    found = imported(code)
    assert "remote_shell.config.targets" in found
    assert found.isdisjoint({*HEAVY, "dataclasses", "typing", "socket", "re", "remote_shell.limits"})


def test_looking_up_a_name_without_hosts_toml_parses_nothing() -> None:
    found = imported("from remote_shell.config.hosts import resolve; resolve('box')")
    assert found.isdisjoint(HEAVY)


def test_the_default_socket_imports_nothing_heavy() -> None:
    found = imported("from remote_shell.config.paths import default_socket; default_socket()")
    assert found.isdisjoint({*HEAVY, "re"})


@pytest.mark.parametrize("name", ["tls", "known_hosts"])
def test_pinning_imports_no_cryptography(name: str) -> None:
    assert imported(f"import remote_shell.identity.{name}").isdisjoint({*HEAVY} - {"ssl"})


def test_signing_with_a_plain_key_imports_no_ssh_reader(home: Path) -> None:
    path = str(home / "key")
    make_key_file(path, "x")
    found = imported(
        f"from remote_shell.identity.signers import default_signers; default_signers({path!r})[0].sign(b'x')"
    )
    assert "cryptography.hazmat.primitives.asymmetric.ed25519" in found
    assert found.isdisjoint(
        {"cryptography.x509", "cryptography.hazmat.primitives.serialization.ssh", "bcrypt", "pydantic"}
    )
    assert found.isdisjoint({"asyncio", "subprocess", "logging", "tomllib"})
