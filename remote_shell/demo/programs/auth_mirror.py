"""Both ends ask for proof, and an echo server passes as the real one: the mirror attack, and the word that stops it.

Run it:  python3 auth_mirror.py
"""

import hmac
import os
import socket
import threading

SECRET = b"known to both, sent by nobody"  # for the classroom; a real one is 32 random bytes


def receive(connection, size):
    """Takes exactly `size` bytes."""
    data = connection.recv(size, socket.MSG_WAITALL)  # waits for all of them; without it recv may return fewer
    if len(data) < size:
        raise ConnectionError("the other end has hung up")
    return data


def prove(challenge, role):
    """The HMAC of the role of whoever proves, and of the challenge."""
    return hmac.new(SECRET, role + challenge, "sha256").digest()


def check_each_other(connection, my_role, other_role):
    """Each end proves itself. Returns whether the other's proof was right."""
    mine = os.urandom(32)
    connection.sendall(mine)
    theirs = receive(connection, 32)
    connection.sendall(prove(theirs, my_role))
    return hmac.compare_digest(receive(connection, 32), prove(mine, other_role))


def mirror(listener):
    """Knows no secret. Sends back whatever it gets, challenge or proof."""
    connection, address = listener.accept()
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def honest(listener, my_role, other_role):
    """The real server, which knows the secret."""
    connection, address = listener.accept()
    with connection:
        return check_each_other(connection, my_role, other_role)


def visit(server, my_role, other_role, *arguments):
    """Starts a server, lets a client check it, and returns whether the client believed it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server, args=(listener, *arguments))
        thread.start()
        with socket.create_connection(listener.getsockname()) as connection:
            believed = check_each_other(connection, my_role, other_role)
        thread.join()
    return believed


def main():
    print("no roles:    the client believes a mirror:        ", visit(mirror, b"", b""))
    print("with roles:  the client believes a mirror:        ", visit(mirror, b"client", b"server"))
    print(
        "with roles:  the client believes the real server: ", visit(honest, b"client", b"server", b"server", b"client")
    )


if __name__ == "__main__":
    main()
