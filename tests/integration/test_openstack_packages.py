"""A datastore that the image does not hold: its packages come from the distribution, or the user reads why not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbmod.records import Instance
from tests.beds import cache, machines
from tests.beds.bed import Bed
from tests.beds.cloud import Cloud
from tests.openstack_fleet import OpenstackFleet

pytestmark = [pytest.mark.root, pytest.mark.cloud, pytest.mark.timeout(900)]


@pytest.fixture
def fleet(cloud: Cloud, tmp_path: Path) -> Iterator[OpenstackFleet]:
    """A fleet, and an image without databases that says what can be had there."""
    api = cloud.api("demo")
    bare = api.create_image(
        "bare",
        filename=str(cache.image("plain.squashfs")),
        disk_format="raw",
        container_format="bare",
        dbmod_versions="postgresql=15",
        wait=True,
    )
    fleet = OpenstackFleet(cloud, tmp_path / "home")
    fleet.patience_seconds = 500  # apt fetches and unpacks a database server, or tries for long in vain
    yield fleet
    api.delete_image(bare.id, wait=True)


@pytest.mark.nightly
def test_packages_that_cannot_be_installed_are_named(
    fleet: OpenstackFleet, bed: Bed, figure: Callable[[str, str], None]
) -> None:
    with bed.without_packages():
        ended = fleet.run("create", "post", "15", "--datastore", "postgresql", "--datastore_version", "15")
    assert ended.code == 1, ended.said
    post = fleet.instance("post")
    assert post.status == "ERROR"
    assert post.fault.startswith("Bring apt's lists up to date: ")
    assert f"kept for a look: server {post.server_id}, volume {post.volume_id}" in post.fault
    assert post.fault in ended.err
    figure("OPENSTACK", f"packages cannot be had: {post.fault}")
    fleet.done("delete", "post", "--yes")
    assert fleet.mine() == {}


@pytest.mark.nightly
def test_postgresql_is_installed_on_a_bare_image(fleet: OpenstackFleet, figure: Callable[[str, str], None]) -> None:
    made = fleet.done(
        *("create", "post", "15", "--datastore", "postgresql", "--datastore_version", "15"),
        *("--databases", "shop", "--users", "app:s3cret-of-app"),
    )
    post, machine = fleet.instance("post"), fleet.machine("post")
    assert (post.status, post.fault) == ("ACTIVE", "")
    assert post.datastore_version.startswith("15.")  # as the server itself says
    assert machine.run("findmnt", "--noheadings", "--output=FSTYPE", "/srv/dbmod").stdout.strip() == "ext4"
    assert machine.run("pg_lsclusters", "--no-header").stdout == ""  # the package has made none of its own
    logins = {"app": "s3cret-of-app", "postgres": fleet.done("password", "post").out.strip()}
    for user, password in logins.items():
        url = f"host={post.address} user={user} dbname=shop password={password}"
        who = machine.run("psql", url, "-Atc", "SELECT current_user").stdout
        assert who == f"{user}\n"
    fleet.done("delete", "post", "--yes")
    assert fleet.mine() == {}
    figure("OPENSTACK", f"PostgreSQL on a bare image, with its packages: made in {made.seconds:.0f} s")


@pytest.mark.nightly
def test_machine_lost_in_the_middle_of_its_build_is_known_and_deleted(
    fleet: OpenstackFleet, bed: Bed, figure: Callable[[str, str], None]
) -> None:
    with bed.without_packages():  # apt tries for a while
        create = fleet.start("create", "post", "15", "--datastore", "postgresql", "--datastore_version", "15")
        machines.wait_until(lambda: is_made(fleet), "the machine is made", seconds=120)
        machine = fleet.machine("post")
        mounted = ("findmnt", "/srv/dbmod")
        machines.wait_until(lambda: not machine.run(*mounted, check=False).returncode, "its volume is there", 120)
        machine.cut_network()
        ended = create.communicate(timeout=120)[1]
    post = fleet.instance("post")
    assert (create.returncode, post.status) == (1, "ERROR"), ended
    assert "ended before it did: " in post.fault
    assert "the connection was cut; next: " in post.fault or "no answer in time; next: " in post.fault
    assert post.server_id and post.volume_id
    figure("OPENSTACK", f"lost while it was built: {post.fault}")
    fleet.done("delete", "post", "--yes")
    assert fleet.mine() == {}


def is_made(fleet: OpenstackFleet) -> bool:
    """Tell whether the ledger knows a machine while it is still being built."""
    return any(one.server_id and one.host_keys for one in fleet.store.snapshot().find(Instance, status="BUILD"))
