"""Servers of other releases in a real cloud: their packages are the distribution's, installed by dbmod."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dbmod.records import Cluster, Instance
from tests.beds import cache, machines
from tests.beds.cloud import Cloud
from tests.openstack_fleet import OpenstackFleet

pytestmark = [pytest.mark.root, pytest.mark.cloud, pytest.mark.nightly, pytest.mark.timeout(1800)]
MEMBER = ("--instance", "flavor=15,volume=1")
PASSWORD = "s3cret-of-app"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is to be made. version: where build_images.sh knows that of another server."""

    release: str
    datastore: str
    program: str
    unit: str
    version: str = ""


WHO_AM_I = {  # program of the server: how its client asks, as $1 with the password $2, at the address $0
    "mariadbd": 'mariadb -h "$0" -u "$1" -p"$2" -N -e "SELECT USER()" shop',
    "mysqld": 'mysql -h "$0" -u "$1" -p"$2" -N -e "SELECT USER()" shop',
    "postgres": 'PGPASSWORD="$2" psql -h "$0" -U "$1" -At -c "SELECT current_user" shop',
    "redis-server": 'redis-cli -h "$0" --user "$1" --pass "$2" ACL WHOAMI',
    "valkey-server": 'valkey-cli -h "$0" --user "$1" --pass "$2" ACL WHOAMI',
}
WANTED = (
    Wanted(release="debian-13", datastore="mysql", program="mariadbd", unit="mariadb"),
    Wanted(release="debian-13", datastore="redis", program="valkey-server", unit="valkey-server"),
    Wanted(release="debian-13", datastore="redis", program="redis-server", unit="redis-server", version="8.0"),
    Wanted(release="debian-13", datastore="postgresql", program="postgres", unit="postgresql"),
    Wanted(release="debian-sid", datastore="mysql", program="mysqld", unit="mysql"),
)
ADMINISTRATORS = {"mysqld": "root", "postgres": "postgres", "redis-server": "default", "valkey-server": "default"}


@pytest.fixture
def fleet(cloud: Cloud, tmp_path: Path) -> OpenstackFleet:
    fleet = OpenstackFleet(cloud, tmp_path / "home")
    fleet.patience_seconds = 900  # apt fetches and unpacks a database server
    (tmp_path / "ping.dat").write_text("message=Module.V1\n")
    fleet.done("module-create", "mymod", "ping", str(tmp_path / "ping.dat"))
    return fleet


def known_versions(release: str) -> dict[str, str]:
    """Give what the release has: datastore → version."""
    lines = (cache.images(release) / "versions").read_text().split()
    return dict(line.split("=") for line in lines)


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: f"{wanted.release}-{wanted.program}")
def test_server_is_installed_by_apt(fleet: OpenstackFleet, figure: Callable[[str, str], None], wanted: Wanted) -> None:
    """Where the distribution has several servers of a datastore, the version that was asked for decides."""
    release, datastore, program, unit = wanted.release, wanted.datastore, wanted.program, wanted.unit
    asked = wanted.version or known_versions(release)[datastore]
    words = ("--datastore", datastore, "--datastore_version", asked, "--module", "mymod", "--users", f"app:{PASSWORD}")
    words += ("--databases", "shop") if datastore != "redis" else ()
    with fleet.cloud.image_of(release, versions=f"{datastore}={asked}"):
        made = fleet.run("create", "one", "15", *words)
        try:
            assert made.code == 0, made.said
            assert fleet.instance("one").datastore_version.startswith(asked)
            [queried] = fleet.done("module-query", "one", "-f", "json").json()
            assert (queried["Message"], queried["Standing"]) == ("Module.V1", "current")
            check_server(fleet, program, unit)
            fleet.done("restart", "one", "--quiet")
            reboot(fleet.machine("one"))
            check_server(fleet, program, unit)
            fleet.done("module-remove", "one", "mymod")
        finally:
            fleet.run("delete", "one", "--yes")
    assert fleet.mine() == {}
    figure("RELEASES", f"{release}: {program} {asked} installed by apt, create took {made.seconds:.0f} s")


def reboot(machine: machines.Machine) -> None:
    before = machine.init()
    machine.run("systemctl", "--no-block", "reboot")
    machine.wait_for_boot(before)


def check_server(fleet: OpenstackFleet, program: str, unit: str) -> None:
    """See that this program serves, under its unit on its volume, whom it was made for."""
    machine, address = fleet.machine("one"), str(fleet.instance("one").address)
    logins = {"app": PASSWORD}
    if program in ADMINISTRATORS:  # MariaDB's comes in by the socket alone
        logins[ADMINISTRATORS[program]] = fleet.done("password", "one").out.strip()

    def answer(user: str) -> str:
        return machine.run("sh", "-c", WHO_AM_I[program], address, user, logins[user], check=False).stdout

    for user in logins:
        machines.wait_until(lambda user=user: answer(user).split("@")[0].strip() == user, f"{user} is let in", 60)
    shown = machine.run("systemctl", "show", unit, "--property=FragmentPath,UnitFileState,ExecStart").stdout
    assert f"FragmentPath=/etc/systemd/system/{unit}.service\nUnitFileState=enabled\n" in shown
    assert f"/{program} ; " in shown
    assert machine.run("findmnt", "--noheadings", "--output=FSTYPE", "/srv/dbmod").stdout.strip() == "ext4"


def test_galera_cluster_of_debian_13_grows_and_shrinks(
    fleet: OpenstackFleet, figure: Callable[[str, str], None]
) -> None:
    version = known_versions("debian-13")["mysql"]
    with fleet.cloud.image_of("debian-13", kind="databases"):
        made = fleet.run("cluster-create", "trio", "mysql", version, *MEMBER, *MEMBER, *MEMBER)
        try:
            assert made.code == 0, made.said
            grown = fleet.done("cluster-grow", "trio", *MEMBER)
            tables = fleet.store.snapshot()
            [cluster] = tables.find(Cluster, name="trio")
            members = tables.find(Instance, cluster_id=cluster.id)
            assert [one.status for one in members] == ["ACTIVE"] * 4
            assert all(one.datastore_version == version for one in members)
            fleet.done("cluster-shrink", "trio", "trio-member-1", "--yes")
        finally:
            fleet.run("cluster-delete", "trio", "--yes")
    assert fleet.mine() == {}
    figure("RELEASES", f"debian-13: Galera of three made in {made.seconds:.0f} s, of four in {grown.seconds:.0f} s")
