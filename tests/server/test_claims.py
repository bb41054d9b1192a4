"""At most once per id, as long as the server lives."""

from __future__ import annotations

from dataclasses import replace

from remote_shell.limits import DEFAULT_LIMITS
from remote_shell.server.claims import Claims
from remote_shell.wire.messages import Exit, Open

TRUE = Open(request="exec", id="one", window=1, argv=["true"])
FALSE = Open(request="exec", id="one", window=1, argv=["false"])


def test_an_id_runs_once_and_tells_its_end_again() -> None:
    claims = Claims(DEFAULT_LIMITS)
    verdict, claim = claims.claim("me", TRUE, 0)
    assert verdict == "new"
    told: list[Exit] = []
    assert claims.claim("me", TRUE.changed(window=7), 1) == ("again", claim)
    claim.when_ended(told.append)
    claim.end(Exit(status=3), 2)
    claim.when_ended(told.append)
    assert told == [Exit(status=3)] * 2


def test_another_request_under_the_id_is_a_conflict() -> None:
    claims = Claims(DEFAULT_LIMITS)
    claims.claim("me", TRUE, 0)
    assert claims.claim("me", FALSE, 0)[0] == "id_conflict"


def test_ids_belong_to_a_principal() -> None:
    claims = Claims(DEFAULT_LIMITS)
    claims.claim("me", TRUE, 0)
    assert claims.claim("you", FALSE, 0)[0] == "new"
    assert claims.ask("they", "one", 0) is None


def test_asking_burns_an_unknown_id() -> None:
    claims = Claims(DEFAULT_LIMITS)
    assert claims.ask("me", "one", 0) is None
    assert claims.claim("me", TRUE, 0)[0] == "id_burnt"
    assert claims.ask("me", "one", 0) is None, "still never received"


def test_what_could_not_start_may_be_tried_again() -> None:
    claims = Claims(DEFAULT_LIMITS)
    claims.claim("me", TRUE, 0)
    claims.release("me", "one")
    assert claims.claim("me", FALSE, 0)[0] == "new"


def test_memory_is_bounded_and_running_commands_are_never_forgotten() -> None:
    claims = Claims(replace(DEFAULT_LIMITS, commands_remembered_max=100))
    _, running = claims.claim("me", TRUE.changed(id="running"), 0)
    for number in range(1000):
        _, claim = claims.claim("me", TRUE.changed(id=f"n{number}"), number)
        claim.end(Exit(status=0), number)
    assert len(claims) <= 101
    assert claims.ask("me", "running", 1000) is running
    assert claims.claim("me", TRUE.changed(id="n999"), 1000)[0] == "again"
    assert claims.claim("me", TRUE.changed(id="n0"), 1000)[0] == "new", "the promise's limit"


def test_old_ones_are_forgotten() -> None:
    claims = Claims(DEFAULT_LIMITS)
    claims.claim("me", TRUE, 0)[1].end(Exit(status=0), 0)
    week = DEFAULT_LIMITS.commands_remembered_time
    claims.claim("me", TRUE.changed(id="later"), week + 1)
    assert len(claims) == 1
