from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest

from remote_shell.errors import (
    CommandError,
    CommandNotExecutableError,
    CommandNotFoundError,
    CommandRefusedError,
    CommandTooLongError,
    WorkingDirectoryError,
)
from remote_shell.process.launch import find_program
from tests.process.recorder import ENV, python_in_fresh_process, run, start


async def refusal(*argv: bytes, cwd: bytes = b"/", env: dict[bytes, bytes] | None = None) -> CommandError:
    with pytest.raises(CommandError) as caught:
        start(argv, cwd=cwd, env=ENV if env is None else env)
    return caught.value


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", [b"no-such-program", b"/no/such/program", b"./no-such-program", b""])
async def test_a_program_that_is_not_there(name: bytes) -> None:
    error = await refusal(name)
    assert type(error) is CommandNotFoundError
    assert isinstance(error, FileNotFoundError)
    assert error.filename == os.fsdecode(name)


async def test_the_text_names_the_path_that_was_searched() -> None:
    error = await refusal(b"nope", env={b"PATH": b"/opt/none"})
    assert isinstance(error, CommandNotFoundError) and "PATH=/opt/none" in error.detail


async def test_the_path_is_that_of_the_given_environment(tmp_path: Path) -> None:
    script(tmp_path / "greet", "#!/bin/sh\necho hi\n")
    assert (await run(["greet"], env={b"PATH": os.fsencode(tmp_path)})).out == b"hi\n"
    assert type(await refusal(b"greet")) is CommandNotFoundError


async def test_without_path_the_usual_folders_are_searched() -> None:
    assert (await run(["echo", "x"], env={})).out == b"x\n"


async def test_relative_entries_of_path_and_relative_programs_are_under_the_commands_directory(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "greet", "#!/bin/sh\necho hi\n")
    cwd = os.fsencode(tmp_path)
    assert (await run(["greet"], env={b"PATH": b"bin:/bin"}, cwd=cwd)).out == b"hi\n"
    assert (await run(["greet"], env={b"PATH": b":/bin"}, cwd=cwd + b"/bin")).out == b"hi\n"
    assert (await run(["bin/greet"], cwd=cwd)).out == b"hi\n"


async def test_the_search_goes_on_behind_what_cannot_run(tmp_path: Path) -> None:
    for name in ("file", "folder", "good"):
        (tmp_path / name).mkdir()
    script(tmp_path / "file" / "tool", "#!/bin/sh\n", 0o644)
    (tmp_path / "folder" / "tool").mkdir()
    good = script(tmp_path / "good" / "tool", "#!/bin/sh\n")
    path = b":".join(os.fsencode(tmp_path / name) for name in ("missing", "file", "folder", "good"))
    assert find_program(b"tool", b"/", {b"PATH": path}) == os.fsencode(good)


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("#!/bin/sh\n", 0o644, "chmod"),
        ("echo no first line\n", 0o755, "#!/bin/sh"),
        ("#!/no/such/interpreter\n", 0o755, "interpreter"),
        (None, 0o755, "directory"),
    ],
)
@pytest.mark.parametrize("by_path", [True, False])
async def test_what_is_there_but_cannot_run(
    tmp_path: Path, text: str | None, mode: int, says: str, by_path: bool
) -> None:
    tool = tmp_path / "tool"
    if text is None:
        tool.mkdir()
    else:
        script(tool, text, mode)
    error = await refusal(os.fsencode(tool) if by_path else b"tool", env={b"PATH": os.fsencode(tmp_path)})
    assert type(error) is CommandNotExecutableError
    assert isinstance(error, PermissionError)
    assert says in error.detail


async def test_a_file_is_no_directory_on_the_way() -> None:
    assert type(await refusal(b"/etc/passwd/x")) is CommandNotExecutableError


@pytest.mark.parametrize("name", [b"true", b"./true", b"/bin/true", b"no-such-program"])
async def test_a_missing_directory_is_named_whatever_the_program(name: bytes) -> None:
    error = await refusal(name, cwd=b"/no/such/place")
    assert type(error) is WorkingDirectoryError
    assert isinstance(error, FileNotFoundError)
    assert error.filename == "/no/such/place"
    assert "/no/such/place" in str(error)


