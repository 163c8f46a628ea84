"""The own pair of keys, and public keys in texts."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from dbmod import errors, keypairs
from dbmod.config import Settings

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILgDDQ7Dkj5o9Nek5y6mCEaHx5mUpfG+ZsIWZkAqB2tq"


def test_own_pair_is_made_once_and_is_ssh_s(quick_settings: Settings) -> None:
    public = keypairs.public_key(quick_settings)
    path = keypairs.private_key(quick_settings)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    said = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True).stdout
    assert said.split()[:2] == public.split()
    assert keypairs.public_key(quick_settings) == public
    assert [one.name for one in path.parent.iterdir()] == ["id_ed25519"]


def test_makers_at_the_same_time_get_the_same_pair(quick_settings: Settings) -> None:
    with ThreadPoolExecutor(4) as several:
        made = set(several.map(keypairs.public_key, [quick_settings] * 8))
    assert len(made) == 1


def test_public_half_of_a_configured_key_is_read_out_of_it(quick_settings: Settings) -> None:
    public = keypairs.public_key(quick_settings)
    path = keypairs.own_private_key(quick_settings)
    configured = msgspec.structs.replace(quick_settings, ssh_private_key=str(path))
    assert keypairs.public_key(configured) == public


def test_configured_key_needs_its_public_half(quick_settings: Settings, tmp_path: Path) -> None:
    configured = msgspec.structs.replace(quick_settings, ssh_private_key=str(tmp_path / "id"))
    assert keypairs.private_key(configured) == tmp_path / "id"
    with pytest.raises(errors.BadInput, match="There is no public key in"):
        keypairs.public_key(configured)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(tmp_path / "id")]
    subprocess.run(command, check=True)
    (tmp_path / "id.pub").unlink()
    with pytest.raises(errors.BadInput, match="There is no public key in"):
        keypairs.public_key(configured)
    (tmp_path / "id.pub").write_text(f"{ED25519} me@here\n")
    assert keypairs.public_key(configured) == ED25519
    assert not keypairs.own_private_key(configured).exists()


def test_fingerprint_tells_keys_apart(quick_settings: Settings) -> None:
    assert keypairs.fingerprint(ED25519) == keypairs.fingerprint(f"{ED25519} comment")
    assert keypairs.fingerprint(ED25519) != keypairs.fingerprint(keypairs.public_key(quick_settings))


def test_public_keys_are_found_without_comments() -> None:
    text = f"[   12.3] cloud-init[9]: {ED25519} root@red\nssh-rsa AAAAB3Nz root\nssh-dss AAAAB3Nz x\n{ED25519}\n"
    assert keypairs.public_keys_in(text) == [ED25519, "ssh-rsa AAAAB3Nz"]
