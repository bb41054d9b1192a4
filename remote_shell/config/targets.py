"""What a person types to say where: targets of a client, addresses of a server.

Pure text, no look-up of names, no connection; imports nothing heavy, since every start of the client passes here. Neighbours:
`hosts` turns a name of hosts.toml into a target, and asks here first what a text means.
"""

from __future__ import annotations

import os

from remote_shell.config.paths import expand_home
from remote_shell.errors import UsageError

DEFAULT_PORT = 8822
_SOCKET_PATH_MAX = 107  # bytes; sun_path holds 108 with its NUL, unix(7)
_HOST_MAX = 253  # characters, RFC 1035 section 2.3.4
_LABEL_MAX = 63
_HOW = "write HOST[:PORT], [IPV6]:PORT, tls:HOST:PORT, ssh:[USER@]HOST, unix:PATH or tcp:127.0.0.1:PORT"


class Target:
    """One place to connect to or to listen on; immutable, hashable, equal by value.

    `kind` is "tls", "unix", "tcp" or "ssh". `host` and `port` are empty and 0 for a Unix socket, `path` is empty for the others. Through
    ssh `host` may be an alias of its settings, and port 0 is what they say. `user` is the account that `USER@` named, or empty: ssh logs in
    as it; elsewhere commands always run as the server's own account, so whoever connects compares and refuses. `text` is what was typed.
    """

    __slots__ = ("host", "kind", "path", "port", "text", "user")

    kind: str
    host: str
    port: int
    path: str
    user: str
    text: str

    def __init__(
        self, kind: str, *, host: str = "", port: int = 0, path: str = "", user: str = "", text: str = ""
    ) -> None:
        for name, value in (("kind", kind), ("host", host), ("port", port), ("path", path), ("user", user)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "text", text or str(self))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Target can't be changed ({name})")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Target can't be changed ({name})")

    def __str__(self) -> str:
        """The canonical text, which `parse_target` reads back: `tls:host:8822`, `unix:/path`, `tcp:127.0.0.1:8822`."""
        if self.kind == "unix":
            return f"unix:{self.path}"
        return f"{self.kind}:{self.user}@{self.address}" if self.user else f"{self.kind}:{self.address}"

    def __repr__(self) -> str:
        return f"Target({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Target) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    @property
    def address(self) -> str:
        """`host:port`, brackets around an IPv6 address; empty for a Unix socket. Known hosts go by it, but for those of ssh."""
        if self.kind == "unix":
            return ""
        if not self.port and self.kind == "ssh":
            return f"[{self.host}]" if ":" in self.host else self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def with_user(self, user: str, text: str) -> Target:
        """The same place with another account and another typed text."""
        return Target(self.kind, host=self.host, port=self.port, path=self.path, user=user, text=text)

    def _key(self) -> tuple[str, str, int, str, str]:
        return (self.kind, self.host, self.port, self.path, self.user)


def parse_target(text: str) -> Target:
    """The target that `text` names. Names of hosts.toml are not looked up here. Raises UsageError."""
    return _parse(text, listen=False)


def parse_listen(text: str) -> Target:
    """The address that `serve --listen` names: as a target, but port 0 means any, and no account. Raises UsageError."""
    target = _parse(text, listen=True)
    if target.user:
        raise _refused(text, f"a server listens for everybody; leave {target.user}@ away")
    return target


def split_user(text: str, whole: str) -> tuple[str, str]:
    """`USER@REST` as user and rest; the user is empty without an "@". `whole` is what errors quote. Raises UsageError."""
    user, at, rest = text.rpartition("@")
    if not at:
        return "", text
    if not user:
        raise _refused(whole, "no account name before the '@'")
    if user.startswith("-") or not user.isprintable() or any(sign in " :/@,[]" for sign in user):
        raise _refused(whole, f"{user!a} is no account name")
    return user, rest


def _parse(text: str, *, listen: bool) -> Target:
    if not text:
        raise UsageError(f"the target is empty; {_HOW}")
    kind, colon, rest = text.partition(":")
    if colon and kind == "unix":
        return _unix(text, rest)
    if not text.isprintable() or any(sign.isspace() for sign in text):
        raise _refused(text, "it has a space or a control character")
    if colon and kind == "ssh":
        if listen:
            raise _refused(
                text, "ssh needs nothing that listens: from elsewhere, remote-shell shell ssh:HOST does it all"
            )
        user, rest = split_user(rest, text)
        host, port = _ssh_host(rest, text)
        return Target(kind, host=host, port=port, user=user, text=text)
    if colon and kind in ("tls", "tcp"):
        user, rest = split_user(rest, text)
        host, port = _host_and_port(rest, text, listen=listen)
        if kind == "tcp":
            host = _loopback(host, text)
        return Target(kind, host=host, port=port, user=user, text=text)
    if "/" in text:
        raise _refused(text, f"for a Unix socket write unix:{text}" if "@" not in text else _HOW)
    if listen:
        raise _refused(text, "an address begins with its kind: write unix:PATH, tls:HOST:PORT or tcp:127.0.0.1:PORT")
    user, rest = split_user(text, text)
    host, port = _host_and_port(rest, text, listen=False)
    return Target("tls", host=host, port=port, user=user, text=text)


