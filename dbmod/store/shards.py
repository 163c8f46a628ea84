"""A shard: one TinyDB file. Its documents are the records as they are in JSON, each under its key."""

import functools
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec
from tinydb import TinyDB
from tinydb.storages import Storage
from tinydb.table import Document, Table

from dbmod import errors
from dbmod.records import Record
from dbmod.store import durable, kinds, migrations
from dbmod.store import head as heads
from dbmod.store.head import Head, Ledger

R = TypeVar("R", bound=Record)
Documents = dict[str, Any]  # key → the document: JSON text as msgspec.Raw until somebody reads it
ENCODER = msgspec.json.Encoder()
FILE = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])


@functools.cache
def _decoder(kind: type[R]) -> "msgspec.json.Decoder[R]":
    return msgspec.json.Decoder(kind)


class Shard:
    """The documents of one shard of one generation. They never change; each is decoded when it is first asked for."""

    def __init__(self, name: str, documents: Documents) -> None:
        self.name = name
        self.documents = documents
        self._all: dict[str, Record] | None = None

    def get(self, kind: type[R], key: str) -> R | None:
        if self._all is not None:
            return cast("R | None", self._all.get(key))
        document = self.documents.get(key)
        return None if document is None else self._decode(_decoder(kind), key, document)

    def all(self, kind: type[R]) -> dict[str, R]:
        """Give all records by their key. The dictionary is shared: callers do not change it."""
        if self._all is None:
            decoder = _decoder(kind)
            with kinds.collector_paused(len(self.documents)):
                self._all = {key: self._decode(decoder, key, item) for key, item in self.documents.items()}
        return cast("dict[str, R]", self._all)

    def beginning(self, kind: type[R], word: str) -> dict[str, R]:
        """Give the records whose key begins with a word, by their key. Only these are decoded."""
        decoder, start = _decoder(kind), f"{word} "
        return {key: self._decode(decoder, key, item) for key, item in self.documents.items() if key.startswith(start)}

    def _decode(self, decoder: "msgspec.json.Decoder[R]", key: str, document: msgspec.Raw) -> R:
        try:
            return decoder.decode(document)
        except msgspec.MsgspecError as error:
            raise errors.LedgerDamaged(
                f"the record {key} of the shard {self.name} of the ledger cannot be understood: {error}",
                details={"shard": self.name, "record": key},
                next_step=heads.REPAIR,
            ) from error


class ShardStorage(Storage):
    """What TinyDB reads and writes: a shard as it is, and the bytes of the next one, which the commit takes."""

    def __init__(self, table: str, shard: Shard) -> None:
        self._tables: dict[str, Documents] = {table: shard.documents}

    def read(self) -> dict[str, Documents]:
        return dict(self._tables)

    def write(self, data: dict[str, Documents]) -> None:
        self._tables = data

    def encoded(self) -> bytes:
        return ENCODER.encode(self._tables)


class ShardTable(Table):
    """A table whose document ids are the records' own keys."""

    document_id_class = str  # type: ignore[assignment]  # TinyDB supports it; its annotation says int


class ShardDatabase(TinyDB):
    table_class = ShardTable


def read(ledger: Ledger, head: Head, name: str) -> Shard:
    """Read a shard of a generation and verify it; one of an older format comes in the present one.

    Raises  LedgerDamaged naming the shard; LedgerError where writers let go of it while this reader waited too long
    """
    stamp = head.shards[name]
    path = ledger.shard(name, stamp)
    try:
        data = durable.read_file(path)
    except FileNotFoundError:
        raise _missing(ledger, name, stamp) from None
    except OSError as error:
        raise durable.unreadable(error, path) from error
    if not heads.is_whole(stamp, data):
        raise errors.LedgerDamaged(
            f"the shard {name} of the ledger is damaged: its bytes are not what was written",
            details={"shard": name, "file": str(path)},
            next_step=heads.REPAIR,
        )
    shard = decode(name, data)
    if head.format == heads.FORMAT:
        return shard
    table = table_of(name)
    return Shard(name, migrations.migrated(table, shard.documents, found=head.format, wanted=heads.FORMAT))


def table_of(name: str) -> str:
    """Give the table of a shard: what is before the hyphen."""
    return name.partition("-")[0]


def decode(name: str, data: bytes) -> Shard:
    """Take the bytes of a file apart into documents, which stay JSON text."""
    try:
        with kinds.collector_paused(kinds.MANY):
            tables = FILE.decode(data)
    except msgspec.MsgspecError as error:
        raise errors.LedgerDamaged(
            f"the shard {name} of the ledger cannot be understood: {error}",
            details={"shard": name},
            next_step=heads.REPAIR,
        ) from error
    return Shard(name, {key: document for documents in tables.values() for key, document in documents.items()})


def change(shard: Shard, table: str, changes: Mapping[str, Record | None]) -> bytes | None:
    """Make the bytes of the next generation of a shard, in one pass however many records change.

    changes  key → the record to put, or None to delete
    Returns  None where no record is left
    """
    database = ShardDatabase(table, shard, storage=ShardStorage)
    documents = database.table(table, cache_size=0)
    put = [_document(key, record) for key, record in changes.items() if record is not None]
    with kinds.collector_paused(len(shard.documents)):
        documents.remove(doc_ids=cast("list[int]", [key for key in changes if key in shard.documents]))
        documents.insert_multiple(put)
        return cast("ShardStorage", database.storage).encoded() if len(documents) else None


def _document(key: str, record: Record) -> Document:
    return Document(msgspec.to_builtins(record), cast("int", key))


def _missing(ledger: Ledger, name: str, stamp: str) -> errors.LedgerError:
    if heads.read(ledger).shards.get(name) == stamp:
        return errors.LedgerDamaged(
            f"the shard {name} of the ledger is missing",
            details={"shard": name, "file": str(ledger.shard(name, stamp))},
            next_step=heads.REPAIR,
        )
    return errors.LedgerError(
        f"the ledger has moved on while it was read: the shard {name} of the state that was read is gone",
        details={"shard": name, "state": "undamaged"},
        next_step="repeat the command",
    )
