"""What every store promises, whatever keeps the ledger: nothing here knows of files."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dbmod import errors, store, vault
from dbmod.config import Settings
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.store.interface import Store
from tests import ledgers
from tests.postgresql import Server

BACKENDS = ["files", "postgresql"]


@pytest.fixture(params=BACKENDS)
def settings(settings: Settings, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty ledger of each kind; in PostgreSQL its key comes from outside."""
    if request.param == "files":
        return settings
    monkeypatch.setenv("DBMOD_KEY", vault.new_key().line)
    server: Server = request.getfixturevalue("postgresql")
    return msgspec.structs.replace(settings, ledger=server.address(server.database()))


@pytest.fixture
def empty_ledger(settings: Settings) -> Store:
    return store.open(settings)


def put(ledger: Store, *records: msgspec.Struct) -> None:
    with ledger.transaction(holder="a test") as tables:
        tables.put(*records)  # type: ignore[arg-type]


def test_an_empty_ledger_has_serial_0_and_nothing_in_it(empty_ledger: Store) -> None:
    tables = empty_ledger.snapshot()
    assert tables.serial == 0
    assert tables.find(Module) == []
    assert tables.find(Row) == []
    assert tables.get(Row, "x", within="m") is None


def test_a_record_comes_back_as_it_was_put(empty_ledger: Store) -> None:
    records = (ledgers.module(1), ledgers.row(1), ledgers.attempt(1, run_id=ledgers.identifier(1)), ledgers.run(1))
    put(empty_ledger, *records)
    tables = empty_ledger.snapshot()
    assert tables.find(Module) == [records[0]]
    assert tables.get(Row, records[1].key, within="m") == records[1]
    assert tables.find(Attempt, run_id=ledgers.identifier(1)) == [records[2]]
    assert tables.get(Run, records[3].key) == records[3]


def test_each_commit_adds_one_to_the_serial_and_one_without_change_none(empty_ledger: Store) -> None:
    put(empty_ledger, ledgers.module(1))
    assert empty_ledger.snapshot().serial == 1
    put(empty_ledger)
    assert empty_ledger.snapshot().serial == 1
    with empty_ledger.transaction(holder="a test") as tables:
        assert tables.serial == 1
        tables.delete(ledgers.module(2))  # not there: no change
    assert empty_ledger.snapshot().serial == 1
    with empty_ledger.transaction(holder="a test") as tables:
        tables.delete(ledgers.module(1))
    assert empty_ledger.snapshot().serial == 2
    assert empty_ledger.snapshot().find(Module) == []


def test_a_put_replaces_the_record_with_its_key(empty_ledger: Store) -> None:
    put(empty_ledger, *(ledgers.row(number) for number in range(10)))
    put(empty_ledger, ledgers.row(3, held=2))
    rows = {row.key: row for row in empty_ledger.snapshot().find(Row, module_id="m")}
    assert len(rows) == 10
    assert rows[ledgers.identifier(3)].held == 2
    assert rows[ledgers.identifier(4)].held == 1


def test_a_transaction_sees_its_own_changes_and_nobody_else_does(empty_ledger: Store) -> None:
    put(empty_ledger, ledgers.row(1), ledgers.row(2))
    with empty_ledger.transaction(holder="a test") as tables:
        tables.put(ledgers.row(1, held=7), ledgers.row(9))
        tables.delete(ledgers.row(2))
        assert {row.held for row in tables.find(Row)} == {7, 1}
        assert tables.get(Row, ledgers.identifier(2), within="m") is None
        assert tables.get(Row, ledgers.identifier(9), within="m") == ledgers.row(9)
        outside = empty_ledger.snapshot().find(Row)
        assert sorted(row.key for row in outside) == [ledgers.identifier(1), ledgers.identifier(2)]
    assert sorted(row.key for row in empty_ledger.snapshot().find(Row)) == [
        ledgers.identifier(1),
        ledgers.identifier(9),
    ]


def test_a_record_put_and_deleted_in_one_transaction_is_not_there(empty_ledger: Store) -> None:
    with empty_ledger.transaction(holder="a test") as tables:
        tables.put(ledgers.row(1))
        tables.delete(ledgers.row(1))
    assert empty_ledger.snapshot().find(Row) == []
    assert empty_ledger.snapshot().serial == 0


