"""Servers of other releases, as the distribution runs them: adopted, restarted, and modules on them."""

import pytest

from tests.beds.hosts import Hosts
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = [pytest.mark.root, pytest.mark.nightly, pytest.mark.timeout(1800)]
SERVERS = {  # release: datastore → unit, how its version begins
    "debian-13": {
        "mysql": ("mariadb.service", "11.8."),
        "redis": ("valkey-server.service", "8.1."),
        "postgresql": ("postgresql@17-main.service", "17."),
    },
    "debian-sid": {
        "mysql": ("mysql.service", "9."),
        "redis": ("valkey-server.service", "9."),
        "postgresql": ("postgresql@18-main.service", "18."),
    },
}


@pytest.mark.parametrize("release", SERVERS)
def test_servers_of_the_release_are_adopted(ssh_hosts: Hosts, site: Site, release: str) -> None:
    [host] = ssh_hosts.take(1, release=release)
    login = ("--user", "debian", "--private-key", str(host.key_file), "--accept-host-key", "--quiet")
    site.add_module("mymod", b"message=Module.V1\n")
    for datastore, (unit, version) in SERVERS[release].items():
        host.run("systemctl", "start", unit)
        site.well("adopt", datastore, "--host", host.address, "--datastore", datastore, *login)
        one = site.instance(datastore)
        site.homes[one.id] = host.root / HOST_HOME
        assert one.datastore_version.startswith(version)
        assert one.restart_command == ("systemctl", "restart", unit)
        site.well("module-apply", datastore, "mymod")
        [queried] = site.well("module-query", datastore, "-f", "json").json()
        assert (queried["Status"], queried["Message"], queried["Standing"]) == ("OK", "Module.V1", "current")
        before = host.run("systemctl", "show", "-P", "MainPID", unit).stdout
        site.well("restart", datastore)
        assert host.run("systemctl", "show", "-P", "MainPID", unit).stdout != before
        assert host.run("systemctl", "is-active", unit).stdout == "active\n"
        site.well("module-remove", datastore, "mymod")
