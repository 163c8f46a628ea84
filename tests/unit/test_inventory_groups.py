"""From the fleet to groups: names of users become checked group names, and two of them never one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbmod import inventory, inventory_groups
from dbmod.records import Cluster, Instance, Module, Row
from tests import builders

HOSTILE = "{{ lookup('pipe', 'touch CANARY') }}"
VALID = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def built(
    *instances: Instance,
    clusters: tuple[Cluster, ...] = (),
    modules: tuple[Module, ...] = (),
    rows: tuple[Row, ...] = (),
) -> dict[str, list[str]]:
    return inventory_groups.build(
        instances, host_names=inventory.host_names(instances), clusters=clusters, modules=modules, rows=rows
    )


def in_groups(identifier: str) -> str:
    return identifier.replace("-", "_")


def test_a_host_is_in_a_group_for_each_thing_that_hosts_share() -> None:
    cluster = builders.cluster("shop-cache")
    alone = builders.instance("db-1")
    member = builders.instance(
        "db-2", cluster_id=cluster.id, region="eu-west.1", tenant="sales", status="ERROR", datastore="mysql",
        datastore_version="10.11.6", provider="ssh",
    )  # fmt: skip
    assert built(alone, member, clusters=(cluster,)) == {
        "datastore_redis": ["db-1"],
        "datastore_mysql": ["db-2"],
        "version_redis_7_0_15": ["db-1"],
        "version_mysql_10_11_6": ["db-2"],
        "provider_local": ["db-1"],
        "provider_ssh": ["db-2"],
        "region_RegionOne": ["db-1"],
        "region_eu_west_1": ["db-2"],
        "cluster_shop_cache": ["db-2"],
        "tenant_default": ["db-1"],
        "tenant_sales": ["db-2"],
        "status_ACTIVE": ["db-1"],
        "status_ERROR": ["db-2"],
    }


def test_a_module_has_the_hosts_that_hold_it_those_that_are_behind_and_those_where_it_failed() -> None:
    current, behind, failed, never, removed, drifted = (builders.instance(f"db-{number}") for number in range(6))
    module = builders.module(2)
    found = built(
        current, behind, failed, never, removed, drifted,
        modules=(module,),
        rows=(
            builders.row(module, current, 2),
            builders.row(module, behind, 1),
            builders.row(module, failed, 1, last_attempt="error"),
            builders.row(module, never, held=None, held_md5=None, held_sha256=None, last_attempt="error"),
            builders.row(module, drifted, 2, observed="drifted"),
            builders.row(module, builders.instance("gone"), 1),
            builders.row(builders.module(), removed, 1),
        ),
    )  # fmt: skip
    assert {name: hosts for name, hosts in found.items() if name.startswith("module_")} == {
        "module_mymod": ["db-0", "db-1", "db-2", "db-5"],
        "module_mymod_outdated": ["db-1"],
        "module_mymod_failed": ["db-2", "db-3"],
    }


def test_a_module_that_nobody_holds_has_its_groups_with_no_host_in_them() -> None:
    assert built(modules=(builders.module(),)) == {
        "module_mymod": [],
        "module_mymod_outdated": [],
        "module_mymod_failed": [],
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [("my-mod", "my.mod"), ("my_mod", "my-mod"), ("twin", "twin"), ("mymod", "mymod_failed"), ("x_outdated", "x")],
)
def test_modules_whose_groups_would_be_the_same_go_by_their_ids(one: str, other: str) -> None:
    modules = (builders.module(name=one), builders.module(name=other), builders.module(name="third"))
    host = builders.instance("db-1")
    found = built(host, modules=modules, rows=(builders.row(modules[0], host),))
    assert {name for name in found if name.startswith("module_")} == {
        f"module_{word}{ending}"
        for word in (in_groups(modules[0].id), in_groups(modules[1].id), "third")
        for ending in ("", "_outdated", "_failed")
    }
    assert found[f"module_{in_groups(modules[0].id)}"] == ["db-1"]
    assert found[f"module_{in_groups(modules[1].id)}"] == []


def test_a_module_named_like_another_ones_groups_takes_nothing_from_it() -> None:
    victim = builders.module(name=HOSTILE)
    thieves = tuple(
        builders.module(name=name)
        for name in (victim.id, in_groups(victim.id), f"{victim.id}_failed", f"{in_groups(victim.id)}-failed")
    )
    host = builders.instance("db-1")
    found = built(host, modules=(victim, *thieves), rows=tuple(builders.row(one, host) for one in thieves))
    assert found[f"module_{in_groups(victim.id)}"] == found[f"module_{in_groups(victim.id)}_failed"] == []
    assert all(found[f"module_{in_groups(thief.id)}"] == ["db-1"] for thief in thieves)


def test_values_without_an_id_that_are_not_plain_or_not_one_s_own_go_by_a_digest() -> None:
    regions = (HOSTILE, "eu-1", "eu.1", "ü", "north east", "eu-2")
    hosts = [builders.instance(f"db-{number}", region=region) for number, region in enumerate(regions)]
    found = {name: members for name, members in built(*hosts).items() if name.startswith("region_")}
    assert found.pop("region_eu_2") == ["db-5"]
    assert sorted(found.values()) == [["db-0"], ["db-1"], ["db-2"], ["db-3"], ["db-4"]]
    assert all(re.fullmatch(r"region_[0-9a-f]{12}", name) for name in found)


def test_a_cluster_that_is_not_in_the_ledger_goes_by_its_id() -> None:
    cluster = builders.cluster()
    assert f"cluster_{in_groups(cluster.id)}" in built(builders.instance(cluster_id=cluster.id))


@given(st.lists(st.text(min_size=1, max_size=12) | st.text("ab-._", min_size=1, max_size=4), max_size=6))
def test_whatever_the_names_are_groups_are_valid_and_each_has_its_own(texts: list[str]) -> None:
    clusters = tuple(builders.cluster(text) for text in texts)
    hosts = tuple(
        builders.instance("host", region=text, tenant=text, datastore_version=text, cluster_id=cluster.id)
        for text, cluster in zip(texts, clusters, strict=True)
    )
    modules = tuple(builders.module(name=text) for text in texts)
    found = built(*hosts, clusters=clusters, modules=modules, rows=tuple(map(builders.row, modules, hosts)))
    assert all(VALID.match(name) for name in found)
    for kind, different in (("cluster", len(texts)), ("tenant", len(set(texts))), ("region", len(set(texts)))):
        assert sum(name.startswith(f"{kind}_") for name in found) == different
    assert sum(name.startswith("module_") for name in found) == 3 * len(texts)


@pytest.mark.parametrize("name", ["module_mymod", "datastore_redis", "cluster_"])
def test_an_instance_that_is_named_like_a_group_goes_by_its_id(name: str) -> None:
    instance = builders.instance(name)
    assert inventory.host_names([instance]) == {instance.id: instance.id}


def test_an_instance_whose_name_no_group_can_bear_keeps_it() -> None:
    instance = builders.instance("cluster_db-1")
    assert inventory.host_names([instance]) == {instance.id: "cluster_db-1"}
