"""How much memory the controller takes while a command runs."""

import contextlib
import re
import threading
import time
from pathlib import Path

from tests.faults import failpoints

POLL_SECONDS = 0.02
PROPORTIONAL = re.compile(rb"^Pss:\s+(\d+) kB$", re.MULTILINE)  # memory that forks share counts once


class Watch:
    """Samples the command, Ansible and its workers together; the hosts, which are on this machine too, are left out."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.peak_bytes = 0
        self.samples = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watch":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.ended.is_set():
            pids = [pid for pid, line in failpoints.processes(self.home).items() if not failpoints.is_host(line)]
            self.peak_bytes = max(self.peak_bytes, sum(map(_bytes_of, pids)))
            self.samples += 1
            time.sleep(POLL_SECONDS)


def _bytes_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        found = PROPORTIONAL.search(Path(f"/proc/{pid}/smaps_rollup").read_bytes())
        return int(found[1]) * 1024 if found else 0
    return 0
