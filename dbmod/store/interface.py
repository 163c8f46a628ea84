"""What a ledger's store offers, whatever keeps it. Domain code sees this and nothing else."""

from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

import msgspec

from dbmod.records import Record

R = TypeVar("R", bound=Record)


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One contents that a store keeps."""

    owner: str
    number: int
    key_id: str  # of the key that encrypted it


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """What a rotation of the key did."""

    key_id: str  # of the key that encrypts now
    files: int  # encrypted anew
    was_interrupted: bool  # it went on with one that had not ended


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    where: str  # HEAD, a shard's name, or "contents <number> of <owner>"
    what: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found, and what a repair did."""

    serial: int
    shards: int  # of PostgreSQL: tables
    records: int
    contents: int  # versions of modules whose contents were decrypted and compared
    problems: tuple[Problem, ...]
    done: tuple[str, ...] = ()  # of a repair, a sentence each

    @property
    def is_sound(self) -> bool:
        return not self.problems


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

    @property
    def place(self) -> str:
        """Name it for people; without a password."""

    def address(self) -> str:
        """Say what a process that this one starts is told as DBMOD_LEDGER: a secret; "" where the home says it all."""

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

    def stored_contents(self) -> list[Stored]:
        """List all contents that there are."""

    def rotate_key(self) -> Rotation:
        """Encrypt all contents anew: with a new key, or with the one that DBMOD_KEY or key_command now gives.

        Raises  LedgerError where the key of some contents is missing, before anything is changed; LedgerUnwritable
        """

    def check(self) -> Report:
        """Read and verify everything, change nothing; takes no lock.

        Raises  LedgerError only where nothing can be said: a newer format, a missing right to read
        """
