"""Settings: folders, targets, hosts.toml, the server's TOML file. Knows no keys, no sockets and no protocol.

Nothing is imported here: the client pays at every start for what it loads, so each caller names the module it needs.
"""
