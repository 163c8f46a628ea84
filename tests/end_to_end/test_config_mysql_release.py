"""The type config on Oracle's MySQL, as its package runs it, adopted: checked, live, restarted, persisted, removed."""

from collections.abc import Callable, Iterator

import pytest

from dbmod import errors, local_servers, registry
from tests.beds.bed import Bed
from tests.beds.hosts import Host
from tests.config_modules import watched
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = [pytest.mark.root, pytest.mark.nightly, pytest.mark.timeout(1800)]
MAIN = "/etc/mysql/mysql.cnf"  # where the links of my.cnf end
PERSISTED = "/var/lib/mysql/mysqld-auto.cnf"
STATEMENTS = b"""-- dbmod: database shop
CREATE TABLE audits (id int PRIMARY KEY);
INSERT INTO audits VALUES (1);
-- dbmod: undo
DROP TABLE audits;
-- dbmod: check
SELECT count(*) = 1 FROM audits;
"""


class Adopted:
    """A MySQL in a fleet of its own."""

    def __init__(self, site: Site, host: Host) -> None:
        self.site, self.host = site, host
        login = ("--user", "debian", "--private-key", str(host.key_file), "--accept-host-key", "--quiet")
        site.well("adopt", "oracle", "--host", host.address, "--datastore", "mysql", *login)
        site.homes[site.instance("oracle").id] = host.root / HOST_HOME
        self.directory = f"/etc/mysql/dbmod/{site.instance('oracle').id}"

    def include(self) -> None:
        """Add the line that the refusal asks for, as the DBA does."""
        self.host.run("mkdir", "-p", self.directory)
        self.host.run("tee", "-a", MAIN, text=f"!includedir {self.directory}\n")

    def apply(self, text: str, name: str = "limits") -> tuple[str, str]:
        """Register the module or its next version, and apply it; give status and message."""
        try:
            registry.change(self.site.context, name, registry.Change(), text.encode())
        except errors.NotFound:
            self.site.add_module(name, text.encode(), kind="config")
        return self.again(name)

    def again(self, name: str = "limits") -> tuple[str, str]:
        [row] = self.site.dbmod("module-apply", "oracle", name, "-f", "json").json()
        return row["Status"], row["Message"]

    def changed(self) -> bool:
        [attempt] = self.site.attempts(self.site.last_run())
        return attempt.changed

    def query(self) -> str:
        [row] = self.site.dbmod("module-query", "oracle", "-f", "json").json()
        message: str = row["Message"]
        return message.removeprefix("drifted: ")

    def remove(self, name: str = "limits") -> str:
        self.site.well("module-remove", "oracle", name)
        [attempt] = self.site.attempts(self.site.last_run())
        return attempt.message

    def ask(self, statement: str) -> str:
        return self.host.run("mysql", "-BN", "-e", statement).stdout.strip()

    def get(self, name: str) -> str:
        return self.ask(f"SELECT @@GLOBAL.{name}")

    def files(self) -> str:
        return self.host.run("find", self.directory, "-type", "f").stdout

    def process(self) -> str:
        return self.host.run("systemctl", "show", "-P", "MainPID", "mysql.service").stdout.strip()


@pytest.fixture(scope="module")
def host(bed: Bed) -> Iterator[Host]:
    with bed.borrow_hosts() as lent:
        [host] = lent.take(1, release="debian-sid")
        # Asked from outside all the time; looking up our name would take it longer than we wait.
        lines = "s/^bind-address.*/bind-address = *\\nskip_name_resolve = ON/"
        host.run("sed", "-i", lines, "/etc/mysql/mysql.conf.d/mysqld.cnf")
        host.run("systemctl", "start", "mysql.service")
        yield host


@pytest.fixture
def oracle(site: Site, host: Host) -> Iterator[Adopted]:
    before = host.run("cat", MAIN).stdout
    adopted = Adopted(site, host)
    adopted.include()
    yield adopted
    host.run("tee", MAIN, text=before)
    host.run("mysql", "-e", "RESET PERSIST")
    host.run("systemctl", "restart", "mysql.service")


def test_missing_line_is_named_where_apparmor_lets_the_server_read(site: Site, host: Host) -> None:
    oracle = Adopted(site, host)
    status, message = oracle.apply("[mysqld]\nmax_connections = 70\n")
    line = f"add at its end: !includedir {oracle.directory}"
    assert (status, message) == ("ERROR", f"{MAIN} does not include dbmod's settings: {line}")
    profile = (host.root / "etc/apparmor.d/usr.sbin.mysqld").read_text()
    assert "  /etc/mysql/** r,\n" in profile
    assert "/etc/dbmod" not in profile


