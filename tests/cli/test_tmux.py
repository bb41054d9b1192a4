"""The REPL, and real programs on raw terminals, in a terminal that people use: tmux, with its own paste, resizing and colours."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.program import ARGV
from tests.cli.tmux import Tmux, at_prompt, running, window


@pytest.mark.slow
def test_a_session_in_tmux(tmp_path: Path) -> None:
    with window(tmp_path, "try", "--noprofile") as tmux:
        tmux.wait_for("Ctrl-D leaves.")
        tmux.wait_for(" ~ ")
        tmux("send-keys", "cd /usr && false", "Enter")
        assert "\x1b[31m✗ 1" in tmux.wait_for("✗ 1", "-e")
        tmux.wait_for(" /usr ")
        tmux("load-buffer", "-", input="for i in 1 2\ndo echo line $i\ndone\n")
        tmux("paste-buffer", "-p", "-r")
        shown = tmux.wait_for("done")
        assert "line 1" not in shown, "a paste waits for Enter"
        tmux("send-keys", "Enter")
        assert "line 1" not in tmux.wait_for("Run 3 lines")
        tmux("send-keys", "y")
        tmux.wait_for("line 1\nline 2\n")
        tmux.resize(20, 60)
        tmux("send-keys", "echo after resizing", "Enter")
        tmux.wait_for("\nafter resizing\n")
        tmux("send-keys", "sleep 1000", "Enter")
        tmux.wait_for("sleep 1000")
        tmux("send-keys", "C-c")
        tmux.wait_for("✗ 130")
        tmux("send-keys", "yes", "Enter")
        tmux.wait_for("y\ny\ny\n")
        begin = time.monotonic()
        tmux("send-keys", "C-c")
        tmux("send-keys", "echo back", "Enter")
        tmux.wait_for("\nback\n")
        assert time.monotonic() - begin < 3, "Ctrl-C in a flood"


# --- programs, by `run --pty` and at the REPL's prompt

Program = Callable[..., contextlib.AbstractContextManager[Tmux]]


@contextlib.contextmanager
def by_run(home: Path, target: str, *words: str) -> Iterator[Tmux]:
    """tmux with a shell here, which runs the words over there; at the end the status is 0 and the terminal the shell's again."""
    with running(home, "env", "PS1=here>", "bash", "--norc", "-i") as tmux:
        tmux.wait_for("here>")
        tmux.keys("-l", "stty -g > before; clear; " + shlex.join([*ARGV, "run", "-t", target, "--", *words]))
        tmux.keys("Enter")
        yield tmux
        tmux.wait_until(lambda shown: shown.rstrip().endswith("here>"), "prompt")
        assert tmux.is_plain()
        tmux.keys("clear; echo status $?; stty -g > after; echo compared; diff before after", "Enter")
        shown = tmux.wait_until(
            lambda shown: shown.startswith("status") and shown.rstrip().endswith("here>"), "comparison"
        )
        assert shown.split() == ["status", "0", "compared", "here>"]


@contextlib.contextmanager
def by_prompt(home: Path, target: str, *words: str) -> Iterator[Tmux]:
    """tmux with the REPL, where the words are a line; at the end no mark says that they failed."""
    with at_prompt(home, target) as tmux:
        tmux.line("clear; " + shlex.join(words))
        yield tmux
        assert "✗" not in tmux.wait_prompt()


@pytest.fixture(params=[by_run, by_prompt])
def program(request: pytest.FixtureRequest) -> Program:
    """Runs words over there, in tmux."""
    found: Program = request.param
    return found


