"""`send` 可能只收下一部分：什么时候会这样，`sendall` 又是怎么处理的。

运行：  python3 short_send.py
"""

import signal
import socket
import threading

DATA = bytes(100_000)


def connect_with_small_buffers():
    """连接两个套接字，缓冲区很小，很快就满。返回这两个套接字。"""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # 它接受的连接也会这样
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        sender = socket.socket()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sender.connect(listener.getsockname())
        reader, address = listener.accept()
    return sender, reader


def send_once(sock, data, timeout):
    """调用一次 `send`。timeout 为 0：从不等待；None：要等多久就等多久。"""
    sock.settimeout(timeout)
    return sock.send(data)  # 它收下了多少字节；剩下的还在我们手里


def send_all(sock, data):
    """`sendall` 所做的事：把剩下的再交给 `send`，直到什么也不剩。"""
    while data:
        sent = sock.send(data)
        data = data[sent:]


def send_interrupted(sock, data):
    """一次要等多久就等多久的 `send`，和一个打断它的信号。"""
    sock.settimeout(None)
    signal.signal(signal.SIGALRM, lambda number, frame: None)  # 什么也不做，只是醒过来
    signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)  # 内核的闹钟：每 0.3 秒响一次
    sent = sock.send(data)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return sent


def read_everything(sock):
    """一直读到对方挂断，返回一共读了多少。"""
    total = 0
    while part := sock.recv(65536):
        total += len(part)
    return total


def main():
    for what, timeout in ("without waiting:      ", 0), ("with a timeout of 1 s:", 1):
        sender, reader = connect_with_small_buffers()
        with sender, reader:  # 读的一方不读
            print("send", what, send_once(sender, DATA, timeout), "of", len(DATA))
    sender, reader = connect_with_small_buffers()
    with sender, reader:
        print("send, interrupted:         ", send_interrupted(sender, DATA), "of", len(DATA))
    sender, reader = connect_with_small_buffers()
    with sender, reader:
        thread = threading.Thread(target=read_everything, args=(reader,))  # 这次有人读了
        thread.start()
        print("send, waiting:             ", send_once(sender, DATA, None), "of", len(DATA))
        sender.shutdown(socket.SHUT_WR)  # 我们不再发了：读的一方得到 b""
        thread.join()


if __name__ == "__main__":
    main()
