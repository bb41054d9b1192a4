"""Whether a line of shell is whole, or goes on on the next: what Enter does in the REPL hangs on it.

A scan of bash's grammar as far as it spans lines: quotes, substitutions, here-documents, compound commands, operators at the
end. It never judges: what it doesn't understand counts as whole, and bash on the other side says what is wrong. Asking bash
over there would cost a round trip at each Enter; asking one here (`bash -n`) would need one here, of the same version.

For zsh it goes by the same grammar, with what zsh has besides: `}` closes braces wherever a word may stand, parentheses are patterns,
and what `if`, `for` and `while` hold may be one command without `then` or `do`. Where that leaves a doubt the line is whole: one that is
sent too early can be typed again, one that never goes is in the way. Imports nothing. Neighbour: `repl`.
"""

from __future__ import annotations

_OPENERS = {
    "if": "fi",
    "for": "done",
    "while": "done",
    "until": "done",
    "select": "done",
    "case": "esac",
    "{": "}",
    "[[": "]]",
}
_CLOSERS = frozenset(_OPENERS.values())
_GO_ON = frozenset(("then", "else", "elif", "do", "!", "time", "coproc"))  # after these a command begins
_WORD_END = " \t\n;&|<>()"
_OPERATORS = ";&|"
_BODY = "do"  # of a `for`, until its body begins: with `do`, or with a brace
_SHORT = "?"  # for zsh, before what closes a command that may have a short form: not yet seen to be the long one
_ZSH_OPENERS = {word: _SHORT + _OPENERS[word] for word in ("if", "while", "until")} | {"repeat": _BODY}
_RESERVED = _GO_ON | _CLOSERS | frozenset(_OPENERS)


def is_incomplete(text: str, shell: str = "bash") -> bool:
    """Whether the shell ("bash", "zsh"), having read `text` and Enter, would wait for another line."""
    scan = _Scan(text, zsh=shell == "zsh")
    try:
        scan.commands()
    except _Unfinished:
        return True
    except (_Broken, RecursionError):
        return False
    return scan.goes_on


class _Unfinished(Exception):  # noqa: N818  # not an error
    """The text ended inside of something."""


class _Broken(Exception):  # noqa: N818
    """Not shell as we know it: for bash to judge."""