@pytest.mark.slow
def test_vim_edits_and_saves(program: Program, target: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("".join(f"line {number}\n" for number in range(1, 101)))
    with program(tmp_path, target, "vim.tiny", "-u", "NONE", str(file)) as tmux:
        tmux.wait_for("line 29\n")
        tmux.resize(20, 70)
        tmux.wait_until(lambda shown: "line 19\n" in shown and "line 20" not in shown, "smaller window")
        tmux.keys(":set columns?", "Enter")
        tmux.wait_for("columns=70")
        tmux.resize(40, 120)
        tmux.wait_for("line 39\n")
        tmux.keys(":set lines? columns?", "Enter")
        tmux.wait_until(lambda shown: "lines=40" in shown and "columns=120" in shown, "larger window")
        tmux.keys("Enter", "G", "o", "ä new line", "Escape")
        tmux.wait_for("ä new line")
        tmux.keys("Up", "x", ":wq", "Enter")
    lines = file.read_text().splitlines()
    assert lines[98:] == ["line 99", "line 10", "ä new line"]


@pytest.mark.slow
def test_less_pages(program: Program, target: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("".join(f"line {number}\n" for number in range(1, 1001)))
    with program(tmp_path, target, "less", str(file)) as tmux:
        tmux.wait_for("line 29\n")
        tmux.keys("Space")
        tmux.wait_for("line 58\n")
        tmux.keys("G")
        tmux.wait_for("line 1000\n")
        tmux.keys("g")
        tmux.wait_until(lambda shown: shown.startswith("line 1\n"), "beginning")
        tmux.resize(12, 70)
        tmux.wait_until(lambda shown: "line 11\n" in shown and "line 12" not in shown, "smaller window")
        tmux.keys("/line 77", "Enter")
        tmux.wait_until(lambda shown: shown.startswith("line 77\n"), "what was looked for")
        tmux.keys("q")


@pytest.mark.slow
def test_top_refreshes_and_quits(program: Program, target: str, tmp_path: Path) -> None:
    """It shows a process whose command line is wider than any window."""

    def widest(shown: str) -> int:
        return max((len(line) for line in shown.splitlines() if "xxx" in line), default=0)

    with subprocess.Popen(["bash", "-c", f"exec -a {'x' * 300} sleep 1000"]) as wide:
        try:
            with program(tmp_path, target, "top", "-d", "0.2", "-c", "-p", str(wide.pid)) as tmux:
                first = tmux.wait_until(lambda shown: "load average" in shown and 90 < widest(shown) <= 100, "top")
                tmux.wait_until(lambda shown: shown.splitlines()[0] != first.splitlines()[0], "another time")
                tmux.resize(12, 90)
                tmux.wait_until(lambda shown: 80 < widest(shown) <= 90, "smaller window")
                tmux.resize(35, 150)
                tmux.wait_until(lambda shown: 140 < widest(shown) <= 150, "larger window")
                tmux.keys("q")
        finally:
            wide.kill()


@pytest.mark.slow
def test_python_at_its_prompt(program: Program, target: str, tmp_path: Path) -> None:
    with program(tmp_path, target, sys.executable, "-q") as tmux:
        tmux.wait_for(">>>")
        tmux.keys("6*7", "Enter")
        tmux.wait_for("\n42\n")
        tmux.keys("Up", "BSpace", "8", "Enter")  # its line editor has history
        tmux.wait_for("\n48\n")
        tmux.resize(20, 60)
        tmux.line("import os; os.get_terminal_size()")
        tmux.wait_for("columns=60, lines=20")
        tmux.line("len('" + "y" * 70 + "')")  # its line editor folds where the window ends now
        tmux.wait_for("\n70\n")
        tmux.keys("half", "C-c")
        tmux.wait_for("KeyboardInterrupt")
        tmux.keys("while True: print(end='on ', flush=True)", "Enter", "Enter")
        tmux.wait_for("on on")
        tmux.keys("C-c")
        tmux.wait_until(
            lambda shown: re.search(r"KeyboardInterrupt\n(on )?>>>$", shown.rstrip()) is not None, "loop's end"
        )
        tmux.keys("6*9", "Enter")  # it would otherwise end with 130: CPython remembers the interrupt
        tmux.wait_for("\n54\n")
        tmux.keys("C-d")


@pytest.mark.parametrize(
    "words",
    [
        ["bash", "-c", 'read -rs -p "Password: " word; echo; echo "got ${#word}"'],
        # as sudo does: it opens the terminal itself, and throws away what was typed before
        [sys.executable, "-c", "import getpass; print('got', len(getpass.getpass('Password: ')))"],
    ],
)
@pytest.mark.slow
def test_a_password_is_not_shown(words: list[str], program: Program, target: str, tmp_path: Path) -> None:
    with program(tmp_path, target, *words) as tmux:
        tmux.wait_until(lambda shown: shown.startswith("Password:"), "prompt")
        tmux.keys("secret", "Enter")
        assert "secret" not in tmux.wait_for("got 6")


@pytest.mark.slow
def test_a_real_program_asks_for_a_passphrase(program: Program, target: str, tmp_path: Path) -> None:
    key = tmp_path / "key"
    with program(tmp_path, target, "ssh-keygen", "-q", "-t", "ed25519", "-f", str(key)) as tmux:
        tmux.wait_for("Enter passphrase")
        tmux.line("a long secret")
        tmux.wait_for("same passphrase again")
        tmux.line("a long secret")
        tmux.wait_until(lambda shown: key.exists(), "key")
        assert "secret" not in tmux("capture-pane", "-p")
    opened = subprocess.run(["ssh-keygen", "-y", "-P", "a long secret", "-f", key], capture_output=True, check=True)
    assert opened.stdout.startswith(b"ssh-ed25519 ")


# --- keys, at the REPL's prompt


@pytest.mark.slow
def test_arrow_keys_edit_the_line_and_bring_back_lines(target: str, tmp_path: Path) -> None:
    with at_prompt(tmp_path, target) as tmux:
        tmux.line("echo first")
        tmux.wait_for("\nfirst\n")
        tmux.wait_prompt()
        tmux.keys("echo 13", "Left", "2", "Right", "4", "Home", "Delete", "e", "End", "5", "Enter")
        tmux.wait_for("\n12345\n")
        tmux.wait_prompt()
        tmux.keys("Up", "Up", "Down", "Up", "!", "Enter")
        tmux.wait_for("\nfirst!\n")


@pytest.mark.slow
def test_ctrl_z_stops_and_fg_goes_on(target: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with at_prompt(tmp_path, target) as tmux:
        tmux.line("clear; cat")
        tmux.wait_until(lambda shown: not shown.strip(), "cat")  # two lines in one read would be a paste
        tmux.line("one")
        tmux.wait_until(lambda shown: shown.count("one") == 2, "echo")
        tmux.keys("C-z")
        tmux.wait_for("148")
        tmux.wait_prompt()
        tmux.line(f"clear; vim.tiny -u NONE {file}")  # beside the one that is stopped
        tmux.wait_for("~\n")
        tmux.keys("i", "written before", "Escape", "C-z")
        tmux.wait_for("148")
        tmux.wait_prompt()
        assert tmux.is_plain()
        tmux.line("jobs | grep -c Stopped")
        tmux.wait_for("\n2\n")
        tmux.wait_prompt()
        tmux.line("fg")
        tmux.wait_until(lambda shown: shown.startswith("written before"), "vim again")
        tmux.keys("A", ", and after", "Escape", ":wq", "Enter")
        tmux.wait_until(lambda shown: file.exists(), "file")
        tmux.wait_prompt()
        tmux.line("clear; fg %1")
        tmux.wait_until(lambda shown: shown.startswith("cat\n"), "cat again")
        tmux.line("two")
        tmux.wait_until(lambda shown: shown.count("two") == 2, "echo")
        tmux.keys("C-d")
        tmux.wait_prompt()
    assert file.read_text() == "written before, and after\n"


@pytest.mark.slow
def test_letters_of_all_widths(target: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    with at_prompt(tmp_path, target) as tmux:
        tmux.line('echo "[äöü 漢字 🐧 e\u0301]" | tee ' + str(file))
        tmux.wait_for("\n[äöü 漢字 🐧 e\u0301]\n")
        tmux.wait_prompt()
        tmux.keys(
            "echo 漢字x", "Left", "Left", "BSpace", "語", "Right", "y", "Enter"
        )  # whole letters, two columns each
        tmux.wait_for("\n語字yx\n")
        tmux.wait_prompt()
        tmux.line("clear; cat")
        tmux.wait_until(lambda shown: not shown.strip(), "cat")
        tmux.keys("-l", "漢字ö")
        tmux.wait_for("漢字ö")
        tmux.keys("BSpace", "BSpace", "-", "Enter")  # the kernel's line editor knows UTF-8 (IUTF8)
        tmux.wait_until(lambda shown: shown.rstrip().splitlines()[-1] == "漢-", "cat's answer")
        tmux.keys("C-d")
    assert file.read_text() == "[äöü 漢字 🐧 e\u0301]\n"


@pytest.mark.slow
def test_100_kb_pasted_into_cat(target: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    text = "".join(f"line {number:5} {'x' * 50}\n" for number in range(1640))
    assert len(text) > 100_000
    with at_prompt(tmp_path, target) as tmux:
        tmux.line(f"clear; echo begun; cat > {file}")
        tmux.wait_until(lambda shown: shown.startswith("begun"), "cat")
        tmux("load-buffer", "-", input=text)
        tmux("paste-buffer", "-r")
        tmux.wait_for(text[-70:].strip())
        tmux.keys("C-d")
        tmux.wait_prompt()
        tmux.line("clear; echo over")
        tmux.wait_for("over\n")
    assert file.read_text() == text
