"""Contents: one encrypted file for each version of a module, <home>/contents/<owner>/<number>.<key id>.

The name bears the key, so that a rotation writes the new file beside the old one before the old one goes.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from dbmod import errors, vault
from dbmod.config import Settings
from dbmod.store import durable, lock
from dbmod.store import head as heads
from dbmod.store.interface import Rotation, Stored
from dbmod.vault import Key

OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,149}\Z")
FILE = re.compile(r"(?P<number>[0-9]{1,9})\.(?P<key>[0-9a-f]{16})\Z")


def write(settings: Settings, owner: str, number: int, contents: bytes) -> None:
    """Keep contents, durable on return. Memory: the contents twice.

    Raises  LedgerUnwritable, LedgerError where the key is missing
    """
    check_owner(owner)
    with _writing(settings, f"contents of {owner}"):
        directory = _directory(settings) / owner
        key = _writing_key(settings)
        header, ciphertext = vault.encrypt(key, contents, bound=bound(owner, number))
        try:
            durable.make_directory(settings.home_path)
            durable.make_directory(_directory(settings))
            durable.make_directory(directory)
            durable.write_file(directory / f"{number}.{key.id}", header, ciphertext)
            durable.sync_directory(directory)
        except OSError as error:
            durable.remove(directory / f"{number}.{key.id}{durable.NEW}")
            raise durable.unwritable(error, directory, needed_bytes=len(header) + len(ciphertext)) from error
        for path in _files(directory, number):
            if path.name != f"{number}.{key.id}":
                durable.remove(path)


def read(settings: Settings, owner: str, number: int) -> bytes:
    """Decrypt contents. Memory: the contents twice.

    Raises  NotFound; LedgerDamaged; LedgerError where the key is missing
    """
    check_owner(owner)
    what = f"the contents {number} of {owner}"
    for _ in range(3):  # a rotation may take a file away between its name and its bytes: then the other one is there
        keys = vault.keys(settings)
        paths = _files(_directory(settings) / owner, number)
        if not paths:
            raise errors.NotFound(f"there are no contents {number} of {owner}")
        order = [key.id for key in keys]
        best = min(paths, key=lambda path: order.index(key_id(path)) if key_id(path) in order else len(order))
        if key_id(best) not in order:
            vault.forget()
            keys = vault.keys(settings)
        try:
            return vault.decrypt(keys, durable.read_file(best), bound=bound(owner, number), what=what)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise durable.unreadable(error, best) from error
    raise errors.LedgerBusy(f"{what} change faster than they can be read", next_step="repeat the command")


def delete(settings: Settings, owner: str, number: int | None = None) -> None:
    """Remove one contents, or all of an owner; none is no error."""
    check_owner(owner)
    directory = _directory(settings) / owner
    if not directory.is_dir():
        return
    with _writing(settings, f"contents of {owner}"):
        try:
            if number is None:
                shutil.rmtree(directory)
            else:
                for path in _files(directory, number):
                    path.unlink()
            durable.sync_directory(directory if number is not None else directory.parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise durable.unwritable(error, directory, needed_bytes=0) from error


def rotate(settings: Settings) -> Rotation:
    """Encrypt all contents anew: with a new key, or with the one that DBMOD_KEY or key_command now gives.

    A rotation that was interrupted is finished by the next one; contents can be read all the while.
    Raises  LedgerError where the key of some contents is missing, before anything is changed; LedgerUnwritable
    """
    with _writing(settings, "key-rotate"):
        keys = vault.keys(settings)
        _refuse_unknown(settings, keys)
        was_interrupted = vault.is_in_file(settings) and len(keys) > 1
        try:
            if vault.is_in_file(settings) and not was_interrupted:
                keys = [vault.new_key(), *keys]
                vault.write_key_file(settings, keys)
            count = sum(_encrypt_anew(owner, number, path, keys) for owner, number, path in listing(settings))
            if vault.is_in_file(settings):
                vault.write_key_file(settings, keys[:1])
        except OSError as error:
            raise durable.unwritable(error, _directory(settings), needed_bytes=0) from error
        return Rotation(key_id=keys[0].id, files=count, was_interrupted=was_interrupted)


def listing(settings: Settings) -> Iterator[tuple[str, int, Path]]:
    """Give owner, number and file of all contents, sorted."""
    with contextlib.suppress(FileNotFoundError):
        for directory in sorted(_directory(settings).iterdir()):
            for path in sorted(directory.iterdir()) if directory.is_dir() else ():
                match = FILE.match(path.name)
                if match:
                    yield directory.name, int(match["number"]), path


def stored(settings: Settings) -> list[Stored]:
    """List all contents; while the key rotates, some twice, under the old key and under the new one."""
    return [Stored(owner=owner, number=number, key_id=key_id(path)) for owner, number, path in listing(settings)]


def key_id(path: Path) -> str:
    """Tell which key encrypted a file of contents."""
    return path.name.partition(".")[2]


@contextlib.contextmanager
def _writing(settings: Settings, what: str) -> Iterator[None]:
    """Hold the lock of the contents, a lock of its own: contents are written inside and outside of transactions."""
    if not settings.network_filesystem_allowed:
        lock.refuse_network_filesystem(settings.home_path)
    path = heads.at(settings.home_path).contents_lock
    with lock.held(path, what=what, wait_seconds=settings.lock_wait_seconds):
        vault.forget()
        yield


def _writing_key(settings: Settings) -> Key:
    """Give the key that encrypts; make the file if there never was one. The lock is held: no rotation changes it."""
    keys = vault.keys(settings)
    if keys:
        return keys[0]
    lost = next(listing(settings), None)
    if lost:
        raise vault.missing(f"the contents {lost[1]} of {lost[0]}", key_id(lost[2]), keys)
    key = vault.new_key()
    write_keys(settings, [key])
    return key


def write_keys(settings: Settings, keys: list[Key]) -> None:
    """Replace the key file. Raises LedgerUnwritable."""
    try:
        vault.write_key_file(settings, keys)
    except OSError as error:
        needed = sum(len(key.line) + 1 for key in keys)
        raise durable.unwritable(error, vault.key_file(settings), needed_bytes=needed) from error


def _refuse_unknown(settings: Settings, keys: list[Key]) -> None:
    known = {key.id for key in keys}
    for owner, number, path in listing(settings):
        if key_id(path) not in known:
            raise vault.missing(f"the contents {number} of {owner}", key_id(path), keys)


def _encrypt_anew(owner: str, number: int, path: Path, keys: list[Key]) -> bool:
    """Write the file of the current key, durably, then remove the old one. False where it is already so."""
    target = path.with_name(f"{number}.{keys[0].id}")
    if path == target:
        return False
    belongs = bound(owner, number)
    if not target.exists():
        plain = vault.decrypt(keys, durable.read_file(path), bound=belongs, what=f"the contents {number} of {owner}")
        durable.write_file(target, *vault.encrypt(keys[0], plain, bound=belongs))
        durable.sync_directory(target.parent)
    path.unlink()
    return True


def _files(directory: Path, number: int) -> list[Path]:
    try:
        paths = sorted(directory.iterdir())
    except OSError:
        return []
    return [path for path in paths if (match := FILE.match(path.name)) and int(match["number"]) == number]


def _directory(settings: Settings) -> Path:
    return settings.home_path / "contents"


def bound(owner: str, number: int) -> bytes:
    """Give what contents are encrypted with besides their key: nobody can pass them off as others."""
    return f"{owner}\0{number}".encode()


def check_owner(owner: str) -> None:
    """Refuse an owner that cannot be a file's name. Raises InternalError."""
    if not OWNER.match(owner):
        raise errors.InternalError(f"{owner!r} cannot own contents: it is no id")
