"""R1, R2, R3, R6, R17, R24: the ledger under death, full disks, many writers and flipped bits."""

import errno
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dbmod import errors, store
from dbmod.config import Settings
from dbmod.records import Record, Row
from dbmod.store import contents
from dbmod.store import head as heads
from tests import ledgers
from tests.faults import disks, ledger_files, processes, steps

Figure = Callable[[str, str], None]
PROJECT = Path(__file__).parents[2]
SEED = 20170602


def write(settings: Settings, *records: Record, delete: tuple[Record, ...] = ()) -> None:
    with store.open(settings).transaction(holder="a test") as tables:
        tables.put(*records)
        tables.delete(*delete)


def rows(count: int, *, message: str = "Module.V1") -> list[Row]:
    return [ledgers.row(number, message=message) for number in range(count)]


CASES: dict[str, tuple[Callable[[Settings], None], Callable[[Settings], None]]] = {
    "first write": (lambda _: None, lambda s: write(s, ledgers.module(1), *rows(3))),
    "grow": (lambda s: write(s, *rows(3)), lambda s: write(s, ledgers.module(1), *rows(40))),
    "shrink": (lambda s: write(s, *rows(40)), lambda s: write(s, delete=tuple(rows(39)))),
    "same size": (lambda s: write(s, *rows(9)), lambda s: write(s, *rows(9, message="Module.V2"))),
    "empty": (lambda s: write(s, *rows(3), ledgers.module(1)), lambda s: write(s, delete=tuple(rows(3)))),
    "20,000 rows": (lambda s: write(s, *rows(20_000)), lambda s: write(s, *rows(50, message="Module.V2"))),
}


def copy_of(settings: Settings, home: Path, place: Path) -> Settings:
    """Copy a ledger to work on it in another place."""
    shutil.rmtree(place, ignore_errors=True)
    if home.exists():
        shutil.copytree(home, place)
    return msgspec.structs.replace(settings, home=str(place))


def old_and_new(settings: Settings, tmp_path: Path, case: str) -> tuple[dict[str, bytes], tuple[object, object], int]:
    """Prepare the case in settings.home. Returns  its bytes, both states, the steps of the write."""
    before, action = CASES[case]
    before(settings)
    mine = copy_of(settings, settings.home_path, tmp_path / "whole")
    outcome = steps.run(lambda: action(mine))
    assert outcome.state == "done", outcome
    states = (ledger_files.state(settings), ledger_files.state(mine))
    assert states[0] != states[1]
    return ledger_files.committed_bytes(settings), states, outcome.steps


@pytest.mark.parametrize("case", CASES)
def test_a_write_killed_at_any_step_leaves_the_old_or_the_new_state(
    settings: Settings, tmp_path: Path, figure: Figure, case: str
) -> None:
    _, (old, new), count = old_and_new(settings, tmp_path, case)
    seen = set()
    for step in range(1, count + 1):
        mine = copy_of(settings, settings.home_path, tmp_path / "killed")
        assert steps.run(lambda mine=mine: CASES[case][1](mine), die_at=step).state == "killed"
        found = ledger_files.state(mine)
        assert found in (old, new), f"step {step}"
        seen.add(found == new)
        left = ledger_files.leftovers(mine)
        assert len({path.name.removesuffix(".new").partition(".")[0] for path in left}) == len(left), left
        write(mine, ledgers.run(7))
        assert ledger_files.leftovers(mine) == []
        assert not heads.at(mine.home_path).leaving.exists()
        assert len(ledger_files.state(mine)) == len(found) + 1
    assert seen == {True, False}
    figure("R1", f"{case}: killed at each of {count} steps, 0 states that are neither old nor new")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=lambda number: errno.errorcode[number])
def test_a_call_that_fails_leaves_the_ledger_byte_for_byte(
    settings: Settings, tmp_path: Path, figure: Figure, number: int
) -> None:
    trials = 0
    for case in ("first write", "grow", "shrink"):
        settings = msgspec.structs.replace(settings, home=str(tmp_path / case))
        before, (old, new), count = old_and_new(settings, tmp_path, case)
        refused = 0
        for step in range(1, count + 1):
            mine = copy_of(settings, settings.home_path, tmp_path / "failing")
            outcome = steps.run(lambda mine=mine, case=case: CASES[case][1](mine), fail_at=step, number=number)
            trials += 1
            if outcome.state == "done":  # a step that only tidies up
                assert ledger_files.state(mine) == new
            else:
                refused += 1
                assert (outcome.state, outcome.exit_code) == ("refused", 3), outcome
                assert str(mine.home_path) in outcome.what
                assert ledger_files.state(mine) == old
                if before:
                    assert ledger_files.committed_bytes(mine) == before, f"step {step}"
            if mine.home_path.exists() and heads.at(mine.home_path).shards.exists():
                assert len(ledger_files.leftovers(mine)) <= 1
            write(mine, ledgers.run(7))
            assert ledger_files.leftovers(mine) == []
        assert refused > count / 2
    figure("R2", f"{errno.errorcode[number]} at each of {trials} calls: ledger unchanged, exit 3, or done")


