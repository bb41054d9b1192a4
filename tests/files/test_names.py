"""Names: none that a peer sends points outside, and each file has one partial name, whatever its own."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_shell.files import names


@pytest.mark.parametrize(
    "path", [b"/etc/passwd", b"..", b"a/..", b"../a", b"a//b", b"a/", b"/", b".", b"a/./b", b"a\0b", b"./a"]
)
def test_what_could_point_elsewhere_is_refused(path: bytes) -> None:
    with pytest.raises(OSError, match="could point elsewhere") as caught:
        names.components(path, 10, 100)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("path", [b"x" * 256, b"a/" * 10 + b"a", b"x/" * 50 + b"x", b"x" * 101])
def test_what_is_too_long_is_refused(path: bytes) -> None:
    with pytest.raises(OSError) as caught:
        names.components(path, 10, 100 if len(path) != 256 else 1000)
    assert caught.value.errno == errno.ENAMETOOLONG


def test_other_names_are_taken() -> None:
    assert names.components(b"", 10, 100) == []
    assert names.components(b"a/.../b\xff\n/ -rf", 10, 100) == [b"a", b"...", b"b\xff\n", b" -rf"]


@given(st.binary(max_size=60))
def test_any_path_stays_below_or_is_refused(path: bytes) -> None:
    try:
        parts = names.components(path, 10, 100)
    except OSError:
        return
    joined = os.path.normpath(os.path.join(b"/root", *parts))
    assert joined == os.path.join(b"/root", path).rstrip(b"/") and not set(parts) & {b"", b".", b".."}


@given(st.binary(min_size=1, max_size=255).filter(lambda name: b"/" not in name and b"\0" not in name))
def test_partial_names_fit_and_are_their_own(name: bytes) -> None:
    part = names.part_name(name)
    assert len(part) <= 255 and part != name and part.startswith(b".") and part.endswith(b".rs-part")
    assert names.part_name(name) == part != names.part_name(name[:-1] + bytes([name[-1] ^ 1]))


@pytest.mark.parametrize(
    ("path", "name"),
    [(b"a", b"a"), (b"/x/b/", b"b"), (b".", b""), (b"/", b""), (b"a/..", b""), (b"./", b""), (b"a/.", b"")],
)
def test_top_names(path: bytes, name: bytes) -> None:
    assert names.top_name(path) == name


def test_numbers_and_their_names() -> None:
    assert names.errno_number("ENOSPC") == errno.ENOSPC
    assert [names.errno_number(name) for name in ("errorcode", "ENONSENSE", None, "__name__")] == [errno.EIO] * 4
    assert names.errno_name(OSError(errno.EACCES, "")) == "EACCES" and names.errno_name(OSError("x")) is None
