"""shells and attach over real sockets: what a client could do wrong, or to another, and what the server answers."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.output import Output
from remote_shell.wire.events import Answered
from remote_shell.wire.messages import (
    CLOSE,
    Attached,
    Detach,
    Detached,
    Done,
    LeftShell,
    Line,
    Mode,
    Shells,
    Terminal,
    Unread,
)
from remote_shell.wire.messages import Command as CommandMessage

from ...wire.raw import control
from ...wire.test_messages import EXAMPLES
from ..conftest import Place, descriptors
from ..raw_client import Command, RawClient, until

pytestmark = pytest.mark.screen  # as a file it takes long

TERMINAL = Terminal(term="xterm", rows=24, columns=80)


class Seat:
    """A channel with a shell on a terminal, started here or taken over."""

    def __init__(self, client: RawClient, taken: str | None = None, **fields: Any) -> None:
        self.client = client
        self.id = taken or secrets.token_hex(8)
        request = "shell" if taken is None else "attach"
        said = {"request": request, "id": self.id, "terminal": TERMINAL, "stdin": "pipe", **fields}
        self.channel = client.open(None, **said)
        self.command: Command = client.commands[self.channel]
        client.wait(lambda: self.command.opened or self.command.others or self.command.rejected, request)

    def said(self, kind: type[Any]) -> Any:
        """The last message of a kind that came, or None."""
        return next((one for one in reversed(self.command.others) if isinstance(one, kind)), None)

    def send(self, message: Any) -> None:
        self.client.session.send_message(self.channel, message)
        self.client.flush()

    def run(self, number: int, line: str) -> None:
        """Send a command, and do not wait."""
        self.send(CommandMessage(number=number, line=line))

    def wait_text(self, text: bytes) -> None:
        self.client.wait(lambda: text in self.command.text(), repr(text))

    def wait_detached(self) -> Detached:
        self.client.wait(lambda: self.said(Detached) and self.command.closed, "detached and closed")
        told = self.said(Detached)
        assert isinstance(told, Detached)
        return told


def listed(client: RawClient) -> list[str]:
    """The ids that the server lists."""
    return [one.id for one in shells(client)]


def shells(client: RawClient) -> list[LeftShell]:
    """What the server lists."""
    channel = client.open(None, request="shells")
    command = client.commands[channel]
    client.wait(lambda: command.closed, "the list")
    answer = command.others[0]
    assert isinstance(answer, Shells)
    return answer.shells


def test_what_is_refused(place: Place) -> None:
    """A shell that there is not, a shell without a terminal, a command that is no shell, no terminal to attach it to."""
    with place.connect() as client:
        piped = Seat(client, terminal=None)
        running, _ = client.start(["sleep", "1000"], id="sleep-1")
        mine = Seat(client)
        for wanted in ("no-such", piped.id, "sleep-1"):
            refused = Seat(client, wanted).command.rejected
            assert refused is not None and refused.code == "no_such_shell", wanted
        refused = Seat(client, mine.id, terminal=None).command.rejected
        assert refused is not None and refused.code == "bad_request"
        assert not mine.said(Detached), "a refused request takes it from nobody"
        client.session.send_message(running, Detach())
        client.session.send_message(piped.channel, Detach())
        mine.run(1, "echo alive")
        mine.wait_text(b"alive")


def test_one_takes_it_from_oneself(local: Place) -> None:
    """On another channel of the same session: as from anybody."""
    with local.connect() as client:
        first = Seat(client)
        first.run(1, "echo one; read x; echo got $x")
        first.wait_text(b"one")
        second = Seat(client, first.id)
        assert first.wait_detached().by
        told = second.said(Attached)
        assert (told.number, told.line) == (1, "echo one; read x; echo got $x")
        client.wait(lambda: second.said(Mode), "the mode")
        second.send(Line(mode=second.said(Mode).number, text="me"))
        second.wait_text(b"got me")


def test_who_came_back_from_elsewhere_is_listed_there(served: Any) -> None:
    """And named to who is in the list, and in the word to who loses the shell."""
    place = Place(served, "tls")
    with place.connect() as watch, place.connect() as client:
        seat = Seat(client)
        assert [one.holder for one in shells(watch) if one.id == seat.id] == ["127.0.0.1"]
        client.source = "127.0.0.2"
        assert client.resume()
        assert [one.holder for one in shells(watch) if one.id == seat.id] == ["127.0.0.2"]
        seat.send(Detach())
        seat.wait_detached()
        assert [one.holder for one in shells(watch) if one.id == seat.id] == ["127.0.0.2"], "who had it last"
        Seat(watch, seat.id).send(CLOSE)


def test_another_principal_sees_and_takes_nothing(local: Place, served: Any) -> None:
    """By its id neither, which is no secret of a kind that a guess could find, and is not told."""
    with local.connect() as mine, local.connect_by_secret() as stranger:
        seat = Seat(mine)
        assert listed(stranger) == [] and stranger.welcome.left == 0
        refused = Seat(stranger, seat.id).command.rejected
        assert refused is not None and refused.code == "no_such_shell"
        with local.connect() as again:
            assert listed(again) == [seat.id]


def test_detaching_twice_and_closing_at_once(local: Place) -> None:
    """`close` right behind `detach` does not end the shell, and its holder can be changed under its hands."""
    with local.connect() as client:
        seat = Seat(client)
        seat.send(Detach())
        seat.send(CLOSE)
        client.wait(lambda: seat.command.closed, "closed")
        again = Seat(client, seat.id)
        again.send(Detach())
        third = Seat(client, seat.id)
        third.run(1, "echo alive")
        third.wait_text(b"alive")
        assert again.wait_detached() is not None


def test_credit_goes_to_who_sent(local: Place, tmp_path: Path) -> None:
    """What the holder before had sent, and the program takes after the change, is no credit of the new one's: that would be an error."""
    with local.connect() as first, local.connect() as second:
        seat = Seat(first)
        wait = f"until [ -e {tmp_path}/go ]; do sleep 0.01; done"
        seat.run(1, f"stty raw -echo; echo ready; {wait}; head -c 150000 | wc -c; stty sane")
        seat.wait_text(b"ready")
        first.wait(lambda: seat.said(Mode) and seat.said(Mode).mode == "raw", "raw")
        first.session.send_data(seat.channel, 0, b"k" * 100_000)
        first.session.measure(time.monotonic())
        first.wait(lambda: any(isinstance(event, Answered) for event in first.events), "the keys are with the server")
        taken = Seat(second, seat.id)
        seat.wait_detached()
        second.session.send_data(taken.channel, 0, b"m" * 60_000)
        (tmp_path / "go").touch()
        second.wait(lambda: b"150000" in taken.command.text(), "all keys were read")
        assert not second.ended and second.disconnect is None
    assert "Traceback" not in local.running.read_log()


