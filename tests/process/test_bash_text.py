"""The words themselves; what bash makes of them is in test_shell."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from remote_shell.process.bash_text import report_text, run_text, source_text, start_text


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_any_bytes_come_out_of_the_quotes_as_they_went_in(locale: str) -> None:
    rng = random.Random(7)
    every = bytes(byte for byte in range(1, 256))
    for text in [
        every,
        b"'",
        b"''",
        b"'\\''",
        b"\\",
        b"\\\n",
        b'$x `y` "z" !!',
        *(rng.randbytes(200).replace(b"\0", b"'") for _ in range(20)),
    ]:
        quoted = source_text(text, b"/dev/null", b"").removeprefix(b"\\builtin \\eval ").rpartition(b" 0<")[0]
        script = b"printf %s " + quoted
        assert subprocess.run([b"bash", b"-c", script], capture_output=True, env={"LC_ALL": locale}).stdout == text


@pytest.mark.parametrize("flags", [b"", b"himBHs"])
def test_without_tracing_the_line_is_untouched(flags: bytes) -> None:
    assert source_text(b"a b", b"/x", flags) == b'\\builtin \\eval "a b" 0</x 46>&- 47>&-'


def test_tracing_is_switched_on_again() -> None:
    assert b'"set -x;a"' in source_text(b"a", b"/x", b"hx")
    assert b'"set -v\na"' in source_text(b"a", b"/x", b"hv")


@pytest.mark.parametrize("line", [b"a", b"a | cat <<E\nx\nE", b"a | b \\"])
def test_statuses_are_asked_for_only_where_that_is_safe(line: bytes) -> None:
    assert source_text(line, b"/x", b"", statuses=True) == source_text(line, b"/x", b"")
    assert b"__remote_shell_pipe" in source_text(b"a | b # c", b"/x", b"", statuses=True)


def test_a_typed_line_never_holds_a_users_text() -> None:
    assert run_text(12).count(b"\n") == 1
    assert run_text(12).endswith(report_text(12))


def test_no_prompt_is_shown_on_the_stderr_that_the_first_line_sets() -> None:
    assert start_text(70, 71, 72).startswith(
        b"PS1= PS2=; \\builtin unset -v PROMPT_COMMAND HISTFILE; exec 2>&70 47>&71 46<&72 70>&- 71>&- 72>&-\n"
    )


@pytest.mark.parametrize("lines", [1, 2])
def test_a_shell_that_is_hung_up_while_it_starts_leaves_no_line_of_ours_in_the_history(
    lines: int, tmp_path: Path
) -> None:
    typed = b"".join(start_text(70, 71, 72).splitlines(keepends=True)[:lines]) + b"kill -HUP $$\n"
    script = "exec bash --noprofile --norc -i 70>/dev/null 71>/dev/null 72</dev/null"
    subprocess.run(["bash", "-c", script], input=typed, env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]})
    left = tmp_path / ".bash_history"
    assert not left.exists(), left.read_text()
