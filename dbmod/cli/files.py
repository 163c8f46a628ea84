"""The contents files that users name."""

import stat
import sys
from pathlib import Path

from dbmod import errors


def read_contents(path: str, *, limit_bytes: int) -> bytes:
    """Read a module's contents.

    path    "-" is standard input
    Raises  BadInput for what is empty, no regular file, unreadable, or over the limit; no more than that is read
    """
    data = _read_standard_input(limit_bytes) if path == "-" else _read_file(Path(path), limit_bytes)
    if len(data) > limit_bytes:
        raise _too_large(path, limit_bytes)
    if not data:
        raise errors.BadInput(f"The file '{path}' must contain some data")
    return data


def _read_standard_input(limit_bytes: int) -> bytes:
    try:
        return sys.stdin.buffer.read(limit_bytes + 1) if sys.stdin else b""
    except OSError as error:
        raise errors.BadInput(f"The standard input cannot be read: {error.strerror}.") from error


def _read_file(path: Path, limit_bytes: int) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise errors.BadInput(f"The file '{path}' is not a regular file.", next_step="`-` reads standard input")
        if found.st_size > limit_bytes:
            raise _too_large(str(path), limit_bytes)
        with path.open("rb") as file:
            return file.read(limit_bytes + 1)
    except OSError as error:
        raise errors.BadInput(f"The file '{path}' cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise errors.BadInput(f"The file {str(path)!r} cannot be read: {error}.") from error


def _too_large(path: str, limit_bytes: int) -> errors.BadInput:
    return errors.BadInput(
        f"The file '{path}' is too large: the limit is {limit_bytes} bytes.",
        next_step="set contents_limit_bytes, up to 67108864",
    )
