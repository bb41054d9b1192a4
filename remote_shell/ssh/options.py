"""Every option of ssh(1), OpenSSH 9 and 10, in one table: what it takes, and what becomes of it here.

An option is served, ignored where a session is the same without it, or refused by name where it is not: a caller that is told "no" can
be mended, one that is half obeyed can't. Parses as ssh's getopt does; opens nothing. Neighbours: `keywords` has the same for -o
and ssh_config(5), `settings` collects both.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from remote_shell.errors import UsageError
from remote_shell.ssh.settings import Settings

Fate = Literal["served", "ignored", "refused"]


class Option(NamedTuple):
    """One letter. `takes` names its argument as ssh(1) does, "" for none; `why` is told when it is refused, and in the docs."""

    fate: Fate
    why: str
    takes: str = ""
    sets: str = ""  # the line of ssh_config(5) that means the same; the argument comes behind it


_TUNNEL = "SOCKS is not built; -L and -R are tunnels to one place"
_SHARING = "a connection is shared without being asked for (remote-shell mux)"

OPTIONS: dict[str, Option] = {
    "4": Option("ignored", "all addresses of a name are tried"),
    "6": Option("ignored", "all addresses of a name are tried"),
    "A": Option("refused", "the agent is not forwarded; give the server a key of its own"),
    "a": Option("ignored", "the agent is never forwarded"),
    "B": Option("refused", "the system's routes choose the interface", "bind_interface"),
    "b": Option("refused", "the system's routes choose the source address", "bind_address"),
    "C": Option("ignored", "nothing is compressed"),
    "c": Option("ignored", "TLS 1.3 chooses its ciphers", "cipher_spec"),
    "D": Option("refused", _TUNNEL, "[bind_address:]port"),
    "E": Option("served", "messages of ours go to the end of this file, not to stderr", "log_file"),
    "e": Option("served", "the key that begins an escape at a terminal, or none", "escape_char", "EscapeChar"),
    "F": Option(
        "served", "this file is read instead of ~/.ssh/config and /etc/ssh/ssh_config; none: no file", "configfile"
    ),
    "f": Option(
        "served", "goes to the background when the command runs; its stdin is empty", sets="ForkAfterAuthentication yes"
    ),
    "G": Option("served", "prints where it would go, one keyword of ssh_config(5) a line, and connects to nothing"),
    "g": Option("served", "tunnels of -L listen on all addresses, not only on loopback", sets="GatewayPorts yes"),
    "I": Option("refused", "keys on smart cards are not known; load one that is Ed25519 into ssh-agent", "pkcs11"),
    "i": Option(
        "served", "log in with this key; of several, the first whose file is there", "identity_file", "IdentityFile"
    ),
    "J": Option(
        "refused", "jump hosts are not built; name an address that is reached directly, in hosts.toml", "destination"
    ),
    "K": Option("refused", "Kerberos credentials are not known here"),
    "k": Option("ignored", "Kerberos credentials are never forwarded"),
    "L": Option(
        "served", "what connects to the first address here goes to the second one there", "address", "LocalForward"
    ),
    "l": Option("served", "refused before anything runs unless it is the server's account", "login_name", "User"),
    "M": Option("ignored", _SHARING),
    "m": Option("ignored", "TLS 1.3 chooses its ciphers", "mac_spec"),
    "N": Option("served", "no command: for tunnels", sets="SessionType none"),
    "n": Option("served", "the command's stdin is empty", sets="StdinNull yes"),
    "O": Option("refused", "a shared connection ends by itself, a minute after its last use", "ctl_cmd"),
    "o": Option("served", "one line of ssh_config(5), see below", "option"),
    "P": Option("refused", "it chooses Match blocks, which are not read", "tag"),
    "p": Option("served", "the port of the remote-shell server, 8822 unless told otherwise", "port", "Port"),
    "Q": Option("refused", "ssh's algorithms are not used here", "query_option"),
    "q": Option("served", "says nothing of its own, fatal errors included", sets="LogLevel QUIET"),
    "R": Option(
        "served", "what connects to the first address there goes to the second one here", "address", "RemoteForward"
    ),
    "S": Option("served", "none: this call shares no connection; any other path is ignored", "ctl_path", "ControlPath"),
    "s": Option("served", "the command is the name of a subsystem; servers have sftp", sets="SessionType subsystem"),
    "T": Option("served", "no terminal for the command"),
    "t": Option("served", "a terminal for the command, if stdin is one; -tt: in any case"),
    "V": Option("served", "prints the version on stderr"),
    "v": Option("served", "says more on stderr", sets="LogLevel VERBOSE"),
    "W": Option("served", "stdin and stdout are a connection from there to host:port; nothing runs", "host:port"),
    "w": Option("refused", "network devices are not forwarded", "local_tun[:remote_tun]"),
    "X": Option("refused", "X11 is not forwarded"),
    "x": Option("ignored", "X11 is never forwarded"),
    "Y": Option("refused", "X11 is not forwarded"),
    "y": Option("ignored", "messages go to stderr, or with -E to a file"),
}


class CommandLine:
    """What was typed. `settings` has the options, `destination` and `words` what followed them."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.destination = ""
        self.words: list[str] = []
        self.config_file: str | None = None
        self.log_file: str | None = None
        self.prints_settings = False  # -G
        self.prints_version = False  # -V
        self.joined: tuple[str, int] | None = None  # -W: host and port
        self.trace: str | None = None  # --trace[=FILE], which ssh has not: "" is stderr
        self.allow: str | None = None  # --allow WHAT, which ssh has not

    @property
    def is_shareable(self) -> bool:
        """Its commands can pass through another process: no terminal, nothing in the background, and our words go to stderr."""
        settings = self.settings
        return (
            bool(self.words)
            and not (self.prints_settings or self.prints_version)
            and settings.text("sessiontype").lower() != "none"
            and settings.terminal in ("auto", "no")
            and not settings.flag("forkafterauthentication")
            and not settings.is_verbose
            and self.joined is None
            and self.trace is None
            and self.allow is None
            and not settings.tunnels
            and self.log_file is None
            and settings.text("controlpath").lower() != "none"
            and settings.text("controlmaster").lower() not in ("no", "false", "off")
        )


