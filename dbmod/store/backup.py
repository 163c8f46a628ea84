"""ledger-backup and ledger-restore: one tar file of one consistent state, with contents and the key file.

HEAD  shards/<file>  contents/<owner>/<file>  key  manifest.json (path → SHA-256, last)
"""

import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from dbmod import clock, errors, vault
from dbmod.config import Settings
from dbmod.store import contents, durable, lock
from dbmod.store import head as heads
from dbmod.store.head import Head, Ledger

MANIFEST = "manifest.json"
ALLOWED = re.compile(
    r"HEAD|key|manifest\.json|shards/[A-Za-z0-9][A-Za-z0-9._-]*\.json|contents/[A-Za-z0-9][A-Za-z0-9._-]*/[0-9]+\.[0-9a-f]{16}"
)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    serial: int
    made_at: datetime
    files: dict[str, str]  # path in the archive → SHA-256


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds, or a restore brought back."""

    path: Path
    serial: int
    files: int
    size_bytes: int
    has_key: bool  # False where the key comes from DBMOD_KEY or a command: without it the contents are lost
    replaced: Path | None = None  # of a restore: where the ledger that was there is kept


def backup(settings: Settings, path: Path) -> Saved:
    """Write the whole ledger into one tar file that only its owner reads. Whoever has it, has the contents.

    Raises  Refused where there is no ledger or *path* exists; LedgerDamaged; LedgerUnwritable
    """
    ledger = heads.at(settings.home_path)
    if os.path.lexists(path):  # False also for a name that no file can have, which the attempt to write tells
        raise errors.Refused(f"{path} exists", next_step="name another file")
    head = heads.read(ledger)
    if not ledger.head.exists():
        raise errors.Refused(f"there is no ledger in {settings.home_path}", next_step="dbmod config shows where it is")
    wait = settings.lock_wait_seconds
    with (
        lock.held(ledger.lock, what="ledger-backup", wait_seconds=wait),
        lock.held(ledger.contents_lock, what="ledger-backup", wait_seconds=wait),
    ):
        head = heads.read(ledger)
        files = _write_archive(settings, ledger, head, path)
    return Saved(
        path=path, serial=head.serial, files=len(files), size_bytes=path.stat().st_size, has_key="key" in files
    )


def restore(settings: Settings, path: Path, *, force: bool = False) -> Saved:
    """Put a backup in place; its digests are verified before anything is touched.

    force   also where there is a ledger: that one is kept in <home>/replaced/<time>/
    Raises  Refused, BadInput for a file that is no whole backup, LedgerBusy, LedgerUnwritable
    """
    home = settings.home_path
    ledger = heads.at(home)
    if (ledger.head.exists() or ledger.shards.exists()) and not force:
        raise errors.Refused(f"there is a ledger in {home}", next_step="--force replaces it, and keeps it aside")
    staging = home / "restoring"
    wait = settings.lock_wait_seconds
    with (
        lock.held(ledger.lock, what="ledger-restore", wait_seconds=wait),
        lock.held(ledger.contents_lock, what="ledger-restore", wait_seconds=wait),
    ):
        try:
            shutil.rmtree(staging, ignore_errors=True)  # of a restore that was killed
            durable.make_directory(staging)
            manifest = _extract(path, staging)
            replaced = _switch(settings, ledger, staging, _verified(staging, manifest, path))
        except OSError as error:
            raise durable.unwritable(error, home, needed_bytes=0) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return Saved(
        path=path,
        serial=heads.read(ledger).serial,
        files=len(manifest.files),
        size_bytes=path.stat().st_size,
        has_key="key" in manifest.files,
        replaced=replaced,
    )


def _sources(settings: Settings, ledger: Ledger, head: Head) -> Iterator[tuple[str, Path]]:
    yield "HEAD", ledger.head
    for name, stamp in sorted(head.shards.items()):
        path = ledger.shard(name, stamp)
        yield f"shards/{path.name}", path
    for owner, _, path in contents.listing(settings):
        yield f"contents/{owner}/{path.name}", path
    if vault.is_in_file(settings) and vault.key_file(settings).exists():
        yield "key", vault.key_file(settings)


def _write_archive(settings: Settings, ledger: Ledger, head: Head, path: Path) -> dict[str, str]:
    """Write the archive whole or not at all. Returns  path in it → SHA-256."""
    temporary = path.with_name(path.name + durable.NEW)
    try:
        durable.write_new(path)  # empty, and private before the first byte
        with temporary.open("r+b") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                digests = _add_all(archive, settings, ledger, head)
            file.flush()
            durable.sync_file(file.fileno())
        temporary.replace(path)
        durable.sync_directory(path.absolute().parent)
    except OSError as error:
        raise durable.unwritable(error, path, needed_bytes=0) from error
    finally:
        durable.remove(temporary)
    return digests


def _add_all(archive: tarfile.TarFile, settings: Settings, ledger: Ledger, head: Head) -> dict[str, str]:
    digests: dict[str, str] = {}
    for name, source in _sources(settings, ledger, head):
        data = durable.read_file(source)
        match = heads.SHARD_FILE.match(source.name)
        if match and not heads.is_whole(match["stamp"], data):
            raise errors.LedgerDamaged(f"the shard {match['name']} is damaged", next_step=heads.REPAIR)
        digests[name] = heads.digest(data)
        _add(archive, name, data)
    manifest = Manifest(format=heads.FORMAT, serial=head.serial, made_at=clock.now(), files=digests)
    _add(archive, MANIFEST, msgspec.json.encode(manifest))
    return digests


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o600
    member.mtime = clock.now().timestamp()
    archive.addfile(member, io.BytesIO(data))


def _extract(path: Path, staging: Path) -> Manifest:
    """Write the members of an archive into an empty private directory: regular files with the names we give, once each.

    Raises  BadInput
    """
    seen: set[str] = set()
    try:
        file = path.open("rb")
    except OSError as error:
        raise _not_whole(path, error.strerror or type(error).__name__) from error
    try:
        with file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.name in seen:
                    raise _not_whole(path, f"it holds {member.name} twice")
                seen.add(member.name)
                _extract_one(archive, member, staging, path)
        manifest = msgspec.json.decode(durable.read_file(staging / MANIFEST), type=Manifest)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, FileNotFoundError, msgspec.MsgspecError) as error:
        raise _not_whole(path, type(error).__name__) from error
    if seen != {*manifest.files, MANIFEST}:
        raise _not_whole(path, "its files are not those of its manifest")
    return manifest


def _extract_one(archive: tarfile.TarFile, member: tarfile.TarInfo, staging: Path, path: Path) -> None:
    if not member.isreg() or member.issparse() or not ALLOWED.fullmatch(member.name):
        raise _not_whole(path, f"it holds {member.name!r}, which no backup does")
    source = archive.extractfile(member)
    if source is None or member.size > path.stat().st_size:
        raise _not_whole(path, f"{member.name} is cut off")
    target = staging / member.name
    for directory in reversed(target.parents):
        if directory.is_relative_to(staging):
            durable.make_directory(directory)
    durable.write_file(target, source.read())


def _verified(staging: Path, manifest: Manifest, path: Path) -> Head:
    for name, digest in manifest.files.items():
        if heads.digest(durable.read_file(staging / name)) != digest:
            raise _not_whole(path, f"{name} is damaged")
    if "HEAD" not in manifest.files:
        raise _not_whole(path, "HEAD is missing")
    try:
        head = heads.decode(durable.read_file(staging / "HEAD"), path=Path("HEAD"))
    except errors.LedgerDamaged as error:
        raise _not_whole(path, error.what) from error
    for name, stamp in head.shards.items():
        if not manifest.files.get(f"shards/{name}.{stamp}.json") == stamp.partition("-")[2]:
            raise _not_whole(path, f"the shard {name} is missing or damaged")
    return head


def _switch(settings: Settings, ledger: Ledger, staging: Path, head: Head) -> Path | None:
    """Move the old files aside and the new ones in, HEAD first and HEAD last: nothing reads a mixture as a ledger."""
    try:
        last = heads.read(ledger).serial
    except errors.LedgerError:
        last = 0
    home = settings.home_path
    pairs = [
        (ledger.head, "HEAD"),
        (ledger.previous, "HEAD.previous"),
        (ledger.leaving, "HEAD.leaving"),
        (ledger.shards, "shards"),
        (home / "contents", "contents"),
        (vault.key_file(settings), "key"),
    ]
    aside = home / "replaced" / clock.now().strftime("%Y-%m-%dT%H-%M-%S.%f")
    has_old = any(path.exists() for path, _ in pairs)
    if has_old:
        durable.make_directory(aside.parent)
        durable.make_directory(aside)
    for path, name in pairs:
        if path.exists() and (name != "key" or (staging / "key").exists()):
            path.rename(aside / name)
    durable.make_directory(staging / "shards")
    (staging / "HEAD").rename(staging / "HEAD.previous")
    serial = max(last, head.serial) + 1  # hosts refuse a serial that they have seen pass
    previous = heads.digest(durable.read_file(staging / "HEAD.previous"))
    new = msgspec.structs.replace(head, serial=serial, previous=previous)
    durable.write_file(staging / "HEAD", heads.encode(new))
    for path, name in reversed(pairs):
        if (staging / name).exists():
            (staging / name).rename(path)
    durable.sync_directory(home)
    durable.sync_directory(ledger.directory)
    return aside if has_old else None


def _not_whole(path: Path, why: str) -> errors.BadInput:
    return errors.BadInput(
        f"{path} is no whole backup of a ledger: {why}", next_step="nothing was changed; name another"
    )