def _unix(text: str, path: str) -> Target:
    if not path:
        raise _refused(text, "no path after unix:")
    if "\0" in path:
        raise _refused(text, "a path can't hold a NUL")
    path = expand_home(path)  # the shell leaves the tilde of unix:~/x alone
    try:
        size = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise _refused(text, "the path can't be written in this locale's encoding") from None
    if size > _SOCKET_PATH_MAX:
        raise _refused(
            text, f"a socket's path may have {_SOCKET_PATH_MAX} bytes, this one has {size}; use a shorter one"
        )
    return Target("unix", path=path, text=text)


def _host_and_port(rest: str, text: str, *, listen: bool) -> tuple[str, int]:
    if rest.startswith("["):
        host, bracket, after = rest[1:].partition("]")
        if not bracket:
            raise _refused(text, "a '[' without its ']'; write [::1]:8822")
        if after and not after.startswith(":"):
            raise _refused(text, f"after the ']' comes :PORT, not {after!a}")
        host = _ipv6(host, text)
        return host, _port(after[1:], text, listen=listen) if after else DEFAULT_PORT
    if rest.count(":") > 1:
        raise _refused(text, "an IPv6 address stands in brackets: write [::1]:8822")
    host, colon, port = rest.partition(":")
    return _host(host, text), _port(port, text, listen=listen) if colon else DEFAULT_PORT


def _ssh_host(rest: str, text: str) -> tuple[str, int]:
    """Host and port for ssh: a name in its own settings may be any word that is no option; without a port it is 0, theirs to say."""
    if rest.startswith("["):
        host, _ = _host_and_port(rest, text, listen=False)
        return host, _port(rest.rpartition("]:")[2], text, listen=False) if "]:" in rest else 0
    if rest.count(":") > 1:
        raise _refused(text, "an IPv6 address stands in brackets: write ssh:[::1]")
    host, colon, port = rest.partition(":")
    if not host:
        raise _refused(text, "no host name")
    if host.startswith("-"):
        raise _refused(text, "a host name does not begin with '-'")
    bad = next((sign for sign in host if not (sign.isalnum() or sign in "-._+")), None)
    if bad is not None:  # ssh puts it into the commands that its settings name (ProxyCommand, %h)
        raise _refused(text, f"a host name can't hold {bad!a}")
    return host, _port(port, text, listen=False) if colon else 0


def _port(port: str, text: str, *, listen: bool) -> int:
    least = 0 if listen else 1
    # isdigit alone takes other scripts' digits; the length bound keeps int() from long work.
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and least <= int(port) <= 65535):
        raise _refused(text, f"the port is a number from {least} to 65535, not {port[:20]!a}")
    return int(port)


def _host(host: str, text: str) -> str:
    if not host:
        raise _refused(text, "no host name")
    if host.startswith("-"):
        raise _refused(text, "a host name does not begin with '-'")
    bad = next((sign for sign in host if sign.isascii() and not (sign.isalnum() or sign in "-._")), None)
    if bad is not None:
        raise _refused(text, f"a host name can't hold {bad!r}")
    labels = host.removesuffix(".").split(".")
    try:
        # As the resolver will do it; labels and the whole have lengths there too, but its own error names no host.
        sizes = [len(label.encode("ascii" if label.isascii() else "idna")) for label in labels]
    except UnicodeError:
        raise _refused(text, "this is not a host name in any script that the internet knows") from None
    if min(sizes) == 0 or max(sizes) > _LABEL_MAX or sum(sizes) + len(sizes) - 1 > _HOST_MAX:
        raise _refused(text, f"between its dots a host name has 1 to {_LABEL_MAX} characters, in all {_HOST_MAX}")
    last = labels[-1]
    if (last.isdigit() or last.lower().startswith("0x")) and not is_ipv4(host):
        # The resolver would read 10.1 as 10.0.0.1, 8822 as 0.0.34.118 and 010.0.0.1 as octal: never what was meant.
        raise _refused(text, f"{host!a} is no IPv4 address of four decimal numbers, and no name ends in a number")
    return host.lower()


def is_ipv4(host: str) -> bool:
    """Whether `host` is four decimal numbers from 0 to 255, without leading zeros."""
    parts = host.split(".")
    return len(parts) == 4 and all(
        part.isascii() and part.isdigit() and len(part) <= 3 and int(part) <= 255 and str(int(part)) == part
        for part in parts
    )


def _ipv6(host: str, text: str) -> str:
    import ipaddress  # 3 ms, and only brackets need it

    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise _refused(text, f"{host[:60]!a} is no IPv6 address") from None


def _loopback(host: str, text: str) -> str:
    """`host` if it can't leave this machine. `localhost` becomes an address: a resolver might say something else."""
    if host == "localhost":
        return "127.0.0.1"
    if host == "::1" or (is_ipv4(host) and host.startswith("127.")):
        return host
    raise _refused(
        text, f"plain tcp is unencrypted and so for 127.0.0.1 or [::1] only; for {host} write tls:{host}:PORT"
    )


def _refused(text: str, why: str) -> UsageError:
    return UsageError(f"bad target {text[:200]!a}: {why}")
