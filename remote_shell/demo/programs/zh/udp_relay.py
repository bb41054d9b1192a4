"""用一个函数造出的糟糕网络：它转发数据报，并掷骰子决定丢掉、重复或拖延其中一些。

运行：  python3 udp_relay.py
这些程序所用的环回自己不会做这些事；互联网的道路会。
"""

import random
import socket
import threading

FATES = ("passed", "lost", "twice", "late")


def open_udp():
    """在本机的一个空闲端口上打开一个 UDP 套接字。"""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    return udp


def relay(ours, server, choose_fate, log):
    """站在一个客户端和服务器中间，直到有人发来 `exit`。

    `choose_fate(to_server)` 决定下一个数据报的命运；`log` 把它记下来。
    """
    client = None
    late = []  # 被扣下的，等另一个超过去之后再放行
    while True:
        data, sender = ours.recvfrom(65535)
        if data == b"exit":
            break
        to_server = sender != server
        if to_server:
            client = sender
        goal = server if to_server else client
        fate = choose_fate(to_server)
        log.append((to_server, fate, data))
        if fate == "lost":
            continue
        if fate == "late":
            late.append((data, goal))
            continue
        for _ in range(2 if fate == "twice" else 1):
            ours.sendto(data, goal)
        while late:
            ours.sendto(*late.pop(0))
    for each in late:
        ours.sendto(*each)


def main():
    dice = random.Random(5)  # 固定的种子：每次运行都出同样的事故
    log = []
    with open_udp() as client, open_udp() as middle, open_udp() as server:
        way = threading.Thread(
            target=relay, args=(middle, server.getsockname(), lambda to_server: dice.choice(FATES), log)
        )
        way.start()
        for number in range(1, 11):
            client.sendto(b"%d" % number, middle.getsockname())
        client.sendto(b"exit", middle.getsockname())
        way.join()
        print("sent:    ", [int(data) for to_server, fate, data in log])
        print("fates:   ", [fate for to_server, fate, data in log])
        server.setblocking(False)
        received = []
        while True:
            try:
                received.append(int(server.recv(65535)))
            except BlockingIOError:
                break
        print("received:", received)


if __name__ == "__main__":
    main()
