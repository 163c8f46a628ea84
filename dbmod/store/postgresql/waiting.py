"""Locks of the server's tables: taken with patience, and whoever waits too long is told who holds the ledger.

The holder says who it is in a comment before each of its statements, which PostgreSQL shows to others in
pg_stat_activity, to administrators too. A lock goes with its transaction, and that with its connection.
"""

import os
import re

import msgspec

from dbmod import clock
from dbmod.store.lock import Holder
from dbmod.store.postgresql.connection import Connection

LONGEST_MILLISECONDS = 2**31 - 1
NOTE = re.compile(r"/\* dbmod (\{.*?\}) \*/ ")
UNSAFE = re.compile(r"[^\w .:@-]")  # nothing that ends a comment, or that psycopg takes for a parameter
HOLDER = """
    SELECT query FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'relation' AND relation = to_regclass('dbmod.writing') AND granted AND mode = 'ExclusiveLock'
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# A server that answers before its disk has it would let an acknowledged change be lost.
SET_UP = """
    SELECT set_config('lock_timeout', %s, true),
    CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END
"""


def note(what: str) -> str:
    """Give the comment that says who this is, and since when.

    what  a run's id or a command's name
    """
    this = Holder(what=UNSAFE.sub("?", what), host=os.uname().nodename, pid=os.getpid(), since=clock.now())
    return f"/* dbmod {msgspec.json.encode(this).decode()} */ "


def take_lock(connection: Connection, table: str, mode: str, *, note: str, wait_seconds: float) -> None:
    """Take the lock of a table of the schema dbmod in the open transaction, first come, first served.

    Raises  sql.LockNotAvailable when the time is over
    """
    milliseconds = min(int(wait_seconds * 1000), LONGEST_MILLISECONDS)
    connection.execute(SET_UP, (f"{max(1, milliseconds)}ms",))
    suffix = "" if milliseconds > 0 else " NOWAIT"
    connection.execute(f"{note}LOCK TABLE dbmod.{table} IN {mode} MODE{suffix}")


def holder(connection: Connection) -> Holder | None:
    """Tell who holds the ledger now; None where nobody says so."""
    for (query,) in connection.execute(HOLDER):
        match = NOTE.match(query or "")
        if match:
            try:
                return msgspec.json.decode(match[1], type=Holder)
            except msgspec.MsgspecError:
                return None
    return None