def test_setting_is_changed_at_run_time_and_comes_back(oracle: Adopted) -> None:
    process, before = oracle.process(), oracle.get("max_connections")
    text = "[mysqld]\nmax-connections = 70\nsql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'\nslow_query_log\n"
    text += "log_error_verbosity = 3\n"  # which dbmod itself sets, where it lets the server's program read the rest
    status, message = oracle.apply(text)
    assert (status, message[-10:], oracle.changed()) == ("OK", " in effect", True), message
    assert (oracle.get("max_connections"), oracle.get("slow_query_log")) == ("70", "1")
    assert oracle.get("log_error_verbosity") == "3"
    assert (oracle.again(), oracle.changed()) == (("OK", message), False)
    oracle.ask("SET GLOBAL max_connections = 33")
    assert oracle.query() == "overridden: max_connections"
    assert (oracle.again(), oracle.changed(), oracle.get("max_connections")) == (("OK", message), True, "70")
    assert (oracle.query(), oracle.process()) == (message, process)
    oracle.site.well("restart", "oracle")
    assert (oracle.get("max_connections"), oracle.query()) == ("70", message)
    assert oracle.remove() == "settings removed"
    assert (oracle.get("max_connections"), oracle.get("slow_query_log"), oracle.files()) == (before, "0", "")


def test_what_needs_a_restart_gets_one(oracle: Adopted, figure: Callable[[str, str], None]) -> None:
    process = oracle.process()
    with watched(lambda: local_servers.is_listening(oracle.host.address, 3306)) as down:
        status, message = oracle.apply("[mysqld]\nback_log = 70\ninnodb_log_buffer_size = 4M\n")
    assert (status, message[-10:], oracle.changed()) == ("OK", " in effect", True), message
    assert oracle.process() != process
    figure("config", f"MySQL restarted for a setting: {down[0]:.2f} s without an answer")
    assert (oracle.get("back_log"), oracle.get("innodb_log_buffer_size")) == ("70", str(4 << 20))
    process = oracle.process()
    assert (oracle.again(), oracle.changed(), oracle.process()) == (("OK", message), False, process)
    status, message = oracle.apply("# dbmod: no-restart\n[mysqld]\nback_log = 60\nmax_connections = 70\n")
    assert (status, message.partition(" in effect, ")[2]) == ("OK", "pending restart: back_log")
    assert (oracle.get("back_log"), oracle.get("max_connections"), oracle.process()) == ("70", "70", process)
    assert (oracle.again(), oracle.changed()) == (("OK", message), False)
    assert oracle.remove().startswith("settings removed, pending restart: ")


def test_bad_setting_is_never_live(oracle: Adopted) -> None:
    process, files = oracle.process(), oracle.files()
    oracle.host.run("touch", "/run/before")
    for line in (
        "no_such_setting = canary",
        "max_connections = many",  # a warning that --validate-config keeps to itself: 0 M, so 1
        "max_connections = 10canary",
        "skip_name_resolve = perhaps",
        "binlog_format = canary",
        "innodb_buffer_pool_size = 1000",
        "innodb_flush_method = canary",
    ):
        status, message = oracle.apply(f"[mysqld]\n{line}\n", "bad")
        assert (status, message[:10]) == ("ERROR", "MariaDB or"), message
        assert ("canary" in message, "many" in message) == (False, False)
    assert (oracle.process(), oracle.files()) == (process, files)
    # The check runs as root, and must leave nothing that the server could not open.
    places = ("/var/lib/mysql", "/var/log/mysql", "/run/mysqld")
    left = oracle.host.run("find", *places, "-newer", "/run/before", "-user", "root")
    assert left.stdout == ""


def test_server_that_does_not_come_up_gets_the_old_settings_back(oracle: Adopted) -> None:
    oracle.apply("[mysqld]\nback_log = 70\n")
    files = oracle.files()
    status, message = oracle.apply("[mysqld]\nback_log = 71\ninnodb_page_size = 4k\n")
    told = "MariaDB or MySQL did not come up, the old settings are back and it is up; refused with"
    assert (status, message.startswith(f"{told} back_log, innodb_page_size: ")) == ("ERROR", True), message
    assert (oracle.get("back_log"), oracle.files()) == ("70", files)
    oracle.remove()


