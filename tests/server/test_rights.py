"""Rights: each kind of request under each kind of restriction, and that what was decided is what runs, over real sockets."""

from __future__ import annotations

import asyncio
import os
import pwd
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from remote_shell.config.server import ServerConfig
from remote_shell.identity.keys import PublicKey, make_blob
from remote_shell.identity.restrictions import UNRESTRICTED, Restrictions, parse_options
from remote_shell.server.context import Context
from remote_shell.server.rights import ORIGINAL, RULES, NotPermittedError, permitted
from remote_shell.server.sessions import REQUESTS
from remote_shell.testing import RunningServer, server
from remote_shell.wire.messages import FEATURES, Detach, Open, Terminal

from .conftest import QUICK
from .raw_client import Command, LoginDeniedError, Prove, RawClient, by_key

pytestmark = pytest.mark.screen  # as a file it takes long

KINDS = frozenset(typing.get_args(typing.get_type_hints(Open)["request"]))
TERMINAL = Terminal(term="xterm", rows=24, columns=80)

# each kind of request as a client sends it
ASKS: dict[str, dict[str, Any]] = {
    "exec": {"argv": ["true"]},
    "exec of a line": {"request": "exec", "line": "true; true"},
    "exec of plain words": {"request": "exec", "line": "true"},
    "exec on a terminal": {"request": "exec", "argv": ["true"], "terminal": TERMINAL},
    "login shell": {"request": "exec", "terminal": TERMINAL},
    "subsystem": {"request": "exec", "subsystem": "mine"},
    "detach": {"request": "exec", "argv": ["true"], "detach": True},
    "shell": {},
    "shell on a terminal": {"request": "shell", "terminal": TERMINAL},
    "attach": {"terminal": TERMINAL},
    "shells": {},
    "query": {},
    "jobs": {},
    "job_logs": {},
    "job_wait": {},
    "job_signal": {"signal": "SIGTERM"},
    "job_remove": {},
    "put": {"paths": ["a"], "to": "."},
    "get": {"paths": ["a"]},
    "connect": {"host": "127.0.0.1", "port": 80},
    "listen": {"port": 0},
    "accept": {},
}
ON_TERMINALS = {"exec on a terminal", "login shell", "shell on a terminal", "attach"}
JOBS = {"jobs", "job_logs", "job_wait", "job_signal", "job_remove"}
ALL = set(ASKS)
EXEC = {"exec", "exec of a line", "exec of plain words", "exec on a terminal", "login shell", "subsystem"}
# tunnels' places are for `Forwards` to know
ANYWAY = {"query", "shells", "connect", "listen"}

# what passes under which line, out of ALL
TABLE: list[tuple[str, set[str]]] = [
    ("", ALL),
    ("no-X11-forwarding", ALL - {"accept"}),
    ('from="10.0.0.0/8",expiry-time="29991231Z"', ALL - {"accept"}),
    ("port-forwarding", ALL),
    ("no-port-forwarding", ALL - {"accept"}),
    ('permitopen="127.0.0.1:80"', ALL - {"accept"}),
    ('permitlisten="0.0.0.0:*"', ALL),
    ("restrict", ALL - ON_TERMINALS - {"accept"}),
    ("restrict,pty", ALL - {"accept"}),
    ("no-pty", ALL - ON_TERMINALS - {"accept"}),
    ('command="true"', EXEC | ANYWAY),
    ('command="true",no-pty', (EXEC | ANYWAY) - ON_TERMINALS),
    ('command="true",port-forwarding', EXEC | ANYWAY | {"accept"}),
    ('allow="true"', {"exec", "exec of plain words", "exec on a terminal"} | ANYWAY),
    ('allow="true *"', {"exec", "exec of plain words", "exec on a terminal"} | ANYWAY),
    ('allow="false"', ANYWAY),
    ('restrict,allow="true"', {"exec", "exec of plain words"} | ANYWAY),
    ('allow="true",allow=":detach"', {"exec", "exec of plain words", "exec on a terminal", "detach"} | JOBS | ANYWAY),
    ('allow="false",allow=":detach"', JOBS | ANYWAY),
    ('allow=":get"', {"get"} | ANYWAY),
    ('allow=":put"', {"put"} | ANYWAY),
    ('allow=":put",allow=":get"', {"put", "get"} | ANYWAY),
    ('allow="/bin/sh -c *"', {"exec of a line", "exec of plain words"} | ANYWAY),
    ('allow="/bin/sh -l"', {"login shell"} | ANYWAY),
    ('allow="/opt/mine --serve"', {"subsystem"} | ANYWAY),
    ('cwd="/"', ALL - {"accept"}),
    ('timeout="5",max-commands="1",accept-env="A",environment="B=c"', ALL - {"accept"}),
]


