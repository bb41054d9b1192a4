"""`[rlimits]` and `[sandbox]`: what is taken, and what a wrong one is answered with."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from remote_shell.config.confining import NOFILE_LEAST, RLIMIT_NAMES
from remote_shell.config.server import load
from remote_shell.errors import ConfigError
from remote_shell.process.confinement import RLIMITS
from remote_shell.process.shell_link import LOWEST


def write(folder: Path, text: str) -> str:
    path = folder / "settings"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_figures(tmp_path: Path) -> None:
    text = '[rlimits]\nnofile = 1024\nas = "2G"\nfsize = "1K"\nstack = 8192\ncore = 0\ncpu = "unlimited"\n'
    limits = load(write(tmp_path, text)).rlimits
    assert limits == {"nofile": 1024, "as": 2 << 30, "fsize": 1024, "stack": 8192, "core": 0, "cpu": -1}
    assert limits["cpu"] == resource.RLIM_INFINITY
    assert load(None).rlimits == {}


def test_both_sides_know_the_same_names() -> None:
    assert set(RLIMITS) == RLIMIT_NAMES
    assert NOFILE_LEAST > LOWEST + 2


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("files = 3", "rlimits: unknown limit 'files'; known are as, core, cpu, data"),
        ("nofile = -1", 'rlimits: nofile must be a whole number or "unlimited"'),
        ("nofile = 71", "rlimits: nofile must be 72 at least: a live shell needs that many"),
        ("nofile = true", 'rlimits: nofile must be a whole number or "unlimited"'),
        ("nofile = 1.5", 'rlimits: nofile must be a whole number or "unlimited"'),
        ('nofile = "1K"', 'rlimits: nofile must be a whole number or "unlimited"'),  # it counts, and is no size
        ('as = "2X"', 'rlimits: as must be a whole number of bytes, a text such as "2G", or "unlimited"'),
        ('as = "2 G"', "rlimits: as must be"),
        ("as = 9223372036854775808", "rlimits: as must be"),
    ],
)
def test_what_no_limit_can_be(line: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, f"[rlimits]\n{line}\n"))
    assert fault in str(raised.value)


def test_a_sandbox_is_closed_unless_told_otherwise(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")).sandbox is None
    asked = load(write(tmp_path, "[sandbox]\n")).sandbox
    assert asked is not None
    assert (asked.read_only, asked.writable, asked.network) == (("/usr", "/etc"), (), False)


def test_paths_are_where_they_lead(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("work")
    asked = load(write(tmp_path, f'[sandbox]\nread_only = ["/usr", "~"]\nwritable = ["{tmp_path}/link"]\n')).sandbox
    assert asked is not None
    assert asked.read_only == ("/usr", os.path.realpath(os.path.expanduser("~")))
    assert asked.writable == (os.path.realpath(tmp_path / "work"),)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('read_only = "/usr"', 'sandbox.read_only: must be a list of paths, such as ["/usr", "~/work"]'),
        ('writable = [""]', "sandbox.writable: must be a list of paths"),
        ('writable = ["work"]', "sandbox.writable: 'work' must be an absolute path, or begin with ~"),
        ('writable = ["/gone"]', "sandbox.writable: '/gone': no such file or folder; make it, or leave it out"),
        ('read_only = ["/dev"]', "sandbox.read_only: '/dev': a sandbox has its own /dev and /proc"),
        ('writable = ["/proc/self"]', "a sandbox has its own /dev and /proc"),
        ('read_only = ["/usr"]\nwritable = ["/usr"]', "sandbox: '/usr' is in read_only and in writable; leave one out"),
        ('network = "yes"', "sandbox.network: must be true or false"),
        ("net = true", "unknown key 'sandbox.net'; known are read_only, writable, network"),
    ],
)
def test_what_no_sandbox_can_be(line: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, f"[sandbox]\n{line}\n"))
    assert fault in str(raised.value)