def test_set_persist_counts_more_and_is_named(oracle: Adopted) -> None:
    status, message = oracle.apply("[mysqld]\nmax_connections = 70\nback_log = 70\n")
    assert (status, message[-10:]) == ("OK", " in effect"), message
    written = message.replace("in effect", "written")
    oracle.ask("SET PERSIST max_connections = 33; SET PERSIST_ONLY back_log = 80")
    told = f"overridden by {PERSISTED}: max_connections, at its next start: back_log"
    assert oracle.query() == told
    process = oracle.process()
    assert (oracle.again(), oracle.changed()) == (("OK", f"{written}, {told}"), False)
    assert (oracle.get("max_connections"), oracle.get("back_log"), oracle.process()) == ("33", "70", process)
    oracle.site.well("restart", "oracle")
    told = f"overridden by {PERSISTED}: back_log, max_connections"
    process = oracle.process()
    assert (oracle.query(), oracle.get("back_log")) == (told, "80")
    assert (oracle.again(), oracle.changed()) == (("OK", f"{written}, {told}"), False)
    status, message = oracle.apply("[mysqld]\nmax_connections = 75\nback_log = 75\n")
    assert (status, message.partition(", ")[2]) == ("OK", told)
    assert (oracle.process(), oracle.get("max_connections")) == (process, "33")  # a restart would be in vain
    oracle.ask("RESET PERSIST")
    status, message = oracle.again()
    assert (status, message[-10:], oracle.changed()) == ("OK", " in effect", True), message
    assert (oracle.get("max_connections"), oracle.get("back_log")) == ("75", "75")
    oracle.ask("SET PERSIST max_connections = 34")
    assert oracle.remove() == f"settings removed, still set by {PERSISTED}: max_connections"
    assert oracle.get("max_connections") == "34"
    oracle.ask("RESET PERSIST")


def test_first_apply_beneath_a_persisted_setting_claims_nothing(oracle: Adopted) -> None:
    oracle.ask("SET PERSIST max_connections = 33; SET PERSIST_ONLY back_log = 80")
    process = oracle.process()
    status, message = oracle.apply("[mysqld]\nmax_connections = 70\nback_log = 70\n")
    told = f"overridden by {PERSISTED}: back_log, max_connections"
    assert (status, message.partition(" written, ")[2], oracle.process()) == ("OK", told, process), message
    assert (oracle.again(), oracle.changed(), oracle.query()) == (("OK", message), False, told)
    oracle.ask("RESET PERSIST")
    oracle.remove()


def test_file_that_is_read_later_and_command_line_are_named(oracle: Adopted) -> None:
    other, unit = f"{oracle.directory}/zz.cnf", "/etc/systemd/system/mysql.service.d/options.conf"
    oracle.host.run("tee", other, text="[mysqld]\nback_log = 90\n")
    oracle.host.run("mkdir", "-p", unit.rpartition("/")[0])
    oracle.host.run("tee", unit, text="[Service]\nExecStart=\nExecStart=/usr/sbin/mysqld --innodb-read-io-threads=3\n")
    oracle.host.run("systemctl", "daemon-reload")
    status, message = oracle.apply("[mysqld]\nback_log = 70\ninnodb_read_io_threads = 2\n")
    told = f"overridden by {other}: back_log, overridden by its command line: innodb_read_io_threads"
    assert (status, message.partition(" written, ")[2]) == ("OK", told), message
    process = oracle.process()
    assert (oracle.again(), oracle.changed(), oracle.process()) == (("OK", message), False, process)
    oracle.host.run("rm", other, unit)
    oracle.host.run("systemctl", "daemon-reload")
    oracle.site.well("restart", "oracle")
    status, message = oracle.again()
    assert (status, message[-10:], oracle.changed()) == ("OK", " in effect", False), message
    oracle.remove()


def test_statements_run_once_and_are_undone(oracle: Adopted) -> None:
    oracle.ask("CREATE DATABASE shop")
    oracle.site.add_module("audits", STATEMENTS, kind="sql")
    assert oracle.again("audits") == ("OK", "the statements ran, and the check passes")
    assert (oracle.again("audits"), oracle.changed()) == (("OK", "the statements ran, and the check passes"), False)
    assert oracle.ask("SELECT id FROM shop.audits") == "1"
    assert oracle.remove("audits") == "the undo ran"
    assert oracle.ask("SHOW TABLES IN shop; SELECT count(*) FROM dbmod.dbmod_applied") == "0"
    oracle.ask("DROP DATABASE shop; DROP DATABASE dbmod")
