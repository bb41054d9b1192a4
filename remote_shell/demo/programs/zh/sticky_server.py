"""初学者写的命令服务器和它的客户端：双方都把一次 `recv(1024)` 当成一条消息。

运行：  python3 sticky_server.py
它同时运行对话的两端，并打印每次 `recv` 返回了什么。
"""

import socket
import subprocess
import threading


def serve(listener):
    """等一个客户端，执行它发来的命令，直到它挂断。"""
    connection, address = listener.accept()
    with connection:
        # 错误就在这里：`recv` 返回的*不是*“下一条命令”，
        # 而是目前已到达的字节，最多 1024 个：可能是半条命令、一条或三条。
        # 一个字节也没有，就表示客户端已经挂断。
        while command := connection.recv(1024):
            print("server: recv returned", command)
            # `shell=True` 让客户端能执行任何东西：见 auth 一课。
            done = subprocess.run(command, shell=True, capture_output=True)
            connection.sendall(done.stdout + done.stderr)


def ask(connection, command):
    """发送一条命令，返回它的输出——至少作者是这么以为的。"""
    connection.sendall(command)
    # 同样的错误。1024 字节装不下的部分留在内核里，
    # 下一次调用 `ask` 会把它当成自己那个问题的回答。
    return connection.recv(1024)


def rest(connection):
    """告诉对方不再有命令，然后一直收到服务器结束为止，返回每次 `recv` 的结果。"""
    connection.shutdown(socket.SHUT_WR)
    found = []
    while part := connection.recv(1024):
        found.append(part)
    return found


def brief(data):
    """一共多少字节，以及开头和结尾的几个。"""
    return f"{len(data)} bytes: {data[:12]} ... {data[-12:]}" if len(data) > 30 else f"{len(data)} bytes: {data}"


def main():
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,  # 端口 0：由内核挑一个空闲的
        socket.create_connection(listener.getsockname()) as connection,
    ):
        # 服务器还没有开始读，但内核已经在收：两条命令都在那里等着。
        connection.sendall(b"echo one")
        connection.sendall(b"echo two")
        threading.Thread(target=serve, args=(listener,)).start()
        answers = {
            "both": connection.recv(1024),
            "seq 1000": ask(connection, b"seq 1000"),
            "echo hello": ask(connection, b"echo hello"),
        }
        left = rest(connection)
    for question, answer in answers.items():
        print(f"client: the answer to {question} is {brief(answer)}")
    for part in left:
        print(f"client: left over are {brief(part)}")


if __name__ == "__main__":
    main()
