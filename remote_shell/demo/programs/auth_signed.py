"""A proof on each message: who sent it, on which connection, and which in the row it is.

Run it:  python3 auth_signed.py
"""

import hmac
import os
import socket
import subprocess
import threading

SECRET = b"known to both, sent by nobody"  # for the classroom; a real one is 32 random bytes


def receive(connection, size):
    """Takes exactly `size` bytes."""
    data = connection.recv(size, socket.MSG_WAITALL)  # waits for all of them; without it recv may return fewer
    if len(data) < size:
        raise ConnectionError("the other end has hung up")
    return data


class Signed:  # a connection with a secret key for each direction
    def __init__(self, connection, me, other):
        self.connection, self.sent, self.received = connection, 0, 0
        mine = os.urandom(32)
        connection.sendall(mine)
        theirs = receive(connection, 32)
        both = mine + theirs if me == b"client" else theirs + mine  # one order at both
        # Fresh challenges: fresh keys. Roles: no message can be sent back.
        self.send_key = hmac.digest(SECRET, me + both, "sha256")
        self.receive_key = hmac.digest(SECRET, other + both, "sha256")

    def send(self, message):
        # The proof covers message and number (not sent: both ends count).
        proof = hmac.digest(self.send_key, self.sent.to_bytes(8, "big") + message, "sha256")
        self.connection.sendall(len(message).to_bytes(2, "big") + proof + message)
        self.sent += 1

    def receive(self):
        size = int.from_bytes(receive(self.connection, 2), "big")  # 65535 at most
        proof, message = receive(self.connection, 32), receive(self.connection, size)
        expected = hmac.digest(self.receive_key, self.received.to_bytes(8, "big") + message, "sha256")
        if not hmac.compare_digest(proof, expected):
            raise ConnectionError("not the next message of the other end")
        self.received += 1
        return message


def serve(listener, ran):
    """Serves one client; `ran` gets the commands that it ran. Returns why it stopped."""
    connection, address = listener.accept()
    with connection:
        try:
            channel = Signed(connection, b"server", b"client")
            while True:
                ran.append(channel.receive())
                channel.send(subprocess.getoutput(ran[-1].decode()).encode())
        except ConnectionError as error:
            return str(error)


def use(address, commands):
    """Sends all commands, and returns the answers."""
    with socket.create_connection(address) as connection:
        channel = Signed(connection, b"client", b"server")
        for command in commands:
            channel.send(command)
        return [channel.receive() for _ in commands]


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, [])).start()
        print(use(listener.getsockname(), [b"echo one", b"echo two"]))


if __name__ == "__main__":
    main()