def test_keys_are_credited(local: Place) -> None:
    """More of them than a window holds get there: a long paste into a program that reads keys."""
    with local.connect() as client:
        seat = Seat(client)
        seat.run(1, "stty raw -echo; echo ready; head -c 1000000 | wc -c; stty sane")
        seat.wait_text(b"ready")
        client.wait(lambda: seat.said(Mode) and seat.said(Mode).mode == "raw", "raw")
        client.session.send_data(seat.channel, 0, b"k" * 1_000_000)
        seat.wait_text(b"1000000")


@pytest.mark.parametrize(("setting", "mode", "given"), [("-echo", "no_echo", False), ("echo", "cooked", True)])
def test_what_was_typed_unseen_is_nobody_elses(
    local: Place, tmp_path: Path, setting: str, mode: str, given: bool
) -> None:
    """A password that came too late for its question is not given to who attaches; a line that could be seen is."""
    with local.connect() as first, local.connect() as second:
        seat = Seat(first)
        seat.run(1, f"stty {setting}; echo ready; until [ -e {tmp_path}/go ]; do sleep 0.01; done; stty echo")
        seat.wait_text(b"ready")
        first.wait(lambda: seat.said(Mode).mode == mode, mode)
        seat.send(Line(mode=seat.said(Mode).number, text="correct horse"))
        seat.send(Detach())
        seat.wait_detached()
        (tmp_path / "go").touch()
        until(lambda: [one.line for one in shells(second) if one.id == seat.id] == [None], "the command ends")
        again = Seat(second, seat.id)
        again.run(2, "true")
        second.wait(lambda: again.said(Done), "the next")
        assert ("correct horse" in str(again.command.others)) is given


