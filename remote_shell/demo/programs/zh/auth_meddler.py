"""在带证明的连接上捣乱的中继：捏造、篡改、重复、交换、扣下消息。全都没用。

运行：  python3 auth_meddler.py
"""

import contextlib
import pathlib
import runpy
import socket
import threading


def next_message(connection):
    """取 auth_signed.py 的一条消息：它的证明和内容。"""
    head = connection.recv(34, socket.MSG_WAITALL)
    return head[2:], connection.recv(int.from_bytes(head[:2], "big"), socket.MSG_WAITALL)


# 每种花招怎样处理头两条消息。每条消息是一个证明加上内容。内容没有加密，
# 我们读得懂；但换了内容，我们就造不出相配的证明。
TRICKS = {
    "pass on": lambda one, two: [one, two],
    "invent": lambda one, two: [one, (one[0], b"echo gotcha"), two],
    "change": lambda one, two: [(one[0], one[1].upper()), two],
    "repeat": lambda one, two: [one, one, two],
    "swap": lambda one, two: [two, one],
    "drop": lambda one, two: [two],
}


def meddle(listener, server, trick):
    """转发质询，再按 `trick` 处理两条消息；服务器说什么都转回去。"""
    victim, address = listener.accept()
    with victim, socket.create_connection(server) as onward:
        back = threading.Thread(target=pump, args=(onward, victim))
        back.start()
        with contextlib.suppress(OSError):  # 两端之一发现了，已经挂断
            onward.sendall(victim.recv(32, socket.MSG_WAITALL))
            for proof, message in trick(next_message(victim), next_message(victim)):
                onward.sendall(len(message).to_bytes(2, "big") + proof + message)
        hang_up(onward)
        back.join()


def pump(source, goal):
    """抄送字节，直到来源挂断，然后也向目标挂断。"""
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            goal.sendall(data)
    hang_up(goal)


def hang_up(connection):
    with contextlib.suppress(OSError):  # 对方可能已经走了
        connection.shutdown(socket.SHUT_WR)


def main():
    # 从旁边的程序借来 `serve` 和 `use`：攻击者总得有个攻击对象。
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
