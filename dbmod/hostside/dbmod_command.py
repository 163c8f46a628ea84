# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a program on the host: no shell, a known environment, output of limited size, a time limit where one is set."""

import contextlib
import os
import select
import time
from typing import IO, Any, Dict, NamedTuple, Optional, Sequence

OUTPUT_LIMIT_BYTES = 65536  # of a command's output that is kept; what came before is read and dropped
LOOK_MILLISECONDS = 20


class Completed(NamedTuple):
    """How a command ended: its exit code (below 0: the signal), and the end of what it printed."""

    code: int
    output: str


class TimedOut(Exception):
    """The command was killed at its limit, with its whole process group."""


def run(
    arguments: Sequence[str],
    environment: Dict[str, str],
    data: bytes = b"",
    *,
    limit_seconds: Optional[float] = None,
    directory: Optional[str] = None,
    open_files: Sequence[int] = (),
    errors: bool = True,
) -> Completed:
    """Run a program and wait for its end, not for what it leaves running.

    data        for its standard input
    open_files  descriptors that it gets under the same numbers
    errors      keep what it prints on standard error too
    Raises      OSError where it cannot be started, TimedOut
    """
    import signal  # 8 ms, only for types that run something
    import subprocess

    process: Any = subprocess.Popen(
        list(arguments),
        stdin=subprocess.PIPE if data else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
        env=environment,
        cwd=directory,
        pass_fds=tuple(open_files),
        start_new_session=limit_seconds is not None,
    )
    deadline = time.monotonic() + limit_seconds if limit_seconds is not None else None
    if data:
        _feed(process.stdin, data)
    with process.stdout:
        output = _output(process, deadline)
    if output is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise TimedOut
    return Completed(process.wait(), output.decode("utf-8", "replace"))


def _feed(stream: IO[bytes], data: bytes) -> None:
    """Write beside the reading: a program that waits for its output to be read would wait for ever otherwise."""
    import threading

    def write() -> None:
        with contextlib.suppress(OSError), stream:  # it may end without having read all
            stream.write(data)

    threading.Thread(target=write, daemon=True).start()


def _output(process: Any, deadline: Optional[float]) -> Optional[bytes]:
    """Read until the program has ended; None at the deadline."""
    kept = b""
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN | select.POLLHUP)
    is_open = True
    while True:
        has_ended = process.poll() is not None
        if is_open and poll.poll(0 if has_ended else LOOK_MILLISECONDS):
            chunk = os.read(process.stdout.fileno(), OUTPUT_LIMIT_BYTES)
            is_open = bool(chunk)
            kept = (kept + chunk)[-OUTPUT_LIMIT_BYTES:]
        elif has_ended:
            return kept
        elif not is_open:
            time.sleep(LOOK_MILLISECONDS / 1000)
        if deadline is not None and time.monotonic() >= deadline:
            return None
