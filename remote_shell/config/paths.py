"""Where our files are: the folders for settings, for state and for sockets.

Never imports more than `os` and `stat`: every start of the client passes here. Neighbours: `checked` reads files in these
folders, `targets` names the default socket's kind.

`$REMOTE_SHELL_HOME`, if set, holds all three; otherwise they follow the XDG Base Directory specification 0.8. A folder is
made, mode 0700, when it is first asked for.
"""

from __future__ import annotations

import os
import stat

from remote_shell.errors import ConfigError

_NAME = "remote-shell"
_RUN_USER = "/run/user"  # systemd's folders, for a login that did not get XDG_RUNTIME_DIR (su, cron)
_TMP = "/tmp"  # noqa: S108  # not $TMPDIR: server and client must agree though their environments differ


def config_dir() -> str:
    """The folder of hosts.toml, known_hosts and our own key: what a person may edit and copy.

    Raises ConfigError if it can't be made, or belongs to or is writable by somebody else.
    """
    return _folder(own="", variable="XDG_CONFIG_HOME", default="~/.config")


def state_dir() -> str:
    """The folder of the server's key and of jobs: what belongs to this machine and must not be copied to another.

    Raises ConfigError as `config_dir` does.
    """
    return _folder(own="state", variable="XDG_STATE_HOME", default="~/.local/state")


def runtime_dir() -> str:
    """The folder of sockets, mode 0700 and ours: the check of the peer's user id is not the only guard.

    Raises ConfigError if the folder that the rules name is a symlink, somebody else's, or open to others.
    """
    home = _own_home()
    if home is not None:
        _make(home)
    return check_folder(_make(_runtime_place(home)), private=True)


def places() -> dict[str, str]:
    """Where the folders "config", "state" and "runtime" are or will be: for who only looks, and neither makes nor checks them.

    Raises ConfigError if no home folder is known.
    """
    home = _own_home()
    return {
        "config": home if home is not None else _xdg_place("XDG_CONFIG_HOME", "~/.config"),
        "state": os.path.join(home, "state") if home is not None else _xdg_place("XDG_STATE_HOME", "~/.local/state"),
        "runtime": _runtime_place(home),
    }


def default_socket() -> str:
    """The Unix socket on which `serve` listens unless told otherwise. Raises ConfigError as `runtime_dir` does."""
    return os.path.join(runtime_dir(), "server.sock")


def expand_home(path: str) -> str:
    """`path` with a leading `~` or `~name` replaced. Raises ConfigError if that account has no home."""
    if not path.startswith("~"):
        return path
    expanded = os.path.expanduser(path)
    if expanded.startswith("~"):
        raise ConfigError(f"{path!r}: no home folder is known for this account; set HOME, or REMOTE_SHELL_HOME")
    return os.path.abspath(expanded)  # HOME may be relative


def shown(path: str) -> str:
    """`path` as an error or a log may print it: control characters and undecodable bytes escaped."""
    return path if path.isprintable() else ascii(path)


def quoted(path: str) -> str:
    """`path` as one word of a shell line that a person may paste."""
    import shlex  # costs 7 ms, and only errors need it

    if path.isprintable():
        return shlex.quote(path)
    return "$'" + path.encode("unicode_escape").decode("ascii").replace("'", "\\'") + "'"


def _own_home() -> str | None:
    value = os.environ.get("REMOTE_SHELL_HOME", "")
    return os.path.abspath(expand_home(value)) if value else None


def _folder(*, own: str, variable: str, default: str) -> str:
    home = _own_home()
    if home is not None:
        check_folder(_make(home), private=False)
        return check_folder(_make(os.path.join(home, own)), private=False) if own else home
    return check_folder(_make(_xdg_place(variable, default)), private=False)


def _xdg_place(variable: str, default: str) -> str:
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):  # XDG: a relative value is to be ignored
        base = expand_home(default)
    return os.path.join(base, _NAME)


def _runtime_place(home: str | None) -> str:
    if home is not None:
        return os.path.join(home, "run")
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), f"{_RUN_USER}/{os.getuid()}"):
        # XDG: a relative value is to be ignored. One that is not ours was inherited through su or sudo.
        if os.path.isabs(base) and _is_our_folder(base):
            return os.path.join(base, _NAME)
    return os.path.join(_TMP, f"{_NAME}-{os.getuid()}")


def _make(path: str) -> str:
    """Make `path` and the folders above it, each 0700 as XDG asks, and return it."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        _make(os.path.dirname(path))
        return _make(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            f"can't make the folder {shown(path)}: {reason}; set REMOTE_SHELL_HOME to one of yours"
        ) from None
    return path


def _is_our_folder(path: str) -> bool:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def check_folder(path: str, *, private: bool) -> str:
    """Refuse a folder in which somebody else could put or swap files; return `path`. Raises ConfigError."""
    try:
        # A symlink in a shared /tmp may be a stranger's; one in ~/.config is the habit of people who keep dotfiles.
        status = os.lstat(path) if private else os.stat(path)
    except OSError as error:
        raise ConfigError(f"can't look at the folder {shown(path)}: {error.strerror}") from None
    if not stat.S_ISDIR(status.st_mode):
        kind = "a symlink" if stat.S_ISLNK(status.st_mode) else "not a folder"
        raise ConfigError(f"{shown(path)} is {kind}; move it away, or set REMOTE_SHELL_HOME to another folder")
    if status.st_uid != os.getuid():
        raise ConfigError(
            f"{shown(path)} belongs to user id {status.st_uid}, not to you ({os.getuid()}); "
            "set REMOTE_SHELL_HOME to a folder of yours"
        )
    if status.st_mode & (0o077 if private else 0o022):
        mode = stat.S_IMODE(status.st_mode)
        wanted = "700" if private else "go-w"
        raise ConfigError(f"{shown(path)} is open to others (mode {mode:04o}); type: chmod {wanted} {quoted(path)}")
    return path
