"""Ansible itself says which hosts a pattern names in the user's inventory, whatever form that has."""

import subprocess
import sys
from pathlib import Path

import pytest

from dbmod import errors, user_inventory

INI = """
[databases]
db-[1:3]
[caches]
db-3
[databases:vars]
ansible_password="{{ lookup('pipe', 'touch CANARY') }}"
"""


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "production.ini"
    path.write_text(INI)
    return path


def test_patterns_are_ansible_s_own_and_no_variable_is_run(inventory: Path) -> None:
    assert user_inventory.hosts(inventory, "databases") == ["db-1", "db-2", "db-3"]
    assert user_inventory.hosts(inventory, "databases:!caches:!db-1") == ["db-2"]
    assert user_inventory.hosts(inventory, "nosuch") == []
    assert not (inventory.parent / "CANARY").exists()


def test_directories_and_scripts_are_inventories_too(tmp_path: Path) -> None:
    directory = tmp_path / "inventory"
    directory.mkdir()
    (directory / "one.ini").write_text("[databases]\ndb-1\n")
    script = directory / "two"
    script.write_text('#!/bin/sh\necho \'{"databases": {"hosts": ["db-2"]}, "_meta": {"hostvars": {}}}\'\n')
    script.chmod(0o755)
    assert user_inventory.hosts(directory, "databases") == ["db-1", "db-2"]


def test_what_ansible_cannot_read_is_told_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "broken.yml"
    path.write_text("all: [")
    with pytest.raises(errors.BadInput, match="Ansible cannot read the inventory") as refused:
        user_inventory.hosts(path, "all")
    assert "Completely failed to parse inventory source" in refused.value.details["ansible"]


def test_inventory_that_is_encrypted_as_a_whole_needs_its_vault(inventory: Path) -> None:
    password = inventory.parent / "password"
    password.write_text("open sesame\n")
    vault = [sys.executable, "-P", "-m", "ansible", "vault", "encrypt", "--vault-id", f"prod@{password}"]
    subprocess.run([*vault, str(inventory)], check=True, capture_output=True, timeout=60)
    with pytest.raises(errors.BadInput):
        user_inventory.hosts(inventory, "databases")
    found = user_inventory.hosts(inventory, "databases", arguments=["--vault-id", f"prod@{password}"])
    assert found == ["db-1", "db-2", "db-3"]
