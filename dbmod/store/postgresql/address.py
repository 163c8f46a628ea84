"""Where the database is: the setting `ledger`, read and checked here, and shown nowhere.

libpq reads it, and all that libpq knows counts: the variables PG*, service files, ~/.pgpass.
"""

import os
import re
import urllib.parse
from pathlib import Path

import psycopg
from psycopg import conninfo, pq

from dbmod import errors
from dbmod.config import LEDGER_SCHEMES, Settings
from dbmod.store import durable

PATHS = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")  # of files: a run works in another directory
CONNECT_TIMEOUT = "PGCONNECT_TIMEOUT"
# So that a server which is gone without a word is noticed after half a minute, not after two hours.
ALIVE = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "30000"}
DIGITS = re.compile(r"[0-9]*(,[0-9]*)*\Z")
ENCODE = "in it, %, @, /, ? and # are written %25, %40, %2F, %3F and %23; or leave it to PGPASSWORD or ~/.pgpass"


def is_one(text: str) -> bool:
    """Tell whether a text is the address of a database, and not a path."""
    return text.startswith(LEDGER_SCHEMES)


def parameters(settings: Settings) -> dict[str, str]:
    """Give what to connect with: the address, and what dbmod asks for where neither it nor a variable says it.

    Raises  BadInput for an address that is none, which is never repeated; LedgerError for a file that cannot be read
    """
    asked = dict(ALIVE)
    if not os.environ.get(CONNECT_TIMEOUT):
        asked["connect_timeout"] = str(settings.connect_timeout_seconds)
    return asked | parsed(_text(settings.ledger)) | {"client_encoding": "UTF8", "application_name": "dbmod"}


def parsed(text: str) -> dict[str, str]:
    """Take an address apart. Raises BadInput, which never repeats it: a password in the wrong place would show."""
    try:
        found = {key: str(value) for key, value in conninfo.conninfo_to_dict(text).items() if value is not None}
    except psycopg.Error:
        raise _no_address() from None
    places = (found.get("host", ""), found.get("dbname", ""), found.get("hostaddr", ""))
    if any("@" in place for place in places) or not DIGITS.match(found.get("port", "")):
        raise _no_address()
    return found


def resolved(parameters: dict[str, str]) -> str:
    """Write an address that needs no variable and no directory, for the runs that dbmod starts."""
    known = {
        key: os.path.abspath(value) if key in PATHS and os.path.exists(value) else value
        for key, value in parameters.items()
        if key != "service"  # what it says is among the others
    }
    return f"{LEDGER_SCHEMES[0]}?{urllib.parse.urlencode(known, quote_via=urllib.parse.quote)}"


def in_use(connection: "psycopg.Connection[tuple[object, ...]]") -> dict[str, str]:
    """Give all that a connection was made with, wherever libpq found it."""
    return {
        option.keyword.decode(): option.val.decode()
        for option in connection.pgconn.info
        if option.val is not None and option.val != option.compiled
    }


def shown(parameters: dict[str, str]) -> str:
    """Name a database for people: never its password."""
    known = {option.keyword.decode(): option.val for option in pq.Conninfo.get_defaults() if option.val is not None}
    host, port, user, database = (
        parameters.get(key) or (known[key].decode() if key in known else "")
        for key in ("host", "port", "user", "dbname")
    )
    return f"{LEDGER_SCHEMES[0]}{user}@{host or 'localhost'}:{port}/{database or user}"


def _text(setting: str) -> str:
    """Give the address; a setting that is a path names the file that holds it."""
    if is_one(setting):
        return setting
    path = Path(setting).expanduser().resolve()  # secrets of a cluster are mounted as links
    try:
        text = durable.read_file(path).decode(errors="replace").strip()
    except OSError as error:
        raise durable.unreadable(error, path) from error
    if not is_one(text):
        raise errors.BadInput(f"{path} holds no address of a ledger: postgresql://…", next_step="dbmod config")
    return text


def _no_address() -> errors.BadInput:
    return errors.BadInput(
        "the address of the ledger (DBMOD_LEDGER) cannot be understood; a password in it may be the reason",
        details={"form": "postgresql://user:password@host:port/database?sslmode=verify-full"},
        next_step=ENCODE,
    )
