"""What a ledger's store offers, whatever keeps it. Domain code sees this and nothing else."""

from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from dbmod.records import Record

R = TypeVar("R", bound=Record)


class Tables(Protocol):
    """One whole state of the ledger. Inside a transaction it also takes changes, which it then shows itself."""

    @property
    def serial(self) -> int:
        """Number of the state: 0 when empty, one more with each commit; in a transaction that of the state before."""

    def get(self, kind: type[R], key: str, *, within: str = "") -> R | None:
        """Give one record by its key, or None.

        within  the shard's value where the kind is split (Row: the module's id, Attempt: the run's id)
        """

    def find(self, kind: type[R], **equals: object) -> list[R]:
        """Give the records whose fields equal these, in no order; naming the `within` field reads one shard only."""

    def advance(self, serial: int) -> None:
        """Give the commit at least this number: hosts have seen it, and refuse what is older. Changes nothing alone."""

    def put(self, *records: Record) -> None:
        """Write records, each replacing the one with its key."""

    def delete(self, *records: Record) -> None:
        """Remove records; one that is not there is no error."""


class Store(Protocol):
    """Where the ledger is."""

    def snapshot(self) -> Tables:
        """Give the last committed state; takes no lock and never sees half a commit."""

    def transaction(self, *, holder: str, wait_seconds: float | None = None) -> AbstractContextManager[Tables]:
        """Hold the ledger alone; one durable commit on leaving, nothing written if the block raises.

        holder        shown to whoever has to wait: a run's id or a command's name
        wait_seconds  None: the configured lock_wait_seconds
        Raises        LedgerBusy, LedgerDamaged, LedgerUnwritable
        """

    def write_contents(self, owner: str, number: int, contents: bytes) -> None:
        """Keep contents encrypted, durable on return. Written before the row that names them; a second write replaces.

        owner   a module's id, or a run's id for what a run needs in secret (number 0)
        """

    def read_contents(self, owner: str, number: int) -> bytes:
        """Decrypt contents. Raises LedgerDamaged, or NotFound where there are none."""

    def delete_contents(self, owner: str, number: int | None = None) -> None:
        """Remove one contents, or all of an owner; none is no error."""
