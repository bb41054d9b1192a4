"""The live shell as zsh: real ones on real terminals. What bash shows of `shell` itself is in test_shell and test_terminal_shell."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from remote_shell.process.base import Exit
from remote_shell.process.pty import Size
from remote_shell.process.shell import LiveShell
from remote_shell.process.zsh_text import ZSH
from tests.process.recorder import ENV, Recorder, eventually, is_alive, start_shell

pytestmark = pytest.mark.slow  # they need Debian's zsh


@asynccontextmanager
async def shell(home: Path | None = None) -> AsyncIterator[tuple[LiveShell, Recorder]]:
    """With `home` it reads the startup files there."""
    env = {**ENV, b"TERM": b"xterm", b"HOME": os.fsencode(home) if home is not None else b"/nonexistent"}
    made, sink = start_shell(
        shell_path=b"/usr/bin/zsh", words=ZSH, size=Size(24, 80), env=env, startup_files=home is not None
    )
    try:
        yield made, sink
    finally:
        made.kill_now()
        await sink.exited()
        made.close()
        await eventually(lambda: not made.killing)


async def run(made: LiveShell, sink: Recorder, line: str) -> tuple[int | None, str]:
    """Run one line; its status and what was shown meanwhile."""
    number, before = len(sink.dones) + 1, len(sink.out)
    made.run(number, line.encode())
    return (await sink.done(number)).status, sink.out[before:].decode()


# --- what is kept, and what is told


async def test_it_is_zsh_and_keeps_its_state() -> None:
    async with shell() as (made, sink):
        assert await run(made, sink, "print ${ZSH_VERSION%%.*} $options[zle] ${${:-abc}[2]}") == (0, "5 off b\r\n")
        assert await run(made, sink, "x=5; a=(p q); f() { print f $1 }; alias l='print aliased'; cd /usr") == (0, "")
        assert await run(made, sink, "print $x $a[2]; f y; l; pwd") == (0, "5 q\r\nf y\r\naliased\r\n/usr\r\n")
        assert made.cwd == b"/usr" and sink.err == b""
        assert await run(made, sink, "exec 7>&1; umask 027; setopt extended_glob") == (0, "")
        assert await run(made, sink, "print seven >&7; umask; [[ ab = (#i)AB ]] && print yes") == (
            0,
            "seven\r\n027\r\nyes\r\n",
        )


@pytest.mark.parametrize(
    ("line", "status", "shown"),
    [
        ("false", 1, ""),
        ("(exit 42)", 42, ""),
        ("sh -c 'kill -TERM $$'", 143, ""),
        ("if", 1, "zsh: parse error near `if'"),
        ("print 'a", 1, "zsh: unmatched '"),
        ("print ok; )", 1, "zsh: parse error near `)'"),
        ("no-such-command-here", 127, "zsh: command not found: no-such-command-here\r\n"),
        ("print no-such*file", 1, "zsh: no matches found"),
        ("print $((6*7))", 0, "42\r\n"),
        ("", 0, ""),
        ("# only a comment", 0, ""),
        ("print a # comment", 0, "a\r\n"),
        ("print '!x' !! \"it's\" # `", 0, "!x !! it's\r\n"),
        ("cat <<E\nit's $((1+1))\nE", 0, "it's 2\r\n"),
        ("for i in 1 2\ndo\nprint $i\ndone\n\n", 0, "1\r\n2\r\n"),
        ("print \\\ncontinued", 0, "continued\r\n"),
        ("print " + "x" * 3000, 0, "x" * 3000),
        ("printf '\\033]6973;1;2\\a1\\0000\\0fims\\0/\\0\\0'; (exit 3)", 3, "\x1b]6973;1;2\x07"),
    ],
)
async def test_statuses(line: str, status: int, shown: str) -> None:
    async with shell() as (made, sink):
        got, text = await run(made, sink, line)
        assert got == status and shown in text
        assert bool(shown) == bool(text)
        assert await run(made, sink, "print $?") == (0, f"{status}\r\n")


async def test_the_statuses_of_a_pipeline() -> None:
    async with shell() as (made, sink):
        for line, status, several in [
            ("false | true", 0, (1, 0)),
            ("true | (exit 3) | (exit 4) # why", 4, (0, 3, 4)),
            ("true", 0, ()),
            ("IFS=x; setopt no_unset; false | false", 1, (1, 1)),
            ("cat <<E | wc -l\nx\nE", 0, ()),
            ("setopt pipe_fail; false | true", 1, (1, 0)),
        ]:
            assert (await run(made, sink, line))[0] == status
            assert sink.dones[-1].statuses == several
            assert sink.dones[-1].duration >= 0


async def test_the_directory_is_told_whatever_its_name(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/new\nline \xff"
    os.mkdir(folder)
    async with shell() as (made, sink):
        made.run(1, b"cd '" + folder + b"'")
        assert (await sink.done(1)).cwd == folder
        await run(made, sink, "unset PWD; cd /usr; unset PWD")
        assert made.cwd == b"/usr"


async def test_children_hold_the_terminal_and_nothing_else() -> None:
    async with shell() as (made, sink):
        for line in ("sh -c 'ls /proc/$$/fd'", "sh -c 'ls /proc/$$/fd' | cat", "{ sh -c 'ls /proc/$$/fd'; } 2>&1"):
            assert (await run(made, sink, line))[1].split() == ["0", "1", "2"]
        assert (await run(made, sink, "print mine >&9; print -u 9 mine"))[0] == 1, "the report's is closed to a command"


@pytest.mark.parametrize(
    "options",
    [
        "setopt ksh_arrays no_unset sh_word_split",
        "emulate sh",
        "emulate ksh",
        "setopt warn_create_global err_return",
        "setopt correct correct_all zle prompt_cr prompt_sp; PS1='mine> '",
        "precmd() { print precmd }; preexec() { print preexec }; precmd_functions=(precmd) preexec_functions=(preexec)",
        "alias -g print=printf eval=no; eval() { no }; PS2=more",
        "setopt no_bg_nice no_notify no_monitor csh_junkie_quotes ignore_braces",
        "trap 'true' ZERR",
    ],
)
async def test_settings_do_not_disturb(options: str) -> None:
    async with shell() as (made, sink):
        await run(made, sink, options)
        for line, status, shown in [
            ("false", 1, ""),
            ("echo $?", 0, "1\r\n"),
            ("false | (exit 4)", 4, ""),
            ('echo "two words" nothing', 0, "two words nothing\r\n"),
        ]:
            assert await run(made, sink, line) == (status, shown)
        if "err_return" not in options and "ZERR" not in options:  # these come before our word that tells them
            assert sink.dones[-2].statuses == (1, 4)


async def test_tracing_shows_the_users_words_alone() -> None:
    async with shell() as (made, sink):
        await run(made, sink, "setopt xtrace")
        assert (await run(made, sink, "print a"))[1] == "+(eval):1> print a\r\na\r\n"
        assert (await run(made, sink, "print b"))[1] == "+(eval):1> print b\r\nb\r\n"
        await run(made, sink, "unsetopt xtrace")
        assert (await run(made, sink, "print c"))[1] == "c\r\n"


async def test_three_megabytes_come_before_the_end() -> None:
    async with shell() as (made, sink):
        status, text = await run(made, sink, "head -c 3000000 /dev/zero | tr '\\0' x; (exit 9)")
        assert status == 9 and text.count("x") == 3_000_000


async def test_a_line_of_a_megabyte() -> None:
    async with shell() as (made, sink):
        line = "x='" + "a'\\''y\n" * 10_000 + '$`"\\ \n' * 160_000 + "'; print ${#x}"
        assert await run(made, sink, line) == (0, "1000000\r\n")


async def test_a_background_job_prints_later() -> None:
    async with shell() as (made, sink):
        assert (await run(made, sink, "(sleep 0.05; print late) &"))[0] == 0
        await sink.until(lambda: b"late" in sink.out)
        await sink.until(lambda: b"done" in sink.out)
        assert (await run(made, sink, "print on"))[1] == "on\r\n"


# --- ^C, ^Z


async def test_ctrl_c_ends_the_command_and_not_the_shell() -> None:
    async with shell() as (made, sink):
        await run(made, sink, "x=7")
        for line in (
            *("sleep 1000; print no", "while :; do :; done", "cat", "sleep 1000 | sleep 1000", "read y; print no"),
            *("while sleep 1000; do :; done", "f() { sleep 1000; print no }; f", "(sleep 1000; print no)", "read -s z"),
        ):
            number = len(sink.dones) + 1
            made.run(number, line.encode())
            await eventually(lambda: made._current is not None and not made._typed.unread())
            assert made.signal(number, "SIGINT")
            done = await sink.done(number)
            assert (done.status, done.shell) == (130, "alive"), line
            assert await run(made, sink, "print $? $x") == (0, "130 7\r\n")
        assert b"no" not in sink.out
        assert sink.modes[-1] == "cooked"


async def test_ctrl_c_at_any_moment() -> None:
    """Before zsh has read the line, between fork and exec, after the end: the command ends, and the shell is as it was."""
    moments = random.Random(5)
    lines = (b"sleep 1000", b":", b"while :; do :; done", b"sleep 0.001", b"read y", b"sleep 1000 | sleep 1000")
    async with shell() as (made, sink):
        await run(made, sink, "x=kept")
        for number in range(2, 42):
            made.run(number, moments.choice(lines))
            await asyncio.sleep(moments.random() ** 3 * 0.02)
            while len(sink.dones) < number:
                made.signal(number, "SIGINT")
                await asyncio.sleep(0.05 if moments.random() < 0.7 else 0.0005)
            assert sink.dones[-1].shell == "alive" and sink.dones[-1].status in (0, 130)
        assert await run(made, sink, "print $x") == (0, "kept\r\n")


async def test_a_status_of_two_stays_that() -> None:
    """Zsh's own sign of a SIGINT is 2 as well."""
    async with shell() as (made, sink):
        made.run(1, b"sh -c 'trap \"exit 2\" INT; echo begun; while :; do sleep 0.01; done'")
        await sink.until(lambda: b"begun" in sink.out)
        assert made.signal(1, "SIGINT")
        assert (await sink.done(1)).status == 2
        assert await run(made, sink, "print $?") == (0, "2\r\n")