@pytest.mark.root
def test_a_full_disk_leaves_the_ledger_byte_for_byte(settings: Settings, tmp_path: Path, figure: Figure) -> None:
    records = rows(100)
    write(settings, *records)
    size = sum(map(len, ledger_files.committed_bytes(settings).values()))
    place = tmp_path / "disk"
    mine = msgspec.structs.replace(settings, home=str(place / "home"))
    refused = accepted = 0
    for limit in range(4096, 2 * size + 6 * 4096, 4096):
        with disks.small_tmpfs(place, size_bytes=limit):
            for change in (records, rows(100, message="Module.V2")):
                before = ledger_files.committed_bytes(mine)
                state = ledger_files.state(mine)
                try:
                    write(mine, *change)
                    accepted += 1
                except errors.LedgerUnwritable as error:
                    refused += 1
                    assert re.search(r"needs [1-9]\d* bytes, \d+ are free", error.what), error.what
                    assert error.details["path"].startswith(str(place))
                    assert ledger_files.state(mine) == state
                    assert not before or ledger_files.committed_bytes(mine) == before
            disks.grow(place, size_bytes=limit + 8 * size)
            write(mine, *records)
            assert ledger_files.leftovers(mine) == []
    assert refused > 10
    assert accepted > 10
    figure("R2", f"tmpfs from 4 KiB to twice the ledger: {refused} writes refused, {accepted} done, 0 ledgers changed")


def test_a_writer_killed_at_random_loses_no_acknowledged_row(
    settings: Settings, figure: Figure, trials: int = 200
) -> None:
    chance = random.Random(SEED)
    write(settings, ledgers.row(0, held=0))
    lost = unknown = 0
    for _ in range(trials):
        before = ledger_files.state(settings)[("rows m", ledgers.identifier(0))].held

        def count_up(descriptor: int, begin: int = before) -> None:
            mine = store.open(settings)
            for number in range(begin + 1, begin + 1000):
                with mine.transaction(holder="counting") as tables:
                    tables.put(ledgers.row(0, held=number, message="x" * (number * 37 % 3000)))
                os.write(descriptor, b".")

        second = processes.Second(count_up)
        if chance.random() < 0.8:
            second.wait_for_word()
            acknowledged = 1
        else:
            acknowledged = 0
        time.sleep(chance.random() * 0.02)
        acknowledged += len(second.kill())
        held = ledger_files.state(settings)[("rows m", ledgers.identifier(0))].held
        lost += held < before + acknowledged
        unknown += held > before + acknowledged + 1
    assert (lost, unknown) == (0, 0)
    figure("R1", f"kill -9 at random: {trials} trials, seed {SEED}, 0 acknowledged rows lost, 0 states in between")


@pytest.mark.nightly
def test_a_writer_killed_10000_times_loses_no_acknowledged_row(settings: Settings, figure: Figure) -> None:
    test_a_writer_killed_at_random_loses_no_acknowledged_row(settings, figure, trials=10_000)


def test_a_commit_is_durable_before_it_is_acknowledged(settings: Settings, tmp_path: Path, figure: Figure) -> None:
    program = (
        "import os\nfrom dbmod import config, store\nfrom tests import ledgers\n"
        f"ledger = store.open(config.Settings(home={settings.home!r}))\n"
        "for number in range(5):\n"
        "    with ledger.transaction(holder='a test') as tables:\n"
        "        tables.put(ledgers.row(number), ledgers.module(number))\n"
        "    os.write(1, b'acknowledged')\n"
        "ledger.write_contents('m', 1, b'message=x')\nos.write(1, b'acknowledged')\n"
    )
    trace = tmp_path / "trace"
    calls = "openat,mkdir,write,pwrite64,fsync,rename,link,unlink"
    subprocess.run(
        ["strace", "-y", "-s", "40", "-e", f"trace={calls}", "-o", trace, sys.executable, "-c", program],
        check=True,
        cwd=PROJECT,
        capture_output=True,
    )
    home = re.escape(str(settings.home_path))
    lines = [line for line in trace.read_text().splitlines() if settings.home in line or "acknowledged" in line]
    commits = "\n".join(lines).split('"acknowledged"')[:-1]
    assert len(commits) == 6
    for commit in commits[:-1]:
        order = _positions(commit, home)
        assert order == sorted(order), commit
    [content] = commits[5:]
    directory = rf"{home}/contents/m"
    parts = [
        rf"write\(\d+<{directory}/1\.\w+\.new>",
        rf"fsync\(\d+<{directory}/1\.\w+\.new>",
        r"rename\(.*/contents/m/1\.",
    ]
    order = [content.rindex(re.findall(part, content)[-1]) for part in (*parts, rf"fsync\(\d+<{directory}>")]
    assert order == sorted(order), content
    creates = [line for line in lines if "O_CREAT" in line]
    assert creates
    assert all(line.partition("O_CREAT")[2].partition(",")[2].startswith(" 0600)") for line in creates), creates
    made = [line for line in lines if line.startswith("mkdir(") and "= 0" in line]
    assert made
    assert all(", 0700)" in line for line in made), made
    figure(
        "R3",
        "strace: shards written, synced; HEAD written, synced, renamed; directory synced; then acknowledged: 5 of 5",
    )
    figure("R17", f"strace: {len(creates)} files created 0600, {len(made)} directories 0700, 0 others")


