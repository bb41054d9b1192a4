"""A poor cure: the sender sleeps after each message, so that the receiver has time to read it.

Run it:  python3 cure_sleep.py
"""

import socket
import threading
import time

PAUSE = 0.1  # seconds. How long is long enough? Nobody can tell: that is what is wrong with it.


def send(connection, message):
    """Sends one message, and hopes that it is read while we sleep."""
    connection.sendall(message)
    time.sleep(PAUSE)


def receive(connection):
    """What has arrived: one message, if we are lucky."""
    return connection.recv(1024)


def send_all(connection, messages):
    """Sends the messages and hangs up."""
    with connection:
        for message in messages:
            send(connection, message)


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:  # port 0: the kernel picks a free one
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
