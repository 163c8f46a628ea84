"""Servers that exist are adopted over SSH: first contact, synchronising, logins, host keys, restart, release."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbmod import paths
from dbmod.records import Cluster, Instance
from tests.beds.bed import Bed
from tests.beds.hosts import Host, Hosts
from tests.end_to_end.sites import BIN, HOST_HOME, Ended, Site

pytestmark = pytest.mark.root
NOTE = '''"""A file on the host."""
from ansible.module_utils import dbmod_kit as kit


def validate(contents):
    pass


def apply(contents, host):
    return kit.Outcome(changed=host.write_file("/etc/note", contents), message="noted")


def remove(contents, host):
    return kit.Outcome(changed=host.remove_file("/etc/note"), message="")


if __name__ == "__main__":
    kit.main(validate, apply, remove)
'''
SUDO_PASSWORD = "canary-sudo-4711"
WATCHED = ("/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var/lib", "/var/spool")


class Fleet:
    """Three hosts with a redis each, and one more with two; their inventory belongs to the user."""

    def __init__(self, lent: Hosts) -> None:
        self.lent = lent
        self.hosts = lent.take(4)
        self.twice = self.hosts[3]
        for host in self.hosts:
            host.run("systemctl", "start", "redis-server")
        second = ("redis-server", "--port", "6380", "--dir", "/tmp", "--save", "")
        self.twice.run("systemd-run", "--unit=redis-second", *second)

    def inventory(self, path: Path, *hosts: Host, **variables: object) -> Path:
        return self.lent.write_inventory(path, hosts or self.hosts[:3], **{"ansible_become": True, **variables})


@pytest.fixture(scope="module")
def fleet(bed: Bed) -> Iterator[Fleet]:
    with bed.borrow_hosts() as lent:
        yield Fleet(lent)


@pytest.fixture
def adopted(site: Site, fleet: Fleet) -> Site:
    """A site that has adopted the three hosts, with a module."""
    adopt(site, fleet.inventory(site.directory / "hosts.yml"))
    site.add_module("mymod", b"message=Module.V1\n")
    return site


def adopt(site: Site, inventory: Path, *words: str, group: str = "hosts", **more: Any) -> Ended:
    """Run the command, and let the checker know where the hosts keep things."""
    told = ("adopt", "--inventory", str(inventory), "--group", group, "--datastore", "redis", *words)
    return site.dbmod(*told, "--quiet", **more)


def rows(ended: Ended) -> dict[str, dict[str, Any]]:
    return {row["Name"]: row for row in ended.json()}


def watch(site: Site, *hosts: Host) -> None:
    """Let the site's checker see what these hosts hold."""
    by_address = {host.address: host for host in hosts}
    for one in site.find(Instance, deleted_at=None):
        site.homes[one.id] = by_address[str(one.address)].root / HOST_HOME


def test_a_group_is_adopted_and_nothing_changes_on_its_hosts(site: Site, fleet: Fleet) -> None:
    three = fleet.hosts[:3]
    for host in three:
        host.run("touch", "/run/before")
    ended = adopt(site, fleet.inventory(site.directory / "hosts.yml"), "-f", "json")
    assert ended.code == 0, ended.said
    for host in three:
        row = rows(ended)[host.name]
        assert row | {"Version": "7.0"} == {
            "Name": host.name,
            "Address": host.address,
            "Datastore": "redis",
            "Version": "7.0",
            "Port": 6379,
            "Restart Command": "systemctl restart redis-server.service",
            "Status": "OK",
            "Message": "adopted",
        }
        assert row["Version"].startswith("7.0.")
        one = site.instance(host.name)
        assert set(one.host_keys) == set(host.host_keys)
        assert (one.status, one.provider, one.restart_command[-1]) == ("ACTIVE", "ssh", "redis-server.service")
        assert one.ram_mib and one.vcpus and one.volume_gb
        assert host.run("find", *WATCHED, "-newer", "/run/before", "-not", "-type", "d").stdout == ""
        assert host.run("find", *WATCHED, "-cnewer", "/run/before", "-not", "-type", "d").stdout == ""


