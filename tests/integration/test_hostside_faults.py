"""The host's side under real faults: kills, full disks, types that hang, flood or leave processes."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbmod import paths, processes, transport
from tests import hosts

Figure = Callable[[str, str], None]
V1, V2 = b"message=Module.V1\n", b"message=Module.V2\n"


@pytest.fixture
def host(tmp_path: Path) -> hosts.Host:
    return hosts.Host(tmp_path)


def processes_with(marker: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


HANGING = {
    "sleeps": "time.sleep(600)",
    "loops": "while True: pass",
    "ignores signals": "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: time.sleep(1)",
    "waits for a daemon": "import subprocess\nsubprocess.call(['sleep', MARKER])",
    "leaves daemons": (
        "import subprocess\nfor _ in range(5):\n"
        "    subprocess.Popen(['sh', '-c', 'setsid sleep ' + MARKER + ' & setsid setsid sleep ' + MARKER + ' & wait'],"
        " start_new_session=True)\n"
        "time.sleep(600)"
    ),
    "keeps forking": (
        "import subprocess\nwhile True:\n"
        "    subprocess.Popen(['setsid', 'sleep', MARKER], start_new_session=True)\n    time.sleep(0.01)"
    ),
    "floods": "while True: os.write(1, b'x' * 65536)",
}


@pytest.mark.parametrize("name", HANGING)
def test_a_hanging_type_is_killed_with_all_its_processes(host: hosts.Host, name: str, figure: Figure) -> None:
    marker = f"600.{os.getpid()}{len(name)}"
    source = hosts.type_source(HANGING[name], header=f"MARKER = '{marker}'")
    begun = time.monotonic()
    sent = hosts.send_as(host, source, V1, time_limit_seconds=1)
    took = time.monotonic() - begun
    assert (sent.result.status, sent.result.message) == ("ERROR", "timed out after 1 s")
    assert took < 1 + 5
    assert processes_with(marker) == []
    assert len(sent.output) < 4096
    figure("R22", f"type {name}: killed {took - 1:.1f} s after its limit of 1 s, 0 processes left")


def test_a_type_that_ends_everything_when_it_is_loaded_ends_nothing(host: hosts.Host) -> None:
    sent = hosts.send_as(host, "raise SystemExit('secret')\n" + hosts.ACCEPT, V1)
    assert sent.answer.finished
    assert sent.result.message.startswith("SystemExit in loading mine on Python 3.")


def test_a_type_that_dies_leaves_nothing_at_work(host: hosts.Host) -> None:
    """As when the kernel runs out of memory: what the type had started would go on beside the next try."""
    marker = f"601.{os.getpid()}"
    start = f"import subprocess\nsubprocess.Popen(['setsid', 'sleep', '{marker}'])\ntime.sleep(0.2)\n"
    sent = hosts.send_as(host, hosts.type_source(start + "os.kill(os.getpid(), 9)"), V1)
    assert sent.result.message == "ended without a result (signal 9)"
    assert processes_with(marker) == []


def test_a_flood_of_a_gibibyte_reaches_nobody(host: hosts.Host, figure: Figure) -> None:
    prints = "for _ in range(16384): os.write(1, b'x' * 65536); os.write(2, b'x' * 65536)"
    flood = prints + "\nreturn kit.Outcome(False, 'x' * 9**7)"
    sent = hosts.send_as(host, hosts.type_source(flood), V1)
    assert (sent.result.status, sent.result.message) == ("OK", "x" * 254 + "…")
    assert len(sent.output) < 8192
    figure("R22", f"a type that prints 2 GiB: {len(sent.output)} bytes came back")


def test_a_daemon_that_a_type_starts_lives_on_and_holds_nothing(host: hosts.Host) -> None:
    marker = f"9.{os.getpid()}"
    start = f"import subprocess\nsubprocess.Popen(['sleep', '{marker}'], start_new_session=True, close_fds=False)\n"
    source = hosts.type_source(start + "return kit.Outcome(True, 'started')")
    try:
        begun = time.monotonic()
        assert hosts.send_as(host, source, V1).result.status == "OK"
        assert hosts.send_as(host, hosts.ACCEPT, V1, lock_wait_seconds=0).result.status == "OK"
        assert time.monotonic() - begun < 5
        assert len(processes_with(marker)) == 1
    finally:
        for process in processes_with(marker):
            os.kill(process, signal.SIGKILL)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "dbmod-test", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.root
@pytest.mark.parametrize("free_kib", [0, 4, 12, 40, 120, 170])
def test_a_full_disk_leaves_the_old_contents(host: hosts.Host, small_disk: Path, free_kib: int, figure: Figure) -> None:
    host.home = small_disk / "home"
    old, new = os.urandom(200_000), os.urandom(200_000)
    assert hosts.send_as(host, hosts.ACCEPT, old).result.status == "OK"
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - free_kib * 1024))
    before = hosts.snapshot(host.home)
    sent = hosts.send_as(host, hosts.ACCEPT, new, serial=2, run="run-2")
    pattern = rf"no room for the contents \(needs (\d+) bytes in {host.home}, has (\d+)\)"
    message = re.fullmatch(pattern, sent.result.message)
    assert message, sent.result.message
    assert int(message[1]) == 216_384 > int(message[2])
    assert {name: seen[:3] for name, seen in hosts.snapshot(host.home).items()} == {
        name: seen[:3] for name, seen in before.items()
    }
    assert (host.folder("mine") / "contents.dat").read_bytes() == old
    look = host.send(host.request("query", hosts.module("mine", b"")), sources={"mine": hosts.ACCEPT})
    assert (look.result.status, look.result.note) == ("OK", "")
    (small_disk / "filler").unlink()
    assert hosts.send_as(host, hosts.ACCEPT, new, serial=3).result.status == "OK"
    figure("R23", f"disk full with about {free_kib} KiB free: old contents intact, nothing left behind")


@pytest.mark.root
def test_a_type_that_fills_the_disk_still_gets_its_result(host: hosts.Host, small_disk: Path) -> None:
    host.home = small_disk / "home"
    filler = (
        "try:\n    open(host.directory + '/filler', 'wb').write(bytes(1 << 21))\nexcept OSError as error:\n"
        "    raise kit.Refused('disk full')\nreturn kit.Outcome(True, '')"
    )
    sent = hosts.send_as(host, hosts.type_source(filler), V1)
    assert (sent.result.status, sent.result.message) == ("ERROR", "disk full")
    assert sent.result.evidence is not None and sent.result.evidence.message == "disk full"


@pytest.mark.root
def test_a_read_only_disk_is_an_error_with_its_reason(host: hosts.Host, small_disk: Path) -> None:
    host.home = small_disk / "home"
    assert host.apply("ping", V1).result.status == "OK"
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    sent = host.apply("ping", V2, serial=2)
    assert sent.result.status == "ERROR"
    assert "Read-only file system" in sent.result.message
    assert host.look("query", "ping").result.message == "Module.V1"


@pytest.mark.root
def test_a_read_only_disk_is_told_by_an_ordinary_ansible_module_too(small_disk: Path) -> None:
    (small_disk / "home").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    python = Path(sys.executable)
    words = [str(python.parent / "ansible"), "localhost", "-c", "local", "-e", f"ansible_python_interpreter={python}"]
    words += ["-m", "dbmod_ping", "-a", f"contents=message=1 home={small_disk}/home"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg")}
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=False).stdout
    assert "dbmod's home cannot be used (Read-only file system)" in said


FAILPOINTS = {
    "host_started": ("V1", ""),
    "mid_copy": ("V1", ""),
    "after_stage": ("V1", ""),
    "after_contents_rename": ("V2", "drifted"),
    "before_type": ("V2", "drifted"),
    "after_type": ("V2", "drifted"),
    "before_result": ("V2", "drifted"),
    "after_result": ("V2", ""),
}


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_anywhere_the_host_holds_old_or_new_and_knows_which(
    host: hosts.Host, tmp_path: Path, failpoint: str, figure: Figure
) -> None:
    assert host.apply("ping", V1).result.status == "OK"
    request = host.request("apply", hosts.module("ping", V2), run="run-2", serial=2)
    sent = hosts.kill_at(host, failpoint, request, V2, tmp_path)
    assert (sent.answer.started, sent.answer.finished, sent.answer.results) == (True, False, ())
    held, note = FAILPOINTS[failpoint]
    assert (host.folder("ping") / "contents.dat").read_bytes() == (V1 if held == "V1" else V2)
    look = host.look("query", "ping").result
    assert look.note == note
    assert look.evidence is not None
    assert look.evidence.run == ("run-2" if failpoint == "after_result" else "run-1")
    assert look.observed == hashlib.sha256(V1 if held == "V1" else V2).hexdigest()
    again = host.apply("ping", V2, run="run-3", serial=3).result
    assert (again.status, again.message) == ("OK", "Module.V2")
    assert sorted(path.name for path in host.folder("ping").iterdir()) == ["contents.dat", "result.json"]
    figure("R7", f"host killed at {failpoint}: {held} whole, reads {note or 'as recorded'}, the next apply heals it")


def test_a_killed_bundle_takes_its_type_with_it(host: hosts.Host, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    source = hosts.type_source(f"open({str(marker)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)")
    frame = transport.frame(host.request("apply", hosts.module("mine", V1)), {"mine": source}, [V1])
    command = ["/bin/sh", "-c", "exec " + transport.command(host.python)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert process.stdin
    process.stdin.write(frame)
    process.stdin.close()
    deadline = time.monotonic() + 20
    while not (marker.exists() and marker.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    its_type = processes.owner(int(marker.read_text()))
    process.kill()
    process.wait()
    while processes.is_alive(its_type):  # its remains may stay: the kit's own tests make pytest their reaper
        assert time.monotonic() < deadline, "the type outlived its bundle"
        time.sleep(0.01)


def test_nobody_listening_any_more_ends_it_after_the_module_at_hand(host: hosts.Host) -> None:
    modules = [hosts.module("ping", V1, f"m{number}") for number in range(3)]
    frame = transport.frame(host.request("apply", *modules), host.sources, [V1] * 3)
    process = subprocess.Popen(
        ["/bin/sh", "-c", transport.command(host.python) + " | head -c 10 >/dev/null"], stdin=subprocess.PIPE
    )
    assert process.stdin
    process.stdin.write(frame)
    process.stdin.close()
    process.wait(timeout=20)
    time.sleep(0.5)
    every = host.send(host.request("query")).answer.results
    assert len(every) <= 2
    assert all(result.status == "OK" and result.evidence for result in every)
