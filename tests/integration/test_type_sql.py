"""The type sql on a real PostgreSQL and a real MariaDB: once, in a transaction, undone, with the host's files lost."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbmod import cli, config, module_types, transport
from dbmod.records import Instance
from tests import hosts, local_fleet
from tests.local_fleet import LocalFleet

TYPE = module_types.find(config.Settings(), "sql")
DATASTORES = ("postgresql", "mysql")
NUMBERS = b"CREATE TABLE IF NOT EXISTS numbers (i int);\nINSERT INTO numbers VALUES (1);\n"


class Server(hosts.Host):
    """A server of the provider local, as the host of a request."""

    def __init__(self, fleet: LocalFleet, instance: Instance) -> None:
        self.fleet, self.server = fleet, instance
        self.home = local_fleet.place(instance).directory
        self.settings = config.Settings()
        self.sources = module_types.sources(config.Settings(), ["sql"])
        self.python = hosts.pythons()[-1]
        self.serial = 0

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"]}

    def folder(self, module_type: str, module: str = hosts.MODULE) -> Path:
        return self.home / "instances" / self.server.id / "modules" / module_type / module

    def request(self, verb: transport.Verb, *modules: transport.ModuleRequest, **more: object) -> transport.Request:
        self.serial += 1
        facts = {
            "instance": self.server.id,
            "serial": self.serial,
            "datastore": self.server.datastore,
            "datastore_version": self.server.datastore_version,
            "directory": str(self.home),
            "port": self.server.port,
        }
        return super().request(verb, *modules, **{**facts, **more})

    def ask(self, statement: str, database: str = "dbmod_test") -> list[str]:
        if self.server.datastore == "postgresql":
            return self.fleet.client(self.server, f'-XAtc "\\c {database}" -c "{statement}"').split("\n")[1:-1]
        return self.fleet.client(self.server, f'-BN -D {database} -e "{statement}"').split("\n")[:-1]

    def well(self, contents: bytes, **more: object) -> tuple[str, bool]:
        result = self.apply("sql", contents, **more).result
        assert result.status == "OK", result.message
        return result.message, result.changed

    def ill(self, contents: bytes) -> str:
        result = self.apply("sql", contents).result
        assert result.status == "ERROR", result.message
        return result.message


@pytest.fixture(scope="module")
def fleet_of_two() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        for name in DATASTORES:
            opened.create(name, name, databases=("dbmod_test",))
        yield opened


@pytest.fixture(params=DATASTORES)
def server(fleet_of_two: LocalFleet, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose database dbmod_test is empty, and that knows of no statements."""
    opened = Server(fleet_of_two, fleet_of_two.instance(request.param))
    yield opened
    shutil.rmtree(opened.home / "instances", ignore_errors=True)
    opened.ask("DROP TABLE IF EXISTS numbers")
    if request.param == "mysql":
        opened.ask("DROP DATABASE IF EXISTS dbmod", "mysql")
    for database in ("dbmod_test", "postgres") if request.param == "postgresql" else ():
        opened.ask("SET client_min_messages = error; DROP SCHEMA IF EXISTS dbmod CASCADE", database)


def in_test(statements: bytes) -> bytes:
    return b"-- dbmod: database dbmod_test\n" + statements


def test_statements_run_once_per_version(server: Server) -> None:
    would = server.apply("sql", in_test(NUMBERS), check=True).result
    assert (would.status, would.message, would.changed) == ("OK", "the statements would run", True)
    assert server.well(in_test(NUMBERS)) == ("the statements ran", True)
    assert server.well(in_test(NUMBERS)) == ("the statements ran", False)
    assert server.ask("SELECT i FROM numbers") == ["1"]
    second = in_test(b"INSERT INTO numbers VALUES (2);\n")
    assert server.well(second) == ("the statements ran", True)
    assert server.well(in_test(NUMBERS))[0] == "the statements ran"
    assert server.ask("SELECT i FROM numbers ORDER BY i") == ["1", "2"]
    assert server.ask("SELECT count(*) FROM dbmod.dbmod_applied") == ["2"]


