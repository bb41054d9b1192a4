"""The table of keywords against the manual's, and what each fate means for -o."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from remote_shell.errors import UsageError
from remote_shell.ssh.keywords import KEYWORDS
from remote_shell.ssh.settings import Settings
from remote_shell.ssh.words import split_line

# ssh_config(5) of OpenSSH 10.0, in its order
MANUAL = """
Host Match AddKeysToAgent AddressFamily BatchMode BindAddress BindInterface CanonicalDomains CanonicalizeFallbackLocal
CanonicalizeHostname CanonicalizeMaxDots CanonicalizePermittedCNAMEs CASignatureAlgorithms CertificateFile ChannelTimeout
CheckHostIP Ciphers ClearAllForwardings Compression ConnectionAttempts ConnectTimeout ControlMaster ControlPath ControlPersist
DynamicForward EnableEscapeCommandline EnableSSHKeysign EscapeChar ExitOnForwardFailure FingerprintHash
ForkAfterAuthentication ForwardAgent ForwardX11 ForwardX11Timeout ForwardX11Trusted GatewayPorts GlobalKnownHostsFile
GSSAPIAuthentication GSSAPIDelegateCredentials HashKnownHosts HostbasedAcceptedAlgorithms HostbasedAuthentication
HostKeyAlgorithms HostKeyAlias Hostname IdentitiesOnly IdentityAgent IdentityFile IgnoreUnknown Include IPQoS
KbdInteractiveAuthentication KbdInteractiveDevices KexAlgorithms KnownHostsCommand LocalCommand LocalForward LogLevel
LogVerbose MACs NoHostAuthenticationForLocalhost NumberOfPasswordPrompts ObscureKeystrokeTiming PasswordAuthentication
PermitLocalCommand PermitRemoteOpen PKCS11Provider Port PreferredAuthentications ProxyCommand ProxyJump ProxyUseFdpass
PubkeyAcceptedAlgorithms PubkeyAuthentication
RefuseConnection RekeyLimit RemoteCommand RemoteForward RequestTTY RequiredRSASize RevokedHostKeys
SecurityKeyProvider
SendEnv ServerAliveCountMax ServerAliveInterval SessionType SetEnv StdinNull StreamLocalBindMask StreamLocalBindUnlink
StrictHostKeyChecking SyslogFacility Tag TCPKeepAlive Tunnel TunnelDevice UpdateHostKeys User UserKnownHostsFile
VerifyHostKeyDNS VersionAddendum VisualHostKey WarnWeakCrypto XAuthLocation
"""
GOOD = {  # a value that each served one takes
    "connecttimeout": "5",
    "port": "5",
    "setenv": "A=b",
    "sessiontype": "default",
    "requesttty": "auto",
    "escapechar": "^X",
    **dict.fromkeys(("batchmode", "forkafterauthentication", "stdinnull"), "yes"),
    **dict.fromkeys(("clearallforwardings", "exitonforwardfailure", "gatewayports"), "yes"),
    **dict.fromkeys(("localforward", "remoteforward"), "8080 db:5432"),
}


def given(text: str) -> Settings:
    settings = Settings()
    settings.add_option(text)
    return settings


@pytest.mark.parametrize("keyword", MANUAL.split())
def test_the_manuals_keywords_are_there(keyword: str) -> None:
    assert keyword.lower() in KEYWORDS


def test_the_installed_manual_has_no_other() -> None:
    page = Path("/usr/share/man/man5/ssh_config.5.gz")
    if page.exists():  # left out of small containers
        text = gzip.decompress(page.read_bytes()).decode()
        found = {word.lower() for word in re.findall(r"^\.It Cm (\w+)$", text, re.MULTILINE)}
        assert {"port", "user", "proxyjump"} <= found <= set(KEYWORDS)


@pytest.mark.parametrize("keyword", [name for name, entry in KEYWORDS.items() if entry.fate == "served"])
def test_what_is_served_leaves_a_trace(keyword: str) -> None:
    assert vars(given(f"{keyword}={GOOD.get(keyword, 'x')}")) != vars(Settings())


@pytest.mark.parametrize("keyword", [name for name, entry in KEYWORDS.items() if entry.fate == "ignored"])
def test_what_is_ignored_leaves_only_a_note(keyword: str) -> None:
    settings = given(f"{keyword}=x")
    notes, settings.notes = settings.notes, []
    assert len(notes) == 1 and KEYWORDS[keyword].why in notes[0]
    assert vars(settings) == vars(Settings())


@pytest.mark.parametrize("keyword", [name for name, entry in KEYWORDS.items() if entry.fate == "refused"])
def test_what_is_refused_is_named_with_the_reason(keyword: str) -> None:
    with pytest.raises(UsageError) as caught:
        given(f"{keyword}=yes")
    assert str(caught.value) == f"-o {keyword} is refused: {KEYWORDS[keyword].why}"
    for value in KEYWORDS[keyword].harmless:
        given(f"{keyword}={value}")
        given(f"{keyword} {value.upper()}")


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_each_says_what_becomes_of_it(keyword: str) -> None:
    entry = KEYWORDS[keyword]
    assert entry.why and not entry.why.endswith(".") and entry.name.lower() == keyword


def test_a_file_refuses_only_what_leads_elsewhere() -> None:
    assert {name for name, entry in KEYWORDS.items() if entry.in_file == "refused"} == {
        *("proxycommand", "proxyjump", "refuseconnection"),
    }
    line = split_line("LocalForward 1 h:2")
    assert line is not None
    Settings().add_line(line, "here")


# --- values


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("1m30s", 90), ("1H", 3600), ("none", None), ("0", None), ("2d", 172800), ("1w", 604800)],
)
def test_times(value: str, seconds: float | None) -> None:
    assert given(f"ConnectTimeout={value}").connect_timeout == seconds


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "5x", "m", "9999999999"])
def test_what_is_no_time(value: str) -> None:
    with pytest.raises(UsageError, match="takes a number of seconds"):
        given(f"ConnectTimeout={value}")


@pytest.mark.parametrize(("value", "key"), [("~", 126), ("%", 37), ("^X", 24), ("^x", 24), ("none", None), ("^]", 29)])
def test_escapes(value: str, key: int | None) -> None:
    assert given(f"EscapeChar={value}").escape == key


def test_without_a_word_it_is_the_tilde() -> None:
    assert Settings().escape == ord("~")


@pytest.mark.parametrize(
    ("level", "quiet", "verbose"),
    [
        ("QUIET", True, False),
        ("quiet", True, False),
        ("DEBUG3", False, True),
        ("VERBOSE", False, True),
        ("INFO", False, False),
    ],
)
def test_levels(level: str, quiet: bool, verbose: bool) -> None:
    settings = given(f"LogLevel={level}")
    assert (settings.is_quiet, settings.is_verbose) == (quiet, verbose)


def test_the_environment() -> None:
    settings = Settings()
    for text in ("SendEnv=LC_* GIT_PROTOCOL", "SendEnv=X?", "SendEnv=-LC_*", "SetEnv=A=b 'C=d e'", "SetEnv=B=later"):
        settings.add_option(text)
    ours = {"LC_ALL": "C", "GIT_PROTOCOL": "version=2", "X1": "1", "X12": "2", "HOME": "/"}
    assert settings.environment(ours) == {"GIT_PROTOCOL": "version=2", "X1": "1", "A": "b", "C": "d e"}
    assert Settings().environment(ours) == {}


def test_kinds_of_sessions() -> None:
    for kind in ("none", "subsystem", "default"):
        assert given(f"SessionType={kind}").text("sessiontype") == kind
    with pytest.raises(UsageError, match="takes subsystem, none or default"):
        given("SessionType=other")


def test_notes_have_a_bound() -> None:
    settings = Settings()
    for number in range(1000):
        settings.note(str(number))
    assert len(settings.notes) == 50
