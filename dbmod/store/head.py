"""HEAD, the one small file that says which shards are the ledger now."""

import hashlib
import re
from pathlib import Path

import msgspec

from dbmod import errors
from dbmod.store import durable

FORMAT = 1
FIRST_LINE = re.compile(rb"dbmod-ledger ([1-9][0-9]{0,8}) ([0-9a-f]{64})\Z")
SHARD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,149}\Z")
SHARD_FILE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,149})\.(?P<stamp>[0-9]+-[0-9a-f]{64})\.json\Z")
REPAIR = "dbmod ledger-check says what is damaged, dbmod ledger-check --repair saves what can be saved"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of the ledger.

    serial    0 when empty, one more with each commit
    shards    shard → stamp: `<serial of the commit that wrote it>-<SHA-256 of its bytes>`
    previous  SHA-256 of the HEAD file before this one; "" for the first
    """

    serial: int
    shards: dict[str, str]
    previous: str
    format: int = FORMAT


EMPTY = Head(serial=0, shards={}, previous="")


class Ledger(msgspec.Struct, frozen=True):
    """Where the files of a ledger are."""

    directory: Path

    @property
    def head(self) -> Path:
        return self.directory / "HEAD"

    @property
    def previous(self) -> Path:
        return self.directory / "HEAD.previous"

    @property
    def leaving(self) -> Path:
        """HEAD while it is replaced: a second name that a failed commit goes back to."""
        return self.directory / "HEAD.leaving"

    @property
    def shards(self) -> Path:
        return self.directory / "shards"

    @property
    def lock(self) -> Path:
        return self.directory / "lock"

    @property
    def contents_lock(self) -> Path:
        return self.directory / "contents.lock"

    def shard(self, name: str, stamp: str) -> Path:
        return self.shards / file_name(name, stamp)


def file_name(shard: str, stamp: str) -> str:
    return f"{shard}.{stamp}.json"


def at(home: Path) -> Ledger:
    """Give the places of the ledger of a state directory."""
    return Ledger(home / "ledger")


def stamp(serial: int, data: bytes) -> str:
    return f"{serial}-{hashlib.sha256(data).hexdigest()}"


def serial(stamp: str) -> int:
    return int(stamp.partition("-")[0])


def is_whole(stamp: str, data: bytes) -> bool:
    """Tell whether *data* is what its stamp says."""
    return hashlib.sha256(data).hexdigest() == stamp.partition("-")[2]


def encode(head: Head) -> bytes:
    """Write HEAD: a line with format and checksum (of format and body), then JSON."""
    body = msgspec.json.encode(head) + b"\n"
    return b"dbmod-ledger %d %s\n" % (head.format, _checksum(head.format, body)) + body


def decode(data: bytes, *, path: Path) -> Head:
    """Read HEAD.

    Raises  LedgerDamaged; LedgerError for a format newer than this dbmod knows
    """
    line, _, body = data.partition(b"\n")
    match = FIRST_LINE.match(line)
    if not match or _checksum(int(match[1]), body) != match[2]:
        raise errors.LedgerDamaged(f"{path} is damaged: its checksum does not hold", next_step=REPAIR)
    if int(match[1]) > FORMAT:
        raise too_new(int(match[1]), path=str(path))
    try:
        return msgspec.json.decode(body, type=Head)
    except msgspec.MsgspecError as error:
        raise errors.LedgerDamaged(f"{path} is damaged: {error}", next_step=REPAIR) from error


def too_new(number: int, **where: str) -> errors.LedgerError:
    return errors.LedgerError(
        f"this ledger has the format {number}, and this dbmod knows formats up to {FORMAT}",
        details=where,
        next_step="use the newer dbmod that wrote it",
    )


def read(ledger: Ledger) -> Head:
    """Give the last committed generation.

    Raises  LedgerDamaged, also where HEAD is gone and something of the ledger is left; LedgerError
    """
    try:
        return decode(durable.read_file(ledger.head), path=ledger.head)
    except FileNotFoundError:
        if ledger.shards.exists() or ledger.previous.exists():
            raise errors.LedgerDamaged(f"{ledger.head} is missing", next_step=REPAIR) from None
        return EMPTY
    except OSError as error:
        raise durable.unreadable(error, ledger.head) from error


def read_previous(ledger: Ledger) -> Head:
    """Give the generation before the last, or an empty one where it cannot be had."""
    try:
        return decode(durable.read_file(ledger.previous), path=ledger.previous)
    except (OSError, errors.LedgerError):
        return EMPTY


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _checksum(number: int, body: bytes) -> bytes:
    return hashlib.sha256(b"dbmod-ledger %d\n" % number + body).hexdigest().encode()
