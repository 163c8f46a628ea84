"""The ledger in PostgreSQL: TLS, keys, formats, damage, a lost connection, a server that is killed."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dbmod import clock, errors, store, vault
from dbmod.config import Settings
from dbmod.records import Instance, Module, Row, Run
from dbmod.store import copying, migrations
from dbmod.store import head as heads
from dbmod.store.interface import Store
from dbmod.store.postgresql import address, schema
from tests import builders, ledgers
from tests.faults import ledger_files, processes
from tests.postgresql import PASSWORD, ROLE, Server

pytestmark = pytest.mark.patient

Figure = Callable[[str, str], None]
WRITERS, KILLS = 6, 3


@pytest.fixture
def team(settings: Settings, postgresql: Server, database: str) -> Settings:
    """Settings of an empty ledger, with its key in the home."""
    vault.write_key_file(settings, [vault.new_key()])
    return msgspec.structs.replace(settings, ledger=postgresql.address(database))


def at(settings: Settings, ledger: str) -> Settings:
    return msgspec.structs.replace(settings, ledger=ledger)


def put(settings: Settings, *records: msgspec.Struct) -> None:
    with store.open(settings).transaction(holder="a test") as tables:
        tables.put(*records)  # type: ignore[arg-type]


def filled(settings: Settings) -> Store:
    """Fill a ledger with a module of two versions on two instances."""
    ledger = store.open(settings)
    module, fleet = builders.module(2), [builders.instance(f"db-{number}") for number in range(2)]
    for number in (1, 2):
        ledger.write_contents(module.id, number, builders.contents(number))
    with ledger.transaction(holder="a test") as tables:
        tables.advance(41)
        tables.put(module, *fleet, *(builders.row(module, one) for one in fleet))
    return ledger


def test_verified_tls_works_and_a_wrong_authority_is_refused(team: Settings, postgresql: Server, database: str) -> None:
    def asking(authority: str) -> Settings:
        place = postgresql.directory / authority
        return at(team, postgresql.address(database, options=f"sslmode=verify-full&sslrootcert={place}"))

    put(asking("ca.crt"), ledgers.module(1))
    assert store.open(asking("ca.crt")).snapshot().serial == 1
    with pytest.raises(errors.LedgerError, match="certificate verify failed") as caught:
        store.open(asking("other.crt")).snapshot()
    assert caught.value.exit_code == 3
    assert caught.value.details["ledger"] == f"postgresql://dbmod_team@127.0.0.1:{postgresql.port}/{database}"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://dbmod:C4na/ry@127.0.0.1/ledger",  # the slash ends the host
        "postgresql://dbmod:C4na@ry@127.0.0.1/ledger",
        "postgresql://dbmod:C4na%ry@127.0.0.1/ledger",
        "postgresql://dbmod:C4nary@127.0.0.1:C4nary/ledger",
        "postgresql://dbmod:C4nary@127.0.0.1/ledger?password_of=C4nary",
        "postgresql://dbmod@127.0.0.1/C4nary@ledger",
    ],
)
def test_an_address_that_cannot_be_understood_is_never_repeated(settings: Settings, text: str) -> None:
    with pytest.raises(errors.BadInput) as caught:
        store.open(at(settings, text)).snapshot()
    said = "\n".join(caught.value.lines())
    assert "C4na" not in said
    assert "ry@" not in said
    assert caught.value.__cause__ is None


def test_a_wrong_password_and_a_server_that_is_away_are_told_without_the_password(
    team: Settings, postgresql: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbmod.store.postgresql.connection.AWAY_SECONDS", 0)
    wrong = at(team, postgresql.address(database, password="C4nary"))
    away = at(team, f"postgresql://dbmod:C4nary@127.0.0.1:1/{database}")
    for settings, said in ((wrong, "password authentication failed"), (away, "refused")):
        with pytest.raises(errors.LedgerError, match=said) as caught:
            store.open(settings).snapshot()
        assert "C4nary" not in "\n".join(caught.value.lines())
        assert caught.value.next_step


def test_the_address_may_lie_in_a_file_and_its_password_in_a_variable(
    team: Settings, postgresql: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ledger"
    file.write_text(f"{team.ledger}\n")
    put(at(team, str(file)), ledgers.module(1))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    without = at(team, f"postgresql://dbmod_team@127.0.0.1:{postgresql.port}/{database}?sslmode=disable")
    assert store.open(without).snapshot().serial == 1
    whole = store.open(without).address()
    monkeypatch.delenv("PGPASSWORD")
    assert store.open(at(team, whole)).snapshot().serial == 1
    assert address.parsed(whole)["password"] == PASSWORD
    with pytest.raises(errors.LedgerError, match="cannot be read"):
        store.open(at(team, str(tmp_path / "none"))).snapshot()


def test_a_role_that_may_only_read_reads_and_is_told_that_it_may_not_write(
    team: Settings, postgresql: Server, database: str
) -> None:
    put(team, ledgers.module(1))
    reader = f"reader_{database}"
    postgresql.execute(
        f"CREATE ROLE {reader} LOGIN PASSWORD 'x'",
        f"GRANT USAGE ON SCHEMA dbmod TO {reader}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA dbmod TO {reader}",
        database=database,
    )
    settings = at(team, f"postgresql://{reader}:x@127.0.0.1:{postgresql.port}/{database}")
    assert len(store.open(settings).snapshot().find(Module)) == 1
    with pytest.raises(errors.LedgerUnwritable, match="permission denied") as caught:
        put(settings, ledgers.module(2))
    assert "docs/ledger-for-a-team.md" in caught.value.next_step


def test_a_key_is_never_made_here_and_one_that_others_do_not_have_writes_nothing(team: Settings) -> None:
    ledger = filled(team)
    home = team.home_path
    (home / "key").rename(home / "kept")
    with pytest.raises(errors.LedgerError, match="there is no key"):
        ledger.write_contents("m", 1, b"x")
    assert not (home / "key").exists()
    vault.write_key_file(team, [vault.new_key()])
    for action in (lambda: ledger.write_contents("m", 1, b"x"), ledger.rotate_key):
        with pytest.raises(errors.LedgerError, match="the key is missing"):
            action()
    (home / "kept").rename(home / "key")
    before = (home / "key").read_text()
    rotation = ledger.rotate_key()
    assert (rotation.files, rotation.was_interrupted) == (2, False)
    assert before not in (home / "key").read_text()
    assert {one.key_id for one in ledger.stored_contents()} == {rotation.key_id}
    assert ledger.check().is_sound


def test_check_names_what_is_damaged(team: Settings, postgresql: Server, database: str) -> None:
    ledger = filled(team)
    report = ledger.check()
    assert (report.is_sound, report.contents, report.serial) == (True, 2, 41)
    postgresql.execute(
        "UPDATE dbmod.contents SET data = set_byte(data, 60, get_byte(data, 60) # 1) WHERE number = 1",
        "UPDATE dbmod.contents SET number = 2 WHERE false",
        "UPDATE dbmod.instances SET document = (document::jsonb - 'tenant')::json WHERE name = 'db-0'",
        database=database,
    )
    problems = ledger.check().problems
    assert [one.where.partition(" ")[0] for one in problems] == ["instances", "instances", "contents"]
    assert "cannot be understood" in problems[0].what
    assert "holds modules and has no record" in problems[1].what
    assert "are damaged" in problems[2].what
    with pytest.raises(errors.LedgerDamaged, match="of the table instances"):
        ledger.snapshot().find(Instance)


def test_text_that_postgresql_refuses_comes_back(team: Settings) -> None:
    odd = [f"a\0b{text}" for text in ("", "\\u0000", "\\\\u0000", "\ufdd0", "\\ufdd0", '"\\')]
    put(team, *(ledgers.row(number, message=message) for number, message in enumerate(odd)))
    assert sorted(row.message for row in store.open(team).snapshot().find(Row)) == sorted(odd)
    tables = store.open(team).snapshot()
    assert tables.get(Module, "\0") is None
    assert tables.find(Module, name="\udcff") == []


def test_many_single_reads_and_finds_agree_in_a_transaction_too(team: Settings) -> None:
    put(team, *(ledgers.row(number, held=number) for number in range(50)))
    with store.open(team).transaction(holder="a test") as tables:
        tables.put(ledgers.row(7, held=100))
        found = [tables.get(Row, ledgers.identifier(number), within="m") for number in range(50)]
        assert [row.held for row in found if row] == [100 if number == 7 else number for number in range(50)]
        assert len(tables.find(Row, instance_id=ledgers.identifier(7))) == 1
        assert len(tables.find(Row, removed_at=None)) == 50


def test_an_older_format_is_read_and_the_next_commit_writes_the_present_one(
    team: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shout(table: str, document: dict[str, object]) -> dict[str, object]:
        return document | {"message": str(document["message"]).upper()} if table == "rows" else document

    other = ledgers.row(0, module_id="n", message="other")
    put(team, ledgers.module(1), other, *(ledgers.row(number) for number in range(3)))
    monkeypatch.setattr(heads, "FORMAT", 2)
    monkeypatch.setitem(migrations.STEPS, 1, shout)
    assert {row.message for row in store.open(team).snapshot().find(Row, module_id="m")} == {"MODULE.V1"}
    old = store.open(team).snapshot()
    assert [row.message for row in old.find(Row, module_id="n")] == ["OTHER"]
    assert old.state.format == 1
    with store.open(team).transaction(holder="a test") as tables:
        tables.put(ledgers.run(2))
        tables.delete(ledgers.row(0))
    assert store.open(team).snapshot().state.format == 2
    monkeypatch.setitem(migrations.STEPS, 1, lambda _, __: pytest.fail("migrated twice"))
    assert sorted(row.message for row in store.open(team).snapshot().find(Row)) == ["MODULE.V1"] * 2 + ["OTHER"]
    assert len(store.open(team).snapshot().find(Run)) == 1
    monkeypatch.undo()
    with pytest.raises(errors.LedgerError, match="this dbmod knows formats up to 1"):
        store.open(team).snapshot()


def test_a_format_with_another_column_makes_the_table_anew(team: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(team, *(ledgers.row(number) for number in range(3)))
    monkeypatch.setattr(heads, "FORMAT", 2)
    monkeypatch.setitem(migrations.STEPS, 1, lambda _, document: document)
    monkeypatch.setitem(schema.COLUMNS, "rows", ("instance_id", "status"))
    assert len(store.open(team).snapshot().find(Row, status="OK")) == 3
    put(team, ledgers.row(3))
    tables = store.open(team).snapshot()
    assert tables.state.format == 2
    assert (len(tables.find(Row, status="OK")), tables.find(Row, status="ERROR")) == (4, [])


def test_first_writers_at_once_make_one_ledger(team: Settings) -> None:
    def write(number: int) -> None:
        put(team, ledgers.module(number))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tables = store.open(team).snapshot()
    assert (tables.serial, len(tables.find(Module))) == (6, 6)


def test_who_waits_is_told_which_process_holds_the_ledger_and_a_killed_one_frees_it(team: Settings) -> None:
    def hold(descriptor: int) -> None:
        with store.open(team).transaction(holder="run */ 4f1c %s"):
            os.write(descriptor, b".")
            time.sleep(60)

    second = processes.Second(hold)
    second.wait_for_word()
    with pytest.raises(errors.LedgerBusy) as caught, store.open(team).transaction(holder="another", wait_seconds=0):
        pytest.fail("two writers hold the ledger")
    assert caught.value.details["pid"] == str(second.pid)
    assert caught.value.details["host"] == os.uname().nodename
    assert caught.value.details["since"][:10] == clock.seconds(clock.now())[:10]
    second.kill()
    put(team, ledgers.module(1))


def test_a_connection_lost_in_a_transaction_says_that_nothing_was_written(
    team: Settings, postgresql: Server, database: str
) -> None:
    put(team, ledgers.module(1))
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    with pytest.raises(errors.LedgerUnwritable) as caught, store.open(team).transaction(holder="a test") as tables:
        tables.put(ledgers.module(2))
        postgresql.execute(end)
    assert caught.value.exit_code == 3
    assert "nothing of this change was written" in caught.value.details["state"]
    ledger = store.open(team)
    snapshot = ledger.snapshot()
    postgresql.execute(end)
    with pytest.raises(errors.LedgerError, match="connection to the ledger was lost"):
        snapshot.find(Module)
    assert len(ledger.snapshot().find(Module)) == 1


@pytest.mark.parametrize("arrives", [True, False])
def test_a_commit_without_an_answer_is_looked_for(team: Settings, postgresql: Server, arrives: bool) -> None:
    """A wire that is cut at COMMIT: before it came to the server, or before its answer came back."""
    put(team, ledgers.module(1))
    with Wire(postgresql.port, arrives=arrives) as wire:
        cut = at(team, team.ledger.replace(f":{postgresql.port}/", f":{wire.port}/"))
        try:
            put(cut, ledgers.module(2))
            was_told = True
        except errors.LedgerUnwritable as error:
            assert "nothing of this change was written" in error.details["state"]
            was_told = False
    assert (was_told, len(store.open(team).snapshot().find(Module))) == ((True, 2) if arrives else (False, 1))


def test_a_ledger_is_copied_either_way_and_compared(
    team: Settings, tmp_path: Path, postgresql: Server, figure: Figure
) -> None:
    filled(team)
    home = str(tmp_path / "files")
    files = copying.settings_of(team, home)
    copied = copying.copy(store.open(team), store.open(files))
    assert (copied.serial, copied.records, copied.contents) == (41, 5, 2)
    assert copied.key_id == vault.keys(files)[0].id != vault.keys(team)[0].id
    assert ledger_files.state(files) == ledger_files.state(team)
    back = at(team, postgresql.address(postgresql.database()))
    copying.copy(store.open(files), store.open(back))
    assert ledger_files.state(back) == ledger_files.state(team)
    assert store.open(back).snapshot().serial == 41
    assert store.open(back).check().contents == 2
    with pytest.raises(errors.Refused, match="there is a ledger in"):
        copying.copy(store.open(files), store.open(back))
    with pytest.raises(errors.Refused, match="the same ledger"):
        copying.copy(store.open(back), store.open(back))
    put(files, builders.run(state="running"))
    with pytest.raises(errors.Refused, match="goes on"):
        copying.copy(store.open(files), store.open(at(team, postgresql.address(postgresql.database()))))
    with pytest.raises(errors.BadInput, match="a password on a command line"):
        copying.settings_of(team, team.ledger)
    assert copying.settings_of(team, copying.CONFIGURED) is team


def test_a_dump_holds_the_whole_ledger(team: Settings, postgresql: Server, database: str, tmp_path: Path) -> None:
    filled(team)
    other = postgresql.database()
    environment = os.environ | {"PGPASSWORD": PASSWORD}
    where = ("--host=127.0.0.1", f"--port={postgresql.port}", f"--username={ROLE}")
    dump = [postgresql.programs / "pg_dump", *where, "--format=custom", f"--file={tmp_path / 'dump'}", database]
    back = [postgresql.programs / "pg_restore", *where, f"--dbname={other}", "--no-owner", tmp_path / "dump"]
    for words in (dump, back):
        subprocess.run(words, check=True, env=environment)
    restored = at(team, postgresql.address(other))
    assert ledger_files.state(restored) == ledger_files.state(team)
    assert store.open(restored).check() == store.open(team).check()


def test_a_server_killed_under_load_loses_no_acknowledged_commit(
    team: Settings, postgresql: Server, figure: Figure
) -> None:
    put(team, ledgers.module(1))
    stop = threading.Event()
    acknowledged: list[int] = []
    refused: list[errors.LedgerError] = []
    wrong: list[BaseException] = []

    def write(writer: int) -> None:
        mine, number = store.open(team), 0
        while not stop.is_set():
            number += 1
            identity = writer * 1_000_000 + number
            try:
                with mine.transaction(holder=f"writer {writer}", wait_seconds=10) as tables:
                    tables.put(ledgers.row(identity))
                acknowledged.append(identity)
            except errors.LedgerError as error:
                refused.append(error)
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=write, args=(one,)) for one in range(WRITERS)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        before = len(acknowledged)
        while len(acknowledged) < before + 20:
            time.sleep(0.01)
        postgresql.kill()
        postgresql.start()
    before = len(acknowledged)
    while len(acknowledged) < before + 20:
        time.sleep(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert {one.exit_code for one in refused} == {3}
    assert all(one.next_step and one.details for one in refused)
    rows = {row.key for row in store.open(team).snapshot().find(Row)}
    lost = [one for one in acknowledged if ledgers.identifier(one) not in rows]
    assert lost == []
    assert store.open(team).snapshot().serial == 1 + len(rows)
    figure(
        "R1",
        f"PostgreSQL killed {KILLS} times under {WRITERS} writers: 0 of {len(acknowledged)} acknowledged commits lost, "
        f"{len(refused)} refused with exit 3, {len(rows) - len(acknowledged)} written and not acknowledged",
    )


class Wire:
    """A proxy that cuts its first connection when a COMMIT passes, and then lets others through."""

    def __init__(self, port: int, *, arrives: bool) -> None:
        self.target = port
        self.arrives = arrives
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.is_cut = False

    def __enter__(self) -> "Wire":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listening.close()
        assert self.is_cut

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if b"COMMIT\0" in data and not self.is_cut:
                    self.is_cut = True
                    if self.arrives:
                        target.sendall(data)
                        target.recv(1)
                    break
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
