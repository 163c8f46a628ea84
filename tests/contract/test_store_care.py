"""R4 and the care of a ledger: check, repair, backup, restore, rotation of the key, readers beside writers."""

import base64
import hashlib
import io
import json
import os
import stat
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dbmod import audit_log, errors, store, vault
from dbmod.config import Settings
from dbmod.records import Module, Row
from dbmod.store import backup, check, commit, contents, migrations, repair
from dbmod.store import head as heads
from tests import builders, ledgers
from tests.faults import ledger_files, processes

Figure = Callable[[str, str], None]


@pytest.fixture
def ledger(settings: Settings) -> Settings:
    """A ledger of several generations, with contents of two versions."""
    with store.open(settings).transaction(holder="a test") as tables:
        versions = []
        for number, data in ((1, b"message=Module.V1\n"), (2, b"message=Module.V2\n")):
            contents.write(settings, ledgers.identifier(1), number, data)
            versions.append(ledgers.version(number, sha256=hashlib.sha256(data).hexdigest()))
        tables.put(ledgers.module(1, versions=tuple(versions)), ledgers.run(1))
    for count in (20, 30):
        with store.open(settings).transaction(holder="a test") as tables:
            tables.put(*(ledgers.row(number, held=count) for number in range(count)))
    return settings


def shard_path(settings: Settings, name: str) -> Path:
    places = heads.at(settings.home_path)
    return places.shard(name, heads.read(places).shards[name])


def damage(path: Path, text: bytes, other: bytes) -> None:
    data = path.read_bytes()
    assert len(text) == len(other)
    assert text in data
    path.write_bytes(data.replace(text, other, 1))


def test_a_sound_ledger_has_no_problems(ledger: Settings) -> None:
    report = check.check(ledger)
    assert report.is_sound
    assert (report.serial, report.shards, report.records, report.contents) == (3, 3, 32, 2)


def test_an_empty_home_is_sound_and_stays_empty(settings: Settings) -> None:
    assert check.check(settings).is_sound
    assert not settings.home_path.exists()


def test_check_reads_10000_rows_within_a_second(settings: Settings, figure: Figure) -> None:
    with store.open(settings).transaction(holder="a test") as tables:
        tables.put(*(ledgers.row(number) for number in range(10_000)))
    trials = []
    for _ in range(5):
        begin = time.process_time()  # a busy machine makes no difference to it
        assert check.check(settings).records == 10_000
        trials.append(time.process_time() - begin)
    figure("R4", f"ledger-check, 10,000 rows: median {sorted(trials)[2] * 1000:.0f} ms of processor time, 5 trials")
    assert sorted(trials)[2] <= 1


def test_check_names_every_kind_of_damage(ledger: Settings) -> None:
    def problems() -> list[str]:
        return [f"{problem.where}: {problem.what}" for problem in check.check(ledger).problems]

    for name in ("modules", "rows-m", "runs"):
        data = shard_path(ledger, name).read_bytes()
        shard_path(ledger, name).write_bytes(data[:-1])
        [problem] = problems()
        assert problem.startswith(f"{name}: ")
        shard_path(ledger, name).write_bytes(data)
    previous = heads.at(ledger.home_path).previous
    data = previous.read_bytes()
    previous.unlink()
    assert problems() == ["HEAD.previous: the generation before the last is missing or is another one"]
    previous.write_bytes(data)
    [first, second] = [path for _, _, path in contents.listing(ledger)]
    data = first.read_bytes()
    first.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert problems() == [
        f"contents 1 of {ledgers.identifier(1)}: {vault.damaged(f'the contents 1 of {ledgers.identifier(1)}').what}"
    ]
    first.write_bytes(data)
    second.unlink()
    assert len(problems()) == 1
    contents.write(ledger, ledgers.identifier(1), 2, b"message=other\n")
    assert "not the ones that the registry names" in problems()[0]
    (ledger.home_path / "key").unlink()
    [problem] = problems()
    assert "2 contents need the key with the id" in problem
    heads.at(ledger.home_path).head.write_bytes(b"")
    assert problems()[0].startswith("HEAD: ")


