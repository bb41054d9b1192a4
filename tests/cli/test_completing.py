"""What the other side is asked for completions, and what becomes of late, odd and missing answers: a real server over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import fragment_list_to_text, to_formatted_text

from remote_shell import DEVNULL, PIPE
from remote_shell.cli import completing
from remote_shell.cli.completing import Answer, RemoteCompleter
from remote_shell.cli.noted import NAMES_MAX, Noted
from remote_shell.client.async_ import AsyncHost, connect_async
from remote_shell.errors import CommandRefusedError
from tests.client.test_blocking import running_commands
from tests.proxy import Proxy

pytestmark = pytest.mark.screen  # as a file it takes long


@contextlib.asynccontextmanager
async def completer(target: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RemoteCompleter]:
    """One that has much time, in the folder `work`: the machine may be busy."""
    monkeypatch.setattr(completing, "DEADLINE", 10.0)
    async with connect_async(target) as host:
        yield RemoteCompleter(host, lambda: str(work))


async def lines(asked: RemoteCompleter, text: str, after: str = "") -> list[str]:
    """The whole lines that could come of it."""
    answer = await asked.ask(text)
    found = answer.completions(text, after)
    return [text[: len(text) + one.start_position] + one.text + after for one in found]


async def test_files_and_folders(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a dir").mkdir()
    (tmp_path / "a dir" / "x").mkdir()
    for name in ("a1", "b", ".hidden", "-f", "a dir/run"):
        (tmp_path / name).touch()
    (tmp_path / "a dir" / "run").chmod(0o700)
    (tmp_path / "a dir" / "data").touch()
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert await lines(asked, "ls a") == ["ls a\\ dir/", "ls a1 "]
        assert await lines(asked, "ls ") == ["ls -f ", "ls a\\ dir/", "ls a1 ", "ls b "]
        assert await lines(asked, "ls .") == ["ls .hidden "]
        assert await lines(asked, "ls ..") == ["ls ../"]
        assert await lines(asked, "ls -") == ["ls -f "]
        assert await lines(asked, "cd ") == ["cd a\\ dir/"]
        assert await lines(asked, "cd ..") == ["cd ../"]
        assert await lines(asked, "./a\\ dir/") == ["./a\\ dir/run ", "./a\\ dir/x/"]
        assert await lines(asked, f"ls '{tmp_path}/a d") == [f"ls '{tmp_path}/a dir'/"]
        assert await lines(asked, "ls b", " c") == ["ls b c"], "one blank is enough"
        assert await lines(asked, "ls nothing") == []
        assert await lines(asked, "ls /root/../proc/self/cmdl") == ["ls /root/../proc/self/cmdline "]


ODD = [
    b"a\nb",
    b"a'b",
    b'a"b',
    b"a\x1b[31m",
    b"a\xff\xfe",
    "aü€".encode(),
    b"a$(touch pwned)",
    b"a`id`",
    b"a*",
    b"a\\",
    b"a ",
]


async def test_any_name_survives_and_none_is_obeyed(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ODD:
        (tmp_path / os.fsdecode(name)).touch()
    async with completer(target, tmp_path, monkeypatch) as asked:
        found = (await asked.ask("ls a")).completions("ls a", "")
        for one in found:
            assert one.text.isprintable()
            assert fragment_list_to_text(to_formatted_text(one.display)).isprintable()
        words = " ".join(one.text for one in found)
        done = subprocess.run(["bash", "-c", f"printf '%s\\0' {words}"], stdout=subprocess.PIPE, check=True)
        assert sorted(done.stdout.split(b"\0")[:-1]) == sorted(ODD)
        for hostile in ("$(touch pwned)", "a$(touch pwned)", "*", "'; touch pwned; '", "\\`id\\`"):
            for before in ("ls ", "ls \\", "git checkout ", "unset ", "ls ~", "ls ~/", "which "):
                await asked.ask(before + hostile)
                await asked.ask(before + "'" + hostile.replace("'", "'\\''"))
    assert not (tmp_path / "pwned").exists()


async def test_commands_variables_and_users(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert "base64 " in await lines(asked, "base")
        assert {"export ", "expr "} <= set(await lines(asked, "exp"))
        assert await lines(asked, "whil") == ["while "]
        assert await lines(asked, "!") == [], "a sign is no help"
        assert await lines(asked, "echo $HOM") == ["echo $HOME"]
        assert await lines(asked, 'echo "${HOM') == ['echo "${HOME}']
        assert await lines(asked, "echo $prefi") == [], "what the script names its own"
        assert await lines(asked, "ls ~roo") == ["ls ~root/"]
        assert "ls ~/" not in await lines(asked, "ls ~")
        asked.note(
            "zz_one=1; export ZZ_TWO; read -r zz_three; for zz_four in a; do zz_five=1 zz_six=2 ls; done; echo zz_no=1"
        )
        asked.note("zz_run() { ls; }; function zz_go { :; }; alias zz_al='ls -l'")
        assert await lines(asked, "echo $zz_") == [
            f"echo $zz_{name}" for name in ("five", "four", "one", "six", "three")
        ]
        assert await lines(asked, "unset ZZ") == ["unset ZZ_TWO"]
        assert await lines(asked, "zz_") == ["zz_al ", "zz_go ", "zz_run "]


async def test_the_home_folder(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with completer(target, tmp_path, monkeypatch) as asked:
        home = (await asked._host.run(["sh", "-c", "ls -A ~"], stdout=subprocess.PIPE, text=True)).stdout.split("\n")[0]
        assert await lines(asked, f"ls ~/{home[:4]}"), home
        assert await lines(asked, f"ls ~root/{home[:4]}"), home
        assert await lines(asked, "ls ~nobody-of-that-name/x") == []


async def test_branches_and_remotes(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    for line in (
        "init -q -b main",
        "commit -q --allow-empty -m x",
        "branch feature/one",
        "branch feature/two",
        "tag v1",
    ):
        subprocess.run([*git, *line.split()], check=True)
    subprocess.run([*git, "remote", "add", "origin", "/nowhere"], check=True)
    (tmp_path / "file").touch()
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert await lines(asked, "git checkout ma") == ["git checkout main "]
        answer = await asked.ask("git switch f")
        assert answer.shared == "feature/"
        assert await lines(asked, "git switch feature/t") == ["git switch feature/two "]
        assert await lines(asked, "git diff main..v") == ["git diff main..v1 "]
        assert await lines(asked, "git push ") == ["git push origin "]
        assert await lines(asked, "git push origin HEAD:ma") == ["git push origin HEAD:main "]
        assert await lines(asked, "git checkout fi") == ["git checkout file "], "a file, where no branch begins so"
        assert await lines(asked, "git diff /pro") == ["git diff /proc/"]


@pytest.mark.parametrize(
    ("count", "most"), [pytest.param(20_000, completing.NAMES_MAX, marks=pytest.mark.slow), (120, 20)]
)
async def test_a_huge_folder_is_answered_in_part_and_what_all_share_is_still_true(
    count: int, most: int, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completing, "NAMES_MAX", most)
    for number in range(count):
        os.close(os.open(tmp_path / f"name-{number}", os.O_CREAT | os.O_WRONLY))
    (tmp_path / "names").touch()
    (tmp_path / "zzz").mkdir()
    async with completer(target, tmp_path, monkeypatch) as asked:
        answer = await asked.ask("ls n")
        assert len(answer.names) == most and answer.shared == "name"
        common = answer.common("ls n")
        assert common is not None and common.text == "name"
        there = sum(str(number).startswith("11") for number in range(count))
        assert 0 < sum(name.startswith("name-11") for name in answer.names) < there
        assert len(await lines(asked, "ls name-11")) == there, "not taken from the part that is known"
        last = str(count - 1)
        assert f"name-{last}" not in answer.names
        assert await lines(asked, f"ls name-{last}") == [f"ls name-{last} "]
        assert await lines(asked, "ls z") == ["ls zzz/"]


async def test_long_names_are_bounded_by_their_size(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")  # it goes along, and a character would count as one there
    for number in range(1500):
        os.close(os.open(tmp_path / f"{number:04}{'ü' * 120}", os.O_CREAT | os.O_WRONLY))
    async with completer(target, tmp_path, monkeypatch) as asked:
        answer = await asked.ask("ls ")
        size = sum(len(name.encode()) + 2 for name in answer.names)
        assert completing.BYTES_MAX - 250 < size <= completing.BYTES_MAX and answer.shared == ""


# --- time and the connection


async def test_a_second_question_is_answered_from_the_first_and_a_line_makes_it_old(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").touch()
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert asked.known("ls o") is None
        assert await lines(asked, "ls o") == ["ls one "]
        assert await lines(asked, "base6") == ["base64 "]
        (tmp_path / "onto").touch()
        assert await lines(asked, "ls on") == ["ls one "]
        assert asked.known("cat on") is not None and asked.known("ls x") is None and asked.known("cd on") is None
        asked.note("touch onto")
        assert asked.known("base64") is not None
        assert await lines(asked, "ls on") == ["ls one ", "ls onto "]
        later = asyncio.get_running_loop().time() + completing._SHORT + 1
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: later)
        assert asked.known("ls on") is None and asked.known("base64") is not None


async def test_hidden_files_are_not_missed_because_others_are_known(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".x").touch()
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert await lines(asked, "ls ") == []
        assert await lines(asked, "ls .") == ["ls .x "]
        assert await lines(asked, "ls ..") == ["ls ../"]


async def test_the_directory_is_the_shells_now(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "inner").touch()
    monkeypatch.setattr(completing, "DEADLINE", 10.0)
    place = [str(tmp_path)]
    async with connect_async(target) as host:
        asked = RemoteCompleter(host, lambda: place[0])
        assert await lines(asked, "ls i") == ["ls in/"]
        place[0] += "/in"
        assert await lines(asked, "ls i") == ["ls inner "]
        place[0] += "/gone"
        assert await asked.ask("ls i") == Answer(), "a folder that is not there any more"


async def test_from_far_away(target: str, tmp_path: Path) -> None:
    """The deadline as it is: with 100 ms of way, measured or not."""
    (tmp_path / "one").touch()
    with Proxy(target, latency=0.05) as proxy:
        async with connect_async(proxy.target) as host:
            asked = RemoteCompleter(host, lambda: str(tmp_path))
            began = time.monotonic()
            assert await lines(asked, "ls o") == ["ls one "]
            assert time.monotonic() - began > 0.1
            assert asked._patience() == completing.DEADLINE + completing.UNKNOWN_ROUND_TRIP
            host.conversation.session.round_trip = 0.1
            assert asked._patience() == pytest.approx(0.25)


async def test_what_takes_longer_is_given_up_and_ended_over_there(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO that nobody writes to stands for a dead network mount."""
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(completing, "SCRIPT", f"exec cat {tmp_path}/fifo")
    monkeypatch.setattr(completing, "UNKNOWN_ROUND_TRIP", 0.0)
    async with connect_async(target) as host:
        asked = RemoteCompleter(host, lambda: str(tmp_path))
        began = time.monotonic()
        answer = await asked.ask("ls o")
        assert "no answer in time" in answer.problem and answer.names == {}
        assert completing.DEADLINE <= time.monotonic() - began < 5
        await until_gone(f"cat {tmp_path}/fifo")
        assert (await host.run(["true"])).returncode == 0


