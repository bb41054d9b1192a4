"""Messages at random, drawn from the models themselves: a new field is drawn without a change here. And payloads that are none.

Values lie at their bounds more often than chance would have it; the JSON is written in any of the ways that mean the same.
"""

from __future__ import annotations

import base64
import json
import random
from typing import Any

from remote_shell.wire.messages import MODELS
from remote_shell.wire.model import Model

LETTERS = 'aZ09 _-./:@"\\/\n\t\0\x1b\x7fäß€中🙂\ufeff\uffff'
ALPHABETS = {  # by the model's pattern: what may be in it, and what it begins with
    r"^[A-Za-z0-9._:/+@-]+$": ("aZ09._:/+@-", ""),
    r"^[A-Za-z0-9._-]+$": ("aZ09._-", ""),
    r"^SIG[A-Z0-9+-]+$": ("AZ09+-", "SIG"),
    r"^[0-9a-f]{64}$": ("0123456789abcdef", ""),
}
BASE64 = r"^[A-Za-z0-9+/]*={0,2}$"


def message(rng: random.Random, name: str | None = None) -> dict[str, Any]:
    """The members of a message, as JSON has them; of those that may be absent some are, and some are null."""
    name = name or rng.choice(sorted(MODELS))
    return {"type": name, **members(rng, MODELS[name])}


def members(rng: random.Random, model: type[Model]) -> dict[str, Any]:
    """The members of a model, but for `type`."""
    found = {}
    often = rng.random()
    for key, field in model.fields().items():
        if key != "type" and (field.required or rng.random() < often):
            found[key] = value(rng, field.schema)
    return found


def value(rng: random.Random, schema: Any) -> Any:
    """Something that fits the schema."""
    match schema["type"]:
        case "int":
            least, most = schema["ge"], schema["le"]
            return rng.choice((least, most, rng.randint(least, most), min(most, least + rng.randint(0, 300))))
        case "bool":
            return rng.random() < 0.5
        case "literal":
            return rng.choice(schema["expected"])
        case "nullable":
            return None if rng.random() < 0.1 else value(rng, schema["schema"])
        case "list":
            least, most = schema.get("min_length") or 0, schema.get("max_length") or 40
            count = rng.choice((least, min(most, least + rng.randint(0, 3)), rng.randint(least, min(most, 40))))
            return [value(rng, schema["items_schema"]) for _ in range(count)]
        case "union" if schema["choices"][0]["type"] == "is-instance":
            return members(rng, schema["choices"][0]["cls"])
        case "union":
            return boxed(rng) if rng.random() < 0.2 else value(rng, schema["choices"][0])
        case "str":
            return string(rng, schema.get("pattern"), schema.get("max_length"))
    raise AssertionError(schema)


