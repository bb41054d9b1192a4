"""一次对话，逐个调用写出来：服务器和客户端在同一个程序里。

运行：  python3 socket_steps.py
它打印每个调用、返回值和套接字的地址：依次经由 IPv4、IPv6 和 Unix 套接字。
"""

import os
import socket
import tempfile


def converse(family, address, tell):
    """按顺序调用一次对话所需的一切。每次调用之后都告诉 `tell`。"""
    # 套接字是对话的一端。SOCK_STREAM 表示 TCP（Unix 套接字则是类似的字节流）。
    listener = socket.socket(family, socket.SOCK_STREAM)
    tell("listener = socket()", listener)
    # 服务器说明别人在哪里能找到它。端口 0 的意思是：请内核挑一个空闲的。
    listener.bind(address)
    tell("listener.bind()", listener)
    # 从现在起，内核替我们接听呼叫。这个套接字本身从不传送数据。
    listener.listen()
    tell("listener.listen()", listener)

    # 客户端也要一个套接字，但不必 bind：内核随便给它挑一个端口。
    client = socket.socket(family, socket.SOCK_STREAM)
    tell("client = socket()", client)
    # 它呼叫服务器。应答的是服务器那边的*内核*，不管服务器正在做什么。
    client.connect(listener.getsockname())
    tell("client.connect()", client)
    # 服务器接起电话，得到一个新的套接字，专门服务这个客户端。没人呼叫就等着。
    connection, caller = listener.accept()
    tell("connection = listener.accept()", connection)

    # `sendall` 把字节全部交出去；`recv` 返回已经到达的字节，最多 1024 个。
    client.sendall(b"hello")
    tell("client.sendall()", client)
    tell("connection.recv()", connection, connection.recv(1024))
    connection.sendall(b"HELLO")
    tell("connection.sendall()", connection)
    tell("client.recv()", client, client.recv(1024))

    # 客户端挂断。服务器收到 b""：没有字节，而且再也不会有。
    # （平时最好写 `with socket.socket() as sock:`，出了错它也会关闭。）
    client.close()
    tell("client.close()", client)
    tell("connection.recv()", connection, connection.recv(1024))
    # 服务器也挂断，然后不再接听呼叫。
    connection.close()
    tell("connection.close()", connection)
    listener.close()
    tell("listener.close()", listener)


def show(call, sock, returned=None):
    """打印一个调用，以及内核给这个套接字的地址。"""
    where = sock.getsockname() if sock.fileno() >= 0 else "closed"  # 关闭了的套接字，编号是 -1
    print(f"{call:32}{'' if returned is None else returned!s:12}{where}")


def main():
    print("--- IPv4")
    converse(socket.AF_INET, ("127.0.0.1", 0), show)
    print("--- IPv6")
    try:
        converse(socket.AF_INET6, ("::1", 0), show)
    except OSError as error:  # 有的机器没有 IPv6
        print("not on this machine:", error)
    print("--- Unix socket: the address is a file's name")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "meeting-point")
        converse(socket.AF_UNIX, path, show)
        # close 不会删除这个文件；os.unlink(path) 才会。
        print("the file is still there:", os.path.exists(path))


if __name__ == "__main__":
    main()
