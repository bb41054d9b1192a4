"""UDP 怎样对待消息：保留边界；超过你要的长度就剪掉；超过它自己的上限就拒绝。

运行：  python3 udp_datagrams.py
"""

import socket


def open_pair():
    """打开一个接收的套接字，和一个向它发送的套接字。"""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)  # SOCK_DGRAM：数据报，也就是 UDP
    receiver.bind(("127.0.0.1", 0))  # 没有 listen，也没有 accept：UDP 没有连接
    receiver.settimeout(5)  # UDP 什么也不保证，所以绝不能永远等下去
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    return sender, receiver


def send_each(sender, address, messages):
    """把每条消息作为一个单独的数据报发出。"""
    for message in messages:
        sender.sendto(message, address)  # 每次都要写明收件人：没有建立连接


def receive_each(receiver, size, count):
    """取 `count` 个数据报。每次调用返回一个，或者它的前 `size` 个字节。"""
    messages = []
    for _ in range(count):
        message, address = receiver.recvfrom(size)  # 内容，以及是谁发的
        messages.append(message)
    return messages


def receive_and_check(receiver, size):
    """取一个数据报，并说明它是否比 `size` 长。"""
    message, ancillary, flags, address = receiver.recvmsg(size)
    # MSG_TRUNC 是内核的自白：“截断了，剩下的我扔了。” recvfrom 从内核那里
    # 也得到了这个标志，却不告诉你。
    return message, bool(flags & socket.MSG_TRUNC)


def try_to_send(sender, address, size):
    """发一个 `size` 字节的数据报。返回内核收下了多少字节，或者它报的错。"""
    try:
        return sender.sendto(bytes(size), address)
    except OSError as error:
        return error


def main():
    sender, receiver = open_pair()
    address = receiver.getsockname()
    with sender, receiver:
        send_each(sender, address, [b"one", b"two", b"three"])
        print("three datagrams:  ", receive_each(receiver, 1024, 3))

        send_each(sender, address, [b"a long message", b"next"])
        print("recvfrom(6):      ", receive_each(receiver, 6, 2))  # “ message” 哪儿去了？没了。

        send_each(sender, address, [b"a long message"])
        print("recvmsg(6):       ", receive_and_check(receiver, 6))

        send_each(sender, address, [b"before", b"", b"after"])
        print("an empty datagram:", receive_each(receiver, 1024, 3))  # b"" 并不表示结束

        for size in (65507, 65508):
            print(f"sendto, {size} bytes:", try_to_send(sender, address, size))


if __name__ == "__main__":
    main()
