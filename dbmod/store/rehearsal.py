"""A ledger that forgets: what is planned is seen by whoever plans, and never written. For `--check`."""

import contextlib
from collections.abc import Iterator
from typing import TypeVar, cast

from dbmod.records import Record
from dbmod.store.interface import Store, Tables

R = TypeVar("R", bound=Record)
Key = tuple[str, str, str]  # table, the value that it is split by, key


class Rehearsal:
    """Reads another store, and keeps changes in memory."""

    def __init__(self, real: Store) -> None:
        self._real = real
        self._changes: dict[Key, Record | None] = {}

    def snapshot(self) -> Tables:
        return RehearsalTables(self._real.snapshot(), self._changes)

    @contextlib.contextmanager
    def transaction(self, *, holder: str, wait_seconds: float | None = None) -> Iterator[Tables]:
        """Nobody is kept waiting, and nobody is waited for."""
        del holder, wait_seconds
        before = dict(self._changes)
        try:
            yield self.snapshot()
        except BaseException:
            self._changes.clear()
            self._changes.update(before)
            raise

    def write_contents(self, owner: str, number: int, contents: bytes) -> None:
        """Secrets are not kept."""

    def read_contents(self, owner: str, number: int) -> bytes:
        return self._real.read_contents(owner, number)

    def delete_contents(self, owner: str, number: int | None = None) -> None:
        """Nothing is removed."""


class RehearsalTables:
    """The real tables, with the changes that were rehearsed."""

    def __init__(self, real: Tables, changes: dict[Key, Record | None]) -> None:
        self._real = real
        self._changes = changes

    @property
    def serial(self) -> int:
        return self._real.serial

    def get(self, kind: type[R], key: str, *, within: str = "") -> R | None:
        place = (kind.table, within, key)
        if place in self._changes:
            return cast("R | None", self._changes[place])
        return self._real.get(kind, key, within=within)

    def find(self, kind: type[R], **equals: object) -> list[R]:
        found = [one for one in self._real.find(kind, **equals) if _place(one) not in self._changes]
        rehearsed = [one for one in self._changes.values() if isinstance(one, kind)]
        return found + [one for one in rehearsed if all(getattr(one, name) == value for name, value in equals.items())]

    def advance(self, serial: int) -> None:
        """Nothing is committed."""

    def put(self, *records: Record) -> None:
        self._changes.update({_place(one): one for one in records})

    def delete(self, *records: Record) -> None:
        self._changes.update({_place(one): None for one in records})


def _place(record: Record) -> Key:
    within = type(record).within
    return record.table, str(getattr(record, within)) if within else "", record.key
