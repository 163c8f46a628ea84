"""The type prometheus_exporter on machines with systemd and real servers; the exporters come from Debian's packages."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbmod import config, module_types, transport
from tests import hosts
from tests.beds.bed import Bed
from tests.beds.hosts import Host
from tests.remote import Remote

pytestmark = pytest.mark.root
TYPE = module_types.find(config.Settings(), "prometheus_exporter")
PACKAGES = {"redis": "prometheus-redis-exporter", "mysql": "prometheus-mysqld-exporter"}
PACKAGES["postgresql"] = "prometheus-postgres-exporter"
SECOND = "port 6380\nbind 127.0.0.1\ndir /var/lib/redis\nsave ''\nrequirepass secret-of-the-second\ndaemonize no\n"


class Server(Remote):
    """One database server of a machine, as an instance of dbmod."""

    def __init__(self, machine: Host, datastore: str, port: int, instance: str = "first") -> None:
        super().__init__(machine)
        self.sources = module_types.sources(config.Settings(), ["prometheus_exporter"])
        self.facts = {"datastore": datastore, "port": port, "address": "127.0.0.1", "instance": instance}
        self.unit = f"dbmod-exporter-{instance}.service"
        self.serial = 0

    def request(self, verb: transport.Verb, *modules: transport.ModuleRequest, **more: object) -> transport.Request:
        self.serial += 1
        return super().request(verb, *modules, **{**self.facts, "serial": self.serial, **more})

    def well(self, contents: bytes, **more: object) -> tuple[str, bool]:
        result = self.apply("prometheus_exporter", contents, **more).result
        assert result.status == "OK", result.message
        return result.message, result.changed

    def ill(self, contents: bytes, module: str = hosts.MODULE) -> str:
        asked = hosts.module("prometheus_exporter", contents, module)
        result = self.send(self.request("apply", asked), [contents]).result
        assert result.status == "ERROR", result.message
        return result.message

    def removed(self, **more: object) -> tuple[str, bool]:
        result = self.remove("prometheus_exporter", **more).result
        assert result.status == "OK", result.message
        return result.message, result.changed

    def missing(self) -> str:
        """Give what the query misses."""
        return self.look("query", "prometheus_exporter").result.detail

    def process(self) -> int:
        """Give the exporter's process, by the machine's numbers; 0 where it does not run."""
        return int(self.machine.run("systemctl", "show", "--property=MainPID", "--value", self.unit).stdout)

    def kept(self) -> Path:
        folder = self.machine.root / f"var/lib/dbmod/instances/{self.facts['instance']}/modules/prometheus_exporter"
        return folder / hosts.MODULE / "kept.dat"

    def login(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kept().read_text().partition("\n")[0][2:])
        return found

    def metrics(self, port: int) -> str:
        """Scrape as Prometheus does, from outside."""
        with urllib.request.urlopen(f"http://{self.machine.address}:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def is_known(self, secret: str) -> bool:
        """Tell whether a secret is in an argument, the journal, a unit or what systemd says of it."""
        seen = (
            "cat /proc/[0-9]*/cmdline; journalctl --quiet; systemctl cat 'dbmod-exporter-*'; systemctl show 'dbmod-*'"
        )
        said = self.machine.run("sh", "-c", seen, check=False).stdout
        assert "dbmod-exporter" in said
        return secret in said


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Iterator[Host]:
    with bed.borrow_hosts() as lent:
        yield lent.take(1)[0]


@pytest.fixture(scope="module")
def redis(machine: Host) -> Server:
    """A Redis with a file for its accounts."""
    with (machine.root / "etc/redis/redis.conf").open("a") as file:
        file.write("\naclfile /var/lib/redis/users.acl\n")
    machine.run("install", "-o", "redis", "-m", "600", "/dev/null", "/var/lib/redis/users.acl")
    machine.run("systemctl", "start", "redis-server")
    return Server(machine, "redis", 6379)


def redis_cli(server: Server, *words: str, **login: str) -> str:
    user = ("--user", login["user"], "--askpass", "--no-auth-warning") if login else ()
    port = ("-p", str(server.facts["port"]))
    return server.machine.run("redis-cli", *port, *user, *words, text=login.get("password", "")).stdout.strip()


def test_exporter_of_a_redis_from_its_package_to_its_removal(redis: Server) -> None:
    contents = b"listen=:@port+3000@\nflags=--redis-only-metrics\n"
    would = redis.apply("prometheus_exporter", contents, check=True).result
    assert (would.status, would.message) == ("OK", "redis_exporter would be started on :9379")
    assert redis.machine.run("dpkg-query", "-W", PACKAGES["redis"], check=False).returncode == 1
    assert "dbmod_exporter" not in redis_cli(redis, "ACL", "LIST")

    message = "redis_exporter on :9379 says redis_up 1"
    assert redis.well(contents) == (message, True)
    assert re.search("^redis_up 1$", redis.metrics(9379), re.MULTILINE)
    assert redis.machine.run("systemctl", "is-enabled", redis.unit).stdout == "enabled\n"
    own = redis.machine.run("systemctl", "is-active", PACKAGES["redis"], check=False)
    assert own.stdout == "inactive\n"
    listening = redis.machine.run("ss", "-Hltn", "sport = :9121").stdout
    assert listening == ""

    process = redis.process()
    assert redis.well(contents) == (message, False)
    assert redis.process() == process
    assert redis.missing() == ""

    login = redis.login()
    assert (login["user"], redis.kept().stat().st_mode & 0o777) == ("dbmod_exporter", 0o600)
    assert not redis.is_known(login["password"])
    account = {"user": login["user"], "password": login["password"]}
    assert redis_cli(redis, "ACL", "LOG") == ""  # it asks nothing that it may not
    assert redis_cli(redis, "PING", **account) == "PONG"
    for refused in (("GET", "x"), ("CONFIG", "GET", "*"), ("ACL", "LIST"), ("KEYS", "*")):
        assert redis_cli(redis, *refused, **account).startswith("NOPERM")
    uid = (Path("/proc") / str(_outer(redis, process)) / "status").read_text()
    assert re.search(r"^Uid:\t6[1-5]\d{3}\t", uid, re.MULTILINE)  # systemd's range of users that come and go

    redis.machine.run("systemctl", "stop", redis.unit)
    assert redis.missing() == f"the exporter does not run, journalctl -u {redis.unit} tells why"
    assert redis.well(contents) == (message, True)

    assert redis.removed(check=True) == ("the exporter is removed", True)
    assert redis.missing() == ""
    assert redis.removed() == ("the exporter is removed", True)
    assert (redis.process(), redis.kept().exists()) == (0, False)
    assert not (redis.machine.root / "etc/systemd/system" / redis.unit).exists()
    assert "dbmod_exporter" not in redis_cli(redis, "ACL", "LIST")
    assert "dbmod_exporter" not in (redis.machine.root / "var/lib/redis/users.acl").read_text()
    assert redis.removed()[1] is False
    assert redis.machine.run("dpkg-query", "-W", PACKAGES["redis"]).returncode == 0


def _outer(server: Server, process: int) -> int:
    """Find a machine's process by this machine's number."""
    for outer in server.machine.processes():
        status = (Path("/proc") / str(outer) / "status").read_text()
        if re.search(rf"^NSpid:.*\t{process}$", status, re.MULTILINE):
            return outer
    raise LookupError(process)


def test_what_does_not_work_leaves_the_exporter_of_before(redis: Server) -> None:
    first = b"listen=127.0.0.1:9121\n"
    message, _ = redis.well(first)
    login = redis.login()
    said = redis.ill(b"listen=127.0.0.1:6379\n")
    assert said == "it cannot listen on 127.0.0.1:6379 (Address already in use); the exporter of before is back"
    assert redis.well(first) == (message, True)  # after a failure it starts anew, whatever was left
    assert redis.well(first) == (message, False)
    assert redis.login() == login

    file = redis.machine.root / "etc/exporter.password"
    file.write_text("not-the-password\n")
    file.chmod(0o600)
    said = redis.ill(b"listen=127.0.0.1:9122\nuser=nobody\npassword_file=/etc/exporter.password\n")
    assert said == "the exporter does not reach the server: redis_up is 0; the exporter of before is back"
    assert not redis.is_known("not-the-password")
    assert redis.login() == login

    redis.machine.run("systemd-run", "--quiet", "flock", "/var/lib/dbmod", "sleep", "7")  # as another exporter does
    late = redis.apply("prometheus_exporter", b"listen=127.0.0.1:9124\n", time_limit_seconds=6).result
    assert (late.status, late.message[:43]) == ("ERROR", "another one is at work on this host (waited")
    assert redis.well(first) == (message, True)

    said = redis.ill(b"listen=127.0.0.1:9123\n", module="0065a8ed-0668-4db5-a4ad-d88d0a166389")
    assert said == "another module has the exporter of this server: remove that one first"
    redis.removed()


@pytest.mark.nightly
def test_an_account_of_the_users_own_takes_the_place_of_ours(redis: Server) -> None:
    contents = b"listen=127.0.0.1:9121\nuser=watcher\npassword_file=/etc/exporter.password\n"
    file = redis.machine.root / "etc/exporter.password"
    file.write_text("canary-4711:/@x\n")
    file.chmod(0o644)
    redis_cli(redis, "ACL", "SETUSER", "watcher", "on", ">canary-4711:/@x", "allkeys", "+@all")
    assert redis.ill(contents) == "password_file is not its owner's alone: chmod 600 it"
    file.chmod(0o600)
    redis.well(b"listen=127.0.0.1:9121\n")
    assert redis.well(contents)[1] is True
    assert "dbmod_exporter" not in redis_cli(redis, "ACL", "LIST")
    assert not redis.is_known("canary-4711")
    file.write_text("canary-4712\n")
    redis_cli(redis, "ACL", "SETUSER", "watcher", "resetpass", ">canary-4712")
    assert redis.well(contents)[1] is True
    assert redis.well(contents)[1] is False
    redis.removed()
    assert "user watcher" in redis_cli(redis, "ACL", "LIST")


@pytest.mark.nightly
def test_two_servers_of_a_host_never_meet(redis: Server) -> None:
    """The second one has a password, and no file for its accounts."""
    _goes_through_its_case(redis)
    settings = redis.machine.root / "etc/valkey/valkey.conf"  # where the type looks for its password
    settings.parent.mkdir()
    settings.write_text(SECOND)
    contents = b"listen=127.0.0.1:@port+3000@\n"
    second = Server(redis.machine, "redis", 6380, "second")
    down = second.ill(contents)
    assert down == "no account was made: Redis does not answer; user and password_file may name yours"
    redis.machine.run("systemd-run", "--unit=redis-second", "redis-server", "/etc/valkey/valkey.conf")
    redis.well(contents)
    process = redis.process()
    message = "redis_exporter on 127.0.0.1:9380 says redis_up 1"
    assert second.well(contents) == (message, True)
    assert second.well(contents) == (message, False)
    assert not second.is_known("secret-of-the-second")
    assert second.removed()[1] is True
    assert (second.process(), redis.process(), redis.missing()) == (0, process, "")
    redis.removed()


@pytest.mark.nightly
def test_exporter_of_a_mariadb(machine: Host) -> None:
    machine.run("systemctl", "start", "mariadb")
    server = Server(machine, "mysql", 3306, "maria")
    contents = b"listen=:9104\n"
    _goes_through_its_case(server)
    server.well(contents)
    login = server.login()
    mine = ("mariadb", "-h127.0.0.1", "-u", login["user"], "-BN", "-e")
    environment = ("env", f"MYSQL_PWD={login['password']}")
    grants = machine.run(*environment, *mine, "SHOW GRANTS").stdout
    assert "GRANT PROCESS, BINLOG MONITOR, SLAVE MONITOR ON *.* TO `dbmod_exporter`@`127.0.0.1`" in grants
    assert machine.run(*environment, *mine, "SELECT * FROM mysql.user", check=False).returncode == 1
    machine.run("mariadb", "-e", "DROP USER 'dbmod_exporter'@'127.0.0.1'")
    assert server.missing() == "the exporter does not reach the server: mysql_up is 0"
    assert server.well(contents)[1] is True
    assert server.login() == login
    other = Server(machine, "mysql", 3307, "other")
    wrong = "no account was made: the socket leads to the server on port 3306, not 3307"
    assert other.ill(b"listen=:9105\n") == f"{wrong}; user and password_file may name yours"
    server.removed()
    assert machine.run("mariadb", "-BNe", "SELECT user FROM mysql.user WHERE user LIKE 'dbmod%'").stdout == ""


@pytest.mark.nightly
def test_exporter_of_a_postgresql(machine: Host) -> None:
    machine.run("systemctl", "start", "postgresql")
    server = Server(machine, "postgresql", 5432, "post")
    _goes_through_its_case(server)
    contents = b"listen=:9187\n"
    psql = ("runuser", "-u", "postgres", "--", "psql", "-XAtqc")
    machine.run(*psql, "ALTER SYSTEM SET log_statement = 'all'", "-c", "SELECT pg_reload_conf()")
    server.well(contents)
    login = server.login()
    log = (machine.root / "var/log/postgresql/postgresql-15-main.log").read_text()
    assert "SCRAM-SHA-256$4096:" in log
    assert login["password"] not in log
    machine.run(*psql, "CREATE TABLE secret AS SELECT 1")
    mine = ("env", f"PGPASSWORD={login['password']}", "psql", "-h", "127.0.0.1", "-U", login["user"], "-XAtc")
    assert machine.run(*mine, "SELECT count(*) > 0 FROM pg_stat_activity", "postgres").stdout == "t\n"
    assert "permission denied" in machine.run(*mine, "TABLE secret", "postgres", check=False).stderr
    server.removed()
    assert machine.run(*psql, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'dbmod%'").stdout == "0\n"

    machine.run("install", "-o", "postgres", "/dev/null", "/var/lib/postgresql/15/main/standby.signal")
    machine.run("systemctl", "restart", "postgresql@15-main")
    standby = "no account was made: PostgreSQL is a standby here, which has the accounts of its primary"
    assert server.ill(contents) == f"{standby}; user and password_file may name yours"


def _goes_through_its_case(server: Server) -> None:
    """Do what the contract tests do with other cases; one that names its server also as a playbook has it."""
    [case] = [case for case in TYPE.cases if case.get("server") == server.facts["datastore"]]
    unknown = {"datastore": "", "port": 0, "address": ""} if b"datastore=" in case["contents"] else {}
    assert server.well(case["contents"]) == (case["message"], True)
    assert server.well(case["contents"], **unknown) == (case["message"], False)
    assert server.missing() == ""
    assert server.removed() == (case["removed"], True)
    assert server.removed()[1] is False
