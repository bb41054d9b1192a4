"""When a wait goes without sleep, and how many CPUs this process may use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from remote_shell.blocking import spinning
from remote_shell.blocking.spinning import Spin, quotas

TIME = 0.001
SHORT, LONG = TIME / 2, 10 * TIME


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "cpus", lambda: 2.0)


def waits(spin: Spin, seconds: float, times: int = 1) -> None:
    for _ in range(times):
        spin.begin(100.0)
        spin.end(100.0 + seconds)


def sleepless(spin: Spin, took: Callable[[bool], float], times: int) -> int:
    """How many of so many waits went without sleep, if they take what `took` says of each way."""
    count = 0
    for _ in range(times):
        way = spin.begin(0.0) > 0.0
        count += way
        spin.end(took(way))
    return count


@pytest.mark.usefixtures("two_cpus")
def test_a_first_wait_sleeps_and_a_short_one_changes_that() -> None:
    spin = Spin(TIME)
    assert spin.begin(100.0) == 100.0
    spin.end(100.0 + SHORT)
    assert spin.begin(200.0) == 200.0 + TIME


@pytest.mark.usefixtures("two_cpus")
def test_waits_that_are_too_long_end_it_soon_and_short_ones_bring_it_back() -> None:
    spin = Spin(TIME)
    waits(spin, SHORT, 1000)  # however many there were
    assert sleepless(spin, lambda _: LONG, 1000) < 100
    assert sleepless(spin, lambda way: 0.9 * SHORT if way else SHORT, 1000) > 800


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize(("awake", "asleep"), [(0.8, 0.7), (0.7, 0.8), (1.8, 0.9), (0.9, 1.8)])
def test_the_way_that_is_quicker_is_taken_and_the_other_tried_now_and_then(awake: float, asleep: float) -> None:
    spin = Spin(TIME)
    count = sleepless(spin, lambda way: (awake if way else asleep) * TIME, 1000)
    assert count > 900 if awake < asleep else 0 < count < 100


@pytest.mark.usefixtures("two_cpus")
def test_it_changes_its_mind_when_the_machine_does() -> None:
    spin = Spin(TIME)
    assert sleepless(spin, lambda way: SHORT if way else 2 * SHORT, 500) > 400
    assert sleepless(spin, lambda way: 2 * SHORT if way else SHORT, 500) < 100
    assert sleepless(spin, lambda way: SHORT if way else 2 * SHORT, 500) > 250


@pytest.mark.usefixtures("two_cpus")
@pytest.mark.parametrize("period", range(2, 12))
def test_commands_in_a_fixed_order_are_compared_with_their_like(period: int) -> None:
    spin = Spin(TIME)
    turn = 0

    def took(way: bool) -> float:
        nonlocal turn
        turn += 1
        quick = SHORT / 4 if turn % period == 0 else SHORT
        return quick * (1.0 if way else 1.1)

    assert sleepless(spin, took, 2000) > 1000


@pytest.mark.usefixtures("two_cpus")
def test_where_every_other_wait_is_long_nearly_all_sleep() -> None:
    spin = Spin(TIME)
    count = 0
    for _ in range(500):
        waits(spin, SHORT)
        count += sleepless(spin, lambda _: LONG, 1)
    assert count < 100


@pytest.mark.parametrize("count", [0.5, 1.0, 1.9])
def test_with_one_cpu_every_wait_sleeps(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    monkeypatch.setattr(spinning, "cpus", lambda: count)
    spin = Spin(TIME)
    waits(spin, SHORT, 100)
    assert spin.begin(100.0) == 100.0


def test_a_time_of_zero_switches_it_off() -> None:
    spin = Spin(0.0)
    waits(spin, 0.0, 100)
    assert spin.begin(100.0) == 100.0


def test_the_cpus_are_those_of_the_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3})
    spinning.cpus.cache_clear()
    try:
        assert spinning.cpus() <= 1
    finally:
        spinning.cpus.cache_clear()


def test_quotas_of_a_cgroup_and_of_those_above_it_count(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "outer" / "cpu.max").write_text("50000 100000\n")
    (inner / "cpu.max").write_text("max 100000\n")
    listing = tmp_path / "cgroup"
    listing.write_text("0::/outer/inner\n")
    assert quotas(str(listing), str(tmp_path)) == [0.5]
    listing.write_text("0::/../outside\n")
    assert quotas(str(listing), str(tmp_path)) == []
    assert quotas(str(tmp_path / "missing"), str(tmp_path)) == []


def test_quotas_of_version_1_count_too(tmp_path: Path) -> None:
    folder = tmp_path / "cpu" / "box"
    folder.mkdir(parents=True)
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (folder / "cpu.cfs_quota_us").write_text("150000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    listing = tmp_path / "cgroup"
    listing.write_text("5:memory:/elsewhere\n4:cpu,cpuacct:/box\n")
    assert quotas(str(listing), str(tmp_path)) == [1.5]