def test_ansible_playbook_adopts_a_group_and_the_command_goes_on_with_it(site: Site, fleet: Fleet) -> None:
    inventory = fleet.inventory(site.directory / "hosts.yml", *fleet.hosts)
    told = ("-i", str(inventory), "-e", "group=hosts", "-e", "datastore=redis", "-e", "reason=first")
    tried = site.playbook("instance_adopt", *told, "--check")
    assert tried.code == 0, tried.said
    assert "Nothing is done (--check). It would adopt:" in tried.out
    assert site.find(Instance) == []
    ended = site.playbook("instance_adopt", *told, "--limit", f"{fleet.hosts[0].name},{fleet.twice.name},localhost")
    assert ended.code == 2, ended.said  # two servers run on one of them
    run = site.last_run()
    assert (run.verb, run.reason) == ("adopt", "first")
    assert site.states(run) == {fleet.hosts[0].name: "ok", fleet.twice.name: "error"}
    first = site.instance(fleet.hosts[0].name)
    assert set(first.host_keys) == set(fleet.hosts[0].host_keys)
    fleet.inventory(inventory, *fleet.hosts, dbmod_port=6379)
    ended = site.playbook("instance_adopt", *told, "-i", str(paths.content() / "inventory" / "dbmod.yml"))
    assert ended.code == 0, ended.said
    assert set(site.states(site.last_run())) == {host.name for host in fleet.hosts}
    assert site.instance(fleet.hosts[0].name) == first
    watch(site, *fleet.hosts)
    module = site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "--all", "--module", "mymod")
    held = {site.held(one, module).sha256 for one in site.find(Instance, deleted_at=None)}
    assert held == {module.current.sha256}


@pytest.mark.nightly
def test_modules_go_to_adopted_hosts_and_a_frozen_one_stops_nobody(adopted: Site, fleet: Fleet) -> None:
    first, second, third = (host.name for host in fleet.hosts[:3])
    watch(adopted, *fleet.hosts)
    adopted.well("module-apply", "--all", "--module", "mymod")
    adopted.update_module("mymod", b"message=Module.V2\n")
    fleet.hosts[1].freeze()
    try:
        ended = adopted.dbmod("module-reapply", "mymod")
    finally:
        fleet.hosts[1].thaw()
    assert ended.code == 1, ended.said
    assert adopted.states(adopted.last_run()) == {first: "ok", second: "unreachable", third: "ok"}
    assert "no answer in time; next: " in ended.out
    adopted.well("module-reapply", "mymod")
    queried = adopted.well("module-query", "--all", "-f", "json").json()
    assert {row["Instance"]: (row["Message"], row["Standing"]) for row in queried} == dict.fromkeys(
        (first, second, third), ("Module.V2", "current")
    )


def test_adopting_again_takes_over_what_changed_and_prunes(adopted: Site, fleet: Fleet) -> None:
    inventory = fleet.inventory(adopted.directory / "hosts.yml", fleet.hosts[0], fleet.hosts[3], dbmod_port=6379)
    before = adopted.instance(fleet.hosts[0].name)
    ended = adopt(adopted, inventory, "-f", "json")
    assert ended.code == 0, ended.said
    told = {name: row["Message"] for name, row in rows(ended).items()}
    assert told == {fleet.hosts[0].name: "as before", fleet.twice.name: "adopted"}
    assert adopted.instance(fleet.hosts[0].name) == before
    assert f"no longer names {fleet.hosts[1].name}, {fleet.hosts[2].name}: --prune releases them" in ended.err
    refused = adopt(adopted, inventory, "--prune")
    assert (refused.code, "has to be confirmed" in refused.err) == (2, True)
    fleet.inventory(inventory, fleet.hosts[0], fleet.twice, dbmod_port=6380)
    fleet.inventory(inventory, fleet.twice, dbmod_port=6380)
    pruned = adopt(adopted, inventory, "--prune", "--yes", "-f", "json")
    assert rows(pruned)[fleet.twice.name]["Message"] == (
        "port: 6379 → 6380; restart_command: systemctl restart redis-server.service → "
        "systemctl restart redis-second.service"
    )
    assert [one.name for one in adopted.find(Instance, deleted_at=None)] == [fleet.twice.name]
    assert fleet.hosts[1].run("systemctl", "is-active", "redis-server").stdout == "active\n"


