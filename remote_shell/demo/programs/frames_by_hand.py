"""Frames by hand: a header of nine bytes before each payload, and a decoder that takes the stream as it comes.

Run it:  python3 frames_by_hand.py
It sends three frames over a connection, reads them in pieces of random sizes, and finds
the same three again. The header is that of remote_shell itself.
"""

import random
import socket
import struct

# "!": the most significant byte first, as networks have it. I, B, I: four bytes, one byte, four bytes.
HEADER = struct.Struct("!IBI")
LARGEST = 1024 * 1024  # bytes of payload


def encode(kind, channel, payload):
    """One frame: the header says how long the payload is, of what kind, and whose."""
    return HEADER.pack(len(payload), kind, channel) + payload


class Decoder:
    """Bytes in, in pieces of any size; whole frames out."""

    def __init__(self):
        self.buffer = b""  # what came of a frame that is not whole yet

    def feed(self, chunk):
        """Takes what a `recv` returned. Returns the frames that are whole
        now: none, one or several."""
        self.buffer += chunk
        frames = []
        while len(self.buffer) >= HEADER.size:
            length, kind, channel = HEADER.unpack_from(self.buffer)
            # A stranger may write any length. Look before you wait for it,
            # or keep memory for it.
            if length > LARGEST:
                raise ValueError(f"a payload of {length} bytes: the largest is {LARGEST}")
            end = HEADER.size + length
            if len(self.buffer) < end:
                break  # the rest of this frame is still on its way
            frames.append((kind, channel, self.buffer[HEADER.size : end]))
            self.buffer = self.buffer[end:]
        return frames


def main():
    listener = socket.create_server(("127.0.0.1", 0))  # port 0: the kernel picks a free one
    sender = socket.create_connection(listener.getsockname())
    receiver, address = listener.accept()
    listener.close()

    # Kind 3 is a message in JSON, kind 1 is what a command wrote, as in remote_shell.
    frames = [(3, 1, b'{"type":"opened"}'), (1, 1, b"hello\n"), (3, 1, b'{"type":"close"}')]
    with sender:
        # All in one go: nothing but the headers says where a frame ends.
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
