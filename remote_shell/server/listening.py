"""Listening sockets: where a server accepts, and what to do where it can't.

Must never take the place of a server that runs, nor make a socket in a folder that others reach. Neighbour: `server` accepts.
"""

from __future__ import annotations

import errno
import os
import pwd
import socket
import stat
from typing import Any

from remote_shell.config.paths import quoted, runtime_dir, shown
from remote_shell.config.targets import Target
from remote_shell.errors import ConfigError, ConnectError

BACKLOG = 1024


def listen_on(target: Target) -> tuple[socket.socket, Target]:
    """A socket that listens there, and the target with the port that "any" became. Raises ConnectError, ConfigError."""
    try:
        if target.kind == "unix":
            return _unix_listener(target.path), target
        family, address = _resolve(target)
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock, Target(target.kind, host=target.host, port=sock.getsockname()[1])
    except OSError as error:
        raise ConnectError(_bind_text(target, error)) from None


def _resolve(target: Target) -> tuple[socket.AddressFamily, Any]:
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return found[0][0], found[0][4]


def _unix_listener(path: str) -> socket.socket:
    folder = os.path.dirname(os.path.abspath(path))
    info = os.stat(folder)
    if info.st_uid != os.geteuid() or stat.S_IMODE(info.st_mode) & 0o077:
        raise ConfigError(f"unix:{shown(path)}: its folder must be yours alone: {_private_folder(folder, info, path)}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(path)
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _private_folder(folder: str, info: os.stat_result, path: str) -> str:
    """What to do about a socket's folder that others reach. What others rely on is not to be closed: /tmp, /, a /home."""
    own = info.st_uid == os.geteuid() and not info.st_mode & stat.S_ISVTX
    if own and not _is_shared(folder):
        return f"chmod 700 {quoted(folder)}, or choose another"
    try:
        better = os.path.join(runtime_dir(), os.path.basename(path))
    except ConfigError:  # that one has a fault of its own, which is not what was asked for
        return "choose a folder of your own"
    return f"choose a folder of your own, such as {shown(os.path.dirname(better))}: --listen unix:{quoted(better)}"


def _is_shared(folder: str) -> bool:
    """The root, another account's home, or a folder that holds somebody's, however deep."""
    real = os.path.realpath(folder)
    ours = os.geteuid()
    homes = {(os.path.realpath(entry.pw_dir), entry.pw_uid) for entry in pwd.getpwall() if os.path.isabs(entry.pw_dir)}
    return real == "/" or any(
        uid != ours if home == real else os.path.commonpath((real, home)) == real for home, uid in homes
    )


def _remove_stale(path: str) -> None:
    """A socket file that nobody listens on is left over from a server that was killed."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def _bind_text(target: Target, error: OSError) -> str:
    where = str(target)
    if isinstance(error, socket.gaierror):
        return f"{where}: {error.strerror}: not an address of this machine"
    if error.errno == errno.EADDRINUSE:
        if target.kind == "unix" and not stat.S_ISSOCK(os.lstat(target.path).st_mode):
            return f"{where}: a file that is no socket is there; move it away or choose another path"
        return f"{where}: address in use: another server listens there; stop it or choose another port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{where}: permission denied: ports below 1024 are root's, and a socket's folder must be writable; choose another"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: not an address of this machine; `ip addr` lists them"
    if error.errno == errno.ENOENT:
        return f"{where}: no such folder; make it: mkdir -m 700 {shown(os.path.dirname(target.path))}"
    return f"{where}: {error.strerror or error}"
