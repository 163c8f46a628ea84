"""One state of the ledger in PostgreSQL: what is read comes from one transaction of the server, which stays open."""

import re
from collections.abc import Iterable
from typing import Any, TypeVar, cast

import msgspec

from dbmod import errors
from dbmod.records import Record
from dbmod.store import head as heads
from dbmod.store import kinds, migrations
from dbmod.store.postgresql import connection as door
from dbmod.store.postgresql import schema
from dbmod.store.postgresql.connection import Connection
from dbmod.store.postgresql.schema import State

R = TypeVar("R", bound=Record)
Place = tuple[str, str]  # the shard, as in files, and the record's key
Searchable = str | int | None
SINGLE_READS = 16  # from which on reading all of a shard is cheaper than one record after the other
ESCAPE = re.compile(r"\\(u0000|ufdd0|.)")
NUL, NUL_STANDS_AS = r"\u0000", r"\ufdd0"  # msgspec writes U+FDD0 itself as it is, so this escape is free
DAMAGED = "restore a backup of the database, or delete that row there: dbmod reconcile compares the rest with the hosts"


class PostgresTables:
    """One state; in a transaction with the changes made so far, which are written when it ends.

    connection  None where nothing was made yet
    note        a comment that stands before each statement, so that others see who it is
    """

    def __init__(self, connection: Connection | None, state: State, *, note: str = "", writable: bool = False) -> None:
        self.state = state
        self.least_serial = state.serial + 1
        self._connection = connection
        self._note = note
        self._writable = writable
        self._changes: dict[type[Record], dict[Place, Record | None]] = {}
        self._whole: dict[str, dict[str, Record]] = {}  # shard → all of it, once it was read
        self._single: dict[str, int] = {}  # shard → how often one record was asked for

    @property
    def serial(self) -> int:
        return self.state.serial

    def get(self, kind: type[R], key: str, *, within: str = "") -> R | None:
        shard = kinds.shard_name(kind, within)
        changes = self._changes.get(kind, {})
        if (shard, key) in changes:
            return cast("R | None", changes[shard, key])
        if not _is_storable(key):
            return None
        self._single[shard] = self._single.get(shard, 0) + 1
        if self._single[shard] > SINGLE_READS:
            self._committed(kind, {kind.within: within} if kind.within else {})  # which keeps it
        if shard in self._whole:
            return cast("R | None", self._whole[shard].get(key))
        where: dict[str, Searchable] = {"key": key}
        if kind.within:
            where[kind.within] = within
        return next((one for one in self._read(kind, where) if _place(one) == (shard, key)), None)

    def find(self, kind: type[R], **equals: object) -> list[R]:
        kinds.check_fields(kind, equals)
        if kind.within in equals:
            kinds.shard_name(kind, str(equals[kind.within]))
        records: Iterable[R] = self._committed(kind, equals)
        changes = cast("dict[Place, R | None]", self._changes.get(kind, {}))
        if changes:
            kept = (one for one in records if _place(one) not in changes)
            records = [*kept, *(one for one in changes.values() if one is not None)]
        wanted = list(equals.items())
        return [one for one in records if all(getattr(one, name) == value for name, value in wanted)]

    def advance(self, serial: int) -> None:
        self.least_serial = max(self.least_serial, serial)

    def put(self, *records: Record) -> None:
        self._change(records, delete=False)

    def delete(self, *records: Record) -> None:
        self._change(records, delete=True)

    def close(self) -> None:
        self._writable = False

    def understood(self, kind: type[Record]) -> tuple[list[Record], list[str]]:
        """Decode every record of a kind on its own. Returns  those that can be, and what is wrong with the others."""
        found: list[Record] = []
        bad: list[str] = []
        for key, text in self._documents(kind, {}):
            try:
                record = _decoded(kind, key, text)
            except errors.LedgerDamaged as error:
                bad.append(error.what)
                continue
            if record.key == key:
                found.append(record)
            else:
                bad.append(f"the record {key} says that it is {record.key}")
        return found, bad

    def write(self, connection: Connection) -> bool:
        """Write the changes into the open transaction. False where there are none."""
        if self.state.format < heads.FORMAT:
            return self._write_anew(connection)
        is_changed = False
        for kind, changes in self._changes.items():
            documents = [encoded(one) for one in changes.values() if one is not None]
            gone = [place for place, one in changes.items() if one is None]
            if documents and kind.table not in self.state.tables:
                schema.make_table(connection, kind.table)  # a kind that came after this ledger was made
            is_changed = bool(self._delete(connection, kind, gone)) or bool(documents) or is_changed
            self._insert(connection, kind, documents)
        return is_changed

    def statement(self, text: str) -> str:
        """Put the note before a statement."""
        return self._note + text

    def _write_anew(self, connection: Connection) -> bool:
        """Bring a ledger of an older format to the present one: all of its records, with the changes."""
        everything: dict[type[Record], dict[Place, Record]] = {}
        is_changed = False
        for kind in kinds.KINDS.values():
            records = {_place(one): one for one in self._read(kind, {})}
            for place, one in self._changes.get(kind, {}).items():
                is_changed = is_changed or one is not None or place in records
                if one is None:
                    records.pop(place, None)
                else:
                    records[place] = one
            everything[kind] = records
        if is_changed:
            schema.make_anew(connection, [kind.table for kind in everything])
            for kind, records in everything.items():
                self._insert(connection, kind, [encoded(one) for one in records.values()])
        return is_changed

    def _change(self, records: tuple[Record, ...], *, delete: bool) -> None:
        if not self._writable:
            kinds.refuse_changes()
        for record in records:
            self._changes.setdefault(type(record), {})[_place(record)] = None if delete else record

    def _committed(self, kind: type[R], equals: dict[str, object]) -> Iterable[R]:
        """Give at least the records that equal these, without the changes; all of a shard is read once at most."""
        table, within = kind.table, equals.get(kind.within) if kind.within else None
        for known in (table, f"{table}-{within}"):
            if known in self._whole:
                return cast("Iterable[R]", self._whole[known].values())
        columns = schema.columns_of(kind)
        where = {
            name: value
            for name, value in equals.items()
            if name in columns and (value is None or type(value) is int or (type(value) is str and _is_storable(value)))
        }
        records = self._read(kind, where)
        if where.keys() <= {kind.within}:
            shard = table if not where else f"{table}-{within}"
            if not kind.within or where:
                is_more = self.state.format < heads.FORMAT  # then all shards were read
                own = [one for one in records if _place(one)[0] == shard] if is_more else records
                self._whole[shard] = {one.key: one for one in own}
        return records

    def _read(self, kind: type[R], where: dict[str, Searchable]) -> list[R]:
        documents = self._documents(kind, where)
        decoder = msgspec.json.Decoder(kind)
        with kinds.collector_paused(len(documents)):
            return [_decoded(kind, key, text, decoder) for key, text in documents]

    def _documents(self, kind: type[Record], where: dict[str, Searchable]) -> list[tuple[str, str]]:
        """Read the documents of a kind whose columns equal these, with their keys.

        An older format may have other columns: then all of them, in the present format.
        """
        if self._connection is None or kind.table not in self.state.tables:
            return []
        is_old = self.state.format < heads.FORMAT
        terms = [f"{name} IS NULL" if value is None else f"{name} = %({name})s" for name, value in where.items()]
        condition = f" WHERE {' AND '.join(terms)}" if terms and not is_old else ""
        query = self.statement(f"SELECT key, document::text FROM dbmod.{kind.table}{condition}")
        with door.asked():
            found: list[tuple[Any, ...]] = self._connection.execute(query, where).fetchall()
        return _migrated(kind, found, self.state.format) if is_old else cast("list[tuple[str, str]]", found)

    def _insert(self, connection: Connection, kind: type[Record], documents: list[str]) -> None:
        if not documents:
            return
        connection.execute(
            self.statement(
                f"INSERT INTO dbmod.{kind.table} (document) SELECT unnest(%s::text[])::json "
                f"ON CONFLICT ({schema.primary_key(kind)}) DO UPDATE SET document = excluded.document"
            ),
            (documents,),
        )

    def _delete(self, connection: Connection, kind: type[Record], gone: list[Place]) -> int:
        """Returns how many were there."""
        if not gone or kind.table not in self.state.tables:
            return 0
        keys = [key for _, key in gone]
        if kind.within is None:
            query = self.statement(f"DELETE FROM dbmod.{kind.table} WHERE key = ANY(%s)")
            return connection.execute(query, (keys,)).rowcount
        query = self.statement(
            f"DELETE FROM dbmod.{kind.table} USING unnest(%s::text[], %s::text[]) AS gone (part, name) "
            f"WHERE {kind.within} = gone.part AND key = gone.name"
        )
        parts = [shard.partition("-")[2] for shard, _ in gone]
        return connection.execute(query, (parts, keys)).rowcount


