"""A command server with a thread for each client: nobody waits for anybody.

Run it:  python3 many_threads.py
It starts the server, then a client with a slow command and two with quick ones,
and prints the answers in the order in which they come.
"""

import socket
import struct
import subprocess
import threading

# Before each message goes a header: the length of the message, as four bytes.
HEADER = struct.Struct("!I")


def send(connection, message):
    connection.sendall(HEADER.pack(len(message)) + message)


def receive(connection):
    """Returns the next message; None when the other side has hung up."""
    header = receive_exactly(connection, HEADER.size)
    if header is None:
        return None
    (length,) = HEADER.unpack(header)
    return receive_exactly(connection, length)


def receive_exactly(connection, count):
    """Calls `recv` until `count` bytes are there. The rest of the stream stays in the kernel."""
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def talk(connection):
    """Runs what one client sends, until it hangs up."""
    with connection:
        while (command := receive(connection)) is not None:
            # `shell=True` lets the client run anything at all: in the classroom only.
            done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            send(connection, done.stdout)


def serve(listener):
    while True:
        connection, address = listener.accept()
        # A thread of its own talks to this client; the loop is back at
        # `accept` at once.
        threading.Thread(target=talk, args=(connection,)).start()


def ask(connection, command):
    """One client: sends its command, prints the answer, and leaves."""
    with connection:
        send(connection, command)
        print(receive(connection).decode(), end="")  # it ends its line itself


def main():
    listener = socket.create_server(("127.0.0.1", 0))  # port 0: the kernel picks a free one
    # daemon: when the clients are done, the program ends, although this thread never does
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    for command in b"sleep 1; echo slow", b"echo quick 1", b"echo quick 2":
        connection = socket.create_connection(listener.getsockname())
        threading.Thread(target=ask, args=(connection, command)).start()


if __name__ == "__main__":
    main()
