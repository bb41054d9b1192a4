"""Two attacks on challenge and response, by somebody who does not know the secret: replay, and relay.

Run it:  python3 auth_relay.py
"""

import pathlib
import runpy
import socket
import threading


def receive(connection, size):
    """Takes exactly `size` bytes."""
    data = connection.recv(size, socket.MSG_WAITALL)  # waits for all of them; without it recv may return fewer
    if len(data) < size:
        raise ConnectionError("the other end has hung up")
    return data


def misuse(connection, command):
    """Reads the server's verdict and, if it is welcome, runs a command. Returns what the server said."""
    with connection.makefile("rb") as answers:
        verdict = answers.readline()
        if verdict == b"welcome\n":
            connection.sendall(command + b"\n")
            connection.shutdown(socket.SHUT_WR)
        return verdict + answers.read()


def replay(server, proof, command):
    """Logs in with a proof overheard earlier: right if the server asks the
    same again."""
    with socket.create_connection(server) as connection:
        # A challenge: we could not answer it, and don't try.
        receive(connection, 32)
        connection.sendall(proof)
        return misuse(connection, command)


def relay(listener, server, command, log):
    """Lets a victim log in *through us*, then uses its connection.

    `log` notes what went by.
    """
    victim, address = listener.accept()
    with victim, socket.create_connection(server) as stolen:
        challenge = receive(stolen, 32)
        log.append(("server", challenge))
        victim.sendall(challenge)  # the server asks us; we ask the victim
        proof = receive(victim, 32)
        log.append(("victim", proof))
        # The victim answers us; we answer the server.
        stolen.sendall(proof)
        # Fresh challenge, right proof: the server is content. But whom is
        # it talking to?
        loot = misuse(stolen, command)
        log.append(("loot", loot))
        victim.sendall(b"too busy, try again later\n")


def main():
    # Borrows `serve` and `use` from the program next door: the attacker needs somebody to attack.
    attacked = runpy.run_path(str(pathlib.Path(__file__).with_name("auth_server.py")))
    for bound in False, True:
        log = []
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_server(("127.0.0.1", 0)) as trap:
            server = threading.Thread(target=attacked["serve"], args=(listener, None, bound))
            thief = threading.Thread(target=relay, args=(trap, listener.getsockname(), b"echo gotcha", log))
            server.start()
            thief.start()
            print("victim:", attacked["use"](trap.getsockname(), b"echo hello", bound))
            server.join()
            thief.join()
        print("thief: ", log[-1][1], "(proof bound to the address)" if bound else "(plain proof)")


if __name__ == "__main__":
    main()
