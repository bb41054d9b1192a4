"""How well a line of the history answers what was typed to find it: fuzzy, as fzf does it. A plain function of two texts.

Never filters by itself: `history` lets SQLite make the first cut, and asks here about what is left.
"""

from __future__ import annotations

WHOLE = 20  # points for a character of a word that stands in the line as it was typed
SCATTERED = 10  # for one that was found somewhere after the one before
AT_START = 4  # more for a character that begins a word; all in all a scattered one never gets what a whole one gets
NEXT = 3  # more for one right after the one before
TOGETHER = 20  # for several words that stand side by side as typed
GAP_MAX = 20  # points that gaps cost at most

_OCCURRENCES = 8  # of a word that are looked at


def score(words: list[str], text: str) -> int | None:
    """Points of `text`, or None if one of `words`, which are in lower case, is not in it as a subsequence."""
    text = text.lower()
    total = 0
    for word in words:
        points = _whole(word, text)
        if points is None:
            points = _scattered(word, text)
        if points is None:
            return None
        total += points
    if len(words) > 1 and " ".join(words) in text:
        total += TOGETHER
    return total


def _whole(word: str, text: str) -> int | None:
    at = text.find(word)
    if at < 0:
        return None
    best = WHOLE * len(word)
    for _ in range(_OCCURRENCES):
        if at < 0:
            break
        if _begins(text, at):
            return best + AT_START + (AT_START if at == 0 else 0)
        at = text.find(word, at + 1)
    return best


def _scattered(word: str, text: str) -> int | None:
    end = -1
    for sign in word:
        end = text.find(sign, end + 1)
        if end < 0:
            return None
    # The same again from its end: "a…a…b" should be found from the second a on.
    later, points, gaps = end + 1, 0, 0
    for number, sign in enumerate(reversed(word)):
        at = text.rfind(sign, 0, later)
        points += SCATTERED + (AT_START if _begins(text, at) else 0)
        if number:
            gaps += later - at - 1
            points += NEXT if at == later - 1 else 0
        later = at
    return points - min(gaps, GAP_MAX)


def _begins(text: str, at: int) -> bool:
    return at == 0 or not text[at - 1].isalnum()
