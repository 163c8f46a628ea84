"""Limits of this machine's kernel that are too low for dozens of systemds on it, as a new machine has them.

They are raised, never lowered, and stay so until this machine's next boot: other slots may need them by then.
"""

import contextlib
from pathlib import Path

LEAST = {
    "fs/inotify/max_user_instances": 8192,  # each systemd takes five; 128 are for 25 machines
    "fs/inotify/max_user_watches": 524_288,
    "fs/aio-max-nr": 1_048_576,  # MariaDB's
    "kernel/pid_max": 131_072,
    "net/ipv4/neigh/default/gc_thresh3": 4096,
}


def raise_all() -> None:
    for name, least in LEAST.items():
        file = Path("/proc/sys", name)
        with contextlib.suppress(OSError):  # where it may not be written, fewer machines have to do
            if int(file.read_text()) < least:
                file.write_text(f"{least}\n")
