"""内核为什么拒绝 `bind`：试几次，看每次得到什么。

运行：  python3 socket_bind.py
"""

import errno
import os
import socket
import subprocess
import sys
import tempfile

NOBODY = 65534  # 在 Linux 上，这个账户什么权限也没有


def try_bind(family, address, reuse=False):
    """试着把一个新套接字绑定到一个地址。返回 "OK" 或错误的名字。"""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        # True：哪怕上一次对话还有残留，也请给我。必须写在 bind 之前！
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            sock.bind(address)
        except OSError as error:
            number, text = error.args
            return errno.errorcode[number]  # 它的名字，例如 EADDRINUSE
    return "OK"


def talk_and_hang_up():
    """服务器对话一次，*先*挂断，然后结束。返回它用过的地址。"""
    # create_server = socket + bind + listen，并且打开了 SO_REUSEADDR。
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client:  # = socket + connect
            connection, caller = listener.accept()
            connection.close()  # 谁先挂断谁等待：内核把这一端再保留一分钟
            client.recv(1)  # b""：客户端得知后，也挂断
    return address


def try_without_rights(port):
    """在另一个进程里试一个端口，它先放弃 root 的权限。返回它所说的。"""
    child = subprocess.run([sys.executable, __file__, str(port)], capture_output=True, text=True)
    return (child.stdout or child.stderr).splitlines()[-1]


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print("port taken by a living server:    ", try_bind(socket.AF_INET, listener.getsockname()))
        print("the same, with SO_REUSEADDR:      ", try_bind(socket.AF_INET, listener.getsockname(), reuse=True))
    address = talk_and_hang_up()
    print("port of a server that just ended: ", try_bind(socket.AF_INET, address))
    print("the same, with SO_REUSEADDR:      ", try_bind(socket.AF_INET, address, reuse=True))
    # 192.0.2.1 专门留给教科书：它不是任何计算机的地址，所以也不是我们的。
    print("an address that is not ours:      ", try_bind(socket.AF_INET, ("192.0.2.1", 0)))
    print("port 80, without rights:          ", try_without_rights(80))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "meeting-point")
        print("a new path:                       ", try_bind(socket.AF_UNIX, path))
        print("the same path again:              ", try_bind(socket.AF_UNIX, path))


if __name__ == "__main__":
    if len(sys.argv) > 1:  # 我们是 try_without_rights 的子进程
        if os.geteuid() == 0:  # root 什么都能做：变成 nobody，再也变不回去
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        print(try_bind(socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))))
    else:
        main()
