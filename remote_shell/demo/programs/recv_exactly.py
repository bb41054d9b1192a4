"""`recv(n)` returns what is there, from 1 byte to n. How to get exactly n: a wrong loop and a right one.

Run it:  python3 recv_exactly.py
"""

import socket
import threading
import time


def recv_wrong(sock, size):
    """Wants `size` bytes. Do not copy this one."""
    data = b""
    while len(data) < size:
        # Mistake 1: it asks for `size` bytes each time, and so takes bytes
        # of the next message.
        # Mistake 2: when the other end has hung up, recv returns b"" at
        # once, for ever.
        data += sock.recv(size)
    return data


def recv_exactly(sock, size):
    """Returns exactly `size` bytes. Raises EOFError if the other end hangs
    up before that."""
    data = b""
    while len(data) < size:
        # Ask for what is missing, and never for more.
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError(f"the other end hung up after {len(data)} of {size} bytes")
        data += part
    return data


def send_in_parts(sock, parts, pause):
    """Sends one part after the other, with a pause after each."""
    for part in parts:
        sock.sendall(part)
        pause()


def connect():
    """Connects two sockets and returns both."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        reader, address = listener.accept()
    return sender, reader


def wait():
    """Lets the other end read what has come so far."""
    time.sleep(0.2)


def try_out(receive):
    """Two messages of ten bytes each arrive; the first one in two parts, as it may on any network."""
    parts = [b"012345", b"6789abcdefghij"]
    sender, reader = connect()
    with sender, reader:
        threading.Thread(target=send_in_parts, args=(sender, parts, wait)).start()
        print(receive.__name__, "wants 10 bytes and gets", receive(reader, 10))


def main():
    try_out(recv_wrong)
    try_out(recv_exactly)
    sender, reader = connect()
    with sender, reader:
        sender.sendall(b"0123")
        sender.close()
        try:
            recv_exactly(reader, 10)
        except EOFError as error:
            print("recv_exactly:", error)  # recv_wrong would turn in circles for ever


if __name__ == "__main__":
    main()