def test_back_and_forth_leaves_nothing(local: Place) -> None:
    """Fifty changes of hands: the shell is the same, each holder is told, no descriptor more."""
    with local.connect() as first, local.connect() as second:
        seat = Seat(first)
        before = descriptors(local.running.process.pid)
        for turn in range(50):
            taken = Seat(second if turn % 2 == 0 else first, seat.id)
            assert seat.wait_detached().by
            seat = taken
        until(lambda: descriptors(local.running.process.pid) <= before, "no descriptor more")
        seat.run(1, "echo $((6 * 7))")
        seat.wait_text(b"42")
        told = Seat(second, seat.id).said(Attached)
        assert told.status in (0, None)


def test_a_holder_that_does_not_read_is_no_hindrance(local: Place) -> None:
    """Its shell stands still with a full window; who attaches sets it going, and has what was not seen."""
    with local.connect() as first, local.connect() as second:
        seat = Seat(first)
        seat.command.paused = True
        seat.run(1, "seq 200000; echo the end")
        first.wait(lambda: seat.command.size >= 256 * 1024, "the window is full")
        taken = Seat(second, seat.id)
        taken.command.keep = 2**22
        taken.wait_text(b"the end")
        text = taken.command.text()
        numbers = [int(line) for line in text.split(b"\r\n") if line.isdigit()]
        assert numbers == list(range(numbers[0], 200_001)), "in order, each once"
        assert numbers[0] < 60_000, "what the first had not read is there"


def test_an_ended_session_keeps_only_where_that_was_said(local: Place) -> None:
    """By `on_lost` of its last login."""
    with local.connect() as watch:
        for keep in (False, True):
            client = local.connect(grace_ms=0, on_lost="keep" if keep else "kill")
            seat = Seat(client)
            client.cut()
            if keep:
                until(lambda seat=seat: seat.id in listed(watch), "kept")  # type: ignore[misc]
                Seat(watch, seat.id).send(CLOSE)
            until(lambda seat=seat: seat.id not in listed(watch), "gone")  # type: ignore[misc]


@pytest.mark.parametrize("word", ["command", "line", "resize", "signal", "data"])
def test_after_detach_only_close_is_allowed(local: Place, word: str) -> None:
    """Anything else ends the session, as everywhere."""
    client = local.connect()
    seat = Seat(client)
    seat.send(Detach())
    if word == "data":
        client.say(b"\0\0\0\1\0" + seat.channel.to_bytes(4, "big") + b"x")
    else:
        client.say(control({"type": word, **EXAMPLES[word]}, seat.channel))
    assert client.wait_end() == "unexpected_message"
    with local.connect() as other:  # it was left before the fault, and stays
        assert Seat(other, seat.id).said(Attached)


def test_what_exec_put_in_the_shells_place_still_runs(local: Place) -> None:
    """It is listed with its line, and who attaches waits for it as who started it does."""
    with local.connect() as first, local.connect() as second:
        seat = Seat(first)
        line = "exec bash -c 'echo in; read x; echo got $x; exit 7'"
        seat.run(1, line)
        seat.wait_text(b"in")
        first.wait(lambda: seat.said(Done), "it was replaced")
        taken = Seat(second, seat.id)
        told = taken.said(Attached)
        assert (told.number, told.line) == (1, line)
        second.wait(lambda: taken.said(Done) and taken.said(Mode), "that is told as well")
        assert taken.said(Done).shell == "replaced"
        taken.send(Line(mode=taken.said(Mode).number, text="me"))
        taken.wait_text(b"got me")
        second.wait(lambda: taken.command.exit, "its end")
        assert taken.command.exit is not None and taken.command.exit.status == 7


def test_what_switches_modes_on_is_no_missed_output(local: Place) -> None:
    """Who attached and was gone before it read anything has missed the output, and nothing is said to be lost."""
    with local.connect() as first, local.connect() as second, local.connect() as third:
        seat = Seat(first)
        seat.run(
            1, r"stty raw -echo; printf '\033[?1049h\033[?1000hseen'; read -n 1 x; stty sane; seq 30; echo the end"
        )
        seat.wait_text(b"seen")
        first.wait(lambda: seat.said(Mode) and seat.said(Mode).mode == "raw", "raw")
        first.session.measure(time.monotonic())
        first.wait(lambda: any(isinstance(event, Answered) for event in first.events), "seen, and known to be")
        first.session.send_data(seat.channel, 0, b"q")
        seat.send(Detach())
        seat.wait_detached()
        until(lambda: _line_of(third, seat.id) is None, "it has ended")
        hasty = second.open(None, request="attach", id=seat.id, terminal=TERMINAL, window=0)
        second.wait(lambda: second.commands[hasty].others, "attached, and nothing can be read")
        taken = Seat(third, seat.id)
        taken.wait_text(b"the end")
        assert taken.said(Attached).dropped == 0
        assert b"\r\n".join(b"%d" % number for number in range(1, 31)) in taken.command.text()


