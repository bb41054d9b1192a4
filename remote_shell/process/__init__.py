"""Running commands: processes, their pipes, their trees, and the live shell. Knows no wire.

Neighbours: the server drives it; it imports only `errors`, `limits` and the standard library. Everything is driven by
callbacks on a running asyncio loop and must be used from that loop's thread.

    base           Exit, Sink, names of signals
    environment    the clean environment of a command
    prepare        what a server does once, before its first command
    children       which children are whose; reaping of adopted orphans
    launch         finding a program and starting it
    tree           a command's processes, wherever they went, and their end
    poller         one epoll for all descriptors of all commands
    output         reading one pipe
    input          writing one pipe
    pipes          PipeProcess: a command on pipes
    shell          LiveShell: one long-lived bash
    shell_command  one command of it, Done, ShellSink
    bash_text      the words that we exchange with bash
    bash_link      the pipes that they take
    bash_watch     notices a bash that was talked out of answering
"""
