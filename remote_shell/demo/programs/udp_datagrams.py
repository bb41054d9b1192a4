"""What UDP does with messages: it keeps their borders, cuts what is too long for you, and refuses what is too long for it.

Run it:  python3 udp_datagrams.py
"""

import socket


def open_pair():
    """Opens a socket that receives, and one that sends to it."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # SOCK_DGRAM: datagrams, which is UDP
    receiver.bind(("127.0.0.1", 0))  # no listen, no accept: UDP has no connections
    receiver.settimeout(5)  # UDP promises nothing, so never wait for ever
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return sender, receiver


def send_each(sender, address, messages):
    """Sends each message as a datagram of its own."""
    for message in messages:
        sender.sendto(message, address)  # each call names the receiver: nobody is connected


def receive_each(receiver, size, count):
    """Takes `count` datagrams. Each call returns one, or as much of it as
    `size` allows."""
    messages = []
    for _ in range(count):
        # The bytes, and who sent them.
        message, address = receiver.recvfrom(size)
        messages.append(message)
    return messages


def receive_and_check(receiver, size):
    """Takes one datagram, and says whether it was longer than `size`."""
    message, ancillary, flags, address = receiver.recvmsg(size)
    # MSG_TRUNC is the kernel's confession: "truncated, I threw the rest
    # away". recvfrom gets this flag, too, and keeps it from you.
    return message, bool(flags & socket.MSG_TRUNC)


def try_to_send(sender, address, size):
    """Sends one datagram of `size` bytes. Returns how many bytes the kernel took, or its error."""
    try:
        return sender.sendto(bytes(size), address)
    except OSError as error:
        return error


def main():
    sender, receiver = open_pair()
    address = receiver.getsockname()
    with sender, receiver:
        send_each(sender, address, [b"one", b"two", b"three"])
        print("three datagrams:  ", receive_each(receiver, 1024, 3))

        send_each(sender, address, [b"a long message", b"next"])
        print("recvfrom(6):      ", receive_each(receiver, 6, 2))  # where is " message"? Gone.

        send_each(sender, address, [b"a long message"])
        print("recvmsg(6):       ", receive_and_check(receiver, 6))

        send_each(sender, address, [b"before", b"", b"after"])
        print("an empty datagram:", receive_each(receiver, 1024, 3))  # b"" does not mean the end

        for size in (65507, 65508):
            print(f"sendto, {size} bytes:", try_to_send(sender, address, size))


if __name__ == "__main__":
    main()
