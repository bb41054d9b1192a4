"""Who listens on a port. To connect and be refused proves less: another program may have been given the port meanwhile."""

from __future__ import annotations


def listener(port: int) -> int:
    """The inode of the socket that listens on 127.0.0.1 and this TCP port, by proc_net_tcp(5); 0 if none does."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            _, local, _, state, *others = line.split()
            address, _, number = local.partition(":")
            if state == "0A" and address == "0100007F" and int(number, 16) == port:  # TCP_LISTEN, in network byte order
                return int(others[5])
    return 0
