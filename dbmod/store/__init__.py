"""The ledger: the only folder that opens it. `open` gives a store; interface.py says what it offers."""

from dbmod import errors
from dbmod.config import Settings
from dbmod.store.interface import Store


def open(settings: Settings) -> Store:  # noqa: A001  (reads as store.open)
    """Give the configured ledger; nothing is read or made before it is asked for something.

    Raises  Refused where it is in PostgreSQL and the library for that is not installed
    """
    if not settings.ledger:
        from dbmod.store.files import FileStore

        return FileStore(settings)
    try:
        from dbmod.store.postgresql.store import PostgresStore
    except ImportError as error:
        raise errors.Refused(
            "a ledger in PostgreSQL needs the Python library psycopg, which is not here",
            next_step="pip install 'dbmod[postgres]'",
        ) from error
    return PostgresStore(settings)