def test_a_host_that_lost_its_files_runs_nothing_again(server: Server) -> None:
    contents = in_test(NUMBERS + b"-- dbmod: undo\nDROP TABLE numbers;\n")
    server.well(contents)
    shutil.rmtree(server.home / "instances")
    assert server.look("query", "sql").result.note == "missing"
    if server.server.datastore == "mysql":  # PostgreSQL keeps the record in a database that only the contents name
        lost = server.remove("sql").result
        assert (
            lost.message == "the statements ran, but the host lost the contents with the undo: apply the module first"
        )
    assert server.well(contents)[0] == "the statements ran"
    assert server.ask("SELECT i FROM numbers") == ["1"]
    assert server.remove("sql").result.message == "the undo ran"
    assert server.remove("sql").result.changed is False


@pytest.mark.parametrize("server", ["postgresql"], indirect=True)
def test_a_servers_warnings_are_no_answers(server: Server) -> None:
    """PostgreSQL warns at every login where the system's collations are others than when the database was made."""
    recorded = "UPDATE pg_database SET datcollversion = %s WHERE datname = 'dbmod_test'"
    server.ask(recorded % "'0.1'")
    try:
        checked = in_test(b"SELECT 1;\n-- dbmod: check\nSELECT false;\n")
        assert server.ill(checked) == "the statements ran, but the check fails"
        assert server.well(in_test(b"SELECT 1;\n-- dbmod: check\nSELECT true;\n"))[1]
        assert server.look("query", "sql").result.note == ""
        assert server.remove("sql").result.changed
        never_ran = server.remove("sql", run="run-2").result
        assert (never_ran.status, never_ran.changed) == ("OK", False)
    finally:
        server.ask(recorded % "pg_database_collation_actual_version(oid)")


def test_a_server_that_does_not_answer_is_told_so(server: Server) -> None:
    contents = b"-- dbmod: database no_such_database\nSELECT 1;\n"
    said = server.ill(contents)
    if server.server.datastore == "mysql":
        assert said == "the question what ran did not run: error 1049"
        settings = server.home / "etc/my.cnf"
        text = settings.read_text()
        settings.write_text(text.replace("mysqld.sock", "nobody.sock"))
        try:
            said = server.ill(NUMBERS)
        finally:
            settings.write_text(text)
    assert said == "the question what ran did not run: the server does not answer, or does not let us in"


def test_statements_that_fail_say_the_code_and_the_line_alone(server: Server) -> None:
    said = server.ill(in_test(b"INSERT INTO\nnowhere VALUES ('C4nary');\n"))
    code, line = ("42P01", 3) if server.server.datastore == "postgresql" else ("1146", 2)
    assert said == f"the statements did not run: error {code} near line {line}"
    assert server.look("query", "sql").result.status == "ERROR"


def test_statements_that_fail_leave_nothing(server: Server) -> None:
    """On MariaDB that holds for rows; a CREATE TABLE commits, which the documentation says."""
    if server.server.datastore == "mysql":
        server.ask("CREATE TABLE numbers (i int)")
        server.ill(in_test(b"INSERT INTO numbers VALUES (1);\nNO SUCH STATEMENT;\n"))
        assert server.ask("SELECT count(*) FROM numbers") == ["0"]
    else:
        server.ill(in_test(NUMBERS + b"NO SUCH STATEMENT;\n"))
        assert server.ask("SELECT to_regclass('numbers') IS NULL, to_regnamespace('dbmod') IS NULL") == ["t|t"]
    assert server.well(in_test(NUMBERS)) == ("the statements ran", True)
    assert server.ask("SELECT count(*) FROM numbers") == ["1"]


@pytest.mark.parametrize("end", [b"INSERT INTO numbers VALUES (2)", b"SELECT 1 -- x", b"SELECT 'x", b"SELECT 1; /* x"])
def test_what_is_left_open_is_no_half_success(server: Server, end: bytes) -> None:
    """A missing semicolon or line end is no harm; an open quote or comment is an error, and nothing is recorded."""
    is_well = end.startswith(b"INSERT") or b"--" in end
    result = server.apply("sql", in_test(NUMBERS + end)).result
    assert (result.status == "OK") is is_well, result.message
    if is_well or server.server.datastore == "mysql":
        assert server.ask("SELECT count(*) FROM dbmod.dbmod_applied") == ["1" if is_well else "0"]


