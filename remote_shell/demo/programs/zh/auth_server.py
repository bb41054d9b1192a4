"""质询与应答：客户端证明自己知道秘密，而秘密本身从不经过网络。

运行：  python3 auth_server.py
"""

import hmac
import os
import socket
import threading
from subprocess import PIPE, STDOUT, run

# 课堂用。真正的秘密应是 os.urandom 给出的 32 个字节：如果是单词，
# 偷听过一次登录的人就能挨个试出来。
SECRET = b"known to both, sent by nobody"


def receive(connection, size):
    """正好取 `size` 个字节。"""
    data = connection.recv(size, socket.MSG_WAITALL)  # 等到收齐为止；不加这个标志，recv 可能返回得更少
    if len(data) < size:
        raise ConnectionError("the other end has hung up")
    return data


def prove(challenge, place=b""):
    """只有知道秘密的人才算得出的东西：质询（和地点）的 HMAC。"""
    return hmac.new(SECRET, challenge + place, "sha256").digest()


def place_of(address):
    """把地址写成字节：127.0.0.1:4000。"""
    return f"{address[0]}:{address[1]}".encode()


def serve(listener, challenge=None, bound=False):
    """向一个客户端要证明，执行它的命令。返回证明对不对。"""
    connection, address = listener.accept()
    with connection:
        # 32 个随机字节，谁也猜不到，也不会再出现：这叫随机数（nonce）。
        # 课文里有时给一个固定的质询，看看那样会出什么事。
        challenge = challenge or os.urandom(32)
        connection.sendall(challenge)
        expected = prove(challenge, place_of(connection.getsockname()) if bound else b"")
        # 不用 ==：对的字节越多，它花的时间就越长。
        if not hmac.compare_digest(receive(connection, 32), expected):
            connection.sendall(b"denied\n")
            return False
        connection.sendall(b"welcome\n")
        with connection.makefile("rb") as lines:
            for command in lines:
                done = run(command.decode(), shell=True, stdout=PIPE, stderr=STDOUT)
                connection.sendall(done.stdout)
        return True


def use(address, command, bound=False, proof=prove):
    """登录，执行一条命令。返回服务器说的话。"""
    with socket.create_connection(address) as connection:
        challenge = receive(connection, 32)
        connection.sendall(proof(challenge, place_of(connection.getpeername()) if bound else b""))
        with connection.makefile("rb") as answers:
            verdict = answers.readline()
            if verdict == b"welcome\n":
                connection.sendall(command + b"\n")
                connection.shutdown(socket.SHUT_WR)  # 我说完了
            return verdict + answers.read()


def main():
    for who, proof in ("friend", prove), ("stranger", lambda challenge, place: os.urandom(32)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = threading.Thread(target=serve, args=(listener,))
            server.start()
            print(f"{who}:", use(listener.getsockname(), b"echo hello", proof=proof))
            server.join()


if __name__ == "__main__":
    main()
