"""The one door to bytes on disk of the ledger: private from the first instant, synced before they count."""

import os
import stat
from pathlib import Path

from dbmod import errors

NEW = ".new"  # ends the name of every temporary file
PRIVATE = 0o600


def make_directory(path: Path) -> None:
    """Make a directory that only its owner enters, and parents as the umask says; what is there stays as it is."""
    if path.is_dir():
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    sync_directory(path.parent)


def write_new(path: Path, *chunks: bytes | memoryview, mode: int = PRIVATE) -> Path:
    """Write and sync `<path>.new` beside *path* and give its path; nothing refers to it yet.

    chunks  written one after the other, so that a header costs no copy of what follows
    mode    which it gets when all is written, whatever the umask
    """
    temporary = path.with_name(path.name + NEW)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, PRIVATE)
    except FileExistsError:  # of a writer that was killed; its mode and its readers are not ours to trust
        temporary.unlink()
        descriptor = os.open(temporary, flags, PRIVATE)
    try:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        if mode != PRIVATE:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return temporary


def write_file(path: Path, *chunks: bytes | memoryview) -> None:
    """Write a whole file or none; its name is durable once its directory is synced."""
    write_new(path, *chunks).replace(path)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(descriptor: int) -> None:
    """Make the bytes of an open file durable."""
    os.fsync(descriptor)


def read_file(path: Path) -> bytes:
    """Read a whole regular file; a link or a device is an OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        return file.readall()


def remove(path: Path) -> None:
    """Remove a file; one that is not there, or cannot be removed, is no error: nothing depends on it any more."""
    try:
        path.unlink()
    except OSError:
        return


def unwritable(error: OSError, path: Path, *, needed_bytes: int) -> errors.LedgerUnwritable:
    """Make the error of a write that could not be done.

    path          where it was to go
    needed_bytes  what was to be written
    """
    there = next((place for place in (path, *path.parents) if os.path.exists(place)), Path("/"))
    try:
        status = os.statvfs(there)
        free = str(status.f_bavail * status.f_frsize)
    except OSError:
        free = "unknown"
    return errors.LedgerUnwritable(
        f"{path} cannot be written: {error.strerror or error} (needs {needed_bytes} bytes, {free} are free)",
        details={"path": str(path), "needed": f"{needed_bytes} bytes", "free": f"{free} bytes", "state": "unchanged"},
        next_step=f"make room or give {_user()} the right to write there, then repeat the command",
    )


def unreadable(error: OSError, path: Path) -> errors.LedgerError:
    """Make the error of a read that failed for another reason than damage."""
    return errors.LedgerError(
        f"{path} cannot be read: {error.strerror or error}",
        next_step=f"give {_user()} the right to read it, or name another ledger with DBMOD_HOME",
    )


def _user() -> str:
    return f"the user with the id {os.geteuid()}"
