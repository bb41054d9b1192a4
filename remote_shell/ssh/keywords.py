"""Every keyword of ssh_config(5), OpenSSH 9 and 10 and Debian's, in one table: what becomes of it, with -o and in a file.

What is refused with -o is passed over in a file, with a note under -v: such files are written for ssh, and losing a tunnel grants
nothing. Only a keyword that would lead elsewhere, or not there at all, is refused in a file too. A table and nothing else.
Neighbours: `settings` obeys it, `options` has the letters.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Keyword(NamedTuple):
    """`harmless` are the values, in lower case, with which a refused one asks for nothing. `why` is told, and is in the docs."""

    name: str
    fate: Literal["served", "ignored", "refused"]
    why: str
    harmless: tuple[str, ...] = ("no", "none", "off", "false", "0")
    in_file: Literal["skipped", "refused"] = "skipped"


_TUNNEL = "only LocalForward and RemoteForward are built of ssh's tunnels"
_NO_TUNNEL = "it is about tunnels that are not built"
_LOGIN = "logins are by Ed25519 key or as the settings of the host say"
_ALGORITHM = "TLS 1.3 chooses its algorithms"
_KNOWN = "servers are known by our own known_hosts, or by the fingerprint in hosts.toml"
_SHARING = "a shared connection ends by itself, a minute after its last use"
_ALIVE = "a silent connection is found and mended anyway"
_CANONICAL = "names go to the resolver as they are"
_KERBEROS = "Kerberos is not known here"
_X11 = "X11 is not forwarded"
_OLD = "ssh gave it up too"

KEYWORDS: dict[str, Keyword] = {
    entry.name.lower(): entry
    for entry in (
        Keyword("AddKeysToAgent", "ignored", "keys are never added to the agent"),
        Keyword("AddressFamily", "ignored", "all addresses of a name are tried"),
        Keyword("BatchMode", "served", "yes: nobody is asked for a passphrase or about an unknown server"),
        Keyword("BindAddress", "refused", "the system's routes choose the source address"),
        Keyword("BindInterface", "refused", "the system's routes choose the interface"),
        Keyword("CanonicalDomains", "ignored", _CANONICAL),
        Keyword("CanonicalizeFallbackLocal", "ignored", _CANONICAL),
        Keyword("CanonicalizeHostname", "refused", _CANONICAL),
        Keyword("CanonicalizeMaxDots", "ignored", _CANONICAL),
        Keyword("CanonicalizePermittedCNAMEs", "ignored", _CANONICAL),
        Keyword("CASignatureAlgorithms", "ignored", _ALGORITHM),
        Keyword("CertificateFile", "ignored", _LOGIN),
        Keyword("ChallengeResponseAuthentication", "ignored", _LOGIN),
        Keyword("ChannelTimeout", "refused", "a silent command is left alone"),
        Keyword("CheckHostIP", "ignored", _KNOWN),
        Keyword("Cipher", "ignored", _OLD),
        Keyword("Ciphers", "ignored", _ALGORITHM),
        Keyword("ClearAllForwardings", "served", "yes: no tunnels, whatever else is said"),
        Keyword("Compression", "ignored", "nothing is compressed"),
        Keyword("CompressionLevel", "ignored", _OLD),
        Keyword("ConnectionAttempts", "ignored", "one attempt, which tries all addresses"),
        Keyword("ConnectTimeout", "served", "seconds, or as 1m30s; 10 s unless told otherwise"),
        Keyword("ControlMaster", "served", "no: this call shares no connection; otherwise it does, as without"),
        Keyword("ControlPath", "served", "none: this call shares no connection; any other path is ignored"),
        Keyword("ControlPersist", "ignored", _SHARING),
        Keyword("DSAAuthentication", "ignored", _OLD),
        Keyword("DynamicForward", "refused", _TUNNEL),
        Keyword("EnableEscapeCommandline", "ignored", "there is no command line behind an escape"),
        Keyword("EnableSSHKeysign", "ignored", _LOGIN),
        Keyword("EscapeChar", "served", "the key that begins an escape at a terminal, ^X, or none"),
        Keyword("ExitOnForwardFailure", "served", "yes: a tunnel that can't listen is a failure, and nothing is run"),
        Keyword("FallBackToRsh", "ignored", _OLD),
        Keyword("FingerprintHash", "ignored", "fingerprints are SHA-256"),
        Keyword("ForkAfterAuthentication", "served", "as -f"),
        Keyword("ForwardAgent", "refused", "the agent is not forwarded; give the server a key of its own"),
        Keyword("ForwardX11", "refused", _X11),
        Keyword("ForwardX11Timeout", "ignored", _X11),
        Keyword("ForwardX11Trusted", "ignored", _X11),
        Keyword("GatewayPorts", "served", "as -g"),
        Keyword("GlobalKnownHostsFile", "ignored", _KNOWN),
        Keyword("GlobalKnownHostsFile2", "ignored", _OLD),
        Keyword("GSSAPIAuthentication", "ignored", _KERBEROS),
        Keyword("GSSAPIClientIdentity", "ignored", _KERBEROS),
        Keyword("GSSAPIDelegateCredentials", "refused", _KERBEROS),
        Keyword("GSSAPIKexAlgorithms", "ignored", _KERBEROS),
        Keyword("GSSAPIKeyExchange", "ignored", _KERBEROS),
        Keyword("GSSAPIRenewalForcesRekey", "ignored", _KERBEROS),
        Keyword("GSSAPIServerIdentity", "ignored", _KERBEROS),
        Keyword("GSSAPITrustDns", "ignored", _KERBEROS),
        Keyword("HashKnownHosts", "ignored", _KNOWN),
        Keyword("Host", "refused", "it begins a block, in a file only", ()),
        Keyword("HostbasedAcceptedAlgorithms", "ignored", _LOGIN),
        Keyword("HostbasedAuthentication", "ignored", _LOGIN),
        Keyword("HostbasedKeyTypes", "ignored", _LOGIN),
        Keyword("HostKeyAlgorithms", "ignored", _ALGORITHM),
        Keyword("HostKeyAlias", "ignored", _KNOWN),
        Keyword("HostName", "served", "where it goes, with %h and %%; not asked for a name of hosts.toml"),
        Keyword("IdentitiesOnly", "ignored", "with a key named, no other is tried anyway"),
        Keyword("IdentityAgent", "served", "the agent's socket, SSH_AUTH_SOCK, $VARIABLE or none"),
        Keyword(
            "IdentityFile",
            "served",
            "as -i; from a file, the first that is an Ed25519 key, and if none is, as if unset",
        ),
        Keyword("IdentityFile2", "ignored", _OLD),
        Keyword("IgnoreUnknown", "ignored", "unknown keywords of a file are passed over, with -o they are refused"),
        Keyword("Include", "refused", "it stands in a file only", ()),
        Keyword("IPQoS", "ignored", "packets are not marked"),
        Keyword("KbdInteractiveAuthentication", "ignored", _LOGIN),
        Keyword("KbdInteractiveDevices", "ignored", _LOGIN),
        Keyword("KeepAlive", "ignored", _OLD),
        Keyword("KerberosAuthentication", "ignored", _OLD),
        Keyword("KerberosTGTPassing", "ignored", _OLD),
        Keyword("KexAlgorithms", "ignored", _ALGORITHM),
        Keyword("KnownHostsCommand", "ignored", _KNOWN),
        Keyword("LocalCommand", "ignored", "it is never run"),
        Keyword("LocalForward", "served", "as -L; sockets have no tunnels"),
        Keyword("LogLevel", "served", "QUIET as -q, VERBOSE and DEBUG as -v"),
        Keyword("LogVerbose", "ignored", "it is about the insides of ssh"),
        Keyword("MACs", "ignored", _ALGORITHM),
        Keyword("Match", "refused", "its blocks are not read; write a Host block, or a name of hosts.toml", ()),
        Keyword("NoHostAuthenticationForLocalhost", "ignored", _KNOWN),
        Keyword("NumberOfPasswordPrompts", "ignored", "a passphrase is asked for three times"),
        Keyword("ObscureKeystrokeTiming", "ignored", "keys are sent as they are typed"),
        Keyword("PasswordAuthentication", "ignored", _LOGIN),
        Keyword("PermitLocalCommand", "refused", "no command is run here"),
        Keyword("PermitRemoteOpen", "ignored", _NO_TUNNEL),
        Keyword("PKCS11Provider", "refused", "keys on smart cards are not known"),
        Keyword("Port", "served", "as -p; in a file it is sshd's port, and not asked"),
        Keyword("PreferredAuthentications", "ignored", _LOGIN),
        Keyword("Protocol", "ignored", _OLD),
        Keyword(
            "ProxyCommand",
            "refused",
            "another way to the server is not built; name an address that is reached directly, in hosts.toml",
            in_file="refused",
        ),
        Keyword(
            "ProxyJump",
            "refused",
            "jump hosts are not built; name an address that is reached directly, in hosts.toml",
            in_file="refused",
        ),
        Keyword("ProxyUseFdpass", "ignored", "there are no proxies"),
        Keyword("PubkeyAcceptedAlgorithms", "ignored", _ALGORITHM),
        Keyword("PubkeyAcceptedKeyTypes", "ignored", _ALGORITHM),
        Keyword("PubkeyAuthentication", "ignored", _LOGIN),
        Keyword("RefuseConnection", "refused", "the settings refuse this host", (), in_file="refused"),
        Keyword("RekeyLimit", "ignored", "TLS changes its keys by itself"),
        Keyword("RemoteCommand", "served", "the command, where none was given; none: none"),
        Keyword("RemoteForward", "served", "as -R; sockets and SOCKS have no tunnels"),
        Keyword("RequestTTY", "served", "no as -T, yes as -t, force as -tt, auto"),
        Keyword("RequiredRSASize", "ignored", _ALGORITHM),
        Keyword("RevokedHostKeys", "refused", _KNOWN),
        Keyword("RhostsAuthentication", "ignored", _OLD),
        Keyword("RhostsRSAAuthentication", "ignored", _OLD),
        Keyword("RSAAuthentication", "ignored", _OLD),
        Keyword("SecurityKeyProvider", "ignored", _LOGIN),
        Keyword(
            "SendEnv", "served", "variables of ours by name, * and ? in it, -NAME takes back; the server takes them all"
        ),
        Keyword("ServerAliveCountMax", "ignored", _ALIVE),
        Keyword("ServerAliveInterval", "ignored", _ALIVE),
        Keyword("SessionType", "served", "subsystem as -s, none as -N, default"),
        Keyword("SetEnv", "served", "NAME=VALUE for the command; the server takes them all"),
        Keyword("SkeyAuthentication", "ignored", _OLD),
        Keyword("SmartcardDevice", "ignored", _OLD),
        Keyword("StdinNull", "served", "as -n"),
        Keyword("StreamLocalBindMask", "ignored", _NO_TUNNEL),
        Keyword("StreamLocalBindUnlink", "ignored", _NO_TUNNEL),
        Keyword(
            "StrictHostKeyChecking",
            "served",
            "yes: nobody is asked about an unknown server. Anything else is ask: an unknown server is never trusted by itself",
        ),
        Keyword("SyslogFacility", "ignored", "messages go to stderr, or with -E to a file"),
        Keyword("Tag", "refused", "it chooses Match blocks, which are not read"),
        Keyword("TCPKeepAlive", "ignored", _ALIVE),
        Keyword("TISAuthentication", "ignored", _OLD),
        Keyword("Tunnel", "refused", "network devices are not forwarded"),
        Keyword("TunnelDevice", "ignored", "network devices are not forwarded"),
        Keyword("UpdateHostKeys", "ignored", _KNOWN),
        Keyword("UsePrivilegedPort", "ignored", _OLD),
        Keyword("User", "served", "as -l"),
        Keyword("UserKnownHostsFile", "ignored", _KNOWN),
        Keyword("UserKnownHostsFile2", "ignored", _OLD),
        Keyword("UseRoaming", "ignored", _OLD),
        Keyword("UseRsh", "ignored", _OLD),
        Keyword("VerifyHostKeyDNS", "ignored", _KNOWN),
        Keyword("VersionAddendum", "ignored", "there is no ssh banner to add to"),
        Keyword("VisualHostKey", "ignored", "fingerprints are shown as text"),
        Keyword("WarnWeakCrypto", "ignored", _ALGORITHM),
        Keyword("XAuthLocation", "ignored", _X11),
    )
}
