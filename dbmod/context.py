"""What every operation needs."""

from contextlib import AbstractContextManager

import msgspec

from dbmod.config import Settings
from dbmod.identity import Actor
from dbmod.store.interface import Store, Tables


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger, the settings, who asks, and why."""

    store: Store
    settings: Settings
    actor: Actor
    reason: str = ""
    lock_wait_seconds: float | None = None

    def transaction(self, holder: str) -> AbstractContextManager[Tables]:
        """Hold the ledger alone, waiting for it as long as this command may."""
        return self.store.transaction(holder=holder, wait_seconds=self.lock_wait_seconds)
