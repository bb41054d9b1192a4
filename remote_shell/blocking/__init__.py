"""The core's driver on plain sockets and poll: no event loop, no thread of its own, no asyncio."""
