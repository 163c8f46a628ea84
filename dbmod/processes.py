"""Which process carries a run, and whether it still lives."""

import contextlib
import os
import signal
import time
from pathlib import Path

from dbmod.records import Owner

STARTED_TICKS_FIELD = 21  # of /proc/<pid>/stat, from 0, behind the command's closing bracket counted in
POLL_SECONDS = 0.05


def this_host() -> str:
    return os.uname().nodename


def owner(pid: int | None = None) -> Owner:
    """Describe a process of this machine; this one unless another is named."""
    pid = pid or os.getpid()
    return Owner(host=this_host(), boot_id=_boot_id(), pid=pid, started_ticks=_started_ticks(pid) or 0)


def is_alive(one: Owner) -> bool:
    """Tell whether the process lives. One on another machine is taken to live; the ledger's clock ends those."""
    if one.host != this_host():
        return True
    return one.boot_id == _boot_id() and _started_ticks(one.pid) == one.started_ticks


def is_here(one: Owner) -> bool:
    return one.host == this_host() and one.boot_id == _boot_id()


def stop(one: Owner, *, wait_seconds: float) -> None:
    """End the process: SIGTERM, which Ansible hands on to its workers, then SIGKILL."""
    for number, patience in ((signal.SIGTERM, wait_seconds), (signal.SIGKILL, 1.0)):
        if not (is_here(one) and is_alive(one)):
            return
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(one.pid, number)
        deadline = time.monotonic() + patience
        while is_alive(one) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _started_ticks(pid: int) -> int | None:
    """Read when a process started; None where there is none, or only its unreaped remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")  # the command's name may be any bytes
    except OSError:
        return None
    fields = [*text[: text.index("(")].split(), "command", *text[text.rindex(")") + 1 :].split()]
    return None if fields[2] in ("Z", "X") else int(fields[STARTED_TICKS_FIELD])
