"""The asyncio driver of the protocol core."""
