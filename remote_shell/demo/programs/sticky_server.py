"""A command server as beginners write it, and a client of it: each takes one `recv(1024)` for one message.

Run it:  python3 sticky_server.py
It runs both ends in one go, and prints what each `recv` returned.
"""

import socket
import subprocess
import threading


def serve(listener):
    """Waits for one client and runs what it sends, until it hangs up."""
    connection, address = listener.accept()
    with connection:
        # The mistake: `recv` does *not* return "the next command". It
        # returns what has arrived so far, up to 1024 bytes: half a
        # command, one, or three of them. No bytes at all mean that the
        # client has hung up.
        while command := connection.recv(1024):
            print("server: recv returned", command)
            # `shell=True` lets the client run anything. The lesson "auth"
            # is about that.
            done = subprocess.run(command, shell=True, capture_output=True)
            connection.sendall(done.stdout + done.stderr)


def ask(connection, command):
    """Sends a command and returns its output - or so its author thinks."""
    connection.sendall(command)
    # The same mistake again. What does not fit into 1024 bytes stays in
    # the kernel, and the next call of `ask` gets it as the answer to its
    # own question.
    return connection.recv(1024)


def rest(connection):
    """Says that no more commands will come, and returns what each `recv` returns until the server is done."""
    connection.shutdown(socket.SHUT_WR)
    found = []
    while part := connection.recv(1024):
        found.append(part)
    return found


def brief(data):
    """How many bytes, and the first and the last of them."""
    return f"{len(data)} bytes: {data[:12]} ... {data[-12:]}" if len(data) > 30 else f"{len(data)} bytes: {data}"


def main():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,  # port 0: the kernel picks a free one
        socket.create_connection(listener.getsockname()) as connection,
    ):
        # The server does not read yet, but its kernel does: both commands wait there.
        connection.sendall(b"echo one")
        connection.sendall(b"echo two")
        threading.Thread(target=serve, args=(listener,)).start()
        answers = {
            "both": connection.recv(1024),
            "seq 1000": ask(connection, b"seq 1000"),
            "echo hello": ask(connection, b"echo hello"),
        }
        left = rest(connection)
    for question, answer in answers.items():
        print(f"client: the answer to {question} is {brief(answer)}")
    for part in left:
        print(f"client: left over are {brief(part)}")


if __name__ == "__main__":
    main()
