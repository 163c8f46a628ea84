"""The ledger in PostgreSQL: snapshots are read-only transactions of the server, writers follow one another."""

import contextlib
import os
import secrets
import weakref
from collections.abc import Iterator

import psycopg
from psycopg import errors as sql

from dbmod import errors
from dbmod.config import Settings
from dbmod.store import head as heads
from dbmod.store import lock
from dbmod.store.interface import Report, Rotation, Stored
from dbmod.store.postgresql import address, schema, waiting
from dbmod.store.postgresql import connection as door
from dbmod.store.postgresql.connection import Connection
from dbmod.store.postgresql.tables import PostgresTables

SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
UNKNOWN = "whether the change was written is not known: the connection was lost while it was"
LOOK_STEP = (
    "when PostgreSQL is back, look before you repeat it: dbmod run-list, dbmod history; dbmod reconcile compares"
)


class PostgresStore:
    """The ledger of one database. At most one connection stays open while nobody uses it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._idle: list[tuple[int, Connection]] = []  # with the id of their process: a fork must not use them
        weakref.finalize(self, _close_all, self._idle)

    @property
    def place(self) -> str:
        return address.shown(address.parameters(self.settings))

    def address(self) -> str:
        """Give it with all that variables, files and libpq itself add to it."""
        with self._connected() as connection:
            return address.resolved(address.in_use(connection))

    def snapshot(self) -> PostgresTables:
        connection = self._take(wait_seconds=door.AWAY_SECONDS)
        try:
            with door.asked():
                connection.execute(SNAPSHOT)
                state = schema.read(connection)
        except errors.LedgerError as error:
            self._give_back(os.getpid(), connection)
            if isinstance(error.__cause__, psycopg.Error) and schema.is_missing(error.__cause__):
                return PostgresTables(None, schema.EMPTY)
            raise
        tables = PostgresTables(connection, state)
        weakref.finalize(tables, self._give_back, os.getpid(), connection).atexit = False
        return tables

    @contextlib.contextmanager
    def transaction(self, *, holder: str, wait_seconds: float | None = None) -> Iterator[PostgresTables]:
        wait = self.settings.lock_wait_seconds if wait_seconds is None else wait_seconds
        connection = self._take(wait_seconds=wait)
        try:
            state, note = self._begin(connection, holder, wait)
            tables = PostgresTables(connection, state, note=note, writable=True)
            try:
                yield tables
            finally:
                tables.close()
            with door.asked(state=door.UNCHANGED):
                token = self._write(connection, tables, holder)
            if token:
                self._commit(connection, token, wait)
        finally:
            self._give_back(os.getpid(), connection)

    def write_contents(self, owner: str, number: int, contents: bytes) -> None:
        from dbmod.store.postgresql import contents as kept  # with the cryptography library

        with self._connected() as connection:
            kept.write(connection, self.settings, owner, number, contents)

    def read_contents(self, owner: str, number: int) -> bytes:
        from dbmod.store.postgresql import contents as kept

        with self._connected() as connection:
            return kept.read(connection, self.settings, owner, number)

    def delete_contents(self, owner: str, number: int | None = None) -> None:
        from dbmod.store.postgresql import contents as kept

        with self._connected() as connection:
            kept.delete(connection, self.settings, owner, number)

    def stored_contents(self) -> list[Stored]:
        from dbmod.store.postgresql import contents as kept

        with self._connected() as connection:
            return kept.stored(connection)

    def rotate_key(self) -> Rotation:
        from dbmod.store.postgresql import contents as kept

        with self._connected() as connection:
            return kept.rotate(connection, self.settings)

    def check(self) -> Report:
        from dbmod.store.postgresql import check

        return check.check(self)

    def _begin(self, connection: Connection, holder: str, wait: float) -> tuple[schema.State, str]:
        """Hold the ledger in a transaction that sees what was committed last. Returns  it, and the holder's note."""
        with door.asked(state=door.UNCHANGED):
            if not schema.is_made(connection):
                schema.make(connection)
            connection.execute("BEGIN")
            try:
                waiting.take_lock(connection, "writing", "EXCLUSIVE", note=waiting.note(holder), wait_seconds=wait)
            except sql.LockNotAvailable:
                connection.execute("ROLLBACK")
                raise lock.busy(waiting.holder(connection), wait) from None
            note = waiting.note(holder)  # anew: it tells since when
            return schema.read(connection, note=note), note

    def _write(self, connection: Connection, tables: PostgresTables, holder: str) -> str:
        """Write the changes into the open transaction. Returns  the commit's token, "" where there are none."""
        if not tables.write(connection):
            return ""
        token = secrets.token_hex(16)
        connection.execute(
            tables.statement("INSERT INTO dbmod.commits (serial, format, token, holder) VALUES (%s, %s, %s, %s)"),
            (tables.least_serial, heads.FORMAT, token, waiting.UNSAFE.sub("?", holder)),
        )
        oldest = tables.least_serial - schema.COMMITS_KEPT
        connection.execute(tables.statement("DELETE FROM dbmod.commits WHERE serial < %s"), (oldest,))
        return token

    def _commit(self, connection: Connection, token: str, wait: float) -> None:
        """Commit. Where the connection is lost in it, ask on another one what became of it.

        Raises  LedgerUnwritable, saying whether the change is there
        """
        try:
            with door.asked(state=door.UNCHANGED):
                connection.execute("COMMIT")
        except errors.LedgerError as error:
            if not isinstance(error.__cause__, psycopg.Error) or not door.is_lost(error.__cause__):
                raise
            if not self._is_committed(token, wait):
                raise

    def _is_committed(self, token: str, wait: float) -> bool:
        """Tell whether a commit that was not answered was done. The lock comes first: its server may still be at it."""
        try:
            with self._connected(wait_seconds=wait) as connection, door.asked(), connection.transaction():
                waiting.take_lock(
                    connection,
                    "writing",
                    "EXCLUSIVE",
                    note=waiting.note("a commit without an answer"),
                    wait_seconds=wait,
                )
                query = "SELECT count(*) FROM dbmod.commits WHERE token = %s"
                return connection.execute(query, (token,)).fetchone() == (1,)
        except errors.LedgerError as error:
            raise errors.LedgerUnwritable(
                "the connection to the ledger was lost", details={"state": UNKNOWN}, next_step=LOOK_STEP
            ) from error

    @contextlib.contextmanager
    def _connected(self, *, wait_seconds: float = door.AWAY_SECONDS) -> Iterator[Connection]:
        """Lend a connection on which no transaction is open."""
        connection = self._take(wait_seconds=wait_seconds)
        try:
            yield connection
        finally:
            self._give_back(os.getpid(), connection)

    def _take(self, *, wait_seconds: float) -> Connection:
        """Give a connection: the idle one if it still answers, else a new one."""
        with contextlib.suppress(IndexError, psycopg.Error):
            process, connection = self._idle.pop()
            if process == os.getpid():
                connection.execute("SELECT 1")
                return connection
        return door.connect(self.settings, wait_seconds=wait_seconds)

    def _give_back(self, process: int, connection: Connection) -> None:
        """Keep one connection for the next use, and close the others; those of another process are that one's."""
        if process != os.getpid() or connection.closed:
            return
        with contextlib.suppress(psycopg.Error):
            connection.rollback()
            if not self._idle:
                self._idle.append((process, connection))
                return
        connection.close()


def _close_all(idle: list[tuple[int, Connection]]) -> None:
    for process, connection in idle:
        if process == os.getpid():
            connection.close()
