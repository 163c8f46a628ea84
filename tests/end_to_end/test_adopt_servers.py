"""Several servers on one host, of two datastores, each under a unit of a template: they never meet."""

import pytest

from tests.beds.hosts import Host, Hosts
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = pytest.mark.root
UNITS = {"first": "mariadb.service", "second": "mariadb@3307.service", "post": "postgresql@15-main.service"}
SECOND = """[mariadbd.3307]
port=3307
datadir=/var/lib/mysql-3307
socket=/run/mysqld/3307.sock
pid-file=/run/mysqld/3307.pid
"""


@pytest.mark.nightly
def test_mariadb_twice_and_postgresql_on_one_host_never_meet(ssh_hosts: Hosts, site: Site) -> None:
    [host] = ssh_hosts.take(1)
    start_servers(host)
    adopt(site, host, "first", "mysql", "--port", "3306")
    adopt(site, host, "second", "mysql", "--port", "3307")
    adopt(site, host, "post", "postgresql")
    for name, unit in UNITS.items():
        assert site.instance(name).restart_command == ("systemctl", "restart", unit)
        site.homes[site.instance(name).id] = host.root / HOST_HOME
    assert site.instance("post").datastore_version.startswith("15.")

    site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "--all", "--module", "mymod")
    site.update_module("mymod", b"message=Module.V2\n")
    site.well("module-apply", "second", "mymod")
    site.well("module-remove", "post", "mymod")
    assert {name: messages(site, name) for name in UNITS} == {
        "first": ["Module.V1"],
        "second": ["Module.V2"],
        "post": [],
    }

    for restarted in UNITS:
        before = processes(host)
        site.well("restart", restarted)
        changed = [name for name, process in processes(host).items() if process != before[name]]
        assert changed == [restarted]


def start_servers(host: Host) -> None:
    """Start what Debian's packages offer: MariaDB, one more by its template, and PostgreSQL's `main`."""
    host.run("tee", "/etc/mysql/conf.d/3307.cnf", text=SECOND)
    host.run("mariadb-install-db", "--user=mysql", "--datadir=/var/lib/mysql-3307")
    host.run("systemctl", "start", *UNITS.values())


def adopt(site: Site, host: Host, name: str, datastore: str, *words: str) -> None:
    login = ("--user", host.user, "--private-key", str(host.key_file), "--accept-host-key", "--quiet")
    site.well("adopt", name, "--host", host.address, "--datastore", datastore, *login, *words)


def messages(site: Site, instance: str) -> list[str]:
    """Ask the host what an instance has."""
    return [row["Message"] for row in site.well("module-query", instance, "-f", "json").json()]


def processes(host: Host) -> dict[str, str]:
    """Give each server's main process."""
    shown = host.run("systemctl", "show", "--property=MainPID", "--value", *UNITS.values()).stdout.split()
    return dict(zip(UNITS, shown, strict=True))