async def test_a_shell_that_interrupts_itself() -> None:
    async with shell() as (made, sink):
        made.run(1, b"kill -INT $$; sleep 0.01; print no")
        done = await sink.done(1)
        assert (done.status, done.shell) == (130, "alive")
        assert await run(made, sink, "print on") == (0, "on\r\n")


async def test_ctrl_z_stops_it_and_fg_goes_on() -> None:
    async with shell() as (made, sink):
        made.run(1, b"sh -c 'echo begun; read x; echo got $x'")
        await sink.until(lambda: b"begun" in sink.out)
        assert made.signal(1, "SIGTSTP")
        assert (await sink.done(1)).status == 148
        assert "suspended" in (await run(made, sink, "jobs"))[1]
        made.run(3, b"fg")
        await eventually(lambda: made.write_line(b"it\n"))
        assert (await sink.done(3)).status == 0
        assert b"got it" in sink.out


# --- its terminal


async def test_input_goes_to_the_command_and_what_is_left_comes_back() -> None:
    async with shell() as (made, sink):
        made.run(1, b'read a; print "<$a>"')
        await eventually(lambda: all(map(made.write_line, (b"one\n", b"two\n", b"thr"))))
        await sink.done(1)
        assert sink.unread == [b"two\nthr"] and sink.log.index("unread") < sink.log.index("done 1")
        assert b"<one>" in sink.out
        assert not made.write_line(b"nobody reads\n")
        assert await run(made, sink, "print clean") == (0, "clean\r\n"), "zsh has not seen it"