async def test_a_file_as_the_directory(tmp_path: Path) -> None:
    error = await refusal(b"true", cwd=b"/etc/passwd")
    assert type(error) is WorkingDirectoryError
    assert "Not a directory" in str(error)
    program = os.fsencode(script(tmp_path / "tool", "#!/bin/sh\n"))
    assert type(await refusal(program, cwd=program)) is WorkingDirectoryError


def test_permissions_are_refusals_for_an_unprivileged_account(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    closed.mkdir()
    script(closed / "tool", "#!/bin/sh\n")
    script(tmp_path / "foreign", "#!/bin/sh\n", 0o700)
    (tmp_path / "foreign").chmod(0o600)
    closed.chmod(0o000)
    for parent in tmp_path.parents[:3]:
        if os.stat(parent).st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(0o755)
    code = f"""
import asyncio
from tests.process.recorder import start
async def main():
    for argv, cwd in ([["true"], {os.fsencode(closed)!r}], [[{str(closed / "tool")!r}], b"/"], [[{str(tmp_path / "foreign")!r}], b"/"]):
        try:
            start(argv, cwd=cwd)
        except Exception as error:
            print(type(error).__name__)
asyncio.run(main())
"""
    told = python_in_fresh_process(code, nobody=True).split()
    closed.chmod(0o755)
    assert told == ["WorkingDirectoryError", "CommandNotExecutableError", "CommandNotExecutableError"]


@pytest.mark.parametrize("size", [130 * 1024, 3_000_000])
async def test_too_long_a_command_will_not_do_later_either(size: int) -> None:
    error = await refusal(b"true", b"x" * size)
    assert type(error) is CommandTooLongError
    assert error.code == "refused", "resources would mean: try again"
    assert error.detail == "cannot start true: Argument list too long; shorten it, or send the data on stdin"


@pytest.mark.parametrize("free", range(9))
async def test_no_descriptor_leaks_wherever_they_run_out(free: int) -> None:
    """The fixture of the whole suite compares descriptors and children before and after."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        await run(["true"])  # the loop's own descriptors exist
        highest = max(map(int, os.listdir("/proc/self/fd")[:-1]))
        held = [os.dup(0) for _ in range(highest + 1 - len(os.listdir("/proc/self/fd")))]  # no gaps
        before = os.listdir("/proc/self/fd")
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) - 1 + free, hard))
        try:
            _, sink = start(["true"], stdin="pipe")
        except CommandRefusedError as error:
            assert error.code == "resources"
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert os.listdir("/proc/self/fd") == before
        else:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await sink.finished()
            assert free >= 6
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)
    assert asyncio.get_running_loop().is_running()


def test_no_more_processes_is_a_matter_of_resources() -> None:
    code = """
import asyncio, resource
from tests.process.recorder import start
async def main():
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        start(["true"])
    except Exception as error:
        print(type(error).__name__, error.code, error)
asyncio.run(main())
"""
    told = python_in_fresh_process(code, nobody=True)
    assert told.startswith(
        "CommandRefusedError resources cannot fork: Resource temporarily unavailable; the machine is out of "
    )


@pytest.mark.parametrize(
    ("argv", "cwd", "env"),
    [
        ([], b"/", {}),
        ([b"echo", b"a\0b"], b"/", {}),
        ([b"true"], b"/\0", {}),
        ([b"true"], b"/", {b"A=B": b""}),
        ([b"true"], b"/", {b"": b"x"}),
        ([b"true"], b"/", {b"A": b"\0"}),
    ],
)
async def test_nonsense_is_refused(argv: list[bytes], cwd: bytes, env: dict[bytes, bytes]) -> None:
    assert type(await refusal(*argv, cwd=cwd, env=env)) is CommandRefusedError


async def test_the_child_leads_a_session_of_its_own_without_a_terminal() -> None:
    sink = await run(["sh", "-c", "ps -o pid=,pgid=,sid=,tty= -p $$"])
    pid, group, session, terminal = sink.out.split()
    assert pid == group == session
    assert terminal == b"?"


async def test_the_child_holds_descriptors_0_1_2_only() -> None:
    inheritable = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    try:
        sink = await run(["sh", "-c", "for n in $(seq 0 99); do [ -e /proc/$$/fd/$n ] && echo $n; done; :"])
        names = set((await run(["ls", "/proc/self/fd"])).out.split())
    finally:
        os.close(inheritable)
    assert sink.out == b"0\n1\n2\n"
    assert names - {b"3"} == {b"0", b"1", b"2"}  # 3 is the folder that ls reads
