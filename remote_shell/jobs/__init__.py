"""Detached jobs: commands that outlive their client and the server. Knows no wire.

Each has a folder, and a small process that keeps it. What the keeper imports is as little as can be, since there is one for each job.

    durable    a small file that is there whole or not at all
    log        what a job wrote: records, bounded, readable while they are written
    family     the keeper's descendants, which are the job's processes and nobody else's
    keeper     the process itself: holds pipes, log and lock, and alone signals
    visitors   those who talk to a keeper through its socket
    orders     what a keeper is started with; starting it
    ending     the end of all jobs of a table, for tests
    table      the folders: claims, states, retention
"""