def test_repair_of_a_sound_ledger_does_nothing(ledger: Settings) -> None:
    before = ledger_files.committed_bytes(ledger)
    report = repair.repair(ledger)
    assert report.is_sound
    assert report.done == ()
    assert ledger_files.committed_bytes(ledger) == before


def test_repair_goes_back_to_the_generation_before_and_keeps_the_rows_it_can_read(ledger: Settings) -> None:
    path = shard_path(ledger, "rows-m")
    damage(path, b'"message":"Module.V1"', b'"message"="Module.V1"')
    data = path.read_bytes()
    report = repair.repair(ledger)
    assert report.is_sound, report
    rows = {row.key: row for row in store.open(ledger).snapshot().find(Row)}
    assert len(rows) == 30  # 20 of the generation before, 10 that only the damaged file has
    assert [rows[ledgers.identifier(number)].held for number in (0, 19, 20, 29)] == [20, 20, 30, 30]
    assert report.serial == 4
    [kept] = list((ledger.home_path / "damaged").rglob("*.json"))
    assert kept.read_bytes() == data
    assert any(str(kept.parent) in line for line in report.done)
    assert any("went back to the generation 2 of the shard rows-m" in line for line in report.done)


def test_repair_saves_every_record_that_can_be_read(ledger: Settings) -> None:
    for old in heads.at(ledger.home_path).shards.glob("rows-m.2-*"):
        old.unlink()
    path = shard_path(ledger, "rows-m")
    data = path.read_bytes()
    begin = data.index(ledgers.identifier(7).encode())
    path.write_bytes(data[:begin] + b"\xff" * 100 + data[begin + 100 :])
    report = repair.repair(ledger)
    assert report.is_sound, report
    assert {row.key for row in store.open(ledger).snapshot().find(Row)} == {
        ledgers.identifier(number) for number in range(30) if number != 7
    }
    assert any("saved 29 records from the damaged shard rows-m" in line for line in report.done)


def test_repair_of_a_file_cut_short_saves_what_comes_before(ledger: Settings) -> None:
    for old in heads.at(ledger.home_path).shards.glob("rows-m.2-*"):
        old.unlink()
    path = shard_path(ledger, "rows-m")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b'"' + ledgers.identifier(12).encode())])
    assert repair.repair(ledger).is_sound
    assert len(store.open(ledger).snapshot().find(Row)) == 12


def test_repair_of_a_missing_shard_says_what_is_lost(ledger: Settings) -> None:
    shard_path(ledger, "runs").unlink()
    report = repair.repair(ledger)
    assert report.is_sound
    assert any("saved 0 records from the damaged shard runs" in line for line in report.done)
    assert len(store.open(ledger).snapshot().find(Row)) == 30


@pytest.mark.parametrize("fault", ["flipped checksum", "flipped name", "emptied", "missing"])
def test_repair_makes_head_anew_and_loses_no_row(ledger: Settings, fault: str) -> None:
    before = ledger_files.state(ledger)
    places = heads.at(ledger.home_path)
    data = places.head.read_bytes()
    if fault == "missing":
        places.head.unlink()
    elif fault == "emptied":
        places.head.write_bytes(b"")
    elif fault == "flipped checksum":
        places.head.write_bytes(data.replace(b"dbmod-ledger 1 ", b"dbmod-ledger 1 0"))
    else:
        damage(places.head, b'"rows-m"', b'"rows-n"')
    with pytest.raises(errors.LedgerDamaged):
        store.open(ledger).snapshot()
    report = repair.repair(ledger)
    assert report.is_sound, report
    assert report.done
    assert ledger_files.state(ledger) == before
    assert store.open(ledger).snapshot().serial >= 3
    with store.open(ledger).transaction(holder="a test") as tables:
        tables.put(ledgers.run(2))
    assert check.check(ledger).is_sound


