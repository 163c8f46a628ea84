# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a program on the host: no shell, a known environment, output of limited size, a time limit where one is set."""

import contextlib
import os
import select
import time
from typing import IO, Any, Dict, List, NamedTuple, Optional, Sequence

OUTPUT_LIMIT_BYTES = 65536  # of what a command prints that is kept; what came before is read and dropped
LOOK_MILLISECONDS = 20


class Completed(NamedTuple):
    """How a command ended: its exit code (below 0: the signal), and the ends of standard output and standard error."""

    code: int
    output: str
    errors: str = ""


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
    errors      keep what it prints on standard error; else that is thrown away
    Raises      OSError where it cannot be started, TimedOut
    """
    import signal  # 8 ms, only for types that run something
    import subprocess

    process: Any = subprocess.Popen(
        list(arguments),
        stdin=subprocess.PIPE if data else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if errors else subprocess.DEVNULL,
        env=environment,
        cwd=directory,
        pass_fds=tuple(open_files),
        start_new_session=limit_seconds is not None,
    )
    deadline = time.monotonic() + limit_seconds if limit_seconds is not None else None
    if data:
        _feed(process.stdin, data)
    printed = _printed(process, [stream for stream in (process.stdout, process.stderr) if stream], deadline)
    if printed is None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise TimedOut
    return Completed(process.wait(), *[data.decode("utf-8", "replace") for data in printed])


def _feed(stream: IO[bytes], data: bytes) -> None:
    """Write beside the reading: a program that waits for its output to be read would wait for ever otherwise."""
    import threading

    def write() -> None:
        with contextlib.suppress(OSError), stream:  # it may end without having read all
            stream.write(data)

    threading.Thread(target=write, daemon=True).start()


def _printed(process: Any, streams: Sequence[IO[bytes]], deadline: Optional[float]) -> Optional[List[bytes]]:
    """Read the streams until the program has ended, and close them; None at the deadline."""
    kept = {stream.fileno(): b"" for stream in streams}
    poll = select.poll()
    for number in kept:
        poll.register(number, select.POLLIN | select.POLLHUP)
    with contextlib.ExitStack() as opened:
        for stream in streams:
            opened.enter_context(stream)
        while True:
            has_ended = process.poll() is not None
            ready = poll.poll(0 if has_ended else LOOK_MILLISECONDS)
            for number, _ in ready:
                chunk = os.read(number, OUTPUT_LIMIT_BYTES)
                kept[number] = (kept[number] + chunk)[-OUTPUT_LIMIT_BYTES:]
                if not chunk:
                    poll.unregister(number)
            if has_ended and not ready:
                return list(kept.values())
            if deadline is not None and time.monotonic() >= deadline:
                return None
