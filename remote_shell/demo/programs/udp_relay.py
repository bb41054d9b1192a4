"""A bad network in one function: it passes datagrams on, and loses, doubles or delays some of them, by dice.

Run it:  python3 udp_relay.py
Loopback, on which these programs run, does nothing of that by itself; the roads of the Internet do.
"""

import random
import socket
import threading

FATES = ("passed", "lost", "twice", "late")


def open_udp():
    """Opens a UDP socket on a free port of this computer."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    return udp


def relay(ours, server, choose_fate, log):
    """Stands between one client and the server, until `exit` comes.

    `choose_fate(to_server)` says what happens to the next datagram, and
    `log` notes it.
    """
    client = None
    late = []  # held back until another one has overtaken them
    while True:
        data, sender = ours.recvfrom(65535)
        if data == b"exit":
            break
        to_server = sender != server
        if to_server:
            client = sender
        goal = server if to_server else client
        fate = choose_fate(to_server)
        log.append((to_server, fate, data))
        if fate == "lost":
            continue
        if fate == "late":
            late.append((data, goal))
            continue
        for _ in range(2 if fate == "twice" else 1):
            ours.sendto(data, goal)
        while late:
            ours.sendto(*late.pop(0))
    for each in late:
        ours.sendto(*each)


def main():
    dice = random.Random(5)  # a fixed seed: the same accidents in every run
    log = []
    with open_udp() as client, open_udp() as middle, open_udp() as server:
        way = threading.Thread(
            target=relay, args=(middle, server.getsockname(), lambda to_server: dice.choice(FATES), log)
        )
        way.start()
        for number in range(1, 11):
            client.sendto(b"%d" % number, middle.getsockname())
        client.sendto(b"exit", middle.getsockname())
        way.join()
        print("sent:    ", [int(data) for to_server, fate, data in log])
        print("fates:   ", [fate for to_server, fate, data in log])
        server.setblocking(False)
        received = []
        while True:
            try:
                received.append(int(server.recv(65535)))
            except BlockingIOError:
                break
        print("received:", received)


if __name__ == "__main__":
    main()