async def test_cancelling_ends_it_over_there(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.setattr(completing, "SCRIPT", f"exec cat {tmp_path}/fifo")
    async with completer(target, tmp_path, monkeypatch) as asked:
        question = asyncio.create_task(asked.ask("ls o"))
        deadline = time.monotonic() + 15
        while not running_commands(f"cat {tmp_path}/fifo"):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.005)
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        await until_gone(f"cat {tmp_path}/fifo")
        assert not asked._host.conversation.states


async def until_gone(name: str) -> None:
    deadline = time.monotonic() + 15
    while running_commands(name):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def test_without_a_connection_nothing_is_asked(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(target) as proxy:
        async with completer(proxy.target, tmp_path, monkeypatch) as asked:
            proxy.go_away()
            while asked._host.conversation.retry is None:
                await asyncio.sleep(0.005)
            answer = asked.known("ls o")
            assert answer is not None and "no contact" in answer.problem
            assert await asked.ask("ls o") == answer
            assert not asked._host.conversation.states
            proxy.go_away(False)
            while asked._host.conversation.retry is not None:
                await asyncio.sleep(0.005)
            assert await lines(asked, "ls /pro") == ["ls /proc/"]
            asked._host.conversation.over = CommandRefusedError("the session is over")
            assert "no contact" in (await asked.ask("ls /us")).problem
            asked._host.conversation.over = None


async def test_another_session_has_other_answers(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert await lines(asked, "base6") == ["base64 "]
        assert asked.known("base6") is not None
        async with connect_async(target) as other:
            asked._host = other
            assert asked.known("base6") is None


async def test_what_the_server_refuses_is_an_answer_without_names(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise CommandRefusedError("too many channels")

    async with completer(target, tmp_path, monkeypatch) as asked:
        with monkeypatch.context() as patched:
            patched.setattr(AsyncHost, "run", refuse)
            assert await asked.ask("ls o") == Answer()
        assert asked.known("ls o") is None


async def test_a_server_that_says_anything_else(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that do not begin so, empty ones, records without a name or an end."""
    monkeypatch.setattr(completing, "SCRIPT", r"printf 'fother\0\0f\0fox\0dog\0fo\x1b[2J\0fone'")
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert {*(await asked.ask("ls o")).names} == {"other", "ox", "og", "o\x1b[2J"}
        assert {*(await asked.ask("ls ")).names} == {"other", "ox", "og", "o\x1b[2J"}


async def test_the_environment_of_the_account_does_not_reach_the_script(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil").write_text("printf 'fextra\\0'\n")
    real = AsyncHost.run
    added = {"BASH_ENV": str(tmp_path / "evil"), "GLOBIGNORE": "*"}
    monkeypatch.setattr(AsyncHost, "run", lambda host, *args, **options: real(host, *args, **options, env_add=added))
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert await lines(asked, "ls e") == ["ls evil "]
        assert await lines(asked, "ls ") == ["ls evil "]


async def test_a_question_takes_nothing_from_this_terminal_and_ends_by_itself(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_with: dict[str, object] = {}
    real = AsyncHost.run

    async def run(host: AsyncHost, *args: Any, **options: Any) -> Any:
        asked_with.update(options)
        return await real(host, *args, **options)

    monkeypatch.setattr(AsyncHost, "run", run)
    async with completer(target, tmp_path, monkeypatch) as asked:
        await asked.ask("ls ")
    assert (asked_with["stdin"], asked_with["stdout"], asked_with["stderr"]) == (DEVNULL, PIPE, DEVNULL)
    assert asked_with["timeout"] == completing.THERE_MAX, "where a cut keeps the cancelling from getting there"


async def test_commands_are_files_that_can_be_run(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("zz-run", "zz-data", "zz-odd\nname"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o600 if name == "zz-data" else 0o700)
    (tmp_path / "zz-folder").mkdir()
    real = AsyncHost.run
    path = {"PATH": f"/usr/bin:{tmp_path}:/bin"}
    monkeypatch.setattr(AsyncHost, "run", lambda host, *args, **options: real(host, *args, **options, env_add=path))
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert await lines(asked, "zz-") == ["$'zz-odd\\nname' ", "zz-run "]
        assert await lines(asked, "nohup zz-r") == ["nohup zz-run "]


async def test_a_bash_that_finds_the_folder_itself(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all did before 5.2."""
    (tmp_path / ".x").touch()
    monkeypatch.setattr(completing, "SCRIPT", "shopt -u globskipdots 2>/dev/null\n" + completing.SCRIPT)
    async with completer(target, tmp_path, monkeypatch) as asked:
        assert await lines(asked, "ls .") == ["ls .x "]
        assert await lines(asked, "ls ..") == ["ls ../"]


async def test_few_answers_are_kept(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "_KEPT_MAX", 2)
    async with completer(target, tmp_path, monkeypatch) as asked:
        for text in ("ls /", "cd /", "ls /usr/", "cd /usr/"):
            assert (await asked.ask(text)).names
        assert len(asked._kept) == 2
        assert asked.known("cd /usr/") is not None and asked.known("ls /") is None


async def test_prompt_toolkits_own_way(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").touch()
    async with completer(target, tmp_path, monkeypatch) as asked:
        event = CompleteEvent(completion_requested=True)
        found = [one async for one in asked.get_completions_async(Document("ls o"), event)]
        assert [(one.text, one.start_position) for one in found] == [("one ", -1)]
        assert asked.get_completions(Document("ls o"), event) == []


# --- what is noted


def test_what_is_noted_is_bounded() -> None:
    noted = Noted()
    for number in range(NAMES_MAX + 10):
        noted.note(f"name{number}=1")
    found = noted.beginning("variable", "name")
    assert len(found) == NAMES_MAX and found[-1] == f"name{NAMES_MAX + 9}" and "name0" not in found
    noted.note(" " * 5000 + "late=1")
    assert noted.beginning("variable", "late") == [] and noted.beginning("path", "") == []


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("a=1 b+=2; c[1]=3", "a b c"),
        ("export A B=2 -x", "A B"),
        ("declare -i n=1", "n"),
        ("read -r one two", "one two"),
        ("for i in 1 2; do j=$i; done", "i j"),
        ("if x=$(y=1); then z=1; else w=2; fi", "w x y z"),
        ("ls x=1; dd if=a", ""),
        ("echo 'a", ""),
    ],
)
def test_variables_of_a_line(line: str, names: str) -> None:
    noted = Noted()
    noted.note(line)
    assert sorted(noted.beginning("variable", "")) == names.split()
