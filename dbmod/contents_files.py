"""The contents files that users name."""

import stat
import sys
from pathlib import Path

from dbmod import errors


def read(path: str, *, limit_bytes: int) -> bytes:
    """Read a module's contents.

    path    "-" is standard input
    Raises  BadInput for what is empty, no regular file, unreadable, or over the limit; no more than that is read
    """
    if path != "-":
        return read_file(Path(path), limit_bytes=limit_bytes, called=f"The file '{path}'")
    data = _read_standard_input(limit_bytes)
    if len(data) > limit_bytes:
        raise _too_large("The file '-'", limit_bytes)
    return _not_empty(data, "The file '-'")


def read_file(path: Path, *, limit_bytes: int, called: str, file_limit_bytes: int = 0) -> bytes:
    """Read the contents in a file.

    limit_bytes       of the contents
    called            begins the sentences of errors
    file_limit_bytes  where the file may be larger than its contents: encrypted
    Raises            BadInput, as `read`
    """
    most_bytes = max(limit_bytes, file_limit_bytes)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise errors.BadInput(
                f"{called} is not a regular file.", next_step="module-create and module-update read standard input: `-`"
            )
        if found.st_size > most_bytes:
            raise _too_large(called, limit_bytes)
        with path.open("rb") as file:
            data = file.read(most_bytes + 1)
    except OSError as error:
        raise errors.BadInput(f"{called} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise errors.BadInput(f"{called} cannot be read: {error}.") from error
    if len(data) > most_bytes:
        raise _too_large(called, limit_bytes)
    return _not_empty(data, called)


def _not_empty(data: bytes, called: str) -> bytes:
    if not data:
        raise errors.BadInput(f"{called} must contain some data")
    return data


def _read_standard_input(limit_bytes: int) -> bytes:
    try:
        return sys.stdin.buffer.read(limit_bytes + 1) if sys.stdin else b""
    except OSError as error:
        raise errors.BadInput(f"The standard input cannot be read: {error.strerror}.") from error


def _too_large(called: str, limit_bytes: int) -> errors.BadInput:
    return errors.BadInput(
        f"{called} is too large: the limit is {limit_bytes} bytes.",
        next_step="set contents_limit_bytes, up to 67108864",
    )
