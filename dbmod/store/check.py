"""ledger-check: read everything, verify everything, change nothing."""

import hashlib
from collections.abc import Callable, Iterable, Iterator

from dbmod import errors
from dbmod.config import Settings
from dbmod.records import Instance, Module, Record, Row
from dbmod.store import durable, shards
from dbmod.store import head as heads
from dbmod.store.head import Head, Ledger
from dbmod.store.interface import Problem, Report, Stored
from dbmod.store.kinds import KINDS


def check(settings: Settings) -> Report:
    """Verify the whole ledger; takes no lock.

    Raises  LedgerError only where nothing can be said: a newer format, a missing right to read
    """
    ledger = heads.at(settings.home_path)
    for _ in range(3):
        report, head = _check(settings, ledger)
        if report.is_sound or head is None or _is_current(ledger, head):
            return report
    return report  # the ledger changes all the time: the last word is as good as any


def _check(settings: Settings, ledger: Ledger) -> tuple[Report, Head | None]:
    from dbmod.store import contents

    try:
        head = heads.read(ledger)
    except errors.LedgerDamaged as error:
        problem = Problem(where="HEAD", what=error.what)
        return Report(serial=0, shards=0, records=0, contents=0, problems=(problem,)), None
    problems = list(chain(ledger, head))
    count = 0
    modules: list[Module] = []
    rows: list[Row] = []
    instances: set[str] = set()
    for name in sorted(head.shards):
        try:
            shard = shards.read(ledger, head, name)
        except errors.LedgerError as error:
            problems.append(Problem(where=name, what=error.what))
            continue
        found, bad = understood(shard)
        count += len(found)
        modules += [record for record in found.values() if isinstance(record, Module)]
        rows += [record for record in found.values() if isinstance(record, Row) and record.removed_at is None]
        instances |= {key for key, record in found.items() if isinstance(record, Instance)}
        problems += [Problem(where=name, what=what) for what in bad.values()]
    problems += orphans(rows, instances)
    checked, bad_contents = contents_problems(
        settings, modules, contents.stored(settings), lambda owner, number: contents.read(settings, owner, number)
    )
    report = Report(
        serial=head.serial,
        shards=len(head.shards),
        records=count,
        contents=checked,
        problems=(*problems, *bad_contents),
    )
    return report, head


def chain(ledger: Ledger, head: Head) -> Iterator[Problem]:
    """Verify that the generation before is the one that HEAD names."""
    if not head.previous:
        return
    found = set()
    for path in (ledger.previous, ledger.leaving):  # the second after a commit that was killed: the next one settles it
        try:
            found.add(heads.digest(durable.read_file(path)))
        except OSError:
            continue
    if head.previous not in found:
        yield Problem(where="HEAD.previous", what="the generation before the last is missing or is another one")


def orphans(rows: list[Row], instances: set[str]) -> Iterator[Problem]:
    """Name the instances that live rows speak of and that are not there: a repair could not read their records."""
    if not instances:  # then the repair has said so of the whole shard
        return
    for instance_id in sorted({row.instance_id for row in rows} - instances):
        yield Problem(where="instances", what=f"the instance {instance_id} holds modules and has no record any more")


def understood(shard: shards.Shard) -> tuple[dict[str, Record], dict[str, str]]:
    """Decode every record of a shard on its own.

    Returns  key → record, and key → what is wrong for those that cannot be understood
    """
    kind = KINDS.get(shards.table_of(shard.name))
    found: dict[str, Record] = {}
    bad: dict[str, str] = {}
    for key in shard.documents:
        try:
            record = shard.get(kind, key) if kind else None
        except errors.LedgerDamaged as error:
            bad[key] = error.what
            continue
        if record is None:
            bad[key] = f"the record {key} belongs to no table that this dbmod knows"
        elif record.key != key:
            bad[key] = f"the record {key} says that it is {record.key}"
        else:
            found[key] = record
    return found, bad


def contents_problems(
    settings: Settings, modules: Iterable[Module], stored: Iterable[Stored], read: Callable[[str, int], bytes]
) -> tuple[int, list[Problem]]:
    """Decrypt the contents of every version of the modules that are not deleted or pruned, and compare the digests.

    Returns  how many were decrypted, and what is wrong
    """
    locked = without_key(settings, stored)
    problems = [
        Problem(where="contents", what=f"{len(names)} contents need the key with the id {key_id}, which is missing")
        for key_id, names in locked.items()
    ]
    unreadable = {name for names in locked.values() for name in names}
    count = 0
    for module in (module for module in modules if module.deleted_at is None):
        for version in module.versions:
            if version.pruned_at or (module.id, version.number) in unreadable:
                continue
            where = f"contents {version.number} of {module.id}"
            try:
                data = read(module.id, version.number)
            except errors.DbmodError as error:
                problems.append(Problem(where=where, what=error.what))
                continue
            count += 1
            if hashlib.sha256(data).hexdigest() != version.sha256:
                problems.append(Problem(where=where, what="they are not the ones that the registry names (SHA-256)"))
    return count, problems


def without_key(settings: Settings, stored: Iterable[Stored]) -> dict[str, set[tuple[str, int]]]:
    """Give the contents that no key at hand decrypts: id of the key → owner and number."""
    from dbmod import vault

    known = {key.id for key in vault.keys(settings)}
    readable = set()
    locked: dict[str, set[tuple[str, int]]] = {}
    for one in stored:
        if one.key_id in known:
            readable.add((one.owner, one.number))
        else:
            locked.setdefault(one.key_id, set()).add((one.owner, one.number))
    return {key_id: names - readable for key_id, names in locked.items() if names - readable}


def _is_current(ledger: Ledger, head: Head) -> bool:
    try:
        return heads.read(ledger) == head
    except errors.LedgerError:
        return True
