"""用 `socketserver` 写的 UDP 命令服务器：每个数据报一个线程，谁也不用等别人的慢命令。

运行：  python3 udp_threading_server.py
"""

import socket
import socketserver
import threading
from subprocess import PIPE, STDOUT, run


class CommandHandler(socketserver.BaseRequestHandler):
    """每来一个数据报，`socketserver` 就新开线程，创建对象，调用 `handle`。"""

    def handle(self):
        command, udp = self.request  # UDP：数据报，和回答用的套接字
        # `shell=True` 让任何能发来数据报的人都能执行任何东西：
        # 只能在课堂上用。
        done = run(command.decode(), shell=True, stdout=PIPE, stderr=STDOUT)
        udp.sendto(done.stdout, self.client_address)


class CommandServer(socketserver.ThreadingUDPServer):
    """逐个接收数据报，并启动线程。"""

    # 不写这一行，socketserver 用的是 recvfrom(8192)：更长的会被剪断。
    max_packet_size = 65535


def ask(name, address, command):
    """发送一条命令，收到回答就打印出来。"""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(command.encode(), address)
        print(f"{name}:", client.recv(65535).decode(), end="", flush=True)


def main():
    with CommandServer(("127.0.0.1", 0), CommandHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()  # 每 0.05 秒看一次有没有调用 `shutdown`
        slow = threading.Thread(target=ask, args=("A", server.server_address, "sleep 1; echo slow"))
        slow.start()
        ask("B", server.server_address, "echo quick")  # 不用等 A
        slow.join()
        server.shutdown()


if __name__ == "__main__":
    main()
