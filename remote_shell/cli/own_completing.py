"""Tab in a line that is ours: the commands with what they do, the numbers that make sense to each, the topics of the help.

Known here at once, so it works without a connection too. What is not ours, and the line that `bg` runs, is the shell's to complete.
Neighbours: `own_line` says which lines are ours, `own_texts` has the words, `completing` knows the shell's, `tabbing` is the key.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Container, Iterable
from itertools import islice
from os.path import commonprefix

from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document

from remote_shell.cli import own_line, own_texts
from remote_shell.cli.ran import Commands, Ran
from remote_shell.cli.tabbing import Asker, Candidates

_SIGNALS = ("TERM", "INT", "HUP", "KILL", "QUIT", "USR1", "USR2", "STOP", "CONT")
_NUMBERS_MAX = 50  # commands that are offered, the newest
_SHOWN = 50  # characters of a command in the menu


class _Words:
    """Words and what they mean, for the end of a line where `typed` is there of one already. `alone`: nothing follows these."""

    problem = ""

    def __init__(self, typed: str, words: Iterable[tuple[str, str]], alone: Container[str] = ()) -> None:
        self._typed = typed
        self._alone = alone
        self._words = [(word, meaning) for word, meaning in words if word.startswith(typed)]

    def completions(self, text: str, after: str) -> list[Completion]:
        """All of them."""
        end = "" if after.startswith(" ") else " "
        return [
            Completion(
                word + ("" if word in self._alone else end), -len(self._typed), display=word, display_meta=meaning
            )
            for word, meaning in self._words
        ]

    def common(self, text: str) -> Completion | None:
        """What all begin with, if that is more than is there."""
        shared = commonprefix([word for word, _ in self._words])  # noqa: RUF071  # of characters
        return Completion(shared, -len(self._typed)) if len(shared) > len(self._typed) else None


class _Later:
    """Candidates for what begins `skipped` characters later."""

    def __init__(self, inner: Candidates, skipped: int) -> None:
        self._inner = inner
        self._skipped = skipped

    @property
    def problem(self) -> str:
        """As the other side has it."""
        return self._inner.problem

    def completions(self, text: str, after: str) -> list[Completion]:
        """All of them."""
        return self._inner.completions(text[self._skipped :], after)

    def common(self, text: str) -> Completion | None:
        """What all begin with."""
        return self._inner.common(text[self._skipped :])


class OwnCompleter(Asker):
    """Ours, and `shell` for the rest."""

    def __init__(self, shell: Asker, prefix: str, commands: Commands) -> None:
        self._shell = shell
        self._prefix = prefix
        self._commands = commands
        self._table: dict[str, Callable[[str], list[tuple[str, str]]]] = {
            "help": lambda before: self._first(before, [(topic, "") for topic in sorted(own_texts.TOPICS)]),
            "jobs": lambda before: self._first(before, [("all", "all of them")]),
            "out": lambda before: self._first(before, _numbers(ran for ran in self._newest() if len(ran.output))),
            "attach": lambda before: self._first(before, self._running()),
            "wait": lambda before: self._first(before, self._running()),
            "kill": self._kill,
            "hist": lambda before: [
                (word, meaning) for word, meaning in own_texts.HIST_OPTIONS.items() if word not in before.split()
            ],
        }

    def note(self, line: str) -> None:
        """For the shell."""
        self._shell.note(line)

    def known(self, text: str) -> Candidates | None:
        """Ours always are."""
        skipped = self._skipped(text)
        if skipped is not None:
            inner = self._shell.known(text[skipped:])
            return _Later(inner, skipped) if inner is not None else None
        return self._ours(text) if self._is_ours(text) else self._shell.known(text)

    async def ask(self, text: str) -> Candidates:
        """The shell's."""
        skipped = self._skipped(text)
        if skipped is not None:
            return _Later(await self._shell.ask(text[skipped:]), skipped)
        return self._ours(text) if self._is_ours(text) else await self._shell.ask(text)

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """For prompt_toolkit's own ways to complete."""
        before = document.text_before_cursor
        for completion in (await self.ask(before)).completions(before, document.text_after_cursor):
            yield completion

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[Completion]:
        """None: asking takes an event loop."""
        return []

    # --- whose it is

    def _is_ours(self, text: str) -> bool:
        return text == self._prefix or own_line.is_own(text, self._prefix)

    def _skipped(self, text: str) -> int | None:
        """Where the shell's line begins in one for `bg`; None in another."""
        if not own_line.is_own(text, self._prefix):
            return None
        name, _ = own_line.words_of(text, self._prefix)
        rest = text[len(self._prefix) + len(name) :]
        if name != "bg" or not rest[:1].isspace():
            return None
        return len(text) - len(rest.lstrip())

    # --- ours

    def _ours(self, text: str) -> Candidates:
        if "\n" in text or text.rstrip() == "?":
            return _Words("", [])
        name, _ = own_line.words_of(text, self._prefix)
        rest = text[len(self._prefix) + len(name) :]
        if not rest:
            words = [(self._prefix + name, says) for name, says in own_texts.SUMMARIES.items()]
            return _Words(text, words, [self._prefix + name for name in own_texts.TAKE_NOTHING])
        offered = self._table.get(name)
        if offered is None or not rest.startswith(" "):
            return _Words("", [])
        before, _, typed = rest.rpartition(" ")
        return _Words(typed, offered(before.strip()))

    def _first(self, before: str, words: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return [] if before else words

    def _kill(self, before: str) -> list[tuple[str, str]]:
        return [(name, "") for name in _SIGNALS] if len(before.split()) == 1 else self._first(before, self._running())

    def _running(self) -> list[tuple[str, str]]:
        return _numbers(reversed(self._commands.in_background))

    def _newest(self) -> list[Ran]:
        return sorted(self._commands.listed(), key=lambda ran: -ran.number)


def _numbers(every: Iterable[Ran]) -> list[tuple[str, str]]:
    return [(str(ran.number), own_texts.short(ran.text, _SHOWN)) for ran in islice(every, _NUMBERS_MAX)]