def test_what_cannot_be_adopted_is_named_and_the_rest_is_adopted(site: Site, fleet: Fleet) -> None:
    hosts = (fleet.hosts[0], fleet.hosts[1], fleet.twice)
    inventory = fleet.inventory(site.directory / "hosts.yml", *hosts)
    fleet.hosts[1].stop_ssh()
    try:
        ended = adopt(site, inventory, "-f", "json")
    finally:
        fleet.hosts[1].start_ssh()
    told = rows(ended)
    assert ended.code == 1, ended.said
    assert told[fleet.hosts[0].name]["Status"] == "OK"
    assert told[fleet.hosts[1].name]["Status"] == "UNREACHABLE"
    assert told[fleet.hosts[1].name]["Message"].startswith("the connection was refused; next: ")
    assert told[fleet.twice.name]["Message"].startswith("2 servers run there, on the ports 6379, 6380; next: say which")
    assert [one.name for one in site.find(Instance, deleted_at=None)] == [fleet.hosts[0].name]
    shown = site.well("run-show", site.last_run().id)
    assert "the connection was refused" in shown.out
    other = site.dbmod("adopt", "--inventory", str(inventory), "--group", "hosts", "--datastore", "mysql", "--quiet")
    assert (other.code, f"In the fleet as redis already: {fleet.hosts[0].name}" in other.err) == (2, True)
    for group, code in (("nosuch", 2), ("hosts", 2)):
        path = inventory if group == "nosuch" else site.directory / "gone.yml"
        assert adopt(site, path, group=group).code == code


def test_clusters_come_from_a_variable_and_groups_serve_as_limits(site: Site, fleet: Fleet) -> None:
    one, two, three = fleet.hosts[:3]
    path = fleet.inventory(site.directory / "hosts.yml")
    data = yaml.safe_load(path.read_text())
    known = data["all"]["children"]["hosts"]["hosts"]
    for host, shard in ((one, "east"), (two, "east"), (three, "west")):
        known[host.name]["shard"] = "{{ '" + shard + "' | lower }}"
    data["all"]["children"]["caches"] = {"hosts": {two.name: {}, three.name: {}}}
    path.write_text(yaml.safe_dump(data))
    assert adopt(site, path, "--cluster-by", "shard").code == 0
    watch(site, *fleet.hosts)
    assert sorted(cluster.name for cluster in site.find(Cluster, deleted_at=None)) == ["east", "west"]
    members = site.well("cluster-instances", "east", "-f", "json").json()
    assert [row["Name"] for row in members] == [one.name, two.name]
    site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "--limit", f"caches,!{three.name}", "--module", "mymod")
    assert site.states(site.last_run()) == {two.name: "ok"}
    assert site.dbmod("module-query", "--limit", "nosuchgroup").code == 2
    for words in (("delete", "east"), ("shrink", "east", one.name)):
        refused = site.dbmod(f"cluster-{words[0]}", *words[1:], "--yes")
        assert (refused.code, "was adopted" in refused.err, "dbmod release" in refused.err) == (2, True, True)
    site.well("release", "--cluster", "east", "--yes")
    assert [cluster.name for cluster in site.find(Cluster, deleted_at=None)] == ["west"]
    assert [one.name for one in site.find(Instance, deleted_at=None)] == [three.name]


def test_baseline_records_what_is_there_and_changes_nothing(site: Site, fleet: Fleet) -> None:
    (site.types / "dbmod_note.py").write_text(NOTE)
    there, missing = fleet.hosts[:2]
    (there.root / "etc/note").write_bytes(b"as it is\n")
    site.add_module("mynote", b"as it is\n", kind="note")
    ended = adopt(site, fleet.inventory(site.directory / "hosts.yml", there, missing), "--baseline", "mynote")
    assert ended.code == 0, ended.said
    watch(site, there, missing)
    assert site.states(site.last_run()) == {there.name: "ok", missing.name: "skipped"}
    assert "| SKIPPED | not recorded: applying it would change something" in ended.err
    assert not (missing.root / "etc/note").exists()
    held = site.well("module-instances", "mynote", "-f", "json").json()
    assert [row["Name"] for row in held] == [there.name]
    [queried] = site.well("module-query", there.name, "-f", "json").json()
    assert (queried["Status"], queried["Message"], queried["Standing"]) == ("OK", "noted", "current")


