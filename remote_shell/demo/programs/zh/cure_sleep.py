"""一个糟糕的办法：发送方每发一条消息就睡一会儿，好让接收方有时间读走它。

运行：  python3 cure_sleep.py
"""

import socket
import threading
import time

PAUSE = 0.1  # 秒。多久才算够？没有人说得准：毛病就在这里。


def send(connection, message):
    """发送一条消息，并且指望我们醒来时它已经被读走了。"""
    connection.sendall(message)
    time.sleep(PAUSE)


def receive(connection):
    """返回已经到达的字节：运气好的话，正好是一条消息。"""
    return connection.recv(1024)


def send_all(connection, messages):
    """发送所有消息，然后挂断。"""
    with connection:
        for message in messages:
            send(connection, message)


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:  # 端口 0：由内核挑一个空闲的
        for busy in (0, 3.5 * PAUSE):
            sender = socket.create_connection(listener.getsockname())
            connection, address = listener.accept()
            threading.Thread(target=send_all, args=(sender, [b"one", b"two", b"three"])).start()
            with connection:
                print(f"The receiver is busy for {busy:.2f} s before it reads:")
                time.sleep(busy)
                while message := receive(connection):
                    print("    received", message)


if __name__ == "__main__":
    main()
