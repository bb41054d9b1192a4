"""Ten small sends, with Nagle's algorithm and without it: how many packets cross, and what one `recv` returns.

Run it:  python3 nagle.py     (on Linux: only its kernel counts the packets for us)
"""

import socket
import struct

WORDS = [b"word%d " % number for number in range(10)]


def packets(connection):
    """How many packets with data this end has sent, as the kernel counts them, each once."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    sent_twice = struct.unpack_from("=I", info, 100)[0]  # the place of `tcpi_total_retrans`
    return struct.unpack_from("=I", info, 156)[0] - sent_twice  # the place of `tcpi_data_segs_out`


def send_small(sender, receiver, nodelay):
    """Sends the words one by one. Returns the number of packets, and what
    one `recv` returns."""
    # TCP_NODELAY = 1 turns Nagle's algorithm off: what `send` took leaves
    # at once.
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
    # Nagle's algorithm waits until the other kernel has confirmed the
    # bytes before. Here it would confirm at once: we ask it to take its
    # time (some 40 ms), as is usual.
    receiver.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    for word in WORDS:
        sender.sendall(word)
    wanted = len(b"".join(WORDS))
    while len(receiver.recv(1024, socket.MSG_PEEK)) < wanted:
        pass  # MSG_PEEK looks at the bytes and leaves them there
    return packets(sender), receiver.recv(1024)


def main():
    for nodelay in (0, 1):
        with socket.create_server(("127.0.0.1", 0)) as listener:  # port 0: the kernel picks a free one
            with socket.create_connection(listener.getsockname()) as sender:
                receiver, address = listener.accept()
                with receiver:
                    count, received = send_small(sender, receiver, nodelay)
                    print(f"TCP_NODELAY={nodelay}: {len(WORDS)} sends, {count} packets, one recv: {received}")


if __name__ == "__main__":
    main()