@pytest.fixture(scope="module")
def context() -> Iterator[Context]:
    loop = asyncio.new_event_loop()
    config = ServerConfig(shell="/bin/sh", subsystems={"mine": ["/opt/mine", "--serve"]})
    made = Context(loop, config)
    yield made
    made.scribe.close()
    loop.close()


def ask(context: Context, said: Restrictions | None, name: str, source: str = "10.0.0.1", **fields: Any) -> Open:
    """What becomes of a request under these restrictions. Raises NotPermittedError."""
    context.restrictions_of = lambda principal: said
    context.forwards.go_by(None, True, lambda principal: None if said is None else said.forwarding)
    asked = {"request": name, "id": "x", "window": 1, **ASKS.get(name, {}), **fields}
    return permitted(context, "key:me", source, Open(**asked))


def test_every_kind_of_request_has_a_rule_and_a_row_here() -> None:
    assert set(RULES) == set(REQUESTS) == KINDS
    assert {fields.get("request", name) for name, fields in ASKS.items()} == KINDS


def test_a_kind_without_a_rule_is_refused(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KINDS:
        monkeypatch.delitem(RULES, name)
        with pytest.raises(NotPermittedError, match="no rule"):
            ask(context, UNRESTRICTED, name)
        monkeypatch.undo()


@pytest.mark.parametrize(("options", "passes"), TABLE)
def test_each_request_under_each_restriction(context: Context, options: str, passes: set[str]) -> None:
    said = parse_options(options)
    seen = set()
    for name in ASKS:
        try:
            ask(context, said, name)
        except NotPermittedError as error:
            assert str(error) and error.code in ("not_permitted", "forwarding_denied")
        else:
            seen.add(name)
    assert seen == passes


def test_nothing_passes_for_who_is_not_on_the_list_or_not_from_there_or_too_late(context: Context) -> None:
    for name in ASKS:
        for said, source in (
            (None, "10.0.0.1"),
            (parse_options('from="10.0.0.1"'), "10.0.0.2"),
            (parse_options('from="10.0.0.1"'), "unix"),
            (parse_options('from="10.0.0.1"'), ""),
            (parse_options('expiry-time="20200101Z"'), "10.0.0.1"),
        ):
            with pytest.raises(NotPermittedError):
                ask(context, said, name, source)


def test_the_settings_open_no_tunnels_for_a_restricted_key(context: Context) -> None:
    for options, opened in (
        ("", True),
        ("no-pty", True),
        ("restrict", False),
        ('command="x"', False),
        ('allow="x"', False),
    ):
        said = parse_options(options).forwarding
        context.forwards.go_by(True, True, lambda principal, said=said: said)  # type: ignore[misc]
        assert (context.forwards.refusal_to_connect("key:me", "h", 1) == "") is opened
        assert (context.forwards.refusal_to_listen("key:me", "", 1) == "") is opened
        assert (context.forwards.refusal_to_accept("key:me") == "") is opened


def test_what_the_refusal_says(context: Context) -> None:
    for options, name, text in (
        ('allow="git *",allow="make"', "exec", "this key may run only: git *, make"),
        ('allow="git *"', "get", "this key may run only: git *; it may not get files"),
        ('allow="git *"', "shell", "this key may run only: git *; it may not have a shell; name the command: remote-shell run"),
        ('allow=":get"', "exec", "this key may get files; it may run no command"),
        ('command="secret"', "put", "this key runs one command, whatever is asked for; it may not put files"),
        ("restrict", "exec on a terminal",
         "this key may not have a terminal (restrict or no-pty in authorized_keys); run without -t needs none"),
    ):  # fmt: skip
        with pytest.raises(NotPermittedError) as caught:
            ask(context, parse_options(options), name)
        assert str(caught.value) == text


def test_several_things_at_once_are_none_that_is_allowed(context: Context) -> None:
    said = parse_options('allow="true"')
    asked: tuple[dict[str, Any], ...] = (
        {"argv": ["true"], "line": "rm x"},
        {"argv": ["true"], "subsystem": "mine"},
        {"argv": []},
        {},
    )
    for fields in asked:
        with pytest.raises(NotPermittedError):
            ask(context, said, "exec", **{"argv": None, **fields})


def test_what_matched_is_all_that_is_left_of_the_request(context: Context) -> None:
    said = parse_options('allow="git *"')
    made = ask(context, said, "exec", argv=None, line="git log 'a b'")
    assert made.argv == ["git", "log", "a b"] and made.line is None and made.subsystem is None
    for shell in ("/bin/sh", context.shell.decode()):  # as subprocess has shell=True
        assert ask(context, said, "exec", argv=[shell, "-c", "git log"]).argv == ["git", "log"]
    for argv in (
        ["/bin/sh", "-c", "git log", "x"],
        ["/bin/sh", "-e", "git log"],
        ["/tmp/sh", "-c", "git log"],
        ["sh", "-c", "git log;"],
    ):
        with pytest.raises(NotPermittedError):
            ask(context, said, "exec", argv=argv)
    made = ask(context, parse_options('allow="/opt/mine --serve"'), "exec", argv=None, subsystem="mine")
    assert made.argv == ["/opt/mine", "--serve"] and made.subsystem is None
    for line in ("git log; id", "git log $(id)", "git log > /etc/x", "git log\nid", "git log & id"):
        with pytest.raises(NotPermittedError):
            ask(context, said, "exec", argv=None, line=line)


def variables(made: Open) -> dict[str, str]:
    assert made.env is None and made.env_offer is None
    return {str(pair[0]): str(pair[1]) for pair in made.env_add or ()}


HAZARDS = (
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "BASH_ENV", "ENV", "PYTHONPATH", "PYTHONSTARTUP", "PERL5LIB", "PERL5OPT", "RUBYLIB"),
    *("RUBYOPT", "NODE_OPTIONS", "NODE_PATH", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_EXEC_PATH", "IFS", "SHELLOPTS", "BASHOPTS", "PS4", "PATH"),
    *("HOME", "SHELL", "PROMPT_COMMAND", "GCONV_PATH", "LOCPATH", "TERMINFO", "PAGER", "EDITOR", "LESSOPEN", "BASH_FUNC_ls%%", "TMPDIR"),
    *("SSH_ORIGINAL_COMMAND", "REMOTE_SHELL_ORIGINAL_COMMAND", "REMOTE_SHELL_COMMAND_ID", "GLIBC_TUNABLES", "CDPATH", "JAVA_TOOL_OPTIONS"),
    *("HGRCPATH", "HGEDITOR", "SVN_SSH", "CVS_RSH", "APT_CONFIG", "PSQLRC", "PSQL_PAGER", "PGSERVICEFILE", "FZF_DEFAULT_COMMAND"),
    *("ANSIBLE_CONFIG", "CARGO_HOME", "RUSTC_WRAPPER", "GOFLAGS", "CC", "GCC_EXEC_PREFIX", "COMPILER_PATH", "DOTNET_STARTUP_HOOKS"),
    *("COR_PROFILER", "CORECLR_PROFILER", "ERL_FLAGS", "JULIA_LOAD_PATH", "CAML_LD_LIBRARY_PATH", "SCREENRC", "FCEDIT", "MAILCAPS"),
)  # fmt: skip


@pytest.mark.parametrize("field", ["env", "env_add", "env_offer"])
@pytest.mark.parametrize(
    "options", ["restrict", 'allow="true"', 'cwd="/"', 'timeout="1"', 'max-commands="9"', "no-pty"]
)
def test_no_hazardous_variable_passes_however_it_is_sent(context: Context, options: str, field: str) -> None:
    said = parse_options(f'{options},accept-env="*",accept-env="LD_*"')
    given: dict[str, Any] = {field: [[name, "x"] for name in HAZARDS] + [["LANG", "C"], ["MINE", "1"]]}
    assert variables(ask(context, said, "exec", **given)) == {"LANG": "C", "MINE": "1"}
    assert variables(ask(context, parse_options(options), "exec", **given)) == {"LANG": "C"}


@pytest.mark.parametrize(
    ("value", "passes"),
    [("C.UTF-8", True), ("de_DE@euro", True), ("Europe/Berlin", True), ("CET-1CEST,M3.5.0/2,M10.5.0/3", True), ("", True),
     ("/etc/shadow", False), (":/etc/shadow", False), ("../../x", False), ("a/../b", False), ("() { :;}; x", False), ("a\nb", False),
     ("x" * 129, False), ("$(x)", False), ("a b", False)],
)  # fmt: skip
def test_values_that_lead_elsewhere_do_not_pass(context: Context, value: str, passes: bool) -> None:
    for name in ("TZ", "LC_ALL", "TERM"):
        made = ask(context, parse_options("restrict"), "exec", env_offer=[[name, value]])
        assert variables(made) == ({name: value} if passes else {})


def test_who_is_not_restricted_gets_what_it_asks_for(context: Context) -> None:
    given = [["LD_PRELOAD", "x"]]
    for options in ("", "port-forwarding", 'from="10.0.0.1"'):
        made = ask(context, parse_options(options), "exec", env=given)
        assert made.env == given and made.env_add is None
    made = ask(context, parse_options('environment="A=b"'), "exec", env=given)
    assert made.env == [*given, ["A", "b"]]
    made = ask(context, parse_options('environment="A=b"'), "exec", env_add=given)
    assert made.env is None and made.env_add == [*given, ["A", "b"]]


def test_the_line_s_own_variables_win(context: Context) -> None:
    made = ask(
        context, parse_options('restrict,environment="A=line",accept-env="A"'), "exec", env_add=[["A", "client"]]
    )
    assert variables(made) == {"A": "line"}


@pytest.mark.parametrize(
    ("fields", "original"),
    [
        ({"argv": ["a", "b c"]}, "a 'b c'"),
        ({"argv": None, "line": "a; b"}, "a; b"),
        ({"argv": None, "subsystem": "mine"}, "/opt/mine --serve"),
        ({"argv": None, "terminal": TERMINAL}, None),
        ({"argv": None, "line": 'exec "$SHELL" -l'}, None),
    ],
)
def test_what_was_asked_for_is_told_to_the_forced_command(
    context: Context, fields: dict[str, Any], original: str | None
) -> None:
    made = ask(context, parse_options('command="say"'), "exec", **fields)
    assert (made.argv, made.line, made.subsystem) == (None, "say", None)
    told = variables(made)
    assert told == ({} if original is None else {name.decode(): original for name in ORIGINAL})


@pytest.mark.parametrize(("asked", "given"), [(None, 2500), (1000, 1000), (99_000, 2500)])
def test_the_shorter_time_counts(context: Context, asked: int | None, given: int) -> None:
    for name in ("exec", "shell", "detach"):
        assert ask(context, parse_options('timeout="2.5"'), name, timeout_ms=asked).timeout_ms == given


# --- over real sockets


class Keyed:
    """A server, and keys with options of their own."""

    def __init__(self, running: RunningServer) -> None:
        self.running = running
        self.path = os.path.join(running.home, "authorized_keys")

    def key(self, options: str) -> Prove:
        """Authorize a new key; how it is proved."""
        key, line = new_line(options)
        with open(self.path, encoding="utf-8") as file:
            rewrite(self.path, file.read() + line)
        return by_key(key)

    def connect(self, options: str, kind: str = "tls", **more: Any) -> RawClient:
        """Log in with a new key."""
        return RawClient(self.running.targets[kind], self.key(options), features=FEATURES, **more)


def new_line(options: str) -> tuple[Ed25519PrivateKey, str]:
    """A new key and its line."""
    key = Ed25519PrivateKey.generate()
    line = PublicKey(make_blob(key.public_key().public_bytes_raw()), "test").line()
    return key, f"{options} {line}\n" if options else f"{line}\n"


def rewrite(path: str, text: str) -> None:
    """The file anew, in one step."""
    with open(os.open(f"{path}.new", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{path}.new", path)


@pytest.fixture(scope="module")
def keyed() -> Iterator[Keyed]:
    with server(("unix:", "tls:127.0.0.1:0", "tcp:127.0.0.1:0"), config=f'shell = "/bin/sh"\n{QUICK}') as running:
        yield Keyed(running)
        assert "Traceback" not in running.read_log()


def reason_of(command: Command) -> str:
    assert command.rejected is not None and command.opened is None and command.exit is None
    assert command.rejected.code == "not_permitted"
    return command.rejected.detail


@pytest.mark.parametrize("kind", ["tls", "tcp", "unix"])
def test_a_forced_command(keyed: Keyed, kind: str) -> None:
    options = (
        'restrict,command="echo \\"$SSH_ORIGINAL_COMMAND|$REMOTE_SHELL_ORIGINAL_COMMAND|$LD_PRELOAD|$BASH_ENV|$LANG\\""'
    )
    with keyed.connect(options, kind) as client:
        env = [["LD_PRELOAD", "/x"], ["BASH_ENV", "/x"], ["LANG", "C"], ["SSH_ORIGINAL_COMMAND", "forged"]]
        for fields, original in (
            ({"argv": ["rm", "-rf", "/srv/a b"]}, "rm -rf '/srv/a b'"),
            ({"line": "id; id"}, "id; id"),
            ({"argv": ["x"], "once": True, "stdin": "pipe"}, "x"),
        ):
            for way in ("env", "env_add", "env_offer"):
                asked: dict[str, Any] = {"argv": None, **fields, way: env}
                done = client.run(**asked)
                assert done.text() == f"{original}|{original}|||C\n".encode()
        for request, fields in (("put", ASKS["put"]), ("get", ASKS["get"]), ("shell", {}), ("jobs", {})):
            assert "this key runs one command" in reason_of(client.run(None, request=request, **fields))
        assert "may not start jobs" in reason_of(client.run(["true"], detach=True))
        assert "terminal" in reason_of(client.run(["true"], terminal=TERMINAL))


def test_only_what_a_pattern_matches_runs(keyed: Keyed, tmp_path: Any) -> None:
    trap = tmp_path / "echo"
    trap.write_text("#!/bin/sh\nprintf trapped\n")
    trap.chmod(0o755)
    with keyed.connect(f'restrict,allow="echo *",cwd="{tmp_path}"') as client:
        assert client.run(["echo", "a", "$HOME;id"]).text() == b"a $HOME;id\n"
        assert client.run(None, line="echo 'a  b' c").text() == b"a  b c\n"
        assert client.run(["echo"], env=[["PATH", str(tmp_path)]], cwd=str(tmp_path)).text() == b"\n"
        for argv in (["id"], ["sh", "-c", "echo"], [str(trap)], ["./echo"], ["../bin/echo"], ["echo\n"], ["ECHO"]):
            assert reason_of(client.run(argv, cwd=str(tmp_path))) == "this key may run only: echo *"
        for line in ("echo a; id", "echo $(id)", "echo `id`", "echo a > b", "echo *", "id", "FOO=1 echo", "echo a\nid"):
            assert reason_of(client.run(None, line=line)) == "this key may run only: echo *"
        assert "it may not have a shell" in reason_of(client.run(None, request="shell"))
        refused = keyed.running.read_log()
    assert "exec refused: this key may run only: echo *" in refused


def test_the_unix_socket_and_secrets_are_not_restricted(keyed: Keyed) -> None:
    with RawClient(keyed.running.targets["unix"]) as client:
        assert client.run(["sh", "-c", "echo $X"], env=[["X", "1"]]).text() == b"1\n"


def test_where_commands_start(keyed: Keyed, tmp_path: Any) -> None:
    inside = tmp_path / "in" / "deep"
    inside.mkdir(parents=True)
    (tmp_path / "in" / "out").symlink_to(tmp_path)
    (tmp_path / "in" / "file").write_text("x")
    (tmp_path / "secret").write_text("y")
    root = os.path.realpath(tmp_path / "in")
    with keyed.connect(f'cwd="{tmp_path}/in"') as client:
        for cwd, where in ((None, root), (".", root), ("deep", f"{root}/deep"), (f"{root}/deep/..", root), ("", None)):
            done = client.run(["pwd"], cwd=cwd)
            if where is None:
                assert done.rejected is not None and done.rejected.code == "bad_cwd"
            else:
                assert done.text() == f"{where}\n".encode()
        for cwd in ("..", "/", "deep/../..", "out", f"{tmp_path}", f"{root}x", "out/in/.."):
            assert "may not go elsewhere" in reason_of(client.run(["pwd"], cwd=cwd))
        for path in ("../secret", f"{tmp_path}/secret", "out/secret"):
            assert "may not go elsewhere" in reason_of(client.run(None, request="get", paths=["file", path]))
            assert "may not go elsewhere" in reason_of(client.run(None, request="put", paths=["a"], to=path))
        ident, command = client.start(None, request="get", paths=["file"])
        client.wait(lambda: command.text() == b"x", "the file")
        client.close_channel(ident)
        ident, command = client.start(None, request="put", paths=["a"], to="deep/new")
        assert command.opened is not None
        client.close_channel(ident)


def test_no_client_says_where_the_one_command_starts_nor_where_some_do(keyed: Keyed, tmp_path: Any) -> None:
    """Or a name in it would mean what lies there."""
    home = f"{pwd.getpwuid(os.geteuid()).pw_dir}\n".encode()
    with keyed.connect('command="pwd"') as client:
        for cwd in (str(tmp_path), "/", None):
            assert client.run(["x"], cwd=cwd).text() == home
    with keyed.connect('allow="pwd",allow=":detach"') as client:
        for there in (str(tmp_path), "/", ".."):
            for detach in (False, True):
                assert "no cwd=" in reason_of(client.run(["pwd"], cwd=there, detach=detach))
        assert client.run(["pwd"], cwd=".").text() == client.run(["pwd"]).text() == home
    with keyed.connect('allow="pwd",cwd="/"') as client:
        assert client.run(["pwd"], cwd=str(tmp_path)).text() == f"{tmp_path}\n".encode()


def test_no_more_commands_at_once_than_may(keyed: Keyed) -> None:
    prove = keyed.key('max-commands="2",allow="cat",allow=":detach",allow="sleep *"')
    target = keyed.running.targets["tls"]
    with RawClient(target, prove) as one, RawClient(target, prove) as two:
        first, _ = one.start(["cat"], stdin="pipe")
        two.start(["cat"], stdin="pipe")
        for client in (one, two):
            assert "may run 2 commands at once" in reason_of(client.run(["cat"]))
            assert "may run 2 commands at once" in reason_of(client.run(["sleep", "60"], detach=True))
        one.close_channel(first)
        one.finish(first)
        _, job = one.start(["sleep", "60"], detach=True, id="a-job")
        assert job.opened is not None
        assert "may run 2 commands at once" in reason_of(two.run(["cat"]))
        assert one.run(None, request="job_remove", id="a-job", force=True).report is not None
        assert two.run(["cat"]).exit is not None
    with RawClient(target, prove) as again:  # those of a session that is gone count no longer than they live
        for _ in range(5):
            assert again.run(["cat"]).exit is not None


def test_nor_by_many_whose_ids_wait_for_the_disk_together(keyed: Keyed) -> None:
    with keyed.connect('max-commands="1"') as client:
        asked = [
            client.session.open_channel(
                Open(request="exec", id=f"job-{n}", window=1, argv=["sleep", "60"], detach=n != 5, once=True)
            )
            for n in range(6)
        ]
        client.commands |= {ident: Command() for ident in asked}
        client.flush()
        commands = [client.commands[ident] for ident in asked]
        client.wait(lambda: all(one.opened or one.rejected for one in commands), "answers")
        assert {one.rejected.code for one in commands if one.rejected} == {"not_permitted"}
        assert sum(one.opened is not None for one in commands) == 1


def test_a_shell_of_before_is_not_had_under_other_options(keyed: Keyed) -> None:
    key, line = new_line("")
    with open(keyed.path, encoding="utf-8") as file:
        before = file.read()
    rewrite(keyed.path, before + line)
    target, prove = keyed.running.targets["tls"], by_key(key)
    with RawClient(target, prove) as one:
        ident, _ = one.start(None, request="shell", terminal=TERMINAL, stdin="pipe", id="shell-of-before")
        one.session.send_message(ident, Detach())
        one.finish(ident)
        rewrite(keyed.path, f'{before}timeout="60" {line}')
        with RawClient(target, prove) as two:
            asked = two.open(None, request="attach", terminal=TERMINAL, stdin="pipe", id="shell-of-before")
            command = two.commands[asked]
            two.wait(lambda: command.rejected or command.others, "an answer")
            assert "has changed since" in reason_of(command)


def test_no_path_becomes_the_name_of_a_terminal(keyed: Keyed, tmp_path: Any) -> None:
    (tmp_path / "x").touch()
    for term in (f"../../..{tmp_path}/x", "x/../../x", "/x"):
        with keyed.connect("restrict,pty") as client:
            done = client.run(["sh", "-c", "echo $TERM"], terminal=Terminal(term=term[:64], rows=9, columns=9))
            assert done.text().strip() == b"dumb"


def test_a_shell_that_was_left_counts(keyed: Keyed) -> None:
    prove = keyed.key('max-commands="1"')
    target = keyed.running.targets["tls"]
    with RawClient(target, prove, on_lost="keep", grace_ms=0) as one:
        ident, shell = one.start(None, request="shell", terminal=TERMINAL, stdin="pipe")
        assert shell.opened is not None
        assert "at once" in reason_of(one.run(["true"]))
        one.session.send_message(ident, Detach())
        one.finish(ident)
        assert "at once" in reason_of(one.run(["true"]))


@pytest.mark.parametrize(
    "fields", [{"argv": ["sleep", "60"]}, {"argv": ["sleep", "60"], "timeout_ms": 60_000}, {"line": "sleep 60; true"}]
)
def test_a_command_is_ended_when_its_time_is_over(keyed: Keyed, fields: dict[str, Any]) -> None:
    with keyed.connect('timeout="0.05"') as client:
        done = client.run(**fields)
        assert done.exit is not None and done.exit.timed_out and done.exit.signal == "SIGTERM"


def test_so_is_a_shell(keyed: Keyed) -> None:
    with keyed.connect('timeout="0.1"') as client:
        done = client.run(None, request="shell", stdin="pipe")
        assert done.exit is not None and done.exit.timed_out


def test_from_where(keyed: Keyed) -> None:
    prove = keyed.key('from="127.0.0.2"')
    tls = keyed.running.targets["tls"]
    with RawClient(tls, prove, source="127.0.0.2") as client:
        assert client.run(["true"]).exit is not None
    with pytest.raises(LoginDeniedError):
        RawClient(tls, prove)
    with pytest.raises(LoginDeniedError):
        RawClient(keyed.running.targets["unix"], prove)
    assert "this key may not be used from 127.0.0.1" in keyed.running.read_log()
    keyed.connect('from="unix"', "unix").bye()
    # a session does not move to where its key may not be used
    client = RawClient(tls, prove, source="127.0.0.2")
    client.source = "127.0.0.1"
    with pytest.raises(LoginDeniedError):
        client.resume()


def test_a_key_that_has_expired(keyed: Keyed) -> None:
    with pytest.raises(LoginDeniedError):
        keyed.connect('expiry-time="20200101"')
    assert "this key expired at 2020-01-01" in keyed.running.read_log()


def test_tunnels_only_where_the_line_says(keyed: Keyed) -> None:
    for options, opens in (
        ("restrict", False),
        ('command="x"', False),
        ('restrict,port-forwarding,permitopen="127.0.0.1:1"', True),
    ):
        with keyed.connect(options) as client:
            done = client.run(None, request="connect", host="127.0.0.1", port=1)
            assert done.rejected is not None
            assert (done.rejected.code == "connect_failed") is opens
            done = client.run(None, request="connect", host="127.0.0.1", port=2)
            assert done.rejected is not None and done.rejected.code == "forwarding_denied"
            assert opens or client.run(None, request="listen", host="127.0.0.1").rejected is not None
    log = keyed.running.read_log()
    for told in (
        "connect refused: this key may not forward to 127.0.0.1:2",
        "listen refused: this key may not listen on 127.0.0.1",
    ):
        assert told in log, "as of every other refusal, a line"


def test_changed_options_hold_for_the_next_request_of_an_open_session(keyed: Keyed) -> None:
    key, line = new_line("")
    with open(keyed.path, encoding="utf-8") as file:
        before = file.read()
    rewrite(keyed.path, before + line)
    with RawClient(keyed.running.targets["tls"], by_key(key)) as client:
        assert client.run(["echo", "1"]).text() == b"1\n"
        rewrite(keyed.path, f'{before}allow="true" {line}')
        assert reason_of(client.run(["echo", "1"])) == "this key may run only: true"
        rewrite(keyed.path, before)
        assert "taken off" in reason_of(client.run(["true"]))