def _line_of(client: RawClient, wanted: str) -> Any:
    """What runs in a shell, as the list tells."""
    channel = client.open(None, request="shells")
    client.wait(lambda: client.commands[channel].closed, "the list")
    return next(one.line for one in client.commands[channel].others[0].shells if one.id == wanted)


def _is_away(client: RawClient, wanted: str) -> bool:
    """Whether no connected client holds it."""
    return [one.away_ms is not None for one in shells(client) if one.id == wanted] == [True]


def test_a_command_that_was_a_fault_is_not_taken_for_one_that_runs(local: Place) -> None:
    """It ends the session; the shell that is kept has never been given it."""
    client = local.connect(grace_ms=0, on_lost="keep")
    seat = Seat(client)
    seat.run(1, "true")
    client.wait(lambda: seat.said(Done), "done")
    seat.run(9, "never")
    assert client.wait_end() == "bad_message"
    with local.connect() as other:
        taken = Seat(other, seat.id)
        assert (taken.said(Attached).number, taken.said(Attached).line) == (1, None)
        taken.run(2, "echo $((6 * 7))")
        taken.wait_text(b"42")


def test_what_an_ended_command_left_on_is_not_switched_on_again(local: Place) -> None:
    """Whose client has undone it: the next command would write on the wrong screen."""
    with local.connect() as first, local.connect() as second:
        seat = Seat(first)
        seat.run(1, r"printf '\033[?1049h\033[?1000hleft on'")
        first.wait(lambda: seat.said(Done), "done")
        seat.run(2, r"printf '\033[?2004hon'; stty raw -echo; echo ready; read -n 1 x; stty sane; echo the end")
        seat.wait_text(b"ready")
        first.wait(lambda: seat.said(Mode) and seat.said(Mode).mode == "raw", "raw")
        first.session.measure(time.monotonic())
        first.wait(lambda: any(isinstance(event, Answered) for event in first.events), "all is seen")
        taken = Seat(second, seat.id)
        second.session.send_data(taken.channel, 0, b"q")
        taken.wait_text(b"the end")
        text = taken.command.text()
        assert b"\x1b[?2004h" in text and b"1049" not in text and b"1000" not in text


def test_what_an_ended_command_left_on_is_undone_behind_its_output(local: Place) -> None:
    """It was seen, and that is not known yet: who attaches gets it again, beside the one that runs now."""
    with local.connect() as first, local.connect() as second:
        seat = Seat(first)
        seat.run(1, r"printf '\033[?1000h\033[?1049hleft on'")
        first.wait(lambda: seat.said(Done), "done")
        seat.run(2, r"printf '\033[?2004h'; echo runs; read x")
        seat.wait_text(b"runs")
        taken = Seat(second, seat.id)
        taken.wait_text(b"runs")
        text = taken.command.text()
        assert text.rindex(b"\x1b[?1000l") > text.rindex(b"\x1b[?1000h") and text.index(b"runs") > text.rindex(
            b"\x1b[?1049l"
        )
        assert text.endswith(b"\x1b[?2004hruns\r\n"), "what runs has what it switched on"
        assert taken.said(Attached).missed == len(text)


def end_unheard(place: Place, watch: RawClient, **options: Any) -> tuple[RawClient, Seat]:
    """A shell that ends while its client's link is cut."""
    client = place.connect(**options)
    seat = Seat(client)
    go = Path(place.running.home) / f"go-{seat.id}"
    seat.run(1, f"echo in; until [ -e {go} ]; do sleep 0.01; done; echo bye; exit 5")
    seat.wait_text(b"in")
    client.cut()
    until(lambda: _is_away(watch, seat.id), "it is cut off")
    go.touch()
    return client, seat


