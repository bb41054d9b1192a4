"""The protocol: bytes in, events out. No clock, no socket, no randomness in here; see docs/protocol.md."""
