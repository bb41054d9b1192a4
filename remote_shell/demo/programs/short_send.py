"""`send` may take less than you give it: when it does, and what `sendall` does about it.

Run it:  python3 short_send.py
"""

import signal
import socket
import threading

DATA = bytes(100_000)


def connect_with_small_buffers():
    """Connects two sockets whose buffers are small, so that they are soon full. Returns both."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # its connections get the same
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        sender = socket.socket()
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sender.connect(listener.getsockname())
        reader, address = listener.accept()
    return sender, reader


def send_once(sock, data, timeout):
    """One `send`. A timeout of 0 means: never wait; None: wait as long as
    it takes."""
    sock.settimeout(timeout)
    # How many bytes it took; the rest is still ours.
    return sock.send(data)


def send_all(sock, data):
    """What `sendall` does: it gives the rest to `send`, again and again,
    until nothing is left."""
    while data:
        sent = sock.send(data)
        data = data[sent:]


def send_interrupted(sock, data):
    """One `send` that may wait as long as it takes, and a signal that disturbs it."""
    sock.settimeout(None)
    signal.signal(signal.SIGALRM, lambda number, frame: None)  # do nothing, but do wake up
    signal.setitimer(signal.ITIMER_REAL, 0.3, 0.3)  # the kernel's alarm clock: every 0.3 seconds
    sent = sock.send(data)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return sent


def read_everything(sock):
    """Reads until the other end hangs up, and returns how much that was."""
    total = 0
    while part := sock.recv(65536):
        total += len(part)
    return total


def main():
    for what, timeout in ("without waiting:      ", 0), ("with a timeout of 1 s:", 1):
        sender, reader = connect_with_small_buffers()
        with sender, reader:  # the reader does not read
            print("send", what, send_once(sender, DATA, timeout), "of", len(DATA))
    sender, reader = connect_with_small_buffers()
    with sender, reader:
        print("send, interrupted:         ", send_interrupted(sender, DATA), "of", len(DATA))
    sender, reader = connect_with_small_buffers()
    with sender, reader:
        thread = threading.Thread(target=read_everything, args=(reader,))  # now somebody reads
        thread.start()
        print("send, waiting:             ", send_once(sender, DATA, None), "of", len(DATA))
        sender.shutdown(socket.SHUT_WR)  # no more from us: the reader gets b""
        thread.join()


if __name__ == "__main__":
    main()
