"""用 `socketserver` 写的命令服务器：由标准库为每个客户端开一个线程。

运行：  python3 many_socketserver.py
它启动服务器，然后启动一个命令很慢的客户端和两个命令很快的客户端，
并按回答到来的先后打印出来。
"""

import socket
import socketserver
import struct
import subprocess
import threading

# 每条消息前面放一个报头：消息的长度，用四个字节表示。
HEADER = struct.Struct("!I")


class Handler(socketserver.StreamRequestHandler):
    """服务器为每个客户端创建一个对象，并在单独的线程里调用 `handle`。"""

    def handle(self):
        # `self.rfile` 把连接当作文件来读：`read(n)` 会反复调用 `recv`，
        # 直到收满 n 个字节，到了末尾才会少。`self.wfile` 同理，用来写。
        while len(header := self.rfile.read(HEADER.size)) == HEADER.size:
            (length,) = HEADER.unpack(header)
            command = self.rfile.read(length)
            # `shell=True` 让客户端能执行任何东西：只能用在课堂上。
            done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.wfile.write(HEADER.pack(len(done.stdout)) + done.stdout)


class Server(socketserver.ThreadingTCPServer):
    # 名字里没有 Threading，它就一次只服务一个客户端；换成 Forking，
    # 它就为每个客户端启动一个进程。
    allow_reuse_address = True  # 刚停下的服务器可以马上重新启动
    request_queue_size = 128  # 最多多少个连接排队等 `accept`；默认是 5


def ask(connection, command):
    """一个客户端：发送命令，打印回答，然后离开。"""
    with connection, connection.makefile("rb") as file:
        connection.sendall(HEADER.pack(len(command)) + command)
        (length,) = HEADER.unpack(file.read(HEADER.size))
        print(file.read(length).decode(), end="")  # 回答自带换行


def main():
    # `with` 结束时会关闭服务器，并等各个客户端的线程结束。
    with Server(("127.0.0.1", 0), Handler) as server:  # 端口 0：由内核挑一个空闲的
        threading.Thread(target=server.serve_forever).start()
        clients = []
        for command in b"sleep 1; echo slow", b"echo quick 1", b"echo quick 2":
            connection = socket.create_connection(server.socket.getsockname())
            clients.append(threading.Thread(target=ask, args=(connection, command)))
            clients[-1].start()
        for client in clients:
            client.join()
        server.shutdown()  # 让 `serve_forever` 结束


if __name__ == "__main__":
    main()