def parse(words: list[str]) -> CommandLine:
    """The command line without the program's name. Raises UsageError for what is unknown, refused or missing."""
    line = CommandLine()
    rest, closed = _options(line, words)
    if line.prints_version:
        return line
    if not rest:
        raise UsageError("no host; write: remote-shell ssh [options] [user@]host [command …]")
    line.destination, rest = rest[0], rest[1:]
    if rest and not closed:  # ssh takes options behind the host too, once
        rest, _ = _options(line, rest)
    line.words = rest
    return line


def _options(line: CommandLine, words: list[str]) -> tuple[list[str], bool]:
    """Take the options that `words` begins with; what follows them, and whether "--" ended them."""
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return words[at + 1 :], True
        if not word.startswith("-") or word == "-":
            break
        at += 1
        if word == "--trace" or word.startswith("--trace="):
            line.trace = word[len("--trace=") :]
            continue
        if word == "--allow":
            if at == len(words):
                raise UsageError("--allow needs a word: title, clipboard or all")
            line.allow = words[at]
            at += 1
            continue
        if word.startswith("--allow="):
            line.allow = word[len("--allow=") :]
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            option = OPTIONS.get(letter)
            if option is None:
                raise UsageError(f"ssh has no option {'-' + letter!a} (in {word[:80]!a}); see remote-shell ssh --help")
            argument = ""
            if option.takes:
                argument, letters = letters, ""
                if not argument:
                    if at == len(words):
                        raise UsageError(f"-{letter} needs an argument: -{letter} {option.takes}")
                    argument = words[at]
                    at += 1
            _take(line, letter, option, argument)
    return words[at:], False


def _take(line: CommandLine, letter: str, option: Option, argument: str) -> None:
    settings = line.settings
    if option.fate == "refused":
        raise UsageError(f"-{letter} is refused: {option.why}")
    if option.fate == "ignored":
        settings.note(f"-{letter} is ignored: {option.why}")
    elif letter == "o":
        settings.add_option(argument)
    elif option.sets:
        settings.add_given(option.sets, argument, f"-{letter}")
    elif letter in "tT":
        settings.ask_terminal(wanted=letter == "t")
    elif letter == "F":
        line.config_file = argument
    elif letter == "E":
        line.log_file = argument
    elif letter == "G":
        line.prints_settings = True
    elif letter == "W":
        if line.joined is not None:
            raise UsageError("-W was given twice, and stdin can go to one place")
        line.joined = _joined(argument)
    elif letter == "V":
        line.prints_version = True
    else:
        raise AssertionError(f"-{letter} is served by nobody")


def _joined(text: str) -> tuple[str, int]:
    host, _, digits = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
        raise UsageError(f"-W {text[:200]!a}: write host:port, or [address]:port")
    return host, int(digits)
