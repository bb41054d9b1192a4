"""A relay that meddles with a signed connection: it invents, changes, repeats, swaps and drops messages. Nothing works.

Run it:  python3 auth_meddler.py
"""

import contextlib
import pathlib
import runpy
import socket
import threading


def next_message(connection):
    """Takes one message of auth_signed.py: its proof, its bytes."""
    head = connection.recv(34, socket.MSG_WAITALL)
    return head[2:], connection.recv(int.from_bytes(head[:2], "big"), socket.MSG_WAITALL)


# What a trick makes of the first two messages. Each message is a proof and its bytes. We can
# read the bytes, for they are not encrypted; but we can make no proof that fits other bytes.
TRICKS = {
    "pass on": lambda one, two: [one, two],
    "invent": lambda one, two: [one, (one[0], b"echo gotcha"), two],
    "change": lambda one, two: [(one[0], one[1].upper()), two],
    "repeat": lambda one, two: [one, one, two],
    "swap": lambda one, two: [two, one],
    "drop": lambda one, two: [two],
}


def meddle(listener, server, trick):
    """Passes on the challenges, then what `trick` makes of two messages, and whatever the server says."""
    victim, address = listener.accept()
    with victim, socket.create_connection(server) as onward:
        back = threading.Thread(target=pump, args=(onward, victim))
        back.start()
        with contextlib.suppress(OSError):  # one of the two has noticed, and hung up
            onward.sendall(victim.recv(32, socket.MSG_WAITALL))
            for proof, message in trick(next_message(victim), next_message(victim)):
                onward.sendall(len(message).to_bytes(2, "big") + proof + message)
        hang_up(onward)
        back.join()


def pump(source, goal):
    """Copies bytes until the source hangs up, then hangs up on the goal."""
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            goal.sendall(data)
    hang_up(goal)


def hang_up(connection):
    with contextlib.suppress(OSError):  # it may be gone already
        connection.shutdown(socket.SHUT_WR)


def main():
    # Borrows `serve` and `use` from the program next door: the attacker needs somebody to attack.
    attacked = runpy.run_path(str(pathlib.Path(__file__).with_name("auth_signed.py")))
    for name, trick in TRICKS.items():
        ran = []
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as trap:
            threading.Thread(target=attacked["serve"], args=(listener, ran)).start()
            threading.Thread(target=meddle, args=(trap, listener.getsockname(), trick)).start()
            try:
                answers = attacked["use"](trap.getsockname(), [b"echo one", b"echo two"])
            except ConnectionError as error:
                answers = error
        print(f"{name + ':':9} server ran {ran}; victim: {answers}")


if __name__ == "__main__":
    main()