def _positions(commit: str, home: str) -> list[int]:
    """Find the first or last place of each step of a commit in its trace."""
    shard = rf"{home}/ledger/shards/[^>\"]*\.json\.new"
    ledger = rf"{home}/ledger"
    last = [rf"write\(\d+<{shard}", rf"fsync\(\d+<{shard}", rf"rename\(\"{shard}", rf"fsync\(\d+<{ledger}/shards>"]
    head = [rf"write\(\d+<{ledger}/HEAD\.new", rf"fsync\(\d+<{ledger}/HEAD\.new", rf"rename\(\"{ledger}/HEAD\.new\""]
    found = [list(re.finditer(part, commit))[-1].start() for part in (*last, *head)]
    for name in set(re.findall(shard, commit)):  # each shard: written, then synced, then renamed
        own = [commit.index(text) for text in (re.search(rf"write\(\d+<{re.escape(name)}", commit)[0],)]  # type: ignore[index]
        synced = re.search(rf"fsync\(\d+<{re.escape(name)}", commit)
        renamed = re.search(rf"rename\(\"{re.escape(name)}", commit)
        assert synced
        assert renamed
        assert own[0] < synced.start() < renamed.start()
    after = [match.start() for match in re.finditer(rf"fsync\(\d+<{ledger}>", commit) if match.start() > found[-1]]
    assert after, "the directory is not synced after HEAD was renamed"
    return [*found, after[0]]


def test_the_lock_of_a_killed_holder_is_free_at_once(settings: Settings, figure: Figure) -> None:
    write(settings, ledgers.run(1))
    waits = []
    for _ in range(200):

        def hold(descriptor: int) -> None:
            with store.open(settings).transaction(holder="to be killed"):
                os.write(descriptor, b".")
                time.sleep(60)

        second = processes.Second(hold)
        second.wait_for_word()
        acquired: list[float] = []

        def wait(acquired: list[float] = acquired) -> None:
            with store.open(settings).transaction(holder="the next", wait_seconds=10):
                acquired.append(time.monotonic())

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.01)
        killed = time.monotonic()
        second.kill()
        waiting.join()
        assert acquired, "the next writer waited until its time was out"
        waits.append(acquired[0] - killed)
    figure("R6", f"kill -9 of the holder: next writer after at most {max(waits) * 1000:.0f} ms, {len(waits)} trials")


def test_16_writers_lose_no_update(settings: Settings, figure: Figure) -> None:
    write(settings, *rows(10_000))

    def update(descriptor: int, writer: int) -> None:
        for number in range(25):
            ledger = store.open(settings)  # as a command does: nothing is remembered
            begin = time.monotonic()
            with ledger.transaction(holder=f"writer {writer}", wait_seconds=60) as tables:
                waited = time.monotonic() - begin
                row = tables.get(Row, ledgers.identifier(number), within="m")
                assert row is not None
                tables.put(msgspec.structs.replace(row, held=(row.held or 0) + 1))
            os.write(descriptor, b"%d " % (waited * 1000))

    begin = time.monotonic()
    writers = [processes.Second(lambda descriptor, writer=writer: update(descriptor, writer)) for writer in range(16)]
    ends = [writer.end() for writer in writers]
    seconds = time.monotonic() - begin
    assert [status for status, _ in ends] == [0] * 16
    waits = sorted(int(wait) for _, said in ends for wait in said.split())
    held = [record.held for record in ledger_files.state(settings).values()]  # type: ignore[attr-defined]
    assert sum(held) == 10_000 + 16 * 25
    assert held.count(17) == 25
    p99 = waits[int(len(waits) * 0.99)]
    figure(
        "R6", f"16 writers, 25 updates each, 10,000 rows: 0 of {len(waits)} lost, {seconds:.0f} s, wait p99 {p99} ms"
    )


