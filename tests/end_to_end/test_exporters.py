"""One module of the type prometheus_exporter for all servers of a host, on every release that the beds know."""

import pytest

from tests.beds.hosts import Host, Hosts
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = [pytest.mark.root, pytest.mark.nightly, pytest.mark.timeout(1800)]
SERVERS = {"my": "mysql", "post": "postgresql", "red": "redis"}
UNITS = {
    "debian-12": ("mariadb", "postgresql", "redis-server"),
    "debian-13": ("mariadb", "postgresql", "valkey-server"),
    "debian-sid": ("mysql", "postgresql", "valkey-server"),
}
PORTS = {"my": 9306, "post": 11432, "red": 12379}
UPS = {"my": "mysql_up", "post": "pg_up", "red": "redis_up"}


@pytest.mark.parametrize("release", UNITS)
def test_one_module_gives_every_server_of_a_host_its_exporter(ssh_hosts: Hosts, site: Site, release: str) -> None:
    [host] = ssh_hosts.take(1, release=release)
    host.run("systemctl", "start", *UNITS[release])
    for name, datastore in SERVERS.items():
        login = ("--user", host.user, "--private-key", str(host.key_file), "--accept-host-key", "--quiet")
        site.well("adopt", name, "--host", host.address, "--datastore", datastore, *login)
        site.homes[site.instance(name).id] = host.root / HOST_HOME
    file = site.directory / "exporter.dat"
    file.write_text("listen=127.0.0.1:@port+6000@\n")
    site.well("module-create", "metrics", "prometheus_exporter", str(file), "--live_update")

    before = listening(host)
    plan = site.well("module-apply", "--all", "--module", "metrics", "--check")
    assert listening(host) == before, plan.said
    site.well("module-apply", "--all", "--module", "metrics", "--batch_size", "3")
    assert listening(host) - before == set(PORTS.values())
    for name, port in PORTS.items():
        assert f"\n{UPS[name]} 1\n" in host.run("python3", "-c", SCRAPE, str(port)).stdout
        [row] = site.well("module-query", name, "-f", "json").json()
        assert (row["Status"], row["Message"].rpartition(" says ")[2]) == ("OK", f"{UPS[name]} 1")

    host.reboot()
    host.run("systemctl", "start", *UNITS[release])
    site.well("drift")
    site.well("module-remove", "--all", "--module", "metrics")
    assert listening(host) - before == set()


SCRAPE = """import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:%s/metrics" % sys.argv[1]).read().decode())"""


def listening(host: Host) -> set[int]:
    """Give the ports on which anything listens, of those that the exporters get or would have by default."""
    lines = host.run("ss", "-Hltn").stdout.splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines} & {*PORTS.values(), 9104, 9121, 9187}
