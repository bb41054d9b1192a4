"""对质询与应答的两种攻击，攻击者都不知道秘密：重放和中继。

运行：  python3 auth_relay.py
"""

import pathlib
import runpy
import socket
import threading


def receive(connection, size):
    """正好取 `size` 个字节。"""
    data = connection.recv(size, socket.MSG_WAITALL)  # 等到收齐为止；不加这个标志，recv 可能返回得更少
    if len(data) < size:
        raise ConnectionError("the other end has hung up")
    return data


def misuse(connection, command):
    """读服务器的裁决，如果是 welcome，就执行一条命令。返回服务器说的话。"""
    with connection.makefile("rb") as answers:
        verdict = answers.readline()
        if verdict == b"welcome\n":
            connection.sendall(command + b"\n")
            connection.shutdown(socket.SHUT_WR)
        return verdict + answers.read()


def replay(server, proof, command):
    """用以前偷听到的证明来登录：如果服务器又问同样的问题，它就是对的。"""
    with socket.create_connection(server) as connection:
        receive(connection, 32)  # 质询：反正答不出，也就不答
        connection.sendall(proof)
        return misuse(connection, command)


def relay(listener, server, command, log):
    """让受害者*通过我们*登录，然后使用它的连接。`log`：经过的内容。"""
    victim, address = listener.accept()
    with victim, socket.create_connection(server) as stolen:
        challenge = receive(stolen, 32)
        log.append(("server", challenge))
        victim.sendall(challenge)  # 服务器问我们，我们去问受害者
        proof = receive(victim, 32)
        log.append(("victim", proof))
        stolen.sendall(proof)  # 受害者答我们，我们去答服务器
        # 质询是新的，证明是对的：服务器很满意。可它在和谁说话呢？
        loot = misuse(stolen, command)
        log.append(("loot", loot))
        victim.sendall(b"too busy, try again later\n")


def main():
    # 从旁边的程序借来 `serve` 和 `use`：攻击者总得有个攻击对象。
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
