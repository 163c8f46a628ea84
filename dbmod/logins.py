"""What a run needs to log in beyond keys: the password of sudo, those of Ansible vaults. Files, never arguments."""

import os
from pathlib import Path

import msgspec

from dbmod import errors, paths
from dbmod.config import Settings

PROMPT = "prompt"


class Vault(msgspec.Struct, frozen=True, kw_only=True):
    """One --vault-id: where its password is, or the password itself where it was asked for."""

    label: str
    source: str = ""
    password: str = ""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What was given with a command; the settings are added by `arguments`."""

    become_password: str = ""
    vaults: tuple[Vault, ...] = ()

    @property
    def is_given(self) -> bool:
        return bool(self.become_password or self.vaults)


def read_vault_id(text: str) -> tuple[str, str]:
    """Split LABEL@SOURCE as Ansible does. Returns  label, source; the source is `prompt` or a path. Raises BadInput."""
    label, _, source = text.rpartition("@")
    if not source:
        raise errors.BadInput(f"--vault-id {text!r} has no source.", next_step="--vault-id prod@prompt or prod@FILE")
    if source == PROMPT:
        return label, source
    path = paths.named(source)
    if not paths.is_there(path):
        raise errors.BadInput(f"--vault-id {text!r}: there is no file {path}.")
    return label, str(path)


def arguments(login: Login, settings: Settings, directory: Path) -> list[str]:
    """Give Ansible's arguments, which name files alone.

    directory  private; what was typed is written there
    Raises     BadInput where a file that the settings name is not there
    """
    found: list[str] = []
    if login.become_password:
        found += ["--become-password-file", str(_written(directory / "become_password", login.become_password))]
    elif settings.become_password_file:
        path = paths.named(settings.become_password_file)
        if not paths.is_there(path):
            raise errors.BadInput(f"There is no file {path}.", next_step="set become_password_file to the one there is")
        found += ["--become-password-file", str(path)]
    for number, vault in enumerate(vaults(login, settings)):
        source = vault.source or str(_written(directory / f"vault_password_{number}", vault.password))
        found += ["--vault-id", f"{vault.label}@{source}" if vault.label else source]
    return found


def vaults(login: Login, settings: Settings) -> list[Vault]:
    """Give the vaults of the command, then those of the settings with other labels. Raises BadInput."""
    found = list(login.vaults)
    given = {vault.label for vault in found}
    for text in settings.vault_ids:
        label, source = read_vault_id(text)
        if source == PROMPT:
            raise errors.BadInput("vault_ids cannot ask.", next_step="give it a file, or --vault-id with the command")
        if label not in given:
            found.append(Vault(label=label, source=source))
    return found


def _written(path: Path, secret: str) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret.encode() + b"\n")
    return path
