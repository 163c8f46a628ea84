"""A real Galera cluster: made, restarted, grown and shrunk under a writer, removed, and a member that is not built."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dbmod import building, datastores, errors, fleet, operations, passwords, providers, registry
from dbmod.paces import Pace
from dbmod.records import Instance, Row, Run
from dbmod.selection import Selection
from tests import builders, local_fleet, writers
from tests.figures import figure
from tests.local_fleet import LocalFleet

MEMBER = building.Member(flavor="15")
PORTS = (1138, 1261, 1262)  # besides its own


@pytest.fixture
def empty() -> Iterator[LocalFleet]:
    with local_fleet.opened() as opened:
        yield opened


@pytest.mark.nightly
@pytest.mark.timeout(900)  # about 80 s on two cores that have nothing else to do
def test_cluster_lives_through_restarts_growth_and_shrinking_without_losing_a_row(empty: LocalFleet) -> None:
    began = time.monotonic()
    run = empty.carry_out(_create(empty, 3))
    assert run.state == "done", [one.fault for one in _members(empty)]
    _see_that_it_is_whole(empty, 3)
    made_seconds = time.monotonic() - began
    first = _members(empty)[0]
    for statement in writers.STATEMENTS:
        empty.client(first, f'-e "{statement}"')

    writer = writers.GaleraWriter([one.port or 0 for one in _members(empty)])
    try:
        assert _whole_copies(empty) == 2
        for member in _members(empty):
            run = empty.carry_out(fleet.plan_restart(empty.context, member.name))
            assert run.state == "done", empty.instance(member.name).fault
            _see_that_it_is_whole(empty, 3)
        assert _whole_copies(empty) == 2  # each took only what it had missed

        run = empty.carry_out(building.plan_cluster_grow(empty.context, "gal", [MEMBER]))
        assert run.state == "done", [one.fault for one in _members(empty)]
        _see_that_it_is_whole(empty, 4)
        assert _whole_copies(empty) == 3

        run = empty.carry_out(fleet.plan_cluster_shrink(empty.context, "gal", [first.name]))
        assert run.state == "done", first.fault
        _see_that_it_is_whole(empty, 3)
        _reapply_a_module_one_member_at_a_time(empty)
    finally:
        writer.stop()
    for member in _members(empty):
        held = {int(number) for number in empty.client(member, "-BNe 'SELECT i FROM shop.kept'").split()}
        lost = set(writer.acknowledged) - held
        assert not lost, f"{len(lost)} of {len(writer.acknowledged)} rows are not on {member.name}"
    assert len(writer.acknowledged) > 500
    figure(
        "galera",
        f"three members (made in {made_seconds:.0f} s), each restarted, grown to four, shrunk to three, a module "
        "reapplied one by one: "
        f"{len(writer.acknowledged)} rows acknowledged, 0 lost; "
        f"at most {writer.longest_gap_seconds:.1f} s without an accepted one",
    )
    with pytest.raises(errors.Refused, match="at least 3 members"):
        fleet.plan_cluster_shrink(empty.context, "gal", ["gal-member-2"])
    _see_that_the_password_is_shared_and_kept_nowhere_else(empty)

    members = _members(empty)
    cluster_id = members[0].cluster_id or ""
    assert empty.carry_out(fleet.plan_cluster_delete(empty.context, "gal")).state == "done"
    assert empty.living() == []
    assert not any(local_fleet.place(one).directory.exists() for one in members)
    with pytest.raises(errors.NotFound):
        empty.context.store.read_contents(cluster_id, passwords.NUMBER)


def _reapply_a_module_one_member_at_a_time(opened: LocalFleet) -> None:
    context = opened.context
    registry.create(context, registry.Request(name="mymod", type="ping", live_update=True), builders.contents(1))
    opened.planned(operations.plan_apply(context, Selection(cluster="gal"), ["mymod"]))
    registry.change(context, "mymod", registry.Change(), builders.contents(2))
    pace = Pace(batch_size=1, delay_seconds=0)
    run = opened.planned(operations.plan_reapply(context, "mymod", include_clustered=True, pace=pace))
    assert (run.state, run.batch_sizes) == ("done", (1, 1, 1))
    rows = context.store.snapshot().find(Row, removed_at=None)
    assert [one.held_md5 for one in rows] == [builders.MD5[2]] * 3


def test_member_that_cannot_be_built_forms_no_cluster_and_all_can_be_deleted(empty: LocalFleet) -> None:
    planned = _create(empty, 3)
    second = empty.instance("gal-member-2")
    with socket.create_server(("127.0.0.1", second.port or 0)):
        assert empty.carry_out(planned).state == "failed"
    assert {one.status for one in _members(empty)} == {"ERROR"}
    assert "is taken by another program" in empty.instance("gal-member-2").fault
    assert empty.carry_out(fleet.plan_cluster_delete(empty.context, "gal")).state == "done"
    assert empty.living() == []


def test_ports_of_members_never_meet(empty: LocalFleet) -> None:
    _create(empty, 4)
    used = [(one.port or 0) + distance for one in _members(empty) for distance in (0, *PORTS)]
    assert len(set(used)) == len(used)
    assert datastores.describe("mysql").further_ports == PORTS


def _create(fleet_of_test: LocalFleet, members: int) -> tuple[object, Run]:
    return building.plan_cluster_create(
        fleet_of_test.context,
        building.NewCluster(
            name="gal",
            datastore="mysql",
            datastore_version=datastores.versions("mysql")[0],
            members=(MEMBER,) * members,
        ),
    )


def _members(fleet_of_test: LocalFleet) -> list[Instance]:
    found = fleet_of_test.context.store.snapshot().find(Instance, deleted_at=None)
    return sorted(found, key=lambda one: one.name)


def _see_that_it_is_whole(fleet_of_test: LocalFleet, members: int) -> None:
    there = _members(fleet_of_test)
    assert len(there) == members
    groups = ",".join(f"127.0.0.1:{(one.port or 0) + 1261}" for one in there)
    for member in there:
        standing = _standing(fleet_of_test, member)
        deadline = time.monotonic() + 10
        while "Donor" in standing[1] and time.monotonic() < deadline:  # it goes on serving
            standing = _standing(fleet_of_test, member)
        assert standing == ["Primary", "Synced", "ON", str(members)]
        settings = (local_fleet.place(member).directory / "etc" / "cluster.cnf").read_text()
        assert f"wsrep_cluster_address = gcomm://{groups}\n" in settings


def _standing(fleet_of_test: LocalFleet, member: Instance) -> list[str]:
    said = fleet_of_test.client(member, "-BNe 'SHOW STATUS LIKE \"wsrep%\"'")
    status = dict(line.split("\t", 1) for line in said.splitlines() if "\t" in line)
    wanted = ("wsrep_cluster_status", "wsrep_local_state_comment", "wsrep_ready", "wsrep_cluster_size")
    return [status[name] for name in wanted]


def _whole_copies(fleet_of_test: LocalFleet) -> int:
    """Count the times that a member took everything from another; one that takes what it missed says IST instead."""
    copied = "mariabackup SST completed on joiner"
    return sum(Path(providers.log_path(one)).read_text().count(copied) for one in _members(fleet_of_test))


def _see_that_the_password_is_shared_and_kept_nowhere_else(fleet_of_test: LocalFleet) -> None:
    [password] = {passwords.read(fleet_of_test.context.store, one) for one in _members(fleet_of_test)}
    looked = 0
    for path in fleet_of_test.settings.home_path.parent.rglob("*"):
        with suppress(FileNotFoundError):  # the servers go on
            if path.is_file():
                looked += 1
                assert password.encode() not in path.read_bytes(), path
    assert looked > 50
