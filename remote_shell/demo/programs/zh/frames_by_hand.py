"""手工做的帧：每个载荷前面有九个字节的报头，还有一个解码器，字节分成几段到达都行。

运行：  python3 frames_by_hand.py
它通过一个连接发送三个帧，每次随机取几个字节来读，再把这三个帧原样找出来。
报头和 remote_shell 自己用的一样。
"""

import random
import socket
import struct

# !：网络字节序，即高位字节在前。I、B、I：四个字节、一个字节、四个字节。
HEADER = struct.Struct("!IBI")
LARGEST = 1024 * 1024  # 载荷的字节数


def encode(kind, channel, payload):
    """一个帧：报头写明载荷有多长、是哪一种、属于谁。"""
    return HEADER.pack(len(payload), kind, channel) + payload


class Decoder:
    """进来的是大小不定的一段段字节，出去的是完整的帧。"""

    def __init__(self):
        self.buffer = b""  # 还不完整的那个帧已经到达的部分

    def feed(self, chunk):
        """收下一次 `recv` 返回的字节，返回已经完整的帧：没有、一个或几个。"""
        self.buffer += chunk
        frames = []
        while len(self.buffer) >= HEADER.size:
            length, kind, channel = HEADER.unpack_from(self.buffer)
            # 陌生人什么长度都写得出来。先检查，再为它等待、为它留内存。
            if length > LARGEST:
                raise ValueError(f"a payload of {length} bytes: the largest is {LARGEST}")
            end = HEADER.size + length
            if len(self.buffer) < end:
                break  # 这个帧的其余部分还在路上
            frames.append((kind, channel, self.buffer[HEADER.size : end]))
            self.buffer = self.buffer[end:]
        return frames


def main():
    listener = socket.create_server(("127.0.0.1", 0))  # 端口 0：由内核挑一个空闲的
    sender = socket.create_connection(listener.getsockname())
    receiver, address = listener.accept()
    listener.close()

    # 和 remote_shell 一样：第 3 种是 JSON 消息，第 1 种是命令输出的内容。
    frames = [(3, 1, b'{"type":"opened"}'), (1, 1, b"hello\n"), (3, 1, b'{"type":"close"}')]
    with sender:
        # 一口气全部发出：除了报头，没有什么能说明一个帧在哪里结束。
        sender.sendall(b"".join(encode(*frame) for frame in frames))

    decoder = Decoder()
    found = []
    with receiver:
        while chunk := receiver.recv(random.randint(1, 16)):
            whole = decoder.feed(chunk)
            print(f"recv returned {len(chunk):2} bytes; whole frames now: {whole}")
            found += whole
    print("the same frames as were sent:", found == frames)


if __name__ == "__main__":
    main()
