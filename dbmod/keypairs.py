"""dbmod's own pair of ssh keys, which it puts on the machines it makes; and public keys as text."""

import base64
import hashlib
import re
import secrets
from contextlib import suppress
from pathlib import Path

from dbmod import errors, paths
from dbmod.config import Settings
from dbmod.store import durable

PUBLIC_KEY = re.compile(r"\b(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) (AAAA[A-Za-z0-9+/]+={0,2})")


def own_private_key(settings: Settings) -> Path:
    """Give where dbmod's own private key is, made or not."""
    return settings.home_path / "ssh" / "id_ed25519"


def private_key(settings: Settings) -> Path:
    """Give the key that reaches the machines dbmod makes: the configured one, else its own."""
    return paths.named(settings.ssh_private_key) if settings.ssh_private_key else own_private_key(settings)


def public_key(settings: Settings) -> str:
    """Give the public half as `<type> <base64>`; the own pair is made at the first call.

    Raises BadInput where it neither lies beside the configured key nor can be read out of that
    """
    if not settings.ssh_private_key:
        return _own_public_key(settings)
    from cryptography.exceptions import UnsupportedAlgorithm

    path = Path(f"{private_key(settings)}.pub")
    try:
        found = public_keys_in(durable.read_file(path).decode("ascii", errors="replace"))
    except OSError:
        found = []
    if found:
        return found[0]
    try:  # AWX gives a private key as one file under a name of its own
        return _public_half(private_key(settings))
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:  # TypeError: a passphrase protects it
        raise errors.BadInput(
            f"There is no public key in {path}, which new machines need.",
            next_step=f"ssh-keygen -y -f {settings.ssh_private_key} > {path}",
        ) from error


def fingerprint(public: str) -> str:
    """Name a public key: 16 characters of the SHA-256 of its bytes."""
    return hashlib.sha256(base64.b64decode(public.split()[1])).hexdigest()[:16]


def public_keys_in(text: str) -> list[str]:
    """Find public keys in a text, without their comments."""
    return [" ".join(found) for found in dict.fromkeys(PUBLIC_KEY.findall(text))]


def _own_public_key(settings: Settings) -> str:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = own_private_key(settings)
    if not path.exists():
        made = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        durable.make_directory(settings.home_path)
        durable.make_directory(path.parent)
        fresh = durable.write_new(path.with_name(f"{path.name}.{secrets.token_hex(8)}"), made)
        with suppress(FileExistsError):  # the first of several makers wins
            path.hardlink_to(fresh)
        durable.remove(fresh)
    return _public_half(path)


def _public_half(path: Path) -> str:
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_ssh_private_key(durable.read_file(path), password=None)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return public.decode("ascii")
