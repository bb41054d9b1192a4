"""Who is who: keys, signatures, shared secrets, the server's own key, and the servers that a client knows.

Nothing is imported here: on a Unix socket a client needs none of it, and on TLS only a part. May import `config` (where the
files are), never `wire` or anything above it.
"""
