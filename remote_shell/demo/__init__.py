"""The classroom: TCP has no messages, and framing makes them. Lessons run on real sockets on loopback.

`catalogue` lists the lessons; a lesson (`lessons/`) runs one of the small `programs/` and tells a `stage` what happened, as `elements`;
`on_terminal` and `page` show those.
"""
