"""Both ends of put and get: what `files` does to the disk, said in the messages of `wire`.

Used by server and client alike, whichever of them sends. No sockets in here. What waits for the disk is called from a thread
(`threads`), or from a blocking client's own.
"""
