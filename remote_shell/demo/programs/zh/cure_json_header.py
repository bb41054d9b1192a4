"""传文件等等的办法：四个字节写明 JSON 报头的长度，JSON 报头再写明正文的名字、大小和哈希。

运行：  python3 cure_json_header.py
"""

import hashlib
import json
import socket
import struct
import threading

LENGTH = struct.Struct("!I")  # 四个字节的无符号整数，网络字节序（高位在前）
HEADER_LIMIT = 4_096  # 字节
BODY_LIMIT = 10_000_000


def send(connection, name, body):
    """把长度、报头和正文一起发送。"""
    about = {"name": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    header = json.dumps(about).encode()
    connection.sendall(LENGTH.pack(len(header)) + header + body)


def receive(connection):
    """返回下一个报头（字典）和它的正文。"""
    (length,) = LENGTH.unpack(read_exactly(connection, LENGTH.size))
    if length > HEADER_LIMIT:
        raise ValueError(f"a header of {length} bytes; the limit is {HEADER_LIMIT}")
    header = json.loads(read_exactly(connection, length))
    size = header["size"]
    # JSON 里什么都可能有：一段文本、-1、一万亿。先检查，再相信。
    if type(size) is not int or not 0 <= size <= BODY_LIMIT:
        raise ValueError(f"the header gives the size {size!r}; the limit is {BODY_LIMIT}")
    body = read_exactly(connection, size)
    # 哈希能发现意外的损坏，却拦不住坏人：他会给错误的正文配上正确的哈希。
    if hashlib.sha256(body).hexdigest() != header["sha256"]:
        raise ValueError("the body is not the one that was sent: its hash differs")
    # 绝不要直接用陌生人发来的名字打开文件：它可能是 "../../.bashrc"。
    return header, body


def read_exactly(connection, size):
    """反复调用 `recv`，直到 `size` 个字节到齐；每次要的都不超过还缺的。"""
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(65536, size - len(data)))
        if not part:
            raise EOFError(f"the other end hung up after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def send_all(connection, files):
    """发送所有文件，然后挂断。"""
    with connection:
        for name, body in files.items():
            send(connection, name, body)


def main():
    files = {"hello.txt": b"hello\n", "empty": b"", "numbers.bin": bytes(range(256)) * 1000}
    with socket.create_server(("127.0.0.1", 0)) as listener:  # 端口 0：由内核挑一个空闲的
        sender = socket.create_connection(listener.getsockname())
        connection, address = listener.accept()
        threading.Thread(target=send_all, args=(sender, files)).start()
        with connection:
            for _ in files:
                header, body = receive(connection)
                print(header["name"], len(body), "bytes,", "whole" if body == files[header["name"]] else "broken")


if __name__ == "__main__":
    main()
