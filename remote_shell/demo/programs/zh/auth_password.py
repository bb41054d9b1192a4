"""一个要口令的服务器，和路上的一个窃听者：谁能偷听，谁就有了口令。

运行：  python3 auth_password.py
"""

import contextlib
import hmac
import socket
import threading
from subprocess import PIPE, STDOUT, run

PASSWORD = b"correct horse"


def serve(listener):
    """服务一个客户端：第一行必须是口令，之后每行是一条命令。"""
    connection, address = listener.accept()
    with connection, connection.makefile("rb") as lines:  # makefile：可以一行一行地读
        password = lines.readline(1024).rstrip(b"\n")
        if not hmac.compare_digest(password, PASSWORD):  # 相当于 ==，区别见课文
            connection.sendall(b"wrong password\n")
            return
        connection.sendall(b"welcome\n")
        for command in lines:
            done = run(command.decode(), shell=True, stdout=PIPE, stderr=STDOUT)
            connection.sendall(done.stdout)


def use(address, password, command):
    """用口令登录，执行一条命令。返回服务器说的话。"""
    with socket.create_connection(address) as connection:
        connection.sendall(password + b"\n")
        with connection.makefile("rb") as answers:
            verdict = answers.readline()
            if verdict == b"welcome\n":
                connection.sendall(command + b"\n")
                connection.shutdown(socket.SHUT_WR)  # 我说完了：服务器会看到这是最后一行
            return verdict + answers.read()


def wiretap(listener, server, heard):
    """把一个连接双向转接到服务器，经过的一切都记在 `heard` 里。"""
    client, address = listener.accept()
    with client, socket.create_connection(server) as onward:
        back = threading.Thread(target=pump, args=(onward, client, "server", heard))
        back.start()
        pump(client, onward, "client", heard)
        back.join()


def pump(source, goal, name, heard):
    """把字节从一个套接字搬到另一个，直到没有为止。"""
    with contextlib.suppress(OSError):  # 有一方可能不打招呼就挂断
        while data := source.recv(4096):
            heard.append((name, data))
            goal.sendall(data)
    with contextlib.suppress(OSError):  # 对方可能已经走了
        goal.shutdown(socket.SHUT_WR)


def main():
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as tap:
        server = threading.Thread(target=serve, args=(listener,))
        spy = threading.Thread(target=wiretap, args=(tap, listener.getsockname(), heard))
        server.start()
        spy.start()
        # 客户端以为这就是服务器。没有任何迹象告诉它中间坐着别人。
        print("client:", use(tap.getsockname(), PASSWORD, b"echo hello"))
        server.join()
        spy.join()
    for name, data in heard:
        print("spy: the", name, "said", data)


if __name__ == "__main__":
    main()
