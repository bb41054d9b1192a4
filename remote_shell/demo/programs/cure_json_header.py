"""The cure for files and more: four bytes give the length of a JSON header, and that gives name, size and hash of the body.

Run it:  python3 cure_json_header.py
"""

import hashlib
import json
import socket
import struct
import threading

LENGTH = struct.Struct("!I")  # one unsigned number in four bytes, the biggest part first
HEADER_LIMIT = 4_096  # bytes
BODY_LIMIT = 10_000_000


def send(connection, name, body):
    """Sends length, header and body in one go."""
    about = {"name": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    header = json.dumps(about).encode()
    connection.sendall(LENGTH.pack(len(header)) + header + body)


def receive(connection):
    """The next header, as a dict, and its body."""
    (length,) = LENGTH.unpack(read_exactly(connection, LENGTH.size))
    if length > HEADER_LIMIT:
        raise ValueError(f"a header of {length} bytes; the limit is {HEADER_LIMIT}")
    header = json.loads(read_exactly(connection, length))
    size = header["size"]
    # JSON may hold anything: a text, -1, a trillion. Look at it before you
    # believe it.
    if type(size) is not int or not 0 <= size <= BODY_LIMIT:
        raise ValueError(f"the header gives the size {size!r}; the limit is {BODY_LIMIT}")
    body = read_exactly(connection, size)
    # The hash finds accidents. A villain would send the right hash of a
    # wrong body.
    if hashlib.sha256(body).hexdigest() != header["sha256"]:
        raise ValueError("the body is not the one that was sent: its hash differs")
    # Never open a file by a name that a stranger sent: it may lead to
    # any file of yours, as "../../.bashrc" does.
    return header, body


def read_exactly(connection, size):
    """Calls `recv` until all of `size` bytes are there, and never asks for more than are missing."""
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(65536, size - len(data)))
        if not part:
            raise EOFError(f"the other end hung up after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def send_all(connection, files):
    """Sends the files and hangs up."""
    with connection:
        for name, body in files.items():
            send(connection, name, body)


def main():
    files = {"hello.txt": b"hello\n", "empty": b"", "numbers.bin": bytes(range(256)) * 1000}
    with socket.create_server(("127.0.0.1", 0)) as listener:  # port 0: the kernel picks a free one
        sender = socket.create_connection(listener.getsockname())
        connection, address = listener.accept()
        threading.Thread(target=send_all, args=(sender, files)).start()
        with connection:
            for _ in files:
                header, body = receive(connection)
                print(header["name"], len(body), "bytes,", "whole" if body == files[header["name"]] else "broken")


if __name__ == "__main__":
    main()
