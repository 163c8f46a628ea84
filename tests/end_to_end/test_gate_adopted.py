"""The gate on adopted MariaDB servers: one out of step with its Galera cluster, one that hangs beside another one."""

import signal
import time

import pytest

from tests.beds.hosts import Host, Hosts
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = [pytest.mark.root, pytest.mark.nightly]
GALERA = """[mysqld]
binlog_format = ROW
wsrep_on = ON
wsrep_provider = /usr/lib/galera/libgalera_smm.so
wsrep_cluster_address = gcomm://
"""
SECOND = "/var/lib/second"
GATED = ("module-apply", "--module", "mymod", "--gate", "--delay", "0")


@pytest.fixture
def machine(ssh_hosts: Hosts, site: Site) -> Host:
    [machine] = ssh_hosts.take(1)
    site.add_module("mymod", b"message=Module.V1\n")
    return machine


def adopt(site: Site, machine: Host, name: str, port: int) -> None:
    login = ("--user", machine.user, "--private-key", str(machine.key_file), "--accept-host-key")
    site.well("adopt", name, "--host", machine.address, "--datastore", "mysql", "--port", str(port), *login)
    site.homes[site.instance(name).id] = machine.root / HOST_HOME


def message(site: Site, name: str) -> str:
    """Apply the module behind the gate; give what is told of the instance."""
    site.dbmod(*GATED[:1], name, *GATED[1:])
    [attempt] = site.attempts(site.last_run())
    return attempt.message


@pytest.mark.timeout(600)  # the look that ends badly takes its minute
def test_member_out_of_step_with_its_galera_cluster_is_left_alone(machine: Host, site: Site) -> None:
    machine.run("tee", "/etc/mysql/mariadb.conf.d/99-galera.cnf", text=GALERA)
    machine.run("systemctl", "start", "mariadb")
    adopt(site, machine, "member", 3306)
    assert message(site, "member") == "Module.V1"
    machine.run("mariadb", "-e", "SET GLOBAL wsrep_desync = ON")
    reason = "it is not in step with its cluster: Primary, Donor/Desynced, ON"
    assert message(site, "member") == f"left alone: See that its server is well: {reason}"


def test_second_server_of_a_host_that_hangs_is_left_alone_and_the_first_is_served(machine: Host, site: Site) -> None:
    machine.run("systemctl", "start", "mariadb")
    machine.run("mariadb-install-db", f"--datadir={SECOND}", "--user=mysql", "--skip-test-db")
    words = (f"--datadir={SECOND}", f"--socket={SECOND}/s", f"--pid-file={SECOND}/p", "--port=3307", "--user=mysql")
    machine.run("systemd-run", "--unit=second", "mariadbd", "--no-defaults", *words)
    _wait_until_it_answers(machine)
    adopt(site, machine, "first", 3306)
    adopt(site, machine, "second", 3307)
    assert message(site, "second") == "Module.V1"
    machine.run("systemctl", "kill", f"--signal={signal.SIGSTOP.name}", "second")
    assert message(site, "second") == "left alone: See that its server is well: no answer in 20 seconds"
    assert message(site, "first") == "Module.V1"
    machine.run("systemctl", "kill", f"--signal={signal.SIGKILL.name}", "second")


def _wait_until_it_answers(machine: Host) -> None:
    deadline = time.monotonic() + 60
    while machine.run("mariadb", f"--socket={SECOND}/s", "-e", "SELECT 1", check=False).returncode != 0:
        assert time.monotonic() < deadline, machine.run("journalctl", "-u", "second", check=False).stdout
        time.sleep(0.5)