def small_ledger(settings: Settings) -> dict[str, bytes]:
    """Write a ledger of some 10 KiB in three shards; give its files."""
    write(settings, *rows(6), ledgers.module(1), *(ledgers.run(number) for number in range(8)))
    files = ledger_files.committed_bytes(settings)
    assert 7_000 < sum(map(len, files.values())) < 12_000
    return files


def is_detected(settings: Settings) -> bool:
    try:
        ledger_files.state(settings)
    except errors.LedgerError as error:
        return error.exit_code == 3
    return False


def flipped_bits(settings: Settings, every: int) -> tuple[int, int]:
    """Flip bits of every file, one at a time. Returns  how many were flipped and how many were seen."""
    files = small_ledger(settings)
    ledger = heads.at(settings.home_path)
    trials = detected = 0
    for name, data in files.items():
        path = ledger.head if name == "HEAD" else ledger.shards / name
        for bit in range(trials % every, len(data) * 8, every):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            trials += 1
            detected += is_detected(settings)
        path.write_bytes(data)
    assert not is_detected(settings)
    return trials, detected


def test_a_flipped_bit_is_noticed(settings: Settings, figure: Figure) -> None:
    trials, detected = flipped_bits(settings, every=23)
    assert trials > 2_500
    assert detected == trials
    figure("R24", f"flipped bits: {detected} of {trials} noticed at open")


@pytest.mark.nightly
def test_every_flipped_bit_is_noticed(settings: Settings, figure: Figure) -> None:
    trials, detected = flipped_bits(settings, every=1)
    assert detected == trials
    figure("R24", f"every flipped bit: {detected} of {trials} noticed at open")


def test_a_cut_or_swapped_file_is_noticed(settings: Settings, figure: Figure) -> None:
    files = small_ledger(settings)
    ledger = heads.at(settings.home_path)
    places = {name: ledger.head if name == "HEAD" else ledger.shards / name for name in files}
    trials = 0
    for name, data in files.items():
        for length in range(0, len(data), 5):
            places[name].write_bytes(data[:length])
            assert is_detected(settings), f"{name} cut at {length}"
            trials += 1
        places[name].unlink()
        assert is_detected(settings)
        places[name].write_bytes(data)
    shards = [path for name, path in places.items() if name != "HEAD"]
    first, second = shards[0].read_bytes(), shards[1].read_bytes()
    shards[0].write_bytes(second)
    shards[1].write_bytes(first)
    assert is_detected(settings)
    figure(
        "R24", f"files cut short, missing or swapped: {trials + len(files) + 1} of {trials + len(files) + 1} noticed"
    )


def test_contents_replaced_under_faults_are_the_old_or_the_new(settings: Settings, tmp_path: Path) -> None:
    contents.write(settings, "m", 1, b"old" * 1000)
    mine = copy_of(settings, settings.home_path, tmp_path / "whole")
    count = steps.run(lambda: contents.write(mine, "m", 1, b"new" * 1000)).steps
    for step in range(1, count + 1):
        for fault in ({"die_at": step}, {"fail_at": step, "number": errno.ENOSPC}):
            mine = copy_of(settings, settings.home_path, tmp_path / "faulty")
            outcome = steps.run(lambda mine=mine: contents.write(mine, "m", 1, b"new" * 1000), **fault)
            assert outcome.state != "crashed", outcome
            assert contents.read(mine, "m", 1) in (b"old" * 1000, b"new" * 1000)
            contents.write(mine, "m", 1, b"newer")
            assert contents.read(mine, "m", 1) == b"newer"
            assert [path.name for path in (mine.home_path / "contents" / "m").glob("*.new")] == []


def test_a_rotation_killed_at_any_step_can_be_finished(settings: Settings, tmp_path: Path, figure: Figure) -> None:
    known = {(owner, number): f"{owner} {number}".encode() for owner in ("a", "b") for number in (1, 2)}
    for (owner, number), data in known.items():
        contents.write(settings, owner, number, data)
    mine = copy_of(settings, settings.home_path, tmp_path / "whole")
    count = steps.run(lambda: contents.rotate(mine)).steps
    for step in range(1, count + 1):
        for fault in ({"die_at": step}, {"fail_at": step}):
            mine = copy_of(settings, settings.home_path, tmp_path / "faulty")
            outcome = steps.run(lambda mine=mine: contents.rotate(mine), **fault)
            assert outcome.state != "crashed", outcome
            assert {name: contents.read(mine, *name) for name in known} == known
            contents.rotate(mine)
            assert {name: contents.read(mine, *name) for name in known} == known
            assert len((mine.home_path / "key").read_text().split()) == 1
            assert len(list(contents.listing(mine))) == len(known)
    figure("R1", f"key rotation killed or failing at each of {count} steps: 0 contents lost")
