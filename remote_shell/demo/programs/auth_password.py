"""A server that asks for a password, and a wiretap on the way to it: whoever can listen has the password.

Run it:  python3 auth_password.py
"""

import contextlib
import hmac
import socket
import threading
from subprocess import PIPE, STDOUT, run

PASSWORD = b"correct horse"


def serve(listener):
    """Serves one client: the first line must be the password, each line after it is a command."""
    connection, address = listener.accept()
    with connection, connection.makefile("rb") as lines:  # makefile: reads line by line
        password = lines.readline(1024).rstrip(b"\n")
        if not hmac.compare_digest(password, PASSWORD):  # like ==, see the lesson for the difference
            connection.sendall(b"wrong password\n")
            return
        connection.sendall(b"welcome\n")
        for command in lines:
            done = run(command.decode(), shell=True, stdout=PIPE, stderr=STDOUT)
            connection.sendall(done.stdout)


def use(address, password, command):
    """Logs in with the password and runs one command. Returns what the server said."""
    with socket.create_connection(address) as connection:
        connection.sendall(password + b"\n")
        with connection.makefile("rb") as answers:
            verdict = answers.readline()
            if verdict == b"welcome\n":
                connection.sendall(command + b"\n")
                connection.shutdown(socket.SHUT_WR)  # no more from me: the server sees the end of the lines
            return verdict + answers.read()


def wiretap(listener, server, heard):
    """Passes one connection on to the server, both ways, and notes in `heard` all that went by."""
    client, address = listener.accept()
    with client, socket.create_connection(server) as onward:
        back = threading.Thread(target=pump, args=(onward, client, "server", heard))
        back.start()
        pump(client, onward, "client", heard)
        back.join()


def pump(source, goal, name, heard):
    """Copies bytes from one socket to another until there are no more."""
    # One of them may hang up without a word.
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            heard.append((name, data))
            goal.sendall(data)
    with contextlib.suppress(OSError):  # the goal may be gone already
        goal.shutdown(socket.SHUT_WR)  # no more will come this way


def main():
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as tap:
        server = threading.Thread(target=serve, args=(listener,))
        spy = threading.Thread(target=wiretap, args=(tap, listener.getsockname(), heard))
        server.start()
        spy.start()
        # The client thinks that this is the server. Nothing tells it that somebody sits in between.
        print("client:", use(tap.getsockname(), PASSWORD, b"echo hello"))
        server.join()
        spy.join()
    for name, data in heard:
        print("spy: the", name, "said", data)


if __name__ == "__main__":
    main()
