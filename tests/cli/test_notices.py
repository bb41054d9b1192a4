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
        self.shown: list[str] = []
        self.notices = Notices("box", self.said.append, self.later, lambda: self.now, status=self.shown.append)

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
    assert stage.notices.away and stage.notices.is_brief
    stage.advance(1.4)
    assert stage.notices.is_brief
    stage.notices.on_state(State("resumed", 1.4))
    assert not stage.notices.is_brief
    stage.advance(10)
    assert stage.said == [] and not stage.notices.away


def test_a_long_one_is_told_once_with_when_it_ends_and_its_end() -> None:
    stage = Stage()
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0, "reset"))
    stage.advance(0.5)
    stage.notices.on_state(State("retrying", 0.5, 0.2, 59.5, "refused"))
    stage.advance(1.0)
    assert stage.said == [] and stage.shown == ["no contact with box for 1.5 s"] and not stage.notices.is_brief
    stage.notices.on_state(State("retrying", 1.5, 4.5, 58.5, "refused"))
    stage.advance(1.5)
    assert stage.said == ["no contact with box for 3.0 s: next try in 3 s, the server keeps the session for 57 s more"]
    stage.advance(5)
    stage.notices.on_state(State("retrying", 6.5, 0.2, 53.5, "refused"))
    stage.advance(5)
    assert len(stage.said) == 1
    stage.notices.on_state(State("resumed", 11.5))
    assert stage.said[1:] == ["box: same session resumed after 12 s; nothing is lost"] and stage.shown[-1] == ""


def test_what_is_known_of_the_session_is_told_when_it_is_known() -> None:
    stage = Stage()
    waiting: list[Callable[[str], None]] = []
    stage.notices = Notices("box", stage.said.append, stage.later, lambda: stage.now, details=waiting.append)
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0, "reset"))
    stage.notices.tell_now()
    stage.notices.on_state(State("resumed", 1.0))
    assert len(stage.said) == 1
    waiting[0]("same directory /srv")
    assert stage.said[1:] == ["box: same session resumed after 1.0 s; same directory /srv"]


def test_no_answer_is_not_no_contact() -> None:
    stage = Stage()
    for seconds in (0.5, 1.4):
        stage.notices.silence(seconds)
    assert stage.shown == [] == stage.said
    stage.notices.silence(1.6)
    assert stage.shown == ["no answer from box for 1.6 s"] and stage.said == []
    for seconds in (3.1, 3.3):
        stage.notices.silence(seconds)
    assert len(stage.said) == 1 and stage.said[0].startswith("no answer from box for 3.1 s; the connection stands")
    stage.notices.silence(0.0)
    stage.notices.silence(0.0)
    assert stage.said[1:] == ["box answers again"] and stage.shown[-1] == ""


def test_silence_that_becomes_a_loss_is_one_story() -> None:
    stage = Stage()
    stage.notices.silence(3.0)
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0, "no answer for 8 s"))
    stage.notices.silence(9.0)
    stage.notices.silence(0.0)
    assert len(stage.said) == 1
    stage.advance(0.2)
    assert stage.notices.brief() == "no contact for 3.2 s, trying again, session kept 60 s more"
    stage.notices.on_state(State("resumed", 0.2))
    assert stage.said[1:] == ["box: same session resumed after 3.2 s; nothing is lost"]
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0))
    stage.advance(1.5)
    assert stage.notices.brief().startswith("no contact for 1.5 s"), "that silence is over"


def test_a_new_session_is_never_called_resumed() -> None:
    stage = Stage()
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0))
    stage.notices.on_state(State("new_session", 0.3))
    assert len(stage.said) == 1 and "a new session" in stage.said[0] and "resumed" not in stage.said[0]


def test_after_giving_up_the_timer_is_off() -> None:
    stage = Stage()
    stage.notices.on_state(State("lost", 0.0, 0.0, 1.0))
    stage.notices.on_state(State("gave_up", 1.0))
    stage.advance(10)
    assert stage.said == [] and stage.timer is None


def test_in_brief_it_is_what_holds_now() -> None:
    stage = Stage()
    assert stage.notices.brief() == ""
    stage.notices.on_state(State("lost", 0.0, 0.0, 60.0))
    stage.advance(1.4)
    assert stage.notices.brief() == "", "it may mend itself"
    stage.advance(0.6)
    assert stage.notices.brief() == "no contact for 2.0 s, trying again, session kept 58 s more"
    stage.notices.on_state(State("retrying", 2.0, 4.0, 58.0))
    stage.advance(1.0)
    assert stage.notices.brief() == "no contact for 3.0 s, next try in 3 s, session kept 57 s more"
    stage.notices.on_state(State("resumed", 3.0))
    assert stage.notices.brief() == ""
    stage.notices.silence(2.0)
    stage.advance(0.5)
    assert stage.notices.brief() == "no answer for 2.5 s"
    stage.notices.silence(0.0)
    assert stage.notices.brief() == ""
