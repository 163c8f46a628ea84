"""The ledger in files: snapshots that need no lock, transactions that hold one, contents beside them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar, cast

from dbmod.config import Settings
from dbmod.records import Record
from dbmod.store import commit, kinds, lock, shards
from dbmod.store import head as heads
from dbmod.store.head import Head
from dbmod.store.interface import Report, Rotation, Stored

R = TypeVar("R", bound=Record)


class FileStore:
    """The ledger of one state directory. It holds no file open between calls."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.home: Path = settings.home_path
        self.ledger = heads.at(self.home)
        self._read: dict[str, tuple[str, shards.Shard]] = {}  # shard → stamp and what was read of it last

    @property
    def place(self) -> str:
        return str(self.home)

    def address(self) -> str:
        return ""

    def snapshot(self) -> "FileTables":
        return FileTables(self, heads.read(self.ledger), writable=False)

    @contextlib.contextmanager
    def transaction(self, *, holder: str, wait_seconds: float | None = None) -> Iterator["FileTables"]:
        if not self.settings.network_filesystem_allowed:
            lock.refuse_network_filesystem(self.home)
        wait = self.settings.lock_wait_seconds if wait_seconds is None else wait_seconds
        with lock.held(self.ledger.lock, what=holder, wait_seconds=wait):
            tables = FileTables(self, heads.read(self.ledger), writable=True)
            try:
                yield tables
                changes = tables.changed()
            finally:
                tables.close()
            if changes:
                commit.commit(self.ledger, tables.head, changes, serial=tables.least_serial)

    def shard(self, head: Head, name: str) -> shards.Shard:
        """Give a shard of a generation; one that was read before and is the same is not read again."""
        stamp = head.shards.get(name)
        if stamp is None:
            return shards.Shard(name, {})
        known = self._read.get(name)
        if known is None or known[0] != stamp:
            known = (stamp, shards.read(self.ledger, head, name))
            self._read[name] = known
        return known[1]

    def write_contents(self, owner: str, number: int, contents: bytes) -> None:
        from dbmod.store import contents as files  # with the cryptography library: only where contents are touched

        files.write(self.settings, owner, number, contents)

    def read_contents(self, owner: str, number: int) -> bytes:
        from dbmod.store import contents as files

        return files.read(self.settings, owner, number)

    def delete_contents(self, owner: str, number: int | None = None) -> None:
        from dbmod.store import contents as files

        files.delete(self.settings, owner, number)

    def stored_contents(self) -> list[Stored]:
        from dbmod.store import contents as files

        return files.stored(self.settings)

    def rotate_key(self) -> Rotation:
        from dbmod.store import contents as files

        return files.rotate(self.settings)

    def check(self) -> Report:
        from dbmod.store import check

        return check.check(self.settings)


class FileTables:
    """One generation of the ledger; in a transaction with the changes made so far."""

    def __init__(self, store: FileStore, head: Head, *, writable: bool) -> None:
        self.head = head
        self._store = store
        self._writable = writable
        self._changes: dict[str, dict[str, Record | None]] = {}
        self.least_serial = head.serial + 1

    @property
    def serial(self) -> int:
        return self.head.serial

    def get(self, kind: type[R], key: str, *, within: str = "") -> R | None:
        shard = kinds.shard_name(kind, within)
        changes = self._changes.get(shard, {})
        if key in changes:
            return cast("R | None", changes[key])
        return self._store.shard(self.head, shard).get(kind, key)

    def find(self, kind: type[R], **equals: object) -> list[R]:
        kinds.check_fields(kind, equals)
        wanted = list(equals.items())
        return [
            record
            for shard in self._shards(kind, equals)
            for record in self._records(kind, shard, equals)
            if all(getattr(record, name) == value for name, value in wanted)
        ]

    def advance(self, serial: int) -> None:
        self.least_serial = max(self.least_serial, serial)

    def put(self, *records: Record) -> None:
        self._change(records, delete=False)

    def delete(self, *records: Record) -> None:
        self._change(records, delete=True)

    def changed(self) -> dict[str, bytes | None]:
        """Give the new bytes of every shard that differs, None for one that is empty now."""
        result: dict[str, bytes | None] = {}
        for name, changes in self._changes.items():
            shard = self._store.shard(self.head, name)
            effective = {key: new for key, new in changes.items() if new is not None or key in shard.documents}
            if effective:
                result[name] = shards.change(shard, shards.table_of(name), effective)
        if result and self.head.format < heads.FORMAT:  # then all of it is written in the present one
            for name in self.head.shards.keys() - result.keys():
                result[name] = shards.change(self._store.shard(self.head, name), shards.table_of(name), {})
        return {name: data for name, data in result.items() if data is not None or name in self.head.shards}

    def close(self) -> None:
        self._writable = False

    def _change(self, records: tuple[Record, ...], *, delete: bool) -> None:
        if not self._writable:
            kinds.refuse_changes()
        for record in records:
            within = type(record).within
            shard = kinds.shard_name(type(record), getattr(record, within) if within else "")
            self._changes.setdefault(shard, {})[record.key] = None if delete else record

    def _shards(self, kind: type[Record], equals: dict[str, object]) -> list[str]:
        if kind.within is None:
            return [kind.table]
        if kind.within in equals:
            return [kinds.shard_name(kind, str(equals[kind.within]))]
        prefix = f"{kind.table}-"
        return sorted(name for name in self.head.shards.keys() | self._changes.keys() if name.startswith(prefix))

    def _records(self, kind: type[R], shard: str, equals: dict[str, object]) -> list[R]:
        stored = self._store.shard(self.head, shard)
        known = stored.beginning(kind, str(equals[kind.first])) if kind.first in equals else stored.all(kind)
        changes = cast("dict[str, R | None]", self._changes.get(shard, {}))
        if not changes:
            return list(known.values())
        merged: dict[str, R | None] = {**known, **changes}
        return [record for record in merged.values() if record is not None]
