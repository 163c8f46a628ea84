"""Stop dbmod at a named place of its code, and kill there what a trial wants dead. The names: dbmod/failpoints.py."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from dbmod import failpoints

T = TypeVar("T")
PATIENCE_SECONDS = 20
POLL_SECONDS = 0.02
HOST_MARK = b"sys.stdin.buffer"  # of the command that a host runs, see transport.BOOTSTRAP


class Trap:
    """A failpoint that is armed: whoever gets there adds its pid to the file, and waits while the file is there."""

    def __init__(self, name: str, file: Path) -> None:
        self.file = file
        self.environment = {failpoints.NAME: name, failpoints.FILE: str(file)}

    def wait(self, count: int) -> list[int]:
        """Wait until so many processes are caught; give their pids."""
        return until(self.caught, lambda pids: len(pids) >= count, f"{count} at the failpoint {self.environment}")

    def caught(self) -> list[int]:
        return [int(line) for line in self.file.read_text().split()] if self.file.exists() else []

    def release(self) -> None:
        self.file.unlink(missing_ok=True)


def until(look: Callable[[], T], good: Callable[[T], bool], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """Look again and again until what is seen is good."""
    deadline = time.monotonic() + seconds
    while not good(seen := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}; last seen: {seen}"
        time.sleep(POLL_SECONDS)
    return seen


def processes(home: Path) -> dict[int, bytes]:
    """Find every process that works for a home, by its environment: pid → command line; workers and hosts too."""
    mark = b"DBMOD_HOME=" + os.fsencode(home)
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def is_host(command_line: bytes) -> bool:
    return HOST_MARK in command_line


def is_playbook(command_line: bytes) -> bool:
    return b"ansible-playbook" in command_line and not is_host(command_line)


def is_command(command_line: bytes) -> bool:
    return not is_playbook(command_line) and not is_host(command_line)


def kill(pids: Iterable[int]) -> None:
    """Kill -9, all of them stopped first, so that none sees another die."""
    known = list(pids)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in known:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def wait_for_end(home: Path) -> None:
    """Wait until nothing works for this home any more."""
    until(lambda: processes(home), lambda found: not found, f"the processes of {home} to end")
