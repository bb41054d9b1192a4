"""More callers than a server lets wait: what becomes of those for whom there is no room.

Run it:  python3 socket_backlog.py
"""

import errno
import os
import select
import socket
import tempfile
import time


def knock(family, address, count):
    """Calls a server `count` times, without waiting. Returns (caller, what
    connect said) for each."""
    callers = []
    for _ in range(count):
        caller = socket.socket(family, socket.SOCK_STREAM)
        # Never wait: come back at once and say how it stands.
        caller.setblocking(False)
        # connect_ex is connect, but it returns an error's number (0: done).
        said = caller.connect_ex(address)
        callers.append((caller, errno.errorcode.get(said, "OK")))
    return callers


def is_through(caller, seconds):
    """Waits up to so many seconds for a call to get through. Returns whether it did."""
    # One can write to a socket that is connected. (Or that has failed: SO_ERROR tells.)
    readable, writable, failed = select.select([], [caller], [], seconds)
    return bool(writable) and caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def main():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)  # so many may wait until we accept (Linux lets one more in)
        callers = knock(socket.AF_INET, listener.getsockname(), 4)
        for caller, said in callers:
            print("TCP: connect said", said, "- through:", is_through(caller, 0.2))
        # One place becomes free. The waiting callers' kernel asks again by itself, after a second.
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