def ended(watch: RawClient, seat: Seat) -> bool:
    """It is in the list, and has ended."""
    return [one.ended for one in shells(watch) if one.id == seat.id] == [True]


def told_of_end(client: RawClient, seat: Seat) -> None:
    """Who attaches has its last words and its status."""
    taken = Seat(client, seat.id)
    client.wait(lambda: taken.command.closed, "closed")
    assert b"bye\r\n" in taken.command.text() and taken.command.exit is not None and taken.command.exit.status == 5


def refusal(client: RawClient, ident: str) -> str:
    """Why it can't be attached."""
    refused = Seat(client, ident).command.rejected
    assert refused is not None and refused.code == "no_such_shell"
    return refused.detail


@pytest.mark.parametrize("grace_ms", [800, 60_000])
def test_an_end_in_the_grace_is_told_to_the_next(local: Place, grace_ms: int) -> None:
    """After the grace and within it; then once more to its own client, if that comes back, and to nobody else."""
    with local.connect() as watch:
        word = "did not come back within"
        before = local.running.read_log().count(word)
        client, seat = end_unheard(local, watch, grace_ms=grace_ms, on_lost="keep")
        until(lambda: ended(watch, seat), "it ends, and is offered")
        if grace_ms < 1000:
            until(lambda: local.running.read_log().count(word) > before, "expired")
        told_of_end(watch, seat)
        until(lambda: seat.id not in listed(watch), "told")
        assert re.fullmatch(r"it ended with status 5 at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+", refusal(watch, seat.id))
        if grace_ms > 1000:
            assert client.resume()
            client.wait(lambda: seat.command.closed, "the end")
            assert seat.command.exit is not None and seat.command.exit.status == 5
            client.bye()


def test_an_end_in_the_grace_is_told_to_its_own_client_alone(local: Place) -> None:
    """Which comes back in time."""
    with local.connect() as watch:
        client, seat = end_unheard(local, watch, grace_ms=60_000, on_lost="keep")
        until(lambda: ended(watch, seat), "it ends, and is offered")
        assert client.resume()
        client.wait(lambda: seat.command.closed, "the end")
        client.run(["true"])  # behind its own `close`
        assert seat.id not in listed(watch), "nothing is left to tell"
        assert refusal(watch, seat.id).startswith("it ended with status 5 at ")
        client.bye()


def test_who_is_cut_off_while_an_end_is_told_leaves_it_to_the_next(local: Place) -> None:
    with local.connect() as watch:
        _, seat = end_unheard(local, watch, grace_ms=0, on_lost="keep")
        until(lambda: ended(watch, seat), "it ends")
        hasty = local.connect(grace_ms=0, on_lost="keep")
        hasty.open(None, request="attach", id=seat.id, terminal=TERMINAL)
        hasty.cut()
        until(lambda: ended(watch, seat), "still to be told")
        told_of_end(watch, seat)


def test_how_one_ended_that_was_not_to_be_kept(local: Place) -> None:
    """By itself in the grace, or with its session: asked for, it is told; to another principal it is not."""
    with local.connect() as watch, local.connect_by_secret() as stranger:
        _, seat = end_unheard(local, watch, grace_ms=60_000)
        until(lambda: ended(watch, seat), "it ends by itself")
        with local.connect() as other:
            killed = Seat(other)
        until(lambda: killed.id not in listed(watch), "killed")
        assert re.fullmatch(r"it was ended at \d{4}-.*", refusal(watch, killed.id))
        assert refusal(stranger, killed.id).startswith("no shell of yours has this id")
        assert refusal(watch, "never-there").startswith("no shell of yours has this id")
        told_of_end(watch, seat)
        for _ in range(DEFAULT_LIMITS.terminals_left_max):
            mine = Seat(watch)
            mine.run(1, "exit 0")
            watch.wait(lambda mine=mine: mine.command.closed, "ended")  # type: ignore[misc]
        assert refusal(watch, killed.id).startswith("no shell of yours has this id"), "the last few are known"