def test_one_host_is_adopted_by_its_address_and_released(site: Site, fleet: Fleet) -> None:
    host = fleet.twice
    words = ("adopt", "two", "--host", host.address, "--datastore", "redis", "--port", "6380", "--quiet")
    login = ("--user", "debian", "--private-key", str(host.key_file))
    unknown = site.dbmod(*words, *login)
    assert (unknown.code, "the host key is not known; next: put it into your known_hosts" in unknown.out) == (4, True)
    assert site.find(Instance, deleted_at=None) == []
    site.well(*words, *login, "--accept-host-key")
    one = site.instance("two")
    assert (one.port, one.restart_command) == (6380, ("systemctl", "restart", "redis-second.service"))
    assert set(one.host_keys) == set(host.host_keys)
    before = host.run("systemctl", "show", "-P", "MainPID", "redis-server", "redis-second").stdout.split()
    told = site.well("restart", "two").err
    assert "two: Run the restart command that belongs to this instance\n" in told
    after = host.run("systemctl", "show", "-P", "MainPID", "redis-server", "redis-second").stdout.split()
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    refused = site.dbmod("delete", "two", "--yes")
    assert refused.err.startswith("ERROR: Instance 'two' was adopted, so dbmod does not delete its server.")
    assert refused.code == site.dbmod("release", "two").code == 2
    site.well("release", "two", "--yes")
    assert site.find(Instance, deleted_at=None) == []
    assert host.run("systemctl", "is-active", "redis-second").stdout == "active\n"


def test_without_sudo_what_cannot_be_seen_is_said(site: Site, fleet: Fleet) -> None:
    host = fleet.hosts[0]
    login = ("--user", "debian", "--private-key", str(host.key_file), "--no-become", "--accept-host-key", "--quiet")
    site.well("adopt", "plain", "--host", host.address, "--datastore", "redis", *login)
    assert site.instance("plain").port == 6379
    wrong = site.dbmod("adopt", "other", "--host", host.address, "--datastore", "redis", "--port", "7777", *login)
    assert (wrong.code, "no redis listens on port 7777 there" in wrong.out) == (1, True)
    site.add_module("mymod", b"message=Module.V1\n")
    refused = site.dbmod("module-apply", "plain", "mymod")
    assert (refused.code, "/var/lib/dbmod cannot be used (Permission denied)" in refused.out) == (1, True)


def test_changed_host_key_is_refused_until_it_is_accepted(ssh_hosts: Hosts, site: Site) -> None:
    [host] = ssh_hosts.take(1)
    host.run("systemctl", "start", "redis-server")
    adopt(site, ssh_hosts.write_inventory(site.directory / "hosts.yml", [host], ansible_become=True))
    watch(site, host)
    site.add_module("mymod", b"message=Module.V1\n")
    before = site.instance(host.name).host_keys
    host.change_host_keys()
    ended = site.dbmod("module-apply", host.name, "mymod")
    assert ended.code == 4, ended.said
    assert "the host key is not the one that is known; next: after you made sure" in ended.out
    assert not (host.root / HOST_HOME).exists()
    site.well("update", host.name, "--accept-host-key", "--reason", "rebuilt")
    after = site.instance(host.name).host_keys
    assert (set(after) == set(host.host_keys), set(after) & set(before)) == (True, set())
    site.well("module-apply", host.name, "mymod")
    [told] = [row for row in site.well("history", host.name, "-f", "json").json() if row["Reason"] == "rebuilt"]
    assert told["Message"] == "host keys changed"


