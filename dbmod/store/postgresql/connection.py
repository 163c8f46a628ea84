"""The one door to the server: how it is reached, and what its errors mean to a user."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import errors as sql

from dbmod import errors
from dbmod.config import Settings
from dbmod.store.postgresql import address

Connection = psycopg.Connection[tuple[Any, ...]]
FULL = ("too many clients", "too many connections", "remaining connection slots")
AWAY = (
    "refused",
    "reset by",
    "starting up",
    "shutting down",
    "in recovery mode",
    "not yet accepting",
    "no such file",
    "closed the",
    "terminating",
)
AWAY_SECONDS = 5  # a restart takes less; a server that is away longer is said to be away
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 1.0
UNCHANGED = "nothing of this change was written"
AWAY_STEP = "see that PostgreSQL runs and is reached from here, then repeat the command"
TEAM = "docs/ledger-for-a-team.md says how the database is made"


def connect(settings: Settings, *, wait_seconds: float) -> Connection:
    """Open a connection.

    wait_seconds  for a server that is just away; for a free place on one that is full: at least lock_wait_seconds
    Raises        LedgerError
    """
    given = address.parameters(settings)
    begun = time.monotonic()
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            # No prepared statements: behind a pooler the next transaction may be on another connection.
            return psycopg.connect(**given, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
        except psycopg.Error as error:
            said = str(error).lower()
            patience = wait_seconds if any(word in said for word in AWAY) else 0
            if any(word in said for word in FULL):
                patience = max(wait_seconds, settings.lock_wait_seconds)
            if time.monotonic() - begun + pause > patience:
                raise _unreachable(error, given) from None  # its text alone: what libpq was given is not for a trace
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


@contextlib.contextmanager
def asked(*, state: str = "") -> Iterator[None]:
    """Turn what PostgreSQL says into an error of dbmod.

    state  what is known of a change that was under way; empty for a question
    """
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, state=state) from error


def translated(error: psycopg.Error, *, state: str) -> errors.LedgerError:
    """Say what an error of the server means."""
    kind = errors.LedgerUnwritable if state else errors.LedgerError
    details = {"state": state} if state else {}
    said = error.diag.message_primary or type(error).__name__
    if isinstance(error, sql.InsufficientPrivilege):
        return kind(f"the ledger's database refuses: {said}", details=details, next_step=TEAM)
    if isinstance(error, sql.ReadOnlySqlTransaction):
        what = "the ledger's database takes no changes: it is a standby, or set to read only"
        return errors.LedgerUnwritable(what, details=details, next_step="name the primary server in DBMOD_LEDGER")
    if isinstance(error, sql.DiskFull | sql.OutOfMemory | sql.InsufficientResources):
        what = f"the ledger's database has no room: {said}"
        return errors.LedgerUnwritable(what, details=details, next_step="make room there, then repeat the command")
    if is_lost(error):
        return kind("the connection to the ledger was lost", details=details, next_step=AWAY_STEP)
    code = f"{said} ({error.sqlstate})" if error.sqlstate else said
    return kind(f"the ledger's database refuses: {code}", details=details, next_step="see the log of PostgreSQL")


def is_lost(error: psycopg.Error) -> bool:
    """Tell whether the connection is gone, whatever the server may have done."""
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not isinstance(
        error, sql.LockNotAvailable | sql.QueryCanceled
    )


def _unreachable(error: psycopg.Error, given: dict[str, str]) -> errors.LedgerError:
    said = " ".join(str(error).split())
    password = given.get("password")
    if password:
        said = said.replace(password, "********")
    return errors.LedgerError(
        f"the ledger cannot be reached: {said}",
        details={"ledger": address.shown(given)},
        next_step="see that PostgreSQL runs and lets you in; DBMOD_LEDGER and the variables PG* say where it is",
    )
