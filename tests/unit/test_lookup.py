"""Finding by id first, then by exact name."""

from collections.abc import Callable

import pytest

from dbmod import errors, lookup
from dbmod.store.interface import Store
from tests import builders
from tests.builders import ADMIN, STRANGER, TENANT

Put = Callable[..., None]


def test_none_and_several_have_the_words_of_the_specification(empty_ledger: Store, put: Put) -> None:
    twins = builders.module(name="twin"), builders.module(name="twin", type="new_relic_license")
    put(*twins)
    tables = empty_ledger.snapshot()
    for find, noun in ((lookup.module, "module"), (lookup.instance, "instance"), (lookup.cluster, "cluster")):
        with pytest.raises(errors.NotFound) as none:
            find(tables, "x", actor=ADMIN)
        assert none.value.what == f"No {noun} with a name or ID of 'x' exists."
    with pytest.raises(errors.NotUnique) as several:
        lookup.module(tables, "twin", actor=ADMIN)
    assert several.value.what == "Multiple module matches found for 'twin', use an ID to be more specific."
    assert several.value.details["matches"] == ", ".join(sorted(twin.id for twin in twins))


def test_an_id_comes_before_a_name_and_only_the_exact_name_counts(empty_ledger: Store, put: Put) -> None:
    one = builders.instance("db")
    named_like_it = builders.instance(one.id)
    put(one, named_like_it)
    tables = empty_ledger.snapshot()
    assert lookup.instance(tables, one.id, actor=ADMIN) == one
    assert lookup.instance(tables, "db", actor=ADMIN) == one
    for reference in ("DB", "d", "db ", one.id[:8]):
        with pytest.raises(errors.NotFound):
            lookup.instance(tables, reference, actor=ADMIN)


def test_all_instances_are_searched_cluster_members_too(empty_ledger: Store, put: Put) -> None:
    many = [builders.instance(f"db-{number}", cluster_id="c" if number > 50 else None) for number in range(100)]
    put(*many)
    assert lookup.instance(empty_ledger.snapshot(), "db-99", actor=ADMIN) == many[99]


def test_what_belongs_to_another_tenant_does_not_exist(empty_ledger: Store, put: Put) -> None:
    module, instance, cluster = builders.module(), builders.instance(), builders.cluster()
    put(module, instance, cluster)
    tables = empty_ledger.snapshot()
    for reference in (module.id, module.name):
        assert lookup.module(tables, reference, actor=TENANT) == module
        with pytest.raises(errors.NotFound):
            lookup.module(tables, reference, actor=STRANGER)
    with pytest.raises(errors.NotFound):
        lookup.instance(tables, instance.id, actor=STRANGER)
    with pytest.raises(errors.NotFound):
        lookup.cluster(tables, cluster.id, actor=STRANGER)
    assert lookup.living_instances(tables, actor=STRANGER) == []
    assert lookup.living_instances(tables, actor=TENANT) == [instance]


def test_what_is_deleted_is_not_found(empty_ledger: Store, put: Put) -> None:
    gone = builders.instance("gone", deleted_at=builders.LATER, status="DELETED")
    put(
        gone,
        builders.cluster("gone", deleted_at=builders.LATER),
        builders.module(name="gone", deleted_at=builders.LATER),
    )
    tables = empty_ledger.snapshot()
    for find in (lookup.module, lookup.instance, lookup.cluster):
        with pytest.raises(errors.NotFound):
            find(tables, "gone", actor=ADMIN)


def test_a_module_deleted_by_force_is_found_while_hosts_hold_it(empty_ledger: Store, put: Put) -> None:
    old = [builders.module(deleted_at=builders.LATER) for _ in range(2)]
    held, instance = builders.module(deleted_at=builders.LATER), builders.instance()
    put(*old, held, instance, builders.row(held, instance))
    assert lookup.module(empty_ledger.snapshot(), "mymod", actor=ADMIN, deleted=True) == held
    put(builders.row(held, instance, removed_at=builders.LATER, held=None))
    with pytest.raises(errors.NotFound):
        lookup.module(empty_ledger.snapshot(), "mymod", actor=ADMIN, deleted=True)


def test_a_module_made_anew_is_not_confused_with_one_of_its_name_that_was_deleted(
    empty_ledger: Store, put: Put
) -> None:
    new = builders.module()
    put(builders.module(deleted_at=builders.LATER), new)
    assert lookup.module(empty_ledger.snapshot(), "mymod", actor=ADMIN, deleted=True) == new


def test_runs_are_found_by_the_beginning_of_their_id(empty_ledger: Store, put: Put) -> None:
    one, two = builders.run(id="abcd1234-x"), builders.run(id="abcd5678-x")
    put(one, two)
    tables = empty_ledger.snapshot()
    assert lookup.run(tables, "abcd1234-x") == one
    assert lookup.run(tables, "abcd5") == two
    with pytest.raises(errors.NotUnique, match="Multiple run matches found for 'abcd'"):
        lookup.run(tables, "abcd")
    for reference in ("abc", "bcd1", ""):
        with pytest.raises(errors.NotFound, match=f"No run with an ID of '{reference}' exists."):
            lookup.run(tables, reference)
