"""Challenge and response: the client proves that it knows the secret, and the secret itself never crosses the network.

Run it:  python3 auth_server.py
"""

import hmac
import os
import socket
import threading
from subprocess import PIPE, STDOUT, run

# For the classroom. A real one is 32 bytes of os.urandom: a word can be found by trying
# all words on a login that somebody has overheard.
SECRET = b"known to both, sent by nobody"


def receive(connection, size):
    """Takes exactly `size` bytes."""
    data = connection.recv(size, socket.MSG_WAITALL)  # waits for all of them; without it recv may return fewer
    if len(data) < size:
        raise ConnectionError("the other end has hung up")
    return data


def prove(challenge, place=b""):
    """The HMAC of challenge (and place): it takes the secret to make it."""
    return hmac.new(SECRET, challenge + place, "sha256").digest()


def place_of(address):
    """An address as bytes: 127.0.0.1:4000."""
    return f"{address[0]}:{address[1]}".encode()


def serve(listener, challenge=None, bound=False):
    """Asks one client for proof, runs its commands. Was the proof right?"""
    connection, address = listener.accept()
    with connection:
        # 32 random bytes that nobody can guess, used once: a *nonce*.
        # (The lesson gives a fixed one, to show what goes wrong then.)
        challenge = challenge or os.urandom(32)
        connection.sendall(challenge)
        expected = prove(challenge, place_of(connection.getsockname()) if bound else b"")
        # Not ==, which takes the longer, the more bytes are right.
        if not hmac.compare_digest(receive(connection, 32), expected):
            connection.sendall(b"denied\n")
            return False
        connection.sendall(b"welcome\n")
        with connection.makefile("rb") as lines:
            for command in lines:
                done = run(command.decode(), shell=True, stdout=PIPE, stderr=STDOUT)
                connection.sendall(done.stdout)
        return True


def use(address, command, bound=False, proof=prove):
    """Logs in and runs one command. Returns what the server said."""
    with socket.create_connection(address) as connection:
        challenge = receive(connection, 32)
        connection.sendall(proof(challenge, place_of(connection.getpeername()) if bound else b""))
        with connection.makefile("rb") as answers:
            verdict = answers.readline()
            if verdict == b"welcome\n":
                connection.sendall(command + b"\n")
                connection.shutdown(socket.SHUT_WR)  # no more from me
            return verdict + answers.read()


def main():
    for who, proof in ("friend", prove), ("stranger", lambda challenge, place: os.urandom(32)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = threading.Thread(target=serve, args=(listener,))
            server.start()
            print(f"{who}:", use(listener.getsockname(), b"echo hello", proof=proof))
            server.join()


if __name__ == "__main__":
    main()
