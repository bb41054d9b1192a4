"""好办法：每条消息前面用四个字节写明它的长度。这就是改好了的 sticky_server.py。

运行：  python3 cure_header.py
"""

import socket
import struct
import subprocess
import threading

HEADER = struct.Struct("!I")  # 四个字节的无符号整数，网络字节序（高位在前）：在每台计算机上都一样
LIMIT = 1_000_000  # 字节；用四个字节，陌生人可以声称有 4 GiB


def send(connection, message):
    """报头和消息一起发送：不用等任何回应。"""
    connection.sendall(HEADER.pack(len(message)) + message)


def receive(connection):
    """返回下一条消息，完整的一条。"""
    (size,) = HEADER.unpack(read_exactly(connection, HEADER.size))
    if size > LIMIT:  # *先*看长度，再为它腾地方
        raise ValueError(f"{size} bytes were announced; the limit is {LIMIT}")
    return read_exactly(connection, size)


def read_exactly(connection, size):
    """反复调用 `recv`，直到 `size` 个字节到齐；每次要的都不超过还缺的。"""
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(65536, size - len(data)))
        if not part:
            raise EOFError(f"the other end hung up after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def receive_trusting(connection):
    """反面教材：相信四个字节会一次到齐，也相信陌生人会说实话。"""
    (size,) = HEADER.unpack(connection.recv(HEADER.size))
    return connection.recv(size)


def serve(listener):
    """等一个客户端，执行它的命令，直到它挂断。"""
    connection, address = listener.accept()
    with connection:
        try:
            while True:
                command = receive(connection)
                # `shell=True` 让客户端能执行任何东西。这个问题在 auth 一课里讲。
                done = subprocess.run(command, shell=True, capture_output=True)
                send(connection, done.stdout + done.stderr)
        except EOFError:
            return


def main():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,  # 端口 0：由内核挑一个空闲的
        socket.create_connection(listener.getsockname()) as connection,
    ):
        commands = [b"echo one", b"echo two", b"seq 1000", b"echo hello"]
        for command in commands:  # 服务器还没开始读，就一次全发出去
            send(connection, command)
        threading.Thread(target=serve, args=(listener,)).start()
        for command in commands:
            answer = receive(connection)
            print(f"{command.decode():10}  ->  {len(answer):4} bytes, from {answer[:6]} to {answer[-6:]}")


if __name__ == "__main__":
    main()
