"""Operations inside one transaction that is open already: what all of them do is committed together, or nothing."""

import contextlib
from collections.abc import Iterator

from dbmod.store.interface import Tables


class Joined:
    """A store for operations whose transactions are to be part of an open one."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def snapshot(self) -> Tables:
        return self._tables

    @contextlib.contextmanager
    def transaction(self, *, holder: str, wait_seconds: float | None = None) -> Iterator[Tables]:
        del holder, wait_seconds
        yield self._tables
