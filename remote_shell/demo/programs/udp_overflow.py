"""How datagrams get lost without any network: the receiver is slow, its buffer is full, and the kernel throws the rest away.

Run it:  python3 udp_overflow.py      (the counter in /proc is there on Linux only)
"""

import os
import socket


def open_small_receiver():
    """Opens a socket whose buffer has room for a few datagrams only."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # Linux doubles it, for its own book-keeping
    receiver.bind(("127.0.0.1", 0))
    return receiver


def flood(address, count, size):
    """Sends `count` numbered datagrams, one right after the other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(count):
            # sendto returns `size` each time, also for those that are thrown away:
            # it says that the kernel took the bytes, not that anybody got them.
            sender.sendto(number.to_bytes(4, "big") + bytes(size - 4), address)


def take_what_is_there(receiver):
    """Empties the buffer. Returns the numbers of the datagrams that were in it."""
    receiver.setblocking(False)  # recv raises BlockingIOError instead of waiting
    numbers = []
    while True:
        try:
            numbers.append(int.from_bytes(receiver.recv(65535)[:4], "big"))
        except BlockingIOError:
            return numbers


def count_dropped(receiver):
    """How many datagrams the kernel threw away here: the last column of
    /proc/net/udp."""
    # The number by which the kernel calls this socket.
    inode = str(os.fstat(receiver.fileno()).st_ino)
    with open("/proc/net/udp") as table:
        next(table)  # the head of the table
        for line in table:
            columns = line.split()
            if columns[9] == inode:
                return int(columns[-1])
    raise LookupError("the socket is not in /proc/net/udp")


def main():
    with open_small_receiver() as receiver:
        flood(receiver.getsockname(), 24, 512)
        numbers = take_what_is_there(receiver)
        print("sent:    24")
        print("received:", len(numbers), numbers)
        if os.path.exists("/proc/net/udp"):
            print("dropped: ", count_dropped(receiver), "says the kernel")


if __name__ == "__main__":
    main()
