"""为每个客户端开一个线程的命令服务器：谁也不用等谁。

运行：  python3 many_threads.py
它启动服务器，然后启动一个命令很慢的客户端和两个命令很快的客户端，
并按回答到来的先后打印出来。
"""

import socket
import struct
import subprocess
import threading

# 每条消息前面放一个报头：消息的长度，用四个字节表示。
HEADER = struct.Struct("!I")


def send(connection, message):
    connection.sendall(HEADER.pack(len(message)) + message)


def receive(connection):
    """返回下一条消息；对方已经挂断时返回 None。"""
    header = receive_exactly(connection, HEADER.size)
    if header is None:
        return None
    (length,) = HEADER.unpack(header)
    return receive_exactly(connection, length)


def receive_exactly(connection, count):
    """反复调用 `recv`，直到收满 `count` 个字节。字节流的其余部分留在内核里。"""
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def talk(connection):
    """执行一个客户端发来的命令，直到它挂断。"""
    with connection:
        while (command := receive(connection)) is not None:
            # `shell=True` 让客户端能执行任何东西：只能用在课堂上。
            done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            send(connection, done.stdout)


def serve(listener):
    while True:
        connection, address = listener.accept()
        # 由一个单独的线程和这个客户端对话；循环立刻回到 `accept`。
        threading.Thread(target=talk, args=(connection,)).start()


def ask(connection, command):
    """一个客户端：发送命令，打印回答，然后离开。"""
    with connection:
        send(connection, command)
        print(receive(connection).decode(), end="")  # 回答自带换行


def main():
    listener = socket.create_server(("127.0.0.1", 0))  # 端口 0：由内核挑一个空闲的
    # daemon：客户端都完成之后程序就结束，虽然这个线程永远不会结束
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    for command in b"sleep 1; echo slow", b"echo quick 1", b"echo quick 2":
        connection = socket.create_connection(listener.getsockname())
        threading.Thread(target=ask, args=(connection, command)).start()


if __name__ == "__main__":
    main()
