"""Who asks. Tenancy is a guard rail, not security: whoever can write the ledger is trusted."""

import msgspec

from dbmod.config import Settings
from dbmod.records import Module


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """The person or job behind a command."""

    name: str
    tenant: str
    admin: bool


def current(settings: Settings) -> Actor:
    return Actor(name=settings.actor_name, tenant=settings.tenant, admin=settings.admin)


def sees(actor: Actor, module: Module) -> bool:
    """Tell whether *module* exists for *actor*: an admin sees all, a tenant the visible ones of its own or of all."""
    return actor.admin or (module.visible and module.tenant in (None, actor.tenant))
