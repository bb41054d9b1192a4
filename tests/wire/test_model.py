"""Models: frozen, strict, equal by value; annotations become the engine's schemas."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic_core import SchemaError, ValidationError, core_schema

from remote_shell.wire.model import Model, Schema

Small = Annotated[int, Schema(core_schema.int_schema(ge=0, le=9, strict=True))]


class Inner(Model):
    word: str


class Outer(Model):
    kind: Literal["a", "b"]
    number: Small = 3
    flag: bool = False
    inner: Inner | None = None
    either: str | Inner | None = None


def test_defaults_and_equality() -> None:
    made = Outer(kind="a")
    assert (made.number, made.flag, made.inner) == (3, False, None)
    assert made == Outer(kind="a", number=3) != Outer(kind="b") and made != "a"
    assert hash(made) == hash(Outer(kind="a"))
    assert repr(made) == "Outer(kind='a', number=3, flag=False, inner=None, either=None)"
    assert made.changed(number=4).number == 4 and made.number == 3


def test_frozen() -> None:
    made = Outer(kind="a")
    with pytest.raises(AttributeError, match="frozen"):
        made.number = 4  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen"):
        del made.number


def test_json_and_back() -> None:
    made = Outer(kind="b", inner=Inner(word="x"), either=Inner(word="y"))
    assert made.to_json() == b'{"kind":"b","number":3,"flag":false,"inner":{"word":"x"},"either":{"word":"y"}}'
    assert made.digestible(frozenset(("inner",))) == b'{"kind":"b","number":3,"either":{"word":"y"}}'
    brought = Outer.from_value({"kind": "b", "inner": {"word": "x"}, "either": {"word": "y"}})
    assert brought == made and isinstance(brought.inner, Inner)


def test_of_our_own_making() -> None:
    """Not validated, defaults left out of the JSON, and yet the same."""
    made = Outer.of(kind="b", inner=None)
    assert made.to_json() == b'{"kind":"b"}'
    assert made == Outer(kind="b") and hash(made) == hash(Outer(kind="b")) and repr(made) == repr(Outer(kind="b"))
    assert Outer.from_value({"kind": "b"}) == made and made.number == 3


@pytest.mark.parametrize(
    "value",
    [
        *({}, {"kind": "c"}, {"kind": "a", "number": 10}, {"kind": "a", "number": "3"}, {"kind": "a", "number": True}),
        *(
            {"kind": "a", "number": 3.0},
            {"kind": "a", "flag": 1},
            {"kind": "a", "more": 1},
            {"kind": "a", "number": None},
        ),
        *(
            {"kind": "a", "inner": {"word": 1}},
            {"kind": "a", "inner": {"word": "x", "more": 1}},
            {"kind": "a", "inner": "x"},
        ),
        *([], None, "a", {1: 2}),
    ],
)
def test_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        Outer.from_value(value)


def test_only_what_is_for_the_wire() -> None:
    class Odd(Model):
        number: float = 1.0

    with pytest.raises(TypeError, match="no schema"):
        Odd()
    made = Outer(kind="a")
    made.__dict__["flag"] = object()
    with pytest.raises(Exception, match="not for the wire"):
        made.to_json()


class Value:
    """The engine asks for its repr while it builds; the first time a Ctrl-C comes there."""

    asked = False

    def __repr__(self) -> str:
        if not Value.asked:
            Value.asked = True
            raise KeyboardInterrupt
        return "one"


ONE = Value()


class Late(Model):
    value: Annotated[object, Schema({"type": "literal", "expected": [ONE]})]


class Broken(Model):
    value: Annotated[object, Schema({"type": "no such type"})]


def test_a_ctrl_c_while_the_engine_builds_is_one_and_the_next_use_builds_anew() -> None:
    with pytest.raises(KeyboardInterrupt):
        Late(value=ONE)
    assert Late(value=ONE).value is ONE
    with pytest.raises(SchemaError):
        Broken(value=ONE)
