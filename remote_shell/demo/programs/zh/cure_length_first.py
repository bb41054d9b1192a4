"""一个慢办法：先告诉对方长度，等对方说准备好了，再发消息。

运行：  python3 cure_length_first.py
"""

import socket
import threading

LIMIT = 1_000_000  # 字节；谁也不许声称比这更长


def send(connection, message):
    """先以文本发送长度，等对方回应，再发送消息。"""
    connection.sendall(str(len(message)).encode())
    # 如果不等，消息开头的字节就会和长度粘在一起。
    if connection.recv(1024) != b"ready":
        raise ConnectionError("the other end does not want the message")
    connection.sendall(message)


def receive(connection):
    """返回下一条消息。"""
    # 这里仍有一个错误：3893 可能分成 38 和 93 两次到达。只因为短，才几乎总是没事。
    digits = connection.recv(1024)
    if not digits:
        raise EOFError("the other end has hung up")
    size = int(digits)
    if not 0 <= size <= LIMIT:
        raise ValueError(f"{size} bytes were announced; the limit is {LIMIT}")
    connection.sendall(b"ready")
    return read_exactly(connection, size)


def read_exactly(connection, size):
    """反复调用 `recv`，直到 `size` 个字节到齐；每次要的都不超过还缺的。"""
    data = b""
    while len(data) < size:
        part = connection.recv(min(1024, size - len(data)))
        if not part:
            raise EOFError(f"the other end hung up after {len(data)} of {size} bytes")
        data += part
    return data


def send_all(connection, messages):
    """发送所有消息，然后挂断。"""
    with connection:
        for message in messages:
            send(connection, message)


def main():
    messages = [b"one", b"two\nlines", b"3" * 5000]
    with socket.create_server(("127.0.0.1", 0)) as listener:  # 端口 0：由内核挑一个空闲的
        sender = socket.create_connection(listener.getsockname())
        connection, address = listener.accept()
        threading.Thread(target=send_all, args=(sender, messages)).start()
        with connection:
            for message in messages:
                received = receive(connection)
                print(f"received {len(received)} bytes,", "whole" if received == message else "not what was sent")


if __name__ == "__main__":
    main()
