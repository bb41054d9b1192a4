"""Which hosts are meant: lists, groups, ranges, exclusion; each once, and an error before anything is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from remote_shell.config.selection import select
from remote_shell.errors import UsageError

FILE = """
[hosts.web1]
target = "10.0.0.1"
groups = ["web", "ci"]
[hosts.web2]
target = "10.0.0.2"
groups = ["web"]
[hosts.alias]
target = "10.0.0.1"
[hosts.db]
target = "unix:/run/x"
groups = ["ci"]
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "hosts.toml"
    file.write_text(FILE)
    return str(file)


def names(path: str, *wanted: str, exclude: tuple[str, ...] = ()) -> list[str]:
    return [one.name for one in select(wanted, exclude, path)]


def test_groups_lists_and_ranges(path: str) -> None:
    assert names(path, "@ci") == ["web1", "db"]
    assert names(path, "@all") == ["web1", "web2", "alias", "db"]
    assert names(path, "db,web[1-2]", "other:1") == ["db", "web1", "web2", "other:1"]


def test_each_host_is_there_once(path: str) -> None:
    assert names(path, "web2,@ci,@web,web[1-2]") == ["web2", "web1", "db"]
    assert names(path, "tls:h:8822,h,h:8822") == ["tls:h:8822"]
    # two names of the file are two hosts: a person gave them
    assert names(path, "web1,alias") == ["web1", "alias"]
    # as two accounts are, of which the server refuses one
    assert names(path, "web1,me@web1") == ["web1", "me@web1"]


def test_exclusion(path: str) -> None:
    assert names(path, "@all", exclude=("@web",)) == ["alias", "db"]
    assert names(path, "@all", exclude=("web[1-2],db", "nobody")) == ["alias"]
    with pytest.raises(UsageError, match="no host is left"):
        names(path, "@web", exclude=("@all",))


def test_an_unknown_group_is_an_error_in_both_lists(path: str) -> None:
    with pytest.raises(UsageError, match=r"@wbe: .*did you mean @web\?"):
        names(path, "web1,@wbe")
    with pytest.raises(UsageError, match=r"@zzzz: .*groups are ci, web"):
        names(path, "web1", exclude=("@zzzz",))
    with pytest.raises(UsageError, match="there is no host in hosts.toml"):
        names(path + "-missing", "@all")


def test_a_group_with_control_characters_is_shown_safely(path: str) -> None:
    with pytest.raises(UsageError) as caught:
        names(path, "@\x1b]0;x")
    assert str(caught.value).isprintable()


def test_a_text_that_is_no_target_is_an_error(path: str) -> None:
    with pytest.raises(UsageError):
        names(path, "web1,a b")


def test_the_tables_of_the_file_come_along(path: str) -> None:
    (one,) = select(["me@web2"], (), path)
    assert one.entry is not None and one.entry.name == "web2"
    assert str(one.target) == "tls:me@10.0.0.2:8822"


def test_no_more_hosts_than_one_call_takes(path: str) -> None:
    with pytest.raises(UsageError, match="more than the 10000"):
        names(path, "a[1-9000],b[1-9000]")
