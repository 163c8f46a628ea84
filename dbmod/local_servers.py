"""Servers on this machine: the only place that starts, finds and ends their processes.

A server is known by its working directory <directory>/data and its program's name, never by a number in a file: such a
number may by now be another process.

    <directory>/            0711, or 0700 where dbmod is not root
      etc/        0711      configuration (0640, readable by the server's own group), the password (0600)
      data/ run/  0700      the server's own
      log/        0700      server.log
      server.pid            for people and monitoring; dbmod itself does not trust it
      server.json           how it was started, for whoever has to restart it: see `main`
      instances/            what the module types keep
"""

import os
import shutil
import signal
import socket
import subprocess  # noqa: TID251  (this is the door to the local servers)
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from dbmod import datastores, errors, names

LOG_LINES = 8
RECORD = "server.json"
POLL_SECONDS = 0.02
KILL_SECONDS = 10
COMM_LENGTH = 15  # of /proc/<pid>/comm


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a datastore's role says about its server."""

    title: str
    programs: tuple[str, ...]  # names; the first that is installed is started
    directories: tuple[str, ...] = ()  # where they lie besides PATH, see datastores.find_program
    arguments: tuple[str, ...]
    package: str
    start_seconds: float
    stop_seconds: float
    stop_signal: str = "SIGTERM"  # what ends its main process in good order


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one instance lives, and as whom."""

    directory: Path
    uid: int | None  # None: as the user who runs dbmod
    gid: int | None = None  # None: the number of its user
    address: str
    port: int

    def __post_init__(self) -> None:
        # Everything below the directory is removed in the end: it must be one that dbmod made.
        if not self.directory.is_absolute() or not names.is_identifier(self.directory.name):
            raise ValueError("the directory of a local instance is named by the instance's id")
        if self.uid is not None and self.uid <= 0:
            raise ValueError("a local server never runs as root")

    @property
    def group(self) -> int | None:
        return self.uid if self.gid is None else self.gid

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "log" / "server.log"

    @property
    def pid_file(self) -> Path:
        return self.directory / "server.pid"


def make_directories(place: Place, *, check: bool = False) -> bool:
    """Make the instance's directories; tell whether any was missing."""
    missing = [folder for folder, _, _ in _folders(place) if not folder.is_dir()]
    if check or not missing:
        return bool(missing)
    if not place.directory.parent.is_dir():
        place.directory.parent.mkdir(parents=True, exist_ok=True)
        place.directory.parent.chmod(0o711 if place.uid else 0o700)
    for folder, mode, owner in _folders(place):
        if folder.is_dir():
            continue
        folder.mkdir(mode=0o700)
        if owner is not None:
            os.chown(folder, owner, place.group or owner)
        folder.chmod(mode)
    return True


def _folders(place: Place) -> list[tuple[Path, int, int | None]]:
    shared = 0o711 if place.uid else 0o700
    return [
        (place.directory, shared, None),
        (place.directory / "etc", shared, None),
        (place.directory / "log", 0o700, None),
        (place.directory / "run", 0o700, place.uid),
        (place.data, 0o700, place.uid),
    ]


def processes(place: Place, server: Server) -> list[int]:
    """Give the pids of the instance's server."""
    known = _known(server)
    data = Path(os.path.realpath(place.data))  # as the kernel tells it, where a link leads to the directory
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if (entry / "cwd").readlink() == data and (entry / "comm").read_text().strip() in known:
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
    return found


def _known(server: Server) -> set[str]:
    return {program[:COMM_LENGTH] for program in server.programs}


