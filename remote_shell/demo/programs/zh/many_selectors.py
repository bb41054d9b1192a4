"""只用一个线程服务许多客户端的命令服务器：它同时等所有的客户端。

运行：  python3 many_selectors.py
"""

import contextlib
import selectors
import socket
import subprocess
import threading


class Client:
    """服务器对一个客户端所知道的一切。线程执行到哪里，自己就知道；这里得由我们记下来。"""

    def __init__(self, selector, connection):
        self.selector, self.connection = selector, connection
        self.received = b""  # 已经到达、但还没有执行的命令的字节
        selector.register(connection, selectors.EVENT_READ, self.read)

    def read(self, connection):
        """选择器说：这个客户端发来了东西，或者挂断了。所以 `recv` 不会等。"""
        chunk = b""
        with contextlib.suppress(ConnectionError):  # 突然消失的客户端也算挂断
            chunk = connection.recv(4096)
        self.received += chunk
        if chunk:
            self.run_next()
        else:
            self.selector.unregister(connection)
            connection.close()

    def run_next(self):
        """如果下一条命令已经完整，就启动它，但*不*等它结束。"""
        header, rest = self.received[:4], self.received[4:]  # 四个字节的长度
        length = int.from_bytes(header, "big")
        if len(header) == 4 and len(rest) >= length:  # 否则等 `recv` 补齐
            command, self.received = rest[:length], rest[length:]
            # `shell=True` 让客户端能执行任何东西：只能用在课堂上。
            self.process = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.output = b""
            self.selector.unregister(self.connection)  # 它的下一条命令先等等
            self.selector.register(self.process.stdout, selectors.EVENT_READ, self.collect)

    def collect(self, pipe):
        """选择器说：命令输出了东西，或者结束了。"""
        chunk = pipe.read1()
        self.output += chunk
        if not chunk:
            self.selector.unregister(pipe)
            with self.process, contextlib.suppress(ConnectionError):  # 关闭管道，取走退出状态
                self.connection.sendall(len(self.output).to_bytes(4, "big") + self.output)
            self.selector.register(self.connection, selectors.EVENT_READ, self.read)
            self.run_next()


def serve(listener):
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ, lambda listener: Client(selector, listener.accept()[0]))
        while True:
            for key, _ in selector.select():  # 这个服务器只在这一处等待
                key.data(key.fileobj)  # 调用注册时给出的函数


def ask(connection, command):
    with connection, connection.makefile("rb") as file:  # 文件的 `read(n)` 会反复调用 `recv`，直到收满 n 个字节
        connection.sendall(len(command).to_bytes(4, "big") + command)
        print(file.read(int.from_bytes(file.read(4), "big")).decode(), end="")


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
    for command in b"sleep 1; echo slow", b"echo quick 1", b"echo quick 2":
        threading.Thread(target=ask, args=(socket.create_connection(listener.getsockname()), command)).start()


if __name__ == "__main__":
    main()
