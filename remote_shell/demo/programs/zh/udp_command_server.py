"""UDP 上的命令服务器，和一个等不到回答就再问一次的客户端。

运行：  python3 udp_command_server.py
"""

import socket
import threading
from subprocess import PIPE, STDOUT, run


def open_udp():
    """在本机的一个空闲端口上打开一个 UDP 套接字。"""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    return udp


def serve(udp):
    """不管是谁发来的命令，都逐条执行，直到收到 `exit`。"""
    while True:
        # 这里没有粘包：一次 recvfrom 返回一条完整的命令，还说明是谁发的。
        command, client = udp.recvfrom(65535)
        if command == b"exit":
            return
        # `shell=True` 让任何能发来数据报的人都能执行任何东西：
        # 只能在课堂上用。
        done = run(command.decode(), shell=True, stdout=PIPE, stderr=STDOUT)
        try:
            udp.sendto(done.stdout, client)
        except OSError as error:  # 超过 65507 字节：Message too long
            udp.sendto(f"cannot send {len(done.stdout)} bytes: {error}\n".encode(), client)


def ask(udp, server, command, wait=1.0, tries=3):
    """发送一条命令，返回它的输出；`wait` 秒内没有回答就再问一次。"""
    udp.settimeout(wait)
    for _ in range(tries):
        udp.sendto(command.encode(), server)
        try:
            # 来什么就当它是回答：也可能是前一个问题迟到的回答，
            # 也可能是陌生人发来的。真正的客户端会给问题编号。
            answer, sender = udp.recvfrom(65535)
            return answer.decode()
        except TimeoutError:
            # 是问题丢了，还是回答丢了，还是命令仍在执行？客户端无从知道。
            # 它再问一次——命令也可能再执行一次。
            pass
    raise TimeoutError(f"no answer to {command!r} after {tries} tries")


def main():
    with open_udp() as udp, open_udp() as client:
        server = threading.Thread(target=serve, args=(udp,))
        server.start()
        address = udp.getsockname()
        print("echo hello:", ask(client, address, "echo hello"), end="")
        print("seq 3:     ", ask(client, address, "seq 3").split())
        print("seq 20000: ", ask(client, address, "seq 20000"), end="")
        client.sendto(b"exit", address)
        server.join()


if __name__ == "__main__":
    main()
