"""A real Redis Cluster: made, grown, shrunk without losing a key, removed, and the ways it can fail."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbmod import building, datastores, errors, fleet, local_servers, operations, registry
from dbmod.paces import Pace
from dbmod.records import Attempt, Instance, Run
from dbmod.selection import Selection
from tests import local_fleet
from tests.faults.failpoints import until
from tests.local_fleet import LocalFleet

KEYS = 400
MEMBER = building.Member(flavor="15")


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        run = opened.carry_out(_create(opened, 3))
        assert run.state == "done", [one.fault for one in _members(opened)]
        yield opened


@pytest.fixture
def empty() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        yield opened


def test_cluster_is_created_grown_and_shrunk_without_losing_a_key(shared: LocalFleet) -> None:
    _see_that_it_is_whole(shared, 3)
    _write_keys(shared)
    assert _read_keys(shared) == KEYS

    run = shared.carry_out(building.plan_cluster_grow(shared.context, "clust", [MEMBER, MEMBER]))
    assert run.state == "done", [one.fault for one in _members(shared)]
    _see_that_it_is_whole(shared, 5)
    assert min(_slots(shared).values()) > 2000
    assert _read_keys(shared) == KEYS

    run = shared.carry_out(fleet.plan_cluster_shrink(shared.context, "clust", ["clust-member-1", "clust-member-5"]))
    assert run.state == "done", [one.fault for one in _members(shared)]
    assert [one.name for one in _members(shared)] == ["clust-member-2", "clust-member-3", "clust-member-4"]
    _see_that_it_is_whole(shared, 3)
    assert _read_keys(shared) == KEYS

    with pytest.raises(errors.Refused, match="at least 3 members"):
        fleet.plan_cluster_shrink(shared.context, "clust", ["clust-member-2"])


@pytest.mark.nightly
@pytest.mark.timeout(900)  # the look that ends badly takes its minute
def test_member_of_a_cluster_that_is_not_whole_is_left_alone(empty: LocalFleet) -> None:
    assert empty.carry_out(_create(empty, 3)).state == "done"
    first, _, last = _members(empty)
    registry.create(empty.context, registry.Request(name="mymod", type="ping"), b"message=hello\n")
    planned = Selection(instance=first.name), ["mymod"]
    run = empty.planned(operations.plan_apply(empty.context, *planned, pace=Pace(gate=True)))
    assert run.state == "done"
    assert local_servers.stop(local_fleet.place(last), local_fleet.STOPPER)
    until(lambda: empty.client(first, "CLUSTER INFO"), lambda said: "cluster_state:fail" in said, "the loss to be seen")
    run = empty.planned(operations.plan_apply(empty.context, *planned, pace=Pace(gate=True)))
    [left] = empty.context.store.snapshot().find(Attempt, run_id=run.id)
    assert left.state == "skipped", left
    assert left.message == "left alone: See that its server is well: it sees no whole cluster"


def test_members_share_a_password_that_only_they_and_the_ledger_hold(shared: LocalFleet) -> None:
    held = {(local_fleet.place(one).directory / "etc" / "password").read_text() for one in _members(shared)}
    [password] = [one.strip() for one in held]
    home = shared.settings.home_path
    for path in home.rglob("*"):
        if path.is_file():
            assert password.encode() not in path.read_bytes(), path


def test_restarted_member_rejoins_with_its_slots(shared: LocalFleet) -> None:
    _write_keys(shared)
    before = _slots(shared)
    member = _members(shared)[0]
    assert shared.carry_out(fleet.plan_restart(shared.context, member.name)).state == "done"
    for _ in range(60):
        if "cluster_state:ok" in shared.client(member, "CLUSTER INFO"):
            break
        subprocess.run(["sleep", "0.5"], check=True)
    assert _slots(shared) == before
    assert _read_keys(shared) == KEYS


@pytest.mark.nightly
def test_one_failed_member_forms_no_cluster_and_all_can_be_deleted(empty: LocalFleet) -> None:
    planned = _create(empty, 3)
    second = empty.instance("clust-member-2")
    with socket.create_server(("127.0.0.1", second.port or 0)):
        assert empty.carry_out(planned).state == "failed"
    faults = {one.name: one.fault for one in _members(empty)}
    assert {one.status for one in _members(empty)} == {"ERROR"}
    assert "is taken by another program" in faults["clust-member-2"]
    assert faults["clust-member-1"].startswith("another member failed, so no cluster was formed: Start the server")
    directories = [local_fleet.place(one).directory for one in _members(empty)]
    assert empty.carry_out(fleet.plan_cluster_delete(empty.context, "clust")).state == "done"
    assert empty.living() == []
    assert not any(directory.exists() for directory in directories)


@pytest.mark.nightly
def test_shrink_that_cannot_move_the_slots_removes_nobody(empty: LocalFleet) -> None:
    assert empty.carry_out(_create(empty, 4)).state == "done"
    _write_keys(empty)
    members = _members(empty)
    leaving = local_fleet.place(members[3]).directory / "etc" / "password"
    leaving.write_text("not the password\n")
    run = empty.carry_out(fleet.plan_cluster_shrink(empty.context, "clust", ["clust-member-4"]))
    assert run.state == "failed"
    assert empty.instance("clust-member-4").fault != ""
    assert local_fleet.pids(members[3]) != []
    assert _read_keys(empty) == KEYS


def _create(fleet_of_test: LocalFleet, members: int) -> tuple[object, Run]:
    return building.plan_cluster_create(
        fleet_of_test.context,
        building.NewCluster(
            name="clust",
            datastore="redis",
            datastore_version=datastores.versions("redis")[0],
            members=(MEMBER,) * members,
        ),
    )


def _members(fleet_of_test: LocalFleet) -> list[Instance]:
    found = fleet_of_test.context.store.snapshot().find(Instance, deleted_at=None)
    return sorted(found, key=lambda one: one.name)


def _see_that_it_is_whole(fleet_of_test: LocalFleet, members: int) -> None:
    assert len(_members(fleet_of_test)) == members
    for member in _members(fleet_of_test):
        state = fleet_of_test.client(member, "CLUSTER INFO")
        assert "cluster_state:ok" in state
        assert "cluster_slots_ok:16384" in state
        assert f"cluster_known_nodes:{members}\n" in state
        assert f"cluster_size:{members}\n" in state


def _slots(fleet_of_test: LocalFleet) -> dict[int, int]:
    """Give the slots of each member by its port, as the first member sees them."""
    found = {}
    for line in fleet_of_test.client(_members(fleet_of_test)[0], "CLUSTER NODES").splitlines():
        (
            _,
            address,
            *_,
        ) = line.split()
        ranges = [part.split("-") for part in line.split()[8:]]
        found[int(address.split("@")[0].split(":")[1])] = sum(int(one[-1]) - int(one[0]) + 1 for one in ranges)
    return found


def _write_keys(fleet_of_test: LocalFleet) -> None:
    commands = "".join(f"SET key{number} value{number}\n" for number in range(KEYS))
    member = _members(fleet_of_test)[0]
    password = (local_fleet.place(member).directory / "etc" / "password").read_text().strip()
    subprocess.run(
        ["redis-cli", "-c", "-p", str(member.port)],
        input=commands,
        text=True,
        check=True,
        stdout=subprocess.DEVNULL,
        env={"REDISCLI_AUTH": password, "PATH": "/usr/bin:/bin"},
        timeout=60,
    )


def _read_keys(fleet_of_test: LocalFleet) -> int:
    """Count the keys that have their value."""
    member = _members(fleet_of_test)[0]
    password = Path(local_fleet.place(member).directory / "etc" / "password").read_text().strip()
    answer = subprocess.run(
        ["redis-cli", "-c", "-p", str(member.port)],
        input="".join(f"GET key{number}\n" for number in range(KEYS)),
        text=True,
        check=True,
        capture_output=True,
        env={"REDISCLI_AUTH": password, "PATH": "/usr/bin:/bin"},
        timeout=60,
    ).stdout
    values = {line.strip() for line in answer.splitlines() if line.startswith("value")}
    return len(values)
