"""From rows to standings and counts: nothing is counted twice, nothing is lost, and no two columns look the same."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbmod import fleet_status
from dbmod.fleet_status import BY, By, Pair
from dbmod.records import Cluster, Instance, Module
from tests import builders


def counted(pairs: list[Pair], instances: list[Instance], by: By, *clusters: Cluster) -> list[tuple[str, str, int]]:
    """Give (group, standing, count) of every count."""
    counts = fleet_status.count(pairs, fleet_status.groups(instances, by, clusters))
    return [(one.group.label, one.standing, one.count) for one in counts]


def laid_out(
    instances: list[Instance], modules: list[Module], pairs: list[Pair], by: By, *clusters: Cluster
) -> fleet_status.Matrix:
    group_of = fleet_status.groups(instances, by, clusters)
    return fleet_status.matrix(modules, fleet_status.count(pairs, group_of), group_of, by)


def test_every_standing_of_the_ledger_is_told() -> None:
    module = builders.module(2)
    changes = {
        "current": {"number": 2},
        "outdated": {},
        "failed": {
            "number": 2,
            "status": "ERROR",
            "last_attempt": "error",
            "message": "no room",
            "observed": "in sync",
            "observed_detail": "waiting for a restart",
        },
        "drifted": {"number": 2, "observed": "drifted"},
        "missing": {"number": 2, "observed": "missing"},
        "unknown": {"number": 2, "observed": "unknown"},
        "not applied": {"removed_at": builders.LATER},
    }
    instances = [builders.instance(name) for name in changes]
    rows = [builders.row(module, one, **changes[one.name]) for one in instances]
    found = fleet_status.pairs(instances, [module], rows)
    assert {pair.instance.name: pair.standing for pair in found} == {name: name for name in changes}
    assert {pair.instance.name: pair.message for pair in found if pair.message} == {"failed": "no room"}
    assert tuple(changes) == fleet_status.STANDINGS


def test_a_module_for_other_instances_makes_no_pair_unless_it_was_applied() -> None:
    mysql = builders.module(datastore="mysql")
    here, there = builders.instance("db-1"), builders.instance("db-2", datastore="mysql")
    held = builders.instance("db-3")
    found = fleet_status.pairs([here, there, held], [mysql], [builders.row(mysql, held)])
    assert [(pair.instance.name, pair.standing) for pair in found] == [("db-2", "not applied"), ("db-3", "current")]


def test_a_deleted_module_is_shown_only_where_it_is_held() -> None:
    gone = builders.module(deleted_at=builders.LATER)
    held, other = builders.instance("db-1"), builders.instance("db-2")
    found = fleet_status.pairs([held, other], [gone], [builders.row(gone, held)])
    assert [pair.instance.name for pair in found] == ["db-1"]


def test_an_empty_fleet_and_a_fleet_without_modules_give_empty_matrices() -> None:
    module, instance = builders.module(), builders.instance()
    assert fleet_status.pairs([], [module], []) == []
    assert laid_out([], [module], [], "instance") == fleet_status.Matrix(headers=("Module",), rows=(("mymod",),))
    assert laid_out([], [], [], "cluster") == fleet_status.Matrix(headers=("Module", "Standing"), rows=())
    nothing = laid_out([instance], [], [], "instance")
    assert nothing == fleet_status.Matrix(headers=("Module", "myinst"), rows=())
    assert fleet_status.turned(nothing, "instance").rows == (("myinst",),)
    assert fleet_status.totals([]) == {}


def test_a_matrix_by_instance_shows_standings_and_turns() -> None:
    first, second = builders.module(name="first"), builders.module(2, name="second", datastore="redis")
    redis, mysql = builders.instance("db-1"), builders.instance("db-2", datastore="mysql")
    rows = [builders.row(first, redis), builders.row(second, redis)]
    instances, modules = [redis, mysql], [first, second]
    one = laid_out(instances, modules, fleet_status.pairs(instances, modules, rows), "instance")
    assert one == fleet_status.Matrix(
        headers=("Module", "db-1", "db-2"),
        rows=(("first", "current", "not applied"), ("second", "outdated", "")),
    )
    assert fleet_status.turned(one, "instance") == fleet_status.Matrix(
        headers=("Instance", "first", "second"),
        rows=(("db-1", "current", "outdated"), ("db-2", "not applied", "")),
    )


def test_a_matrix_by_group_counts_and_turns() -> None:
    module, cluster = builders.module(2), builders.cluster("shop")
    members = [builders.instance(f"m-{number}", cluster_id=cluster.id) for number in range(3)]
    alone = builders.instance("db-1")
    rows = [builders.row(module, members[0], 2), builders.row(module, members[1]), builders.row(module, alone)]
    instances = [alone, *members]
    one = laid_out(instances, [module], fleet_status.pairs(instances, [module], rows), "cluster", cluster)
    assert one == fleet_status.Matrix(
        headers=("Module", "Standing", "shop", "no cluster"),
        rows=(("mymod", "current", 1, 0), ("mymod", "outdated", 1, 1), ("mymod", "not applied", 1, 0)),
    )
    assert fleet_status.turned(one, "cluster") == fleet_status.Matrix(
        headers=("Cluster", "Module", "current", "outdated", "not applied"),
        rows=(("shop", "mymod", 1, 1, 1), ("no cluster", "mymod", 0, 1, 0)),
    )


@pytest.mark.parametrize("by", BY)
@settings(max_examples=30)
@given(
    shapes=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from("12"), st.integers(0, 7)), max_size=12
    )
)
def test_counts_sum_up_to_all_pairs(by: By, shapes: list[tuple[str, str, str, int]]) -> None:
    modules = [builders.module(2, name="first"), builders.module(name="second")]
    clusters = [builders.cluster(name) for name in "ab"]
    ids = {cluster.name: cluster.id for cluster in clusters}
    instances = [
        builders.instance(f"db-{place}", cluster_id=ids.get(cluster), region=region, datastore_version=version)
        for place, (cluster, region, version, _) in enumerate(shapes)
    ]
    rows = [
        builders.row(module, one, 1 + bits % 2, observed="drifted" if bits & 4 else None)
        for one, (_, _, _, bits) in zip(instances, shapes, strict=True)
        for module in modules[: bits % 3]
    ]
    pairs = fleet_status.pairs(instances, modules, rows)
    found = counted(pairs, instances, by, *clusters)
    assert sum(number for _, _, number in found) == len(pairs) == len(instances) * len(modules)
    by_standing: Counter[str] = Counter()
    for _, standing, number in found:
        by_standing[standing] += number
    assert by_standing == fleet_status.totals(pairs)
    cells = [cell for row in laid_out(instances, modules, pairs, by, *clusters).rows for cell in row]
    numbers = [cell for cell in cells if isinstance(cell, int)]
    assert by == "instance" or sum(numbers) == len(pairs)


def test_groups_are_named_and_those_in_no_cluster_come_last() -> None:
    cluster = builders.cluster("shop")
    instances = [builders.instance("db-1"), builders.instance("db-2", cluster_id=cluster.id, datastore="mysql")]
    labels = {
        by: [group.label for group in dict.fromkeys(fleet_status.groups(instances, by, [cluster]).values())]
        for by in BY
    }
    assert labels == {
        "instance": ["db-1", "db-2"],
        "cluster": ["shop", "no cluster"],
        "version": ["mysql 7.0.15", "redis 7.0.15"],
        "datastore": ["mysql", "redis"],
        "region": ["RegionOne"],
    }


def test_things_that_are_called_alike_or_as_a_header_bear_their_ids() -> None:
    assert fleet_status.labels({"1": "db", "2": "web"}) == {"1": "db", "2": "web"}
    assert fleet_status.labels({"1": "db", "2": "db", "3": "Module"}) == {
        "1": "db (1)",
        "2": "db (2)",
        "3": "Module (3)",
    }
    posing = fleet_status.labels({"1": "db", "2": "db", "3": "db (1)"})
    assert len(set(posing.values())) == 3


def test_what_was_applied_to_a_silent_host_is_unknown() -> None:
    module = builders.module()
    silent, well, bare = (builders.instance(name) for name in ("db-1", "db-2", "db-3"))
    pairs = fleet_status.pairs([silent, well, bare], [module], [builders.row(module, one) for one in (silent, well)])
    found = fleet_status.looked_at(pairs, {silent.id: "timed out", bare.id: "timed out"})
    assert [(pair.instance.name, pair.standing, pair.message) for pair in found] == [
        ("db-1", "unknown", "timed out"),
        ("db-2", "current", ""),
    ]
