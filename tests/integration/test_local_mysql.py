"""One real MariaDB: made with databases and users, used, killed, restarted, removed, and the ways it can fail."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbmod import building, cli, datastores, errors, fleet, local_servers, passwords, providers
from dbmod.records import Run
from tests import local_fleet
from tests.local_fleet import LocalFleet

PASSWORDS = ("C4nary'\\\"$(x) `y`;--", "ünïcødé € 語", "\\")


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalFleet]:
    users = tuple(
        building.Account(name=f"user{number}", password=password) for number, password in enumerate(PASSWORDS)
    )
    with local_fleet.opened() as opened:
        opened.create("maria", "mysql", databases=("shop", "a_b"), users=users)
        yield opened


@pytest.fixture
def empty() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        yield opened


def test_create_gives_a_server_of_the_version_it_says(shared: LocalFleet) -> None:
    maria = shared.instance("maria")
    assert (maria.status, maria.fault) == ("ACTIVE", "")
    assert _sql(shared, "SELECT VERSION()").startswith(maria.datastore_version)
    assert [maria.datastore_version] == datastores.versions("mysql")


def test_flavor_sizes_the_server(shared: LocalFleet) -> None:
    assert _sql(shared, "SELECT @@innodb_buffer_pool_size DIV 1048576, @@performance_schema") == "128\t0\n"
    [pid] = local_fleet.pids(shared.instance("maria"))
    resident_kib = int(Path("/proc", str(pid), "status").read_text().split("VmRSS:")[1].split()[0])
    assert resident_kib < 160 * 1024


def test_only_loopback_and_only_known_accounts(shared: LocalFleet) -> None:
    assert _sql(shared, "SELECT @@bind_address") == "127.0.0.1\n"
    accounts = _sql(shared, "SELECT DISTINCT user FROM mysql.global_priv ORDER BY 1").split()
    assert accounts == sorted({"mariadb.sys", "root", _login(), *(f"user{number}" for number in range(3))})


@pytest.mark.parametrize("number", range(len(PASSWORDS)))
def test_user_logs_in_and_sees_its_databases(shared: LocalFleet, number: int) -> None:
    said = _as_user(shared, number, PASSWORDS[number], f"CREATE TABLE shop.t{number} (i INT); SHOW DATABASES")
    assert said.stdout.split() == ["a_b", "information_schema", "shop"], said.stderr


def test_grant_does_not_reach_a_database_of_similar_name(shared: LocalFleet) -> None:
    _sql(shared, "CREATE DATABASE axb")
    said = _as_user(shared, 0, PASSWORDS[0], "USE axb")
    assert "ERROR 1044" in said.stderr
    _sql(shared, "DROP DATABASE axb")


def test_password_opens_the_administrators_account_at_the_socket_alone(shared: LocalFleet) -> None:
    maria = shared.instance("maria")
    password = passwords.read(shared.context.store, maria)
    socket = f"-S{local_fleet.place(maria).directory}/run/mysqld.sock"
    assert _as_root(shared, socket, f"-p{password}").stdout == "root@localhost\n"
    assert "ERROR 1045" in _as_root(shared, socket, "-pwrong").stderr
    assert "ERROR 1" in _as_root(shared, "-h127.0.0.1", f"-P{maria.port}", f"-p{password}").stderr


def test_password_is_shown_alone_and_who_asked_is_kept(
    shared: LocalFleet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DBMOD_HOME", shared.settings.home)
    maria = shared.instance("maria")
    assert cli.execute(["password", "maria", "--reason", "the audit"]) == 0
    assert capfd.readouterr().out == passwords.read(shared.context.store, maria) + "\n"
    [asked] = shared.context.store.snapshot().find(Run, verb="password")
    assert (asked.actor, asked.reason, asked.state) == (shared.context.actor.name, "the audit", "done")
    shared.context.store.delete_contents(maria.id)
    assert cli.execute(["password", "maria"]) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert "does not know the administrator's password of 'maria'" in told.err


def test_wrong_password_is_refused(shared: LocalFleet) -> None:
    assert "ERROR 1045" in _as_user(shared, 0, "wrong", "SELECT 1").stderr


def test_passwords_are_nowhere_on_disk(shared: LocalFleet) -> None:
    looked = 0
    for path in shared.settings.home_path.parent.rglob("*"):
        if path.is_file():
            looked += 1
            held = path.read_bytes()
            for password in PASSWORDS[:2]:
                assert password.encode() not in held, path
                assert password.encode().hex().encode() not in held, path
    assert looked > 50


def test_killed_server_is_seen_and_comes_back_with_its_data(shared: LocalFleet) -> None:
    maria = shared.instance("maria")
    _sql(shared, "CREATE TABLE shop.kept (i INT); INSERT INTO shop.kept VALUES (42)")
    [pid] = local_fleet.pids(maria)
    os.kill(pid, signal.SIGKILL)
    for _ in range(500):
        if not local_servers.is_listening("127.0.0.1", maria.port or 0):
            break
    assert providers.observed_status(maria) == "SHUTDOWN"
    assert shared.carry_out(fleet.plan_restart(shared.context, "maria")).state == "done"
    assert _sql(shared, "SELECT i FROM shop.kept") == "42\n"


def test_looking_at_the_port_leaves_no_trace_in_the_log(shared: LocalFleet) -> None:
    maria = shared.instance("maria")
    before = Path(providers.log_path(maria)).stat().st_size
    for _ in range(5):
        assert providers.observed_status(maria) == "ACTIVE"
    assert _sql(shared, "SELECT 1") == "1\n"
    assert Path(providers.log_path(maria)).stat().st_size == before


@pytest.mark.nightly
def test_server_that_will_not_start_shows_its_log_and_can_be_deleted(empty: LocalFleet) -> None:
    maria = empty.create("bad", "mysql")
    settings = local_fleet.place(maria).directory / "etc" / "my.cnf"
    settings.write_text(settings.read_text() + "no_such_setting = 1\n")
    assert empty.carry_out(fleet.plan_restart(empty.context, "bad")).state == "failed"
    broken = empty.instance("bad")
    assert broken.status == "ERROR"
    assert "no_such_setting" in broken.fault
    assert passwords.read(empty.context.store, maria)
    assert empty.carry_out(fleet.plan_delete(empty.context, "bad")).state == "done"
    with pytest.raises(errors.NotFound):
        empty.context.store.read_contents(maria.id, passwords.NUMBER)
    assert not local_fleet.place(maria).directory.exists()


def test_deep_directory_gets_a_short_socket(empty: LocalFleet) -> None:
    deep = Path(empty.settings.local_directory) / "a-name-of-forty-characters-and-a-few-more" / "and-one-more"
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent, deep.parent.parent):
        folder.chmod(0o711)
    with local_fleet.settings_changed(empty, local_directory=str(deep)):
        maria = empty.create("deep", "mysql")
        assert maria.fault == ""
        short = Path(f"/tmp/dbmod-{maria.id}")
        assert (short / "mysqld.sock").is_socket()
        assert short.stat().st_mode & 0o777 == 0o700
        assert empty.client(maria, "-BNe 'SELECT 1'") == "1\n"
        assert empty.carry_out(fleet.plan_delete(empty.context, "deep")).state == "done"
    assert not short.exists()


def _sql(fleet_of_test: LocalFleet, statement: str) -> str:
    return fleet_of_test.client(fleet_of_test.instance("maria"), f"-BN -e '{statement}'")


def _as_user(fleet_of_test: LocalFleet, number: int, password: str, statement: str) -> subprocess.CompletedProcess[str]:
    port = fleet_of_test.instance("maria").port
    return subprocess.run(
        ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{port}", f"-uuser{number}", f"-p{password}",
         "--default-character-set=utf8mb4", "-BN", "-e", statement],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def _as_root(fleet_of_test: LocalFleet, *words: str) -> subprocess.CompletedProcess[str]:
    """Log in as the administrator from an account that the server does not know: its own, or whoever runs the tests."""
    return subprocess.run(
        ["mariadb", "--no-defaults", "-uroot", *words, "-BNe", "SELECT CURRENT_USER()"],
        capture_output=True, text=True, check=False, timeout=60,
        user=local_fleet.place(fleet_of_test.instance("maria")).uid,
    )  # fmt: skip


def _login() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
