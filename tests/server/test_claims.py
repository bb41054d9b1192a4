"""At most once: what is known in memory, and what the disk is asked for and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from remote_shell.errors import LedgerError
from remote_shell.limits import DEFAULT_LIMITS, Limits
from remote_shell.server.claims import Claim, Claims, request_hash
from remote_shell.server.ledger import Entry
from remote_shell.wire.messages import Exit, Open, Terminal

TRUE = Open(request="exec", id="one", window=1, argv=["true"])
FALSE = Open(request="exec", id="one", window=1, argv=["false"])
CHOSEN = TRUE.changed(once=True)
LIFE = "0123456789abcdef"


class FakeKeeper:
    """Answers when the test says so, with what it says; notes what would be done."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[Any], None]] = []
        self.done: list[tuple[str, tuple[Any, ...]]] = []

    def submit(self, work: Callable[[Any], Any], tell: Callable[[Any], None], *, hurried: bool = True) -> None:
        work(self)
        self.waiting.append(tell)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *values: self.done.append((name, values))

    def answer(self, result: Any = None) -> None:
        self.waiting.pop(0)(result)


class Scene:
    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.keeper = FakeKeeper()
        self.claims = Claims(limits, self.keeper, LIFE)

    def end(self, claim: Claim, status: int, now: float) -> None:
        self.claims.ended(claim, Exit(status=status), now, lambda: None)


def test_an_id_runs_once_and_tells_its_end_again() -> None:
    scene = Scene()
    verdict, claim = scene.claims.claim("me", TRUE, 0)
    assert verdict == "new"
    told: list[Exit] = []
    assert scene.claims.claim("me", TRUE.changed(window=7), 1) == ("again", claim)
    claim.when_ended(told.append)
    scene.end(claim, 3, 2)
    claim.when_ended(told.append)
    assert told == [Exit(status=3)] * 2
    assert not scene.keeper.done, "a command without an id of a person's costs the disk nothing"


def test_another_request_under_the_id_is_a_conflict() -> None:
    claims = Scene().claims
    claims.claim("me", TRUE, 0)
    assert claims.claim("me", FALSE, 0)[0] == "id_conflict"
    assert claims.claim("me", CHOSEN, 0)[0] == "id_conflict", "what was promised of them differs"


def test_ids_belong_to_a_principal() -> None:
    claims = Scene().claims
    claims.claim("me", TRUE, 0)
    assert claims.claim("you", FALSE, 0)[0] == "new"
    assert claims.ask("they", f"{LIFE}.x", 0)[0] == "never_received"


def test_asking_burns_an_unknown_id() -> None:
    scene = Scene()
    state, claim = scene.claims.ask("me", "one", 0)
    assert state == "asking" and scene.keeper.done == [("ask", ("me", "one", True))]
    assert scene.claims.claim("me", TRUE, 0)[0] == "wait" == scene.claims.ask("me", "one", 0)[0]
    scene.keeper.answer(None)
    assert claim.verdict == "never_received"
    assert scene.claims.claim("me", TRUE, 0)[0] == "id_burnt"
    assert scene.claims.ask("me", "one", 0)[0] == "never_received", "still"


def test_ids_of_this_life_and_of_another() -> None:
    """A client's own id names the life that knows it; no other says that it was never received."""
    scene = Scene()
    assert scene.claims.ask("me", f"{LIFE}.ab.1", 0)[0] == "never_received" and not scene.keeper.done
    assert scene.claims.claim("me", TRUE.changed(id=f"{LIFE}.ab.1"), 0)[0] == "id_burnt"
    other = f"{LIFE[::-1]}.ab.1"
    _, claim = scene.claims.ask("me", other, 0)
    assert scene.keeper.done == [("ask", ("me", other, False))], "it may be a person's, but it is not burnt"
    scene.keeper.answer(None)
    assert claim.verdict == "unknown" and len(scene.claims) == 1


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (LedgerError("full"), "unknown"),
        (Entry("burnt", None, None), "never_received"),
        (Entry("unknown", b"h", None), "unknown"),
        (Entry("running", b"h", None), "running"),
        (Entry("finished", b"h", Exit(status=4)), "finished"),
    ],
)
def test_a_question_that_the_disk_answers(found: Any, word: str) -> None:
    scene = Scene()
    _, claim = scene.claims.ask("me", "one", 0)
    scene.keeper.answer(found)
    assert claim.verdict == word
    assert (claim.exit is not None) == (word == "finished")


def test_what_could_not_start_may_be_tried_again() -> None:
    claims = Scene().claims
    claims.release(claims.claim("me", TRUE, 0)[1])
    assert claims.claim("me", FALSE, 0)[0] == "new"


# --- ids that people chose


