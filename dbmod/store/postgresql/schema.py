"""The tables: one for each kind of record, made on first use.

A record is one JSON document, as in files. Whatever is searched for is a column that PostgreSQL derives from it:
nothing is kept in two shapes that could disagree. `commits` holds the last commits; the newest is the present state.

    format   head.FORMAT. Raised also when a column is added here: the next commit then makes every table anew
    writing  an empty table; whoever writes holds its lock
"""

from collections.abc import Iterable

import msgspec
import psycopg
from psycopg import errors as sql

from dbmod import errors
from dbmod.records import Record
from dbmod.store import head as heads
from dbmod.store.kinds import KINDS
from dbmod.store.postgresql.connection import Connection

# What find() is called with. A field that old documents may lack must not be here: PostgreSQL knows no defaults.
COLUMNS: dict[str, tuple[str, ...]] = {
    "modules": ("name", "deleted_at"),
    "instances": ("name", "datastore", "provider", "status", "region", "cluster_id", "deleted_at"),
    "clusters": ("name", "provider", "deleted_at"),
    "rows": ("instance_id", "removed_at"),
    "attempts": ("instance_id", "module_id", "state", "batch"),
    "runs": ("state",),
}
INDEXED: dict[str, tuple[str, ...]] = {
    "modules": ("name",),
    "instances": ("name", "cluster_id"),
    "rows": ("instance_id",),
    "attempts": ("instance_id", "module_id"),
}
NUMBERS = ("batch",)
KEYS = {
    "rows": "document->>'instance_id'",
    "attempts": "(document->>'instance_id') || ' ' || (document->>'module_id')",
}
KEY_OF_CONTENTS = "encode(substring(data FROM 18 FOR 8), 'hex')"  # behind vault.MAGIC
COMMITS_KEPT = 1000
CREATION = 7_164_218  # the advisory lock under which tables are made: any number, always this one
GENERAL = (
    "CREATE SCHEMA IF NOT EXISTS dbmod",
    "CREATE TABLE IF NOT EXISTS dbmod.writing ()",
    """CREATE TABLE IF NOT EXISTS dbmod.commits (serial bigint PRIMARY KEY, format integer NOT NULL, token text UNIQUE,
        holder text NOT NULL, at timestamptz NOT NULL DEFAULT now())""",
    f"""CREATE TABLE IF NOT EXISTS dbmod.contents (owner text, number integer, data bytea NOT NULL,
        key_id text NOT NULL GENERATED ALWAYS AS ({KEY_OF_CONTENTS}) STORED, PRIMARY KEY (owner, number))""",
    "ALTER TABLE dbmod.contents ALTER COLUMN data SET STORAGE EXTERNAL",  # encrypted bytes cannot be compressed
    "CREATE INDEX IF NOT EXISTS contents_key_id ON dbmod.contents (key_id)",
)


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger is now; `tables` tells which kinds of records have theirs."""

    serial: int
    format: int
    tables: frozenset[str]


EMPTY = State(serial=0, format=heads.FORMAT, tables=frozenset())


def read(connection: Connection, *, note: str = "") -> State:
    """Read the state in the transaction that is open.

    note    a comment, which others see as long as nothing else is asked
    Raises  sql.UndefinedTable where nothing was made yet; LedgerError for a format newer than this dbmod knows
    """
    found = connection.execute(
        f"{note}SELECT serial, format, ARRAY(SELECT relname::text FROM pg_class WHERE relkind = 'r' "
        "AND relnamespace = 'dbmod'::regnamespace) FROM dbmod.commits ORDER BY serial DESC LIMIT 1"
    ).fetchone()
    if found is None:
        raise errors.LedgerDamaged(
            "the ledger's table dbmod.commits is empty", next_step="restore a backup: pg_restore"
        )
    serial, number, tables = found
    if number > heads.FORMAT:
        raise heads.too_new(number)
    return State(serial=serial, format=number, tables=frozenset(tables))


def make(connection: Connection) -> None:
    """Make all tables where they are not there. Several may try at once: the first makes them."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (CREATION,))
        if is_made(connection):
            return
        encoding = connection.execute("SHOW server_encoding").fetchone()
        if encoding != ("UTF8",):
            raise errors.LedgerError(
                "the ledger's database is not in UTF-8",
                next_step="make another: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            )
        for statement in GENERAL:
            connection.execute(statement)
        for table in KINDS:
            make_table(connection, table)
        connection.execute("INSERT INTO dbmod.commits (serial, format, holder) VALUES (0, %s, '')", (heads.FORMAT,))


def is_made(connection: Connection) -> bool:
    """Tell whether the tables are there. (to_regclass may answer from before the lock was waited for.)"""
    query = """SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname = 'dbmod' AND relname = 'commits'"""
    return connection.execute(query).fetchone() == (1,)


def make_table(connection: Connection, table: str) -> None:
    """Make the table of a kind. Every column but the document is PostgreSQL's own work."""
    within = KINDS[table].within
    split = (within,) if within else ()
    columns = [f"key text NOT NULL GENERATED ALWAYS AS ({KEYS.get(table, _text('id'))}) STORED"]
    columns += [f"{name} {_derived(name)}" for name in dict.fromkeys((*split, *COLUMNS.get(table, ())))]
    primary = ", ".join((*split, "key"))
    statement = f"CREATE TABLE dbmod.{table} (document json NOT NULL, {', '.join(columns)}, PRIMARY KEY ({primary}))"
    connection.execute(statement)
    for name in INDEXED.get(table, ()):
        connection.execute(f"CREATE INDEX {table}_{name} ON dbmod.{table} ({name})")


def make_anew(connection: Connection, tables: Iterable[str]) -> None:
    """Empty tables of an older format; one that had other columns is replaced, which waits until nobody reads it."""
    for table in tables:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        names = {name for (name,) in connection.execute(query, (f"dbmod.{table}",))}
        if names == {"document", "key", *columns_of(KINDS[table])}:
            connection.execute(f"DELETE FROM dbmod.{table}")
        else:
            connection.execute(f"DROP TABLE IF EXISTS dbmod.{table}")
            make_table(connection, table)


def columns_of(kind: type[Record]) -> frozenset[str]:
    """Name the fields of a kind that PostgreSQL can search for."""
    return frozenset(COLUMNS.get(kind.table, ())) | ({kind.within} if kind.within else set())


def primary_key(kind: type[Record]) -> str:
    return f"{kind.within}, key" if kind.within else "key"


def is_missing(error: psycopg.Error) -> bool:
    """Tell whether an error says that nothing was made yet."""
    return isinstance(error, sql.UndefinedTable | sql.InvalidSchemaName)


def _derived(name: str) -> str:
    if name in NUMBERS:
        return f"integer GENERATED ALWAYS AS (({_text(name)})::integer) STORED"
    return f"text GENERATED ALWAYS AS ({_text(name)}) STORED"


def _text(name: str) -> str:
    return f"document->>'{name}'"
