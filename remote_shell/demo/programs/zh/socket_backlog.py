"""来呼叫的比服务器允许排队的还多：排不进去的会怎样。

运行：  python3 socket_backlog.py
"""

import errno
import os
import select
import socket
import tempfile
import time


def knock(family, address, count):
    """呼叫服务器 `count` 次，不等待。每次返回（呼叫者，connect 的结果）。"""
    callers = []
    for _ in range(count):
        caller = socket.socket(family, socket.SOCK_STREAM)
        caller.setblocking(False)  # 从不等待：立刻返回当前的情况
        said = caller.connect_ex(address)  # 同 connect，但返回错误号（0：成功）
        callers.append((caller, errno.errorcode.get(said, "OK")))
    return callers


def is_through(caller, seconds):
    """最多等这么多秒，看呼叫能不能接通。返回是否接通。"""
    # 连接好的套接字才可以写。（失败了的也可以，SO_ERROR 能区分。）
    readable, writable, failed = select.select([], [caller], [], seconds)
    return bool(writable) and caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def main():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)  # accept 之前可以有这么多个排队（Linux 会多放一个）
        callers = knock(socket.AF_INET, listener.getsockname(), 4)
        for caller, said in callers:
            print("TCP: connect said", said, "- through:", is_through(caller, 0.2))
        # 空出一个位置。等着的一方，内核会在一秒之后自己再问一次。
        connection, address = listener.accept()
        began = time.monotonic()
        while not any(is_through(caller, 0.1) for caller, said in callers[2:]):
            pass
        print(f"TCP: after one accept, another one is through, {time.monotonic() - began:.1f} s later")
        connection.close()
        for caller, _ in callers:
            caller.close()

    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.path.join(folder, "meeting-point"))
        listener.listen(1)
        for caller, said in knock(socket.AF_UNIX, listener.getsockname(), 4):
            print("Unix: connect said", said)
            caller.close()


if __name__ == "__main__":
    main()
