"""The command server on UDP, and a client that asks again when no answer comes.

Run it:  python3 udp_command_server.py
"""

import socket
import threading
from subprocess import PIPE, STDOUT, run


def open_udp():
    """Opens a UDP socket on a free port of this computer."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    return udp


def serve(udp):
    """Runs each command that comes, from whomever, one by one, until
    `exit` comes."""
    while True:
        # No sticky packets: one recvfrom returns one command, whole, and
        # its sender.
        command, client = udp.recvfrom(65535)
        if command == b"exit":
            return
        # `shell=True` lets everybody who can send a datagram run anything:
        # for the classroom only.
        done = run(command.decode(), shell=True, stdout=PIPE, stderr=STDOUT)
        try:
            udp.sendto(done.stdout, client)
        except OSError as error:  # above 65,507 bytes: Message too long
            udp.sendto(f"cannot send {len(done.stdout)} bytes: {error}\n".encode(), client)


def ask(udp, server, command, wait=1.0, tries=3):
    """Sends a command and returns its output; asks again after `wait`
    seconds of silence."""
    udp.settimeout(wait)
    for _ in range(tries):
        udp.sendto(command.encode(), server)
        try:
            # Whatever comes is taken for the answer: also a late one to an
            # earlier question, also one from a stranger. A real client
            # numbers its questions.
            answer, sender = udp.recvfrom(65535)
            return answer.decode()
        except TimeoutError:
            # Was the question lost, or the answer, or is the command still
            # running? The client can't know. It asks again - and the
            # command may run again.
            pass
    raise TimeoutError(f"no answer to {command!r} after {tries} tries")


def main():
    with open_udp() as udp, open_udp() as client:
        server = threading.Thread(target=serve, args=(udp,))
        server.start()
        address = udp.getsockname()
        print("echo hello:", ask(client, address, "echo hello"), end="")
        print("seq 3:     ", ask(client, address, "seq 3").split())
        print("seq 20000: ", ask(client, address, "seq 20000"), end="")
        client.sendto(b"exit", address)
        server.join()


if __name__ == "__main__":
    main()
