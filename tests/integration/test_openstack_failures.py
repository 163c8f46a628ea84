"""What a real cloud refuses, and what a user reads then; nothing of it is left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod.records import Instance
from tests.beds.cloud import Cloud
from tests.openstack_fleet import Ended, OpenstackFleet

pytestmark = [pytest.mark.root, pytest.mark.cloud]


@pytest.fixture
def fleet(cloud: Cloud, tmp_path: Path) -> OpenstackFleet:
    return OpenstackFleet(cloud, tmp_path / "home")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["create", "a", "nonesuch"], "Flavor 'nonesuch' cannot be found."),
        (["create", "a", "15", "--nic", "net-id=nonesuch"], "Network 'nonesuch' cannot be found in the cloud."),
        (["create", "a", "15", "--nic", "net-id=demo-network,v4-fixed-ip=1"], "has no IPv4 address"),
        (["create", "a", "15", "--volume_type", "nonesuch"], "Volume type 'nonesuch' cannot be found in the cloud."),
        (["create", "a", "15", "--datastore_version", "1.0"], "Datastore version '1.0' cannot be found."),
        (["create", "a", "15", "--availability_zone", "{{ 1 }}"], "has characters that dbmod does not take"),
        (["create", "a", "15", "--region", "Moon"], "Region 'Moon' cannot be found in the cloud."),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_made(
    fleet: OpenstackFleet, words: list[str], said: str
) -> None:
    ended = fleet.run(*words)
    assert ended.code == 2, ended.said
    assert said in ended.err
    assert fleet.store.snapshot().find(Instance) == []


@pytest.mark.parametrize(
    ("environment", "code", "said"),
    [
        ({"OS_CLIENT_CONFIG_FILE": "/nonexistent"}, 2, "No OpenStack cloud is configured."),
        ({"OS_CLOUD": "nonesuch"}, 2, "There is no cloud 'nonesuch' in clouds.yaml."),
        (
            {"OS_PASSWORD": "wrong", "OS_AUTH_URL": "http://127.0.0.1:9/v3", "OS_USERNAME": "x"},
            1,
            "The cloud could not",
        ),
    ],
)
def test_a_cloud_that_cannot_be_reached_is_named(
    fleet: OpenstackFleet, environment: dict[str, str], code: int, said: str
) -> None:
    ended = fleet.run("flavor-list", **environment)
    assert ended.code == code, ended.said
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_several_clouds_without_a_choice_are_listed(fleet: OpenstackFleet, cloud: Cloud) -> None:
    ended = fleet.run("flavor-list", OS_CLIENT_CONFIG_FILE=str(cloud.config_file))
    assert ended.code == 2
    assert "osbox-admin, osbox-demo" in ended.err
    assert fleet.run("flavor-list", OS_CLIENT_CONFIG_FILE=str(cloud.config_file), OS_CLOUD="osbox-demo").code == 0


def test_quota_of_volumes_is_the_cloud_s_own_reason(
    fleet: OpenstackFleet, cloud: Cloud, figure: Callable[[str, str], None]
) -> None:
    with quota(cloud, "block_storage", volumes=0):
        ended = fleet.run("create", "a", "15")
    refuse_and_forget(fleet, ended, "VolumeLimitExceeded: Maximum number of volumes allowed (0) exceeded", figure)


def test_another_project_never_passes_an_instance_off_as_deleted(fleet: OpenstackFleet, cloud: Cloud) -> None:
    with quota(cloud, "block_storage", volumes=0):
        fleet.run("create", "a", "15")
    another = {"OS_CLIENT_CONFIG_FILE": str(cloud.config_file), "OS_CLOUD": "osbox-admin"}
    ended = fleet.run("delete", "a", "--yes", **another)
    assert ended.code == 1, ended.said
    assert "and the login is for" in ended.err
    assert fleet.instance("a").status == "ERROR"
    fleet.done("delete", "a", "--yes")


def test_quota_of_servers_is_the_cloud_s_own_reason(
    fleet: OpenstackFleet, cloud: Cloud, figure: Callable[[str, str], None]
) -> None:
    with quota(cloud, "compute", instances=0):
        ended = fleet.run("create", "a", "15")
    refuse_and_forget(
        fleet, ended, "Quota exceeded for instances: Requested 1, but already used 0 of 0 instances", figure
    )


@pytest.mark.nightly
def test_members_of_one_run_each_tell_their_own_reason(
    fleet: OpenstackFleet, cloud: Cloud, figure: Callable[[str, str], None]
) -> None:
    """An address that the network does not have, a zone that is not there, a server that fits nowhere."""
    admin = cloud.api("admin")
    huge = admin.compute.create_flavor(name="huge", ram=64 << 20, vcpus=1, disk=1)
    reasons = {
        f"flavor=15,nic=net-id={cloud.network},v4-fixed-ip=192.0.2.1": (
            "IP address 192.0.2.1 is not a valid IP for any of the subnets"
        ),
        "flavor=15,availability_zone=moon": "The requested availability zone is not available",
        "flavor=huge": "No valid host was found",
    }
    members = [word for one in reasons for word in ("--instance", one)]
    [version] = [one["Name"] for one in fleet.done("datastore-version-list", "redis", "-f", "json").json()]
    try:
        with quota(cloud, "compute", ram=-1):
            ended = fleet.run("cluster-create", "trio", "redis", version, *members)
    finally:
        admin.compute.delete_flavor(huge.id)
    assert ended.code == 1, ended.said
    for number, reason in enumerate(reasons.values(), start=1):
        tell_and_leave_nothing(fleet, ended, reason, figure, name=f"trio-member-{number}")
    fleet.done("cluster-delete", "trio", "--yes")
    assert fleet.mine() == {}


@pytest.mark.nightly
def test_floating_address_is_the_one_that_is_told_and_goes_with_its_instance(
    fleet: OpenstackFleet, cloud: Cloud
) -> None:
    """Nothing leads to such an address in this cloud, so the machine is not reached."""
    fleet.environment["DBMOD_OPENSTACK_FLOATING_NETWORK"] = cloud.external_network
    fleet.environment["DBMOD_OPENSTACK_TIMEOUT_SECONDS"] = "30"
    assert fleet.run("create", "a", "15").code == 1
    a = fleet.instance("a")
    [address] = cloud.api("demo").network.ips()
    assert a.address == address.floating_ip_address
    assert a.provider_facts["fixed_address"] == address.fixed_ip_address
    fleet.done("delete", "a", "--yes")
    assert list(cloud.api("demo").network.ips()) == []


@contextmanager
def quota(cloud: Cloud, service: str, **limits: int) -> Iterator[None]:
    """Give the demo project other limits for a while."""
    admin = cloud.api("admin")
    project = cloud.api("demo").current_project_id
    proxy = getattr(admin, service)
    before = proxy.get_quota_set(project)
    kept = {name: getattr(before, name) for name in limits}
    change(proxy, project, limits)
    try:
        yield
    finally:
        change(proxy, project, kept)


def change(proxy: Any, project: str, limits: dict[str, int]) -> None:
    proxy.update_quota_set(project, **limits)


def refuse_and_forget(fleet: OpenstackFleet, ended: Ended, reason: str, figure: Callable[[str, str], None]) -> None:
    """The reason is there for the user, nothing is left in the cloud, and delete forgets the rest."""
    assert ended.code == 1, ended.said
    tell_and_leave_nothing(fleet, ended, reason, figure, name="a")
    fleet.done("delete", "a", "--yes")
    assert fleet.mine() == {}


def tell_and_leave_nothing(
    fleet: OpenstackFleet, ended: Ended, reason: str, figure: Callable[[str, str], None], *, name: str
) -> None:
    failed = fleet.instance(name)
    assert failed.status == "ERROR"
    assert reason in failed.fault
    assert reason in ended.err
    assert (failed.server_id, failed.volume_id) == (None, None)
    assert [what for what in fleet.mine() if what.startswith(("server ", "volume ", "port "))] == []
    figure("OPENSTACK", f"{reason}: {msgspec.json.encode(failed.fault).decode()}")
