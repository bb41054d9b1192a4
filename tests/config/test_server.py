"""The server's settings: defaults, a file, options over it, and one line for each fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from remote_shell.config.server import DEFAULT_PATH, load
from remote_shell.errors import ConfigError
from remote_shell.limits import DEFAULT_LIMITS


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", "/h")
    path = tmp_path / "server.toml"
    path.touch(mode=0o644)
    return path


@pytest.mark.usefixtures("file")
def test_defaults() -> None:
    config = load(None)
    assert config.listen == () and config.authorized_keys == "/h/.ssh/authorized_keys"
    assert (config.secret_file, config.insecure_tcp, config.path, config.shell) == (None, False, DEFAULT_PATH, None)
    assert config.effective_limits == DEFAULT_LIMITS and config.log_level == "info"
    with pytest.raises(ValidationError):
        config.path = "/bin"


def test_a_whole_file(file: Path) -> None:
    file.write_text("""
listen = ["unix:/run/s.sock", "tls:[::]:0", "tcp:127.0.0.1:0"]
authorized_keys = "/etc/remote-shell/authorized_keys"
secret_file = "~/secrets"
insecure_tcp = true
path = "/bin"
shell = "/bin/bash"
grace = 5
log_level = "debug"
[limits]
window = 65536
login_time = 3
""")
    config = load(str(file))
    assert [str(one) for one in config.listen] == ["unix:/run/s.sock", "tls:[::]:0", "tcp:127.0.0.1:0"]
    assert (config.authorized_keys, config.secret_file) == ("/etc/remote-shell/authorized_keys", "/h/secrets")
    limits = config.effective_limits
    assert (limits.window, limits.login_time, limits.grace) == (65536, 3, 5)
    assert limits.frame_max == DEFAULT_LIMITS.frame_max
    assert (config.shell, config.path, config.log_level, config.insecure_tcp) == ("/bin/bash", "/bin", "debug", True)


@pytest.mark.parametrize(
    ("text", "grace", "most"),
    [
        ("", DEFAULT_LIMITS.grace, DEFAULT_LIMITS.grace_max),
        ("grace = 5", 5, 5),
        (f"grace = {DEFAULT_LIMITS.grace:g}", DEFAULT_LIMITS.grace, DEFAULT_LIMITS.grace),  # who writes it means it
        ("[limits]\ngrace = 5", 5, 5),
        ("grace = 5\n[limits]\ngrace_max = 600", 5, 600),
        ("[limits]\ngrace_max = 600", DEFAULT_LIMITS.grace, 600),
    ],
)
def test_a_grace_that_was_set_is_the_longest_too(file: Path, text: str, grace: float, most: float) -> None:
    """A shell asks for more than a script; who set one figure means it for all."""
    file.write_text(text)
    limits = load(str(file)).effective_limits
    assert (limits.grace, limits.grace_max) == (grace, most)


def test_options_win_and_are_checked_with_the_file(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    file.write_text('listen = ["tcp:127.0.0.1:0"]\nlog_level = "error"\n')
    with pytest.raises(ConfigError, match="insecure_tcp"):
        load(str(file))
    config = load(str(file), insecure_tcp=True, authorized_keys="keys", secret_file=None, listen=None)
    assert config.authorized_keys == str(tmp_path / "keys") and config.log_level == "error"
    assert [str(one) for one in load(str(file), listen=["tls:h:1"]).listen] == ["tls:h:1"]
    with pytest.raises(ConfigError, match="^serve: listen: bad target 'h'"):
        load(None, listen=["h"])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("lisen = 1", "unknown key 'lisen'; known are listen, authorized_keys, "),
        ('listen = "tls:h"', "listen: must be a list of addresses"),
        ("listen = [1]", "listen: must be a list of addresses"),
        ('listen = ["tls:h:x"]', "listen: bad target 'tls:h:x': the port is"),
        ("authorized_keys = 1", "authorized_keys: must be a text between quotes"),
        ('authorized_keys = "keys"', "authorized_keys: must be an absolute path"),
        ('authorized_keys = ""', "authorized_keys: must be a path"),
        ('secret_file = "~nobody-has-this-name/x"', "secret_file: '~nobody-has-this-name/x': no home folder"),
        ("insecure_tcp = 1", "insecure_tcp: must be true or false"),
        ("path = ''", "path: must not be empty"),
        ("subsystems = 1", "subsystems: must be a table"),
        ("[subsystems]\nsftp = '/x'", "subsystems.sftp: must be a list of texts"),
        ("[subsystems]\nsftp = ['x']", "subsystems: sftp: must be a list of an absolute path"),
        ("[subsystems]\nsftp = ['/x', \"a\\u0000\"]", "subsystems: sftp: must be a list of an absolute path"),
        ("[subsystems]\n'a b' = ['/x']", "subsystems: 'a b' is no name"),
        ("grace = -1", "grace: must not be below zero"),
        ("grace = 'x'", "grace: must be a number of seconds"),
        ("log_level = 'loud'", "log_level: must be one of 'debug', 'info'"),
        ("limits = 1", "limits: must be a table of figures"),
        ("[limits]\nwindows = 1", "limits: unknown figure 'windows'; known are frame_max, "),
        ("[limits]\nwindow = 1.5", "limits: window must be a whole number"),
        ("[limits]\nwindow = 0", "limits: window must be above zero"),
        ("[limits]\nwindow = true", "limits: window must be a whole number"),
        ("[limits]\ngrace = nan", "limits: grace must be a number"),
        ("[limits]\ngrace = -1", "limits: grace must be above zero"),
        ("grace = 1\n[limits]\ngrace = 2", "grace and [limits] grace differ"),
        ('listen = ["tcp:[::1]:0"]', "listens on plain tcp, which is unencrypted: set insecure_tcp"),
        ("[", "not TOML"),
    ],
)
def test_each_fault_is_one_line_with_file_and_key(file: Path, text: str, line: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert str(caught.value).startswith(f"{file}: {line}")
    assert str(caught.value).isprintable()


def test_all_faults_are_told_at_once(file: Path) -> None:
    file.write_text("a = 1\nb = 2\ninsecure_tcp = 3\n")
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert len(str(caught.value).splitlines()) == 3


def test_a_missing_or_unsafe_file_is_told(file: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; leave --config away"):
        load(str(file) + "x")
    file.chmod(0o666)
    with pytest.raises(ConfigError, match="chmod go-w"):
        load(str(file))
