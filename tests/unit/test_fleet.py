"""Instances and clusters: what is planned, and what is recorded of them. SEMANTICS §3 on create and delete."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from dbmod import building, datastores, errors, fleet, gate, holds, ledger, processes, providers
from dbmod.building import Account, Member, NewCluster, NewInstance
from dbmod.context import Context
from dbmod.records import Attempt, Cluster, Instance, Row, Run
from tests import builders
from tests.builders import ADMIN, REPLACE, STRANGER, TENANT, as_actor

Put = Callable[..., None]
SMALL = Member(flavor="15")


def version() -> str:
    return datastores.versions("redis")[-1]


def refused(work: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(errors.BadInput) as refusal:
        work(*arguments)
    return refusal.value.what


def create(here: Context, name: str = "myinst", **asked: Any) -> tuple[Instance, Run]:
    return building.plan_create(here, NewInstance(**({"name": name, "member": SMALL} | asked)))


def create_cluster(here: Context, members: Sequence[Member] = (SMALL,) * 3, **asked: Any) -> tuple[Cluster, Run]:
    told = {"name": "myclust", "datastore": "redis", "datastore_version": version(), "members": tuple(members)}
    return building.plan_cluster_create(here, NewCluster(**(told | asked)))


def recorded(here: Context, run: Run, status: Any = "ACTIVE", **more: Any) -> list[Instance]:
    """Record the claims of a run, as the playbook does; the run ends where nothing is left to do."""
    told = {"faults": {}, "facts": {}} | more
    with here.store.transaction(holder="a test") as tables:
        ledger.start(tables, run.id, processes.owner())
        changed = fleet.record(tables, run, status=status, **told)
        if not tables.find(Attempt, run_id=run.id, state="planned"):
            ledger.close(tables, run.id)
    return changed


def attempts(here: Context, run: Run) -> list[Attempt]:
    found = here.store.snapshot().find(Attempt, run_id=run.id)
    return sorted(found, key=lambda one: (one.batch, one.position, one.order))


def members(here: Context, cluster: Cluster) -> list[str]:
    return [one.name for one in fleet.members_of(here.store.snapshot(), cluster.id)]


def a_cluster(here: Context, members: int = 3) -> Cluster:
    cluster, run = create_cluster(here, (SMALL,) * members)
    recorded(here, run)
    return cluster


# Create


def test_create_writes_a_building_instance_and_the_run_that_builds_it(here: Context) -> None:
    instance, run = create(here)
    tables = here.store.snapshot()
    assert (tables.find(Instance), tables.find(Run)) == ([instance], [run])
    assert (instance.status, instance.datastore, instance.datastore_version) == ("BUILD", "redis", version())
    assert (instance.provider, instance.region, instance.volume_gb, instance.tenant) == (
        "local",
        "RegionOne",
        1,
        "default",
    )
    assert (run.verb, run.playbook) == ("create", "instance_create")
    assert [(one.instance_id, one.module_id, one.batch) for one in attempts(here, run)] == [(instance.id, "", 0)]
    assert instance.provider_facts["directory"] == str(here.settings.local_path / instance.id)
    assert instance.port in here.settings.local_port_range
    uid = here.settings.local_uid_base + (instance.port or 0)
    assert instance.provider_facts.get("uid") == (uid if os.geteuid() == 0 else None)


def test_two_instances_never_share_a_port(here: Context) -> None:
    one, two = create(here, "a")[0], create(here, "b")[0]
    assert one.port != two.port


def test_create_applies_the_requested_and_the_fitting_auto_apply_modules_in_order(here: Context, put: Put) -> None:
    requested = builders.module(name="requested", versions=2)
    auto = builders.module(name="auto", auto_apply=True, apply_order=1, visible=False)
    others = [
        builders.module(name="not asked"),
        builders.module(name="theirs", auto_apply=True, tenant="other"),
        builders.module(name="sql", auto_apply=True, datastore="mysql"),
        builders.module(name="gone", auto_apply=True, deleted_at=builders.LATER),
    ]
    put(requested, auto, *others)
    _, run = create(here, member=REPLACE(SMALL, modules=("requested",)))
    told = [(one.module_id, one.number, one.batch, one.order) for one in attempts(here, run)]
    assert told[1:] == [(auto.id, 1, 1, 0), (requested.id, 2, 1, 1)]
    assert run.batch_sizes == (1,)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"name": "a/b"}, "The name 'a/b' is not valid."),
        ({"datastore": "x"}, "Datastore 'x' cannot be found."),
        ({"datastore_version": "x"}, "Datastore version 'x' cannot be found."),
        ({"provider": "x"}, "Provider 'x' cannot be found."),
        ({"member": Member(flavor="x")}, "Flavor 'x' cannot be found."),
        ({"member": Member(flavor="15", volume_gb=0)}, "The size of a volume must be at least 1 GB."),
        ({"member": Member(flavor="15", modules=("x",))}, "No module with a name or ID of 'x' exists."),
        (
            {"member": Member(flavor="15", modules=("sql",))},
            "Module 'sql' cannot be applied (Wrong datastore 'mysql' - expected 'redis')",
        ),
        ({"databases": ("db",)}, "Redis or Valkey has no databases that could be created: db"),
        ({"users": (Account(name="default", password="p"),)}, "the user default belongs to the server itself"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_nothing_is_created(
    here: Context, put: Put, asked: dict[str, Any], said: str
) -> None:
    put(builders.module(name="sql", datastore="mysql"))
    before = here.store.snapshot().serial
    assert refused(lambda: create(here, **asked)) == said
    assert here.store.snapshot().serial == before
    assert here.store.snapshot().find(Instance) == []


def test_more_room_than_there_is_is_refused(here: Context) -> None:
    said = refused(lambda: create(here, member=Member(flavor="15", volume_gb=1 << 20)))
    assert said.startswith("no room for a volume of 1048576 GB below ")


def test_a_requested_module_whose_needs_are_not_met_is_refused(here: Context, put: Put) -> None:
    put(builders.module(name="licence", type="new_relic_license"))
    said = refused(lambda: create(here, member=Member(flavor="15", modules=("licence",))))
    assert said.startswith("Module 'licence' cannot be applied (needs ")


def test_passwords_of_users_lie_encrypted_and_nowhere_in_the_tables(here: Context) -> None:
    canary = "CANARY-7261"
    instance, run = create(here, users=(Account(name="ann", password=canary),))
    kept = msgspec.json.decode(here.store.read_contents(run.id, 0))
    assert kept == {instance.id: {"databases": [], "users": [{"name": "ann", "password": canary}]}}
    files = [path for path in here.settings.home_path.rglob("*") if path.is_file()]
    assert files
    assert not any(canary.encode() in path.read_bytes() for path in files)


def test_an_instance_becomes_active_with_what_the_provider_found_out(here: Context) -> None:
    instance, run = create(here)
    facts = {"address": "10.0.0.7", "port": "6380", "server_id": "s", "tenant": "stolen", "status": "DELETED", "x": 1}
    (active,) = recorded(here, run, facts={instance.id: facts})
    assert (active.status, active.address, active.port, active.server_id) == ("ACTIVE", "10.0.0.7", 6380, "s")
    assert active.tenant == "default"
    assert here.store.snapshot().find(Instance) == [active]
    assert [one.state for one in here.store.snapshot().find(Run)] == ["done"]


def test_facts_that_the_ledger_could_not_read_again_are_refused(here: Context) -> None:
    instance, run = create(here)
    with pytest.raises(errors.InternalError, match="The provider 'local' told what cannot be"):
        recorded(here, run, facts={instance.id: {"port": "many"}})
    assert here.store.snapshot().get(Instance, instance.id) == instance


def test_a_failing_module_leaves_the_instance_active_and_the_exit_code_1(here: Context, put: Put) -> None:
    put(builders.module(auto_apply=True))
    instance, run = create(here)
    recorded(here, run)
    planned = attempts(here, run)[1]
    with here.store.transaction(holder="a test") as tables:
        gate.start_batch(tables, run.id, 1)
        ledger.record(tables, run.id, batch=1, outcomes=[builders.well(planned, run, status="ERROR", message="no")])
        closed = ledger.close(tables, run.id)
    found = here.store.snapshot().get(Instance, instance.id)
    assert found
    assert (found.status, closed.state, ledger.exit_code(attempts(here, run))) == ("ACTIVE", "failed", 1)


def test_an_instance_that_was_not_built_is_in_error_and_gets_no_modules(here: Context, put: Put) -> None:
    put(builders.module(auto_apply=True))
    instance, run = create(here)
    (broken,) = recorded(here, run, faults={instance.id: "the port is taken"})
    assert (broken.status, broken.fault) == ("ERROR", "the port is taken")
    assert [(one.state, one.message) for one in attempts(here, run)] == [
        ("error", "the port is taken"),
        ("cancelled", "its instance was not built"),
    ]
    assert here.store.snapshot().find(Row) == []


# Delete, restart, rename


def test_live_rows_are_closed_when_the_instance_is_really_gone_and_only_then(here: Context, put: Put) -> None:
    module, instance = builders.module(), builders.instance()
    row = builders.row(module, instance)
    put(module, instance, row)
    _, run = fleet.plan_delete(here, "myinst")
    (still_there,) = recorded(here, run, "DELETED", faults={instance.id: "it does not stop"})
    assert (still_there.status, still_there.deleted_at) == ("ERROR", None)
    assert here.store.snapshot().find(Row) == [row]
    _, run = fleet.plan_delete(here, "myinst")
    (gone,) = recorded(here, run, "DELETED")
    assert gone.status == "DELETED"
    assert gone.deleted_at is not None
    (closed,) = here.store.snapshot().find(Row)
    assert closed.held is None
    assert closed.removed_at is not None


def test_a_member_is_not_deleted_alone(here: Context) -> None:
    a_cluster(here)
    assert refused(fleet.plan_delete, here, "myclust-member-1") == (
        "Instance 'myclust-member-1' is a member of a cluster."
    )


def test_a_building_instance_is_neither_deleted_under_its_run_nor_restarted(here: Context) -> None:
    instance, run = create(here)
    assert refused(fleet.plan_delete, here, "myinst") == f"Instance 'myinst' is being worked on by run {run.id}."
    assert refused(fleet.plan_restart, here, "myinst") == "Instance 'myinst' is still being built."
    assert here.store.snapshot().find(Instance) == [instance]


def test_what_is_on_hold_is_neither_restarted_nor_deleted(here: Context, put: Put) -> None:
    put(builders.instance())
    holds.hold(REPLACE(here, reason="backup"), "myinst", until="")
    for plan in (fleet.plan_restart, fleet.plan_delete):
        assert refused(plan, here, "myinst") == "Instance 'myinst' is on hold, by ada: backup"
    holds.release(here, "myinst")
    fleet.plan_restart(here, "myinst")


def test_a_restart_brings_an_instance_back_from_error(here: Context, put: Put) -> None:
    put(builders.instance(status="ERROR", fault="it fell"))
    _, run = fleet.plan_restart(here, "myinst")
    (back,) = recorded(here, run)
    assert (back.status, back.fault, run.playbook) == ("ACTIVE", "", "instance_restart")


def test_rename_changes_the_name_alone(here: Context, put: Put) -> None:
    instance = builders.instance()
    put(instance)
    renamed = fleet.rename(here, "myinst", "other")
    assert REPLACE(renamed, name="myinst", updated_at=instance.updated_at) == instance
    assert refused(fleet.rename, here, "other", "..") == "The name '..' is not valid."


def test_another_tenants_instances_do_not_exist(here: Context, put: Put) -> None:
    put(builders.instance())
    stranger = as_actor(here, STRANGER)
    for work in (fleet.plan_delete, fleet.plan_restart):
        assert refused(work, stranger, "myinst") == "No instance with a name or ID of 'myinst' exists."
    assert refused(fleet.rename, stranger, "myinst", "mine") == "No instance with a name or ID of 'myinst' exists."


# Clusters


def test_a_cluster_is_planned_with_its_members_and_their_modules(here: Context, put: Put) -> None:
    put(builders.module(name="m"))
    some = (SMALL, REPLACE(SMALL, modules=("m",)), SMALL)
    cluster, run = create_cluster(here, some)
    assert members(here, cluster) == ["myclust-member-1", "myclust-member-2", "myclust-member-3"]
    assert [one.batch for one in attempts(here, run)] == [0, 0, 0, 1]
    stored = here.store.snapshot().get(Cluster, cluster.id)
    assert stored
    assert (stored.task_name, stored.task_description) == ("BUILDING", "Building the initial cluster.")
    recorded(here, run)
    stored = here.store.snapshot().get(Cluster, cluster.id)
    assert stored
    assert (stored.task_name, stored.deleted_at) == ("NONE", None)


def test_no_two_members_share_a_port_or_a_bus(here: Context) -> None:
    cluster, _ = create_cluster(here, (SMALL,) * 4)
    ports = [one.port or 0 for one in fleet.members_of(here.store.snapshot(), cluster.id)]
    assert len({*ports, *(port + 10000 for port in ports)}) == 8


def test_too_few_members_and_datastores_without_clusters_are_refused(here: Context) -> None:
    said = refused(lambda: create_cluster(here, (SMALL,) * 2))
    assert said == "a cluster of Redis or Valkey needs at least 3 members, not 2"
    postgresql = {"datastore": "postgresql", "datastore_version": datastores.versions("postgresql")[-1]}
    assert (
        refused(lambda: create_cluster(here, **postgresql)) == "Clusters of datastore 'postgresql' are not supported."
    )
    assert here.store.snapshot().find(Cluster) == []


def test_names_of_members_that_left_are_not_given_again(here: Context) -> None:
    cluster = a_cluster(here)
    _, run = building.plan_cluster_grow(here, "myclust", [SMALL])
    recorded(here, run)
    assert members(here, cluster)[-1] == "myclust-member-4"
    _, run = fleet.plan_cluster_shrink(here, "myclust", ["myclust-member-4"])
    recorded(here, run, "DELETED")
    _, run = building.plan_cluster_grow(here, "myclust", [SMALL, SMALL])
    recorded(here, run)
    assert members(here, cluster) == [f"myclust-member-{number}" for number in (1, 2, 3, 5, 6)]


def test_members_come_in_the_order_of_their_numbers(here: Context) -> None:
    cluster = a_cluster(here, 11)
    assert members(here, cluster)[-3:] == ["myclust-member-9", "myclust-member-10", "myclust-member-11"]


def test_a_cluster_that_an_admin_grows_stays_its_tenants(here: Context, put: Put) -> None:
    mine = builders.module(name="auto of default", auto_apply=True)
    theirs = builders.module(name="auto of other", auto_apply=True, tenant="other")
    cluster = builders.cluster(tenant="other", datastore_version=version())
    put(mine, theirs, cluster)
    _, run = building.plan_cluster_grow(as_actor(here, ADMIN), "myclust", [SMALL])
    (member,) = fleet.members_of(here.store.snapshot(), cluster.id)
    assert member.tenant == "other"
    assert [one.module_id for one in attempts(here, run) if one.module_id] == [theirs.id]


def test_a_busy_or_broken_cluster_is_neither_grown_nor_shrunk(here: Context, put: Put) -> None:
    cluster, run = create_cluster(here)
    for work, what in ((building.plan_cluster_grow, [SMALL]), (fleet.plan_cluster_shrink, ["myclust-member-1"])):
        assert refused(work, here, "myclust", what) == "Cluster 'myclust' is busy: Building the initial cluster."
    second = fleet.members_of(here.store.snapshot(), cluster.id)[1]
    recorded(here, run, faults={second.id: "no"})
    assert refused(building.plan_cluster_grow, here, "myclust", [SMALL]) == (
        "Cluster 'myclust' has members that are not ACTIVE: myclust-member-2"
    )


def test_a_shrink_takes_members_of_this_cluster_only_and_leaves_enough(here: Context, put: Put) -> None:
    a_cluster(here, 4)
    stranger = builders.instance("stranger")
    put(stranger)
    assert (
        refused(fleet.plan_cluster_shrink, here, "myclust", ["stranger"]) == f"Not in cluster 'myclust': {stranger.id}"
    )
    said = refused(fleet.plan_cluster_shrink, here, "myclust", ["myclust-member-1", "myclust-member-2"])
    assert said == "a cluster of Redis or Valkey needs at least 3 members, not 2"
    _, run = fleet.plan_cluster_shrink(here, "myclust", ["myclust-member-4"])
    (gone,) = recorded(here, run, "DELETED")
    assert gone.name == "myclust-member-4"
    assert here.store.snapshot().get(Cluster, run.cluster_id or "")
    assert refused(building.plan_cluster_grow, here, "myclust", []) == "No --instance was given."


def test_a_deleted_cluster_takes_all_members_and_their_rows_along(here: Context, put: Put) -> None:
    cluster = a_cluster(here)
    module = builders.module()
    put(module, *(builders.row(module, one) for one in fleet.members_of(here.store.snapshot(), cluster.id)))
    _, run = fleet.plan_cluster_delete(here, "myclust")
    stuck = fleet.members_of(here.store.snapshot(), cluster.id)[0]
    recorded(here, run, "DELETED", faults={stuck.id: "no"})
    tables = here.store.snapshot()
    assert [row.instance_id for row in tables.find(Row, removed_at=None)] == [stuck.id]
    left = tables.get(Cluster, cluster.id)
    assert left
    assert (left.deleted_at, left.task_name) == (None, "NONE")
    _, run = fleet.plan_cluster_delete(here, "myclust")
    recorded(here, run, "DELETED")
    tables = here.store.snapshot()
    assert tables.find(Row, removed_at=None) == []
    gone = tables.get(Cluster, cluster.id)
    assert gone
    assert gone.deleted_at is not None


def test_a_tenant_makes_its_own(here: Context) -> None:
    instance, run = create(as_actor(here, REPLACE(TENANT, tenant="blue")))
    assert (instance.tenant, run.actor) == ("blue", "tom")


def test_an_instance_in_a_taken_range_is_refused(here: Context, put: Put) -> None:
    narrow = REPLACE(here, settings=REPLACE(here.settings, local_ports="15990-15990"))
    put(builders.instance("first", port=15990))
    assert refused(lambda: create(narrow)) == "no free port is left in 15990-15990"
    assert providers.describe("local").connection == {"ansible_connection": "local"}


def test_a_member_that_could_not_leave_keeps_its_status_and_tells_why(here: Context) -> None:
    cluster = a_cluster(here, 4)
    leaving = fleet.members_of(here.store.snapshot(), cluster.id)[3]
    _, run = fleet.plan_cluster_shrink(here, "myclust", [leaving.name])
    (kept,) = recorded(here, run, "DELETED", faults={leaving.id: "it still holds slots"})
    assert (kept.status, kept.fault, kept.deleted_at) == ("ACTIVE", "it still holds slots", None)
    assert attempts(here, run)[0].state == "error"


def test_a_broken_member_can_be_shrunk_away(here: Context, put: Put) -> None:
    cluster = a_cluster(here, 4)
    broken = fleet.members_of(here.store.snapshot(), cluster.id)[3]
    put(REPLACE(broken, status="ERROR"))
    with pytest.raises(errors.Refused, match="members that are not ACTIVE: myclust-member-4"):
        fleet.plan_cluster_shrink(here, "myclust", ["myclust-member-1"])
    _, run = fleet.plan_cluster_shrink(here, "myclust", ["myclust-member-4"])
    recorded(here, run, "DELETED")
    assert len(members(here, cluster)) == 3


def test_a_rename_is_kept_in_the_history_with_its_reason(here: Context, put: Put) -> None:
    put(builders.instance())
    fleet.rename(REPLACE(here, reason="ticket 7"), "myinst", "other")
    (run,) = here.store.snapshot().find(Run)
    assert (run.verb, run.actor, run.reason, run.state, run.is_open) == ("update", "ada", "ticket 7", "done", False)
