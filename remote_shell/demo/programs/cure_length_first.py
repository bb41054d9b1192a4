"""A slow cure: tell the length first, wait until the other end says that it is ready, then send the message.

Run it:  python3 cure_length_first.py
"""

import socket
import threading

LIMIT = 1_000_000  # bytes; nobody may announce more


def send(connection, message):
    """Sends the length as a text, waits for "ready", sends the message."""
    connection.sendall(str(len(message)).encode())
    # Without this wait the message would stick to the length.
    if connection.recv(1024) != b"ready":
        raise ConnectionError("the other end does not want the message")
    connection.sendall(message)


def receive(connection):
    """The next message."""
    # Still a mistake: "3893" may arrive as "38" and "93". It goes well
    # nearly always, as it is so short.
    digits = connection.recv(1024)
    if not digits:
        raise EOFError("the other end has hung up")
    size = int(digits)
    if not 0 <= size <= LIMIT:
        raise ValueError(f"{size} bytes were announced; the limit is {LIMIT}")
    connection.sendall(b"ready")
    return read_exactly(connection, size)


def read_exactly(connection, size):
    """Calls `recv` until all of `size` bytes are there, and never asks for
    more than are missing."""
    data = b""
    while len(data) < size:
        part = connection.recv(min(1024, size - len(data)))
        if not part:
            raise EOFError(f"the other end hung up after {len(data)} of {size} bytes")
        data += part
    return data


def send_all(connection, messages):
    """Sends the messages and hangs up."""
    with connection:
        for message in messages:
            send(connection, message)


def main():
    messages = [b"one", b"two\nlines", b"3" * 5000]
    with socket.create_server(("127.0.0.1", 0)) as listener:  # port 0: the kernel picks a free one
        sender = socket.create_connection(listener.getsockname())
        connection, address = listener.accept()
        threading.Thread(target=send_all, args=(sender, messages)).start()
        with connection:
            for message in messages:
                received = receive(connection)
                print(f"received {len(received)} bytes,", "whole" if received == message else "not what was sent")


if __name__ == "__main__":
    main()
