"""Invitations on disk: one key each, by two clocks, whoever races and wherever it stops."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_shell.errors import ConfigError
from remote_shell.identity.invitation import name_of, proving_key
from remote_shell.identity.invitations import KEPT, InvitationError, Invitations, Moment, Record
from remote_shell.limits import Limits
from tests.config.account import as_nobody, give, nobodys_folder

NOW = Moment(1_796_306_700.0, 5000.0, "boot 1")


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Moment:
        return self.now

    def move(self, wall: float = 0.0, up: float = 0.0, boot: str | None = None) -> None:
        self.now = Moment(self.now.wall + wall, self.now.up + up, self.now.boot if boot is None else boot)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Invitations:
    return Invitations(str(tmp_path / "invitations"), clock=clock)


def done(record: Record) -> bool:
    return record.done


def test_made_found_and_redeemed_once(store: Invitations, tmp_path: Path) -> None:
    record, code = store.make(600, "ann", "restrict")
    assert record.name == name_of(code)
    found = store.find(record.name)
    assert found.known and found.key == proving_key(code)
    assert [(one.label, one.options) for one in store.open_ones()] == [("ann", "restrict")]
    assert store.redeem(record.name, "SHA256:a", lambda kept: (kept.label, kept.options)) == ("ann", "restrict")
    assert store.open_ones() == []
    with pytest.raises(InvitationError, match="used by SHA256:a"):
        store.redeem(record.name, "SHA256:b", done)
    assert store.redeem(record.name, "SHA256:a", done), "the same key hears that it is listed"


def test_what_is_on_disk(store: Invitations, tmp_path: Path) -> None:
    record, code = store.make(600)
    folder = tmp_path / "invitations"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.name == record.name
    assert code.hex() not in path.read_text() and repr(record) == f"Record({record.name})"


@pytest.mark.parametrize("name", ["", "0" * 32, "../../etc/passwd", "0" * 31, "A" * 32, "a/" * 16, "é" * 32])
def test_a_name_that_nobody_has(store: Invitations, name: str) -> None:
    store.make(600)
    found = store.find(name)
    assert not found.known and len(found.key) == 32
    with pytest.raises(InvitationError):
        store.redeem(name, "SHA256:a", done)


@pytest.mark.parametrize(
    ("wall", "up", "boot", "good"),
    [
        (0, 0, None, True),
        (599, 599, None, True),
        (600, 600, None, False),
        (86400, 1, None, False),  # set forward: it is lost, and nothing worse
        (-50, 550, None, True),  # a little correction
        (-86400, 300, None, False),  # set back by a day: its time is not longer
        (-300, 600, None, False),
        (0, 600, None, False),  # set back by what went by
        (100, -5000, "boot 2", True),  # the machine was started anew
        (600, -5000, "boot 2", False),
        (-61, -5000, "boot 2", False),
        (100, -1, None, False),  # the other clock never goes back within a boot
    ],
)
def test_either_clock_ends_it(
    store: Invitations, clock: Clock, wall: float, up: float, boot: str | None, good: bool
) -> None:
    record, _ = store.make(600)
    clock.move(wall, up, boot)
    assert bool(store.open_ones()) is good
    if good:
        assert store.redeem(record.name, "SHA256:a", done) is False
    else:
        with pytest.raises(InvitationError, match="expired"):
            store.redeem(record.name, "SHA256:a", done)


def fail(record: Record) -> bool:
    raise ConfigError("no room")


def test_stopped_between_the_claim_and_the_list(store: Invitations, clock: Clock) -> None:
    """The key that was first may try again, in time; no other."""
    record, _ = store.make(600)
    with pytest.raises(ConfigError, match="no room"):
        store.redeem(record.name, "SHA256:a", fail)
    with pytest.raises(InvitationError, match="used by"):
        store.redeem(record.name, "SHA256:b", done)
    assert store.redeem(record.name, "SHA256:a", done) is False, "not listed yet"
    other, _ = store.make(600)
    with pytest.raises(ConfigError):
        store.redeem(other.name, "SHA256:a", fail)
    clock.move(600, 600)
    with pytest.raises(InvitationError, match="expired"):
        store.redeem(other.name, "SHA256:a", done)
    assert store.redeem(record.name, "SHA256:a", done), "to be told that it is listed takes no time limit"


def test_one_of_many_that_race(tmp_path: Path) -> None:
    """Two servers' stores, eight clients."""
    stores = [Invitations(str(tmp_path / "invitations")) for _ in range(2)]
    record, _ = stores[0].make(600)
    barrier, listed, refused = threading.Barrier(8), list[str](), list[str]()

    def race(number: int) -> None:
        key = f"SHA256:{number}"
        barrier.wait()
        try:
            stores[number % 2].redeem(record.name, key, lambda _: listed.append(key))
        except InvitationError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(listed) == 1 and refused == [f"it was used by {listed[0]}"] * 7


