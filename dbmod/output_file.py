"""A file that a command makes for others to read: always a whole one, never half of one."""

import secrets
from pathlib import Path

from dbmod import errors
from dbmod.store import durable


def refuse_bad_place(path: Path, *, what: str) -> None:
    """Refuse what cannot be replaced by a file: before a host is asked, and lest root replaces /dev/null.

    what  is to go there, as a sentence begins: "The metrics"
    """
    try:
        is_free = path.is_file() or (not path.is_symlink() and not path.exists())
        is_there = path.parent.is_dir()
    except OSError as error:  # a name that is too long
        raise errors.BadInput(f"{what} cannot go to {path}: {error.strerror}") from error
    if not is_free or not path.name:
        raise errors.BadInput(f"{what} cannot go to {path}: it is there, and no file.")
    if not is_there:
        raise errors.BadInput(
            f"{what} cannot go to {path}: its directory is not there.", next_step=f"mkdir -p {path.parent}"
        )


def write(path: Path, text: str, *, what: str, mode: int = durable.PRIVATE) -> None:
    """Replace the file at once. Raises Failed; the old one is whole then.

    what  as in refuse_bad_place
    """
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")  # two may write at the same time
    try:
        durable.write_new(fresh, text.encode(errors="backslashreplace"), mode=mode).replace(path)
        durable.sync_directory(path.parent)
    except OSError as error:
        durable.remove(fresh.with_name(fresh.name + durable.NEW))
        raise errors.Failed(
            f"{what} cannot be written to {path}: {error.strerror}.",
            next_step="make room, or give the right to write there; an older file stays as it was",
        ) from error
