"""How much memory contents take on the controller at a time, whoever starts the runs: kernel locks share it out.

A byte of a file stands for a MiB, and is locked by the process that uses that. Who dies gives back what it had.
"""

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from dbmod.config import MIB

TOTAL_MIB = 512
PER_BYTE = 3  # the contents, the frame they are joined into, and what the connection holds of it
UNASKED_MIB = 10  # with the usual 50 forks that is the total
POLL_SECONDS = 0.05


@contextlib.contextmanager
def lent(path: Path, size_bytes: int) -> Iterator[None]:
    """Wait until contents of this size fit beside those that others are at work with; small ones always do.

    path  the file that stands for the memory, in a private directory
    """
    needed = -(-size_bytes * PER_BYTE // MIB)
    if needed <= UNASKED_MIB:
        yield
        return
    needed = min(needed, TOTAL_MIB)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        while not any(_is_taken(file.fileno(), place, needed) for place in range(0, TOTAL_MIB - needed + 1, needed)):
            time.sleep(POLL_SECONDS)
        yield


def _is_taken(descriptor: int, place: int, needed: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, needed, place)
    except BlockingIOError:
        return False
    return True