class _Scan:
    """One pass over a text. `at` is the position; every method moves it over what its name says."""

    def __init__(self, text: str, *, zsh: bool = False) -> None:
        self.text = text
        self.zsh = zsh
        self._openers = _OPENERS | _ZSH_OPENERS if zsh else _OPENERS
        self.at = 0
        self.goes_on = False  # an operator or `name()` stands last
        self._documents: list[
            tuple[str, bool]
        ] = []  # here-documents whose bodies begin at the next line: word, tabs off

    def commands(self, closer: str = "") -> None:
        """Commands up to the end, or up to `closer`, the parenthesis that ends a substitution or subshell."""
        open_words: list[str] = []  # what closes the compound commands that are open
        start = True  # a command may begin here, so that a reserved word counts
        leading = False  # of this command only redirections came before
        assignable = False  # or an assignment did just before: here too `name[` opens a subscript
        named = False  # a command's first word stands just before, so that `()` makes it a function
        pattern = False  # in a case, before the pattern's parenthesis
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign in " \t":
                self.at += 1
                continue
            was_named, named = named, False
            if sign == "\n":
                self._line_end()
                start = True
            elif sign == "#":
                self._comment()
            elif sign == ")" and not pattern:
                if self._missing(open_words) or not closer:
                    raise _Broken
                self.at += 1
                self.goes_on = False
                return
            elif sign == ")":
                self.at += 1
                start, pattern = True, False
            elif sign == "|" and pattern:
                self.at += 1
            elif sign in _OPERATORS:
                ended = self._operator()
                pattern = ended and open_words[-1:] == ["esac"]
                start = True
            elif sign == "(":
                start = self._parenthesis(start, pattern, was_named, open_words[-1:] == ["]]"])
            elif sign in "<>":
                self._redirection()
                leading = start or leading
                start = assignable = False
            else:
                may_assign = start or leading or assignable
                word = self._word(may_assign and not pattern)
                if pattern and word != "esac":
                    continue
                if word.isdigit() and self.text[self.at : self.at + 1] in ("<", ">"):
                    continue  # which descriptor the redirection is for
                assignable = may_assign and _is_assignment(word)
                leading = False
                named = start and word not in _RESERVED
                was_start, start, pattern = start, False, False
                if open_words[-1:] == ["]]"]:
                    if word == "]]":
                        open_words.pop()
                        start = True
                elif open_words[-1:] == ["in"]:
                    if word == "in":
                        open_words[-1] = "esac"
                        start = pattern = True
                elif was_start and word == "function":
                    start = self._function_name()
                elif self.zsh and word == "}":
                    start = self._close_brace(open_words)
                elif was_start or (word == "esac" and open_words[-1:] == ["esac"]):
                    start = self._reserved(word, open_words)
        if self._missing(open_words) or closer or self._documents:
            raise _Unfinished

    def _missing(self, open_words: list[str]) -> bool:
        """Whether what is open has to be closed; for zsh not where it may be a short form."""
        return any(not (self.zsh and _may_be_short(word)) for word in open_words)

    def _close_brace(self, open_words: list[str]) -> bool:
        """`}` in zsh, behind whatever word; what a short form left open before it is closed with it."""
        while open_words and _may_be_short(open_words[-1]):
            open_words.pop()
        if not open_words or open_words.pop() != "}":
            raise _Broken
        return True

    def _reserved(self, word: str, open_words: list[str]) -> bool:
        """`word` where a command may begin; whether a reserved word may come after it."""
        if word == "case":
            open_words.append("in")  # its own "esac" counts from there on
        elif word in ("for", "select"):
            open_words.append(_BODY)
            return self._loop_head()
        elif word == "{" and open_words[-1:] == [_BODY]:
            open_words[-1] = "}"
            return True
        elif word in self._openers:
            open_words.append(self._openers[word])
            if word == "repeat":
                self._blanks()
                self._word()
            return word != "[["
        elif word in _CLOSERS:
            if not open_words or open_words.pop() != word:
                raise _Broken
            return True  # `esac }`: nothing needs to stand between
        elif word == "do":
            if not open_words:
                raise _Broken
            if open_words[-1] in (_BODY, _SHORT + "done"):
                open_words[-1] = "done"
        elif word == "then" and open_words[-1:] == [_SHORT + "fi"]:
            open_words[-1] = "fi"
        return word in _GO_ON or (self.zsh and word == "always")

    def _loop_head(self) -> bool:
        """What follows `for`: a name, or `((`, where `<<` is a shift."""
        self._blanks()
        if self.text.startswith("((", self.at):
            self.at += 2
            self._arithmetic()
        elif not self._word():
            raise _Broken
        return True

    def _function_name(self) -> bool:
        """What follows the word `function`: a name, perhaps with `()`; its body may stand on the next line."""
        self._blanks()
        self._word()
        self._blanks()
        if self.text.startswith("()", self.at):
            self.at += 2
        self.goes_on = True
        return True

    def _blanks(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _word(self, assignable: bool = False) -> str:
        """One word with its quotes; what they hold is not looked at as words. `assignable`: it may begin with `name[…]`."""
        begin = self.at
        self.goes_on = False
        while self.at < len(self.text) and self.text[self.at] not in _WORD_END:
            sign = self.text[self.at]
            if sign == "[" and assignable and _is_name(self.text[begin : self.at]):
                self.at += 1
                self._brackets()
                continue
            self._piece()
            if sign == "=" and self.text[self.at : self.at + 1] == "(" and _is_assignment(self.text[begin : self.at]):
                self._array()  # its words are no commands, its line ends no ends
        return self.text[begin : self.at]

    def _piece(self) -> None:
        """One sign outside of quotes, with what it opens."""
        sign = self.text[self.at]
        follows = self.text[self.at + 1 : self.at + 2]
        if sign == "\\":
            self._escaped()
        elif sign == "'":
            self._until("'", escapes=False)
        elif sign == '"':
            self._double_quotes()
        elif sign == "`":
            self._until("`", escapes=True)
        elif sign == "$" and follows == "'":
            self.at += 1
            self._until("'", escapes=True)
        elif sign == "$" and follows == "(":
            self._substitution()
        elif sign == "$" and follows == "{":
            self._braces()
        elif sign == "$" and follows == "[":  # arithmetic, as it was written before `$((`
            self.at += 2
            self._brackets()
        else:
            self.at += 1

    def _escaped(self) -> None:
        if self.at + 1 >= len(self.text):
            raise _Unfinished
        self.at += 2

    def _until(self, end: str, *, escapes: bool) -> None:
        self.at += 1
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign == "\\" and escapes:
                self._escaped()
                continue
            self.at += 1
            if sign == end:
                return
        raise _Unfinished

    def _double_quotes(self) -> None:
        self.at += 1
        while self.at < len(self.text):
            if self.text[self.at] == '"':
                self.at += 1
                return
            if self.text[self.at] in "\\`" or self.text.startswith(("$(", "${", "$["), self.at):
                self._piece()
            else:
                self.at += 1
        raise _Unfinished

    def _substitution(self) -> None:
        """`$(commands)` or `$((arithmetic))`."""
        if self.text.startswith("((", self.at + 1):
            self.at += 3
            self._arithmetic()
        else:
            self.at += 2
            self.commands(closer=")")

    def _braces(self) -> None:
        self.at += 2
        while self.at < len(self.text):
            if self.text[self.at] == "}":
                self.at += 1
                return
            self._piece()
        raise _Unfinished

    def _brackets(self) -> None:
        """Up to the bracket that closes the one before: arithmetic, or a subscript."""
        depth = 1
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign in "[]":
                depth += 1 if sign == "[" else -1
                self.at += 1
                if depth == 0:
                    return
            else:
                self._piece()
        raise _Unfinished

    def _array(self) -> None:
        self.at += 1
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign == ")":
                self.at += 1
                return
            if sign == "#" and self.text[self.at - 1] in " \t\n(":
                self._comment()
            elif sign in _WORD_END:
                self.at += 1
            else:
                self._piece()
        raise _Unfinished

    def _arithmetic(self) -> None:
        """Up to the two parentheses that close it; `<<` is a shift in there."""
        depth = 2
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign in "()":
                depth += 1 if sign == "(" else -1
                self.at += 1
                if depth == 0:
                    return
            else:
                self._piece()
        raise _Unfinished

    def _parenthesis(self, start: bool, pattern: bool, named: bool, in_test: bool) -> bool:
        """An opening one where no word is: a subshell, `((`, `name()`, a pattern's; whether a reserved word may come after it."""
        self.goes_on = False
        if pattern:
            self.at += 1
            return start
        if start and self.text.startswith("((", self.at):
            self.at += 2
            self._arithmetic()
            return True
        self.at += 1
        if not (start or in_test):
            self._blanks()
            if not named or self.text[self.at : self.at + 1] != ")":
                if self.zsh:
                    self._pattern()
                    return False
                raise _Broken
            self.at += 1
            self.goes_on = True  # name(): its body follows, perhaps on the next line
            return True
        self.commands(closer=")")
        return not in_test

    def _pattern(self) -> None:
        """Up to the parenthesis that closes the one before: in zsh a part of a word, `*(.)` or `(a|b)`."""
        depth = 1
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign in "()":
                depth += 1 if sign == "(" else -1
                self.at += 1
                if depth == 0:
                    return
            else:
                self._piece()
        raise _Broken

    def _operator(self) -> bool:
        """`;`, `&`, `|` and their doubles; whether it was one that ends a case's branch."""
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] in _OPERATORS:
            self.at += 1
        operator = self.text[begin : self.at]
        self.goes_on = operator in ("|", "||", "&&", "|&")
        return operator in (";;", ";&", ";;&")

    def _redirection(self) -> None:
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] in "<>&|-":
            self.at += 1
        operator = self.text[begin : self.at]
        if self.text.startswith("(", self.at) and operator in ("<", ">"):
            self.at += 1
            self.commands(closer=")")
        elif operator in ("<<", "<<-"):
            self._blanks()
            word = self._word()
            if not word:
                raise _Broken
            self._documents.append((_unquoted(word), operator.endswith("-")))
        else:
            self._blanks()
            self._word()  # where to, which is no command

    def _comment(self) -> None:
        end = self.text.find("\n", self.at)
        self.at = len(self.text) if end < 0 else end

    def _line_end(self) -> None:
        self.at += 1
        while self._documents:
            word, tabs_off = self._documents[0]
            end = self.text.find("\n", self.at)
            line = self.text[self.at :] if end < 0 else self.text[self.at : end]
            found = (line.lstrip("\t") if tabs_off else line) == word
            if end < 0 and not found:
                raise _Unfinished
            self.at = len(self.text) if end < 0 else end + 1
            if found:
                del self._documents[0]


def _may_be_short(word: str) -> bool:
    return word in (_BODY, "in") or word.startswith(_SHORT)


def _is_name(text: str) -> bool:
    return text.isascii() and text.isidentifier()


def _is_assignment(word: str) -> bool:
    """`name=`, `name+=`, `name[…]=`, with whatever value."""
    name, bracket, rest = word.partition("[")
    if bracket and _is_name(name):
        return rest.rpartition("]")[2].startswith(("=", "+=")) or "]=" in rest or "]+=" in rest
    return _is_name(word.partition("=")[0].removesuffix("+")) and "=" in word


def _unquoted(word: str) -> str:
    return word.replace("\\", "").replace("'", "").replace('"', "")
