"""What is in the files of a ledger, byte for byte and record for record."""

from pathlib import Path

from dbmod import store
from dbmod.config import Settings
from dbmod.records import Record
from dbmod.store import head as heads
from dbmod.store.kinds import KINDS


def state(settings: Settings) -> dict[tuple[str, str], Record]:
    """Read every record of the ledger: (shard's table and value, key) → record."""
    tables = store.open(settings).snapshot()
    found: dict[tuple[str, str], Record] = {}
    for kind in KINDS.values():
        for record in tables.find(kind):
            shard = f"{kind.table} {getattr(record, kind.within) if kind.within else ''}"
            found[(shard, record.key)] = record
    return found


def committed_bytes(settings: Settings) -> dict[str, bytes]:
    """Read HEAD and the shards it names, without dbmod's checks in between."""
    ledger = heads.at(settings.home_path)
    if not ledger.head.exists():
        return {}
    head = heads.read(ledger)
    paths = [ledger.head, *(ledger.shard(name, stamp) for name, stamp in head.shards.items())]
    return {path.name: path.read_bytes() for path in paths}


def leftovers(settings: Settings) -> list[Path]:
    """List what a commit that never ended left: temporary files, and shards newer than HEAD."""
    ledger = heads.at(settings.home_path)
    serial = heads.read(ledger).serial
    found = list(ledger.directory.rglob("*.new"))
    for path in ledger.shards.glob("*.json"):
        match = heads.SHARD_FILE.match(path.name)
        if match is None or heads.serial(match["stamp"]) > serial:
            found.append(path)
    return found
