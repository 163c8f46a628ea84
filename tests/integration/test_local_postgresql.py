"""One real PostgreSQL: made with databases and users, used, killed, restarted, removed, and the ways it can fail."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from dbmod import building, datastores, fleet, local_servers, passwords, paths, providers
from tests import local_fleet
from tests.local_fleet import LocalFleet

PASSWORDS = ("C4nary'\\\"$(x) `y`;--$do$", "ünïcødé € 語", "\\")


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalFleet]:
    users = tuple(
        building.Account(name=f"user{number}", password=password) for number, password in enumerate(PASSWORDS)
    )
    with local_fleet.opened() as opened:
        opened.create("post", "postgresql", databases=("shop", "a-b.C"), users=users)
        yield opened


@pytest.fixture
def empty() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        yield opened


def test_create_gives_a_server_of_the_version_it_says(shared: LocalFleet) -> None:
    post = shared.instance("post")
    assert (post.status, post.fault) == ("ACTIVE", "")
    assert _sql(shared, "SHOW server_version").startswith(post.datastore_version)
    assert [post.datastore_version] == datastores.versions("postgresql")


def test_flavor_and_volume_size_the_server(shared: LocalFleet) -> None:
    names = ("shared_buffers", "effective_cache_size", "max_connections", "work_mem", "max_wal_size")
    said = [_sql(shared, f"SHOW {name}").strip() for name in names]
    assert said == ["128MB", "384MB", "64", "2MB", "128MB"]


def test_data_are_checked_and_text_is_utf8(shared: LocalFleet) -> None:
    assert _sql(shared, "SHOW data_checksums") == "on\n"
    assert (
        _sql(shared, "SELECT DISTINCT pg_encoding_to_char(encoding), datcollate FROM pg_database") == "UTF8|C.UTF-8\n"
    )


def test_only_loopback_and_only_known_accounts(shared: LocalFleet) -> None:
    assert _sql(shared, "SHOW listen_addresses") == "127.0.0.1\n"
    accounts = _sql(shared, "SELECT rolname FROM pg_roles WHERE rolname !~ 'pg_' ORDER BY 1").split()
    assert accounts == ["dbmod_users", "postgres", *(f"user{number}" for number in range(3))]
    assert _sql(shared, "SELECT rolname FROM pg_roles WHERE rolsuper OR rolcreaterole OR rolcreatedb") == "postgres\n"
    assert _sql(shared, "SELECT count(*) FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$%'") == "4\n"


@pytest.mark.parametrize("number", range(len(PASSWORDS)))
@pytest.mark.parametrize("database", ["shop", "a-b.C"])
def test_user_logs_in_and_makes_what_the_others_can_use(shared: LocalFleet, number: int, database: str) -> None:
    mine = f"t{number}"
    said = _as_user(
        shared, number, f"CREATE TABLE {mine} (i serial, j int); INSERT INTO {mine} (j) VALUES (7)", database
    )
    assert said.returncode == 0, said.stderr
    other = (number + 1) % len(PASSWORDS)
    said = _as_user(shared, other, f"INSERT INTO {mine} (j) VALUES (8) RETURNING i", database)
    assert said.stdout.split()[0] == "2", said.stderr
    assert _as_user(shared, other, f"DROP TABLE {mine}", database).returncode == 0


def test_users_have_nothing_in_other_databases(shared: LocalFleet) -> None:
    _sql(shared, "CREATE DATABASE other")
    assert "permission denied" in _as_user(shared, 0, "CREATE TABLE mine (i int)", "other").stderr
    _sql(shared, "DROP DATABASE other")


def test_wrong_password_is_refused(shared: LocalFleet) -> None:
    said = _as(shared, "user0", "wrong", "SELECT 1", "shop")
    assert "password authentication failed" in said.stderr


def test_superuser_has_a_password_that_the_store_keeps(shared: LocalFleet) -> None:
    password = passwords.read(shared.context.store, shared.instance("post"))
    assert _as(shared, "postgres", password, "SELECT current_user", "postgres").stdout == "postgres\n"
    assert "password authentication failed" in _as(shared, "postgres", "wrong", "SELECT 1", "postgres").stderr


def test_passwords_are_nowhere_on_disk(shared: LocalFleet) -> None:
    secrets = [*PASSWORDS[:2], passwords.read(shared.context.store, shared.instance("post"))]
    looked = 0
    for path in shared.settings.home_path.parent.rglob("*"):
        if path.is_file():
            looked += 1
            held = path.read_bytes()
            for password in secrets:
                assert password.encode() not in held, path
                assert password.encode().hex().encode() not in held, path
    assert looked > 50


def test_accounts_made_twice_stay_as_they_are(shared: LocalFleet) -> None:
    said = _accounts(shared, "user0", "another password", databases=["shop"])
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert _as_user(shared, 0, "SELECT 1", "shop").stdout == "1\n"


def test_account_that_fails_shows_its_password_nowhere(shared: LocalFleet) -> None:
    log = Path(providers.log_path(shared.instance("post")))
    said = _accounts(shared, "pg_refused_by_the_server", PASSWORDS[0])
    assert (said.returncode, said.stdout) == (3, "")
    assert said.stderr.strip().endswith("ERROR:  42939")
    told = log.read_text()
    assert 'role name "pg_refused_by_the_server" is reserved' in told
    assert PASSWORDS[0] not in told
    assert PASSWORDS[0].encode().hex() not in told


@pytest.mark.nightly
def test_second_configure_changes_nothing(shared: LocalFleet, tmp_path: Path) -> None:
    said = shared.configure_again(shared.instance("post"), tmp_path)
    assert "changed=0" in said, said


def test_configure_in_check_mode_changes_nothing(shared: LocalFleet, tmp_path: Path) -> None:
    post = shared.instance("post")
    settings = local_fleet.place(post).directory / "etc" / "postgresql.conf"
    before = settings.read_text()
    settings.write_text(before + "# by hand\n")
    said = shared.configure_again(post, tmp_path, "--check")
    assert "changed=1" in said, said
    assert settings.read_text() == before + "# by hand\n"
    settings.write_text(before)


def test_killed_server_is_seen_and_comes_back_with_its_data(shared: LocalFleet) -> None:
    post = shared.instance("post")
    _sql(shared, "CREATE TABLE kept AS SELECT 42 AS i")
    os.kill(_main_process(shared), signal.SIGKILL)
    for _ in range(500):
        if not local_servers.is_listening("127.0.0.1", post.port or 0):
            break
    assert providers.observed_status(post) == "SHUTDOWN"
    assert shared.carry_out(fleet.plan_restart(shared.context, "post")).state == "done"
    assert _sql(shared, "SELECT i FROM kept") == "42\n"


def test_restart_parts_from_a_busy_client_in_good_order(shared: LocalFleet, figure: Callable[[str, str], None]) -> None:
    log = Path(providers.log_path(shared.instance("post")))
    said_before = len(log.read_text())
    command = _command(shared, "user0", "shop", "SELECT 'here', pg_sleep(100)")
    with subprocess.Popen(command, env=_environment(PASSWORDS[0]), stderr=subprocess.PIPE, text=True) as client:
        active = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'user0' AND state = 'active'"
        while _sql(shared, active) == "0\n":
            time.sleep(0.05)
        began = time.monotonic()
        assert shared.carry_out(fleet.plan_restart(shared.context, "post")).state == "done"
        took = time.monotonic() - began
        assert "terminating connection due to administrator command" in (client.communicate()[1])
    said = log.read_text()[said_before:]
    assert "database system is shut down" in said
    assert "not properly shut down" not in said
    assert took < 30
    figure("PostgreSQL", f"restart with a busy client: {took:.1f} s")


def test_looking_at_the_port_leaves_no_trace_in_the_log(shared: LocalFleet) -> None:
    post = shared.instance("post")
    before = Path(providers.log_path(post)).stat().st_size
    for _ in range(5):
        assert providers.observed_status(post) == "ACTIVE"
    assert _sql(shared, "SELECT 1") == "1\n"
    assert Path(providers.log_path(post)).stat().st_size == before


@pytest.mark.nightly
def test_server_that_will_not_start_shows_its_log_and_can_be_deleted(empty: LocalFleet) -> None:
    post = empty.create("bad", "postgresql")
    settings = local_fleet.place(post).directory / "etc" / "postgresql.conf"
    settings.write_text(settings.read_text() + "no_such_setting = 1\n")
    assert empty.carry_out(fleet.plan_restart(empty.context, "bad")).state == "failed"
    broken = empty.instance("bad")
    assert broken.status == "ERROR"
    assert "no_such_setting" in broken.fault
    assert empty.carry_out(fleet.plan_delete(empty.context, "bad")).state == "done"
    assert not local_fleet.place(post).directory.exists()


@pytest.mark.nightly
def test_deep_directory_gets_a_short_socket_and_delete_leaves_nothing(empty: LocalFleet) -> None:
    deep = Path(empty.settings.local_directory) / "a-name-of-forty-characters-and-a-few-more" / "and-'one'-more"
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent, deep.parent.parent):
        folder.chmod(0o711)
    with local_fleet.settings_changed(empty, local_directory=str(deep)):
        post = empty.create("deep", "postgresql")
        assert post.fault == ""
        short = Path(f"/tmp/dbmod-{post.id}")
        assert (short / f".s.PGSQL.{post.port}").is_socket()
        assert short.stat().st_mode & 0o777 == 0o700
        assert empty.client(post, "-Atc 'SELECT 1'") == "1\n"
        assert empty.carry_out(fleet.plan_delete(empty.context, "deep")).state == "done"
    assert not short.exists()
    assert not local_fleet.place(post).directory.exists()
    assert local_fleet.pids(post) == []


@pytest.mark.nightly
@pytest.mark.root
def test_an_ordinary_user_runs_it_as_himself(empty: LocalFleet, tmp_path: Path) -> None:
    """Root becomes `nobody`; the one capability lets it read this checkout and its Python, wherever they lie."""
    home = Path(empty.settings.home).parent / "of-nobody"
    home.mkdir()
    os.chown(home, 65534, 65534)
    contents = home / "mymod.dat"
    contents.write_text("message=Hello\n")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "DBMOD_HOME": str(home / "state"),
        "DBMOD_LOCAL_PORTS": empty.settings.local_ports,
    }

    def dbmod(*words: str) -> str:
        command = [
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--",
            sys.executable, "-m", "dbmod", *words,
        ]  # fmt: skip
        said = subprocess.run(
            command, cwd=paths.content(), env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert said.returncode == 0, said.stdout + said.stderr
        return said.stdout

    dbmod("module-create", "mymod", "ping", str(contents))
    dbmod(
        "create",
        "mine",
        "15",
        "--datastore",
        "postgresql",
        "--databases",
        "shop",
        "--users",
        "app:s",
        "--module",
        "mymod",
    )
    try:
        [shown] = json.loads(dbmod("list", "-f", "json"))
        assert shown["Status"] == "ACTIVE"
        assert "Hello" in dbmod("module-query", "mine")
        place = home / "state" / "local" / shown["ID"]
        assert {path.stat().st_uid for path in place.rglob("*")} == {65534}
        dbmod("restart", "mine")
    finally:
        dbmod("delete", "mine", "--yes")
    assert not place.exists()


def _main_process(fleet_of_test: LocalFleet) -> int:
    pid_file = local_fleet.place(fleet_of_test.instance("post")).data / "postmaster.pid"
    pid = int(pid_file.read_text().splitlines()[0])
    assert pid in local_fleet.pids(fleet_of_test.instance("post"))
    return pid


def _sql(fleet_of_test: LocalFleet, statement: str) -> str:
    return fleet_of_test.client(fleet_of_test.instance("post"), f'-XAt -c "{statement}"'.replace("$", "\\$"))


def _as_user(fleet_of_test: LocalFleet, number: int, statement: str, database: str) -> subprocess.CompletedProcess[str]:
    return _as(fleet_of_test, f"user{number}", PASSWORDS[number], statement, database)


def _as(
    fleet_of_test: LocalFleet, user: str, password: str, statement: str, database: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(fleet_of_test, user, database, statement),
        env=_environment(password), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def _accounts(
    fleet_of_test: LocalFleet, user: str, password: str, *, databases: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Make accounts as the role does."""
    text = datastores.statements("postgresql")(list(databases), [{"name": user, "password": password}])
    command = f"{providers.connect_hint(fleet_of_test.instance('post'))} -X --quiet --set=ON_ERROR_STOP=1"
    return subprocess.run(["sh", "-c", command], input=text, capture_output=True, text=True, check=False, timeout=60)


def _command(fleet_of_test: LocalFleet, user: str, database: str, statement: str) -> list[str]:
    port = fleet_of_test.instance("post").port
    return ["psql", "-XAt", "-h", "127.0.0.1", "-p", str(port), "-U", user, "-d", database, "-c", statement]


def _environment(password: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PGPASSWORD": password}
