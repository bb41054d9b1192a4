"""An attachment: what a session has only as long as one connection lasts.

Decoder, what the peer takes, what is due on channel 0 and the signs of life. Replies are merged or budgeted: the newest
acknowledgement, one unanswered ping each way; nothing here grows with what the peer sends.
"""

from __future__ import annotations

from remote_shell.errors import RemoteProtocolError
from remote_shell.limits import Limits
from remote_shell.wire.frames import FrameDecoder
from remote_shell.wire.messages import Disconnect, Hello


class Attachment:
    """The state of one connection after login."""

    __slots__ = (
        *(
            "ack_bytes",
            "ack_due",
            "data_max",
            "decoder",
            "disconnect",
            "emitted",
            "ended",
            "heard_at",
            "limits",
            "peer",
        ),
        *("ping_due", "ping_sent_at", "pong_due", "unacked_bytes", "unacked_frames"),
        *("has_files", "kept_bytes_max", "kept_frames_max", "message_max"),
    )

    def __init__(self, decoder: FrameDecoder, peer: Hello, limits: Limits, emitted: int, now: float) -> None:
        self.decoder = decoder
        self.peer = peer
        self.limits = limits
        self.emitted = emitted  # the session's frames that the peer has or will have from this stream
        self.ended = False  # `disconnect` was sent or received: nothing follows
        self.disconnect: Disconnect | None = None
        # an acknowledgement wakes the peer: as seldom as keeps it from waiting for one
        self.ack_bytes = min(limits.ack_bytes, limits.unacked_bytes_max // 4, peer.unacked_bytes_max // 4)
        self.kept_bytes_max = min(limits.unacked_bytes_max, peer.unacked_bytes_max)  # no new frame is numbered above
        self.kept_frames_max = min(limits.unacked_frames_max, peer.unacked_frames_max)
        self.data_max = min(limits.data_frame_max, peer.frame_max)
        self.message_max = min(limits.frame_max, peer.frame_max)
        self.has_files = "files" in (peer.features or ())  # our own hello always says so
        self.ack_due = False
        self.pong_due = False
        self.ping_due = False
        self.ping_sent_at: float | None = None
        self.heard_at = now
        self.unacked_frames = 0
        self.unacked_bytes = 0

    def note_frame(self, size: int) -> None:
        """A frame of the session came in: acknowledge in time."""
        self.unacked_frames += 1
        self.unacked_bytes += size
        if self.unacked_frames >= self.limits.ack_frames or self.unacked_bytes >= self.ack_bytes:
            self.ack_due = True

    def note_acknowledged(self) -> None:
        """A count left with an ack, ping or pong."""
        self.ack_due = False
        self.unacked_frames = self.unacked_bytes = 0

    def note_ping(self) -> None:
        """The peer asks. Raises RemoteProtocolError (`ping_flood`) when its last one is still unanswered."""
        if self.pong_due:
            raise RemoteProtocolError("ping_flood", "a second ping before the answer to the first")
        self.pong_due = True

    def note_pong(self, now: float) -> float:
        """The peer answers: the round trip in seconds. Raises RemoteProtocolError (`unexpected_message`)."""
        if self.ping_sent_at is None:
            raise RemoteProtocolError("unexpected_message", "pong without a ping")
        round_trip = now - self.ping_sent_at
        self.ping_sent_at = None
        return round_trip

    def want_ping(self) -> None:
        """Ask for a sign of life, unless one is under way."""
        if self.ping_sent_at is None:
            self.ping_due = True

    def next_timeout(self) -> float:
        """When `handle_timeout` has something to do."""
        if self.ping_sent_at is None and not self.ping_due:
            return self.heard_at + self.limits.ping_interval
        if self.peer.prompt:
            return self.heard_at + self.limits.silence_max
        return float("inf")

    def handle_timeout(self, now: float) -> bool:
        """True when a prompt peer was silent for too long."""
        if self.peer.prompt and now >= self.heard_at + self.limits.silence_max:
            return True
        if now >= self.heard_at + self.limits.ping_interval:
            self.want_ping()
        return False
