"""The guestbook: the last login of each, without that anybody waits for it, and bounded."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest

from remote_shell.errors import ConfigError
from remote_shell.limits import Limits
from remote_shell.server.guestbook import Guestbook, last_visit

from .raw_client import until

pytestmark = pytest.mark.screen  # as a file it takes long


def book(folder: Path, **limits: int) -> Guestbook:
    return Guestbook(Limits(**limits), lambda: str(folder))


def test_the_last_login_is_remembered(tmp_path: Path) -> None:
    folder = tmp_path / "guests"
    one, before = book(folder), time.time()
    one.note("key:SHA256:a", "192.0.2.1")
    until(lambda: last_visit("key:SHA256:a", str(folder)), "it is written without a close")
    one.note("key:SHA256:a", "192.0.2.2")
    one.note("secret:ci", "192.0.2.3\n\x1b")
    one.close()
    visit = last_visit("key:SHA256:a", str(folder))
    assert visit is not None and visit.source == "192.0.2.2" and before <= visit.at <= time.time()
    other = last_visit("secret:ci", str(folder))
    assert other is not None and other.source == "192.0.2.3\n\x1b"
    assert last_visit("key:SHA256:b", str(folder)) is None
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert all(path.suffix != ".new" for path in folder.iterdir())


def test_noted_after_the_end(tmp_path: Path) -> None:
    one = book(tmp_path / "guests")
    one.close()
    one.note("key:SHA256:a", "x")
    assert not (tmp_path / "guests").exists()


def test_bounded(tmp_path: Path) -> None:
    folder = tmp_path / "guests"
    one = book(folder, guests_max=20)
    for number in range(50):
        one.note(f"key:{number}", "x")
    one.close()
    assert 18 <= len(list(folder.iterdir())) <= 20
    again = book(folder, guests_max=10)  # another life counts what is there
    again.note("key:50", "x")
    again.close()
    assert len(list(folder.iterdir())) == 9 and last_visit("key:50", str(folder))


def test_a_fault_is_told_once_and_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "guests"
    folder.write_text("in the way")
    one = book(folder)
    one.note("key:SHA256:a", "x")
    until(lambda: caplog.records, "told")
    one.note("key:SHA256:a", "y")
    one.close()
    assert len(caplog.records) == 1 and "who was here last" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"principal":"a","at":"x","source":"y"}',
        *(f'{{"principal":"key:SHA256:a","at":{at},"source":"y"}}' for at in ("NaN", "1e300", "-1", "9" * 400)),
    ],
)
def test_a_damaged_entry(tmp_path: Path, text: str) -> None:
    one = book(tmp_path)
    one.note("key:SHA256:a", "x")
    one.close()
    (path,) = tmp_path.iterdir()
    path.write_text(text)
    assert last_visit("key:SHA256:a", str(tmp_path)) is None
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        last_visit("key:SHA256:a", str(tmp_path))
    path.chmod(0o600)
    again = book(tmp_path)
    again.note("key:SHA256:a", "y")
    again.close()
    visit = last_visit("key:SHA256:a", str(tmp_path))
    assert visit is not None and visit.source == "y"
