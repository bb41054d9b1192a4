"""Why the kernel says no to `bind`: some tries, and what each of them gets.

Run it:  python3 socket_bind.py
"""

import errno
import os
import socket
import subprocess
import sys
import tempfile

NOBODY = 65534  # on Linux, the account with no rights at all


def try_bind(family, address, reuse=False):
    """Tries to bind a new socket to an address. Returns "OK", or the name
    of the error."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        # True: give me the place even if a finished conversation is still
        # kept there (TIME_WAIT). This call must come before bind.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        try:
            sock.bind(address)
        except OSError as error:
            number, text = error.args
            return errno.errorcode[number]  # its name, such as EADDRINUSE
    return "OK"


def talk_and_hang_up():
    """A server has a conversation, hangs up *first*, and ends. Returns the address where it was."""
    # create_server = socket + bind + listen, with SO_REUSEADDR switched on.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client:  # = socket + connect
            connection, caller = listener.accept()
            connection.close()  # who hangs up first has to wait: the kernel keeps its end for a minute
            client.recv(1)  # b"": the client hears of it, and hangs up too
    return address


def try_without_rights(port):
    """Tries a port in a process of its own, which gives up root's rights first. Returns what it said."""
    child = subprocess.run([sys.executable, __file__, str(port)], capture_output=True, text=True)
    return (child.stdout or child.stderr).splitlines()[-1]


def main():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print("port taken by a living server:    ", try_bind(socket.AF_INET, listener.getsockname()))
        print("the same, with SO_REUSEADDR:      ", try_bind(socket.AF_INET, listener.getsockname(), reuse=True))
    address = talk_and_hang_up()
    print("port of a server that just ended: ", try_bind(socket.AF_INET, address))
    print("the same, with SO_REUSEADDR:      ", try_bind(socket.AF_INET, address, reuse=True))
    # 192.0.2.1 is kept free for textbooks: it is no computer's address, so it is not ours either.
    print("an address that is not ours:      ", try_bind(socket.AF_INET, ("192.0.2.1", 0)))
    print("port 80, without rights:          ", try_without_rights(80))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "meeting-point")
        print("a new path:                       ", try_bind(socket.AF_UNIX, path))
        print("the same path again:              ", try_bind(socket.AF_UNIX, path))


if __name__ == "__main__":
    if len(sys.argv) > 1:  # we are the child of try_without_rights
        if os.geteuid() == 0:  # root may do everything: become nobody, with no way back
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        print(try_bind(socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))))
    else:
        main()