def test_the_disk_has_it_before_the_start_and_the_end_before_it_is_told() -> None:
    scene = Scene()
    order: list[str] = []
    verdict, claim = scene.claims.claim("me", CHOSEN, 0)
    claim.when_settled(lambda: order.append(claim.verdict))
    assert verdict == "asking" and not order and scene.keeper.done == [("claim", ("me", "one", request_hash(CHOSEN)))]
    scene.keeper.answer(None)
    assert order == ["new"]
    scene.claims.started(claim, 1)
    assert scene.keeper.done[-1][0] == "started"
    scene.keeper.answer(None)
    scene.claims.ended(claim, Exit(status=2), 1, lambda: order.append("told"))
    assert order == ["new"] and scene.keeper.done[-1] == ("ended", ("me", "one", Exit(status=2)))
    assert scene.claims.ask("me", "one", 1)[0] == "running"
    scene.keeper.answer(None)
    assert order == ["new", "told"] and scene.claims.ask("me", "one", 1)[0] == "finished"
    assert scene.claims.claim("me", CHOSEN, 2) == ("again", claim)


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (LedgerError("full"), "id_not_kept"),
        (Entry("burnt", None, None), "id_burnt"),
        (Entry("finished", b"another", Exit(status=4)), "id_conflict"),
        (Entry("running", request_hash(CHOSEN), None), "id_running"),
        (Entry("unknown", request_hash(CHOSEN), None), "id_unknown"),
        (Entry("finished", request_hash(CHOSEN), Exit(status=4)), "again"),
    ],
)
def test_what_the_disk_knows_already(found: Any, word: str) -> None:
    scene = Scene()
    _, claim = scene.claims.claim("me", CHOSEN, 0)
    scene.keeper.answer(found)
    assert claim.verdict == word and len(scene.claims) == 0, "the disk is asked again the next time"
    assert claim.why == ("full" if word == "id_not_kept" else "")
    assert (claim.exit == Exit(status=4)) == (word == "again")
    scene.claims.release(claim)
    assert [name for name, _ in scene.keeper.done] == ["claim"], "there is nothing of ours to take back"


def test_an_end_that_the_disk_does_not_take_is_told_nevertheless(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    _, claim = scene.claims.claim("me", CHOSEN, 0)
    scene.keeper.answer(None)
    told: list[int] = []
    scene.claims.ended(claim, Exit(status=2), 1, lambda: told.append(1))
    scene.keeper.answer(LedgerError("no room"))
    assert told and scene.claims.claim("me", CHOSEN, 2) == ("again", claim)
    assert "its end is not on disk: no room" in caplog.text


def test_a_released_id_is_free_on_disk_too() -> None:
    scene = Scene()
    _, claim = scene.claims.claim("me", CHOSEN, 0)
    scene.keeper.answer(None)
    scene.claims.release(claim)
    assert scene.keeper.done[-1] == ("release", ("me", "one"))
    assert scene.claims.claim("me", CHOSEN, 1)[0] == "asking"


def test_what_makes_two_requests_the_same() -> None:
    """From another terminal, another window, after an update: still the same."""
    terminal = Terminal(term="xterm", rows=1, columns=2)
    same = CHOSEN.changed(window=9, env_offer=[["TERM", "dumb"]])
    assert request_hash(same) == request_hash(CHOSEN) == request_hash(CHOSEN.changed(stdin="pipe"))
    on_one = CHOSEN.changed(terminal=terminal)
    assert request_hash(on_one) == request_hash(CHOSEN.changed(terminal=Terminal(term="vt100", rows=9, columns=9)))
    different = [
        *(on_one, CHOSEN.changed(once=False), CHOSEN.changed(cwd="/"), CHOSEN.changed(env_add=[["a", "b"]])),
        *(CHOSEN.changed(timeout_ms=5), CHOSEN.changed(merge_stderr=True)),
        *(CHOSEN.changed(argv=["true", ""]), CHOSEN.changed(argv=None, line="true"), CHOSEN.changed(env=[])),
        CHOSEN.changed(argv=None, subsystem="true"),
    ]
    assert len({request_hash(CHOSEN), *map(request_hash, different)}) == len(different) + 1


def test_a_hash_is_the_same_in_every_version() -> None:
    """It is on disk for days: a change would make of each of those commands another one."""
    assert request_hash(CHOSEN).hex() == "38770a4ef2f4f468849624f9906238cdafcf54da1b2219a6b0bf6c5860b965e0"


# --- bounds


def test_memory_is_bounded_and_running_commands_are_never_forgotten() -> None:
    scene = Scene(replace(DEFAULT_LIMITS, commands_remembered_max=100))
    claims = scene.claims
    _, running = claims.claim("me", TRUE.changed(id="running"), 0)
    _, pending = claims.claim("me", CHOSEN.changed(id="pending"), 0)
    for number in range(1000):
        _, claim = claims.claim("me", TRUE.changed(id=f"n{number}"), number)
        scene.end(claim, 0, number)
    assert len(claims) <= 102
    assert claims.ask("me", "running", 1000) == ("running", running)
    assert claims.ask("me", "pending", 1000) == ("wait", pending)
    assert claims.claim("me", TRUE.changed(id="n999"), 1000)[0] == "again"
    assert claims.claim("me", TRUE.changed(id="n0"), 1000)[0] == "new", "the promise's limit"


def test_old_ones_are_forgotten() -> None:
    scene = Scene()
    scene.end(scene.claims.claim("me", TRUE, 0)[1], 0, 0)
    week = DEFAULT_LIMITS.commands_remembered_time
    scene.claims.claim("me", TRUE.changed(id="later"), week + 1)
    assert len(scene.claims) == 1