def test_taken_back(store: Invitations) -> None:
    used, _ = store.make(600)
    store.redeem(used.name, "SHA256:a", done)
    record, _ = store.make(600)
    begun, _ = store.make(600)
    with pytest.raises(ConfigError):
        store.redeem(begun.name, "SHA256:a", fail)
    assert store.take_back() == 2 and store.take_back() == 0
    with pytest.raises(InvitationError, match="taken back"):
        store.redeem(record.name, "SHA256:a", done)
    assert store.redeem(used.name, "SHA256:a", done)


def test_bounded_and_forgotten(tmp_path: Path, clock: Clock) -> None:
    store = Invitations(str(tmp_path / "i"), clock=clock, limits=Limits(invitations_max=2))
    store.make(600)
    store.make(600)
    with pytest.raises(ConfigError, match="revoke --invitations"):
        store.make(600)
    clock.move(601, 601)
    with pytest.raises(ConfigError):
        store.make(600)  # the log can still say why one is refused
    clock.move(KEPT, KEPT)
    store.make(600)
    assert len(list((tmp_path / "i").iterdir())) == 1


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"key":"00"}', "\xff", "[" * 5000, '{"key":"00","made":[%s,1,""]}' % ("9" * 400)]
)
def test_a_damaged_file(store: Invitations, tmp_path: Path, text: str) -> None:
    record, _ = store.make(600)
    path = tmp_path / "invitations" / record.name
    path.write_text(text, encoding="latin-1")
    assert not store.find(record.name).known
    with pytest.raises(ConfigError, match="damaged"):
        store.redeem(record.name, "SHA256:a", done)
    store.make(600)
    assert not path.exists()
    path.write_text(text, encoding="latin-1")
    assert store.take_back() == 1, "the one that is whole"


@pytest.mark.parametrize(
    "change",
    [
        {"key": "00" * 31},
        {"made": [1, 2]},
        {"seconds": None},
        {"seconds": 1e300},
        {"seconds": -1},
        {"made": ["x", 1, "b"]},
    ],
)
def test_a_changed_file(store: Invitations, tmp_path: Path, change: dict[str, object]) -> None:
    record, _ = store.make(600)
    path = tmp_path / "invitations" / record.name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert not store.find(record.name).known


def test_files_that_others_could_have_made() -> None:
    with nobodys_folder() as folder:

        def try_it() -> str:
            store = Invitations(os.path.join(folder, "i"))
            record, _ = store.make(600)
            path = os.path.join(folder, "i", record.name)
            os.chmod(path, 0o644)
            assert not store.find(record.name).known
            os.chmod(path, 0o600)
            assert store.find(record.name).known
            os.chmod(os.path.join(folder, "i"), 0o770)
            return "made" if store.make(600) else ""

        give(folder, 0o700)
        Moment.now()  # which may be the first to need a codec, and that account may not be able to load it
        assert "open to others" in as_nobody(try_it)


def test_the_real_clocks() -> None:
    one, other = Moment.now(), Moment.now()
    assert one.boot == other.boot and len(one.boot) == 36
    assert 0 <= other.up - one.up < 10 and abs(other.wall - one.wall) < 10


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70) | st.lists(st.floats(), max_size=4)
)
NAMES = ("name", "key", "seconds", "made", "label", "options", "by", "done")


@given(change=st.dictionaries(st.sampled_from(NAMES), VALUES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_record(change: dict[str, object], tmp_path: Path) -> None:
    """A file that somebody edited is damaged, or says what it says: nothing but the named errors."""
    store = Invitations(str(tmp_path / "any"))
    record, _ = store.make(600)
    path = tmp_path / "any" / record.name
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    try:
        store.redeem(record.name, "SHA256:a", done)
    except (ConfigError, InvitationError):
        assert not path.exists() or path.stat().st_mode & 0o777 == 0o600
    path.unlink()
