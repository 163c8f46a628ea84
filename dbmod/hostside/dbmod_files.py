# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Private folders and whole files: 0700 and 0600 from the first instant, synced, renamed, links never followed."""

import contextlib
import errno
import fcntl
import os
import stat
import time
from typing import Any, Callable, Iterator, NamedTuple, Optional, Sequence, Tuple, Union

sha256: Any  # Python's own: hashlib would load OpenSSL, which takes longer than the digest
try:
    from _sha2 import sha256  # type: ignore[import-not-found, no-redef, unused-ignore]  # Python 3.12 and newer
except ImportError:
    try:
        from _sha256 import sha256  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ImportError:
        from hashlib import sha256  # some distributions build it in no other way

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
CHUNK_BYTES = 1 << 20
KEPT = "kept.dat"  # what a type keeps in its module's folder


class Unusable(Exception):
    """A folder or file cannot be used; the text says which and why, for the user."""


class Found(NamedTuple):
    """What is at a name: its bytes' digest, or "" with the reason where there is no plain file of ours."""

    sha256: str
    problem: str


def open_home(home: str, make: bool) -> Optional[int]:
    """Open the home of dbmod on this host; None where it is not there and *make* is false."""
    try:
        if make:
            os.makedirs(home, 0o700, exist_ok=True)
        return os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        following = "; next: log in with become, or as root" if error.errno == errno.EACCES else ""
        raise Unusable("%s cannot be used (%s)%s" % (home, error.strerror, following)) from None


