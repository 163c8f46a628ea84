"""A commit: the changed shards, synced, then HEAD, replaced. At every instant the ledger is the old or the new one."""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from dbmod.store import durable
from dbmod.store import head as heads
from dbmod.store.head import Head, Ledger

READERS_SECONDS = 60  # how long a shard that no generation names any more stays for readers that began before


def commit(ledger: Ledger, head: Head, changes: Mapping[str, bytes | None], *, serial: int) -> Head:
    """Replace shards, all or none. The caller holds the lock.

    changes  shard → its new bytes, or None for a shard that is empty now
    serial   of the new generation, above that of *head*
    Returns  the new generation, durable
    Raises   LedgerUnwritable; the ledger is then what it was, byte for byte
    """
    written = {name: (heads.stamp(serial, data), data) for name, data in changes.items() if data is not None}
    kept = {name: stamp for name, stamp in head.shards.items() if name not in changes}
    needed = sum(len(data) for _, data in written.values())
    try:
        _begin(ledger, head)
        for name, (stamp, data) in written.items():
            durable.write_file(ledger.shard(name, stamp), data)
        durable.sync_directory(ledger.shards)
        new = Head(
            serial=serial,
            shards=kept | {name: stamp for name, (stamp, _) in written.items()},
            previous=heads.digest(durable.read_file(ledger.head)),
            format=head.format if kept else heads.FORMAT,
        )
        needed += len(heads.encode(new))
        left = heads.read_previous(ledger)
        _replace_head(ledger, new)
    except OSError as error:
        with contextlib.suppress(OSError):
            _settle(ledger, head)
        _sweep(ledger, head, (head, heads.read_previous(ledger)))
        raise durable.unwritable(error, ledger.directory, needed_bytes=needed) from error
    _finish(ledger, new, before=head, left=left)
    return new


def _begin(ledger: Ledger, head: Head) -> None:
    """Make the places.

    An empty HEAD comes before the directory of the shards: where there are shards, a missing HEAD is always damage.
    """
    durable.make_directory(ledger.directory)
    if not ledger.head.exists():
        durable.write_file(ledger.head, heads.encode(head))
        durable.sync_directory(ledger.directory)
    durable.make_directory(ledger.shards)
    _settle(ledger, head)


def _settle(ledger: Ledger, head: Head) -> None:
    """Give HEAD.leaving, which a commit that was killed or failed has left, its right name, or none."""
    with contextlib.suppress(FileNotFoundError):
        if heads.digest(durable.read_file(ledger.leaving)) == head.previous:
            ledger.leaving.replace(ledger.previous)
        else:
            ledger.leaving.unlink()


def _replace_head(ledger: Ledger, new: Head) -> None:
    temporary = durable.write_new(ledger.head, heads.encode(new))
    ledger.leaving.hardlink_to(ledger.head)
    temporary.replace(ledger.head)
    try:
        durable.sync_directory(ledger.directory)
    except OSError:
        ledger.leaving.replace(ledger.head)  # visible but not durable is not committed: go back
        raise


def _finish(ledger: Ledger, new: Head, *, before: Head, left: Head) -> None:
    """Keep the generation before, let go of the one before that. The commit is durable: nothing here may fail it."""
    with contextlib.suppress(OSError):
        ledger.leaving.replace(ledger.previous)
    for name, stamp in left.shards.items():
        if before.shards.get(name) != stamp and new.shards.get(name) != stamp:
            with contextlib.suppress(OSError):
                os.utime(ledger.shard(name, stamp))  # its time for readers starts now
    _sweep(ledger, before, (new, before))


def _sweep(ledger: Ledger, committed: Head, kept: tuple[Head, ...]) -> None:
    """Remove what nothing refers to: at once where it was never committed, else when readers had their time."""
    stamps = {item for head in kept for item in head.shards.items()}
    keep = {heads.file_name(name, stamp) for name, stamp in stamps}
    with contextlib.suppress(OSError):
        for name in set(os.listdir(ledger.shards)) - keep:  # names, not paths: one for each run
            if _is_leftover(name, committed) or _is_over(ledger.shards / name):
                durable.remove(ledger.shards / name)
    durable.remove(ledger.head.with_name(ledger.head.name + durable.NEW))


def _is_leftover(name: str, committed: Head) -> bool:
    """Tell whether a commit that was killed left this file."""
    match = heads.SHARD_FILE.match(name)
    return name.endswith(durable.NEW) or (match is not None and heads.serial(match["stamp"]) > committed.serial)


def _is_over(path: Path) -> bool:
    try:
        return abs(time.time() - path.stat().st_mtime) > READERS_SECONDS
    except OSError:
        return False