def test_a_transaction_that_raises_changes_nothing(empty_ledger: Store) -> None:
    put(empty_ledger, ledgers.module(1))
    with pytest.raises(ZeroDivisionError), empty_ledger.transaction(holder="a test") as tables:
        tables.put(ledgers.module(2))
        _ = 1 / 0
    assert [module.id for module in empty_ledger.snapshot().find(Module)] == [ledgers.identifier(1)]
    put(empty_ledger, ledgers.module(3))  # and the lock is free


def test_a_snapshot_stays_what_it_was(empty_ledger: Store) -> None:
    put(empty_ledger, ledgers.module(1), ledgers.row(1))
    before = empty_ledger.snapshot()
    put(empty_ledger, ledgers.module(2), ledgers.row(2))
    assert len(before.find(Row)) == 1  # read only now
    assert before.serial == 1
    assert len(empty_ledger.snapshot().find(Row)) == 2


def test_find_compares_fields_by_value(empty_ledger: Store) -> None:
    put(empty_ledger, ledgers.module(1), ledgers.module(2, name="other"), ledgers.row(1), ledgers.row(1, module_id="n"))
    tables = empty_ledger.snapshot()
    assert [module.name for module in tables.find(Module, name="other", tenant="default")] == ["other"]
    assert tables.find(Module, name="other", tenant=None) == []
    assert len(tables.find(Module, created_at=ledgers.MOMENT, versions=(ledgers.version(1),))) == 2
    assert sorted(row.module_id for row in tables.find(Row, instance_id=ledgers.identifier(1))) == ["m", "n"]
    assert len(tables.find(Row, module_id="n")) == 1
    assert tables.find(Row, module_id="none") == []


def test_one_host_of_a_run_is_found_with_what_the_transaction_has_changed(empty_ledger: Store) -> None:
    run_id, host = ledgers.identifier(1), ledgers.identifier(2)
    mine, other = ledgers.attempt(2, run_id=run_id), ledgers.attempt(3, run_id=run_id)
    put(empty_ledger, mine, other, ledgers.attempt(2, run_id=ledgers.identifier(9)))
    assert mine.key.startswith(f"{getattr(mine, str(Attempt.first))} ")  # what `find` counts on
    assert empty_ledger.snapshot().find(Attempt, run_id=run_id, instance_id=host) == [mine]
    assert empty_ledger.snapshot().find(Attempt, run_id=run_id, instance_id=host[:-1]) == []
    assert len(empty_ledger.snapshot().find(Attempt, instance_id=host)) == 2
    with empty_ledger.transaction(holder="a test") as tables:
        done, added = (msgspec.structs.replace(mine, **new) for new in ({"state": "ok"}, {"module_id": "n"}))
        tables.put(done, added, ledgers.attempt(4, run_id=run_id))
        found = tables.find(Attempt, run_id=run_id, instance_id=host)
        assert sorted((one.module_id, one.state) for one in found) == [("m", "ok"), ("n", "planned")]
        tables.delete(done)
        assert tables.find(Attempt, run_id=run_id, instance_id=host) == [added]


def test_wrong_uses_are_internal_errors(empty_ledger: Store) -> None:
    with pytest.raises(errors.InternalError, match="no field colour"):
        empty_ledger.snapshot().find(Module, colour="blue")
    with pytest.raises(errors.InternalError, match="takes no changes"):
        empty_ledger.snapshot().put(ledgers.module(1))
    with empty_ledger.transaction(holder="a test") as tables:
        pass
    with pytest.raises(errors.InternalError, match="takes no changes"):
        tables.put(ledgers.module(1))
    for within in ("", "../x", "a/b", "x" * 200, "\0"):
        with pytest.raises(errors.InternalError, match="split by module_id"):
            empty_ledger.snapshot().get(Row, "x", within=within)


def test_a_second_writer_waits_and_is_told_who_holds_the_ledger(empty_ledger: Store, settings: Settings) -> None:
    with (
        empty_ledger.transaction(holder="run 4f1c"),
        pytest.raises(errors.LedgerBusy) as caught,
        store.open(settings).transaction(holder="another", wait_seconds=0.05),
    ):
        pytest.fail("two writers hold the ledger")
    assert caught.value.exit_code == 3
    assert "run 4f1c" in caught.value.what
    assert caught.value.details.keys() >= {"holder", "host", "pid", "since"}
    put(empty_ledger, ledgers.module(1))


