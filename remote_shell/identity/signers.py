"""Which keys a client offers, and in which order; signing with one of them.

A passphrase is asked only when a signature is wanted, that is, when the server knows this very key. Neighbours: `agent` and
`private_keys` hold the keys, `sshsig` says what is signed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from remote_shell.config.checked import read_checked
from remote_shell.config.paths import config_dir, expand_home, quoted, shown
from remote_shell.errors import IdentityError
from remote_shell.identity.agent import AgentSigner, agent_signers
from remote_shell.identity.keys import MAKE_KEY, parse_public_line
from remote_shell.identity.private_keys import PrivateKeyFile, WrongPassphraseError, make_key_file
from remote_shell.limits import DEFAULT_LIMITS

Ask = Callable[[str], str]
_TRIES = 3  # as ssh's NumberOfPasswordPrompts


class Signer(Protocol):
    """A key that can sign: in a file, in the agent, or in a test."""

    @property
    def public_blob(self) -> bytes:
        """ssh's encoding of the public key."""
        ...

    @property
    def comment(self) -> str:
        """What its owner wrote beside it; may be empty."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The raw 64 bytes of an Ed25519 signature over `data`. Raises IdentityError."""
        ...


class FileSigner:
    """A key file. `ask` gets a prompt and returns the passphrase; without it an encrypted key raises at `sign`."""

    __slots__ = ("_ask", "_file", "_seed")

    def __init__(self, file: PrivateKeyFile, ask: Ask | None = None) -> None:
        self._file = file
        self._ask = ask
        self._seed: bytes | None = None

    def __repr__(self) -> str:
        return f"FileSigner({self._file.path!r}, {self._file.public.fingerprint})"

    @property
    def public_blob(self) -> bytes:
        return self._file.public.blob

    @property
    def comment(self) -> str:
        return self._file.public.comment

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def encrypted(self) -> bool:
        return self._file.encrypted

    def sign(self, data: bytes) -> bytes:
        """As `Signer.sign`; asks for the passphrase the first time."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        if self._seed is None:
            self._seed = self._unlock()
        return Ed25519PrivateKey.from_private_bytes(self._seed).sign(data)

    def _unlock(self) -> bytes:
        if not self._file.encrypted:
            return self._file.unlock()
        name = shown(self._file.path)
        if self._ask is None:
            raise IdentityError(
                f"the key {name} has a passphrase and there is no terminal to ask on; "
                f"load it into ssh-agent first: ssh-add {quoted(self._file.path)}"
            )
        for _ in range(_TRIES):
            try:
                return self._file.unlock(self._ask(f"Passphrase for {name}: "))
            except WrongPassphraseError:
                continue
            except EOFError:
                break
        raise IdentityError(f"the key {name} stays locked: no right passphrase was given")


def default_signers(identity: str | None = None, *, ask: Ask | None = None) -> list[Signer]:
    """The keys to offer, best first, each once; never empty.

    With `identity` (a private key file, or the .pub file of a key that the agent holds) only that key. Otherwise the agent's,
    then ~/.ssh/id_ed25519, then our own, which is made if there is no other. Raises IdentityError.
    """
    held = agent_signers()
    if identity is not None:
        return [_named(expand_home(identity), held, ask)]
    found: list[Signer] = list(held)
    faults = []
    for path in (os.path.join(expand_home("~"), ".ssh", "id_ed25519"), own_key_path()):
        try:
            file = PrivateKeyFile.read(path)
        except IdentityError as error:
            faults.append(error)
            continue
        if file is not None and file.public.blob not in [signer.public_blob for signer in found]:
            found.append(FileSigner(file, ask))
    if faults and not found:
        # A new key instead would be refused by the server, and its owner would look for the reason in the wrong place.
        raise faults[0]
    for fault in faults:
        _warn(str(fault))
    return found or [FileSigner(own_key(), ask)]


def own_key_path() -> str:
    """Where our own key is or will be. Raises ConfigError if the settings folder can't be used."""
    return os.path.join(config_dir(), "id_ed25519")


def own_key() -> PrivateKeyFile:
    """Our own key, made at the first call. Raises IdentityError, ConfigError."""
    return make_key_file(own_key_path(), f"{_account()}@{os.uname().nodename}")


def ask_on_terminal() -> Ask | None:
    """A function that asks for a passphrase on the controlling terminal without echo, or None if there is none."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None

    def ask(prompt: str) -> str:
        import getpass  # opens /dev/tty itself; only an encrypted key needs it

        return getpass.getpass(prompt)

    return ask


def _named(path: str, held: list[AgentSigner], ask: Ask | None) -> Signer:
    """The key that `--identity` names. The agent's copy goes before an encrypted file: nobody has to be asked."""
    public = _public_line(path)
    if public is not None:
        blob = parse_public_line(
            public
        ).blob  # another type of key raises here, which says what is wrong better than its mode
        for signer in held:
            if signer.public_blob == blob:
                return signer
        raise IdentityError(
            f"{shown(path)} is a public key, and ssh-agent does not hold its private one; "
            "name the private file, or load it first: ssh-add FILE"
        )
    file = PrivateKeyFile.read(path)
    if file is None:
        raise IdentityError(f"there is no key file {shown(path)}; make one: {MAKE_KEY} -f {quoted(path)}")
    if file.encrypted:
        for signer in held:
            if signer.public_blob == file.public.blob:
                return signer
    return FileSigner(file, ask)


def _public_line(path: str) -> str | None:
    """The text of a public key file, or None if it is anything else: that is judged, its mode first, when it is read."""
    limit = DEFAULT_LIMITS.key_file_max
    try:
        data = read_checked(path, what="key file", limit=limit, private=False, error=IdentityError)
    except IdentityError:
        return None
    return data.decode("utf-8", "replace") if data and data.startswith((b"ssh-", b"ecdsa-", b"sk-")) else None


def _account() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _warn(text: str) -> None:
    import logging  # 10 ms, and only faults need it

    logging.getLogger("remote_shell.identity").warning("%s", text)
