"""十次小的 send，开着和关掉 Nagle 算法：一共走了多少个数据包，一次 `recv` 又返回什么。

运行：  python3 nagle.py     （需要 Linux：只有它的内核会替我们数数据包）
"""

import socket
import struct

WORDS = [b"word%d " % number for number in range(10)]


def packets(connection):
    """这一端发出了多少个带数据的数据包（由内核计数，重发的不算）。"""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
    sent_twice = struct.unpack_from("=I", info, 100)[0]  # `tcpi_total_retrans` 所在的位置
    return struct.unpack_from("=I", info, 156)[0] - sent_twice  # `tcpi_data_segs_out` 所在的位置


def send_small(sender, receiver, nodelay):
    """把单词逐个发出去。返回数据包的个数，以及一次 `recv` 的结果。"""
    # TCP_NODELAY = 1 会关掉 Nagle 算法：每次 `send` 立刻变成一个数据包。
    sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
    # Nagle 算法要等对方内核确认前面的字节。在同一台计算机上，确认来得太快：
    # 我们请内核像平常那样晚一点（约 40 毫秒）再确认。
    receiver.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    for word in WORDS:
        sender.sendall(word)
    wanted = len(b"".join(WORDS))
    while len(receiver.recv(1024, socket.MSG_PEEK)) < wanted:
        pass  # MSG_PEEK 只看一眼，字节仍留在原处
    return packets(sender), receiver.recv(1024)


def main():
    for nodelay in (0, 1):
        with socket.create_server(("127.0.0.1", 0)) as listener:  # 端口 0：由内核挑一个空闲的
            with socket.create_connection(listener.getsockname()) as sender:
                receiver, address = listener.accept()
                with receiver:
                    count, received = send_small(sender, receiver, nodelay)
                    print(f"TCP_NODELAY={nodelay}: {len(WORDS)} sends, {count} packets, one recv: {received}")


if __name__ == "__main__":
    main()
