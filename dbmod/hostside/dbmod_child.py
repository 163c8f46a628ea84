# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run a type's function in a child of its own, within a time limit, and leave none of its processes behind."""

import contextlib
import json
import os
import select
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Set

KILL = 9  # signal(7); Python's signal module takes longer to load than what it is needed for
SET_PARENT_DEATH_SIGNAL = 1  # prctl(2)
SET_CHILD_SUBREAPER = 36
ANSWER_LIMIT_BYTES = 8192
KILL_SECONDS = 5.0


class Ended(NamedTuple):
    """How the child ended.

    answer   what the function returned; None if it did not
    problem  "timed out after N s", "ended without a result (…)"; empty where there is an answer
    """

    answer: Optional[Dict[str, Any]]
    problem: str


def run(work: Callable[[], Dict[str, Any]], limit_seconds: float) -> Ended:
    """Call *work* in a child in its own session; at the limit, or where it dies, all its descendants are killed.

    work    must not raise; what it gives must be JSON of at most ANSWER_LIMIT_BYTES
    """
    _prctl(SET_CHILD_SUBREAPER, 1)  # descendants that detach come to us, where we can find them
    try:
        return _run(work, limit_seconds)
    finally:
        _prctl(SET_CHILD_SUBREAPER, 0)  # whoever calls need not wait for what comes later


def _run(work: Callable[[], Dict[str, Any]], limit_seconds: float) -> Ended:
    spared = set(_children())
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _be_the_child(work, writer)
    os.close(writer)
    try:
        line = _read_line(reader, time.monotonic() + limit_seconds)
    finally:
        os.close(reader)
    if line is None:
        _kill_all(child, spared)
        return Ended(None, "timed out after %g s" % limit_seconds)
    if not line.endswith(b"\n"):
        os.kill(child, KILL)  # it may have closed the pipe, and go on
    _, status = os.waitpid(child, 0)
    try:
        return Ended(json.loads(line.decode("utf-8")), "")
    except ValueError:
        _kill_all(child, spared)  # what it had started has nobody any more who waits for it
        how = "signal %d" % os.WTERMSIG(status) if os.WIFSIGNALED(status) else "code %d" % os.WEXITSTATUS(status)
        return Ended(None, "ended without a result (%s)" % how)


def _be_the_child(work: Callable[[], Dict[str, Any]], writer: int) -> None:
    """Never returns. No descriptor but the answer's stays open: no lock is inherited, output goes nowhere."""
    code = 1
    try:
        _prctl(SET_PARENT_DEATH_SIGNAL, KILL)
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nowhere, standard)
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)
        answer = memoryview(json.dumps(work()).encode("ascii")[: ANSWER_LIMIT_BYTES - 1] + b"\n")
        while answer:
            answer = answer[os.write(writer, answer) :]
        code = 0
    finally:
        os._exit(code)


def _read_line(reader: int, deadline: float) -> Optional[bytes]:
    """Read to the newline or the end; None at the deadline. Descendants may hold the pipe: its end is not awaited."""
    data = b""
    poll = select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    while not data.endswith(b"\n") and len(data) < ANSWER_LIMIT_BYTES:
        remaining = deadline - time.monotonic()
        if remaining <= 0 or not poll.poll(remaining * 1000):
            return None
        chunk = os.read(reader, 4096)
        if not chunk:
            break
        data += chunk
    return data


def _kill_all(child: int, spared: Set[int]) -> None:
    """Kill the child, its session and whatever else descends from it, until none is left."""
    deadline = time.monotonic() + KILL_SECONDS
    with contextlib.suppress(OSError):
        os.killpg(child, KILL)
    while time.monotonic() < deadline:
        victims = _descendants(spared)
        for victim in victims:
            with contextlib.suppress(OSError):
                os.kill(victim, KILL)
        for victim in set(_children()) - spared:
            with contextlib.suppress(OSError):
                os.waitpid(victim, os.WNOHANG)
        if not victims:
            return
        time.sleep(0.01)


def _parents() -> Dict[int, int]:
    """Map every process to its parent."""
    parents = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/%s/stat" % name, "rb") as file:
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    return parents


def _children() -> List[int]:
    path = "/proc/self/task/%d/children" % os.getpid()
    with contextlib.suppress(OSError), open(path) as file:
        return [int(word) for word in file.read().split()]
    return [process for process, parent in _parents().items() if parent == os.getpid()]


def _descendants(spared: Set[int]) -> List[int]:
    parents = _parents()
    found = [process for process, parent in parents.items() if parent == os.getpid() and process not in spared]
    for ancestor in found:  # grows while it is read: the children of each one found
        found.extend(process for process, parent in parents.items() if parent == ancestor)
    return found


def _prctl(option: int, value: int) -> None:
    """Ask the kernel; where ctypes or the call is missing, killing falls back to the child's own session."""
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
