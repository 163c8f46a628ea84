"""Ports for the servers that one test process starts: no two processes have the same at a time."""

import fcntl
import functools
import os
import tempfile
from pathlib import Path

FIRST, EACH, SHARES = 15100, 100, 30  # Redis Cluster also takes these + 10,000, Galera + 1,138 to + 1,262


@functools.cache
def own() -> str:
    """Give this process's range as dbmod's setting local_ports wants it; its kernel lock goes with the process."""
    directory = Path(tempfile.gettempdir()) / f"dbmod-test-ports-{os.geteuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    for number in range(SHARES):
        lock = os.open(directory / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        low = FIRST + number * EACH
        return f"{low}-{low + EACH - 1}"
    raise RuntimeError(f"all {SHARES} shares of ports are held: {directory}")