async def test_an_end_of_file() -> None:
    async with shell() as (made, sink):
        made.run(1, b"cat; print end")
        await eventually(lambda: made.write_line(b"x\n"))
        made.write_line(b"")
        assert (await sink.done(1)).status == 0
        assert sink.out == b"x\r\nend\r\n"


async def test_modes() -> None:
    async with shell() as (made, sink):
        await sink.until(lambda: sink.modes == ["cooked"])
        made.run(1, b'read -s x; print; print "<$x>"')
        await sink.until(lambda: sink.modes[-1] == "no_echo")
        made.write_line(b"secret\n")
        await sink.done(1)
        assert sink.modes == ["cooked", "no_echo", "cooked"] and sink.out.count(b"secret") == 1
        made.run(2, b"read -k 1 x; print; print key $x")
        await sink.until(lambda: sink.modes[-1] == "raw")
        made.write_stdin(b"q")
        await sink.done(2)
        assert b"key q" in sink.out
        made.run(3, b"stty raw -echo; head -c 1 | od -An -tx1; stty sane")
        await sink.until(lambda: sink.modes[-1] == "raw")
        made.write_stdin(b"\xe4")
        await sink.done(3)
        assert sink.modes[-1] == "cooked" and b"e4" in sink.out


async def test_a_program_killed_in_raw_mode_leaves_the_terminal_as_it_was() -> None:
    async with shell() as (made, sink):
        made.run(1, b"sh -c 'stty -icanon -echo; echo ready; exec sleep 1000'")
        await sink.until(lambda: b"ready" in sink.out)
        made.write_stdin(b"\x03")
        assert (await sink.done(1)).status == 130
        assert sink.modes[-1] == "cooked"
        assert (await run(made, sink, "stty -a | tr ' ' '\\n' | grep icanon"))[1] == "icanon\r\n"
        await run(made, sink, "stty -icanon -echo")
        assert sink.modes[-2:] == ["cooked", "raw"], "who asks for it has it"


