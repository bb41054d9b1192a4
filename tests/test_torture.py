"""scripts/torture: its arguments, its table, its exit status, what its parts rely on; and, slow, some of it once in small."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import torture_main
from torture_main import EXPERIMENTS, ONLY_IF_NAMED
from torture_parts import errands, flood, fuzz
from torture_parts.figure import Figure, Settings, TortureError, at_most, none, table, told

pytestmark = pytest.mark.screen  # as a file it takes long

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "torture.md").read_text(encoding="utf-8")


def test_figures_judge_themselves() -> None:
    assert none("errors", 0).met and not none("errors", 3, ": first").met
    assert none("errors", 3, ": first").measured == "3: first"
    assert at_most("memory", 5, 5.0, " MiB").met and not at_most("memory", 5, 5.01, " MiB").met
    assert not at_most("p99", 50, float("inf")).met and not at_most("p99", 50, float("nan")).met
    assert told("what", "much").met is None


def test_the_command_line_replaces_an_experiments_own_figures() -> None:
    assert (Settings().many(9, 2), Settings(quick=True).many(9, 2), Settings(quick=True, count=5).many(9, 2)) == (
        9,
        2,
        5,
    )
    assert (Settings().long(9, 2), Settings(quick=True).long(9, 2), Settings(seconds=0.5).long(9, 2)) == (9, 2, 0.5)


def test_the_table_names_an_experiment_once() -> None:
    rows = [("idle", none("errors", 0)), ("idle", told("sessions", "many")), ("soak", at_most("memory", 5, 9.0))]
    heading, rule, *lines = table(rows).splitlines()
    assert [line.split()[0] for line in lines] == ["idle", "sessions", "soak"] and set(rule) == {"─"}
    column = heading.index("measured")
    assert [line[column:] for line in lines] == ["0", "many", "9.00"]
    assert "met" in lines[0] and "MISSED" in lines[2]


def test_without_names_all_are_made_but_the_hours_fuzzing() -> None:
    names = torture_main.parse([]).names
    assert set(names) == set(EXPERIMENTS) - set(ONLY_IF_NAMED)
    assert torture_main.parse(["soak", "fuzz", "soak"]).names == ["soak", "fuzz"]


@pytest.mark.parametrize(
    ("words", "said"), [(["sook"], "no experiment is called sook; there are types"), (["--sed"], "")]
)
def test_a_command_line_that_makes_no_sense(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        torture_main.parse(words)
    assert left.value.code == 2 and said in capsys.readouterr().err


def test_each_experiment_is_listed_has_its_module_and_its_part_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert torture_main.main(["--list"]) == 0
    listed = re.findall(r"^(\w+) ", capsys.readouterr().out, re.M)
    assert listed == list(EXPERIMENTS)
    assert re.findall(r"^### `(\w+)`$", PAGE, re.M) == listed
    for name in listed:
        assert "def run(settings: Settings)" in (ROOT / "scripts" / "torture_parts" / f"{name}.py").read_text(
            encoding="utf-8"
        )


@pytest.fixture
def experiments(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What each experiment yields or raises, in the place of the real ones."""
    outcomes: dict[str, object] = {}

    def load(module: str) -> object:
        def run(settings: Settings) -> Iterator[Figure]:
            yield told("began", "yes")
            outcome = outcomes[module.rpartition(".")[2]]
            if isinstance(outcome, BaseException):
                raise outcome
            assert isinstance(outcome, Figure)
            yield outcome

        return SimpleNamespace(run=run)

    monkeypatch.setattr("importlib.import_module", load)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    before = signal.getsignal(signal.SIGTERM)
    yield outcomes
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        (none("errors", 0), 0, "met"),
        (told("seconds", "3"), 0, "seconds"),
        (none("errors", 1), 1, "MISSED  soak"),
        (TortureError("no figure: type this"), 1, "FAILED  soak: no figure: type this"),
        (ZeroDivisionError("x"), 1, "FAILED  soak: ZeroDivisionError at tests/test_torture.py:"),
        (KeyboardInterrupt(), 130, "began"),
    ],
)
def test_the_exit_status_and_what_was_measured_before_a_fault(
    experiments: dict[str, object], capsys: pytest.CaptureFixture[str], outcome: object, status: int, said: str
) -> None:
    experiments["soak"] = outcome
    assert torture_main.main(["soak"]) == status
    shown = capsys.readouterr().out
    assert said in shown and "began" in shown


