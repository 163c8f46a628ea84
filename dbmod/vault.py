"""The key of the contents, and what it does: AES-256-GCM, with owner and number bound in.

The key comes from one place, the first of these that is set: DBMOD_KEY (base64 of 32 bytes), the command `key_command`,
the file <home>/key, made on first use. File and command give one key a line; the first encrypts, all of them decrypt:
so a rotation can be interrupted. With DBMOD_KEY or a command, DBMOD_PREVIOUS_KEY holds the old one meanwhile.
"""

import base64
import binascii
import functools
import hashlib
import os
import shlex
from pathlib import Path

from dbmod import errors
from dbmod.config import Settings
from dbmod.store import durable

KEY_BYTES = 32
NONCE_BYTES = 12
KEY_ID_BYTES = 8
TAG_BYTES = 16
MAGIC = b"dbmod-contents 1\n"
HEADER_BYTES = len(MAGIC) + KEY_ID_BYTES + NONCE_BYTES
COMMAND_SECONDS = 60


class Key:
    """32 secret bytes, which never show in a message; the id names them without telling them."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.id = hashlib.sha256(b"dbmod key id\0" + secret).hexdigest()[: 2 * KEY_ID_BYTES]

    def __repr__(self) -> str:
        return f"Key({self.id})"

    @property
    def line(self) -> str:
        return base64.b64encode(self.secret).decode()


def key_file(settings: Settings) -> Path:
    return settings.home_path / "key"


def is_in_file(settings: Settings) -> bool:
    """Tell whether the key is dbmod's own file, so that a rotation can make a new one and a backup holds it."""
    return not os.environ.get("DBMOD_KEY") and not settings.key_command


def new_key() -> Key:
    return Key(os.urandom(KEY_BYTES))


def keys(settings: Settings) -> list[Key]:
    """Give the keys: the first encrypts, all of them decrypt. Empty where the key file is not made yet.

    Raises  BadInput for a key that is none, Failed for a command that fails, LedgerError for a file that cannot be read
    """
    if is_in_file(settings):
        return _from_file(key_file(settings))
    if os.environ.get("DBMOD_KEY"):
        found = [_parsed(os.environ["DBMOD_KEY"], "DBMOD_KEY")]
    else:
        found = _from_command(settings.key_command)
    previous = os.environ.get("DBMOD_PREVIOUS_KEY")
    return [*found, _parsed(previous, "DBMOD_PREVIOUS_KEY")] if previous else found


def write_key_file(settings: Settings, keys: list[Key]) -> None:
    """Replace the key file, durably. Raises OSError."""
    path = key_file(settings)
    durable.make_directory(path.parent)
    durable.write_file(path, "".join(key.line + "\n" for key in keys).encode())
    durable.sync_directory(path.parent)


def encrypt(key: Key, contents: bytes, *, bound: bytes) -> tuple[bytes, bytes]:
    """Encrypt contents.

    bound    what the contents belong to; decrypt refuses them under any other name
    Returns  header and ciphertext, to be written one after the other
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(NONCE_BYTES)
    header = MAGIC + bytes.fromhex(key.id) + nonce
    return header, AESGCM(key.secret).encrypt(nonce, contents, header + bound)


def decrypt(keys: list[Key], data: bytes, *, bound: bytes, what: str) -> bytes:
    """Decrypt what `encrypt` made.

    what    names it in errors
    Raises  LedgerError where the key is not among these, LedgerDamaged where the bytes are not what was written
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key_id = key_id_of(data)
    if not key_id:
        raise damaged(what)
    key = next((key for key in keys if key.id == key_id), None)
    if key is None:
        raise missing(what, key_id, keys)
    header = data[:HEADER_BYTES]
    try:
        return AESGCM(key.secret).decrypt(header[-NONCE_BYTES:], memoryview(data)[HEADER_BYTES:], header + bound)
    except InvalidTag:
        raise damaged(what) from None


def get_ready() -> None:
    """Let OpenSSL look up its cipher: 3 ms that a process forked from this one need not spend again."""
    encrypt(new_key(), b"", bound=b"")


def key_id_of(data: bytes) -> str:
    """Tell which key encrypted this, "" where it is no encrypted contents."""
    if len(data) < HEADER_BYTES + TAG_BYTES or not data.startswith(MAGIC):
        return ""
    return data[len(MAGIC) : len(MAGIC) + KEY_ID_BYTES].hex()


def damaged(what: str) -> errors.LedgerDamaged:
    return errors.LedgerDamaged(
        f"{what} are damaged: their bytes are not what was written",
        next_step="restore a backup, or give the module its contents again: dbmod module-update --file",
    )


def missing(what: str, key_id: str, keys: list[Key]) -> errors.LedgerError:
    have = ", ".join(key.id for key in keys) or "none"
    return errors.LedgerError(
        f"{what} cannot be decrypted: the key is missing",
        details={"needed": f"the key with the id {key_id}", "have": have},
        next_step="bring the key back: the file <home>/key, DBMOD_KEY or key_command (a backup of the ledger holds it)",
    )


def _from_file(path: Path) -> list[Key]:
    try:
        lines = durable.read_file(path).decode("ascii", errors="replace").split()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise durable.unreadable(error, path) from error
    if not lines:
        raise _no_key(str(path))
    return [_parsed(line, str(path)) for line in lines]


def forget() -> None:
    """Ask the command again the next time: its key may have changed."""
    _from_command.cache_clear()


@functools.lru_cache(maxsize=1)
def _from_command(command: str) -> list[Key]:
    import subprocess

    try:
        done = subprocess.run(
            shlex.split(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise errors.Failed(
            f"key_command cannot be run: {type(error).__name__}", next_step="dbmod config shows it"
        ) from error
    if done.returncode:
        raise errors.Failed(
            f"key_command failed with exit code {done.returncode}", next_step="run it by hand; dbmod config shows it"
        )
    lines = done.stdout.decode("ascii", errors="replace").split()
    if not lines:
        raise _no_key("key_command")
    return [_parsed(line, "key_command") for line in lines]


def _parsed(text: str, source: str) -> Key:
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise _no_key(source) from None
    if len(secret) != KEY_BYTES:
        raise _no_key(source)
    return Key(secret)


def _no_key(source: str) -> errors.BadInput:
    return errors.BadInput(
        f"{source}: this is no key",
        next_step="a key is the base64 text of 32 random bytes, as `head -c 32 /dev/urandom | base64` makes one",
    )
