"""What every store knows of records: which kinds there are, how they are split, and how many are read at once."""

import contextlib
import gc
from collections.abc import Iterator

from dbmod import errors, records
from dbmod.records import Record
from dbmod.store import head as heads

KINDS: dict[str, type[Record]] = {kind.table: kind for kind in records.Record.__subclasses__()}
MANY = 1000  # records from which the pause of the garbage collector pays


def shard_name(kind: type[Record], within: str) -> str:
    """Name the shard of a kind: the table, or table-<value> where the kind is split. In files it is a file's name."""
    if kind.within is None:
        return kind.table
    name = f"{kind.table}-{within}"
    if not within or not heads.SHARD_NAME.match(name):
        raise errors.InternalError(f"{kind.table} are split by {kind.within}, and {within!r} cannot name a file")
    return name


def check_fields(kind: type[Record], equals: dict[str, object]) -> None:
    """Refuse to look for a field that the records of this kind do not have. Raises InternalError."""
    unknown = equals.keys() - set(kind.__struct_fields__)
    if unknown:
        raise errors.InternalError(f"{kind.table} have no field {', '.join(sorted(unknown))}")


def refuse_changes() -> None:
    raise errors.InternalError("a snapshot, or a transaction that has ended, takes no changes")


@contextlib.contextmanager
def collector_paused(count: int) -> Iterator[None]:
    """Keep the garbage collector from running over many new records again and again: a third of the time."""
    if count < MANY or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
