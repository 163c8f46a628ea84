"""Before the first batch: the dead are listed, left out and counted; replicas, adopted ones too, come before others."""

import pytest

from tests import figures
from tests.beds.hosts import Host, Hosts
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = pytest.mark.root
LIMIT_SECONDS = 20  # until all the dead are known: one connect time-out of 10 s, not one for each of them
ROLLOUT = ("module-apply", "--all", "--module", "mymod", "--batch_size", "1", "--delay", "0")


@pytest.fixture
def machines(ssh_hosts: Hosts, site: Site) -> list[Host]:
    """Six hosts; the first refuses ssh, the third is frozen, the fourth has no network."""
    machines = ssh_hosts.take(6)
    site.add_machines(machines)
    site.add_module("mymod", b"message=Module.V1\n")
    machines[0].stop_ssh()
    machines[2].freeze()
    machines[3].cut_network()
    site.broken |= {"db-00", "db-02", "db-03"}
    return machines


def test_the_dead_are_left_out_and_spend_their_own_budget_before_the_first_batch(
    machines: list[Host], site: Site
) -> None:
    ended = site.dbmod(*ROLLOUT, "--max_unreachable", "2")
    run = site.last_run()
    assert (ended.code, run.state, run.batch) == (1, "failed", 0), ended.said
    assert run.message == "unreachable hosts: 3, and --max_unreachable allows 2"
    dead, waiting = dict.fromkeys(("db-00", "db-02", "db-03"), "unreachable"), ("db-01", "db-04", "db-05")
    assert site.states(run) == dead | dict.fromkeys(waiting, "cancelled")
    assert "db-00 unreachable  the connection was refused" in ended.err

    for option in ("--max_unreachable=3", "--reach-first"):
        ended = site.dbmod(*ROLLOUT, option, "--canary", "1", "-f", "json")
        run = site.last_run()
        known = {one.ended_at for one in site.attempts(run) if one.state == "unreachable"}
        assert (run.state, run.batch_sizes) == ("paused", (1, 1, 1)), ended.said
        assert site.states(run) == dead | {"db-01": "ok", "db-04": "planned", "db-05": "planned"}
        assert site.dbmod("run-resume", run.id).code == 1
        assert site.states(site.last_run()) == dead | dict.fromkeys(waiting, "ok")
        [seconds] = [(at - run.created_at).total_seconds() for at in known if at]
        assert seconds < LIMIT_SECONDS, ended.said
    figures.figure("R19", f"three of six dead before the start: all known after {seconds:.1f} s")


@pytest.mark.nightly
def test_all_dead_ends_the_run_without_a_batch(machines: list[Host], site: Site) -> None:
    words = ("module-apply", "--limit", "db-00,db-02", "--module", "mymod", "--reach-first")
    ended = site.dbmod(*words)
    run = site.last_run()
    assert (ended.code, run.state, run.batch_sizes) == (4, "failed", ()), ended.said
    assert set(site.states(run).values()) == {"unreachable"}
    for machine in machines[:3:2]:
        machine.thaw()
    machines[0].start_ssh()
    site.well("run-resume", run.id)
    assert site.states(site.last_run()) == {"db-00": "ok", "db-02": "ok"}
    site.broken -= {"db-00", "db-02"}
    words = ("-e", "all_instances=true", "-e", "modules=mymod", "-e", "reach_first=true", "-e", "batch_size=2")
    assert site.playbook("module_apply", *words).code == 2
    dead = [name for name, state in site.states(site.last_run()).items() if state == "unreachable"]
    assert (dead, site.last_run().state) == (["db-03"], "failed")


@pytest.mark.nightly
@pytest.mark.timeout(900)  # the look at the replica that does not copy takes its minute
def test_adopted_servers_are_asked_what_they_are_and_how_they_copy(ssh_hosts: Hosts, site: Site) -> None:
    """Redis without a password and MariaDB by its socket; the MariaDB is a replica that never started to copy."""
    primary, replica = ssh_hosts.take(2)
    for host in (primary, replica):
        host.run("systemctl", "start", "redis-server")
    replica.run("systemctl", "start", "mariadb")
    primary.run("redis-cli", "CONFIG", "SET", "bind", "0.0.0.0")  # a network of the test's own
    primary.run("redis-cli", "CONFIG", "SET", "protected-mode", "no")
    replica.run("redis-cli", "REPLICAOF", primary.address, "6379")
    replica.run("mariadb", "-e", "CHANGE MASTER TO MASTER_HOST='127.0.0.1'")
    for name, host, datastore in (("a", primary, "redis"), ("b", replica, "redis"), ("c", replica, "mysql")):
        login = ("--user", host.user, "--private-key", str(host.key_file), "--accept-host-key")
        site.well("adopt", name, "--host", host.address, "--datastore", datastore, *login)
        site.homes[site.instance(name).id] = host.root / HOST_HOME
    site.add_module("mymod", b"message=Module.V1\n")
    looked = ("--replicas-first", "--gate", "--on-failure", "continue", "--delay", "0")
    ended = site.dbmod("module-apply", "--all", "--module", "mymod", *looked)
    run = site.last_run()
    assert site.states(run) == {"b": "ok", "c": "skipped", "a": "ok"}, ended.said
    assert [(one.batch, one.message) for one in site.attempts(run)] == [
        (1, "Module.V1"),
        (1, "left alone: See that its server is well: IO thread running: No, SQL thread running: No"),
        (2, "Module.V1"),
    ]
