"""ledger-copy: a whole ledger from one store into another that is empty, either way, compared afterwards."""

import hashlib
from collections.abc import Iterator

import msgspec

from dbmod import config, errors, paths
from dbmod.config import Settings
from dbmod.records import Record, Run
from dbmod.store.interface import Store, Tables
from dbmod.store.kinds import KINDS

CONFIGURED = "configured"  # the ledger that the settings name
HOLDER = "ledger-copy"
HELP = "dbmod ledger-copy --help"


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What was copied, and compared afterwards."""

    source: str
    target: str
    serial: int
    records: int
    contents: int
    key_id: str  # of the key that encrypts the contents now; "" where there are none


def settings_of(settings: Settings, place: str) -> Settings:
    """Give the settings of a ledger that is named on a command line.

    place   `configured`, postgresql://…, the path of a file that holds that, or of a home
    Raises  BadInput for a blank, and for a password, which everybody on this machine could read there
    """
    if not place.strip():
        raise errors.BadInput("a ledger to copy from and one to copy to have to be named", next_step=HELP)
    if place == CONFIGURED:
        return settings
    if place.startswith(config.LEDGER_SCHEMES):
        from dbmod.store.postgresql import address  # with the library of PostgreSQL

        if "password" in address.parsed(place):
            raise errors.BadInput(
                "a password on a command line can be read by everybody on this machine",
                next_step="leave it to PGPASSWORD or ~/.pgpass, or name a file that holds the whole address",
            )
        return msgspec.structs.replace(settings, ledger=place)
    path = paths.named(place)
    if paths.is_there(path) and path.is_file():
        return msgspec.structs.replace(settings, ledger=str(path))
    return msgspec.structs.replace(settings, home=str(path), ledger="")


def copy(source: Store, target: Store) -> Copied:
    """Copy everything and compare both. Writers of both wait meanwhile.

    Contents are decrypted with the key of the one and encrypted with that of the other.
    Raises  Refused where the target holds anything, the source nothing, or a run goes on in it; LedgerError
    """
    if source.place == target.place:
        raise errors.Refused(f"both are the same ledger: {source.place}", next_step="name two")
    if not source.snapshot().serial:  # before the lock, which would make its directory
        raise errors.Refused(f"there is no ledger in {source.place}", next_step=HELP)
    with source.transaction(holder=HOLDER) as old:
        _refuse_open_runs(old)
        with target.transaction(holder=HOLDER) as new:
            if new.serial:
                raise errors.Refused(
                    f"there is a ledger in {target.place}", next_step="name an empty directory or database"
                )
            kept = _names(source)
            for owner, number in kept:
                target.write_contents(owner, number, source.read_contents(owner, number))
            for records in _all(old):
                new.put(*records)
            new.advance(old.serial)
        _compare(source, old, target)
        stored = target.stored_contents()
        return Copied(
            source=source.place,
            target=target.place,
            serial=old.serial,
            records=sum(len(records) for records in _all(old)),
            contents=len(kept),
            key_id=stored[0].key_id if stored else "",
        )


def _refuse_open_runs(tables: Tables) -> None:
    for run in tables.find(Run):
        if run.is_open:
            raise errors.Refused(
                f"the run {run.id} goes on, and would be recorded in the old ledger",
                next_step=run.ways_out,
            )


def _compare(source: Store, old: Tables, target: Store) -> None:
    """Read both again, record for record and byte for byte. Raises LedgerError."""
    new = target.snapshot()
    same = new.serial >= old.serial and _names(source) == _names(target)
    for before, after in zip(_all(old), _all(new), strict=True):
        same = same and sorted(map(_identity, before)) == sorted(map(_identity, after))
    for owner, number in _names(source) if same else ():
        digests = {hashlib.sha256(one.read_contents(owner, number)).digest() for one in (source, target)}
        same = same and len(digests) == 1
    if not same:
        raise errors.LedgerError(
            f"what was copied into {target.place} is not what is in {source.place}",
            details={"state": f"{source.place} is as it was"},
            next_step="empty the copy, then repeat the command",
        )


def _all(tables: Tables) -> Iterator[list[Record]]:
    for kind in KINDS.values():
        yield list(tables.find(kind))


def _identity(record: Record) -> bytes:
    return msgspec.json.encode(record)


def _names(store: Store) -> list[tuple[str, int]]:
    return sorted({(one.owner, one.number) for one in store.stored_contents()})
