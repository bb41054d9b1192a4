"""Variables of the environment that are never a restricted key's to set: those by which another program runs than the one that may.

A list can't be complete, so it is the second lock: what a restricted key sets passes only by an allow-list, which this is taken from.
Neighbours: `restrictions` refuses lines that name these; the server filters what a client asks for.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_HAZARDOUS = re.compile(
    # the loader and the C library, which every program has
    r"(LD_|DYLD_|MALLOC_|GLIBC_|GCONV_|RES_|NSS_|LOCPATH$|NLSPATH$|HOSTALIASES$|LOCALDOMAIN$|LANGUAGE$|TMPDIR$|TERM(INFO|CAP|PATH)"
    # shells, and where programs are found
    r"|BASH|ZDOTDIR$|FPATH$|ENV$|SHELLOPTS$|IFS$|PS[0-4]$|PROMPT_COMMAND$|CDPATH$|GLOBIGNORE$|FIGNORE$|INPUTRC$|HISTFILE$|POSIXLY_CORRECT$"
    r"|PATH$|HOME$|SHELL$|USER$|LOGNAME$|PWD$|OLDPWD$|XDG_|SUDO_|REMOTE_SHELL_|SSH_"
    # interpreters and what they load
    r"|PYTHON|PERL|RUBY|GEM_|BUNDLE_|NODE_|NPM_|JAVA|_JAVA|JDK_|CLASSPATH$|LUA_|PHP|TCL|GUILE_|AWK|R_(HOME|LIBS|PROFILE|ENVIRON)"
    # programs that start others, or read their settings from where they are told
    r"|GIT_|RSYNC_|TAR_|TAPE$|RSH$|EDITOR$|VISUAL$|PAGER$|MANPAGER$|BROWSER$|LESS|MAKE|MFLAGS$|GREP_|VIM|EMACS|TMUX|GNUPGHOME$|GPG_"
    r"|HG|SVN_|CVS_|APT_CONFIG$|PSQL|PG(PASSFILE|SERVICE|SYSCONFDIR)|FZF_|ANSIBLE_|CARGO|RUST(C|FLAGS|UP|DOC)|GO(FLAGS|PATH|ROOT|ENV)|CC$|CXX$|GCC_"
    r"|COMPILER_PATH$|DOTNET_|CORECLR_|COR_|ERL_|JULIA_|CAML_|SCREENRC$|FCEDIT$|MAIL(RC|CAPS)$"
    r"|OPENSSL_|SSL|CURL_|WGETRC$|NETRC$|([A-Z]+_)?PROXY$|DBUS_|SYSTEMD_|DOCKER_|KUBECONFIG$|KRB5|GTK_|QT_|GIO_|DISPLAY$|XAUTHORITY$"
    r"|(A|L|T|UB)SAN_)"
)


def is_hazardous(name: str) -> bool:
    """Whether a restricted key may never set it: on the list in any capitals (npm_config_…, http_proxy), or no plain name at all."""
    return _NAME.fullmatch(name) is None or _HAZARDOUS.match(name.upper()) is not None
