"""A client written from docs/protocol.md alone: the proof that the page suffices, and a short way to learn the protocol.

One blocking socket will do: windows bound what we write in one go, and a server reads at all times. Numbers in brackets
are sections. It must never import anything of remote_shell. A client for real use checks every field and gives up one day.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import socket
import ssl
import struct
import time
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

HEADER = struct.Struct("!IBI")  # [2] length of the payload, type, channel
STDIN, STDOUT, STDERR, CONTROL = range(4)
FRAME_MAX, LOGIN_FRAME_MAX = 1024 * 1024, 4096  # payload that we take in a frame, after and before `welcome`
UNACKED = {"unacked_bytes_max": 16 * 1024 * 1024, "unacked_frames_max": 4096}
WINDOW, DATA_MAX = 256 * 1024, 64 * 1024  # [6] what the server may send before we give credit; data in a frame
ACK_BYTES, ACK_FRAMES = 16 * 1024, 64  # [5] we acknowledge after so much, whichever is first
SILENCE_MAX = 45.0  # [5] the server would have sent a `ping` long before
Message = dict[str, Any]
HELLO: Message = {"version": 1, "software": "independent", "frame_max": FRAME_MAX, "window": WINDOW, **UNACKED}
HELLO["prompt"] = False  # between calls of `step` nobody reads
Link = tuple[socket.socket, str, bytes]  # a stream whose server was checked, its transport, the key hash


class ProtocolError(Exception):
    """The argument is `denied`, `session_lost`, or why one side ended the connection, mostly a code of section 10."""


class Command:
    """[6] One channel, with what came on it; `said` has the server's messages by type."""

    def __init__(self, channel: int, stdin: bytes | None, credit: int) -> None:
        self.channel, self.credit = channel, credit  # bytes of stdin that we may send
        self.stdin, self.stdin_open = memoryview(stdin or b""), stdin is not None
        self.output, self.taken = (bytearray(), bytearray(), bytearray()), 0  # by stream; bytes not yet credited
        self.said, self.closed = dict[str, Message](), False


def dial(target: str, fingerprint: str = "") -> Link:
    """[1] `unix:PATH`, `tls:HOST:PORT` or `tcp:HOST:PORT`."""
    transport, _, address = target.partition(":")
    key_hash, right = b"", True
    if transport == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
        right = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1] in (0, os.getuid())
    else:
        host, _, port = address.rpartition(":")
        sock = socket.create_connection((host, int(port)), SILENCE_MAX)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if transport == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the key is all that counts
        sock = context.wrap_socket(sock)
        key = load_der_x509_certificate(sock.getpeercert(binary_form=True) or b"").public_key()
        key_hash = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        right = fingerprint == "SHA256:" + b64encode(key_hash).decode().rstrip("=")
    if not right:
        sock.close()
        raise ProtocolError("another server")
    return sock, transport, key_hash


def strings(*values: bytes) -> bytes:  # [4] each behind its length
    return b"".join(struct.pack("!I", len(value)) + value for value in values)


