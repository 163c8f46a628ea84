"""The kernel lock of the ledger. It goes with the process that holds it: there is no stale lock to break."""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from dbmod import clock, errors
from dbmod.store import durable

MOUNTS = Path("/proc/self/mounts")
NETWORK = re.compile(
    r"9p|afs|beegfs|ceph|cifs|coda|gfs2|glusterfs|lustre|ncpfs|nfs4?|ocfs2|orangefs|smb3|smbfs"
    r"|fuse\.(ceph|cephfs|davfs|gcsfuse|glusterfs|juicefs|moosefs|rclone|s3fs|seaweedfs|sshfs)"
)
SHORTEST_SECONDS = 0.002
LONGEST_SECONDS = 0.025


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds the lock, as the others read it."""

    what: str  # a run's id or a command's name
    host: str
    pid: int
    since: datetime


@contextlib.contextmanager
def held(path: Path, *, what: str, wait_seconds: float) -> Iterator[None]:
    """Hold the lock file alone.

    what     shown to whoever has to wait
    Raises   LedgerBusy naming the holder; LedgerUnwritable where the file cannot be made
    """
    try:
        durable.make_directory(path.parent.parent)  # first: both are private
        durable.make_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise durable.unwritable(error, path, needed_bytes=0) from error
    try:
        if not _acquire(descriptor, wait_seconds):
            raise _busy(holder(path), wait_seconds)
        _say(descriptor, what)
        try:
            yield
        finally:
            _say(descriptor, "")
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # also where a forked child still has the descriptor
    finally:
        os.close(descriptor)


def holder(path: Path) -> Holder | None:
    """Tell who holds the lock, or held it when it was killed; None where nobody says so."""
    try:
        return msgspec.json.decode(durable.read_file(path), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def refuse_network_filesystem(directory: Path) -> None:
    """Refuse a ledger where flock may not work between machines.

    Raises  LedgerError naming the file system
    """
    try:
        mounts = MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return
    name = network_filesystem(Path(os.path.realpath(directory)), mounts)
    if name:
        raise errors.LedgerError(
            f"{directory} is on a network file system ({name}), where two machines may write the ledger at once",
            next_step="keep it on a local disk (DBMOD_HOME), or set network_filesystem_allowed if flock works there",
        )


def network_filesystem(directory: Path, mounts: str) -> str:
    """Name the network file system that holds a directory, "" for a local one.

    mounts  the text of /proc/self/mounts: device, directory (with \\040 for a space), type …; the last one wins
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        place = Path(_unescaped(fields[1]))
        if len(place.parts) >= best and directory.is_relative_to(place):
            best, kind = len(place.parts), fields[2]
    return kind if NETWORK.fullmatch(kind) else ""


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _acquire(descriptor: int, wait_seconds: float) -> bool:
    """Ask until the lock is ours or the time is over. Who has waited longer asks more often: nobody waits for ever."""
    begin = time.monotonic()
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        waited = time.monotonic() - begin
        if waited >= wait_seconds:
            return False
        jitter = 0.5 + os.urandom(1)[0] / 255
        pause = max(SHORTEST_SECONDS, LONGEST_SECONDS / (1 + 20 * waited)) * jitter
        time.sleep(min(pause, wait_seconds - waited))


def _say(descriptor: int, what: str) -> None:
    """Write who holds the lock, or empty the file. On a full disk nobody can be named: that is not worth a failure."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        if what:
            found = Holder(what=what, host=os.uname().nodename, pid=os.getpid(), since=clock.now())
            os.pwrite(descriptor, msgspec.json.encode(found), 0)


def _busy(found: Holder | None, wait_seconds: float) -> errors.LedgerBusy:
    if found is None:
        return errors.LedgerBusy(
            f"the ledger is busy: another command holds it since more than {wait_seconds:g} s",
            next_step="repeat the command, or give it more time with --lock-wait",
        )
    return errors.LedgerBusy(
        f"the ledger is busy: {found.what} holds it (waited {wait_seconds:g} s)",
        details={
            "holder": found.what,
            "host": found.host,
            "pid": str(found.pid),
            "since": f"{clock.seconds(found.since)} UTC",
        },
        next_step="repeat the command when it is done, or give it more time with --lock-wait",
    )
