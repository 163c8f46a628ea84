"""The ledger: the only folder that opens it. `open` gives a store; interface.py says what it offers."""

from dbmod.config import Settings
from dbmod.store.interface import Store


def open(settings: Settings) -> Store:  # noqa: A001  (reads as store.open)
    """Give the ledger of the configured state directory; nothing is read or made before it is asked for something."""
    from dbmod.store.files import FileStore

    return FileStore(settings)
