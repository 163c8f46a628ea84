"""The file that node_exporter reads metrics from: always a whole one, which everybody may read."""

import secrets
from pathlib import Path

from dbmod import errors
from dbmod.store import durable

READABLE = 0o644  # node_exporter runs under an account of its own


def refuse_bad_place(path: Path) -> None:
    """Refuse what cannot be replaced by a file: before a host is asked, and lest root replaces /dev/null."""
    try:
        is_free = path.is_file() or (not path.is_symlink() and not path.exists())
        is_there = path.parent.is_dir()
    except OSError as error:  # a name that is too long
        raise errors.BadInput(f"The metrics cannot go to {path}: {error.strerror}") from error
    if not is_free or not path.name:
        raise errors.BadInput(f"The metrics cannot go to {path}: it is there, and no file.")
    if not is_there:
        raise errors.BadInput(
            f"The metrics cannot go to {path}: its directory is not there.", next_step=f"mkdir -p {path.parent}"
        )


def write(path: Path, text: str) -> None:
    """Replace the file at once. Raises Failed; the old one is whole then."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")  # two may write at the same time
    try:
        durable.write_new(fresh, text.encode(errors="backslashreplace"), mode=READABLE).replace(path)
        durable.sync_directory(path.parent)
    except OSError as error:
        durable.remove(fresh.with_name(fresh.name + durable.NEW))
        raise errors.Failed(
            f"The metrics cannot be written to {path}: {error.strerror}.",
            next_step="make room, or give the right to write there; an older file stays as it was",
        ) from error