def test_a_record_that_cannot_be_understood_is_named_and_repair_keeps_it_aside(ledger: Settings) -> None:
    places = heads.at(ledger.home_path)
    head = heads.read(places)
    data = shard_path(ledger, "rows-m").read_bytes().replace(b'"status":"OK"', b'"status":"??"', 1)
    commit.commit(places, head, {"rows-m": data}, serial=head.serial + 1)
    with pytest.raises(errors.LedgerDamaged, match=f"the record {ledgers.identifier(0)} of the shard rows-m"):
        store.open(ledger).snapshot().find(Row)
    assert len(check.check(ledger).problems) == 1
    report = repair.repair(ledger)
    assert report.is_sound
    assert len(store.open(ledger).snapshot().find(Row)) == 29
    assert len(list((ledger.home_path / "damaged").rglob("rows-m*"))) == 1


def test_a_backup_is_restored_into_an_empty_home(ledger: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "ledger.tar"
    saved = backup.backup(ledger, archive)
    assert (saved.serial, saved.files, saved.has_key) == (3, 1 + 3 + 2 + 1, True)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    other = msgspec.structs.replace(ledger, home=str(tmp_path / "other"))
    restored = backup.restore(other, archive)
    assert restored.replaced is None
    assert ledger_files.state(other) == ledger_files.state(ledger)
    assert check.check(other).is_sound
    assert contents.read(other, ledgers.identifier(1), 2) == b"message=Module.V2\n"
    assert store.open(other).snapshot().serial == 4
    for path in (other.home_path, *other.home_path.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert not (other.home_path / "restoring").exists()
    with store.open(other).transaction(holder="a test") as tables:
        tables.put(ledgers.run(2))
    assert check.check(other).is_sound


def test_cursors_of_the_audit_log_stay_good_over_a_restore_and_are_refused_in_an_empty_home(
    ledger: Settings, tmp_path: Path
) -> None:
    archive = tmp_path / "ledger.tar"
    backup.backup(ledger, archive)
    with store.open(ledger).transaction(holder="a test") as tables:
        tables.put(ledgers.run(2))
    after = audit_log.place(str(store.open(ledger).snapshot().serial))
    backup.restore(ledger, archive, force=True)
    assert audit_log.changes(store.open(ledger).snapshot(), after=after) == []
    other = msgspec.structs.replace(ledger, home=str(tmp_path / "elsewhere"))
    backup.restore(other, archive)
    with store.open(other).transaction(holder="a test") as tables:
        tables.put(ledgers.run(3))
    ahead = (store.open(other).snapshot().serial + 1, 1)
    with pytest.raises(errors.Refused, match="a backup was restored"):
        audit_log.changes(store.open(other).snapshot(), after=ahead)


def test_a_restore_over_a_ledger_needs_force_and_keeps_the_old_one(ledger: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "ledger.tar"
    backup.backup(ledger, archive)
    saved_state = ledger_files.state(ledger)
    contents.rotate(ledger)
    with store.open(ledger).transaction(holder="a test") as tables:
        tables.put(ledgers.run(2))
    before = ledger_files.committed_bytes(ledger)
    with pytest.raises(errors.Refused, match="there is a ledger in"):
        backup.restore(ledger, archive)
    assert ledger_files.committed_bytes(ledger) == before
    restored = backup.restore(ledger, archive, force=True)
    assert ledger_files.state(ledger) == saved_state
    assert restored.serial == 5  # above the one that was there: hosts refuse a serial that they have seen pass
    assert check.check(ledger).is_sound
    assert restored.replaced is not None
    assert (restored.replaced / "HEAD").read_bytes() == before["HEAD"]
    assert (restored.replaced / "key").read_text() != (ledger.home_path / "key").read_text()
    assert len(list((restored.replaced / "contents").rglob("*.*"))) == 2


def test_a_backup_never_overwrites_and_needs_a_ledger(ledger: Settings, settings: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "ledger.tar"
    archive.write_bytes(b"mine")
    with pytest.raises(errors.Refused, match="exists"):
        backup.backup(ledger, archive)
    with pytest.raises(errors.Refused, match="there is no ledger"):
        backup.backup(msgspec.structs.replace(settings, home=str(tmp_path / "none")), tmp_path / "new.tar")
    with pytest.raises(errors.LedgerUnwritable):
        backup.backup(ledger, tmp_path / "no" / "such" / "place.tar")
    assert archive.read_bytes() == b"mine"
    assert not (tmp_path / "none").exists()


def test_a_damaged_ledger_is_not_backed_up(ledger: Settings, tmp_path: Path) -> None:
    damage(shard_path(ledger, "rows-m"), b"Module.V1", b"Module.V9")
    with pytest.raises(errors.LedgerDamaged, match="rows-m"):
        backup.backup(ledger, tmp_path / "ledger.tar")
    assert [path.name for path in tmp_path.iterdir() if "tar" in path.name] == []


def test_a_key_from_the_environment_is_not_in_the_backup(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = vault.new_key().line
    monkeypatch.setenv("DBMOD_KEY", line)
    with store.open(settings).transaction(holder="a test") as tables:
        tables.put(ledgers.run(1))
    contents.write(settings, "m", 1, b"message=canary")
    saved = backup.backup(settings, tmp_path / "ledger.tar")
    assert not saved.has_key
    data = (tmp_path / "ledger.tar").read_bytes()
    assert line.encode() not in data
    assert b"canary" not in data
    assert not (settings.home_path / "key").exists()


def members_of(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(archive) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]


def write_members(archive: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    with tarfile.open(archive, "w") as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def hostile_archives(archive: Path) -> dict[str, Callable[[], None]]:
    whole = members_of(archive)
    data = archive.read_bytes()

    def with_member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        write_members(archive, [(member, b"" if kind != tarfile.REGTYPE else b"canary"), *whole])

    def with_manifest(**changes: object) -> None:
        manifest = json.loads(whole[-1][1]) | changes
        write_members(archive, [*whole[:-1], (whole[-1][0], json.dumps(manifest).encode())])

    def with_other_bytes(name: str) -> None:
        write_members(archive, [(member, text + b" " if member.name == name else text) for member, text in whole])

    hostile: dict[str, Callable[[], None]] = {
        f"a member {name!r}": lambda name=name: with_member(name)  # type: ignore[misc]
        for name in ("../canary", "/tmp/canary", "shards/../../canary", "canary", "contents/../canary/1.aa", "HEAD")
    }
    hostile["a symbolic link"] = lambda: with_member("contents/m/1.0123456789abcdef", tarfile.SYMTYPE, "/etc")
    hostile["a hard link"] = lambda: with_member("contents/m/1.0123456789abcdef", tarfile.LNKTYPE, "/etc/passwd")
    hostile["a device"] = lambda: with_member("shards/x.json", tarfile.CHRTYPE)
    hostile["no manifest"] = lambda: write_members(archive, whole[:-1])
    hostile["no HEAD"] = lambda: write_members(archive, whole[1:])
    hostile["another manifest"] = lambda: with_manifest(files={})
    hostile["a manifest that is none"] = lambda: with_manifest(files=[1])
    hostile["other bytes"] = lambda: with_other_bytes("HEAD")
    hostile["other contents"] = lambda: with_other_bytes(whole[4][0].name)
    hostile["cut short"] = lambda: archive.write_bytes(data[: len(data) // 2]) and None
    hostile["no archive"] = lambda: archive.write_bytes(b"x" * 10_000) and None
    hostile["empty"] = lambda: archive.write_bytes(b"") and None
    hostile["missing"] = archive.unlink
    return hostile


def test_a_hostile_archive_is_refused_before_anything_is_touched(ledger: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "ledger.tar"
    backup.backup(ledger, archive)
    whole = archive.read_bytes()
    before = ledger_files.committed_bytes(ledger)
    files = sorted(path for path in tmp_path.rglob("*"))
    for name, make in hostile_archives(archive).items():
        archive.write_bytes(whole)
        make()
        for force_over in (ledger, msgspec.structs.replace(ledger, home=str(tmp_path / "other"))):
            with pytest.raises(errors.BadInput) as caught:
                backup.restore(force_over, archive, force=True)
            assert "no whole backup" in caught.value.what, name
            assert "nothing was changed" in caught.value.next_step
        assert ledger_files.committed_bytes(ledger) == before, name
        assert not heads.at(tmp_path / "other").head.exists()
    archive.write_bytes(whole)
    other = {tmp_path / "other", *(tmp_path / "other").rglob("*")}
    assert sorted({*tmp_path.rglob("*")} - other) == files  # nothing was written anywhere else
    assert {path.name for path in other} <= {"other", "ledger", "lock", "contents.lock"}


def test_rotation_encrypts_all_contents_with_a_new_key(ledger: Settings) -> None:
    before = (ledger.home_path / "key").read_text()
    rotation = contents.rotate(ledger)
    assert (rotation.files, rotation.was_interrupted) == (2, False)
    after = (ledger.home_path / "key").read_text()
    assert len(after.split()) == 1
    assert after != before
    assert rotation.key_id == vault.keys(ledger)[0].id
    assert {contents.key_id(path) for _, _, path in contents.listing(ledger)} == {rotation.key_id}
    assert check.check(ledger).is_sound


def test_rotation_with_keys_from_the_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = vault.new_key(), vault.new_key()
    monkeypatch.setenv("DBMOD_KEY", old.line)
    contents.write(settings, "m", 1, b"message=x")
    monkeypatch.setenv("DBMOD_KEY", new.line)
    for action in (lambda: contents.rotate(settings), lambda: contents.read(settings, "m", 1)):
        with pytest.raises(errors.LedgerError, match="the key is missing"):
            action()
    monkeypatch.setenv("DBMOD_PREVIOUS_KEY", old.line)
    assert contents.read(settings, "m", 1) == b"message=x"
    assert contents.rotate(settings).files == 1
    monkeypatch.delenv("DBMOD_PREVIOUS_KEY")
    assert contents.read(settings, "m", 1) == b"message=x"
    assert not (settings.home_path / "key").exists()


def test_rotation_with_a_command_sees_the_new_key_at_once(settings: Settings, tmp_path: Path) -> None:
    source = tmp_path / "keys"
    source.write_text(vault.new_key().line)
    settings = msgspec.structs.replace(settings, key_command=f"cat {source}")
    contents.write(settings, "m", 1, b"message=x")
    source.write_text(vault.new_key().line + "\n" + source.read_text())
    assert contents.rotate(settings).files == 1
    source.write_text(source.read_text().split()[0])
    vault.forget()
    assert contents.read(settings, "m", 1) == b"message=x"


def test_a_lost_key_is_never_replaced_by_a_new_one(ledger: Settings) -> None:
    (ledger.home_path / "key").unlink()
    for action in (
        lambda: contents.read(ledger, ledgers.identifier(1), 1),
        lambda: contents.write(ledger, "m", 1, b"x"),
        lambda: contents.rotate(ledger),
    ):
        with pytest.raises(errors.LedgerError, match="the key is missing"):
            action()
    assert not (ledger.home_path / "key").exists()


def test_contents_can_be_read_and_written_while_the_key_rotates(settings: Settings) -> None:
    for number in range(20):
        contents.write(settings, "m", number, b"x" * 1000)

    def rotate(descriptor: int) -> None:
        for _ in range(10):
            contents.rotate(settings)
            os.write(descriptor, b".")

    second = processes.Second(rotate)
    second.wait_for_word()
    for number in range(200):
        assert contents.read(settings, "m", number % 20) == b"x" * 1000
        if number % 20 == 7:
            contents.write(settings, "m", 7, b"x" * 1000)
    status, said = second.end()
    assert (status, said) == (0, b"." * 9)
    assert check.without_key(settings, contents.stored(settings)) == {}


def test_contents_of_64_mib_take_at_most_three_times_their_size(settings: Settings, figure: Figure) -> None:
    size = 64 << 20

    def measure(descriptor: int) -> None:
        import resource

        contents.write(settings, "small", 1, b"x")  # imports and key
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        data = os.urandom(size)
        contents.write(settings, "m", 1, data)
        assert contents.read(settings, "m", 1) == data
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(descriptor, str(peak).encode())

    status, said = processes.Second(measure).end()
    assert status == 0
    times = int(said) * 1024 / size
    figure(
        "R10",
        f"contents of 64 MiB written and read back: peak {times:.1f} times their size (the caller's copy included)",
    )
    assert times <= 3.05  # what else a process needs comes on top


def test_a_reader_beside_a_writer_sees_whole_states_only(settings: Settings, figure: Figure) -> None:
    def write_pairs(descriptor: int) -> None:
        for number in range(1, 150):
            with store.open(settings).transaction(holder="pairs") as tables:
                tables.put(ledgers.row(1, held=number), ledgers.module(1, name=f"n{number}"))
        os.write(descriptor, b".")

    with store.open(settings).transaction(holder="pairs") as tables:
        tables.put(ledgers.row(1, held=0), ledgers.module(1, name="n0"))
    second = processes.Second(write_pairs)
    seen = set()
    while len(seen) < 30 or 149 not in seen:
        tables = store.open(settings).snapshot()
        [row] = tables.find(Row)
        [module] = tables.find(Module)
        assert module.name == f"n{row.held}"
        seen.add(row.held)
    assert second.end() == (0, b".")
    figure("R5", f"reader without a lock beside 149 commits of two tables: {len(seen)} states seen, 0 mixed")


def test_an_old_snapshot_reads_on_for_a_minute_and_then_is_told(settings: Settings) -> None:
    def commit_row(held: int) -> None:
        with store.open(settings).transaction(holder="a test") as tables:
            tables.put(ledgers.row(1, held=held))

    commit_row(1)
    snapshots = [store.open(settings).snapshot() for _ in range(2)]
    for held in range(2, 6):
        commit_row(held)
    assert [row.held for row in snapshots[0].find(Row)] == [1]
    shards = heads.at(settings.home_path).shards
    for path in shards.iterdir():
        os.utime(path, (time.time() - commit.READERS_SECONDS - 1,) * 2)
    commit_row(6)
    assert sorted(path.name.split(".")[1].split("-")[0] for path in shards.iterdir()) == ["4", "5", "6"]
    with pytest.raises(errors.LedgerError, match="moved on while it was read") as caught:
        snapshots[1].find(Row)
    assert not isinstance(caught.value, errors.LedgerDamaged)


def test_an_older_format_is_read_and_the_next_commit_writes_the_present_one(
    ledger: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shout(table: str, document: dict[str, object]) -> dict[str, object]:
        return document | {"message": str(document["message"]).upper()} if table == "rows" else document

    before = ledger_files.state(ledger)
    monkeypatch.setattr(heads, "FORMAT", 2)
    monkeypatch.setitem(migrations.STEPS, 1, shout)
    assert {row.message for row in store.open(ledger).snapshot().find(Row)} == {"MODULE.V1"}
    assert heads.read(heads.at(ledger.home_path)).format == 1
    assert check.check(ledger).is_sound
    with store.open(ledger).transaction(holder="a test") as tables:
        tables.put(ledgers.run(2))
    assert heads.read(heads.at(ledger.home_path)).format == 2
    monkeypatch.setitem(migrations.STEPS, 1, lambda _, __: pytest.fail("migrated twice"))
    assert {row.message for row in store.open(ledger).snapshot().find(Row)} == {"MODULE.V1"}
    assert len(ledger_files.state(ledger)) == len(before) + 1
    assert check.check(ledger).is_sound
    monkeypatch.undo()
    with pytest.raises(errors.LedgerError, match="this dbmod knows formats up to 1"):
        store.open(ledger).snapshot()


def test_nothing_secret_is_in_the_files_in_clear(ledger: Settings) -> None:
    secret = base64.b64decode((ledger.home_path / "key").read_text())
    for path in ledger.home_path.rglob("*"):
        if path.is_file() and path.name != "key":
            data = path.read_bytes()
            assert b"message=Module" not in data
            assert secret not in data


def test_check_names_an_instance_whose_record_is_gone(settings: Settings) -> None:
    module, instance = builders.module(), builders.instance()
    lost = builders.instance("lost")
    ledger = store.open(settings)
    ledger.write_contents(module.id, 1, builders.contents(1))
    with ledger.transaction(holder="a test") as tables:
        tables.put(module, instance, lost, builders.row(module, instance), builders.row(module, lost))
    assert check.check(settings).is_sound
    with ledger.transaction(holder="a test") as tables:
        tables.delete(lost)
    (problem,) = check.check(settings).problems
    assert problem.what == f"the instance {lost.id} holds modules and has no record any more"
