"""每条消息都带证明：谁发的，在哪条连接上，是第几条。

运行：  python3 auth_signed.py
"""

import hmac
import os
import socket
import subprocess
import threading

SECRET = b"known to both, sent by nobody"  # 课堂用；真正的秘密应是 32 个随机字节


def receive(connection, size):
    """正好取 `size` 个字节。"""
    data = connection.recv(size, socket.MSG_WAITALL)  # 等到收齐为止；不加这个标志，recv 可能返回得更少
    if len(data) < size:
        raise ConnectionError("the other end has hung up")
    return data


class Signed:  # 每个方向有一把密钥的连接，只有两端知道密钥
    def __init__(self, connection, me, other):
        self.connection, self.sent, self.received = connection, 0, 0
        mine = os.urandom(32)
        connection.sendall(mine)
        theirs = receive(connection, 32)
        both = mine + theirs if me == b"client" else theirs + mine  # 统一顺序
        # 质询是新的，密钥也就是新的。有角色，消息就不能原路送回。
        self.send_key = hmac.digest(SECRET, me + both, "sha256")
        self.receive_key = hmac.digest(SECRET, other + both, "sha256")

    def send(self, message):
        # 证明包括消息和它的编号。编号不发：两端各自数着。
        proof = hmac.digest(self.send_key, self.sent.to_bytes(8, "big") + message, "sha256")
        self.connection.sendall(len(message).to_bytes(2, "big") + proof + message)
        self.sent += 1

    def receive(self):
        size = int.from_bytes(receive(self.connection, 2), "big")  # 最多 65535
        proof, message = receive(self.connection, 32), receive(self.connection, size)
        expected = hmac.digest(self.receive_key, self.received.to_bytes(8, "big") + message, "sha256")
        if not hmac.compare_digest(proof, expected):
            raise ConnectionError("not the next message of the other end")
        self.received += 1
        return message


def serve(listener, ran):
    """服务一个客户端；执行过的命令记在 `ran` 里。返回停下的原因。"""
    connection, address = listener.accept()
    with connection:
        try:
            channel = Signed(connection, b"server", b"client")
            while True:
                ran.append(channel.receive())
                channel.send(subprocess.getoutput(ran[-1].decode()).encode())
        except ConnectionError as error:
            return str(error)


def use(address, commands):
    """发出所有命令，返回各个回答。"""
    with socket.create_connection(address) as connection:
        channel = Signed(connection, b"client", b"server")
        for command in commands:
            channel.send(command)
        return [channel.receive() for _ in commands]


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener, [])).start()
        print(use(listener.getsockname(), [b"echo one", b"echo two"]))


if __name__ == "__main__":
    main()
