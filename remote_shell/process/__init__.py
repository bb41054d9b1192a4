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
    shell          LiveShell: one long-lived bash or zsh
    shell_command  one command of it, Done, ShellSink
    shell_words    what it has to know of the shell's language
    bash_text      the words that we exchange with bash
    shell_link     the pipes that they take
    shell_report   what comes back after each command
    shell_terminal a terminal for the commands, a pipe for the shell's own lines
    shell_watch    notices a shell that was talked out of answering
"""