def test_what_came_back_unread_in_the_grace_is_told_to_the_next(local: Place, tmp_path: Path) -> None:
    """Whose client never heard of it; and only then."""
    for resumed in (True, False):
        with local.connect() as watch:
            client = local.connect(grace_ms=60_000, on_lost="keep")
            seat = Seat(client)
            go = tmp_path / str(resumed)
            seat.run(1, f"echo in; until [ -e {go} ]; do sleep 0.01; done")
            seat.wait_text(b"in")
            client.wait(lambda seat=seat: seat.said(Mode), "the mode")  # type: ignore[misc]
            seat.send(Line(mode=seat.said(Mode).number, text="typed"))
            client.session.measure(time.monotonic())
            client.wait(lambda: any(isinstance(event, Answered) for event in client.events), "it is there")  # noqa: B023
            client.cut()
            until(lambda seat=seat: _is_away(watch, seat.id), "it is cut off")  # type: ignore[misc]
            go.touch()
            until(lambda seat=seat: _line_of(watch, seat.id) is None, "the command ends")  # type: ignore[misc]
            if resumed:
                assert client.resume()
                client.wait(lambda seat=seat: seat.said(Unread), "its own")  # type: ignore[misc]
                client.cut()
            taken = Seat(watch, seat.id)
            taken.run(2, "true")
            watch.wait(lambda taken=taken: taken.said(Done), "the next")  # type: ignore[misc]
            assert ("typed" in str(taken.command.others)) is not resumed


def test_more_than_a_list_holds(local: Place) -> None:
    """Those that were left are in it, though others that are in use are newer."""
    with local.connect() as client, local.connect() as other, local.connect() as third:
        left = []
        for _ in range(4):
            seat = Seat(client)
            seat.send(Detach())
            seat.wait_detached()
            left.append(seat.id)
        for _ in range(30):
            Seat(other)
        assert len(found := listed(third)) == 32 and set(left) <= set(found)
        for one in left:
            Seat(third, one).send(CLOSE)


@pytest.mark.parametrize(
    ("written", "begins"),
    [
        ("é".encode() * 5000, "é".encode()),
        ("€".encode() * 3000, "€".encode()),
        (b"\x1b[38;5;196mred" * 600, b"\x1b["),
        (b"x" * 9000, b"x"),
        (b"y" * 4000 + b"\nnext" + b"z" * 5000, b"next"),
    ],
)
def test_what_is_kept_begins_with_a_whole_line_sequence_or_character(written: bytes, begins: bytes) -> None:
    for most in range(8190, 8197):
        output = Output(dataclasses.replace(DEFAULT_LIMITS, terminal_missed_max=most))
        output.add(written)
        missed, dropped = output.take(len(written), 0, whole=True)
        assert missed.startswith(begins), missed[:20]
        assert written.endswith(missed.removeprefix(b"\x1b[m")) and dropped + len(missed) == len(written)
    output = Output(DEFAULT_LIMITS)
    output.add("é".encode() * 100)
    missed, _ = output.take(101, 50, whole=False)
    assert missed == "é".encode() * 51


def test_characters_that_came_one_by_one_cost_little_more_than_their_bytes() -> None:
    """What is kept of them, and that it is still the last."""
    output, written = Output(DEFAULT_LIMITS), b"".join(b"%06d" % number for number in range(50_000))
    tracemalloc.start()
    try:
        for at in range(0, len(written), 2):
            output.add(written[at : at + 2])
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 4 * DEFAULT_LIMITS.terminal_missed_max
    missed, dropped = output.take(len(written), 0, whole=True)
    assert written.endswith(missed.removeprefix(b"\x1b[m")) and dropped + len(missed) == len(written)


def test_who_reads_too_little_holds_nothing(local: Place) -> None:
    """A line of controls takes six bytes each in JSON: more than this client reads at once. The shell stays left."""
    with local.connect() as client:
        seat = Seat(client)
        seat.run(1, f"echo in; read x; : '{chr(1) * 16_000}'")
        seat.wait_text(b"in")
        small = RawClient(local.target, limits=dataclasses.replace(DEFAULT_LIMITS, frame_max=65_536))
        refused = Seat(small, seat.id).command.rejected
        assert refused is not None
        seat.wait_detached()
        small.bye()
        channel = client.open(None, request="shells")
        client.wait(lambda: client.commands[channel].closed, "the list")
        (one,) = client.commands[channel].others[0].shells
        assert one.away_ms is not None
        taken = Seat(client, seat.id)
        taken.send(CLOSE)
        until(lambda: seat.id not in listed(client), "gone")