def string(rng: random.Random, pattern: str | None, most: int | None) -> str:
    """A string of that pattern, sometimes as long as may be."""
    most = most or 300
    count = rng.choice((1, min(most, 5), rng.randint(1, most), most) if rng.random() < 0.3 else (1, min(most, 8)))
    if pattern is None:
        return "".join(rng.choices(LETTERS, k=rng.choice((0, count))))
    if pattern == BASE64:
        return base64.b64encode(rng.randbytes(count * 3 // 4)).decode()
    letters, begin = ALPHABETS[pattern]
    return begin + "".join(rng.choices(letters, k=64 if pattern.endswith("{64}$") else max(1, count - len(begin))))


def boxed(rng: random.Random) -> dict[str, str]:
    """A string of the system that is not UTF-8."""
    return {"base64": base64.b64encode(b"\xff" * rng.randint(0, 1) + rng.randbytes(rng.randint(0, 9))).decode()}


def written(rng: random.Random, members: Any) -> bytes:
    """The JSON in one of its many ways: the order of members, white space, escapes, a member that comes before as something else."""
    if rng.random() < 0.3:
        items = list(members.items())
        rng.shuffle(items)
        members = dict(items)
    separators = rng.choice(((",", ":"), (", ", ": "), (" ,\n", "\t: "), None))
    text = json.dumps(
        members, ensure_ascii=rng.random() < 0.5, separators=separators, indent=rng.choice((None, None, None, 1))
    )
    if rng.random() < 0.1:
        before: dict[str, Any] = {rng.choice(sorted(members)): rng.choice((1, "x", None, [{}]))}
        text = json.dumps(before)[:-1] + "," + text[1:]
    return (
        rng.choice(("", "", " ", "\r\n")) + text.replace("/", rng.choice(("/", "\\/"))) + rng.choice(("", "", "  "))
    ).encode()


def spoilt(rng: random.Random) -> bytes:
    """A payload that was a message once, and most probably is none any more."""
    object_ = message(rng)
    keys = [key for key in object_ if key != "type"]
    match rng.randrange(9):
        case 0:
            object_[rng.choice(("surplus", "Type", "", "x\0y", "type "))] = rng.choice((1, None, "x", [[]]))
        case 1 if keys:
            del object_[rng.choice(keys)]
        case 2 if keys:
            wrong: tuple[Any, ...] = (
                None,
                True,
                0,
                -1,
                1.0,
                2**53,
                10**400,
                "",
                "x",
                "x" * 1025,
                "a b\n",
                [],
                [[]],
                {},
                {"base64": "*"},
                {"base64": "AA=A"},
            )
            object_[rng.choice(keys)] = rng.choice(wrong)
        case 3 if keys:
            nested = [key for key in keys if isinstance(object_[key], (list, dict)) and object_[key]]
            if nested:
                inner = object_[rng.choice(nested)]
                if isinstance(inner, list) and rng.random() < 0.3:
                    inner *= 1 + 1100 // len(inner)  # more than any message takes
                place = rng.choice(sorted(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
                inner[place] = rng.choice(
                    (None, 1, -1, "", "x y", [], ["a", "b"], ["a", 1], {"base64": "//8=", "x": 1}, False)
                )
        case 4:
            object_["type"] = rng.choice((1, None, ["ack"], {}, "", "Ack", "nonsense", "x" * 500, "ack\0"))
        case 5:
            return rng.choice(
                (
                    b"null",
                    b"1",
                    b'"ack"',
                    b"[]",
                    b"{}",
                    b"[" * 199 + b"]" * 199,
                    b"[" * 250 + b"]" * 250,
                    b"\xff",
                    b"{",
                    b" ",
                )
            )
        case 6:
            raw = written(rng, object_)
            return raw[: rng.randrange(1, len(raw))]
        case 7:
            bad = bytearray(written(rng, object_))
            for _ in range(rng.randint(1, 3)):
                bad[rng.randrange(len(bad))] = rng.choice((rng.randrange(256), *b'"\\{}[],:0e.-u'))
            return bytes(bad)
        case _:
            raw = written(rng, object_)
            escape = rng.choice(
                (
                    b"\\ud800",
                    b"\\udc00x",
                    b"\\ud83d\\ude00",
                    b"\\u12",
                    b"\\x41",
                    b"\xed\xa0\x80",
                    b"\xc0\x80",
                    b"\xf4\x90\x80\x80",
                    b"\n",
                )
            )
            return raw.replace(b"a", escape, 1)
    return written(rng, object_)


def edges(schema: Any) -> list[Any]:
    """Values at both sides of each bound of a schema."""
    match schema["type"]:
        case "int":
            return [schema["ge"] - 1, schema["ge"], schema["le"], schema["le"] + 1]
        case "bool":
            return [True, False, 0, None]
        case "literal":
            return [*schema["expected"], "", "|".join(schema["expected"])]
        case "nullable":
            return [None, *edges(schema["schema"])]
        case "list":
            least, most = schema.get("min_length") or 0, schema.get("max_length") or 3
            one = value(random.Random(1), schema["items_schema"])
            counts = {max(0, least - 1), least, most, most + 1}
            return [[one] * count for count in sorted(counts)] + [[edge] for edge in edges(schema["items_schema"])]
        case "union" if schema["choices"][0]["type"] == "is-instance":
            model = schema["choices"][0]["cls"]
            whole = {key: value(random.Random(2), field.schema) for key, field in model.fields().items()}
            changed = [{**whole, key: edge} for key, field in model.fields().items() for edge in edges(field.schema)]
            return [
                whole,
                {},
                {**whole, "surplus": 1},
                *changed,
                *({k: v for k, v in whole.items() if k != key} for key in whole),
            ]
        case "union":
            inner = [{"base64": text} for text in ("", "AA==", "AA=", "*", "A" * 5464, "A" * 5468, 1, None)]
            return [*edges(schema["choices"][0]), *inner, {"base64": "", "x": 1}, {}]
    most = schema.get("max_length") or 10
    valid = string(random.Random(3), schema.get("pattern"), most)
    return [
        valid,
        "",
        "a" * most,
        "a" * (most + 1),
        "ä" * most,
        "SIG" + "A" * (most - 3),
        "SIG" + "A" * (most - 2),
        "A=",
        "A===",
    ]