async def test_resize_reaches_the_foreground() -> None:
    async with shell() as (made, sink):
        made.run(1, b"sh -c 'trap \"stty size; exit 0\" WINCH; echo ready; while :; do sleep 0.01; done'")
        await sink.until(lambda: b"ready" in sink.out)
        made.resize(Size(33, 99))
        await sink.done(1)
        assert b"33 99" in sink.out
        assert (await run(made, sink, "print $LINES $COLUMNS"))[1] == "33 99\r\n"


# --- its end


@pytest.mark.parametrize("other", ["sh -c 'echo other; read x; exit 6'", "bash --norc -c 'echo other; read; exit 6'"])
async def test_exec_is_told_and_the_end_too(other: str) -> None:
    async with shell() as (made, sink):
        made.run(1, f"exec {other}".encode())
        done = await sink.done(1)
        assert (done.shell, done.status) == ("replaced", None)
        await sink.until(lambda: b"other" in sink.out)
        assert made.write_line(b"\n")
        assert await sink.exited() == Exit(6, None)


@pytest.mark.parametrize("line", ["exit 5", "setopt err_exit; (exit 5)", "kill -KILL $$"])
async def test_what_ends_the_shell(line: str) -> None:
    async with shell() as (made, sink):
        made.run(1, line.encode())
        done = await sink.done(1)
        assert (done.shell, done.status, done.signal) == (
            ("ended", None, "SIGKILL") if "kill" in line else ("ended", 5, None)
        )


async def test_err_exit_is_not_tripped_by_our_own_words() -> None:
    async with shell() as (made, sink):
        assert (await run(made, sink, "setopt err_exit; PS1='> '; precmd() { :; }"))[0] == 0
        assert (await run(made, sink, "true | true"))[0] == 0
        assert sink.dones[-1].shell == "alive"


async def test_it_ends_by_itself_and_background_jobs_live_on() -> None:
    async with shell() as (made, sink):
        _, text = await run(made, sink, "trap 'print trapped' EXIT; sleep 1000 & print $!")
        pid = int(text.split()[-1])
        await run(made, sink, "(exit 3)")
        made.end()
        assert await sink.exited() == Exit(3, None)
        assert b"trapped" in sink.out and b"SIGHUP" not in sink.out and is_alive(pid)
        os.kill(pid, signal.SIGKILL)


async def test_who_takes_our_words_away_has_no_shell_but_no_hang() -> None:
    async with shell() as (made, sink):
        made.run(1, b"unfunction -m '*'")
        assert (await sink.done(1)).shell == "ended"


async def test_a_timeout_climbs_the_ladder() -> None:
    async with shell() as (made, sink):
        made.run(1, b"trap '' INT; sh -c 'trap \"\" INT; echo $$; sleep 1000'", timeout=0.1)
        await sink.until(lambda: b"\n" in sink.out)
        pid = int(sink.out)
        done = await sink.done(1)
        assert done.timed_out and done.shell == "alive"
        await eventually(lambda: not is_alive(pid))


# --- startup files


RC = """
HISTFILE=$HOME/history SAVEHIST=1000 HISTSIZE=1000
setopt share_history inc_append_history correct correct_all prompt_cr prompt_subst auto_cd
autoload -Uz compinit promptinit add-zsh-hook
compinit -u -d $HOME/dump; promptinit; prompt adam1
bindkey -e
PS1='mine> ' RPS1=right PS2='more> '
precmd() { print -n PRECMD }
hook() { print HOOK }
add-zsh-hook precmd hook; add-zsh-hook preexec hook; add-zsh-hook zshaddhistory hook
zle-line-init() { print LINE; }
zle -N zle-line-init
alias greet='print hello'
alias -g G='| grep'
cd $HOME
"""


async def test_the_four_startup_files_are_read_in_order(tmp_path: Path) -> None:
    for file in (".zlogin", ".zshrc", ".zprofile", ".zshenv"):
        (tmp_path / file).write_text(f"order+=({file})\n")
    async with shell(tmp_path) as (made, sink):
        status, text = await run(made, sink, "print $order; [[ -o login && -o interactive ]] && print login")
        assert (status, text) == (0, ".zshenv .zprofile .zshrc .zlogin\r\nlogin\r\n")


