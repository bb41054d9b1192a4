"""Which keys are offered, and when a passphrase is asked."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from remote_shell.errors import IdentityError
from remote_shell.identity import sshsig
from remote_shell.identity.agent import AgentSigner
from remote_shell.identity.keys import parse_public_line
from remote_shell.identity.signers import (
    FileSigner,
    Signer,
    ask_on_terminal,
    default_signers,
    own_key,
    own_key_path,
)
from tests.identity.conftest import KeyMaker, ssh_add


def works(signer: Signer) -> bool:
    return sshsig.verify(signer.public_blob, signer.sign(sshsig.signed_data(sshsig.NAMESPACE, b"m")), b"m")


def never(prompt: str) -> str:
    raise AssertionError(f"asked {prompt!r}")


class Person:
    """Answers with the next of `answers`."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


@pytest.fixture
def ssh_folder(home: Path) -> Path:
    (home / ".ssh").mkdir(mode=0o700)
    return home / ".ssh"


def test_our_own_key_is_made_when_there_is_no_other(home: Path) -> None:
    (signer,) = default_signers()
    assert isinstance(signer, FileSigner) and signer.path == own_key_path() == str(home / "remote-shell/id_ed25519")
    assert not signer.encrypted and works(signer)
    assert signer.comment.endswith("@" + os.uname().nodename)
    assert [one.public_blob for one in default_signers()] == [signer.public_blob]
    assert own_key().public.blob == signer.public_blob


def test_ssh_s_key_is_enough(keygen: KeyMaker, ssh_folder: Path) -> None:
    keygen("key").rename(ssh_folder / "id_ed25519")
    (signer,) = default_signers(ask=never)
    assert isinstance(signer, FileSigner) and signer.path == str(ssh_folder / "id_ed25519")
    assert not os.path.exists(own_key_path())
    own = own_key()
    assert [one.public_blob for one in default_signers()][1] == own.public.blob


@pytest.mark.usefixtures("agent")
def test_the_agents_keys_come_first_and_each_key_once(keygen: KeyMaker, ssh_folder: Path) -> None:
    keygen("key").rename(ssh_folder / "id_ed25519")
    ssh_add("-q", str(keygen("other", comment="other")))
    ssh_add("-q", str(ssh_folder / "id_ed25519"))
    own_key()
    signers = default_signers()
    assert [type(signer) for signer in signers] == [AgentSigner, AgentSigner, FileSigner]
    assert len({signer.public_blob for signer in signers}) == 3
    assert all(map(works, signers))


def test_an_unusable_key_is_told_and_not_replaced(
    keygen: KeyMaker, ssh_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keygen("key").rename(ssh_folder / "id_ed25519")
    (ssh_folder / "id_ed25519").chmod(0o644)
    with pytest.raises(IdentityError, match="chmod 600"):
        default_signers()
    assert not os.path.exists(own_key_path())
    own_key()
    assert len(default_signers()) == 1
    assert "chmod 600" in caplog.text


def test_a_named_key_is_the_only_one(keygen: KeyMaker, ssh_folder: Path) -> None:
    keygen("key").rename(ssh_folder / "id_ed25519")
    path = keygen("named")
    (signer,) = default_signers(str(path))
    assert isinstance(signer, FileSigner) and signer.path == str(path)
    (signer,) = default_signers("~/.ssh/id_ed25519")
    assert works(signer)
    assert not os.path.exists(own_key_path())


def test_a_named_key_that_is_missing_or_wrong(keygen: KeyMaker, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="there is no key file .*missing; make one: ssh-keygen -t ed25519 -f "):
        default_signers(str(tmp_path / "missing"))
    with pytest.raises(IdentityError, match="ssh-rsa"):
        default_signers(str(keygen("rsa", "-t", "rsa")))
    with pytest.raises(IdentityError, match="does not begin with ssh-ed25519"):
        default_signers(str(tmp_path / "rsa.pub"))


def test_a_passphrase_is_asked_at_the_first_signature_only(keygen: KeyMaker) -> None:
    path = str(keygen("key", "-a", "1", passphrase="right"))
    person = Person("wrong", "right")
    (signer,) = default_signers(path, ask=person)
    assert signer.public_blob and person.asked == []
    assert works(signer) and works(signer)
    assert person.asked == [f"Passphrase for {path}: "] * 2


@pytest.mark.parametrize(("answers", "asked"), [(("a", "b", "c", "right"), 3), (("a",), 2), ((), 1)])
def test_no_right_passphrase(keygen: KeyMaker, answers: tuple[str, ...], asked: int) -> None:
    person = Person(*answers)
    (signer,) = default_signers(str(keygen("key", "-a", "1", passphrase="right")), ask=person)
    with pytest.raises(IdentityError, match="stays locked"):
        signer.sign(b"x")
    assert len(person.asked) == asked


def test_without_a_terminal_the_error_says_what_to_type(keygen: KeyMaker) -> None:
    path = keygen("a key", "-a", "1", passphrase="right")
    (signer,) = default_signers(str(path))
    with pytest.raises(IdentityError, match=f"no terminal to ask on; .*: ssh-add '{path}'"):
        signer.sign(b"x")


def test_an_interrupt_at_the_prompt_goes_through(keygen: KeyMaker) -> None:
    def interrupt(_: str) -> str:
        raise KeyboardInterrupt

    (signer,) = default_signers(str(keygen("key", "-a", "1", passphrase="right")), ask=interrupt)
    with pytest.raises(KeyboardInterrupt):
        signer.sign(b"x")


@pytest.mark.usefixtures("agent")
def test_a_named_encrypted_key_that_the_agent_holds_asks_nobody(keygen: KeyMaker) -> None:
    path = keygen("key", "-a", "1")
    ssh_add("-q", str(path))
    line = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "right", "-a", "1", "-f", str(path)]
    subprocess.run(line, check=True, capture_output=True, timeout=20)
    for name in (str(path), f"{path}.pub"):
        (signer,) = default_signers(name, ask=never)
        assert isinstance(signer, AgentSigner) and works(signer)
    ssh_add("-q", "-D")
    with pytest.raises(IdentityError, match="ssh-agent does not hold"):
        default_signers(f"{path}.pub")
    (signer,) = default_signers(str(path), ask=Person("right"))
    assert isinstance(signer, FileSigner) and works(signer)
    assert signer.public_blob == parse_public_line(Path(f"{path}.pub").read_text()).blob


def test_asking_on_a_real_terminal_does_not_echo() -> None:
    child, master = pty.fork()
    if child == 0:
        try:
            ask = ask_on_terminal()
            answer = ask("Passphrase: ") if ask else "no terminal"
            os.write(1, f"<{answer[::-1]}>".encode())
        finally:
            os._exit(0)
    output = b""
    while b"Passphrase: " not in output:
        output += os.read(master, 1024)
    os.write(master, b"abc\n")
    while b">" not in output:
        output += os.read(master, 1024)
    os.waitpid(child, 0)
    os.close(master)
    assert b"<cba>" in output and b"abc" not in output


def test_without_a_terminal_nobody_is_asked() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.write(writing, repr(ask_on_terminal()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    assert os.read(reading, 100) == b"None"
    os.close(reading)
    os.waitpid(child, 0)