def enter(parent: int, name: str, make: bool) -> Optional[int]:
    """Open the folder *name* inside the folder *parent*, made 0700 if asked; None where it is not there."""
    try:
        folder = os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        if not make:
            return None
        with contextlib.suppress(FileExistsError):  # another run was quicker
            os.mkdir(name, 0o700, dir_fd=parent)
            os.fsync(parent)
        folder = os.open(name, FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise Unusable("%s is not a folder of dbmod's own" % name) from None
    status = os.fstat(folder)
    if status.st_uid != os.geteuid():
        os.close(folder)
        raise Unusable("%s belongs to uid %d, not to uid %d" % (name, status.st_uid, os.geteuid()))
    if make and stat.S_IMODE(status.st_mode) != 0o700:
        os.fchmod(folder, 0o700)
    return folder


@contextlib.contextmanager
def folder(base: Union[str, int], names: Sequence[str], make: bool = False) -> Iterator[Optional[int]]:
    """Open a folder step by step below *base* (a path or an open folder); gives None where it is not there."""
    current = open_home(base, make) if isinstance(base, str) else os.dup(base)
    try:
        for name in names:
            if current is None:
                break
            inner = enter(current, name, make)
            os.close(current)
            current = inner
        yield current
    finally:
        if current is not None:
            with contextlib.suppress(OSError):
                os.close(current)


@contextlib.contextmanager
def locked(open_folder: int, exclusive: bool, wait_seconds: float, what: str = "instance") -> Iterator[None]:
    """Hold the kernel's lock on a folder; it goes with the process, so nothing stale can stay.

    Raises  Unusable where another process holds it for longer than *wait_seconds*
    """
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(open_folder, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise Unusable("another run works on this %s (waited %g s)" % (what, wait_seconds)) from None
            time.sleep(0.05)
    try:
        yield
    finally:
        fcntl.flock(open_folder, fcntl.LOCK_UN)


def write_new(open_folder: int, name: str, data: bytes, halfway: Optional[Callable[[], None]] = None) -> None:
    """Write and sync a new file; nothing of it stays if that fails. An old one of that name was left by a crash."""
    remove(open_folder, name)
    file = os.open(name, NEW, 0o600, dir_fd=open_folder)
    try:
        view = memoryview(data)
        middle = len(data) // 2
        _write_all(file, view[:middle])
        if halfway is not None:
            halfway()
        _write_all(file, view[middle:])
        os.fsync(file)
    except BaseException:
        remove(open_folder, name)
        raise
    finally:
        os.close(file)


def reserve(open_folder: int, name: str, size_bytes: int) -> int:
    """Make a new file with room for *size_bytes*, so that writing it later cannot find the disk full."""
    remove(open_folder, name)
    file = os.open(name, NEW, 0o600, dir_fd=open_folder)
    try:
        _write_all(file, memoryview(bytes(size_bytes)))
    except BaseException:
        os.close(file)
        remove(open_folder, name)
        raise
    return file


def fill(file: int, data: bytes) -> None:
    """Write a reserved file's real bytes and sync it."""
    os.lseek(file, 0, os.SEEK_SET)
    _write_all(file, memoryview(data))
    os.ftruncate(file, len(data))
    os.fsync(file)


def _write_all(file: int, view: memoryview) -> None:
    while view:
        view = view[os.write(file, view[:CHUNK_BYTES]) :]


def rename(open_folder: int, old: str, new: str) -> None:
    os.rename(old, new, src_dir_fd=open_folder, dst_dir_fd=open_folder)
    os.fsync(open_folder)


def remove(open_folder: int, name: str) -> bool:
    """Remove a file; tell whether it was there."""
    try:
        os.unlink(name, dir_fd=open_folder)
    except FileNotFoundError:
        return False
    os.fsync(open_folder)
    return True


def exists(open_folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=open_folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def look(open_folder: int, name: str) -> Found:
    """Tell the digest of what is at *name*, and what is wrong with it although the digest may be right."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=open_folder)
    except FileNotFoundError:
        return Found("", "%s is missing" % name)
    except OSError as error:
        what = "is a link" if error.errno == errno.ELOOP else "cannot be read (%s)" % error.strerror
        return Found("", "%s %s" % (name, what))
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            return Found("", "%s is not a file" % name)
        digest = sha256()
        for chunk in iter(lambda: os.read(file, CHUNK_BYTES), b""):
            digest.update(chunk)
    finally:
        os.close(file)
    problem = ""
    if stat.S_IMODE(status.st_mode) != 0o600:
        problem = "%s has mode %04o" % (name, stat.S_IMODE(status.st_mode))
    elif status.st_uid != os.geteuid():
        problem = "%s belongs to uid %d" % (name, status.st_uid)
    elif status.st_nlink != 1:
        problem = "%s has a second name" % name
    return Found(digest.hexdigest(), problem)


def read(open_folder: int, name: str, limit_bytes: int) -> Optional[bytes]:
    """Give the bytes of a plain file; None where there is none, it is a link, or it is larger than the limit."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=open_folder)
    except OSError:
        return None
    with os.fdopen(file, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit_bytes:
            return None
        return stream.read(limit_bytes)


def no_room(error: OSError, open_folder: int, where: str, needed_bytes: int) -> str:
    """Say why bytes could not be written, with the bytes needed and free where that is the reason."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return "the contents cannot be written to %s (%s)" % (where, error.strerror)
    status = os.fstatvfs(open_folder)
    free = status.f_bavail * status.f_frsize
    if error.errno == errno.EDQUOT:
        return "no room for the contents (needs %d bytes in %s, the quota is used up)" % (needed_bytes, where)
    if status.f_files and not status.f_favail:
        return "no room for the contents (no free inode in %s; needs %d bytes, has %d)" % (where, needed_bytes, free)
    return "no room for the contents (needs %d bytes in %s, has %d)" % (needed_bytes, where, free)


def mode_of(path: str) -> Optional[int]:
    """Give the mode of a file, None where there is none."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


def owner_of(path: str) -> Optional[Tuple[int, int]]:
    """Give uid and gid of a file, None where there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_uid, status.st_gid


def replace_file(
    path: str,
    data: bytes,
    mode: Optional[int],
    owner: Optional[Tuple[int, int]] = None,
    like: Optional[str] = None,
) -> None:
    """Replace a file of the host's own, through a private folder beside it; keeps owner and mode unless told.

    like  a file whose owner and mode a new one gets
    """
    parent, name = os.path.split(path)
    model = path if os.path.exists(path) or like is None else like
    old = os.stat(model) if os.path.exists(model) else None
    owner = owner or owner_of(model)
    beside = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        inside = "." + name + ".dbmod"
        with folder(beside, [inside], make=True) as private:
            assert private is not None
            try:
                write_new(private, name, data)
                if owner is not None and owner != (os.geteuid(), os.getegid()):
                    os.chown(name, owner[0], owner[1], dir_fd=private, follow_symlinks=False)
                kept = stat.S_IMODE(old.st_mode) if old is not None else 0o600
                os.chmod(name, kept if mode is None else mode, dir_fd=private)
                os.rename(name, name, src_dir_fd=private, dst_dir_fd=beside)
            finally:
                remove(private, name)
                os.rmdir(inside, dir_fd=beside)
        os.fsync(beside)
    finally:
        os.close(beside)
