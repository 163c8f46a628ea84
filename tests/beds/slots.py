"""A slot: what one run of the tests may use of this machine, and how all of it is found and removed.

A slot belongs to whoever holds the kernel lock on its file, so that a dead run's slot is known by its open lock and is
swept by the next run.
"""

import contextlib
import fcntl
import ipaddress
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from tests.beds.commands import run

CACHE = Path(os.environ.get("DBMOD_TEST_BEDS", "/var/cache/dbmod-tests"))
SLOTS = 40
NAMESPACES = Path("/run/netns")
CONTROL_GROUPS = [Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
PATIENCE_SECONDS = 30  # other mount namespaces of this machine may hold copies of ours for a while


class StillBusy(RuntimeError):
    """Something of a slot cannot be removed now."""


class Slot:
    """One run's share of this machine; close() removes all that is in it."""

    def __init__(self, number: int, lock: int) -> None:
        self.number = number
        self._lock = lock
        self.name = f"dbmod{number}"  # of its network namespace; what is in the slot begins so
        self.directory = CACHE / "slots" / str(number)
        self.second_octet = 200 + number

    def address(self, third: int, fourth: int) -> str:
        return f"10.{self.second_octet}.{third}.{fourth}"

    @property
    def range(self) -> str:
        return f"10.{self.second_octet}.0.0/16"

    def names(self) -> re.Pattern[str]:
        """Match what is named after this slot: dbmod1, dbmod1h3, never dbmod12."""
        return re.compile(rf"{self.name}(?!\d)")

    def close(self) -> None:
        clear(self)
        os.close(self._lock)


def take() -> Slot:
    """Sweep the slots of dead runs and take the first that is free."""
    sweep()
    for number in range(SLOTS):
        slot = _lock(number)
        if slot is None:
            continue
        if not slot.directory.exists() and _is_range_free(slot):
            slot.directory.mkdir(parents=True)
            slot.directory.chmod(0o755)
            return slot
        os.close(slot._lock)
    raise RuntimeError(f"none of the {SLOTS} slots of the test beds is free")


def sweep() -> list[int]:
    """Remove what dead runs left, in all slots; returns the slots that were swept.

    One that somebody else keeps busy stays, and is not taken: it must not hinder runs that have nothing to do with it.
    """
    found = []
    for file in sorted((CACHE / "slots").glob("*.lock")):
        slot = _lock(int(file.stem))
        if slot is None:
            continue  # its run is alive
        if slot.directory.exists() or leftovers(slot):
            with contextlib.suppress(StillBusy):
                clear(slot)
                found.append(slot.number)
        os.close(slot._lock)
    return found


def clear(slot: Slot) -> None:
    """Remove all that is in a slot; raises if something stays."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        _remove_once(slot)
        left = leftovers(slot)
        if not left:
            break
        if time.monotonic() > deadline:
            raise StillBusy(f"slot {slot.number} of the test beds could not be cleared: {left}")
        time.sleep(0.1)
    run("rm", "-rf", "--one-file-system", str(slot.directory))


def leftovers(slot: Slot) -> list[str]:
    """List what of this machine a slot uses, its directory aside: one line for each thing."""
    return [
        *(f"process {process} {_command(process)}" for process in processes(slot)),
        *(f"mount {mount}" for mount in _mounts(slot)),
        *(f"loop device {device}" for device in _loop_devices(slot)),
        *(f"network namespace {name}" for name in _namespaces(slot)),
        *(f"link {link}" for link in _links(slot)),
        *(f"route {route}" for route in _routes(slot)),
        *(f"control group {path}" for path in _control_groups(slot)),
    ]


def processes(slot: Slot) -> list[int]:
    """List the processes in the slot's network namespaces, and those that its directory names."""
    namespaces = {(NAMESPACES / name).stat().st_ino for name in _namespaces(slot)}
    marker = f"{slot.directory}/".encode()
    return [process for process in _all_processes() if _is_within(process, namespaces, marker)]


def _lock(number: int) -> Slot | None:
    file = CACHE / "slots" / f"{number}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return Slot(number, descriptor)


def _is_range_free(slot: Slot) -> bool:
    """Tell whether this machine reaches nothing of its own in the slot's range."""
    ours = ipaddress.ip_network(slot.range)
    routes = [route["dst"] for route in json.loads(run("ip", "-j", "-4", "route", "show", "table", "all").stdout)]
    return not any(ours.overlaps(ipaddress.ip_network(route)) for route in routes if route != "default")


def _remove_once(slot: Slot) -> None:
    for process in processes(slot):
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    for device in _loop_devices(slot):  # while their files have names; those in use go with the last mount
        run("losetup", "--detach", device, check=False)
    for mount in _mounts(slot):
        run("umount", "--lazy", mount, check=False)
    for name in _namespaces(slot):
        run("ip", "netns", "del", name, check=False)
    for link in _links(slot):
        run("ip", "link", "del", link, check=False)
    for route in _routes(slot):
        run("ip", "route", "del", *route.split(), check=False)
    for path in _control_groups(slot):
        run("find", str(path), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";", check=False)


def _all_processes() -> Iterator[int]:
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return (number for number in numbers if number != os.getpid())


def _is_within(process: int, namespaces: set[int], marker: bytes) -> bool:
    try:
        if Path(f"/proc/{process}/ns/net").stat().st_ino in namespaces:
            return True
        return marker in Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:  # it ended, or is a zombie
        return False


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    except OSError:
        return ""


def _mounts(slot: Slot) -> list[str]:
    """List the mount points below the slot's directory, the innermost first."""
    points = [line.split(" ")[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{slot.directory}/")), reverse=True)


def _loop_devices(slot: Slot) -> list[str]:
    """List the slot's loop devices that do not go by themselves with their last mount.

    Those that do may outlive the slot while a process of somebody else's holds a copy of this machine's mounts.
    """
    lines = run("losetup", "--noheadings", "--output", "NAME,AUTOCLEAR,BACK-FILE").stdout.splitlines()
    devices = [line.split(maxsplit=2) for line in lines]
    return [name for name, goes, file in devices if goes == "0" and file.startswith(f"{slot.directory}/")]


def _namespaces(slot: Slot) -> list[str]:
    return _named(slot, NAMESPACES)


def _links(slot: Slot) -> list[str]:
    return _named(slot, Path("/sys/class/net"))


def _named(slot: Slot, directory: Path) -> list[str]:
    entries = directory.iterdir() if directory.exists() else []
    return [entry.name for entry in entries if slot.names().match(entry.name)]


def _routes(slot: Slot) -> list[str]:
    lines = run("ip", "-4", "route", "show").stdout.splitlines()
    lines += run("ip", "-4", "route", "show", "type", "unreachable").stdout.splitlines()
    ours = re.compile(rf"(unreachable )?10\.{slot.second_octet}\.")
    return sorted({line.strip() for line in lines if ours.match(line)})


def _control_groups(slot: Slot) -> list[Path]:
    parents = [parent for parent in CONTROL_GROUPS if (parent / "cgroup.procs").exists()]
    return [parent / name for parent in parents for name in _named(slot, parent)]
