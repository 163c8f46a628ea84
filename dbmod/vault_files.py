"""Files that Ansible Vault encrypted: opened in memory, by Ansible's own library. Nothing is written anywhere."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from dbmod import errors
from dbmod.logins import Vault

BEGINNING = b"$ANSIBLE_VAULT;"
Open = Callable[[bytes, str], bytes]
NEXT_STEP = (
    "give the vault's password: --vault-id LABEL@FILE, vault_ids in the configuration, or AWX's vault credential"
)


def is_encrypted(data: bytes) -> bool:
    return data.startswith(BEGINNING)


def size_at_most(contents_bytes: int) -> int:
    """Give the most that an encrypted file of these contents has: hex of hex in lines of 80, behind a salt."""
    return 5 * contents_bytes + 1024


def opener(vaults: Sequence[Vault]) -> Open:
    """Give what opens files with these vault ids. Their passwords are read when the first file needs them."""

    @functools.cache
    def library() -> Any:
        return _library(vaults)

    return lambda data, called: open_with(library(), data, called)


def open_with(library: Any, data: bytes, called: str) -> bytes:
    """Decrypt a file.

    library  Ansible's VaultLib; under ansible-playbook the loader's own
    called   begins the sentences of errors, which never hold what Ansible says: it may quote what it read
    Raises   BadInput
    """
    if not library.secrets:
        raise errors.BadInput(f"{called} is encrypted, and no password of a vault was given.", next_step=NEXT_STEP)
    try:
        return bytes(library.decrypt(data))
    except Exception:  # noqa: BLE001  (Ansible's text)
        raise errors.BadInput(
            f"{called} is encrypted, and no password that was given opens it.", next_step=NEXT_STEP
        ) from None


def _library(vaults: Sequence[Vault]) -> Any:
    """Make Ansible's VaultLib. Raises BadInput where a password cannot be read."""
    from ansible.parsing.dataloader import DataLoader  # 0.2 s, and few files are encrypted
    from ansible.parsing.vault import VaultLib, VaultSecret, get_file_vault_secret

    loader = DataLoader()
    found = []
    for vault in vaults:
        label = vault.label or "default"
        if not vault.source:
            found.append((label, VaultSecret(vault.password.encode())))
            continue
        try:
            secret = get_file_vault_secret(filename=vault.source, vault_id=label, loader=loader)
            secret.load()
        except Exception as error:  # noqa: BLE001  (Ansible's text may hold what a script printed)
            raise errors.BadInput(
                f"The password of the vault '{label}' cannot be read ({type(error).__name__}).",
                details={"file": vault.source},
            ) from None
        found.append((label, secret))
    return VaultLib(found)