def test_a_waiting_writer_goes_on_with_the_newest_state(empty_ledger: Store, settings: Settings) -> None:
    put(empty_ledger, ledgers.row(1, held=1))

    def add() -> None:
        mine = store.open(settings)
        for _ in range(10):
            with mine.transaction(holder="adding", wait_seconds=30) as tables:
                row = tables.get(Row, ledgers.identifier(1), within="m")
                assert row is not None
                tables.put(msgspec.structs.replace(row, held=(row.held or 0) + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [row] = empty_ledger.snapshot().find(Row)
    assert row.held == 41


@pytest.mark.parametrize(
    "contents",
    [b"\0", bytes(range(256)) * 5, b"message=Module.V1\r\n", b"$ANSIBLE_VAULT;1.1\n{{ x }}", b"x" * (1 << 20)],
)
def test_contents_come_back_byte_for_byte(empty_ledger: Store, contents: bytes) -> None:
    empty_ledger.write_contents(ledgers.identifier(1), 1, contents)
    assert empty_ledger.read_contents(ledgers.identifier(1), 1) == contents


def test_contents_are_kept_by_owner_and_number(empty_ledger: Store) -> None:
    for owner in ("a", "b"):
        for number in (0, 1, 11):
            empty_ledger.write_contents(owner, number, f"{owner} {number}".encode())
    empty_ledger.write_contents("a", 1, b"replaced")
    assert empty_ledger.read_contents("a", 1) == b"replaced"
    assert empty_ledger.read_contents("b", 11) == b"b 11"
    empty_ledger.delete_contents("a", 1)
    empty_ledger.delete_contents("a", 1)
    empty_ledger.delete_contents("b")
    empty_ledger.delete_contents("nobody")
    assert empty_ledger.read_contents("a", 11) == b"a 11"
    for owner, number in (("a", 1), ("b", 0), ("b", 11), ("nobody", 1)):
        with pytest.raises(errors.NotFound):
            empty_ledger.read_contents(owner, number)
    with pytest.raises(errors.InternalError):
        empty_ledger.read_contents("../a", 1)


def test_reading_makes_nothing(empty_ledger: Store, settings: Settings) -> None:
    empty_ledger.snapshot().find(Instance)
    with pytest.raises(errors.NotFound):
        empty_ledger.read_contents("a", 1)
    assert not Path(settings.home).exists()


def test_contents_can_be_written_inside_a_transaction(empty_ledger: Store) -> None:
    with empty_ledger.transaction(holder="module-create") as tables:
        empty_ledger.write_contents(ledgers.identifier(1), 1, b"message=x")
        sha256 = hashlib.sha256(b"message=x").hexdigest()
        tables.put(ledgers.module(1, versions=(ledgers.version(1, sha256=sha256),)))
    assert empty_ledger.read_contents(ledgers.identifier(1), 1) == b"message=x"


def test_opening_a_ledger_imports_little(settings: Settings) -> None:
    program = (
        "import sys, json; from dbmod import config, store; from dbmod.records import Module;"
        f"store.open(config.Settings(home={settings.home!r})).snapshot().find(Module);"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, cwd=Path(__file__).parents[2]
    )
    heavy = {
        "cryptography",
        "socket",
        "importlib.metadata",
        "subprocess",
        "tarfile",
        "shutil",
        "yaml",
        "ssl",
        "asyncio",
    }
    assert heavy.isdisjoint(json.loads(done.stdout))


def test_reading_10000_rows_is_quick(
    empty_ledger: Store, settings: Settings, figure: Callable[[str, str], None]
) -> None:
    import time

    put(empty_ledger, *(ledgers.row(number) for number in range(10_000)))
    trials = []
    for _ in range(7):
        begin = time.process_time()  # a busy machine makes no difference to it
        assert len(store.open(settings).snapshot().find(Row, module_id="m")) == 10_000
        trials.append(time.process_time() - begin)
    figure("", f"reading 10,000 rows: median {sorted(trials)[3] * 1000:.0f} ms of processor time, 7 trials")
    assert min(trials) < 0.25  # ten times what it takes
