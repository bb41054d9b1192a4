"""一个有隐患的办法：每条消息后面加一个换行符。如果消息里本来就有换行符呢？那就必须转义。

运行：  python3 cure_delimiter.py
"""

import socket

END = b"\n"
LIMIT = 1_000_000  # 寻找结尾时最多保留这么多字节：不能让一个永不结束的发送方塞满我们的内存


def send(connection, message):
    """发送一条消息，后面跟着分隔符。"""
    connection.sendall(message + END)


def receive(connection, buffer):
    """返回下一条消息。多收到的字节留在 `buffer`（bytearray）里，下次再用。"""
    while END not in buffer:
        data = connection.recv(1024)
        if not data:
            raise EOFError("the other end has hung up")
        buffer += data
        if len(buffer) > LIMIT:
            raise ValueError(f"no end of the message within {LIMIT} bytes")
    message, end, after = buffer.partition(END)
    buffer[:] = after
    return bytes(message)


def escape(message):
    """让消息里不再有换行符：像网址那样，%0A 代表换行符，%25 代表 % 自己。"""
    return message.replace(b"%", b"%25").replace(END, b"%0A")


def unescape(escaped):
    """还原成 `escape` 之前的消息：同样的步骤，反过来做。"""
    return escaped.replace(b"%0A", END).replace(b"%25", b"%")


def main():
    messages = [b"one", b"two\nlines", b"100% three"]
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,  # 端口 0：由内核挑一个空闲的
        socket.create_connection(listener.getsockname()) as sender,
    ):
        connection, address = listener.accept()
        buffer = bytearray()
        with connection:
            for message in messages:
                send(sender, message)
            print("Not escaped:")
            for _ in range(4):  # 三条消息，却成了四行
                print("    received", receive(connection, buffer))
            for message in messages:
                send(sender, escape(message))
            print("Escaped:")
            for _ in messages:
                print("    received", unescape(receive(connection, buffer)))


if __name__ == "__main__":
    main()
