"""The folders: where the rules put them, and which are refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from remote_shell.config import paths
from remote_shell.errors import ConfigError
from tests.config.account import as_nobody, give, nobodys_folder


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("REMOTE_SHELL_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(paths, "_RUN_USER", str(tmp_path / "run-user"))
    monkeypatch.setattr(paths, "_TMP", str(tmp_path))
    return tmp_path


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def test_xdg_defaults(tmp_path: Path) -> None:
    assert paths.config_dir() == str(tmp_path / "home/.config/remote-shell")
    assert paths.state_dir() == str(tmp_path / "home/.local/state/remote-shell")
    assert mode_of(paths.config_dir()) == mode_of(str(tmp_path / "home/.local")) == 0o700


def test_our_variable_holds_all_three(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "all"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "other"))
    assert paths.config_dir() == str(tmp_path / "all")
    assert paths.state_dir() == str(tmp_path / "all/state")
    assert paths.default_socket() == str(tmp_path / "all/run/server.sock")
    assert mode_of(str(tmp_path / "all/run")) == 0o700


def test_a_relative_xdg_value_is_ignored_and_a_relative_home_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", "somewhere")
    monkeypatch.setenv("HOME", "rel")
    assert paths.config_dir() == str(tmp_path / "rel/.config/remote-shell")
    monkeypatch.setenv("REMOTE_SHELL_HOME", "mine")
    assert paths.config_dir() == str(tmp_path / "mine")


def test_runtime_folder_goes_from_xdg_to_run_user_to_tmp(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "missing"))
    assert paths.runtime_dir() == str(tmp_path / f"remote-shell-{os.getuid()}")
    (tmp_path / "run-user" / str(os.getuid())).mkdir(parents=True)
    assert paths.runtime_dir() == str(tmp_path / f"run-user/{os.getuid()}/remote-shell")
    (tmp_path / "missing").mkdir()
    assert paths.runtime_dir() == str(tmp_path / "missing/remote-shell")


def test_runtime_folder_that_is_a_symlink_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"remote-shell-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="is a symlink"):
        paths.runtime_dir()


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o1777])
def test_runtime_folder_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / f"remote-shell-{os.getuid()}"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 700 "):
        paths.runtime_dir()


def test_config_folder_may_be_read_by_others_but_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "remote-shell").mkdir()
    (tmp_path / "remote-shell").chmod(0o755)
    assert paths.config_dir() == str(tmp_path / "remote-shell")
    (tmp_path / "remote-shell").chmod(0o775)
    with pytest.raises(ConfigError, match="chmod go-w"):
        paths.config_dir()


def test_somebody_elses_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uid = os.getuid()
    (tmp_path / f"remote-shell-{uid + 1}").mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    with pytest.raises(ConfigError, match=f"belongs to user id {uid}, not to you"):
        paths.runtime_dir()


def test_an_inherited_runtime_folder_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After su, XDG_RUNTIME_DIR still names the first user's folder."""
    uid = os.getuid()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: uid + 1)
    assert not paths._is_our_folder(str(tmp_path))


def test_a_folder_that_cannot_be_made_is_told() -> None:
    with nobodys_folder() as folder:
        give(folder, 0o500)

        def make() -> str:
            os.environ["REMOTE_SHELL_HOME"] = f"{folder}/new"
            return paths.config_dir()

        assert as_nobody(make).startswith(f"ConfigError: can't make the folder {folder}/new: Permission denied")


def test_a_file_in_the_place_of_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="is not a folder"):
        paths.config_dir()
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "file/below"))
    with pytest.raises(ConfigError, match="can't make the folder"):
        paths.config_dir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("REMOTE_SHELL_HOME", str(tmp_path / "dangling"))
    with pytest.raises(ConfigError, match="can't look at"):
        paths.config_dir()


def test_unknown_home_is_told() -> None:
    with pytest.raises(ConfigError, match="no home folder"):
        paths.expand_home("~nobody-has-this-name/x")


def test_paths_in_texts_are_escaped() -> None:
    assert paths.shown("/plain path") == "/plain path"
    assert "\x1b" not in paths.shown("/\x1b[31m")
    assert paths.quoted("/plain path") == "'/plain path'"
    assert paths.quoted("/a'\n\\") == "$'/a\\'\\n\\\\'"
