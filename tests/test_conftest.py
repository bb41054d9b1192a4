"""The guards of conftest.py: what they are to catch, they catch."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import CI_TIMEOUT, SLOW_TIMEOUT, holdings

ROOT = Path(__file__).resolve().parent.parent

FAULTY = """
import os, subprocess, threading, warnings
import pytest

def test_child():
    global child
    child = subprocess.Popen(["sleep", "60"])

def test_child_that_is_known_already():
    child.kill()
    child.wait()

def test_thread():
    threading.Thread(target=threading.Event().wait, daemon=True).start()

def test_descriptor():
    os.dup(0)

async def test_async():
    raise ValueError("from inside the loop")

def test_warning():
    warnings.warn("a warning")

@pytest.mark.slow
def test_slow(request):
    assert request.node.get_closest_marker("timeout").args == (SLOW_TIMEOUT,)

@pytest.mark.slow
@pytest.mark.timeout(5)
def test_slow_with_its_own(request):
    assert request.node.get_closest_marker("timeout").args == (5,)

def test_quick(request):
    marker = request.node.get_closest_marker("timeout")
    assert marker is None if "CI" not in os.environ else marker.args == (CI_TIMEOUT,)
"""


@pytest.mark.slow
@pytest.mark.parametrize("ci", [False, True])
def test_each_fault_is_caught(tmp_path: Path, ci: bool) -> None:
    (tmp_path / "conftest.py").write_text(
        (ROOT / "tests" / "conftest.py").read_text().replace("SETTLE_TIME = 2.0", "SETTLE_TIME = 0.1")
    )
    (tmp_path / "test_faulty.py").write_text(
        FAULTY.replace("SLOW_TIMEOUT", repr(SLOW_TIMEOUT)).replace("CI_TIMEOUT", repr(CI_TIMEOUT))
    )
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "test_faulty.py"]
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | ({"CI": "true"} if ci else {})
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )
    outcome = {
        line.split()[1].partition("::")[2]: line.split()[0]
        for line in done.stdout.splitlines()
        if " test_faulty.py::" in line
    }
    bad = {name: outcome.pop(name) for name in list(outcome) if outcome[name] != "PASSED"}
    assert bad == {
        "test_child": "ERROR",
        "test_thread": "ERROR",
        "test_descriptor": "ERROR",
        "test_async": "FAILED",
        "test_warning": "FAILED",
    }, done.stdout
    assert "test_slow" in outcome and "test_quick" in outcome
    assert "sleep" in done.stdout  # the child is named


def test_holdings_show_a_child_until_it_is_reaped() -> None:
    before = holdings()
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert any(f"child {child.pid} " in text for text in holdings() - before)
    child.wait()
    assert holdings() == before


def test_holdings_show_a_child_of_another_thread_also_after_its_end() -> None:
    before = holdings()
    made: list[subprocess.Popen[bytes]] = []
    stop = threading.Event()

    def start() -> None:
        made.append(subprocess.Popen(["sleep", "60"]))
        stop.wait()

    thread = threading.Thread(target=start)
    thread.start()
    while not made:
        time.sleep(0.001)
    assert any(f"child {made[0].pid} " in text for text in holdings() - before)
    stop.set()
    thread.join()
    assert any(f"child {made[0].pid} " in text for text in holdings() - before)
    made[0].kill()
    made[0].wait()
    assert holdings() == before


def test_holdings_show_a_thread_and_a_descriptor() -> None:
    before = holdings()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    reader, writer = os.pipe()
    assert len(holdings() - before) == 3
    stop.set()
    thread.join()
    os.close(reader)
    os.close(writer)
    assert holdings() == before


async def test_an_async_test_runs_in_a_loop(tmp_path: Path) -> None:
    await asyncio.sleep(0)
    assert tmp_path.is_dir()


@given(st.integers())
def test_hypothesis_goes_with_the_guard(number: int) -> None:
    assert number == int(str(number))