@pytest.mark.nightly
def test_sudo_passwords_come_from_the_terminal_a_file_or_a_vault(ssh_hosts: Hosts, site: Site) -> None:
    [host] = ssh_hosts.take(1)
    host.run("systemctl", "start", "redis-server")
    host.run(
        "sh",
        "-c",
        "rm -f /etc/sudoers.d/*; echo 'debian ALL=(ALL) ALL' > /etc/sudoers.d/one; chpasswd",
        text=(f"debian:{SUDO_PASSWORD}\n"),
    )
    path = ssh_hosts.write_inventory(site.directory / "hosts.yml", [host], ansible_become=True)
    refused = adopt(site, path)
    assert (refused.code, "sudo asks for a password; next: give it with -K" in refused.out) == (1, True), refused.said
    wrong = adopt(site, path, "-K", stdin=b"wrong\n")
    assert (wrong.code, "the password for sudo is wrong" in wrong.out) == (1, True), wrong.said
    assert adopt(site, path, "-K", stdin=f"{SUDO_PASSWORD}\n".encode()).code == 0
    watch(site, host)
    site.add_module("mymod", b"message=Module.V1\n")
    secret = site.directory / "sudo-password"
    secret.write_text(f"{SUDO_PASSWORD}\n")
    secret.chmod(0o600)
    site.well("module-apply", host.name, "mymod", DBMOD_BECOME_PASSWORD_FILE=str(secret))
    secret.unlink()
    vault = site.directory / "vault-password"
    vault.write_text("open sesame\n")
    told = subprocess.run(
        [
            BIN / "ansible-vault",
            "encrypt_string",
            "--vault-id",
            f"prod@{vault}",
            "--stdin-name",
            "ansible_become_password",
        ],
        input=SUDO_PASSWORD,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (site.directory / "group_vars").mkdir()
    (site.directory / "group_vars" / "hosts.yml").write_text(told)
    for how in (("--vault-id", f"prod@{vault}"), ("--vault-id", "prod@prompt")):
        site.well("module-apply", host.name, "mymod", *how, stdin=b"open sesame\n")
    site.well("restart", host.name, DBMOD_VAULT_IDS=f'["prod@{vault}"]')
    locked = site.dbmod("module-apply", host.name, "mymod")
    assert locked.code != 0
    held = [file for file in site.home.rglob("*") if file.is_file() and SUDO_PASSWORD.encode() in file.read_bytes()]
    assert held == []


def test_host_whose_variables_cannot_be_read_stops_nobody(adopted: Site, fleet: Fleet) -> None:
    """Its batch comes in the middle, and it is the first host of it: what is done once for all is done all the same."""
    watch(adopted, *fleet.hosts[:3])
    adopted.well("module-apply", "--all", "--module", "mymod")
    variables = adopted.directory / "host_vars"
    variables.mkdir()
    second = sorted(fleet.hosts[:3], key=lambda host: host.name)[1]
    sealed = "ansible_become_password: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3336\n"
    (variables / f"{second.name}.yml").write_text(sealed)
    done = adopted.dbmod("module-reapply", "mymod", "--force", "--batch_size", "1", "--delay", "0", "-f", "json")
    assert done.code == 1
    states = {row["Instance"]: row["Status"] for row in done.json()}
    assert states.pop(second.name) == "UNREACHABLE"
    assert list(states.values()) == ["OK", "OK"]
    assert "something encrypted in its inventory cannot be opened; next: give the vault's password" in done.out


def test_server_is_adopted_under_one_name_only(adopted: Site, fleet: Fleet) -> None:
    host = fleet.hosts[0]
    login = ("--user", "debian", "--private-key", str(host.key_file), "--accept-host-key", "--quiet")
    again = adopted.dbmod("adopt", "again", "--host", host.address, "--datastore", "redis", *login)
    assert (again.code, f"this server is in the fleet already, as {host.name}" in again.out) == (1, True)
    assert adopted.find(Instance, name="again", deleted_at=None) == []


def test_restart_is_the_instance_s_own_command_and_tells_what_it_said(site: Site, fleet: Fleet) -> None:
    host = fleet.hosts[2]
    path = fleet.inventory(site.directory / "hosts.yml", host, dbmod_restart_command="systemctl restart nosuch.service")
    assert adopt(site, path).code == 0
    ended = site.dbmod("restart", host.name)
    assert (ended.code, "Unit nosuch.service not found" in ended.err) == (1, True), ended.said
    assert site.instance(host.name).status == "ACTIVE"  # its server was up all the time
    bad = adopt(site, fleet.inventory(path, host, dbmod_restart_command="systemctl restart x; reboot"), "-f", "json")
    assert (bad.code, "which dbmod does not pass on" in rows(bad)[host.name]["Message"]) == (1, True)
    fleet.inventory(path, host)
    assert adopt(site, path, "--restart-command", "systemctl restart redis-server").code == 0
    assert site.instance(host.name).status == "ACTIVE"
    host.stop_ssh()
    try:
        unreached = site.dbmod("restart", host.name)
    finally:
        host.start_ssh()
    assert (unreached.code, "the connection was refused; next: " in unreached.err) == (4, True), unreached.said
    assert site.states(site.last_run()) == {host.name: "unreachable"}
    assert site.instance(host.name).status == "ACTIVE"
    site.well("restart", host.name)
