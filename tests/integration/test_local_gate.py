"""The gate on real replicas, which come before their primaries: one that copies in time is served, else left alone."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbmod import fleet, local_servers, operations, passwords, paths, providers, registry, transport
from dbmod.paces import Pace
from dbmod.records import Attempt, Instance, Run
from dbmod.selection import Selection
from tests import local_fleet
from tests.local_fleet import LocalFleet

MAX_LAG_SECONDS = 3


class Pair:
    """A primary, its replica, and a module to be applied to both behind the gate."""

    def __init__(self, fleet_of_test: LocalFleet, datastore: str) -> None:
        self.fleet = fleet_of_test
        self.primary = fleet_of_test.create("primary", datastore)
        self.replica = fleet_of_test.create("replica", datastore)
        registry.create(fleet_of_test.context, registry.Request(name="mymod", type="ping"), b"message=hello\n")

    def ask(self, one: Instance, words: str) -> str:
        return self.fleet.client(one, words)

    def restart(self, one: Instance) -> None:
        assert self.fleet.carry_out(fleet.plan_restart(self.fleet.context, one.name)).state == "done"

    def apply(self) -> tuple[Run, dict[str, Attempt]]:
        """Apply the module to both; give the run and its attempts by instance."""
        pace = Pace(gate=True, max_lag_seconds=MAX_LAG_SECONDS, replicas_first=True, delay_seconds=0)
        run = self.fleet.planned(operations.plan_apply(self.fleet.context, Selection(all=True), ["mymod"], pace=pace))
        names = {one.id: one.name for one in (self.primary, self.replica)}
        found = self.fleet.context.store.snapshot().find(Attempt, run_id=run.id)
        return run, {names[one.instance_id]: one for one in found}

    def see_both_served(self) -> None:
        run, attempts = self.apply()
        assert (run.state, {one.state for one in attempts.values()}) == ("done", {"ok"}), attempts
        assert (attempts["replica"].batch, attempts["primary"].batch, run.batch_sizes) == (1, 2, (1, 1))

    def see_replica_left_alone(self, reason: str) -> None:
        run, attempts = self.apply()
        assert (attempts["primary"].state, run.state) == ("cancelled", "failed"), attempts
        assert run.message == "failed hosts: 1, and --max_errors allows 0"
        left = attempts["replica"]
        assert (left.state, left.status, left.has_failed, left.evidence) == ("skipped", "SKIPPED", True, None)
        assert left.message == f"left alone: See that its server is well: {reason}"


@pytest.fixture
def empty() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        yield opened


def test_redis_replica_without_its_master_is_left_alone(empty: LocalFleet) -> None:
    pair = Pair(empty, "redis")
    password = passwords.read(empty.context.store, pair.primary)
    pair.ask(pair.replica, f"CONFIG SET masterauth {password}")
    pair.ask(pair.replica, f"REPLICAOF 127.0.0.1 {pair.primary.port}")
    pair.see_both_served()
    pair.ask(pair.replica, f"REPLICAOF 127.0.0.1 {pair.replica.port}")
    pair.see_replica_left_alone("it is not connected to its master")


@pytest.mark.nightly
def test_servers_that_hang_or_are_gone_are_left_alone_in_a_minute_and_a_half(empty: LocalFleet, tmp_path: Path) -> None:
    pair = Pair(empty, "redis")
    tasks = tmp_path / "before.yml"
    tasks.write_text(
        "- name: End one, stop the other\n"
        "  ansible.builtin.shell: kill -{{ 'KILL' if inventory_hostname == 'replica' else 'STOP' }} "
        "$(cat {{ dbmod_directory }}/server.pid)\n"
    )
    pace = Pace(gate=True, before_host=str(tasks), delay_seconds=0)
    began = time.monotonic()
    run = pair.fleet.planned(operations.plan_apply(pair.fleet.context, Selection(all=True), ["mymod"], pace=pace))
    took = time.monotonic() - began
    os.kill(int((local_fleet.place(pair.primary).directory / "server.pid").read_text()), signal.SIGCONT)
    names = {pair.primary.id: "primary", pair.replica.id: "replica"}
    attempts = pair.fleet.context.store.snapshot().find(Attempt, run_id=run.id)
    said = {names[one.instance_id]: one.message.removeprefix("left alone: ") for one in attempts}
    assert said == {
        "primary": "See that its server is well: no answer in 20 seconds",
        "replica": "See that its server is well: it does not answer",
    }
    assert 60 < took < 90


def test_a_server_that_is_not_well_after_it_got_its_version_back_counts_as_not_put_back(
    empty: LocalFleet, tmp_path: Path
) -> None:
    pair = Pair(empty, "redis")
    tasks = tmp_path / "after.yml"
    stop = "kill -STOP $(cat {{ dbmod_directory }}/server.pid) && false"
    tasks.write_text(f"- name: Stop it\n  ansible.builtin.shell: {stop}\n")
    pace = Pace(gate=True, after_host=str(tasks), on_failure="rollback", batch_size=1)
    run = empty.planned(operations.plan_apply(empty.context, Selection(all=True), ["mymod"], pace=pace))
    os.kill(int((local_fleet.place(pair.primary).directory / "server.pid").read_text()), signal.SIGCONT)
    tables = empty.context.store.snapshot()
    [back] = tables.find(Run, verb="rollback", follows=run.id)
    [one] = tables.find(Attempt, run_id=back.id)
    assert (one.instance_id, one.state, back.state) == (pair.primary.id, "error", "failed")
    assert one.message == "See that its server is still well: no answer in 20 seconds"
    assert one.evidence is not None
    assert one.evidence.removed is not None


@pytest.mark.nightly
@pytest.mark.timeout(900)  # each look that ends badly takes its minute
def test_mariadb_replica_that_stopped_or_is_behind_is_left_alone(empty: LocalFleet) -> None:
    pair = Pair(empty, "mysql")
    for number, one in enumerate((pair.primary, pair.replica), 1):
        settings = local_fleet.place(one).directory / "etc" / "my.cnf"
        settings.write_text(settings.read_text().replace("skip_log_bin", f"log_bin\nserver_id = {number}"))
        pair.restart(one)
    for statement in (
        "CREATE USER copier IDENTIFIED BY 'secret'",
        "GRANT REPLICATION SLAVE ON *.* TO copier",
        "CREATE TABLE test.kept (i INT)",
    ):
        pair.ask(pair.primary, f'-e "CREATE DATABASE IF NOT EXISTS test; {statement}"')
    source = f"MASTER_HOST='127.0.0.1', MASTER_PORT={pair.primary.port}, MASTER_USER='copier', MASTER_PASSWORD='secret'"
    pair.ask(pair.replica, f'-e "CHANGE MASTER TO {source}, MASTER_USE_GTID=slave_pos; START SLAVE"')
    pair.see_both_served()

    pair.ask(pair.replica, '-e "STOP SLAVE SQL_THREAD"')
    pair.see_replica_left_alone("SQL thread running: No")

    pair.ask(pair.replica, '-e "STOP SLAVE; CHANGE MASTER TO MASTER_DELAY=600; START SLAVE"')
    pair.ask(pair.primary, '-e "INSERT INTO test.kept VALUES (1)"')
    time.sleep(MAX_LAG_SECONDS + 1)
    _, attempts = pair.apply()
    assert attempts["replica"].state == "skipped"
    assert attempts["replica"].message.endswith(f" s behind, and max_lag is {MAX_LAG_SECONDS}")


@pytest.mark.nightly
@pytest.mark.timeout(900)  # each look that ends badly takes its minute
def test_postgresql_standby_that_is_paused_or_receives_nothing_is_left_alone(empty: LocalFleet) -> None:
    pair, rules = _standby(empty)
    pair.see_both_served()

    pair.ask(pair.replica, "-c 'SELECT pg_wal_replay_pause()'")
    pair.see_replica_left_alone("its replay is paused")
    pair.ask(pair.replica, "-c 'SELECT pg_wal_replay_resume()'")
    rules.write_text(rules.read_text().replace("host replication", "# host replication"))
    pair.ask(pair.primary, "-c 'SELECT pg_reload_conf(), pg_terminate_backend(pid) FROM pg_stat_replication'")
    pair.see_replica_left_alone("it receives no stream")


@pytest.mark.nightly
def test_postgresql_standby_in_the_middle_of_one_long_transaction_is_served(empty: LocalFleet) -> None:
    pair, _ = _standby(empty)
    pair.ask(pair.primary, "-c 'CREATE TABLE kept (number bigint)'")
    rows = "FOR i IN 1..100000 LOOP INSERT INTO kept SELECT generate_series(1, 5000); PERFORM pg_sleep(0.01); END LOOP"
    words = ["sh", "-c", f"exec env {providers.connect_hint(pair.primary)} -c 'DO $$ BEGIN {rows}; END $$'"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        try:
            time.sleep(3 * MAX_LAG_SECONDS)
            age = pair.ask(pair.replica, "-Atc 'SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())'")
            assert float(age) > 2 * MAX_LAG_SECONDS
            assert [_faults(pair.replica) for _ in range(5)] == [()] * 5
            assert client.poll() is None
        finally:
            client.terminate()  # the server ends the rest when it stops


def _faults(one: Instance) -> tuple[str, ...]:
    """Ask a server once how it is, as the gate does."""
    asked = transport.Request(
        run="a-test",
        serial=0,
        verb="health",
        home=str(local_fleet.place(one).directory),
        instance=one.id,
        modules=(),
        directory=str(local_fleet.place(one).directory),
        port=one.port or 0,
        max_lag_seconds=MAX_LAG_SECONDS,
    )
    source = (paths.role("datastore", one.datastore) / "health.py").read_text()
    words = ["sh", "-c", transport.command("/usr/bin/python3")]
    ended = subprocess.run(words, input=transport.frame(asked, {"health": source}), capture_output=True, check=True)
    found = transport.read_health(ended.stdout.decode(), asked.run)
    assert found is not None, ended.stderr
    return found.faults


def _standby(empty: LocalFleet) -> tuple[Pair, Path]:
    """Give a pair that copies, and the file of the rules by which it may."""
    pair = Pair(empty, "postgresql")
    rules = local_fleet.place(pair.primary).directory / "etc" / "pg_hba.conf"
    rules.write_text(rules.read_text() + "host replication all all scram-sha-256\n")
    pair.ask(pair.primary, "-c 'SELECT pg_reload_conf()'")
    _copy_data(pair)
    pair.restart(pair.replica)
    return pair, rules


def _copy_data(pair: Pair) -> None:
    """Make the replica's data a copy of the primary's, from which it goes on as a standby."""
    place = local_fleet.place(pair.replica)
    owner = place.data.stat()
    local_servers.stop(place, local_fleet.STOPPER)
    shutil.rmtree(place.data)
    password = passwords.read(pair.fleet.context.store, pair.primary)
    source = f"host=127.0.0.1 port={pair.primary.port} user=postgres password={password}"
    subprocess.run(["pg_basebackup", "-d", source, "-D", str(place.data), "-R"], check=True, timeout=60)
    for path in (place.data, *place.data.rglob("*")):
        os.chown(path, owner.st_uid, owner.st_gid)
