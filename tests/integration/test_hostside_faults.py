"""The host's side under real faults: any bytes, kills, full disks, hanging types, damaged and forged files."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from dbmod import transport
from dbmod.hostside import dbmod_files
from tests import hosts

Figure = Callable[[str, str], None]
V1, V2 = b"message=Module.V1\n", b"message=Module.V2\n"
MIB = 1 << 20
ACCEPT = hosts.type_source("return kit.Outcome(False, 'taken')")  # a type that takes any bytes

PAYLOADS = {
    "one byte": b"\0",
    "all byte values": bytes(range(256)),
    "crlf": b"a=1\r\nb=2\r\n",
    "no final newline": b"a=1",
    "utf-8": "a=é\U0001f600".encode(),
    "utf-16": "a=é".encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbfa=1",
    "invalid utf-8": b"\xc3\x28\xa0\xa1",
    "vault": b"$ANSIBLE_VAULT;1.1;AES256\n3030\n",
    "template": b"{{ lookup('pipe', 'touch CANARY') }}{% raw %}{# #}",
    "yaml tags": b"!!python/object/apply:os.system ['touch CANARY']",
    "frame": b"123\ndbmod-finished run-1\n",
    "64 KiB - 1": b"x" * 65535,
    "64 KiB": b"x" * 65536,
    "64 KiB + 1": b"x" * 65537,
    "8 MiB": os.urandom(8 * MIB),
    "64 MiB": os.urandom(MIB) * 64,
}


@pytest.fixture
def host(tmp_path: Path) -> hosts.Host:
    return hosts.Host(tmp_path)


def send_as(host: hosts.Host, source: str, contents: bytes, **more: object) -> hosts.Sent:
    """Apply contents with a type written for the test."""
    request = host.request("apply", hosts.module("mine", contents), **more)
    return host.send(request, [contents], sources={"mine": source})


def test_bytes_arrive_as_they_are(host: hosts.Host, figure: Figure) -> None:
    for name, payload in PAYLOADS.items():
        sent = send_as(host, ACCEPT, payload)
        assert (sent.result.status, sent.result.message) == ("OK", "taken"), name
        on_host = (host.folder("mine") / "contents.dat").read_bytes()
        assert hashlib.sha256(on_host).digest() == hashlib.sha256(payload).digest(), name
        back = host.send(host.request("retrieve", hosts.module("mine", b"")), sources={"mine": ACCEPT})
        assert back.result.contents == payload, name
    assert not list(Path().glob("CANARY")) and not list(host.home.parent.rglob("CANARY"))
    figure("R10", f"host: sha256 equal for {len(PAYLOADS)} of {len(PAYLOADS)} payloads, 1 B to 64 MiB")


def test_several_modules_arrive_in_order_and_one_failure_stops_none(host: hosts.Host) -> None:
    payloads = [V1, b"nothing\n", os.urandom(100_000), V2]
    ids = [f"m{number}" for number in range(4)]
    types = ["ping", "ping", "mine", "ping"]
    modules = [hosts.module(*what) for what in zip(types, payloads, ids, strict=True)]
    sent = host.send(host.request("apply", *modules), payloads, sources={**host.sources, "mine": ACCEPT})
    assert [(result.module, result.status) for result in sent.answer.results] == [
        *(("m0", "OK"), ("m1", "ERROR"), ("m2", "OK"), ("m3", "OK")),
    ]
    assert sent.answer.finished
    every = host.send(host.request("query"), sources={**host.sources, "mine": ACCEPT})
    assert sorted(result.module for result in every.answer.results) == ids


def test_controller_needs_little_memory_for_large_contents(host: hosts.Host, figure: Figure) -> None:
    code = (
        "import re; from dbmod import transport; from tests import hosts;"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]);"
        "base = peak(); data = b'x' * (64 << 20);"
        "request = transport.Request(run='r', serial=1, verb='apply', home='/h', instance='i',"
        " modules=(hosts.module('ping', data),)); frame = transport.frame(request, {}, [data]);"
        "print(peak() - base, len(frame) - len(data) < 1 << 20)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    grown_kib, is_raw = ended.stdout.split()
    assert is_raw == "True"
    assert int(grown_kib) <= 3 * 64 * 1024
    figure("R10", f"controller grows by {int(grown_kib) // 1024} MiB for a frame of 64 MiB (at most 192)")


def test_a_flipped_byte_is_refused_before_anything_is_written(host: hosts.Host) -> None:
    sent = host.send(host.request("apply", hosts.module("ping", V1)), [V2])
    assert sent.result.status == "ERROR"
    assert "sha256 differs" in sent.result.message
    assert not (host.folder("ping") / "contents.dat").exists()


def test_a_request_cut_short_starts_nothing(host: hosts.Host) -> None:
    frame = transport.frame(host.request("apply", hosts.module("ping", V1)), host.sources, [V1])
    for length in (0, 1, 5, 500, len(frame) // 2, len(frame) - len(V1), len(frame) - 1):
        command = ["/bin/sh", "-c", transport.command(host.python)]
        ended = subprocess.run(command, input=frame[:length], capture_output=True, check=False)
        answer = transport.read_answer(ended.stdout, "run-1")
        assert (answer.started, answer.results) == (False, ()), length
        assert not host.home.exists(), length


def test_every_file_is_private_from_its_first_instant(host: hosts.Host, tmp_path: Path, figure: Figure) -> None:
    frame = transport.frame(host.request("apply", hosts.module("ping", V1)), host.sources, [V1])
    trace = tmp_path / "trace"
    calls = "trace=open,openat,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,rename,renameat,renameat2,link,linkat"
    command = ["strace", "-f", "-o", str(trace), "-e", calls, "/bin/sh", "-c", transport.command(host.python)]
    subprocess.run(command, input=frame, capture_output=True, check=True, env=host.environment(), umask=0)
    lines = trace.read_text().splitlines()
    created = [line for line in lines if "O_CREAT" in line and "/dev/null" not in line]
    folders = [line for line in lines if "mkdir" in line]
    assert len(created) == 2 and len(folders) == 6
    assert all(line.rpartition(" = ")[0].rstrip().endswith("0600)") and "O_EXCL" in line for line in created)
    assert all(line.rpartition(" = ")[0].rstrip().endswith("0700)") for line in folders)
    assert [line for line in lines if "chmod" in line] == []
    names = re.findall(r'rename\w*\([^"]*"([^"]*)"[^"]*"([^"]*)"', "\n".join(lines))
    assert names == [(".contents.dat.new", "contents.dat"), (".result.json.new", "result.json")]
    for path in [host.home, *host.home.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    figure("R17", "host: 2 of 2 files created 0600 and 6 of 6 folders 0700 under umask 0, by strace")


KINDS = ("ValueError", "RuntimeError", "KeyError", "SystemExit", "KeyboardInterrupt")


@pytest.mark.parametrize("verb", ["validate", "apply", "remove", "query"])
def test_a_failing_type_tells_its_kind_and_not_its_data(host: hosts.Host, verb: str, figure: Figure) -> None:
    good = ACCEPT + "\ndef query(host):\n    return ''\n"
    heads = {"validate": "(contents):", "apply": "(contents, host):", "remove": "(contents, host):", "query": "(host):"}
    for number, kind in enumerate(KINDS):
        inserted = f"\n    CANARY = 'CAN' + 'ARY'; print(CANARY); print(CANARY, file=sys.stderr); raise {kind}(CANARY)"
        bad = good.replace(f"def {verb}{heads[verb]}", f"def {verb}{heads[verb]}{inserted}")
        assert bad != good
        send_as(host, good, V1, serial=number)
        verbs = {"validate": "apply", "query": "query"}
        module = hosts.module("mine", V1)
        request = host.request(verbs.get(verb, verb), module, serial=number)  # type: ignore[arg-type]
        sent = host.send(request, [V1] if request.verb == "apply" else [], sources={"mine": bad})
        where = "apply" if verb == "validate" else verb
        said = f"{kind} in mine's {where}"
        assert said in (sent.result.message, sent.result.detail)
        assert b"CANARY" not in sent.output + sent.errors
        assert not [path for path in host.home.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]
    figure("R18", f"host, {verb}: 0 hits in {len(KINDS)} exceptions with a canary as text")


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
    sent = send_as(host, source, V1, time_limit_seconds=1)
    took = time.monotonic() - begun
    assert (sent.result.status, sent.result.message) == ("ERROR", "timed out after 1 s")
    assert took < 1 + 5
    assert processes_with(marker) == []
    assert len(sent.output) < 4096
    figure("R22", f"type {name}: killed {took - 1:.1f} s after its limit of 1 s, 0 processes left")


def test_a_flood_of_a_gibibyte_reaches_nobody(host: hosts.Host, figure: Figure) -> None:
    prints = "for _ in range(16384): os.write(1, b'x' * 65536); os.write(2, b'x' * 65536)"
    flood = prints + "\nreturn kit.Outcome(False, 'x' * 9**7)"
    sent = send_as(host, hosts.type_source(flood), V1)
    assert (sent.result.status, sent.result.message) == ("OK", "x" * 254 + "…")
    assert len(sent.output) < 8192
    figure("R22", f"a type that prints 2 GiB: {len(sent.output)} bytes came back")


def test_a_daemon_that_a_type_starts_lives_on_and_holds_nothing(host: hosts.Host) -> None:
    marker = f"9.{os.getpid()}"
    start = f"import subprocess\nsubprocess.Popen(['sleep', '{marker}'], start_new_session=True, close_fds=False)\n"
    source = hosts.type_source(start + "return kit.Outcome(True, 'started')")
    try:
        begun = time.monotonic()
        assert send_as(host, source, V1).result.status == "OK"
        assert send_as(host, ACCEPT, V1, lock_wait_seconds=0).result.status == "OK"
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
    assert send_as(host, ACCEPT, old).result.status == "OK"
    (small_disk / "filler").write_bytes(bytes(MIB - 200_704 - 4096 - free_kib * 1024 - 4096 * 8))
    before = hosts.snapshot(host.home)
    sent = send_as(host, ACCEPT, new, serial=2, run="run-2")
    pattern = rf"no room for the contents \(needs (\d+) bytes in {host.home}, has (\d+)\)"
    message = re.fullmatch(pattern, sent.result.message)
    assert message, sent.result.message
    assert int(message[1]) == 216_384 > int(message[2])
    assert {name: seen[:3] for name, seen in hosts.snapshot(host.home).items()} == {
        name: seen[:3] for name, seen in before.items()
    }
    assert (host.folder("mine") / "contents.dat").read_bytes() == old
    look = host.send(host.request("query", hosts.module("mine", b"")), sources={"mine": ACCEPT})
    assert (look.result.status, look.result.note) == ("OK", "")
    (small_disk / "filler").unlink()
    assert send_as(host, ACCEPT, new, serial=3).result.status == "OK"
    figure("R23", f"disk full with about {free_kib} KiB free: old contents intact, nothing left behind")


@pytest.mark.root
def test_a_type_that_fills_the_disk_still_gets_its_result(host: hosts.Host, small_disk: Path) -> None:
    host.home = small_disk / "home"
    filler = (
        "try:\n    open(host.directory + '/filler', 'wb').write(bytes(1 << 21))\nexcept OSError as error:\n"
        "    raise kit.Refused('disk full')\nreturn kit.Outcome(True, '')"
    )
    sent = send_as(host, hosts.type_source(filler), V1)
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


def kill_at(
    host: hosts.Host, failpoint: str, request: transport.Request, contents: bytes, directory: Path
) -> hosts.Sent:
    """Send a request and kill the bundle with SIGKILL where the failpoint is."""
    reached = directory / "reached"
    frame = transport.frame(
        msgspec.structs.replace(request, failpoint=transport.Failpoint(name=failpoint, file=str(reached))),
        host.sources,
        [contents] if request.verb == "apply" else [],
    )
    command = ["/bin/sh", "-c", "exec " + transport.command(host.python)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=host.environment()
    )
    assert process.stdin and process.stdout
    process.stdin.write(frame)
    process.stdin.close()
    deadline = time.monotonic() + 20
    while not (reached.exists() and reached.read_text()):
        assert time.monotonic() < deadline, f"{failpoint} was never reached"
        time.sleep(0.005)
    os.kill(int(reached.read_text()), signal.SIGKILL)
    output = process.stdout.read()
    process.wait(timeout=10)
    reached.unlink()
    return hosts.Sent(answer=transport.read_answer(output, request.run), output=output, errors=b"")


@pytest.mark.parametrize("failpoint", FAILPOINTS)
def test_killed_anywhere_the_host_holds_old_or_new_and_knows_which(
    host: hosts.Host, tmp_path: Path, failpoint: str, figure: Figure
) -> None:
    assert host.apply("ping", V1).result.status == "OK"
    request = host.request("apply", hosts.module("ping", V2), run="run-2", serial=2)
    sent = kill_at(host, failpoint, request, V2, tmp_path)
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
    process.kill()
    process.wait()
    while Path(f"/proc/{marker.read_text()}").exists():
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


def test_a_late_run_is_refused(host: hosts.Host) -> None:
    assert host.apply("ping", V2, serial=7).result.status == "OK"
    for sent in (host.apply("ping", V1, serial=6), host.remove("ping", serial=6)):
        assert sent.result.status == "ERROR"
        assert sent.result.message == "refused: serial 6 is older than 7, which wrote here last"
        assert sent.result.evidence is None
    assert host.look("query", "ping").result.message == "Module.V2"
    assert host.apply("ping", V1, serial=7).result.status == "OK"


def test_an_instance_that_another_run_works_on_is_busy(host: hosts.Host) -> None:
    assert host.apply("ping", V1).result.status == "OK"
    with dbmod_files.folder(str(host.home), ["instances", hosts.INSTANCE]) as folder:
        assert folder is not None
        with dbmod_files.locked(folder, True, 1):
            sent = host.apply("ping", V2, serial=2, lock_wait_seconds=0.2)
            assert sent.answer.finished
            assert sent.result.message == "another run works on this instance (waited 0 s)"
            look = host.look("query", "ping", lock_wait_seconds=0.2)
            assert look.answer.results == ()
            assert look.answer.problem == "another run works on this instance (waited 0 s)"
    assert (host.folder("ping") / "contents.dat").read_bytes() == V1


def damage(folder: Path, name: str) -> None:
    """Do to a module's folder what an administrator, a cloned image or an intruder would."""
    contents, result, elsewhere = folder / "contents.dat", folder / "result.json", folder.parent / "elsewhere"
    if name in FORGED:
        result.write_text(json.dumps({**json.loads(result.read_text()), **FORGED[name]}))
        return
    damaged = result if name.startswith("result") else contents
    shutil.copy(damaged, elsewhere)
    DAMAGES[name](damaged, elsewhere)


