"""Several instances in a real cloud: a Redis Cluster, what an audit finds of strangers, and who we are."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dbmod.records import Cluster, Instance
from tests.beds.cloud import Cloud
from tests.openstack_fleet import OpenstackFleet

pytestmark = [pytest.mark.root, pytest.mark.cloud]
MEMBER = ("--instance", "flavor=15,volume=1")


@pytest.fixture
def fleet(cloud: Cloud, tmp_path: Path) -> OpenstackFleet:
    return OpenstackFleet(cloud, tmp_path / "home")


def test_redis_cluster_of_three(fleet: OpenstackFleet, cloud: Cloud, figure: Callable[[str, str], None]) -> None:
    [version] = [one["Name"] for one in fleet.done("datastore-version-list", "redis", "-f", "json").json()]
    made = fleet.done("cluster-create", "trio", "redis", version, *MEMBER, *MEMBER, *MEMBER)
    tables = fleet.store.snapshot()
    [cluster] = tables.find(Cluster, name="trio")
    members = tables.find(Instance, cluster_id=cluster.id)
    assert [one.status for one in members] == ["ACTIVE"] * 3
    shell = 'REDISCLI_AUTH="$(cat /srv/dbmod/etc/password)" redis-cli -h "$0" CLUSTER INFO'
    for one in members:
        said = cloud.machine(str(one.server_id)).run("sh", "-c", shell, str(one.address)).stdout
        assert "cluster_state:ok" in said
        assert "cluster_known_nodes:3" in said
    gone = fleet.done("cluster-delete", "trio", "--yes")
    assert fleet.mine() == {}
    figure("OPENSTACK", f"three members of a Redis Cluster: made in {made.seconds:.0f} s, gone in {gone.seconds:.0f} s")


def test_audit_removes_what_is_nobody_s_and_nothing_else(fleet: OpenstackFleet, cloud: Cloud) -> None:
    api = cloud.api("demo")
    fleet.done("create", "red", "15")
    forgotten = fleet.instance("red")
    with fleet.store.transaction(holder="a test") as tables:  # as after a backup of a day before was restored
        tables.delete(forgotten)
    stranger = api.block_storage.create_volume(name="another's", size=1, metadata={"dbmod_ledger": "another"})
    found = fleet.run("audit", "-f", "json")
    assert found.code == 1
    assert sorted((one["Kind"], one["Finding"]) for one in found.json()) == [
        ("keypair", "nothing uses it"),
        ("port", "not in the fleet"),
        ("security group", "nothing uses it"),
        ("server", "not in the fleet"),
        ("volume", "not in the fleet"),
    ]
    asked = fleet.run("audit", "--clean")
    assert asked.code == 2
    assert "add --yes" in asked.err
    assert api.compute.find_server(forgotten.server_id)
    cleaned = fleet.run("audit", "--clean", "--yes")
    assert cleaned.code == 0, cleaned.said
    assert "5 of 5 are removed" in cleaned.err
    assert fleet.mine() == {}
    assert fleet.run("audit").code == 0
    assert api.block_storage.find_volume(stranger.id)
    api.block_storage.delete_volume(stranger.id)


def test_tenant_and_admin_come_from_the_token(fleet: OpenstackFleet, cloud: Cloud) -> None:
    fleet.environment["DBMOD_IDENTITY"] = "openstack"
    fleet.done("list")
    told = msgspec.json.decode((fleet.home / "identity.json").read_bytes())
    assert (told["tenant"], told["admin"]) == (cloud.api("demo").current_project_id, False)
    hidden = fleet.run("module-create", "m", "ping", __file__, "--all_tenants")
    assert "You must be admin" in hidden.err
    written = (fleet.home / "identity.json").stat().st_mtime_ns
    fleet.done("list")
    assert (fleet.home / "identity.json").stat().st_mtime_ns == written
    as_admin = {"OS_CLIENT_CONFIG_FILE": str(cloud.config_file), "OS_CLOUD": "osbox-admin"}
    assert fleet.run("list", **as_admin).code == 0
    assert msgspec.json.decode((fleet.home / "identity.json").read_bytes())["admin"] is True