def encoded(record: Record) -> str:
    """Write a record as JSON that PostgreSQL takes: it refuses U+0000, for which another escape stands."""
    text = msgspec.json.encode(record).decode()
    return _escaped(text, NUL, NUL_STANDS_AS) if NUL in text else text


def _decoded(kind: type[R], key: str, text: str, decoder: "msgspec.json.Decoder[R] | None" = None) -> R:
    try:
        whole = _escaped(text, NUL_STANDS_AS, NUL) if NUL_STANDS_AS in text else text
        return (decoder or msgspec.json.Decoder(kind)).decode(whole)
    except msgspec.MsgspecError as error:
        raise errors.LedgerDamaged(
            f"the record {key} of the table {kind.table} of the ledger cannot be understood: {error}",
            details={"table": kind.table, "record": key},
            next_step=DAMAGED,
        ) from error


def _migrated(kind: type[Record], found: list[tuple[Any, ...]], number: int) -> list[tuple[str, str]]:
    documents = {str(place): msgspec.Raw(text.encode()) for place, (_, text) in enumerate(found)}
    done = migrations.migrated(kind.table, documents, found=number, wanted=heads.FORMAT)
    return [(key, bytes(done[str(place)]).decode()) for place, (key, _) in enumerate(found)]


def _escaped(text: str, old: str, new: str) -> str:
    """Replace an escape of JSON; a backslash that is itself escaped begins none."""
    return ESCAPE.sub(lambda match: new if match[0] == old else match[0], text)


def _place(record: Record) -> Place:
    kind = type(record)
    return kinds.shard_name(kind, getattr(record, kind.within) if kind.within else ""), record.key


def _is_storable(text: str) -> bool:
    """Tell whether PostgreSQL could have it in a column: no U+0000, no half of a character."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
