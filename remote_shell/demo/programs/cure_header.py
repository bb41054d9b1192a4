"""The good cure: four bytes before each message give its length. The command server of sticky_server.py, healed.

Run it:  python3 cure_header.py
"""

import socket
import struct
import subprocess
import threading

HEADER = struct.Struct("!I")  # one unsigned number in four bytes, the biggest part first: the same on every computer
LIMIT = 1_000_000  # bytes; with four bytes a stranger could announce 4 GiB


def send(connection, message):
    """Sends header and message in one go: no answer to wait for."""
    connection.sendall(HEADER.pack(len(message)) + message)


def receive(connection):
    """The next message, whole."""
    (size,) = HEADER.unpack(read_exactly(connection, HEADER.size))
    if size > LIMIT:  # look at the length *before* you make room for it
        raise ValueError(f"{size} bytes were announced; the limit is {LIMIT}")
    return read_exactly(connection, size)


def read_exactly(connection, size):
    """Calls `recv` until all of `size` bytes are there, and never asks for
    more than are missing."""
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(65536, size - len(data)))
        if not part:
            raise EOFError(f"the other end hung up after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def receive_trusting(connection):
    """How NOT to do it: trusts four bytes to come at once, and a stranger
    to be honest."""
    (size,) = HEADER.unpack(connection.recv(HEADER.size))
    return connection.recv(size)


def serve(listener):
    """Waits for one client and runs its commands, until it hangs up."""
    connection, address = listener.accept()
    with connection:
        try:
            while True:
                command = receive(connection)
                # `shell=True` lets the client run anything. The lesson "auth" is about that.
                done = subprocess.run(command, shell=True, capture_output=True)
                send(connection, done.stdout + done.stderr)
        except EOFError:
            return


def main():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,  # port 0: the kernel picks a free one
        socket.create_connection(listener.getsockname()) as connection,
    ):
        commands = [b"echo one", b"echo two", b"seq 1000", b"echo hello"]
        for command in commands:  # all at once, before the server reads
            send(connection, command)
        threading.Thread(target=serve, args=(listener,)).start()
        for command in commands:
            answer = receive(connection)
            print(f"{command.decode():10}  ->  {len(answer):4} bytes, from {answer[:6]} to {answer[-6:]}")


if __name__ == "__main__":
    main()
