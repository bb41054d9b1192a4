"""One file a lesson. Each has `play(stage)`, which runs real sockets and shows what they did."""
