"""`recv(n)` 有多少返回多少，从 1 个字节到 n 个。怎样得到恰好 n 个：一个错的循环和一个对的循环。

运行：  python3 recv_exactly.py
"""

import socket
import threading
import time


def recv_wrong(sock, size):
    """想要 `size` 个字节。这个不要抄。"""
    data = b""
    while len(data) < size:
        # 错误一：每次都要 `size` 个字节，于是把下一条消息的字节也拿走了。
        # 错误二：对方挂断之后，recv 每次都立刻返回 b""，永远如此。
        data += sock.recv(size)
    return data


def recv_exactly(sock, size):
    """返回恰好 `size` 个字节。如果对方提前挂断，抛出 EOFError。"""
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))  # 缺多少要多少，绝不多要
        if not part:
            raise EOFError(f"the other end hung up after {len(data)} of {size} bytes")
        data += part
    return data


def send_in_parts(sock, parts, pause):
    """一部分一部分地发送，每次之后停一下。"""
    for part in parts:
        sock.sendall(part)
        pause()


def connect():
    """连接两个套接字，返回它们。"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        reader, address = listener.accept()
    return sender, reader


def wait():
    """让另一端先读走已经到达的字节。"""
    time.sleep(0.2)


def try_out(receive):
    """两条各十个字节的消息到达；第一条分两次到，在任何网络上都可能如此。"""
    parts = [b"012345", b"6789abcdefghij"]
    sender, reader = connect()
    with sender, reader:
        threading.Thread(target=send_in_parts, args=(sender, parts, wait)).start()
        print(receive.__name__, "wants 10 bytes and gets", receive(reader, 10))


def main():
    try_out(recv_wrong)
    try_out(recv_exactly)
    sender, reader = connect()
    with sender, reader:
        sender.sendall(b"0123")
        sender.close()
        try:
            recv_exactly(reader, 10)
        except EOFError as error:
            print("recv_exactly:", error)  # recv_wrong 会陷入死循环


if __name__ == "__main__":
    main()
