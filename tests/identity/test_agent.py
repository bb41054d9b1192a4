"""A real ssh-agent, and false ones that lie, stall or hang up."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_shell.errors import IdentityError
from remote_shell.identity import agent as agent_module
from remote_shell.identity import sshsig
from remote_shell.identity.agent import AgentSigner, agent_signers
from remote_shell.identity.keys import PublicKey, make_blob, parse_public_line
from remote_shell.identity.ssh_strings import pack_string, pack_u32
from remote_shell.limits import DEFAULT_LIMITS
from tests.identity.conftest import KeyMaker, ssh_add

BLOB = make_blob(bytes(range(32)))
GOOD_LIST = b"\x0c" + pack_u32(1) + pack_string(BLOB) + pack_string(b"comment")


@pytest.mark.usefixtures("agent")
def test_lists_ed25519_keys_alone_and_signs(keygen: KeyMaker) -> None:
    key = keygen("key", comment="wörk")
    certified = keygen("certified")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(key), "-I", "id", "-n", "x", f"{certified}.pub"], check=True, timeout=20
    )
    ssh_add("-q", str(keygen("other", "-t", "rsa")))
    ssh_add("-q", str(key))
    ssh_add("-q", str(certified))  # adds the key and its certificate
    signers = agent_signers()
    public = parse_public_line(key.with_suffix(".pub").read_text())
    assert [signer.comment for signer in signers] == ["wörk", "a comment"]
    assert signers[0].public_blob == public.blob
    signature = signers[0].sign(sshsig.signed_data(sshsig.NAMESPACE, b"login"))
    assert sshsig.verify(public.blob, signature, b"login")
    assert repr(signers[0]) == f"AgentSigner({public.fingerprint})"


def test_a_locked_or_emptied_agent_refuses_to_sign(agent: str, keygen: KeyMaker) -> None:
    ssh_add("-q", str(keygen("key")))
    (signer,) = agent_signers(agent)
    ssh_add("-q", "-D")
    assert agent_signers(agent) == []
    with pytest.raises(IdentityError, match="it refused; is it locked"):
        signer.sign(b"x")


def test_no_agent_has_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert agent_signers() == []
    for path in (str(tmp_path / "missing"), str(tmp_path), "a\0b", "x" * 200):
        assert agent_signers(path) == []
    monkeypatch.setenv("SSH_AUTH_SOCK", "")
    assert agent_signers() == []
    with pytest.raises(IdentityError, match="No such file"):
        AgentSigner(str(tmp_path / "missing"), PublicKey(BLOB)).sign(b"x")


class FalseAgent:
    """Answers every question with `answer`, then hangs up, or stays silent if it is None."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.answer: bytes | None = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            asked = connection.recv(65536)
            if not asked:
                connection.close()
                return
            try:
                if self.answer is None:
                    self._held.append(connection)
                    continue
                connection.sendall(self.answer)
            except OSError:
                pass
            connection.close()

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.path)
        self._thread.join()
        self._listener.close()
        for one in self._held:
            one.close()


@pytest.fixture
def false_agent(tmp_path: Path) -> Iterator[FalseAgent]:
    made = FalseAgent(tmp_path / "false")
    yield made
    made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    short = dataclasses.replace(DEFAULT_LIMITS, agent_list_time=0.05, agent_sign_time=0.05)
    monkeypatch.setattr(agent_module, "DEFAULT_LIMITS", short)


def test_a_false_agent_that_behaves(false_agent: FalseAgent) -> None:
    false_agent.answer = pack_string(GOOD_LIST)
    assert [signer.comment for signer in agent_signers(false_agent.path)] == ["comment"]


@pytest.mark.usefixtures("impatient")
def test_a_silent_agent_is_not_waited_for(false_agent: FalseAgent) -> None:
    false_agent.answer = None
    start = time.monotonic()
    assert agent_signers(false_agent.path) == []
    with pytest.raises(IdentityError, match=r"within 0.05 s"):
        AgentSigner(false_agent.path, PublicKey(BLOB)).sign(b"x")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_lengths_that_are_not_there(false_agent: FalseAgent, size: int) -> None:
    false_agent.answer = pack_u32(size) + b"x" * 10
    assert agent_signers(false_agent.path) == []


@pytest.mark.parametrize(("beyond", "found"), [(0, 1), (1, 0)])
def test_the_bound_of_an_answer(false_agent: FalseAgent, beyond: int, found: int) -> None:
    false_agent.answer = pack_string(GOOD_LIST.ljust(DEFAULT_LIMITS.agent_reply_max + beyond, b"\0"))
    assert len(agent_signers(false_agent.path)) == found


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"", "cut short"),
        (pack_u32(100) + b"x", "cut short"),
        (pack_string(b"\x05"), "refused"),
        (pack_string(b"\x0e"), "cut short"),
        (pack_string(b"\x0e" + pack_string(pack_string(b"ssh-rsa") + pack_string(bytes(64)))), "not an Ed25519"),
        (pack_string(b"\x0e" + pack_string(pack_string(b"ssh-ed25519") + pack_string(bytes(63)))), "not an Ed25519"),
    ],
)
def test_bad_signatures(false_agent: FalseAgent, answer: bytes, word: str) -> None:
    false_agent.answer = answer
    with pytest.raises(IdentityError, match=word):
        AgentSigner(false_agent.path, PublicKey(BLOB)).sign(b"x")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(answer=st.binary(max_size=60) | st.builds(lambda cut: GOOD_LIST[:cut], st.integers(1, len(GOOD_LIST) - 1)))
def test_garbage_raises_our_error_only(false_agent: FalseAgent, answer: bytes) -> None:
    false_agent.answer = pack_string(answer)
    assert agent_signers(false_agent.path) == []
    ask: Callable[[bytes], bytes] = AgentSigner(false_agent.path, PublicKey(BLOB)).sign
    with pytest.raises(IdentityError):
        ask(b"x")


def test_a_list_that_promises_too_much_is_dropped_or_read_as_far_as_it_goes(false_agent: FalseAgent) -> None:
    false_agent.answer = pack_string(b"\x0c" + pack_u32(2**32 - 1) + GOOD_LIST[5:])
    assert len(agent_signers(false_agent.path)) <= 1
