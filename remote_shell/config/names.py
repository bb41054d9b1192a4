"""Many names in few words: `node[1-3,7]` for node1, node2, node3, node7, and back. ClusterShell's folding, as `clush -b` shows it.

Pure text; asks no resolver and reads no file. Neighbours: `selection` takes what is typed apart with it, whoever shows many hosts folds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from remote_shell.errors import UsageError
from remote_shell.limits import DEFAULT_LIMITS

# An IPv6 address has brackets too, but colons in them.
_RANGE = re.compile(r"\[([0-9]{1,9}(?:-[0-9]{1,9})?(?:,[0-9]{1,9}(?:-[0-9]{1,9})?)*)\]")
_DIGITS = re.compile(r"([0-9]+)")


def split(text: str) -> list[str]:
    """The words between commas; those within brackets are no ends of words. Raises UsageError for an empty word."""
    words = re.split(r",(?![^\[\]]*\])", text)
    if not all(words):
        raise UsageError(f"{text!a}: a name is missing beside a comma; write NAME,NAME or @GROUP")
    return words


def expand(word: str, most: int = DEFAULT_LIMITS.many_targets_max) -> list[str]:
    """The names that a word such as `node[01-03,7].dc[1-2]` stands for, in order. Raises UsageError above `most` of them."""
    names = [""]
    end = 0
    for found in _RANGE.finditer(word):
        numbers = list(_numbers(found[1], word, most))
        if len(names) * len(numbers) > most:
            raise UsageError(f"{word!a} is more than {most} names")
        names = [f"{name}{word[end : found.start()]}{number}" for name in names for number in numbers]
        end = found.end()
    return [name + word[end:] for name in names]


def fold(names: Iterable[str]) -> str:
    """The shortest way to write them: numbers that differ become ranges, zeros before them stay. `expand` and `split` read it back."""
    patterns: dict[tuple[str, ...], list[list[str]]] = {}
    for name in dict.fromkeys(names):
        # brackets of an IPv6 address would become ranges when read back
        parts = [name] if "[" in name else _DIGITS.split(name)
        patterns.setdefault(tuple(parts[::2]), []).append(parts[1::2])
    return ",".join(word for texts, rows in patterns.items() for word in _folded(texts, rows))


def _numbers(text: str, word: str, most: int) -> Iterator[str]:
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not dash:
            yield first
            continue
        low, high = int(first), int(last)
        if low > high:
            raise UsageError(f"{word!a}: the range {part} runs backwards; write {last}-{first}")
        if high - low >= most:
            raise UsageError(f"{word!a} is more than {most} names")
        width = len(first) if first.startswith("0") else 0
        yield from (f"{number:0{width}d}" for number in range(low, high + 1))


def _folded(texts: tuple[str, ...], rows: list[list[str]]) -> Iterator[str]:
    """Names that differ in their numbers only. The last number is folded first, then those before it, where the rest is equal."""
    for column in reversed(range(len(texts) - 1)):
        merged: dict[tuple[str, ...], list[str]] = {}
        for row in rows:
            merged.setdefault((*row[:column], "", *row[column + 1 :]), []).append(row[column])
        rows = [
            [*key[:column], piece, *key[column + 1 :]] for key, numbers in merged.items() for piece in _ranges(numbers)
        ]
    for row in rows:
        yield "".join(part for pair in zip(texts, [*row, ""], strict=True) for part in pair)


def _ranges(numbers: list[str]) -> list[str]:
    """`["1", "2", "7"]` as `["[1-2,7]"]`: one text for all numbers of one width, which is none where no number begins with a zero."""
    padded = {len(number) for number in numbers if len(number) > 1 and number.startswith("0")}
    by_width: dict[int, list[int]] = {}
    if any(len(number) > 9 for number in numbers):
        return numbers  # `expand` reads none as long
    for number in numbers:
        by_width.setdefault(len(number) if len(number) in padded else 0, []).append(int(number))
    return [_one_width(sorted(values), width) for width, values in sorted(by_width.items())]


def _one_width(values: list[int], width: int) -> str:
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    texts = [f"{low:0{width}d}" if low == high else f"{low:0{width}d}-{high:0{width}d}" for low, high in runs]
    return texts[0] if len(values) == 1 else f"[{','.join(texts)}]"
