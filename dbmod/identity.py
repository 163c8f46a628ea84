"""Who asks. Tenancy is a guard rail, not security: whoever can write the ledger is trusted."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dbmod import clock
from dbmod.config import Settings
from dbmod.records import Module
from dbmod.store import durable

CACHE = "identity.json"
SECRET_PARTS = ("PASSWORD", "SECRET", "PASSCODE")  # a token counts: who it stands for is in it alone
CLIENT_FILES = ("clouds.yaml", "secure.yaml", "clouds-public.yaml")
CLIENT_DIRECTORIES = (".", "~/.config/openstack", "/etc/openstack")


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """The person or job behind a command."""

    name: str
    tenant: str
    admin: bool


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What a cloud's token said, without the token."""

    login: str  # digest of how one logs in
    tenant: str
    admin: bool
    expires_at: float  # seconds since the epoch, as the token


def current(settings: Settings) -> Actor:
    """Give who asks: from the configuration, or from the cloud's token. Raises Refused, Failed."""
    if settings.identity == "config":
        return Actor(name=settings.actor_name, tenant=settings.tenant, admin=settings.admin)
    known = _from_cloud(settings)
    return Actor(name=settings.actor_name, tenant=known.tenant, admin=known.admin)


def _from_cloud(settings: Settings) -> Remembered:
    """Ask the cloud, or remember what it said while its token is valid."""
    login = login_digest(settings.openstack_cloud, os.environ)
    path = settings.home_path / CACHE
    try:
        known = msgspec.json.decode(durable.read_file(path), type=Remembered)
    except (OSError, msgspec.MsgspecError):
        known = None
    if known and known.login == login and known.expires_at > clock.now().timestamp():
        return known
    from dbmod import cloud  # with openstacksdk, 0.3 s

    told = cloud.identity(settings)
    fresh = Remembered(login=login, tenant=told.project, admin=told.admin, expires_at=told.expires_at)
    durable.make_directory(path.parent)
    durable.write_file(path, msgspec.json.encode(fresh))
    return fresh


def login_digest(cloud: str, environ: Mapping[str, str]) -> str:
    """Give a digest of how one logs in, without its passwords: the variables, and which files changed when."""
    said = {
        name: value
        for name, value in environ.items()
        if name.startswith("OS_") and not any(part in name for part in SECRET_PARTS)
    }
    named = [environ[name] for name in ("OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE") if environ.get(name)]
    found = [Path(place).expanduser() / name for place in CLIENT_DIRECTORIES for name in CLIENT_FILES]
    files = [(str(path.absolute()), path.stat().st_mtime_ns) for path in (*map(Path, named), *found) if path.exists()]
    return hashlib.sha256(msgspec.json.encode([cloud, sorted(said.items()), files])).hexdigest()


def sees(actor: Actor, module: Module) -> bool:
    """Tell whether *module* exists for *actor*: an admin sees all, a tenant the visible ones of its own or of all."""
    return actor.admin or (module.visible and module.tenant in (None, actor.tenant))
