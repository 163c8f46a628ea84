"""Passwords that runs log in with: what Ansible is told, and where they lie."""

from pathlib import Path

import msgspec
import pytest

from dbmod import errors, logins
from dbmod.config import Settings
from dbmod.logins import Login, Vault

SECRET = "canary-4711"


def test_typed_passwords_become_private_files_and_never_arguments(settings: Settings, tmp_path: Path) -> None:
    login = Login(become_password=SECRET, vaults=(Vault(label="prod", password=SECRET), Vault(label="", source="/x")))
    told = logins.arguments(login, settings, tmp_path)
    become, vault = tmp_path / "become_password", tmp_path / "vault_password_0"
    assert told == ["--become-password-file", str(become), "--vault-id", f"prod@{vault}", "--vault-id", "/x"]
    for file in (become, vault):
        assert (file.read_text(), file.stat().st_mode & 0o777) == (f"{SECRET}\n", 0o600)


def test_settings_add_what_was_not_given(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET)
    set_up = msgspec.structs.replace(settings, become_password_file=str(file), vault_ids=(f"prod@{file}",))
    assert logins.arguments(Login(), set_up, tmp_path) == [
        *("--become-password-file", str(file)),
        *("--vault-id", f"prod@{file}"),
    ]
    given = Login(become_password="other", vaults=(Vault(label="prod", source="/y"),))
    assert logins.arguments(given, set_up, tmp_path) == [
        *("--become-password-file", str(tmp_path / "become_password")),
        *("--vault-id", "prod@/y"),
    ]


@pytest.mark.parametrize("settings_of", [{"become_password_file": "/gone"}, {"vault_ids": ("prod@prompt",)}])
def test_settings_that_cannot_serve_are_refused(
    settings: Settings, tmp_path: Path, settings_of: dict[str, object]
) -> None:
    with pytest.raises(errors.BadInput):
        logins.arguments(Login(), msgspec.structs.replace(settings, **settings_of), tmp_path)


def test_vault_ids_are_read_as_ansible_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "a@b"
    file.write_text("x")
    assert logins.read_vault_id("prod@prompt") == ("prod", "prompt")
    (tmp_path / "plain").write_text("x")
    assert logins.read_vault_id(f"prod@{tmp_path}/plain") == ("prod", f"{tmp_path}/plain")
    assert logins.read_vault_id(f"@{tmp_path}/plain") == ("", f"{tmp_path}/plain")
    for text in ("prod@", "prod@/gone"):
        with pytest.raises(errors.BadInput):
            logins.read_vault_id(text)


@pytest.mark.parametrize("text", ["prod@" + "x" * 5000, "prod@~nobody-is-called-so/x", "prod@/nowhere"])
def test_source_that_no_file_can_be_is_refused(text: str) -> None:
    with pytest.raises(errors.BadInput, match="there is no file"):
        logins.read_vault_id(text)