class Client:
    """[5] A session. `login` is a key, a secret (its name and 32 bytes), or None for method `peer`."""

    def __init__(self, dial: Callable[[], Link], login: Ed25519PrivateKey | tuple[str, bytes] | None = None) -> None:
        self.dial, self.login = dial, login
        self.session, self.sent, self.acked, self.received = "", 0, 0, 0  # the three: frames on channels from 1 up
        self.unacked = list[bytes]()  # frames number acked + 1 to sent
        self.unnumbered = list[tuple[int, bytes]]()  # control that waits for its number: channel, payload
        self.commands, self.last_channel, self.owed = dict[int, Command](), 0, 0  # owed: bytes to acknowledge
        self.connect()

    def start(self, request: str = "exec", stdin: bytes | None = None, **fields: Any) -> Command:
        """[7] Queues `open` with the fields given, `line=…` or `argv=[…]` and any other; `id` is random if not given."""
        self.last_channel += 1
        command = self.commands[self.last_channel] = Command(self.last_channel, stdin, self.hello["window"])
        fields = {"request": request, "id": os.urandom(16).hex(), "window": WINDOW} | fields
        self.send(command.channel, "open", **fields, **({} if stdin is None else {"stdin": "pipe"}))
        return command

    def send(self, channel: int, kind: str, **fields: Any) -> bytes:
        """[3] A message: at once on channel 0; on another, which must not be closed, when it may be numbered."""
        payload = json.dumps({"type": kind} | fields).encode().ljust(320 if kind == "hello" else 0)
        if channel:
            self.unnumbered.append((channel, payload))
        else:
            self.put(CONTROL, 0, payload)
        return payload

    def step(self) -> None:
        """Sends what may be sent and waits for one frame. After a cut the next step resumes."""
        try:
            if self.sock.fileno() < 0:
                self.connect()
            self.fill()
            self.take(*self.read_frame())
            self.fill()
            if self.owed >= ACK_BYTES:
                self.owed = 0
                self.send(0, "ack", received=self.received, sent=self.sent)
        except OSError:
            self.sock.close()
            time.sleep(0.01)

    def wait(self, command: Command) -> Command:
        while not command.closed:
            self.step()
        return command

    def close(self, code: str = "bye") -> None:
        """[5] Ends the connection; `bye` and faults on a channel end the session too. During the login nothing is said."""
        with suppress(OSError):  # cut already
            if self.frame_max > LOGIN_FRAME_MAX:
                self.send(0, "disconnect", code=code)
        self.sock.close()

    def insist(self, right: bool, code: str) -> None:
        if not right:
            self.close(code)
            raise ProtocolError(code)

    def connect(self) -> None:
        """[4] Login, then the replay of [5]."""
        self.sock, transport, key_hash = self.dial()
        self.sock.settimeout(SILENCE_MAX)
        self.frame_max, self.owed = LOGIN_FRAME_MAX, 0
        mine = self.send(0, "hello", nonce=b64encode(os.urandom(32)).decode(), **HELLO)
        self.hello = json.loads(theirs := self.read_frame()[2])
        self.insist(self.hello["type"] == "hello", self.hello["type"])

        def transcript(role: str, method: str, credential: bytes) -> bytes:
            resume = self.session.encode(), b"%d" % self.received, b"kill"  # no `user` before, no `grace_ms` behind
            hellos = role.encode(), transport.encode(), mine, theirs
            return strings(b"remote-shell auth 1", *hellos, method.encode(), credential, b"", *resume, b"", key_hash)

        def prove(role: str, name: str, secret: bytes) -> str:
            proved = strings(b"remote-shell-secret@1", role.encode(), transcript(role, "secret", name.encode()))
            return b64encode(hmac.digest(secret, proved, "sha256")).decode()

        auth: Message = {"method": "peer", "session": self.session or None, "received": self.received}
        if isinstance(self.login, Ed25519PrivateKey):
            blob = strings(b"ssh-ed25519", self.login.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
            digest = hashlib.sha512(transcript("client", "key", blob)).digest()
            proof = self.login.sign(b"SSHSIG" + strings(b"remote-shell-auth@1", b"", b"sha512", digest))
            auth |= {"method": "key", "keys": [{"key": b64encode(blob).decode(), "proof": b64encode(proof).decode()}]}
        elif self.login:
            auth |= {"method": "secret", "secret": self.login[0], "proof": prove("client", *self.login)}
        self.send(0, "auth", **auth)
        welcome = json.loads(self.read_frame()[2])
        self.insist(welcome["type"] == "welcome", welcome["type"])
        known = not isinstance(self.login, tuple) or welcome.get("proof") == prove("server", *self.login)
        self.insist(known, "another server")
        self.insist(welcome["resumed"] or not self.session, "session_lost")
        self.session, self.frame_max = welcome["session"], FRAME_MAX
        self.forget(welcome["received"])
        self.sock.sendall(b"".join(self.unacked))

    def read_frame(self) -> tuple[int, int, bytes]:  # [2]
        length, kind, channel = HEADER.unpack(self.read(HEADER.size))
        self.insist(1 <= length <= self.frame_max, "frame_too_large" if length else "empty_frame")
        return kind, channel, self.read(length)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += (part := self.sock.recv(size - len(data)))
            if not part:
                raise ConnectionResetError("end of stream")
        return data

    def put(self, kind: int, channel: int, payload: bytes) -> None:
        frame = HEADER.pack(len(payload), kind, channel) + payload
        if channel:  # [5] kept before it is written: a cut may come at any byte
            self.sent += 1
            self.unacked.append(frame)
        self.sock.sendall(frame)

    def has_room(self) -> bool:
        size, frames = (min(limit, int(self.hello[name])) for name, limit in UNACKED.items())
        return sum(map(len, self.unacked)) < size and len(self.unacked) < frames

    def forget(self, received: int) -> None:  # [5] the server has this many of our frames
        self.insist(self.acked <= received <= self.sent, "bad_count")
        self.acked, self.unacked = received, self.unacked[received - self.acked :]

    def fill(self) -> None:
        """[6] Numbers what may be numbered, which is control first, then stdin as far as its credit goes."""
        while self.unnumbered and self.has_room():
            self.put(CONTROL, *self.unnumbered.pop(0))
        for command in self.commands.values():
            while (data := bytes(command.stdin[: min(DATA_MAX, command.credit)])) and self.has_room():
                command.stdin, command.credit = command.stdin[len(data) :], command.credit - len(data)
                self.put(STDIN, command.channel, data)
            if command.stdin_open and not command.stdin and self.has_room():
                command.stdin_open = False
                self.put(CONTROL, command.channel, b'{"type":"eof","stream":0}')

    def take(self, kind: int, channel: int, payload: bytes) -> None:
        """[3] One frame of the server. On a channel from 1 up it counts, whatever it is."""
        if channel:
            self.received, self.owed = self.received + 1, self.owed + len(payload) + ACK_BYTES // ACK_FRAMES
        command = self.commands.get(channel)
        self.insist(channel == 0 or command is not None, "no_such_channel")
        match kind, command, json.loads(payload) if kind == CONTROL else None:
            case 1 | 2, Command(), _:
                command.output[kind].extend(payload)
                command.taken += len(payload)
                self.insist(command.taken <= WINDOW, "window_exceeded")
                if command.taken >= WINDOW // 2:
                    self.send(channel, "window", credit=command.taken, window=WINDOW)
                    command.taken = 0
            case 3, Command(), {"type": "opened" | "rejected" | "report" | "exit" | "eof" as name}:
                command.said[name] = json.loads(payload)
            case 3, Command(), {"type": "window", "credit": credit}:
                command.credit += credit
            case 3, Command(), {"type": "close"}:  # ours is the answer and frees the channel
                self.send(channel, "close")
                self.commands.pop(channel).closed = True
            case 3, None, {"type": "ack" | "ping" | "pong" as name, "received": received, "sent": sent}:
                self.insist(sent == self.received, "bad_count")
                self.forget(received)
                if name == "ping":
                    self.send(0, "pong", received=self.received, sent=self.sent)
            case 3, None, {"type": "disconnect", "code": code}:
                self.sock.close()
                raise ProtocolError(code)
            case _:
                self.insist(False, "unexpected_message")
