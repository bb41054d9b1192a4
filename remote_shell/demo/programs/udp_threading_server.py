"""The command server on UDP with `socketserver`: a thread for each datagram, so that nobody waits for a slow command.

Run it:  python3 udp_threading_server.py
"""

import socket
import socketserver
import threading
from subprocess import PIPE, STDOUT, run


class CommandHandler(socketserver.BaseRequestHandler):
    """`socketserver` makes one for each datagram, in a new thread, and
    calls `handle`."""

    def handle(self):
        # For UDP: the datagram, and the socket to answer by.
        command, udp = self.request
        # `shell=True` lets everybody who can send a datagram run anything:
        # for the classroom only.
        done = run(command.decode(), shell=True, stdout=PIPE, stderr=STDOUT)
        udp.sendto(done.stdout, self.client_address)


class CommandServer(socketserver.ThreadingUDPServer):
    """Takes the datagrams, one by one, and starts the threads."""

    # Without this socketserver calls recvfrom(8192): a longer datagram
    # would be cut.
    max_packet_size = 65535


def ask(name, address, command):
    """Sends a command and prints the answer when it comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(command.encode(), address)
        print(f"{name}:", client.recv(65535).decode(), end="", flush=True)


def main():
    with CommandServer(("127.0.0.1", 0), CommandHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()  # looks for `shutdown` each 0.05 s
        slow = threading.Thread(target=ask, args=("A", server.server_address, "sleep 1; echo slow"))
        slow.start()
        ask("B", server.server_address, "echo quick")  # does not wait for A
        slow.join()
        server.shutdown()


if __name__ == "__main__":
    main()
