"""When a person hears of the connection: not about what mends itself in a moment, and never "resumed" for a new session."""

from __future__ import annotations

from collections.abc import Callable

from remote_shell.cli.notices import Notices
from remote_shell.client.retry import State


class Stage:
    """A clock and a timer by hand, and what was said."""

    def __init__(self) -> None:
        self.now = 100.0
        self.said: list[str] = []
        self.timer: tuple[float, Callable[[], None]] | None = None
        self.notices = Notices("box", self.said.append, self.later, lambda: self.now)

    def later(self, seconds: float, what: Callable[[], None] | None) -> None:
        self.timer = None if what is None else (self.now + seconds, what)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        if self.timer is not None and self.timer[0] <= self.now:
            _, what = self.timer
            self.timer = None
            what()


def test_a_short_cut_is_not_worth_a_word() -> None:
    stage = Stage()
    stage.notices.on_state(State("connected"))
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0, "reset"))
    assert stage.notices.away
    stage.advance(1.4)
    stage.notices.on_state(State("resumed", 1.4))
    stage.advance(10)
    assert stage.said == [] and not stage.notices.away


def test_a_long_one_is_told_once_with_when_it_ends_and_its_end() -> None:
    stage = Stage()
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0, "reset"))
    stage.advance(0.5)
    stage.notices.on_state(State("retrying", 0.5, 0.2, 59.5, "refused"))
    stage.advance(1.0)
    assert stage.said == ["no contact with box for 2 s, trying again, gives up in 58 s"]
    stage.advance(5)
    stage.notices.on_state(State("retrying", 6.5, 0.2, 53.5, "refused"))
    stage.advance(5)
    assert len(stage.said) == 1
    stage.notices.on_state(State("resumed", 11.5))
    assert stage.said[1:] == ["box: resumed after 11.5 s, nothing is lost"]


def test_a_new_session_is_never_called_resumed() -> None:
    stage = Stage()
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0))
    stage.notices.on_state(State("new_session", 0.3))
    assert len(stage.said) == 1 and "the session is gone" in stage.said[0] and "resumed" not in stage.said[0]


def test_after_giving_up_the_timer_is_off() -> None:
    stage = Stage()
    stage.notices.on_state(State("lost", 0.0, 0.0, 1.0))
    stage.notices.on_state(State("gave_up", 1.0))
    stage.advance(10)
    assert stage.said == [] and stage.timer is None


def test_told_is_only_what_lasts() -> None:
    later: list[Callable[[], None] | None] = []
    notices = Notices("vm", lambda text: None, lambda seconds, what: later.append(what))
    notices.on_state(State("lost", gives_up=60))
    assert notices.away and not notices.told
    assert later[-1] is not None
    later[-1]()
    assert notices.told
    notices.on_state(State("resumed"))
    assert not notices.told
