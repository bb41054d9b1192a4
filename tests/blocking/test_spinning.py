"""When a wait goes without sleep, and how many CPUs this process may use."""

from __future__ import annotations

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
    failures = 0
    while spin.begin(0.0):
        spin.end(LONG)
        failures += 1
    assert failures == 4
    waits(spin, LONG, 1000)
    short = 0
    while not spin.begin(0.0):
        spin.end(SHORT)
        short += 1
    assert short == 17


@pytest.mark.usefixtures("two_cpus")
def test_where_every_other_wait_is_long_nearly_all_sleep() -> None:
    spin = Spin(TIME)
    sleepless = 0
    for _ in range(1000):
        waits(spin, SHORT)
        sleepless += spin.begin(0.0) > 0
        spin.end(LONG)
    assert sleepless == 1


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
