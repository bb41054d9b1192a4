"""One conversation, call by call: a server and a client in one program.

Run it:  python3 socket_steps.py
It prints each call, what it returned, and the socket's address: over IPv4, IPv6 and Unix sockets.
"""

import os
import socket
import tempfile


def converse(family, address, tell):
    """Makes all calls of a conversation, and tells `tell` of each."""
    # One end of a conversation. SOCK_STREAM: TCP, or its like on Unix.
    listener = socket.socket(family, socket.SOCK_STREAM)
    tell("listener = socket()", listener)
    # The server says where it can be found. Port 0: kernel, pick one.
    listener.bind(address)
    tell("listener.bind()", listener)
    # The kernel now takes calls for us. This socket only listens.
    listener.listen()
    tell("listener.listen()", listener)

    # The client needs no bind: the kernel picks any free port for it.
    client = socket.socket(family, socket.SOCK_STREAM)
    tell("client = socket()", client)
    # It calls. The server's *kernel* answers, whatever the server does.
    client.connect(listener.getsockname())
    tell("client.connect()", client)
    # The server takes the call (or waits for one): a socket of its own.
    connection, caller = listener.accept()
    tell("connection = listener.accept()", connection)

    # `sendall` hands over all bytes; `recv` returns what came, at most 1024.
    client.sendall(b"hello")
    tell("client.sendall()", client)
    tell("connection.recv()", connection, connection.recv(1024))
    connection.sendall(b"HELLO")
    tell("connection.sendall()", connection)
    tell("client.recv()", client, client.recv(1024))

    # The client hangs up. The server gets b"": no bytes, and never again.
    # (Better: `with socket.socket() as sock:`, which closes in any case.)
    client.close()
    tell("client.close()", client)
    tell("connection.recv()", connection, connection.recv(1024))
    # The server hangs up too, and then stops taking calls.
    connection.close()
    tell("connection.close()", connection)
    listener.close()
    tell("listener.close()", listener)


def show(call, sock, returned=None):
    """Prints a call, and the address that the kernel gave to this socket."""
    where = sock.getsockname() if sock.fileno() >= 0 else "closed"  # a closed socket has the number -1
    print(f"{call:32}{'' if returned is None else returned!s:12}{where}")


def main():
    print("--- IPv4")
    converse(socket.AF_INET, ("127.0.0.1", 0), show)
    print("--- IPv6")
    try:
        converse(socket.AF_INET6, ("::1", 0), show)
    except OSError as error:  # some machines have no IPv6
        print("not on this machine:", error)
    print("--- Unix socket: the address is a file's name")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "meeting-point")
        converse(socket.AF_UNIX, path, show)
        # close does not delete the file; os.unlink(path) would.
        print("the file is still there:", os.path.exists(path))


if __name__ == "__main__":
    main()
