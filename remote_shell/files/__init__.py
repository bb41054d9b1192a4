"""Files of this machine, as the two sides of put and get see them: `reading` walks and opens, `place` and `landing` write.

Knows no wire and no asyncio; everything in here may wait for the disk.
"""
