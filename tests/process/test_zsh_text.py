"""The words for zsh themselves; what zsh makes of them is in test_zsh_shell."""

from __future__ import annotations

import pytest

from remote_shell.process.bash_text import BASH
from remote_shell.process.shell_words import ShellWords
from remote_shell.process.zsh_text import ZSH, is_zsh


@pytest.mark.parametrize("path", [b"/bin/zsh", b"zsh", b"/usr/local/bin/zsh-5.9", b"/opt/zsh5", b"/bin/zsh-static"])
def test_names_of_zsh(path: bytes) -> None:
    assert is_zsh(path)


@pytest.mark.parametrize("path", [b"/bin/bash", b"/zsh/bin/fish", b"/bin/rzsh", b"/bin/zshd", b""])
def test_other_names(path: bytes) -> None:
    assert not is_zsh(path)


def test_a_login_shell_where_startup_files_are_asked_for_and_never_with_its_line_editor() -> None:
    for startup_files, option in ((True, b"-l"), (False, b"-f")):
        argv = ZSH.argv(b"/bin/zsh", startup_files=startup_files, terminal=True)
        assert argv[:2] == (b"/bin/zsh", option)
        assert b"+Z" in argv


@pytest.mark.parametrize("words", [BASH, ZSH])
def test_a_typed_line_never_holds_a_users_text(words: ShellWords) -> None:
    line = words.run_text(12, b"/proc/1/fd/2", b"/dev/pts/3")
    assert line.count(b"\n") == 1
    assert line.endswith(words.report_text(12))


def test_each_typed_line_begins_with_a_blank_which_keeps_it_out_of_the_history() -> None:
    texts = (
        *(ZSH.start_text(70, 71, 72), ZSH.report_text(1), ZSH.again_text(1), ZSH.exit_text()),
        ZSH.run_text(1, b"/proc/1/fd/2", b"/dev/pts/3"),
    )
    assert all(text.startswith(b" ") and text.endswith(b"\n") for text in texts)


def test_no_prompt_is_shown_on_the_stderr_that_the_first_words_set() -> None:
    assert ZSH.start_text(70, 71, 72).startswith(b" {\nPS1= PS2=\n\\exec 2>&70 9>&71\n")


def test_the_text_is_the_users_own() -> None:
    for line in (b"a b", b'"`$(x)\\', b"\xff"):
        assert ZSH.source_text(line, b"/x", b"", statuses=True) == line


@pytest.mark.parametrize("line", [b"a", b"a | cat <<E\nx\nE", b"a | b \\"])
def test_statuses_are_asked_for_only_where_that_is_safe(line: bytes) -> None:
    assert ZSH.source_text(line, b"/x", b"", statuses=True) == line
    assert b"\n__remote_shell_pipe" in ZSH.source_text(b"a | b # c", b"/x", b"", statuses=True)


def test_tracing_is_switched_on_again() -> None:
    assert ZSH.source_text(b"a", b"/x", b"569Xx", statuses=False) == b"set -x;a"
    assert ZSH.source_text(b"a", b"/x", b"569Xv", statuses=False) == b"set -v\na"
