"""What could complete the word at the prompt, asked of the other side: commands, files, variables, users, branches.

One small command on the same session for each question, in the shell's directory; no protocol of its own. The script is fixed and
what was typed are its arguments. Never waits longer than a short while, never asks without a connection, never raises: what goes
wrong is an answer without names. Neighbours: `words` says what is asked for, `quoting` writes it, `tabbing` is the key, `noted` adds
what only this session's lines know.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from os.path import commonprefix

from prompt_toolkit.completion import CompleteEvent, Completion
from prompt_toolkit.document import Document

from remote_shell import DEVNULL, PIPE
from remote_shell.cli.noted import Noted
from remote_shell.cli.quoting import written
from remote_shell.cli.screen import printable
from remote_shell.cli.tabbing import Asker
from remote_shell.cli.words import Word, word_at
from remote_shell.client.async_ import AsyncHost
from remote_shell.errors import RemoteShellError

DEADLINE = 0.15  # seconds for an answer, besides the round trip: after more, what comes surprises
UNKNOWN_ROUND_TRIP = 0.5  # seconds granted as long as nobody has measured it
THERE_MAX = 5.0  # seconds, by the server's clock: a request whose cancelling can't get there ends by itself
NAMES_MAX = 2000
BYTES_MAX = 256 * 1024
_SHORT, _LONG = 2.0, 60.0  # seconds that an answer is good for: what files are called, what programs there are
_KEPT_MAX = 16  # answers
_SHOWN_MAX = 120  # characters of a name in the menu
_ENDS = {"d": "/", "u": "/", "v": ""}  # what follows a name, by its mark; a blank after all others

# Arguments: kind, tilde, directory, prefix, and the two bounds. Each name comes with a mark before it and a NUL behind it; last, if
# there are more, a "+" and the last name of all, with which their common beginning is known. Globs and not `compgen -f`, whose
# names end at line ends. `LC_ALL=C` makes lengths bytes and the order theirs.
SCRIPT = r"""
LC_ALL=C
[[ $1 == variable ]] && mapfile -t out < <(compgen -v -- "$4") # first of all: what follows makes variables
shopt -s nullglob
kind=$1 tilde=$2 directory=$3 prefix=$4 most=$5 room=$6
found=("${out[@]}") out=() last=
finish() { ((${#out[@]})) && printf '%s\0' "${out[@]}"; exit 0; }
put() {
  ((most-- > 0 && (room -= ${#2} + 2) >= 0)) || { out+=("+$last"); finish; }
  out+=("$1$2")
}
lines() { local mark=$1 line; while IFS= read -r line; do put "$mark" "$line"; done; }
files() { # what kind, the folder as it is named, the beginning of the name, what is cut off in front
  local names name
  if [[ $1 == directory ]]; then names=("$2$3"*/); else names=("$2$3"*); fi
  [[ $3 == .. ]] && names=("$2../" "${names[@]}")
  ((${#names[@]})) && { last=${names[-1]%/}; last=${last:$4}; }
  for name in "${names[@]}"; do
    name=${name%/}
    case ${name##*/} in .) continue ;; ..) [[ $3 == .. ]] || continue ;; esac # bash before 5.2 finds them
    if [[ -d $name ]]; then put d "${name:$4}"
    elif [[ $1 == path || ($1 == program && -x $name) ]]; then put f "${name:$4}"
    fi
  done
}
if [[ $tilde == '~' ]]; then directory=$HOME$directory
elif [[ $tilde =~ ^~[A-Za-z0-9_][A-Za-z0-9._-]*$ ]]; then eval "home=$tilde"; directory=$home$directory
elif [[ $tilde ]]; then exit 0
fi
case $kind in
  path | directory | program) files "$kind" "$directory" "$prefix" ${#directory} ;;
  command)
    lines c < <(compgen -A builtin -A keyword -- "$prefix")
    IFS=: read -rd '' -a folders <<< "$PATH:"
    for folder in "${folders[@]%$'\n'}"; do
      for name in "${folder:-.}/$prefix"*; do
        [[ -f $name && -x $name ]] && put c "${name##*/}"
      done
    done ;;
  variable) for name in "${found[@]}"; do put v "$name"; done ;;
  user) lines u < <(compgen -u -- "$prefix") ;;
  remote) lines r < <(git remote 2> /dev/null) ;;
  branch)
    lines r < <(for tree in heads remotes tags; do
      git for-each-ref --format='%(refname:strip=2)' --count="$((most + 1))" "refs/$tree/$prefix*" "refs/$tree/$prefix*/**"
    done 2> /dev/null)
    if ((!${#out[@]})); then # git takes files there too
      folder=${prefix%"${prefix##*/}"}
      files path "$folder" "${prefix##*/}" 0
    fi ;;
esac
finish
"""
_PLAIN = re.compile(r"[a-z0-9]", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """The names that begin as the word does, each with its mark. `shared` is how all of them begin, also those left out."""

    word: Word | None = None
    names: dict[str, str] = field(default_factory=dict)
    shared: str = ""
    problem: str = ""  # why there is none, if that is worth a word

    def completions(self, text: str, after: str) -> list[Completion]:
        """For the line of which `text` stands before the cursor and `after` behind it."""
        return [self._completion(name, mark, text, after) for name, mark in self.names.items()]

    def common(self, text: str) -> Completion | None:
        """What all names begin with, if that is more than is there."""
        if self.word is None or len(self.shared) <= len(self.word.prefix):
            return None
        return Completion(written(self.word, self.shared, None), self.word.start - len(text))

    def _completion(self, name: str, mark: str, text: str, after: str) -> Completion:
        assert self.word is not None, "there are names"
        end = _ENDS.get(mark, " ")
        if end and after.startswith(end):
            end = ""
        shown = printable(name[:_SHOWN_MAX]) + ("/" if mark == "d" else "")
        return Completion(written(self.word, name, end), self.word.start - len(text), display=shown)


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the other side said, at what time, to which question."""

    asked: tuple[str, ...]  # all but the prefix
    prefix: str
    names: dict[str, str]
    until: float
    last: str | None  # of all names, where some were left out


class RemoteCompleter(Asker):
    """Asks `host`, in the directory that `directory()` says. One question at a time; cancelling one ends it over there too."""

    def __init__(self, host: AsyncHost, directory: Callable[[], str]) -> None:
        self.noted = Noted()
        self._host = host
        self._directory = directory
        self._kept: list[_Kept] = []
        self._session: object = None  # whose answers these are

    def note(self, line: str) -> None:
        """A line was run: it may have made names, and files."""
        self.noted.note(line)
        self._kept = [kept for kept in self._kept if kept.asked[0] in ("command", "user")]

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """For prompt_toolkit's own ways to complete."""
        answer = await self.ask(document.text_before_cursor)
        for completion in answer.completions(document.text_before_cursor, document.text_after_cursor):
            yield completion

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> list[Completion]:
        """None: asking takes an event loop."""
        return []

    def known(self, text: str) -> Answer | None:
        """What could complete the end of `text`, the line before the cursor, if that is known without asking."""
        word = word_at(text)
        if word is None:
            return Answer()
        kept = self._kept_for(word)
        if kept is not None:
            return self._answer(word, kept)
        return None if self._connected() else Answer(problem="no contact: nothing can be completed now")

    async def ask(self, text: str) -> Answer:
        """The same, asked over there where it has to be."""
        known = self.known(text)
        word = word_at(text)
        if known is not None or word is None:
            return known or Answer()
        try:
            async with asyncio.timeout(self._patience()):
                return self._answer(word, await self._fetch(word))
        except TimeoutError:
            return Answer(problem="no answer in time: Tab asks again")
        except (RemoteShellError, OSError, subprocess.SubprocessError):
            return Answer()

    # --- asking

    def _connected(self) -> bool:
        conversation = self._host.conversation
        return conversation.retry is None and conversation.over is None

    def _patience(self) -> float:
        measured = self._host.conversation.session.round_trip
        return DEADLINE + (UNKNOWN_ROUND_TRIP if measured is None else measured)

    def _question(self, word: Word) -> tuple[str, ...]:
        """All of a question but how the name begins."""
        return word.kind, word.tilde, word.directory, self._directory()

    async def _fetch(self, word: Word) -> _Kept:
        asked = self._question(word)
        kind, tilde, directory, place = asked
        arguments = [kind, tilde, directory, word.prefix, str(NAMES_MAX), str(BYTES_MAX)]
        done = await self._host.run(
            # -p: neither BASH_ENV nor GLOBIGNORE nor functions from the environment
            ["bash", "--norc", "--noprofile", "-p", "-c", SCRIPT, "completing", *map(_raw, arguments)],
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            cwd=_raw(place),
            timeout=THERE_MAX,
        )
        names: dict[str, str] = {}
        last = None
        for record in done.stdout.split(b"\0")[:-1]:
            mark, name = record[:1].decode("ascii", "replace"), record[1:].decode("utf-8", "surrogateescape")
            if mark == "+":
                last = name
            elif name and (mark != "c" or _PLAIN.search(name)):  # reserved words of signs only are no help
                names.setdefault(name, mark)
        lasts = _LONG if kind in ("command", "user") else _SHORT
        kept = _Kept(asked, word.prefix, names, asyncio.get_running_loop().time() + lasts, last)
        self._kept = [kept, *self._kept[: _KEPT_MAX - 1]]
        return kept

    def _kept_for(self, word: Word) -> _Kept | None:
        """An answer that holds this one too."""
        session = self._host.conversation.session
        if session is not self._session:
            self._session, self._kept = session, []
        now = asyncio.get_running_loop().time()
        self._kept = [kept for kept in self._kept if kept.until > now]
        asked = self._question(word)
        for kept in self._kept:
            if kept.asked != asked:
                continue
            if kept.prefix == word.prefix or (kept.last is None and _narrows(kept, word.prefix)):
                return kept
        return None

    def _answer(self, word: Word, kept: _Kept) -> Answer:
        fitting = {name: mark for name, mark in kept.names.items() if name.startswith(word.prefix)}
        for name in self.noted.beginning(word.kind, word.prefix):
            fitting.setdefault(name, "v" if word.kind == "variable" else "c")
        names = dict(sorted(fitting.items()))
        shared = commonprefix([*names, kept.last] if kept.last is not None else [*names])  # noqa: RUF071  # of characters
        return Answer(word, names, shared)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _narrows(kept: _Kept, prefix: str) -> bool:
    """Whether all that begins so is in `kept`. If nothing is, it is asked for anew: some names are told only to who asks for them."""
    return prefix.startswith(kept.prefix) and any(name.startswith(prefix) for name in kept.names)