def test_remove_runs_the_undo_in_a_transaction(server: Server) -> None:
    contents = in_test(NUMBERS + b"-- dbmod: undo\nDELETE FROM numbers;\nINSERT INTO numbers VALUES (3);\n")
    server.well(contents)
    would = server.remove("sql", check=True).result
    assert (would.status, would.changed) == ("OK", True)
    assert server.ask("SELECT i FROM numbers") == ["1"]
    assert server.remove("sql").result.message == "the undo ran"
    assert server.ask("SELECT i FROM numbers") == ["3"]
    assert server.ask("SELECT count(*) FROM dbmod.dbmod_applied") == ["0"]
    assert server.well(contents) == ("the statements ran", True)
    broken = in_test(b"SELECT 1;\n-- dbmod: undo\nDELETE FROM numbers;\nNO SUCH STATEMENT;\n")
    server.well(broken)
    failed = server.remove("sql").result
    assert (failed.status, failed.message[:27]) == ("ERROR", "the undo did not run: error")
    assert server.ask("SELECT count(*) FROM numbers") == ["2"]
    assert server.ask("SELECT count(*) FROM dbmod.dbmod_applied") == ["2"]


def test_a_check_that_fails_is_an_error_until_it_passes(server: Server) -> None:
    contents = in_test(NUMBERS + b"-- dbmod: check\nSELECT count(*) > 1 FROM numbers;\n")
    assert server.ill(contents) == "the statements ran, but the check fails"
    assert server.ill(contents) == "the statements ran, but the check fails"
    assert server.ask("SELECT i FROM numbers") == ["1"]
    server.ask("INSERT INTO numbers VALUES (7)")
    assert server.well(contents) == ("the statements ran, and the check passes", False)
    assert server.look("query", "sql").result.note == ""
    server.ask("DELETE FROM numbers")
    assert server.look("query", "sql").result.detail == "the check fails"
    server.ask("DELETE FROM dbmod.dbmod_applied")
    assert server.look("query", "sql").result.detail == "the database does not know that the statements ran"


def test_statements_for_another_server_are_refused(server: Server) -> None:
    [other] = set(DATASTORES) - {server.server.datastore}
    assert server.ill(f"-- dbmod: datastore {other}\nSELECT 1;\n".encode()) == f"the statements are for {other}"


def test_the_types_own_cases(server: Server) -> None:
    """With facts, and as a playbook without dbmod's ledger has it: without."""
    cases = [case for case in TYPE.cases if case.get("server") == server.server.datastore]
    for case in cases:
        assert server.well(case["contents"]) == (case["message"], True)
        assert server.well(case["contents"]) == (case["message"], False)
        assert server.well(case["contents"], datastore="") == (case["message"], False)
        removed = server.remove("sql").result
        assert (removed.status, removed.message) == ("OK", case["removed"])
        assert server.remove("sql").result.changed is False
    assert cases


@pytest.mark.nightly
def test_the_ledgers_row_says_that_the_check_failed(
    fleet_of_two: LocalFleet, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = fleet_of_two.settings
    for name in ("home", "local_directory", "local_ports"):
        monkeypatch.setenv(f"DBMOD_{name.upper()}", getattr(settings, name))
    name = server.server.datastore
    file = tmp_path / "audit.sql"
    file.write_bytes(in_test(NUMBERS + b"-- dbmod: check\nSELECT 1 FROM numbers WHERE i = 2;\n"))
    assert cli.execute(["module-create", f"audit-{name}", "sql", str(file)]) == 0
    assert cli.execute(["module-apply", name, f"audit-{name}"]) == 1
    server.ask("INSERT INTO numbers VALUES (2)")
    capfd.readouterr()
    assert cli.execute(["module-apply", name, f"audit-{name}", "-f", "json"]) == 0
    assert cli.execute(["module-query", name]) == 0
    assert "the check passes" in capfd.readouterr().out
    assert cli.execute(["module-remove", name, f"audit-{name}"]) == 0
