"""Which process carries a run, and whether it still lives."""

import os
import signal
import subprocess
import sys
import time

from dbmod import processes
from tests import builders

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"


def child(code: str) -> subprocess.Popen[bytes]:
    """Start a process that has printed a line, so that it has come to its code."""
    started = subprocess.Popen([sys.executable, "-IS", "-c", code], stdout=subprocess.PIPE)
    assert started.stdout
    started.stdout.readline()
    return started


def test_this_process_lives_and_one_that_has_ended_does_not() -> None:
    assert processes.is_alive(processes.owner())
    assert not processes.is_alive(builders.dead_owner())


def test_a_process_that_is_ended_but_not_yet_waited_for_is_dead() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    owner = processes.owner(pid)
    assert processes.is_alive(owner)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_alive(owner)
    os.waitpid(pid, 0)


def test_a_number_that_another_process_has_now_is_another_process() -> None:
    mine = processes.owner()
    assert not processes.is_alive(builders.REPLACE(mine, started_ticks=mine.started_ticks + 1))


def test_after_a_reboot_nothing_of_before_lives() -> None:
    before = builders.REPLACE(processes.owner(), boot_id="another")
    assert not processes.is_alive(before)
    assert not processes.is_here(before)


def test_a_process_of_another_machine_is_taken_to_live() -> None:
    far = builders.REPLACE(builders.dead_owner(), host="far")
    assert processes.is_alive(far)
    assert not processes.is_here(far)


def test_stop_ends_a_process_and_by_force_one_that_does_not_listen() -> None:
    for code, wait_seconds, ended_by in (("import time; print(flush=True); time.sleep(60)", 5, signal.SIGTERM),
                                         (STUBBORN, 0.1, signal.SIGKILL)):  # fmt: skip
        with child(code) as started:
            began = time.monotonic()
            processes.stop(processes.owner(started.pid), wait_seconds=wait_seconds)
            assert started.wait(5) == -ended_by
            assert time.monotonic() - began < 2


def test_stop_leaves_alone_what_is_not_that_process_any_more() -> None:
    mine = processes.owner()
    processes.stop(builders.REPLACE(mine, started_ticks=1), wait_seconds=0)
    processes.stop(builders.REPLACE(mine, host="far"), wait_seconds=0)
    assert processes.is_alive(mine)


def test_a_process_with_brackets_and_other_bytes_in_its_name_is_read_right() -> None:
    naming = "import ctypes; ctypes.CDLL(None).prctl(15, b') Z (\\xff)', 0, 0, 0); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", naming], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as named:
        assert named.stdout
        named.stdout.readline()
        owner = processes.owner(named.pid)
        assert owner.started_ticks > 0
        assert processes.is_alive(owner)
        named.kill()
