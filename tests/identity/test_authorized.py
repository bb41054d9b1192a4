"""authorized_keys: plain Ed25519 lines log in, and whatever else there may be in the file does not."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remote_shell.errors import IdentityError
from remote_shell.identity import authorized
from remote_shell.identity.authorized import AuthorizedKeys
from remote_shell.identity.keys import PublicKey, make_blob
from remote_shell.identity.ssh_strings import pack_string
from remote_shell.limits import DEFAULT_LIMITS
from tests.config.account import as_nobody, give, nobodys_folder
from tests.identity.conftest import KeyMaker

ONE = PublicKey(make_blob(bytes(range(32))), "one")
TWO = PublicKey(make_blob(bytes(range(1, 33))), "two")


@pytest.fixture
def file(home: Path) -> Path:
    (home / ".ssh").mkdir(mode=0o700)
    path = home / ".ssh" / "authorized_keys"
    path.touch(mode=0o600)
    return path


def test_plain_lines_of_ssh_keygen(file: Path, keygen: KeyMaker) -> None:
    first, second = keygen("first", comment="a b").with_suffix(".pub"), keygen("second").with_suffix(".pub")
    file.write_text(f"# a comment\n\n  \t\n{first.read_text()}\n \t{second.read_text()}")
    keys = AuthorizedKeys(str(file))
    entries = keys.entries()
    assert [entry.line for entry in entries] == [4, 6]
    found = keys.find(entries[0].public.blob)
    assert found is not None and found.comment == "a b"
    assert found.principal == f"key:{entries[0].public.fingerprint}"
    assert repr(found) == f"Entry({found.principal}, line 4)"
    assert keys.find(ONE.blob) is None and keys.find(b"") is None
    assert keys.problem == "" and keys.path == str(file)


def test_windows_line_ends_and_a_key_without_comment(file: Path) -> None:
    file.write_bytes(ONE.line().encode() + b"\r\n" + PublicKey(TWO.blob).line().encode())
    assert [entry.comment for entry in AuthorizedKeys(str(file)).entries()] == ["one", ""]


def test_a_carriage_return_does_not_begin_a_line(file: Path) -> None:
    file.write_bytes(TWO.line().encode() + b"\r" + ONE.line().encode() + b"\n")
    assert AuthorizedKeys(str(file)).entries() == ()


def test_the_first_line_of_a_key_counts(file: Path) -> None:
    file.write_text(f"{ONE.line()}\n{PublicKey(ONE.blob, 'again').line()}\n")
    found = AuthorizedKeys(str(file)).find(ONE.blob)
    assert found is not None and found.comment == "one"


SK = pack_string(b"sk-ssh-ed25519@openssh.com") + pack_string(ONE.raw) + pack_string(b"ssh:")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"restrict,secret-word {ONE.line()}", "the option secret-word is unknown"),
        (f'command="echo SECRET",restrict,restrict="SECRET" {ONE.line()}', "restrict takes no value"),
        (f'from="SECRET"\t{ONE.line()}', "names are not looked up"),
        ('command="echo SECRET" ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB x', "a key of type ssh-rsa"),
        (f'command="echo SECRET {ONE.line()}', "between double quotes"),
        (f"restrict {PublicKey(ONE.blob).line()} {TWO.line()}", "two keys on one line"),
        (f"restrict, {ONE.line()}", "an option has a name"),
        (f"restrict restrict {ONE.line()}", "does not begin with ssh-ed25519"),
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB x", "a key of type ssh-rsa; only ssh-ed25519"),
        ("ecdsa-sha2-nistp256 AAAA", "a key of type ecdsa-sha2-nistp256"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "a key of type ssh-ed25519-cert-v01@openssh.com"),
        ("sk-ssh-ed25519@openssh.com AAAA", "a key of type sk-ssh-ed25519@openssh.com"),
        (PublicKey(ONE.blob).line().replace("ssh-ed25519", "sk-ssh-ed25519@openssh.com"), "a key of type sk-ssh"),
        (f"cert-authority {ONE.line()}", "certificates are not taken"),
        (f"{PublicKey(ONE.blob).line()} {TWO.line()}", "two keys on one line"),
        (f"{ONE.line()}{TWO.line()}", "two keys on one line"),
        ("ssh-ed25519 !!!", "not base64"),
        ("ssh-ed25519", "no key after"),
        ("ssh-ed25519 AAAA", "cut short"),
        (PublicKey(make_blob(bytes(range(32)))).line()[:-8], "cut short|not base64"),
        ("ssh-ed25519 " + "A" * 68, "type|cut short|bytes"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA x", "anybody can sign"),
        ("SECRET-nonsense \x1b[31m", "does not begin with ssh-ed25519"),
        ("ssh-ed25519\u2028" + PublicKey(ONE.blob).line()[12:], "stands a comma"),
    ],
)
def test_every_other_line_is_refused_and_logged_without_its_text(
    file: Path, caplog: pytest.LogCaptureFixture, line: str, reason: str
) -> None:
    file.write_text(f"\n{line}\n{TWO.line()}\n")
    keys = AuthorizedKeys(str(file))
    assert [entry.public.blob for entry in keys.entries()] == [TWO.blob]
    assert keys.find(ONE.blob) is None
    (record,) = caplog.records
    assert record.name == "remote_shell.identity" and record.levelname == "WARNING"
    text = record.getMessage()
    assert text.startswith(f"{file}, line 2: refused: ")
    assert any(part in text for part in reason.split("|"))
    assert "SECRET" not in text and text.isprintable()


def test_the_same_faults_are_not_logged_at_each_login(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text(f"ssh-rsa AAAA\n{ONE.line()}\n")
    keys = AuthorizedKeys(str(file))
    for _ in range(5):
        assert keys.find(ONE.blob)
    assert len(caplog.records) == 1


def test_a_line_that_is_not_utf8(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    file.write_bytes(ONE.line().encode() + b"\xff\n" + TWO.line().encode())
    assert [entry.public.blob for entry in AuthorizedKeys(str(file)).entries()] == [TWO.blob]
    assert "line 1: refused: not UTF-8" in caplog.text


def test_a_removed_line_is_out_at_the_next_question(file: Path) -> None:
    keys = AuthorizedKeys(str(file))
    assert keys.find(ONE.blob) is None
    file.write_text(ONE.line())
    assert keys.find(ONE.blob)
    file.write_text(TWO.line())  # the same size, and surely within the same second
    assert keys.find(ONE.blob) is None and keys.find(TWO.blob)
    file.unlink()
    assert keys.find(TWO.blob) is None and keys.problem == ""


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_lets_nobody_in(file: Path, caplog: pytest.LogCaptureFixture, mode: int) -> None:
    file.write_text(ONE.line())
    file.chmod(mode)
    keys = AuthorizedKeys(str(file))
    assert keys.find(ONE.blob) is None and keys.find(ONE.blob) is None
    assert "chmod go-w" in keys.problem and len(caplog.records) == 1
    file.chmod(0o644)
    assert keys.find(ONE.blob)


@pytest.mark.parametrize("folder", [".ssh", "."])
def test_a_folder_that_others_may_write_lets_nobody_in(file: Path, home: Path, folder: str) -> None:
    file.write_text(ONE.line())
    keys = AuthorizedKeys(str(file))
    assert keys.find(ONE.blob)
    (home / folder).chmod(0o770)
    assert keys.find(ONE.blob) is None
    assert "others may write to the folder" in keys.problem


def test_a_symlink_is_followed_and_its_end_is_checked(file: Path, home: Path) -> None:
    real = home / "real"
    real.mkdir(mode=0o700)
    file.rename(real / "keys")
    file.symlink_to(real / "keys")
    (real / "keys").write_text(ONE.line())
    keys = AuthorizedKeys(str(file))
    assert keys.find(ONE.blob)
    real.chmod(0o777)
    assert keys.find(ONE.blob) is None


def test_the_bound(file: Path) -> None:
    file.write_bytes(b"#" * DEFAULT_LIMITS.list_file_max + b"\n" + ONE.line().encode())
    keys = AuthorizedKeys(str(file))
    assert keys.find(ONE.blob) is None and "is it the right file" in keys.problem


def test_as_an_account_without_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    with nobodys_folder() as folder:
        monkeypatch.setenv("HOME", folder)
        path = Path(folder) / "keys"
        path.write_text(ONE.line())

        def find() -> str:
            keys = AuthorizedKeys(str(path))
            return f"{keys.find(ONE.blob)} {keys.problem}"

        for mode, answer in [(0o600, "Entry(key:"), (0o666, "chmod go-w"), (0o000, "Permission denied")]:
            give(str(path), mode)
            assert answer in as_nobody(find)


def test_every_entry_is_compared(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(f"{ONE.line()}\n{TWO.line()}\n")
    compared = []
    real = hmac.compare_digest

    def counted(a: bytes, b: bytes) -> bool:
        compared.append(a)
        return real(a, b)

    monkeypatch.setattr("hmac.compare_digest", counted)
    assert AuthorizedKeys(str(file)).find(ONE.blob)
    assert compared == [ONE.blob, TWO.blob]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    lines=st.lists(
        st.binary(max_size=40)
        | st.sampled_from([ONE.line().encode(), b"ssh-ed25519 ", b" AAAA" + b"B" * 30, b"\r", b"\0", b'x="\\" '])
    )
)
def test_any_bytes_are_read_without_an_error(lines: list[bytes]) -> None:
    for line in (b"".join(lines), *lines):
        try:
            key = authorized.parse_line(line, 1).public
        except IdentityError as error:
            assert str(error).isprintable()
        else:
            assert line.strip().startswith(b"ssh-ed25519")
            assert key.blob == ONE.blob


OPENS = ("db:5432", "DB:5432", "db:1", "::1:80", "127.0.0.1:80", "other:5432", "db:5433")
LISTENS = (":1", ":8080", "localhost:8080", "127.0.0.1:8080", "::1:8080", "0.0.0.0:8080", "0.0.0.0:1")
DB = ("db:5432", "DB:5432")


@pytest.mark.parametrize(
    ("options", "opens", "listens"),
    [
        ("port-forwarding", OPENS, LISTENS),
        ('permitopen="db:5432"', DB, ()),
        ('permitopen="db:*",permitopen="[::1]:80"', (*DB, "db:1", "db:5433", "::1:80"), ()),
        ('permitlisten="8080"', (), LISTENS[1:5]),
        ('permitlisten="0.0.0.0:*"', (), LISTENS[5:]),
        ('port-forwarding,permitopen="db:5432"', DB, LISTENS),
        ('Permitopen="db:5432",PORT-FORWARDING', DB, LISTENS),
        ('port-forwarding,permitlisten="1"', OPENS, (":1",)),
        ("port-forwarding,no-port-forwarding", (), ()),
        ("restrict", (), ()),
        ('command="x"', (), ()),
        ('allow="x *"', (), ()),
        ('restrict,permitopen="db:5432"', (), ()),  # sshd, too, needs port-forwarding behind restrict
        ('restrict,port-forwarding,permitopen="db:5432"', DB, LISTENS),
        ('port-forwarding,restrict,permitlisten="1"', (), ()),
        ('command="x",permitopen="db:5432"', DB, ()),
        ('no-port-forwarding,permitopen="db:5432"', (), ()),
    ],
)
def test_what_a_line_says_about_tunnels(
    file: Path, options: str, opens: tuple[str, ...], listens: tuple[str, ...]
) -> None:
    file.write_text(f"{options} {ONE.line()}\n")
    keys = AuthorizedKeys(str(file))
    entry = keys.find(ONE.blob)
    assert entry is not None
    assert keys.restrictions(entry.principal) is entry.restrictions and keys.restrictions("key:SHA256:none") is None
    may = entry.restrictions.forwarding
    assert may.said
    split = [(place, *place.rpartition(":")[::2]) for place in (*OPENS, *LISTENS)]
    assert tuple(place for place, host, port in split[: len(OPENS)] if may.may_connect(host, int(port))) == tuple(
        place for place in OPENS if place in opens
    )
    assert tuple(place for place, host, port in split[len(OPENS) :] if may.may_listen(host, int(port))) == tuple(
        place for place in LISTENS if place in listens
    )


@pytest.mark.parametrize(
    "options",
    [
        *(
            "permitopen",
            'permitopen=""',
            'permitopen="db"',
            'permitopen=":80"',
            'permitopen="db:0"',
            'permitopen="db:65536"',
        ),
        *('permitopen="db:http"', 'permitlisten=""', 'permitlisten="x"', 'port-forwarding="yes"', "port-forwarding,"),
        *('port-forwarding,command="x', "port-forwarding,restricted", 'permitopen="db:80', "permitopen=db:80"),
        *(",port-forwarding", "port-forwarding port-forwarding", f'permitopen="db:{"9" * 5000}"'),
        # what is behind a "no" counts too
        *('no-port-forwarding,permitopen="db"', "port-forwarding,no-port-forwarding,no-tty"),
    ],
)
def test_options_that_are_not_understood_refuse_the_line(file: Path, options: str) -> None:
    file.write_text(f"{options} {ONE.line()}\n{TWO.line()}\n")
    assert [entry.line for entry in AuthorizedKeys(str(file)).entries()] == [2]
