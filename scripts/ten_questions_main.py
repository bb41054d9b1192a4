"""`scripts/ten_questions` once everything is set up: what is asked, how an answer is judged, the table.

Every tool logs in to a server on this machine that was started for the questions: ours, or an sshd for all others. Each call is a process
of its own (`ten_questions_tools`), so a tool may hang or be killed. What is left running is looked for in /proc, not asked of the tool.
Exit status: 0; 1 if remote_shell fails a question, or a tool that was named can't be asked; 2 for a command line that makes no sense.
Neighbour: `bench_servers` has the servers.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import platform
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))  # it is started with -P

import _env
from bench_servers import BenchError, Place, end

Answer = dict[str, Any]

MODULES = {"paramiko": "paramiko", "fabric": "fabric", "asyncssh": "asyncssh", "parallel-ssh": "pssh"}
TOOLS = ("remote_shell", "ssh", *MODULES)
LONGEST = 60.0  # seconds that a call may take; then it hangs
LOST_LONGEST = 90.0  # seconds for what may wait for the link to come back
LEFT_AFTER = 5.0  # seconds after a timeout, within which everything has to be gone
LOST_AFTER = 75.0  # seconds after the client's end: our server gives a lost client 60 to come back
START_TIME = 20.0  # seconds until a command is seen to run
MEGA = 1_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """`good`: the tool does what its user would expect. `words` say what was seen."""

    good: bool
    words: str


class Tool:
    """One of them, and the way to it."""

    def __init__(self, name: str, version: str, python: str, place: Place) -> None:
        self.name = name
        self.version = version
        self._python = python
        self._place = place

    def start(self, line: str, *, input: str | None = None, times: int = 1, calls: int = 1,
              timeout: float | None = None, port: int | None = None) -> subprocess.Popen[bytes]:  # fmt: skip
        """A process that makes this call; `port` is a proxy's."""
        request = {
            "line": line,
            "input": input,
            "times": times,
            "calls": calls,
            "timeout": timeout,
            "where": self._where(port),
        }
        script = os.path.join(_env.ROOT, "scripts", "ten_questions_tools.py")
        process = subprocess.Popen(
            [self._python, "-P", script, self.name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def call(self, line: str, **options: Any) -> Answer:
        """Make this call and wait for its end."""
        return finish(self.start(line, **options), LONGEST)

    @property
    def port(self) -> int:
        """Of the server that it logs in to."""
        target = self._place.server.targets["tls"]
        return int(target.rpartition(":")[2]) if self.name == "remote_shell" else self._place.sshd.port

    def _where(self, port: int | None) -> dict[str, Any]:
        if self.name == "remote_shell":
            return {"target": f"tls:127.0.0.1:{port or self.port}", "options": self._place.server.options("tls")}
        sshd = self._place.sshd
        user = pwd.getpwuid(os.geteuid()).pw_name
        login = {"host": "127.0.0.1", "port": port or sshd.port, "user": user, "key": f"{sshd.folder}/user_key"}
        return {**login, "ssh": sshd.argv([], port)}


def finish(process: subprocess.Popen[bytes], longest: float) -> Answer:
    """What a call told; it is killed after `longest` seconds."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        out, _ = process.communicate(timeout=longest)
        try:
            answer: Answer = json.loads(out)
        except ValueError:
            answer = {"error": f"the process ended with {process.returncode}", "kind": "crash"}
        return answer
    kill(process)
    return {"error": f"no answer within {longest:.0f} s", "kind": "hangs"}


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the client and what it started, as the machine's own end would."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def told(answer: Answer) -> str:
    """How an answer reads in a cell."""
    if "kind" in answer:
        return str(answer["kind"])
    if answer.get("signal"):
        return f"signal {answer['signal']}"
    return str(answer["returncode"])


_numbers = itertools.count(100_000 + os.getpid())


def sleeper() -> str:
    """A duration that no other `sleep` on this machine has."""
    return f"{next(_numbers)}.25"


def sleeping(mark: str) -> list[int]:
    """Process ids of the `sleep`s of this duration; shells that hold it in a line are none of them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if file.read().split(b"\0")[:2] == [b"sleep", mark.encode()]:
                found.append(int(pid))
    return found


def running(mark: str) -> int:
    """How many there are."""
    return len(sleeping(mark))


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= until:
            return False
        time.sleep(0.05)
    return True


def end_left(mark: str) -> int:
    """End what was left running; how many."""
    left = sleeping(mark)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def ask_255(tool: Tool) -> Verdict:
    """A command that exits with 255, and a link that is cut for good in the middle of one."""
    status = tool.call("exit 255")
    mark = sleeper()
    with proxy(tool.port) as (port, cut):
        process = tool.start(f"sleep {mark}", port=port)
        begun = wait_until(lambda: running(mark) > 0, START_TIME)
        cut()
        lost = finish(process, LOST_LONGEST)
    end_left(mark)
    good = begun and status.get("returncode") == 255 and "error" in lost and lost["kind"] != "hangs"
    return Verdict(good, f"{told(status)} and {told(lost)}")


def ask_sigkill(tool: Tool) -> Verdict:
    """A command that SIGKILL ends: no status that it could have exited with."""
    answer = tool.call("kill -9 $$")
    good = answer.get("returncode") == -signal.SIGKILL or answer.get("signal") == "KILL"
    return Verdict(good, told(answer))


def ask_bytes(tool: Tool) -> Verdict:
    """Two bytes that are not UTF-8, and a line behind them."""
    wanted = b"a\xff\xfeb\nend\n"
    answer = tool.call(r"printf 'a\377\376b\n'; echo end")
    if "kind" in answer:
        return Verdict(False, told(answer))
    seen = answer["stdout"]["head"].encode("latin-1")
    return Verdict(seen == wanted, "as they are" if seen == wanted else "changed" if b"end" in seen else "cut off")


def is_whole(answer: Answer, stream: str, data: bytes) -> bool:
    return bool(answer.get(stream, {}).get("sha256") == hashlib.sha256(data).hexdigest())


def ask_both(tool: Tool) -> Verdict:
    """5 MB on stdout and on stderr at once."""
    write = "head -c 5000000 /dev/zero | tr '\\0' x"
    answer = tool.call(f"({write}; echo) & ({write}; echo) >&2; wait")
    data = b"x" * (5 * MEGA) + b"\n"
    good = is_whole(answer, "stdout", data) and is_whole(answer, "stderr", data)
    return Verdict(good, timed(answer, good))


def ask_long_line(tool: Tool) -> Verdict:
    """One line of 5 MB."""
    answer = tool.call("head -c 5000000 /dev/zero | tr '\\0' x; echo")
    good = is_whole(answer, "stdout", b"x" * (5 * MEGA) + b"\n")
    return Verdict(good, timed(answer, good))


def ask_stdin(tool: Tool) -> Verdict:
    """10 MB of stdin."""
    answer = tool.call("sha256sum", input="remember\n" + "x" * 990 + "\n", times=10_000)
    wanted = hashlib.sha256(b"".join([b"remember\n", b"x" * 990, b"\n"]) * 10_000).hexdigest()
    good = answer.get("stdout", {}).get("head", "")[:64] == wanted
    return Verdict(good, timed(answer, good))


def ask_eof(tool: Tool) -> Verdict:
    """A command that reads to the end of its stdin."""
    answer = tool.call("cat >/dev/null; echo over", input="some\n")
    good = answer.get("stdout", {}).get("head") == "over\n"
    return Verdict(good, "yes" if good else told(answer))


def ask_timeout(tool: Tool) -> Verdict:
    """What is left running, of two, once a timeout of a second has passed."""
    mark = sleeper()
    process = tool.start(f"sleep {mark} & sleep {mark}", timeout=1.0)
    begun = wait_until(lambda: running(mark) == 2, START_TIME)
    answer = finish(process, LONGEST)
    wait_until(lambda: running(mark) == 0, LEFT_AFTER)
    left = end_left(mark)
    good = begun and left == 0 and "Timeout" in told(answer)
    return Verdict(good, f"{left} of 2 left" if begun else f"did not start: {told(answer)}")


def ask_lost_client(tool: Tool) -> Verdict:
    """What is left running, of two, once the client was killed and does not come back."""
    mark = sleeper()
    process = tool.start(f"sleep {mark} & sleep {mark}")
    begun = wait_until(lambda: running(mark) == 2, START_TIME)
    kill(process)
    wait_until(lambda: running(mark) == 0, LOST_AFTER)
    left = end_left(mark)
    return Verdict(begun and left == 0, f"{left} of 2 left" if begun else "did not start")


def ask_lines(tool: Tool) -> Verdict:
    """100,000 lines."""
    answer = tool.call("seq 100000")
    good = is_whole(answer, "stdout", b"".join(b"%d\n" % number for number in range(1, 100_001)))
    return Verdict(good, timed(answer, good))


def ask_true(tool: Tool) -> Verdict:
    """How long `true` takes, on an open connection where the tool has one; median of 20."""
    answer = tool.call("true", calls=20)
    good = answer.get("returncode") == 0
    return Verdict(good, f"{answer['seconds'] * 1000:.1f} ms" if good else told(answer))


def timed(answer: Answer, good: bool) -> str:
    if "kind" in answer:
        return told(answer)
    return f"{answer['seconds']:.1f} s" if good else f"not whole, {told(answer)}"


Ask = Callable[[Tool], Verdict]
# What is timed is asked one after the other; what waits most of its time, of all tools at once.
QUESTIONS: dict[str, tuple[str, Ask]] = {
    "255": ("Exit 255 and a lost link: two things?", ask_255),
    "sigkill": ("Death by SIGKILL?", ask_sigkill),
    "bytes": ("The bytes FF FE in the output?", ask_bytes),
    "both": ("5 MB on each stream at once?", ask_both),
    "line": ("A line of 5 MB?", ask_long_line),
    "stdin": ("10 MB of stdin?", ask_stdin),
    "eof": ("The end of stdin?", ask_eof),
    "timeout": ("A timeout leaves nothing running?", ask_timeout),
    "lost": ("A killed client leaves nothing running?", ask_lost_client),
    "lines": ("100,000 lines?", ask_lines),
    "true": ("How long does `true` take?", ask_true),
}
WAITING = ("255", "lost")


@contextlib.contextmanager
def proxy(port: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """A port before 127.0.0.1:`port`, and what cuts it for good."""
    script = os.path.join(_env.ROOT, "scripts", "bench_delay.py")
    argv = [sys.executable, "-P", script, "0", "127.0.0.1", str(port)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.kill
    finally:
        end(process)


def find(names: Sequence[str], python: str, place: Place) -> list[Tool]:
    """Those that can be asked. Raises BenchError if one that was named can't be."""
    found = []
    for name in names or TOOLS:
        if name == "remote_shell":
            from remote_shell import __version__

            assert (
                place.server
            )  # started here: what a thread of a pool starts ends with that thread (`setpriv --pdeathsig`)
            found.append(Tool(name, __version__, sys.executable, place))
        elif name == "ssh":
            version = subprocess.run([place.sshd.argv([])[0], "-V"], capture_output=True, text=True).stderr
            found.append(Tool(name, version.partition(" ")[0], sys.executable, place))
        elif version := version_of(name, python):
            found.append(Tool(name, version, python, place))
        elif names:
            raise BenchError(f"{python} has no {name}; type: {python} -m pip install {name}")
    return found


def version_of(name: str, python: str) -> str:
    """Empty if that interpreter can't import it."""
    code = f"import {MODULES[name]}, importlib.metadata as m; print(m.version({name!r}))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=LONGEST)
    except OSError as error:
        raise BenchError(f"can't run {python}: {error.strerror}; --peers wants an interpreter") from None
    return done.stdout.strip() if done.returncode == 0 else ""


def answers(tools: Sequence[Tool], questions: Sequence[str]) -> dict[str, list[Verdict]]:
    """By question, a verdict a tool."""
    verdicts: dict[str, list[Verdict]] = {}
    for key in questions:
        show(QUESTIONS[key][0])
        ask = QUESTIONS[key][1]
        if key in WAITING:
            with ThreadPoolExecutor(len(tools)) as pool:
                verdicts[key] = list(pool.map(ask, tools))
        else:
            verdicts[key] = [ask(tool) for tool in tools]
    show("")
    return verdicts


def show(text: str) -> None:
    """On a terminal, what is being asked; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def table(tools: Sequence[Tool], verdicts: dict[str, list[Verdict]], *, markdown: bool) -> str:
    """One line a question, one column a tool."""
    rows = [["", *(f"{tool.name} {tool.version}" for tool in tools)]]
    for key, of_tools in verdicts.items():
        rows.append([QUESTIONS[key][0], *(f"{'✓' if one.good else '✗'} {one.words}" for one in of_tools)])
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/ten_questions", description="What does a tool do when it gets difficult?"
    )
    parser.add_argument("tools", nargs="*", metavar="TOOL", help=f"of {', '.join(TOOLS)}; all that can be had")
    parser.add_argument("--ask", action="append", choices=QUESTIONS, help="this question only; may be repeated")
    parser.add_argument(
        "--peers", default="python3", metavar="PYTHON", help="the interpreter that has the libraries (python3)"
    )
    parser.add_argument("--markdown", action="store_true", help="a table for a page")
    arguments = parser.parse_args(words)
    for name in arguments.tools:
        if name not in TOOLS:
            parser.error(f"no tool {name!r}; there are {', '.join(TOOLS)}")
    return arguments


def main(words: Sequence[str] | None = None) -> int:
    """Ask, judge, print; returns the exit status."""
    arguments = parse(words)
    signal.signal(signal.SIGTERM, leave)  # else servers would stay behind
    try:
        with Place() as place:
            tools = find(arguments.tools, arguments.peers, place)
            verdicts = answers(tools, arguments.ask or list(QUESTIONS))
    except BenchError as error:
        print(f"ten_questions: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(
        f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} CPUs, {time.strftime('%Y-%m-%d')}\n"
    )
    print(table(tools, verdicts, markdown=arguments.markdown))
    ours = [
        of_tools[at].good
        for at, tool in enumerate(tools)
        if tool.name == "remote_shell"
        for of_tools in verdicts.values()
    ]
    return 0 if all(ours) else 1


if __name__ == "__main__":
    sys.exit(main())
