"""The key of the contents and what it does."""

import base64
import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, strategies

from dbmod import errors, vault
from dbmod.config import Settings

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(range(1, 33))).decode()


@given(contents=strategies.binary(max_size=300), bound=strategies.binary(max_size=50))
def test_decrypt_gives_back_what_encrypt_took(contents: bytes, bound: bytes) -> None:
    key = vault.new_key()
    header, ciphertext = vault.encrypt(key, contents, bound=bound)
    assert vault.decrypt([vault.new_key(), key], header + ciphertext, bound=bound, what="x") == contents
    assert vault.key_id_of(header + ciphertext) == key.id


def test_every_flipped_bit_and_every_cut_is_refused() -> None:
    key = vault.new_key()
    data = b"".join(vault.encrypt(key, b"message=x", bound=b"m\x001"))
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(errors.LedgerError):
            vault.decrypt([key], bytes(damaged), bound=b"m\x001", what="x")
    for length in range(len(data)):
        with pytest.raises(errors.LedgerDamaged):
            vault.decrypt([key], data[:length], bound=b"m\x001", what="x")


def test_contents_of_another_owner_or_number_are_refused() -> None:
    key = vault.new_key()
    data = b"".join(vault.encrypt(key, b"message=x", bound=b"m\x001"))
    with pytest.raises(errors.LedgerDamaged):
        vault.decrypt([key], data, bound=b"m\x002", what="x")


def test_a_missing_key_is_named_by_its_id_and_never_shown() -> None:
    key = vault.Key(bytes(range(32)))
    data = b"".join(vault.encrypt(key, b"message=x", bound=b""))
    other = vault.new_key()
    with pytest.raises(errors.LedgerError) as caught:
        vault.decrypt([other], data, bound=b"", what="the contents 1 of m")
    assert caught.value.exit_code == 3
    assert key.id in caught.value.details["needed"]
    assert other.id in caught.value.details["have"]
    assert repr(key) == f"Key({key.id})"
    assert key.line not in "".join(caught.value.lines())


def test_the_same_contents_never_look_the_same_twice() -> None:
    key = vault.new_key()
    assert vault.encrypt(key, b"same", bound=b"")[1] != vault.encrypt(key, b"same", bound=b"")[1]


def test_the_key_comes_from_the_environment_then_the_command_then_the_file(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vault.keys(settings) == []
    made = vault.new_key()
    vault.write_key_file(settings, [made, vault.Key(bytes(32))])
    assert [key.line for key in vault.keys(settings)] == [made.line, vault.Key(bytes(32)).line]
    commanded = msgspec.structs.replace(settings, key_command=f"printf '%s\\n%s\\n' {KEY} {OTHER}")
    assert [key.line for key in vault.keys(commanded)] == [KEY, OTHER]
    monkeypatch.setenv("DBMOD_KEY", OTHER)
    assert [key.line for key in vault.keys(commanded)] == [OTHER]
    monkeypatch.setenv("DBMOD_PREVIOUS_KEY", KEY)
    assert [key.line for key in vault.keys(settings)] == [OTHER, KEY]
    assert not vault.is_in_file(settings)


def test_the_key_file_is_private_from_its_first_instant(settings: Settings) -> None:
    before = os.umask(0)
    try:
        vault.write_key_file(settings, [vault.new_key()])
    finally:
        os.umask(before)
    assert stat.S_IMODE(vault.key_file(settings).stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.home_path.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["secret-canary", KEY[:-4], KEY + "AAAA", "é", "====", " "])
def test_what_is_no_key_is_refused_and_never_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("DBMOD_KEY", text)
    with pytest.raises(errors.BadInput) as caught:
        vault.keys(settings)
    assert "DBMOD_KEY" in caught.value.what
    assert not text.strip() or text not in "".join(caught.value.lines())


@pytest.mark.parametrize("command", ["false", "/does/not/exist", "true", "printf canary", "unclosed '"])
def test_a_command_that_gives_no_key_is_a_clear_error(settings: Settings, command: str) -> None:
    with pytest.raises(errors.DbmodError) as caught:
        vault.keys(msgspec.structs.replace(settings, key_command=command))
    assert "key_command" in caught.value.what
    assert "canary" not in "".join(caught.value.lines())


@pytest.mark.parametrize("data", [b"", b"\n", b"not a key\n", bytes(range(256))])
def test_a_damaged_key_file_is_a_clear_error(settings: Settings, data: bytes) -> None:
    vault.write_key_file(settings, [vault.new_key()])
    vault.key_file(settings).write_bytes(data)
    with pytest.raises(errors.BadInput, match="no key"):
        vault.keys(settings)


def test_a_key_file_that_is_a_link_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(KEY)
    settings.home_path.mkdir()
    vault.key_file(settings).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(errors.LedgerError, match="cannot be read"):
        vault.keys(settings)
