from __future__ import annotations

import signal
import subprocess

import pytest

from remote_shell.errors import CommandError
from remote_shell.process.base import Exit, signal_name, signal_number


@pytest.mark.parametrize("status", [0, 1, 127, 128, 255])
def test_a_status_is_a_status(status: int) -> None:
    assert Exit.from_returncode(status) == Exit(status, None)


def test_a_real_child_killed_by_a_signal() -> None:
    done = subprocess.run(["sh", "-c", "kill -USR2 $$"])
    assert Exit.from_returncode(done.returncode) == Exit(None, "SIGUSR2")


def test_every_signal_has_a_name_that_leads_back() -> None:
    for number in signal.valid_signals():
        assert signal_number(signal_name(number)) == number


def test_names_of_real_time_signals_count_from_the_first() -> None:
    assert signal_name(signal.SIGRTMIN) == "SIGRTMIN"
    assert signal_name(signal.SIGRTMIN + 3) == "SIGRTMIN+3"
    assert signal_name(signal.SIGRTMAX) == f"SIGRTMIN+{signal.SIGRTMAX - signal.SIGRTMIN}"
    assert signal_number("SIGRTMAX") == signal.SIGRTMAX


def test_the_c_librarys_own_signals_have_a_number() -> None:
    assert signal_name(32) == "SIG32"


def test_the_prefix_may_be_left_out() -> None:
    assert signal_number("INT") == signal_number("SIGINT") == 2


@pytest.mark.parametrize(
    "name", ["", "SIG", "SIGNOPE", "9", "int", "SIGRTMIN+31", "SIGRTMIN+", "SIGRTMIN+-1", "SIGTERM+1", "SIG_DFL"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="no such signal"):
        signal_number(name)
