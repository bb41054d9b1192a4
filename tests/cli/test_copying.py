"""What is told of a transfer: the bar on a terminal, sizes, words after `:put`."""

from __future__ import annotations

import pytest

from remote_shell.cli import copying
from remote_shell.cli.own_commands import WrongError
from remote_shell.transfer.progress import FileFault, Progress, Transferred


def test_words_as_the_shell_reads_them() -> None:
    assert copying.words_of("-r 'a b' c\\ d e", ":put") == (True, ["a b", "c d"], "e")
    assert copying.words_of("-- -r x", ":put") == (False, ["-r"], "x")
    for rest, said in (("", "SOURCE"), ("x", "SOURCE"), ("-x a b", "knows -r, not -x"), ("'a", "No closing")):
        with pytest.raises(WrongError, match=said):
            copying.words_of(rest, ":put")


def test_paths_of_the_server() -> None:
    assert [copying.there(path, "/src") for path in ("x", "/x", "~/x", "~", "", "~x")] == [
        *("/src/x", "/x", "x", ".", "/src/", "/src/~x"),
    ]
    assert copying.there("") == "." and copying.there("x") == "x"


def test_sizes_and_a_summary() -> None:
    assert [copying.size(count) for count in (0, 999, 1500, 2_500_000, 3e9, 4e12)] == [
        *("0 B", "999 B", "1.5 kB", "2.5 MB", "3.0 GB", "4.0 TB"),
    ]
    assert copying.summary(Transferred(1, 10, 0), 1.0) == "1 file, 10 B"
    done = Transferred(1200, 3_000_000, 1_000_000, (FileFault(b"x", 2, "d"),))
    assert copying.summary(done, 2.0) == "1,200 files, 3.0 MB, 1.5 MB/s; 1.0 MB of it were there already; 1 not"


def test_what_an_interrupt_says() -> None:
    watch = copying.Watch()
    assert watch.interrupted() == "interrupted: the same command again goes on from there"
    watch.progress(Progress("a/x", 5_000_000, 10_000_000, 3, 9))
    assert watch.interrupted() == (
        "interrupted: 3 are whole and in their places; a/x got to 5.0 MB of 10.0 MB; the same command again goes on from there"
    )


def test_a_bar_on_a_terminal_and_none_elsewhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = copying.Watch()
    watch.progress(Progress("x", 5, 10, 0, 5))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("os.isatty", lambda descriptor: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    told: list[str] = []
    watch = copying.Watch(told.append)
    watch.fault(FileFault(b"a\x1b", 2, "is not there"))
    watch.progress(Progress("dir/big\x1b[2J", 5_000_000, 10_000_000, 0, 5))
    watch.fault(FileFault(b"b\x1b", 2, "is not there"))
    watch.close()
    shown = capsys.readouterr().err
    assert told == ["a\x1b: is not there"] and "b\\x1b: is not there" in shown
    assert "big?[2J" in shown and "\x1b[2J" not in shown and "5.0/10.0 MB" in shown
