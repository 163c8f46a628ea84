"""The mark that everything in a cloud bears which dbmod made, so that one ledger never takes another's for its own."""

import re
from collections.abc import Mapping

from dbmod import ids
from dbmod.records import Mark
from dbmod.store.interface import Store

KEY = "ledger"
WORD = re.compile(r"dbmod_(ledger|instance)=([0-9a-f-]{36})")


def ledger_id(store: Store) -> str:
    """Give this ledger's own id, made at the first call."""
    known = store.snapshot().get(Mark, KEY)
    if known is None:
        with store.transaction(holder="the ledger's id") as tables:
            known = tables.get(Mark, KEY) or Mark(id=KEY, value=ids.new_id())
            tables.put(known)
    return known.value


def shared_name(ledger: str, what: str) -> str:
    """Name what instances of a ledger share: what is a datastore, a cluster's id, or a key's fingerprint."""
    return f"dbmod-{ledger}-{what}"


def description(ledger: str, instance_id: str) -> str:
    """Describe what has no metadata of its own: ports and floating addresses."""
    return f"dbmod_ledger={ledger} dbmod_instance={instance_id}"


def read(metadata: Mapping[str, str] | None, text: str | None = None) -> tuple[str, str]:
    """Give ledger and instance from metadata or a description; both empty where it bears no mark."""
    found = dict(WORD.findall(text or ""))
    known = metadata or {}
    return (
        str(known.get("dbmod_ledger", "")) or found.get("ledger", ""),
        str(known.get("dbmod_instance", "")) or found.get("instance", ""),
    )
