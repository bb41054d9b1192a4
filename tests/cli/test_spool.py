"""What hosts write is kept within bounds, equal texts once, and what is not kept is counted."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from remote_shell.cli.spool import Piece, Spool, Store
from remote_shell.limits import DEFAULT_LIMITS

LIMITS = replace(DEFAULT_LIMITS, many_memory_max=100, many_output_max=1000, many_kept_max=1500)


def filled(*parts: bytes) -> Spool:
    spool = Spool(LIMITS)
    for part in parts:
        spool.put(part)
    return spool


def read(store: Store, piece: Piece) -> bytes:
    return b"".join(store.chunks(piece))


def test_what_is_beyond_the_bound_is_counted() -> None:
    spool = filled(b"a" * 600, b"b" * 600, b"c" * 10)
    assert (b"".join(spool.chunks()), spool.size, spool.dropped) == (b"a" * 600 + b"b" * 400, 1000, 210)
    spool.close()


def test_equal_texts_are_kept_once_however_they_came() -> None:
    store = Store(LIMITS)
    spools = [filled(b"x" * 500), filled(b"x" * 200, b"x" * 300), filled(b"y" * 500)]
    first, second, third = map(store.keep, spools)
    assert first == second != third
    assert (read(store, first), read(store, third)) == (b"x" * 500, b"y" * 500)
    for spool in spools:
        spool.close()
    store.close()


def test_a_cut_text_is_not_the_same_as_a_whole_one() -> None:
    store = Store(LIMITS)
    spools = [filled(b"x" * 1000), filled(b"x" * 1001)]
    assert store.keep(spools[0]) != store.keep(spools[1])
    for spool in spools:
        spool.close()
    store.close()


def test_all_together_have_a_bound_too() -> None:
    store = Store(LIMITS)
    spools = [filled(b"x" * 1000), filled(b"y" * 1000), filled(b"z" * 100)]
    assert [store.keep(spool) for spool in spools] == [Piece(0, 1000, 0), Piece(1000, 0, 1000), Piece(1000, 100, 0)]
    for spool in spools:
        spool.close()
    store.close()


def test_a_full_disk_is_told_as_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(b"a" * 90)

    def full(data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(spool._file, "write", full)
    spool.put(b"b" * 50)
    spool.put(b"c")
    monkeypatch.undo()
    assert (b"".join(spool.chunks()), spool.dropped) == (b"a" * 90, 51)
    spool.close()