def replace_by(make: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    return lambda path, elsewhere: (path.unlink(), make(path, elsewhere))


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "changed": lambda path, _: path.write_bytes(b"message=forged\n"),
    "truncated": lambda path, _: path.write_bytes(b""),
    "deleted": lambda path, _: path.unlink(),
    "symbolic link": replace_by(Path.symlink_to),
    "hard link": replace_by(Path.hardlink_to),
    "directory": replace_by(lambda path, _: path.mkdir()),
    "mode": lambda path, _: path.chmod(0o644),
    "result cut": lambda path, _: path.write_bytes(path.read_bytes()[:-20]),
    "result deep": lambda path, _: path.write_text("[" * 60_000),
    "result large": lambda path, _: path.write_bytes(bytes(MIB)),
    "result a link": replace_by(Path.symlink_to),
}
FORGED: dict[str, dict[str, object]] = {
    "another instance": {"instance": "other"},
    "another machine": {"machine": "0" * 32},
    "another digest": {"sha256": "0" * 64},
    "a field too many": {"more": 1},
    "a field of a wrong kind": {"serial": "9"},
}
DAMAGED = {
    "changed": ("drifted", "contents.dat is not what was applied"),
    "truncated": ("drifted", "contents.dat is not what was applied"),
    "deleted": ("missing", "contents.dat is missing"),
    "symbolic link": ("missing", "contents.dat is a link"),
    "hard link": ("drifted", "contents.dat has a second name"),
    "directory": ("missing", "contents.dat is not a file"),
    "mode": ("drifted", "contents.dat has mode 0644"),
    "result cut": ("unknown", "result.json is damaged"),
    "result deep": ("unknown", "result.json is damaged"),
    "result large": ("unknown", "result.json is damaged"),
    "result a link": ("unknown", "result.json is damaged"),
    "another instance": ("unknown", "result.json names another instance"),
    "another machine": ("unknown", "result.json names another machine"),
    "another digest": ("drifted", "contents.dat is not what was applied"),
    "a field too many": ("unknown", "result.json is damaged"),
    "a field of a wrong kind": ("unknown", "result.json is damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_seen_named_and_keeps_to_its_module(host: hosts.Host, name: str, figure: Figure) -> None:
    modules = [hosts.module("ping", V1), hosts.module("ping", V2, "other")]
    assert host.send(host.request("apply", *modules), [V1, V2]).answer.finished
    damage(host.folder("ping"), name)
    before = hosts.snapshot(host.home)
    answer = host.send(host.request("query")).answer
    results = {result.module: result for result in answer.results}
    assert (results[hosts.MODULE].note, results[hosts.MODULE].detail) == DAMAGED[name]
    assert (results["other"].note, results["other"].message) == ("", "Module.V2")
    if DAMAGED[name][0] == "unknown":
        assert results[hosts.MODULE].evidence is None
    assert hosts.snapshot(host.home) == before
    if name != "directory":  # somebody put that there: it is theirs to take away
        healed = host.apply("ping", V1, serial=9).result
        assert (healed.status, healed.message) == ("OK", "Module.V1")
        assert host.look("query", "ping").result.note == ""
    figure("R25", f"{name}: reported as {DAMAGED[name][0]}, nothing followed or repaired unasked")


def test_a_folder_that_is_a_link_is_never_entered(host: hosts.Host, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    host.directory.mkdir(parents=True, mode=0o700)
    (host.directory / "modules").symlink_to(tmp_path / "outside")
    sent = host.apply("ping", V1)
    assert (sent.result.status, sent.result.message) == ("ERROR", "modules is not a folder of dbmod's own")
    assert list((tmp_path / "outside").iterdir()) == []


def test_failed_contents_are_an_error_with_evidence_and_created_survives(host: hosts.Host) -> None:
    first = host.apply("ping", V1).result.evidence
    failed = host.apply("ping", b"nothing\n", run="run-2", serial=2).result
    removed = host.remove("ping", run="run-3", serial=3).result.evidence
    back = host.apply("ping", V1, run="run-4", serial=4).result.evidence
    assert first and failed.evidence and removed and back
    assert (failed.status, failed.evidence.status, failed.evidence.run) == ("ERROR", "ERROR", "run-2")
    assert {first.created, failed.evidence.created, removed.created, back.created} == {first.created}
    assert removed.removed is not None and back.removed is None
    assert removed.sha256 == failed.evidence.sha256, "a removal tells the version that was there"
    assert first.updated < failed.evidence.updated < removed.updated < back.updated


def test_a_type_that_became_secret_leaves_no_contents(host: hosts.Host) -> None:
    assert send_as(host, ACCEPT, V1).result.status == "OK"
    assert (host.folder("mine") / "contents.dat").exists()
    secret = ACCEPT + "\nDECLARES = kit.Declares(secret=True)\n"
    assert send_as(host, secret, V1, serial=2).result.changed is False
    assert not (host.folder("mine") / "contents.dat").exists()


def test_an_old_python_is_refused_with_the_reason(tmp_path: Path) -> None:
    code = transport.BOOTSTRAP.replace("sys.version_info<(3,6)", "sys.version_info<(9,9)")
    ended = subprocess.run([sys.executable, "-IS", "-c", code], input=b"", capture_output=True, check=False)
    answer = transport.read_answer(ended.stdout, "run-1")
    assert (ended.returncode, answer.started) == (1, False)
    assert answer.problem == "dbmod needs Python 3.6 or newer on the host"


LICENSE = b"license_key=0123456789abcdef\n"


def test_license_restarts_only_on_change_and_rolls_back_what_does_not_start(host: hosts.Host) -> None:
    """With a stand-in of systemctl: the agent is in no registry that tests reach."""
    calls = host.root / "systemctl.log"
    agent = host.root / "etc/newrelic-infra.yml"
    agent.write_text("log: {}\n")
    agent.chmod(0o640)
    (host.root / "systemctl.fails").touch()
    failed = host.apply("new_relic_license", LICENSE).result
    assert failed.status == "ERROR"
    assert failed.message == ("New Relic license key not installed: systemctl restart newrelic-infra ended with code 1")
    assert agent.read_text() == "log: {}\n"
    (host.root / "systemctl.fails").unlink()
    assert host.apply("new_relic_license", LICENSE, serial=2).result.status == "OK"
    assert agent.read_text() == "log: {}\nlicense_key: 0123456789abcdef\n"
    assert agent.stat().st_mode & 0o777 == 0o640
    assert host.apply("new_relic_license", LICENSE, serial=3).result.changed is False
    assert calls.read_text().splitlines() == ["restart newrelic-infra"] * 2
    agent.write_text("log: {}\n")
    look = host.look("query", "new_relic_license").result
    assert (look.note, look.detail) == ("missing", "license_key is not in /etc/newrelic-infra.yml")
    assert host.apply("new_relic_license", LICENSE, serial=4).result.changed is True
    assert host.remove("new_relic_license", serial=5).result.message == "New Relic license key removed"
    assert (host.root / "systemctl.state").read_text() == "inactive\n"


def test_license_restarts_after_a_kill_between_file_and_restart(host: hosts.Host, tmp_path: Path) -> None:
    """The file already has the key when the second try comes, and the agent does not know it yet."""
    request = host.request("apply", hosts.module("new_relic_license", LICENSE))
    (host.root / "etc/newrelic-infra.yml").write_text("license_key: 0123456789abcdef\n")
    kill_at(host, "before_type", request, LICENSE, tmp_path)
    assert host.apply("new_relic_license", LICENSE, serial=2).result.status == "OK"
    assert (host.root / "systemctl.log").read_text() == "restart newrelic-infra\n"


def test_license_needs_systemd(host: hosts.Host) -> None:
    shutil.rmtree(host.root / "run")
    sent = host.apply("new_relic_license", LICENSE)
    assert (sent.result.status, sent.result.message) == ("ERROR", "new_relic_license needs systemd on the host")
    assert not (host.root / "etc/newrelic-infra.yml").exists()
