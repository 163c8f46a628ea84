"""One instance in a real cloud: what is made of it, what a reboot and a deletion behind dbmod's back leave of it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.beds import machines
from tests.beds.bed import Bed
from tests.openstack_fleet import OpenstackFleet

pytestmark = [pytest.mark.root, pytest.mark.cloud]


@pytest.fixture(scope="module")
def shared(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenstackFleet]:
    """A fleet with `red`, a Redis with everything that can be asked for."""
    cloud = bed.cloud
    fleet = OpenstackFleet(cloud, tmp_path_factory.mktemp("openstack") / "home")
    fixed = cloud.network_cidr.replace(".0/24", ".200")
    made = fleet.run(
        *("create", "red", "15", "--size", "2", "--volume_type", cloud.volume_type, "--datastore", "redis"),
        *("--nic", f"net-id={cloud.network},v4-fixed-ip={fixed}", "--locality", "anti-affinity"),
        *("--availability_zone", "nova", "--users", "app:s3cret-of-app"),
    )
    if made.code:
        fleet.run("delete", "red", "--yes")
        pytest.fail(made.said)
    yield fleet
    fleet.run("delete", "red", "--yes")


def test_server_and_volume_are_as_asked(shared: OpenstackFleet) -> None:
    red = shared.instance("red")
    api = shared.cloud.api("demo")
    server = api.compute.get_server(red.server_id)
    volume = api.block_storage.get_volume(red.volume_id)
    assert (red.status, red.fault, red.region) == ("ACTIVE", "", "RegionOne")
    assert server.metadata["dbmod_instance"] == volume.metadata["dbmod_instance"] == red.id
    assert server.metadata["dbmod_name"] == "red"
    assert (volume.size, volume.volume_type) == (2, shared.cloud.volume_type)
    assert [one.id for one in server.attached_volumes] == [volume.id]
    [port] = api.network.ports(device_id=server.id)
    assert port.fixed_ips[0]["ip_address"] == shared.cloud.network_cidr.replace(".0/24", ".200")
    [group] = api.compute.server_groups()
    assert group.policy == "anti-affinity"
    assert group.member_ids == [server.id]


def test_only_ssh_and_the_datastore_s_port_are_open(shared: OpenstackFleet) -> None:
    api = shared.cloud.api("demo")
    [port] = api.network.ports(device_id=shared.instance("red").server_id)
    [group] = port.security_group_ids
    rules = list(api.network.security_group_rules(security_group_id=group, direction="ingress"))
    from_ranges = {(one.remote_ip_prefix, one.port_range_min) for one in rules if one.remote_ip_prefix}
    assert from_ranges == {
        (network, number) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16") for number in (22, 6379)
    }
    among_members = {one.port_range_min for one in rules if one.remote_group_id}
    assert among_members == {6379, 16379}
    assert all(one.protocol == "tcp" and one.port_range_min == one.port_range_max for one in rules)


def test_host_keys_are_the_machine_s_own(shared: OpenstackFleet) -> None:
    assert set(shared.instance("red").host_keys) >= set(shared.machine("red").host_keys)


def test_server_runs_under_systemd_on_its_volume(shared: OpenstackFleet) -> None:
    machine = shared.machine("red")
    shown = machine.run("systemctl", "show", "redis-server", "--property=User,FragmentPath,UnitFileState,ActiveState")
    assert set(shown.stdout.split()) == {
        "User=redis",
        "FragmentPath=/etc/systemd/system/redis-server.service",
        "UnitFileState=enabled",
        "ActiveState=active",
    }
    assert machine.run("findmnt", "--noheadings", "--output=FSTYPE", "/srv/dbmod").stdout.strip() == "ext4"


def test_no_password_of_the_cloud_stays_behind_and_no_run_directory(shared: OpenstackFleet) -> None:
    password = shared.cloud.api("demo").config.config["auth"]["password"]
    files = [path for path in shared.home.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if password.encode() in path.read_bytes()]
    assert not list((shared.home / "runs").glob("*/"))
    assert (shared.home / "ssh" / "id_ed25519").stat().st_mode & 0o777 == 0o600


def test_module_is_applied_over_ssh(shared: OpenstackFleet, tmp_path: Path) -> None:
    (tmp_path / "ping.dat").write_text("message=Over SSH\n")
    shared.done("module-create", "hello", "ping", str(tmp_path / "ping.dat"))
    assert "Over SSH" in shared.done("module-apply", "red", "hello").out
    assert "Over SSH" in shared.done("module-query", "red").out


def test_restart_and_reboot_keep_the_data(shared: OpenstackFleet) -> None:
    machine = shared.machine("red")
    redis(shared, "SET", "kept", "yes")
    shared.done("restart", "red", "--quiet")
    assert redis(shared, "GET", "kept") == "yes"
    before = machine.init()
    shared.cloud.api("demo").compute.reboot_server(shared.instance("red").server_id, "SOFT")

    def is_back() -> bool:
        try:
            return machine.init() != before and redis(shared, "GET", "kept") == "yes"
        except (LookupError, RuntimeError):  # the machine is down, or its server is
            return False

    machines.wait_until(is_back, "the server after the reboot", seconds=90)


def test_audit_finds_nothing_and_then_what_was_changed_behind_its_back(
    shared: OpenstackFleet, figure: Callable[[str, str], None]
) -> None:
    assert shared.run("audit").code == 0
    red = shared.instance("red")
    api = shared.cloud.api("demo")
    api.compute.delete_server(red.server_id)
    api.compute.wait_for_delete(api.compute.get_server(red.server_id), interval=0.3)
    found = shared.run("audit", "-f", "json")
    assert found.code == 1
    assert [(one["Kind"], one["Name"], one["Finding"]) for one in found.json()] == [
        ("instance", "red", "its server is gone")
    ]
    deleted = shared.done("delete", "red", "--yes")
    assert shared.mine() == {}
    figure("OPENSTACK", f"delete of an instance whose server was gone: {deleted.seconds:.0f} s, 0 things left")


def redis(fleet: OpenstackFleet, *words: str) -> str:
    """Ask the server, inside its machine."""
    shell = 'REDISCLI_AUTH="$(cat /srv/dbmod/etc/password)" redis-cli -h "$0" "$@"'
    address = str(fleet.instance("red").address)
    done: subprocess.CompletedProcess[str] = fleet.machine("red").run("sh", "-c", shell, address, *words)
    return done.stdout.strip()
