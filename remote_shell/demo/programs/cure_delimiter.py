"""A cure with a catch: a line end after each message. What if the message itself holds a line end? Then it must be escaped.

Run it:  python3 cure_delimiter.py
"""

import socket

END = b"\n"
LIMIT = 1_000_000  # bytes that we keep while we look for the end: a sender that never ends must not fill our memory


def send(connection, message):
    """Sends one message and the delimiter."""
    connection.sendall(message + END)


def receive(connection, buffer):
    """The next message. `buffer`, a bytearray, keeps what came after it
    for the next call."""
    while END not in buffer:
        data = connection.recv(1024)
        if not data:
            raise EOFError("the other end has hung up")
        buffer += data
        if len(buffer) > LIMIT:
            raise ValueError(f"no end of the message within {LIMIT} bytes")
    message, end, after = buffer.partition(END)
    buffer[:] = after
    return bytes(message)


def escape(message):
    """No line end is left: %0A stands for one, as in web addresses, and
    %25 for the % itself."""
    return message.replace(b"%", b"%25").replace(END, b"%0A")


def unescape(escaped):
    """The message as it was before `escape`: the same steps backwards."""
    return escaped.replace(b"%0A", END).replace(b"%25", b"%")


def main():
    messages = [b"one", b"two\nlines", b"100% three"]
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,  # port 0: the kernel picks a free one
        socket.create_connection(listener.getsockname()) as sender,
    ):
        connection, address = listener.accept()
        buffer = bytearray()
        with connection:
            for message in messages:
                send(sender, message)
            print("Not escaped:")
            for _ in range(4):  # three messages, but four lines
                print("    received", receive(connection, buffer))
            for message in messages:
                send(sender, escape(message))
            print("Escaped:")
            for _ in messages:
                print("    received", unescape(receive(connection, buffer)))


if __name__ == "__main__":
    main()
