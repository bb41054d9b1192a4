"""The server's long-lived Ed25519 key, its certificate over it, and its TLS context.

Clients pin the key and not the certificate, so a new certificate is made in memory at each start and never expires. The
private key touches the disk in its one file, mode 0600, and nowhere else. Neighbours: `private_keys` keeps the file, `tls` is
the client's end.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from remote_shell.config.fingerprints import format_fingerprint
from remote_shell.config.paths import quoted, shown, state_dir
from remote_shell.errors import IdentityError
from remote_shell.identity.private_keys import make_key_file

_DAY = dt.timedelta(days=1)
_NO_END = dt.datetime(9999, 12, 31, 23, 59, 59)  # RFC 5280 section 4.1.2.5: no well-defined end


class ServerIdentity:
    """The server's key. `key_hash` is the SHA-256 of its DER SubjectPublicKeyInfo: what clients pin and logins bind."""

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_hash = hashlib.sha256(public).digest()

    def __repr__(self) -> str:
        return f"ServerIdentity({self.fingerprint})"

    @classmethod
    def load(cls, path: str | None = None) -> ServerIdentity:
        """The key at `path`, by default server_key in the state folder; made if there is none.

        The file is an OpenSSH private key, but clients pin another hash of it than `ssh-keygen -l` shows. Raises IdentityError,
        ConfigError.
        """
        path = path or os.path.join(state_dir(), "server_key")
        file = make_key_file(path, "remote-shell server")
        if file.encrypted:
            raise IdentityError(
                f"the server's key {shown(path)} has a passphrase, and nobody is there to type it; "
                f"take it off: ssh-keygen -p -f {quoted(path)}"
            )
        return cls(file.unlock())

    @property
    def fingerprint(self) -> str:
        """`key_hash` as people read it: "SHA256:" and 43 characters of base64."""
        return format_fingerprint(self.key_hash)

    def certificate(self) -> bytes:
        """A new self-signed certificate over the key, in PEM."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "remote-shell")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(dt.datetime.now(dt.UTC).replace(tzinfo=None) - _DAY)  # clocks differ
            .not_valid_after(_NO_END)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        return builder.sign(self._key, None).public_bytes(serialization.Encoding.PEM)

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.3 only, no session tickets: each connection proves the key anew. Raises IdentityError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        # ssl reads certificate and key from a named file only. This one is in memory, has no name that others could
        # open, and is gone when it is closed; a temporary file would leave the key on disk after a crash.
        descriptor = os.memfd_create("remote-shell-tls", os.MFD_CLOEXEC)
        with open(descriptor, "wb") as file:
            file.write(private + self.certificate())
            file.flush()
            try:
                context.load_cert_chain(f"/proc/self/fd/{descriptor}")
            except (OSError, ssl.SSLError) as error:
                raise IdentityError(f"OpenSSL does not take the server's key: {error}; is /proc mounted?") from None
        return context
