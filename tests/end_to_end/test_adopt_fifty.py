"""Fifty SSH hosts behind a bastion: adopted from an inventory file, then a rollout in which five of them are dead."""

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from dbmod.records import Instance, Row
from tests.beds.hosts import Host, Hosts
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = pytest.mark.root
BATCH_SIZE = 10
FLEETS = [(12, (3, 11)), pytest.param(50, (3, 14, 15, 26, 49), marks=pytest.mark.nightly)]  # hosts, the dead of them


@pytest.mark.parametrize(("count", "broken"), FLEETS)
def test_hosts_behind_a_bastion_are_adopted_and_dead_ones_stop_nobody(
    ssh_hosts: Hosts, site: Site, figure: Callable[[str, str], None], count: int, broken: tuple[int, ...]
) -> None:
    bastion, hosts = ssh_hosts.take_behind_bastion(count)
    bastion.run("sh", "-c", "echo 'MaxStartups 200:30:300' > /etc/ssh/sshd_config.d/many.conf && systemctl reload ssh")
    with ThreadPoolExecutor(8) as at_once:
        list(at_once.map(lambda host: host.run("systemctl", "start", "redis-server"), hosts))
    inventory = ssh_hosts.write_inventory(site.directory / "production.yml", hosts, ansible_become=True)
    assert (
        bastion.address
        in yaml.safe_load(inventory.read_text())["all"]["children"]["hosts"]["vars"]["ansible_ssh_common_args"]
    )
    site.add_module("mymod", b"message=Module.V1\n")

    adopting = timed(site, "adopt", "--inventory", str(inventory), "--group", "hosts", "--datastore", "redis")
    for one in site.find(Instance, deleted_at=None):
        site.homes[one.id] = by_name(hosts, one.name).root / HOST_HOME
    assert [len(set(one.host_keys)) for one in site.find(Instance, deleted_at=None)] == [2] * count
    applying = timed(site, "module-apply", "--all", "--module", "mymod")
    assert Counter(site.states(site.last_run()).values()) == {"ok": count}

    site.update_module("mymod", b"message=Module.V2\n")
    dead = [hosts[number] for number in broken]
    for host in dead:
        host.freeze()
    try:
        reapplying = timed(site, "module-reapply", "mymod", f"--batch_size={BATCH_SIZE}", "--delay=0", code=1)
    finally:
        for host in dead:
            host.thaw()
    states = site.states(site.last_run())
    assert {name for name, state in states.items() if state == "unreachable"} == {host.name for host in dead}
    assert Counter(states.values()) == {"ok": count - len(dead), "unreachable": len(dead)}
    rows = {row.instance_id: row.held for row in site.find(Row)}
    names = {one.id: one.name for one in site.find(Instance)}
    assert {names[key] for key, held in rows.items() if held == 1} == {host.name for host in dead}
    assert Counter(rows.values()) == {2: count - len(dead), 1: len(dead)}
    figure(
        "FIFTY",
        f"{count} hosts behind a bastion: adopt {adopting:.1f} s, module-apply --all {applying:.1f} s; module-reapply "
        f"--batch_size {BATCH_SIZE} with {len(dead)} dead {reapplying:.1f} s: {count - len(dead)} ok, {len(dead)} "
        "unreachable",
    )


def timed(site: Site, *words: str, code: int = 0) -> float:
    """Run the command; give its seconds."""
    began = time.monotonic()
    ended = site.dbmod(*words)
    assert ended.code == code, ended.said
    return time.monotonic() - began


def by_name(hosts: list[Host], name: str) -> Host:
    [found] = [host for host in hosts if host.name == name]
    return found
