"""A command server by `socketserver`: the standard library's own thread for each client.

Run it:  python3 many_socketserver.py
It starts the server, then a client with a slow command and two with quick ones,
and prints the answers in the order in which they come.
"""

import socket
import socketserver
import struct
import subprocess
import threading

# Before each message goes a header: the length of the message, as four bytes.
HEADER = struct.Struct("!I")


class Handler(socketserver.StreamRequestHandler):
    """The server makes one of these for each client, and calls `handle` in
    a thread of its own."""

    def handle(self):
        # Here `self.rfile` is the connection as a file to read from:
        # `read(n)` calls `recv` until it has n bytes, fewer only at the
        # end. `self.wfile` is the same for writing.
        while len(header := self.rfile.read(HEADER.size)) == HEADER.size:
            (length,) = HEADER.unpack(header)
            command = self.rfile.read(length)
            # `shell=True` lets the client run anything at all: in the
            # classroom only.
            done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.wfile.write(HEADER.pack(len(done.stdout)) + done.stdout)


class Server(socketserver.ThreadingTCPServer):
    # Without "Threading" in its name it would serve one client at a time.
    # With "Forking" instead it would start a process for each client.
    # A server that was just stopped can be started again at once.
    allow_reuse_address = True
    # How many may wait for `accept`; socketserver's own figure is 5.
    request_queue_size = 128


def ask(connection, command):
    """One client: sends its command, prints the answer, and leaves."""
    with connection, connection.makefile("rb") as file:
        connection.sendall(HEADER.pack(len(command)) + command)
        (length,) = HEADER.unpack(file.read(HEADER.size))
        print(file.read(length).decode(), end="")  # it ends its line itself


def main():
    # The `with` closes the server at its end, and waits for the threads of its clients.
    with Server(("127.0.0.1", 0), Handler) as server:  # port 0: the kernel picks a free one
        threading.Thread(target=server.serve_forever).start()
        clients = []
        for command in b"sleep 1; echo slow", b"echo quick 1", b"echo quick 2":
            connection = socket.create_connection(server.socket.getsockname())
            clients.append(threading.Thread(target=ask, args=(connection, command)))
            clients[-1].start()
        for client in clients:
            client.join()
        server.shutdown()  # ends `serve_forever`


if __name__ == "__main__":
    main()