async def test_themes_hooks_and_plugins_do_not_disturb(tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text(RC)
    (tmp_path / "history").write_text("old\n")
    (tmp_path / "evil").touch()  # what `correct_all` would take for `eval`
    async with shell(tmp_path) as (made, sink):
        assert (await run(made, sink, "greet"))[1].endswith("hello\r\n")
        assert sink.out.count(b"PRECMD") == 1, "before our first word, and no more"
        first = len(sink.out)
        assert await run(made, sink, "print a b G b") == (0, "a b\r\n")
        assert await run(made, sink, "[[ -o zle ]] || print no editor; false") == (1, "no editor\r\n")
        assert (await run(made, sink, "print $? $PS1"))[1] == "1\r\n"
        assert (await run(made, sink, "PS1='x> '; setopt zle correct_all; precmd() { print again }"))[1] == ""
        assert await run(made, sink, "/usr; pwd") == (0, "/usr\r\n")
        for word in (b"mine>", b"HOOK", b"PRECMD", b"LINE", b"right", b"again", b"x>"):
            assert word not in sink.out[first:]
        made.end()
        await sink.exited()
    assert (tmp_path / "history").read_text() == "old\n"


async def test_a_startup_file_that_fails_or_prints(tmp_path: Path) -> None:
    (tmp_path / ".zshenv").write_text("print -u 2 unheard\nprint heard\nif\n")
    (tmp_path / ".zshrc").write_text("no-such-command; false; setopt no_unset; x=2\n")
    async with shell(tmp_path) as (made, sink):
        status, text = await run(made, sink, "print $x")
        assert status == 0 and text.startswith("heard\r\n") and text.endswith("2\r\n")


async def test_a_new_user_is_not_asked_for_settings() -> None:
    """Zsh offers a menu to an account without startup files, unless that is root's."""
    become = "setpriv --reuid=65534 --regid=65534 --clear-groups " if os.geteuid() == 0 else ""
    with tempfile.TemporaryDirectory() as folder:  # where another account gets to, as it does not to tmp_path
        os.chmod(folder, 0o755)
        home, program = Path(folder, "home"), Path(folder, "zsh")
        home.mkdir()
        home.chmod(0o777)
        program.write_text(f'#!/bin/sh\nexec {become}zsh "$@"\n')
        program.chmod(0o755)
        env = {**ENV, b"TERM": b"xterm", b"HOME": bytes(home)}
        made, sink = start_shell(
            shell_path=bytes(program), words=ZSH, size=Size(24, 80), env=env, startup_files=True, cwd=bytes(home)
        )
        await run(made, sink, "true")
        assert (b"permission denied" in sink.out) is bool(become), "the terminal is our account's"
        assert b"newuser" not in sink.out and sink.modes == ["cooked"] and not os.listdir(home)
        made.kill_now()
        await sink.exited()
        made.close()


async def test_a_startup_file_that_ends_or_replaces_the_shell(tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text("exit 3\n")
    async with shell(tmp_path) as (made, sink):
        made.run(1, b"print never")
        assert await sink.exited() == Exit(3, None)
        assert sink.dones[-1].shell == "ended" and b"never" not in sink.out


async def test_without_startup_files_none_is_read(tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text("print read\n")
    env = {**ENV, b"HOME": os.fsencode(tmp_path)}
    made, sink = start_shell(shell_path=b"/usr/bin/zsh", words=ZSH, size=Size(24, 80), env=env)
    assert await run(made, sink, "print $options[login] $options[rcs]") == (0, "off off\r\n")
    made.kill_now()
    await sink.exited()
    made.close()


async def test_a_startup_file_that_asks_is_answered(tmp_path: Path) -> None:
    (tmp_path / ".zshrc").write_text('read -q "answer?sure? "; print; read name </dev/tty; print "$answer $name."\n')
    async with shell(tmp_path) as (made, sink):
        made.run(1, b"print on")
        await sink.until(lambda: b"sure? " in sink.out and sink.modes[-1] == "raw")
        made.write_stdin(b"y")
        await sink.until(lambda: sink.modes[-1] == "cooked")
        assert made.write_line(b"me\n")
        assert (await sink.done(1)).status == 0
        assert sink.out.endswith(b"y me.\r\non\r\n")
