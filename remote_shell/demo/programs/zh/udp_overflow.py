"""没有网络，数据报也会丢：接收方太慢，缓冲区满了，内核就把后来的扔掉。

运行：  python3 udp_overflow.py      （/proc 里的计数只有 Linux 才有）
"""

import os
import socket


def open_small_receiver():
    """打开一个套接字，它的缓冲区只装得下几个数据报。"""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # Linux 会加倍，多出来的用于自己记账
    receiver.bind(("127.0.0.1", 0))
    return receiver


def flood(address, count, size):
    """一个紧接一个地发出 `count` 个编了号的数据报。"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(count):
            # sendto 每次都返回 `size`，包括后来被扔掉的那些：
            # 它只表示内核收下了，并不表示有人收到了。
            sender.sendto(number.to_bytes(4, "big") + bytes(size - 4), address)


def take_what_is_there(receiver):
    """把缓冲区取空，返回里面各个数据报的编号。"""
    receiver.setblocking(False)  # 没有数据时 recv 不再等待，而是抛出 BlockingIOError
    numbers = []
    while True:
        try:
            numbers.append(int.from_bytes(receiver.recv(65535)[:4], "big"))
        except BlockingIOError:
            return numbers


def count_dropped(receiver):
    """内核在这个套接字上扔掉了多少数据报：见 /proc/net/udp 的最后一列。"""
    inode = str(os.fstat(receiver.fileno()).st_ino)  # 套接字的号码
    with open("/proc/net/udp") as table:
        next(table)  # 表头
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