def is_listening(address: str, port: int) -> bool:
    """Tell whether anything accepts connections there."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def start(place: Place, server: Server, *, check: bool = False) -> bool:
    """Start the server where it does not run, and wait until it accepts connections; tell whether it was started.

    Raises Failed with the end of the server's log; Refused where the program is missing
    """
    if processes(place, server):
        return False
    program = datastores.find_program(server.programs, server.directories)
    if program is None:
        raise errors.Refused(f"{server.title} is not installed", next_step=f"apt-get install {server.package}")
    if is_listening(place.address, place.port):
        raise errors.Failed(f"port {place.port} of {place.address} is taken by another program")
    if check:
        return True
    _wait_until_buried(place, server)
    said_before = place.log.stat().st_size if place.log.exists() else 0
    process = _spawn(place, [program, *server.arguments])
    _write_pid(place, process.pid)
    _write_record(place, server)
    deadline = time.monotonic() + server.start_seconds
    while not is_listening(place.address, place.port):
        if process.poll() is not None:
            raise errors.Failed(
                f"{server.title} ended with {process.returncode} while starting: {_said(place, said_before)}"
            )
        if time.monotonic() > deadline:
            stop(place, server)
            raise errors.Failed(
                f"{server.title} does not answer after {server.start_seconds:g} s: {_said(place, said_before)}"
            )
        time.sleep(POLL_SECONDS)
    return True


def _wait_until_buried(place: Place, server: Server) -> None:
    """Wait, with a bound, for a killed server that process 1 has not yet buried: PostgreSQL would call it alive.

    In a container that may take seconds. The number in the pid file may be another's by now: nothing is done to it.
    """
    deadline = time.monotonic() + KILL_SECONDS
    while time.monotonic() < deadline:
        try:
            status = Path("/proc", place.pid_file.read_text().strip(), "status").read_text()
        except OSError:
            return
        name, state = (status.split(f"{key}:")[1].split()[0] for key in ("Name", "State"))
        if state != "Z" or name not in _known(server):
            return
        time.sleep(POLL_SECONDS)


def _spawn(place: Place, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one: its own session, the log as its output, nothing of our environment."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    log = os.open(place.log, flags, 0o600)  # noqa: TID251  (a server needs the file itself as its output)
    try:
        return subprocess.Popen(
            command,
            cwd=place.data,
            env={"PATH": datastores.SYSTEM_PATH, "HOME": str(place.data), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=place.uid,
            group=place.group,
            extra_groups=[] if place.uid else None,
            umask=0o077,
        )
    finally:
        os.close(log)


def _write_pid(place: Place, pid: int) -> None:
    fresh = place.pid_file.with_suffix(".new")
    fresh.write_text(f"{pid}\n")
    fresh.replace(place.pid_file)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """How a server was started."""

    place: Place
    server: Server


def _write_record(place: Place, server: Server) -> None:
    data = msgspec.json.encode(Record(place=place, server=server), enc_hook=str)
    record = place.directory / RECORD
    if record.exists() and record.read_bytes() == data:
        return
    fresh = record.with_suffix(".new")
    fresh.write_bytes(data)
    fresh.replace(record)


def restart(directory: Path) -> None:
    """Restart the server of a directory as it was started last.

    Raises  Refused where it was never started by a dbmod that kept how; whatever stop and start raise
    """
    try:
        data = (directory / RECORD).read_bytes()
    except FileNotFoundError as error:
        raise errors.Refused(
            f"{directory / RECORD} is missing, which says how the server is started",
            next_step="dbmod restart <instance>, which writes it",
        ) from error
    record = msgspec.json.decode(data, type=Record, dec_hook=lambda kind, text: kind(text))
    stop(record.place, record.server)
    start(record.place, record.server)


def stop(place: Place, server: Server, *, check: bool = False) -> bool:
    """End the server: its stop_signal, and SIGKILL to all of it once stop_seconds have passed; tell whether it ran.

    Raises Failed where even that does not end it
    """
    running = processes(place, server)
    if check or not running:
        return bool(running)
    _send(signal.Signals[server.stop_signal], _leaders(running))
    for seconds in (server.stop_seconds, KILL_SECONDS):
        if _wait_until_gone(place, server, seconds):
            place.pid_file.unlink(missing_ok=True)
            return True
        _send(signal.SIGKILL, processes(place, server))
    raise errors.Failed(f"{server.title} does not end: process {processes(place, server)} survives SIGKILL")


def _send(number: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _leaders(pids: Sequence[int]) -> list[int]:
    """Leave out the children of others: PostgreSQL has a process for each connection, and ends them itself."""
    found = []
    for pid in pids:
        try:
            status = Path("/proc", str(pid), "status").read_text()
        except OSError:  # it ended meanwhile
            continue
        if int(status.split("PPid:")[1].split()[0]) not in pids:
            found.append(pid)
    return found


def _wait_until_gone(place: Place, server: Server, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while processes(place, server):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def remove(place: Place, *, check: bool = False) -> bool:
    """Remove the instance's directory with everything in it; tell whether there was one."""
    if not place.directory.is_dir():
        return False
    if not check:
        shutil.rmtree(place.directory)
    return True


def _said(place: Place, offset: int) -> str:
    """Give the last lines that the server wrote to its log after *offset*, as one line."""
    with place.log.open("rb") as log:
        log.seek(max(offset, place.log.stat().st_size - 4096))
        text = log.read().decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-LOG_LINES:]) or "it wrote nothing to its log"


def main() -> int:
    """Restart the server of the directory that the command line names."""
    try:
        restart(Path(sys.argv[1]))
    except errors.DbmodError as error:
        sys.stderr.write("\n".join(error.lines()) + "\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
