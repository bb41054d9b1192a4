"""A command server for many clients in a single thread: it waits for all of them at once.

Run it:  python3 many_selectors.py
"""

import contextlib
import selectors
import socket
import subprocess
import threading


class Client:
    """What the server knows of one client. A thread would know by where it is; here we write it down."""

    def __init__(self, selector, connection):
        self.selector, self.connection = selector, connection
        self.received = b""  # what came of commands that were not run yet
        selector.register(connection, selectors.EVENT_READ, self.read)

    def read(self, connection):
        """The selector says: this client sent something, or hung up. So `recv` does not wait."""
        chunk = b""
        with contextlib.suppress(ConnectionError):  # a client that vanished has hung up, too
            chunk = connection.recv(4096)
        self.received += chunk
        if chunk:
            self.run_next()
        else:
            self.selector.unregister(connection)
            connection.close()

    def run_next(self):
        """Starts the next command, once all of it is there. Does *not* wait."""
        header, rest = self.received[:4], self.received[4:]  # the length; the rest
        length = int.from_bytes(header, "big")
        if len(header) == 4 and len(rest) >= length:  # else: later
            command, self.received = rest[:length], rest[length:]
            # `shell=True` runs anything at all: in the classroom only.
            self.process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.output = b""
            self.selector.unregister(self.connection)  # one at a time
            self.selector.register(self.process.stdout, selectors.EVENT_READ, self.collect)

    def collect(self, pipe):
        """The selector says: the command wrote something, or ended."""
        chunk = pipe.read1()
        self.output += chunk
        if not chunk:
            self.selector.unregister(pipe)
            with self.process, contextlib.suppress(ConnectionError):  # closes the pipe, asks how it ended
                self.connection.sendall(len(self.output).to_bytes(4, "big") + self.output)
            self.selector.register(self.connection, selectors.EVENT_READ, self.read)
            self.run_next()


def serve(listener):
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, lambda listener: Client(selector, listener.accept()[0]))
        while True:
            for key, _ in selector.select():  # the only wait here
                key.data(key.fileobj)  # calls what was registered with it


def ask(connection, command):
    with connection, connection.makefile("rb") as file:  # a file's `read(n)` calls `recv` until it has n bytes
        connection.sendall(len(command).to_bytes(4, "big") + command)
        print(file.read(int.from_bytes(file.read(4), "big")).decode(), end="")


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    for command in b"sleep 1; echo slow", b"echo quick 1", b"echo quick 2":
        threading.Thread(target=ask, args=(socket.create_connection(listener.getsockname()), command)).start()


if __name__ == "__main__":
    main()
