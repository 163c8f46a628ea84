"""Versions of a module: named by number or md5, compared, counted, and taken back."""

from collections.abc import Callable

import pytest

from dbmod import errors, lookup, module_rules, module_versions, operations, registry
from dbmod.context import Context
from dbmod.records import Attempt, Module
from dbmod.selection import Selection
from tests import builders
from tests.builders import TENANT, as_actor

Put = Callable[..., None]
SECRET = b"license_key=0123456789012345678901234567890123456789\n"


@pytest.fixture
def module(here: Context) -> Module:
    """A module with two versions."""
    request = registry.Request(name="mymod", type="ping", live_update=True)
    made = registry.create(here, request, builders.contents(1))
    return registry.change(here, made.id, registry.Change(), builders.contents(2))


def test_a_version_is_named_by_its_number_or_the_beginning_of_its_md5(module: Module) -> None:
    first, second = module.versions
    assert lookup.version(module, "2") == second
    assert lookup.version(module, first.md5) == first
    assert lookup.version(module, first.md5[:6].upper()) == first
    for text in ("3", "0", first.md5[:5], "latest", ""):
        with pytest.raises(errors.NotFound, match="has no version"):
            lookup.version(module, text)


def test_difference_is_of_the_last_two_unless_said(here: Context, module: Module) -> None:
    shown = ["--- mymod version 1", "+++ mymod version 2", "@@ -1 +1 @@", "-message=Module.V1", "+message=Module.V2"]
    assert module_versions.difference(here, "mymod", None, None) == shown
    turned = module_versions.difference(here, "mymod", "2", module.versions[0].md5)
    assert turned[3:] == ["-message=Module.V2", "+message=Module.V1"]
    assert module_versions.difference(here, "mymod", "1", "1") == []
    with pytest.raises(errors.Refused, match="has none before it"):
        module_versions.difference(here, "mymod", None, "1")


def test_contents_that_are_secret_or_an_admins_are_not_shown(here: Context, module: Module) -> None:
    key = registry.create(here, registry.Request(name="key", type="new_relic_license"), SECRET)
    registry.change(here, key.id, registry.Change(), SECRET.replace(b"01234", b"54321"))
    with pytest.raises(errors.Refused, match="are secret") as refusal:
        module_versions.difference(here, "key", None, None)
    assert "0123456789" not in str(refusal.value)
    with pytest.raises(errors.Refused, match="must be admin"):
        module_versions.difference(as_actor(here, TENANT), module.id, None, None)


def test_rollback_makes_old_contents_the_newest_version(here: Context, module: Module) -> None:
    after = module_versions.rollback(here, "mymod", "1")
    assert [one.number for one in after.versions] == [1, 2, 3]
    assert after.current.sha256 == module.versions[0].sha256
    assert here.store.read_contents(module.id, 3) == builders.contents(1)
    with pytest.raises(errors.Refused, match="are the present ones"):
        module_versions.rollback(here, "mymod", "3")
    with pytest.raises(errors.Refused, match="are the present ones"):
        module_versions.rollback(here, "mymod", "1")


def test_an_earlier_version_can_be_applied_to_instances(here: Context, module: Module, put: Put) -> None:
    instances = [builders.instance(f"db-{number}") for number in (1, 2)]
    other = builders.module(name="other")
    put(other, *instances, builders.row(module, instances[0], 2))
    planned = operations.plan_apply(here, Selection(all=True), ["mymod"], version="1")
    assert planned.run
    attempts = here.store.snapshot().find(Attempt, run_id=planned.run.id)
    assert {(one.number, one.sha256) for one in attempts} == {(1, module.versions[0].sha256)}
    assert [row.held for row in module_rules.holders(here.store.snapshot(), module)] == [2]
    with pytest.raises(errors.BadInput, match="goes with one module"):
        operations.plan_apply(here, Selection(all=True), ["mymod", "other"], version="1")
    with pytest.raises(errors.NotFound, match="has no version '7'"):
        operations.plan_apply(here, Selection(all=True), ["mymod"], version="7")
