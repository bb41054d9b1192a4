"""The list of fields in docs/rmsh.lua against the models. No tshark is needed."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest

from remote_shell.wire import fields as kinds
from remote_shell.wire import file_messages
from remote_shell.wire.messages import MODELS, KeyProof, LeftShell, Terminal
from remote_shell.wire.model import Model
from tests.wireshark.captures import DISSECTOR

NAMED = {  # schemas that have a name in the Lua file; all others are written out
    "int": kinds.Integer,
    "word": kinds.Word,
    "id": kinds.CommandId,
    "text": kinds.Text,
    "base64": kinds.Base64,
    "signal": kinds.SignalName,
    "string": kinds.SystemString,
    "path": file_messages.Path,
    "sha256": file_messages.Digest,
}
OBJECTS: dict[str, type[Model]] = {"key_proof": KeyProof, "terminal": Terminal, "left_shell": LeftShell}


def kind_of(schema: Any) -> str:
    """A schema as the Lua file writes it."""
    for name, hint in NAMED.items():
        if schema == get_args(hint)[1].core:
            return name
    match schema["type"]:
        case "nullable":
            return kind_of(schema["schema"]) + "?"
        case "bool":
            return "bool"
        case "int":
            return f"{schema['ge']}..{schema['le']}"
        case "str" if schema["max_length"] == 64 and schema["pattern"] == get_args(kinds.Word)[1].core["pattern"]:
            return "word"
        case "literal":
            return "|".join(schema["expected"])
        case "union":
            return "@" + next(name for name, model in OBJECTS.items() if model is schema["choices"][0]["cls"])
        case "list":
            least, most = schema.get("min_length"), schema.get("max_length")
            inner = schema["items_schema"]
            if inner["type"] == "list" and (inner["min_length"], inner["max_length"]) == (2, 2):
                return "pair[]"
            return kind_of(inner) + (f"[{least or 0}..{most}]" if most else "[]")
    raise AssertionError(schema)


def spec_of(model: type[Model]) -> list[str]:
    """A model's members as the Lua file writes them."""
    return [
        f"{key}:{kind_of(field.schema)}{'!' if field.required else ''}"
        for key, field in model.fields().items()
        if key != "type"
    ]


def listed() -> dict[str, list[str]]:
    """What the Lua file has: the members by message and object."""
    source = DISSECTOR.read_text(encoding="utf-8")
    tables = re.findall(r"^local (?:MESSAGES|OBJECTS) = {\n.*?^}", source, re.MULTILINE | re.DOTALL)
    found = re.findall(r'(\w+) = ((?:"[^"]*"(?: \.\.\s+)?)+),', "".join(tables))
    return {name: re.sub(r'"|" \.\.\s+"', "", re.sub(r'"\s*\.\.\s*"', "", text)).split() for name, text in found}


@pytest.mark.parametrize("name", [*MODELS, *OBJECTS])
def test_every_field_of_every_message_is_listed(name: str) -> None:
    """Mend it: the assertion shows the line of MESSAGES (or OBJECTS) in docs/rmsh.lua as it has to be."""
    assert listed().get(name) == spec_of(MODELS.get(name) or OBJECTS[name])


def test_nothing_else_is_listed() -> None:
    assert listed().keys() == {*MODELS, *OBJECTS}


def test_the_file_is_short_and_says_how_to_use_it() -> None:
    lines = DISSECTOR.read_text(encoding="utf-8").splitlines()
    assert max(map(len, lines)) <= 140
    assert any("-X lua_script:docs/rmsh.lua" in line for line in lines[:10])
