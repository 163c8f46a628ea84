"""ledger-check --repair: keep what is damaged aside, go on with what is whole, and say so.

For a damaged shard the best there is: its previous generation, with the records that only the damaged file has; where
no older one is whole, every record that can be read out of the damaged file. No row that can be read is given up.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from dbmod import clock, errors
from dbmod.config import Settings
from dbmod.records import Record
from dbmod.store import check, commit, durable, lock, shards
from dbmod.store import head as heads
from dbmod.store.head import Head, Ledger
from dbmod.store.interface import Report
from dbmod.store.kinds import KINDS
from dbmod.store.shards import Shard

RECORD = re.compile(r'"((?:[^"\\]|\\.)*)":\{')


class Repairs:
    """What a repair has done so far, and where it keeps what was damaged."""

    def __init__(self, aside: Path) -> None:
        self.aside = aside
        self.done: list[str] = []
        self.changes: dict[str, bytes | None] = {}

    def keep(self, path: Path) -> None:
        """Copy a damaged file aside."""
        try:
            data = durable.read_file(path)
        except FileNotFoundError:
            return
        durable.make_directory(self.aside.parent)
        durable.make_directory(self.aside)
        durable.write_file(self.aside / path.name, data)
        durable.sync_directory(self.aside)
        self.done.append(f"kept the damaged {path.name} in {self.aside}")


def repair(settings: Settings) -> Report:
    """Make the ledger usable again.

    Returns  the report of a check afterwards, with what was done; contents that are damaged stay problems
    Raises   LedgerBusy, LedgerUnwritable
    """
    ledger = heads.at(settings.home_path)
    aside = settings.home_path / "damaged" / clock.now().strftime("%Y-%m-%dT%H-%M-%S.%f")
    with lock.held(ledger.lock, what="ledger-check --repair", wait_seconds=settings.lock_wait_seconds):
        repairs = Repairs(aside)
        try:
            head = _repaired_head(ledger, repairs)
            for name in sorted(head.shards):
                _repair_shard(ledger, repairs, head, name)
        except OSError as error:
            raise durable.unwritable(error, aside, needed_bytes=0) from error
        if repairs.changes:
            commit.commit(ledger, head, repairs.changes, serial=head.serial + 1)
    report = check.check(settings)
    return msgspec.structs.replace(report, done=tuple(repairs.done))


def _repaired_head(ledger: Ledger, repairs: Repairs) -> Head:
    """Give HEAD; write it anew where it is damaged or does not follow from the one before."""
    try:
        head = heads.read(ledger)
    except errors.LedgerDamaged:
        repairs.keep(ledger.head)
        head = _rebuilt_head(ledger, repairs)
    else:
        if not list(check.chain(ledger, head)):
            return head
        repairs.keep(ledger.previous)
        repairs.done.append("took HEAD as the beginning of a new chain: the generation before it is lost")
    head = msgspec.structs.replace(head, previous="")
    durable.write_file(ledger.head, heads.encode(head))
    durable.remove(ledger.previous)
    durable.remove(ledger.leaving)
    durable.sync_directory(ledger.directory)
    return head


def _rebuilt_head(ledger: Ledger, repairs: Repairs) -> Head:
    """Make HEAD from what there is: its own text if only that was hit, else the newest whole shard of each name."""
    claimed = _readable_text(ledger)
    previous = heads.read_previous(ledger)
    if claimed and all(_is_whole(ledger, name, stamp) for name, stamp in claimed.shards.items()):
        repairs.done.append(f"took HEAD with the serial {claimed.serial}: every shard it names is whole")
        return msgspec.structs.replace(claimed, serial=max(claimed.serial, _last_serial(ledger, previous)))
    newest: dict[str, str] = {}
    for name, stamp in _stamps(ledger):
        best = newest.get(name)
        if best is None or (_is_whole(ledger, name, stamp), heads.serial(stamp)) > (
            _is_whole(ledger, name, best),
            heads.serial(best),
        ):
            newest[name] = stamp
    repairs.done.append(f"made HEAD anew from the newest file of each of {len(newest)} shards")
    return Head(serial=_last_serial(ledger, previous), shards=newest, previous="")


def _readable_text(ledger: Ledger) -> Head | None:
    try:
        head = msgspec.json.decode(durable.read_file(ledger.head).partition(b"\n")[2], type=Head)
    except (OSError, msgspec.MsgspecError):
        return None
    named = all(heads.SHARD_FILE.match(ledger.shard(name, stamp).name) for name, stamp in head.shards.items())
    return head if named and head.format <= heads.FORMAT else None


def _repair_shard(ledger: Ledger, repairs: Repairs, head: Head, name: str) -> None:
    stamp = head.shards[name]
    path = ledger.shard(name, stamp)
    if _is_whole(ledger, name, stamp):
        found, bad = check.understood(shards.read(ledger, head, name))
        if bad:
            repairs.keep(path)
            repairs.done.append(f"took {len(bad)} records that cannot be understood out of the shard {name}")
        if bad or head.format < heads.FORMAT:
            _change(repairs, name, found)
        return
    repairs.keep(path)
    salvaged = _salvaged(path, name)
    older = next((item for item in _older(ledger, name, stamp) if _is_whole(ledger, name, item)), None)
    if older is None:
        repairs.done.append(
            f"saved {len(salvaged)} records from the damaged shard {name}: dbmod reconcile compares them with the hosts"
        )
        _change(repairs, name, salvaged)
        return
    before = msgspec.structs.replace(head, shards={name: older})
    known, _ = check.understood(shards.read(ledger, before, name))
    only_here = {key: record for key, record in salvaged.items() if key not in known}
    repairs.done.append(
        f"went back to the generation {heads.serial(older)} of the shard {name} ({len(known)} records), with "
        f"{len(only_here)} records that only the damaged file has: dbmod reconcile compares them with the hosts"
    )
    _change(repairs, name, known | only_here)


def _change(repairs: Repairs, name: str, found: dict[str, Record]) -> None:
    repairs.changes[name] = shards.change(Shard(name, {}), shards.table_of(name), found) if found else None


def _salvaged(path: Path, name: str) -> dict[str, Record]:
    """Read every record that is still one, and has the key under which it stands, out of a damaged file."""
    kind = KINDS.get(shards.table_of(name))
    try:
        text = durable.read_file(path).decode("utf-8", errors="surrogateescape")
    except OSError:
        return {}
    found: dict[str, Record] = {}
    position = 0
    decoder = json.JSONDecoder()
    while kind and (match := RECORD.search(text, position)):
        position = match.start() + 1
        try:
            _, end = decoder.raw_decode(text, match.end() - 1)
            record = msgspec.json.decode(text[match.end() - 1 : end].encode("utf-8", "surrogateescape"), type=kind)
            key = json.loads(f'"{match[1]}"')
        except (ValueError, RecursionError, msgspec.MsgspecError):
            continue
        if record.key == key:
            found[key] = record
            position = end
    return found


def _stamps(ledger: Ledger) -> Iterator[tuple[str, str]]:
    try:
        names = sorted(path.name for path in ledger.shards.iterdir())
    except OSError:
        return
    for name in names:
        match = heads.SHARD_FILE.match(name)
        if match:
            yield match["name"], match["stamp"]


def _older(ledger: Ledger, name: str, stamp: str) -> list[str]:
    """Give the other generations of a shard that are on the disk: first the one before, then the newest."""
    before = heads.read_previous(ledger).shards.get(name)
    others = [found for known, found in _stamps(ledger) if known == name and found != stamp]
    return sorted(others, key=lambda found: (found == before, heads.serial(found)), reverse=True)


def _is_whole(ledger: Ledger, name: str, stamp: str) -> bool:
    try:
        return heads.is_whole(stamp, durable.read_file(ledger.shard(name, stamp)))
    except OSError:
        return False


def _last_serial(ledger: Ledger, previous: Head) -> int:
    return max([previous.serial + 1, *(heads.serial(stamp) for _, stamp in _stamps(ledger))])