def test_one_that_fails_does_not_lose_the_others(
    experiments: dict[str, object], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    experiments.update(soak=OSError(5, "no"), idle=none("errors", 0))
    assert torture_main.main(["soak", "idle", "--quick", "--json", str(tmp_path / "out")]) == 1
    assert "--quick: too little" in capsys.readouterr().out
    written = json.loads((tmp_path / "out").read_text())
    assert [(one["experiment"], one["what"], one["met"]) for one in written["figures"]][-1] == ("idle", "errors", True)
    assert set(written["failures"]) == {"soak"}


# --- parts


def test_blocks_cover_all_numbers_once() -> None:
    assert errands.blocks(23, 10) == [range(10), range(10, 20), range(20, 23)]


LOG = """
#2\tINITED cov: 10 ft: 10 corp: 1/1b
#99\tNEW    cov: 44 ft: 60 corp: 2/4b
stat::number_of_executed_units: 1234
stat::peak_rss_mb:              55
"""


def test_what_libfuzzer_says_is_read() -> None:
    good = {figure.what: figure for figure in fuzz.figures(LOG, 0, 20)}
    assert good["inputs within 20 s"].measured == "1,234"
    assert good["places of the code reached, at first and at last"].measured == "10, 44"
    assert good["inputs that bring anything but the named errors"].met
    crash = LOG + "Test unit written to ./crash-1234\n"
    assert list(fuzz.figures(crash, 77, 20))[-1].measured == "1: ./crash-1234"
    assert not list(fuzz.figures(LOG + "out of memory\n", 71, 20))[-1].met
    with pytest.raises(TortureError, match="ended with 1: ImportError: no"):
        list(fuzz.figures("ImportError: no", 1, 20))


def test_without_a_fuzzer_a_user_is_told_what_to_type() -> None:
    with pytest.raises(TortureError, match=r"pip install atheris pydantic; then: scripts/torture fuzz --fuzzer"):
        list(fuzz.run(Settings(fuzzer="/bin/false")))


def test_a_flood_comes_at_its_rate_and_from_its_addresses() -> None:
    orders = {"sources": ["127.0.1.7", "127.0.1.8"], "rate": 200.0, "seconds": 0.5, "silent": 5, "hellos": 3}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.listen(1024)
        said = json.dumps({**orders, "port": listener.getsockname()[1]})
        with subprocess.Popen(
            [sys.executable, "-P", flood.__file__, said], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            seen = set()
            for _ in range(60):
                sock, (address, _) = listener.accept()
                seen.add(address)
                sock.close()
            out, _ = process.communicate(timeout=15)
    found = json.loads(out)
    assert seen == {"127.0.1.7", "127.0.1.8"} and found["failed"] == 0 and 0 < found["made"] <= 101


@pytest.mark.slow
@pytest.mark.parametrize("name", ["types", "mutate", "simulate", "relay", "idle"])
def test_one_in_small(name: str, tmp_path: Path) -> None:
    """Those whose figures do not depend on how fast the machine is at this moment."""
    argv = [sys.executable, str(ROOT / "scripts" / "torture"), name, "--quick", "--json", str(tmp_path / "out")]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=280, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    written = json.loads((tmp_path / "out").read_text())
    missed = [one for one in written["figures"] if one["met"] is False and "a command's time" not in one["what"]]
    assert (missed, written["failures"], done.stderr) == ([], {}, ""), done.stdout
    assert os.listdir(tmp_path) == ["out"]
