"""两端互相要求证明，而一个只会回声的服务器竟冒充成功：反射攻击，以及挡住它的那个词。

运行：  python3 auth_mirror.py
"""

import hmac
import os
import socket
import threading

SECRET = b"known to both, sent by nobody"  # 课堂用；真正的秘密应是 32 个随机字节


def receive(connection, size):
    """正好取 `size` 个字节。"""
    data = connection.recv(size, socket.MSG_WAITALL)  # 等到收齐为止；不加这个标志，recv 可能返回得更少
    if len(data) < size:
        raise ConnectionError("the other end has hung up")
    return data


def prove(challenge, role):
    """证明者的角色和质询合在一起的 HMAC。"""
    return hmac.new(SECRET, role + challenge, "sha256").digest()


def check_each_other(connection, my_role, other_role):
    """两端各自证明自己。返回对方的证明对不对。"""
    mine = os.urandom(32)
    connection.sendall(mine)
    theirs = receive(connection, 32)
    connection.sendall(prove(theirs, my_role))
    return hmac.compare_digest(receive(connection, 32), prove(mine, other_role))


def mirror(listener):
    """不知道任何秘密。收到什么就送回什么，质询也好，证明也好。"""
    connection, address = listener.accept()
    with connection:
        while data := connection.recv(4096):
            connection.sendall(data)


def honest(listener, my_role, other_role):
    """知道秘密的真服务器。"""
    connection, address = listener.accept()
    with connection:
        return check_each_other(connection, my_role, other_role)


def visit(server, my_role, other_role, *arguments):
    """启动一个服务器，让客户端来检查它，返回客户端信不信。"""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server, args=(listener, *arguments))
        thread.start()
        with socket.create_connection(listener.getsockname()) as connection:
            believed = check_each_other(connection, my_role, other_role)
        thread.join()
    return believed


def main():
    print("no roles:    the client believes a mirror:        ", visit(mirror, b"", b""))
    print("with roles:  the client believes a mirror:        ", visit(mirror, b"client", b"server"))
    print(
        "with roles:  the client believes the real server: ", visit(honest, b"client", b"server", b"server", b"client")
    )


if __name__ == "__main__":
    main()
