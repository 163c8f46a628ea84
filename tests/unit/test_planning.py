"""What a run will do: standing, due, order, fit, batches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbmod import errors, planning
from dbmod.records import Instance
from tests import builders
from tests.builders import LATER, REPLACE

INSTANCE = builders.instance()
MODULE = builders.module(versions=2)


@pytest.mark.parametrize(
    ("changes", "number", "expected"),
    [
        ({}, 2, "current"),
        ({}, 1, "outdated"),
        ({"last_attempt": "error", "status": "ERROR"}, 2, "failed"),
        ({"last_attempt": "error", "status": "ERROR"}, 1, "failed"),
        ({"observed": "drifted"}, 2, "drifted"),
        ({"observed": "missing"}, 2, "missing"),
        ({"observed": "unknown"}, 2, "unknown"),
        ({"observed": "in sync"}, 2, "current"),
        ({"observed": "in sync", "last_attempt": "error"}, 2, "failed"),
        ({"held": None, "held_md5": None, "held_sha256": None, "last_attempt": "error"}, 1, "failed"),
    ],
)
def test_standing(changes: dict[str, object], number: int, expected: str) -> None:
    row = builders.row(MODULE, INSTANCE, number, **changes)
    assert planning.standing(row, MODULE) == expected
    assert planning.is_current(row, MODULE) == (expected == "current")


def test_a_failed_apply_is_never_current_even_with_the_current_version_held() -> None:
    row = builders.row(MODULE, INSTANCE, 2, last_attempt="error")
    assert row.held == MODULE.current.number
    assert not planning.is_current(row, MODULE)


def test_due_are_those_that_are_not_current_and_by_force_all_but_the_removed() -> None:
    current = builders.row(MODULE, builders.instance("a"), 2)
    outdated = builders.row(MODULE, builders.instance("b"), 1)
    failed = builders.row(MODULE, builders.instance("c"), 2, last_attempt="error")
    drifted = builders.row(MODULE, builders.instance("d"), 2, observed="drifted")
    removed = builders.row(MODULE, builders.instance("e"), 1, removed_at=LATER)
    rows = [drifted, current, outdated, removed, failed]
    assert planning.due(rows, MODULE) == [drifted, outdated, failed]
    assert planning.due(rows, MODULE, force=True) == [drifted, current, outdated, failed]
    assert planning.due(rows, MODULE, md5=builders.MD5[1]) == [outdated]
    assert planning.due(rows, MODULE, md5=builders.MD5[2]) == [drifted, failed]
    assert planning.due(rows, MODULE, md5=builders.MD5[2], force=True) == [drifted, current, failed]
    assert planning.due(rows, MODULE, md5="0" * 32, force=True) == []


def test_modules_go_by_priority_then_apply_order_then_name() -> None:
    def named(name: str, **changes: object) -> object:
        return builders.module(name=name, **changes)

    wanted = [
        named("z", priority_apply=True, apply_order=1),
        named("a", priority_apply=True, apply_order=9),
        named("y", apply_order=0),
        named("b", apply_order=5),
        named("c", apply_order=5),
        named("a", apply_order=9),
    ]
    assert planning.in_order(reversed(wanted)) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("datastore", "version", "expected"),
    [
        (None, None, None),
        ("redis", None, None),
        ("redis", "7.0", None),
        ("mysql", None, "Module 'mymod' cannot be applied (Wrong datastore 'mysql' - expected 'redis')"),
        ("mysql", "7.0", "Module 'mymod' cannot be applied (Wrong datastore 'mysql' - expected 'redis')"),
        ("redis", "6.0", "Module 'mymod' cannot be applied (Wrong datastore version '6.0' - expected '7.0')"),
    ],
)
def test_a_module_of_another_datastore_or_version_is_refused_with_names(
    datastore: str | None, version: str | None, expected: str | None
) -> None:
    good, module = builders.module(name="good"), builders.module(datastore=datastore, datastore_version=version)
    assert planning.fits(module, datastore="redis", datastore_version="7.0") == (expected is None)
    if expected is None:
        planning.refuse_misfits([good, module], datastore="redis", datastore_version="7.0")
        return
    with pytest.raises(errors.Refused) as refusal:
        planning.refuse_misfits([good, module], datastore="redis", datastore_version="7.0")
    assert refusal.value.what == expected
    assert refusal.value.exit_code == 2


def test_a_provider_refuses_a_type_whose_needs_it_cannot_meet() -> None:
    met = {"m": planning.Needs(offers=("root",)), "n": planning.Needs(datastores=("redis",))}
    planning.refuse_unmet_needs(met, ("root",), provider="local", datastore="redis")
    with pytest.raises(errors.Refused) as refusal:
        unmet = {"m": planning.Needs(offers=("systemd", "root"))}
        planning.refuse_unmet_needs(unmet, ("disk",), provider="local", datastore="redis")
    assert refusal.value.what == (
        "Module 'm' cannot be applied (needs root and systemd, which the provider 'local' does not offer)"
    )


def test_a_new_instance_gets_the_auto_apply_modules_that_fit_tenant_and_datastore() -> None:
    chosen = [
        builders.module(auto_apply=True),
        builders.module(auto_apply=True, tenant=None, datastore="redis", datastore_version="7.0"),
        builders.module(auto_apply=True, visible=False),
    ]
    others = [
        builders.module(),
        builders.module(auto_apply=True, tenant="other"),
        builders.module(auto_apply=True, datastore="mysql"),
        builders.module(auto_apply=True, datastore="redis", datastore_version="6.0"),
        builders.module(auto_apply=True, deleted_at=LATER),
    ]
    found = planning.fitting([*others, *chosen], datastore="redis", datastore_version="7.0", tenant="default")
    assert found == chosen


def names_of(batches: list[list[Instance]]) -> list[str]:
    return [" ".join(one.name for one in batch) for batch in batches]


def test_batches_keep_the_order_and_the_size() -> None:
    singles = [builders.instance(name) for name in "abcdefg"]
    assert names_of(planning.batches(singles, sizes=(3,))) == ["a b c", "d e f", "g"]
    assert names_of(planning.batches(singles, sizes=(1,))) == list("abcdefg")
    assert names_of(planning.batches(singles, sizes=(50,))) == ["a b c d e f g"]
    assert planning.batches([], sizes=(5,)) == []


def test_a_batch_has_at_most_one_member_of_a_cluster() -> None:
    members = [builders.instance(f"m{number}", cluster_id="c") for number in (1, 2, 3)]
    singles = [builders.instance(name) for name in "ab"]
    assert names_of(planning.batches([*members, *singles], sizes=(50,))) == ["m1 a b", "m2", "m3"]
    assert names_of(planning.batches([*members, *singles], sizes=(2,))) == ["m1 a", "m2 b", "m3"]


@settings(max_examples=50, deadline=None, database=None)
@given(st.lists(st.sampled_from([None, "c", "d"]), max_size=20), st.integers(1, 6))
def test_batches_hold_everything_once_within_the_rules(clusters: list[str | None], size: int) -> None:
    instances = [builders.instance(str(number), cluster_id=one) for number, one in enumerate(clusters)]
    spread = planning.batches(instances, sizes=(size,))
    assert sorted(one.id for batch in spread for one in batch) == sorted(one.id for one in instances)
    for batch in spread:
        assert 1 <= len(batch) <= size
        members = [one.cluster_id for one in batch if one.cluster_id]
        assert len(members) == len(set(members))
        assert batch == sorted(batch, key=instances.index)


@given(st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.booleans()), max_size=40), st.integers(1, 5))
def test_replicas_are_in_earlier_batches_than_all_others(hosts: list[tuple[str | None, bool]], size: int) -> None:
    instances = [builders.instance(f"db-{number}", cluster_id=one[0]) for number, one in enumerate(hosts)]
    replicas = {one.id for one, (_, copies) in zip(instances, hosts, strict=True) if copies}
    spread = planning.replicas_first(instances, replicas, sizes=(1, size))
    kinds = [{one.id in replicas for one in batch} for batch in spread]
    assert kinds == sorted(kinds, key=lambda kind: kind != {True})
    assert all(len(kind) == 1 for kind in kinds)
    assert sorted(one.id for batch in spread for one in batch) == sorted(one.id for one in instances)
    for number, batch in enumerate(spread):
        clusters = [one.cluster_id for one in batch if one.cluster_id]
        assert (len(batch) <= (size if number else 1), len(clusters)) == (True, len(set(clusters)))


def test_the_plan_says_for_each_host_its_batch_place_and_modules_in_order() -> None:
    first, second = builders.instance("first"), builders.instance("second")
    one, two = builders.module(versions=2, name="one"), builders.module(name="two")
    work = [
        planning.Work(instance=second, module=one, number=2, from_number=1),
        planning.Work(instance=first, module=one, number=2),
        planning.Work(instance=second, module=two, number=1),
    ]
    plan = planning.attempts("r", work, [[first], [second]])
    told = [(one.instance_id, one.module_id, one.batch, one.position, one.order, one.number) for one in plan]
    assert told == [
        (first.id, one.id, 1, 0, 0, 2),
        (second.id, one.id, 2, 1, 0, 2),
        (second.id, two.id, 2, 1, 1, 1),
    ]
    assert [attempt.sha256 for attempt in plan] == [builders.sha256(2), builders.sha256(2), builders.sha256(1)]
    assert {attempt.state for attempt in plan} == {"planned"}
    assert [attempt.from_number for attempt in plan] == [None, 1, None]


def test_a_question_to_a_whole_host_names_no_module() -> None:
    plan = planning.attempts("r", [planning.Work(instance=INSTANCE, module=None)], [[INSTANCE]])
    assert [(one.module_id, one.number, one.sha256) for one in plan] == [("", 0, "")]


def test_a_module_of_contents_it_had_before_is_current_where_those_are_held() -> None:
    back = builders.module(versions=(2))
    back = REPLACE(back, versions=(*back.versions, REPLACE(back.versions[0], number=3)))
    assert planning.standing(builders.row(back, INSTANCE, 1), back) == "current"
