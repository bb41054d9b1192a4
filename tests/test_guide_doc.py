"""docs/guide.md: its section on the settings has every one of them, and is a file that the server takes."""

from __future__ import annotations

import re
from pathlib import Path

from remote_shell.config.server import ServerConfig, load

TEXT = (Path(__file__).parents[1] / "docs" / "guide.md").read_text(encoding="utf-8")


def test_the_settings_are_all_there_and_are_taken(tmp_path: Path) -> None:
    found = re.search(r"\n## The server's settings\n.*?\n```toml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    file = tmp_path / "server.toml"
    file.write_text(found[1], encoding="utf-8")
    file.chmod(0o600)
    assert load(str(file)).model_fields_set == set(ServerConfig.model_fields)
