"""HEAD, the file that says what the ledger is."""

from pathlib import Path

import pytest
from hypothesis import given, strategies

from dbmod import errors
from dbmod.store import head as heads
from dbmod.store.head import Head

HEAD = Head(serial=7, shards={"modules": heads.stamp(7, b"x")}, previous="a" * 64)


def test_head_comes_back_as_it_was_written() -> None:
    assert heads.decode(heads.encode(HEAD), path=Path("HEAD")) == HEAD


@given(data=strategies.binary(max_size=200))
def test_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(errors.LedgerDamaged):
        heads.decode(data, path=Path("HEAD"))


def test_every_flipped_bit_of_head_is_damage() -> None:
    data = heads.encode(HEAD)
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.LedgerDamaged):
            heads.decode(bytes(damaged), path=Path("HEAD"))


def test_a_newer_format_is_refused_and_not_called_damage() -> None:
    newer = heads.encode(Head(serial=7, shards={}, previous="", format=heads.FORMAT + 1))
    with pytest.raises(errors.LedgerError, match="has the format 2") as caught:
        heads.decode(newer, path=Path("HEAD"))
    assert not isinstance(caught.value, errors.LedgerDamaged)
    assert "newer dbmod" in caught.value.next_step


def test_a_whole_head_with_other_fields_is_damage() -> None:
    body = b'{"serial":"x","shards":{},"previous":"","format":1}\n'
    line = b"dbmod-ledger 1 " + heads.digest(b"dbmod-ledger 1\n" + body).encode() + b"\n"
    with pytest.raises(errors.LedgerDamaged, match="serial"):
        heads.decode(line + body, path=Path("HEAD"))
