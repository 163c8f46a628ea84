"""What an audit of a real cloud finds of strangers, and who we are there."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.beds.cloud import Cloud
from tests.openstack_fleet import OpenstackFleet

pytestmark = [pytest.mark.root, pytest.mark.cloud]


@pytest.fixture
def fleet(cloud: Cloud, tmp_path: Path) -> OpenstackFleet:
    return OpenstackFleet(cloud, tmp_path / "home")


@pytest.mark.nightly
def test_machine_that_is_never_reached_is_kept_and_found_by_an_audit_once_forgotten(
    fleet: OpenstackFleet, cloud: Cloud, figure: Callable[[str, str], None]
) -> None:
    fleet.environment["DBMOD_OPENSTACK_TIMEOUT_SECONDS"] = "20"
    fleet.environment["DBMOD_SSH_PRIVATE_KEY"] = str(another_key(fleet.home.parent))
    ended = fleet.run("create", "red", "15")
    (fleet.home.parent / "id.pub").unlink()
    assert ended.code == 1, ended.said
    red = fleet.instance("red")
    assert red.status == "ERROR"
    assert f"kept for a look: server {red.server_id}, volume {red.volume_id}" in red.fault
    assert "Permission denied" in red.fault
    figure("OPENSTACK", f"never reached: {red.fault}")

    with fleet.store.transaction(holder="a test") as tables:  # as after a backup of a day before was restored
        tables.delete(red)
    api = cloud.api("demo")
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
    assert api.compute.find_server(red.server_id)
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


def another_key(directory: Path) -> Path:
    """Make a private key whose public half, which machines get, is another's."""
    from dbmod import config, keypairs

    for name in ("one", "two"):
        keypairs.public_key(config.Settings(home=str(directory / name)))
    private = directory / "id"
    private.write_bytes(keypairs.own_private_key(config.Settings(home=str(directory / "one"))).read_bytes())
    private.chmod(0o600)
    public = keypairs.public_key(config.Settings(home=str(directory / "two")))
    (directory / "id.pub").write_text(f"{public}\n")
    return private
