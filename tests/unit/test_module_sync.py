"""Modules as code: what is declared against what is registered is decided, then written: all of it or nothing."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from dbmod import errors, module_rules, module_sync, registry
from dbmod.context import Context
from dbmod.declaration import Declaration, Declared, Entry
from dbmod.module_sync import Decision
from dbmod.records import Module, Run, Source
from tests import builders
from tests.builders import ADMIN, REPLACE, STRANGER, TENANT, as_actor

Put = Callable[..., None]
SET = "payments/modules.yml"
COMMIT = "1a2b3c4d" * 5


def declared(name: str = "mymod", number: int = 1, **fields: Any) -> Declared:
    contents = fields.pop("data", builders.contents(number))
    entry = Entry(**({"name": name, "type": "ping", "contents": "ping.dat"} | fields))
    return Declared(entry=entry, contents=contents, sha256=hashlib.sha256(contents).hexdigest())


def registered(**changes: Any) -> Module:
    """Give a module as `declared` declares it."""
    return builders.module(**({"description": None, "live_update": False} | changes))


def decide(modules: Sequence[Module], *wanted: Declared, prune: bool = False) -> list[Decision]:
    return module_sync.decide(wanted, modules, declared_in=SET, tenant="default", prune=prune)


def told(decisions: Sequence[Decision]) -> list[tuple[Any, ...]]:
    return [(one.action, *one.changes) for one in decisions]


def declaration(*wanted: Declared, revision: str = COMMIT, is_dirty: bool = False) -> Declaration:
    return Declaration(source=Source(declared_in=SET, revision=revision, is_dirty=is_dirty), modules=wanted)


def sync(here: Context, *wanted: Declared, prune: bool = False, **source: Any) -> list[str]:
    """Plan and write; give what was done."""
    planned = module_sync.plan(here, declaration(*wanted, **source), prune=prune)
    module_sync.carry_out(here, planned)
    return [one.action for one in planned.steps]


def refused(here: Context, *wanted: Declared, prune: bool = False) -> errors.BadInput:
    """Plan what is refused, with nothing written."""
    before = stored(here)
    with pytest.raises(errors.BadInput) as refusal:
        sync(here, *wanted, prune=prune)
    assert stored(here) == before
    assert refusal.value.exit_code == 2
    return refusal.value


def stored(here: Context) -> dict[str, Module]:
    return {one.id: one for one in here.store.snapshot().find(Module)}


def living(here: Context, name: str) -> Module:
    [found] = here.store.snapshot().find(Module, name=name, deleted_at=None)
    return found


def hold(put: Put, module: Module) -> None:
    instance = builders.instance()
    put(instance, builders.row(module, instance))


# Deciding


def test_what_is_not_registered_is_created_and_what_is_the_same_is_unchanged() -> None:
    same = registered(declared_in=SET)
    decisions = decide([same], declared(), declared("other"))
    assert told(decisions) == [("unchanged",), ("create",)]
    assert [one.before for one in decisions] == [same, None]


def test_other_contents_are_an_update() -> None:
    assert told(decide([registered(declared_in=SET)], declared(number=2))) == [("update", "contents")]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("description", "what it is for"),
        ("auto_apply", True),
        ("hidden", True),
        ("live_update", True),
        ("priority_apply", True),
        ("apply_order", 3),
        ("full_access", True),
    ],
)
def test_each_field_that_differs_is_an_update_of_it(field: str, value: object) -> None:
    module = registered(declared_in=SET)
    [decision] = decide([module], declared(**{field: value}))
    assert told([decision]) == [("update", field)]
    assert decision.asked.asked() == {field: value}


def test_a_field_that_is_left_out_is_as_module_create_has_it() -> None:
    module = registered(live_update=True, description="by hand", apply_order=7, visible=False, declared_in=SET)
    [decision] = decide([module], declared())
    assert decision.asked.asked() == {"description": None, "hidden": False, "live_update": False, "apply_order": 5}


def test_full_access_that_is_left_out_stays_as_it_is() -> None:
    module = registered(full_access=True, is_admin=False, declared_in=SET)
    assert told(decide([module], declared())) == [("unchanged",)]


def test_a_module_made_by_hand_is_taken_over() -> None:
    assert told(decide([registered()], declared())) == [("update", "declared_in")]


@pytest.mark.parametrize("field", [{"type": "new_relic_license"}, {"datastore": "redis"}, {"tenant": None}])
def test_a_module_of_the_set_is_bound_anew_and_a_namesake_made_by_hand_is_left_alone(field: dict[str, Any]) -> None:
    module = registered(declared_in=SET, **field)
    [decision] = decide([module], declared())
    assert (decision.action, decision.before) == ("update", module)
    assert decision.changes == tuple({"tenant": "all_tenants"}.get(one, one) for one in field)
    assert told(decide([REPLACE(module, declared_in="")], declared())) == [("create",)]


def test_namesakes_that_cannot_be_told_apart_are_not_paired() -> None:
    redis, mysql = (registered(declared_in=SET, datastore=one) for one in ("redis", "mysql"))
    assert told(decide([redis, mysql], declared())) == [("create",), ("undeclared",), ("undeclared",)]
    assert told(decide([redis], declared(), declared(datastore="mysql"))) == [("create",), ("create",), ("undeclared",)]
    assert told(decide([redis, mysql], declared(datastore="redis"), declared())) == [
        ("unchanged",),
        ("update", "datastore"),
    ]


def test_only_modules_of_the_set_are_undeclared_and_only_prune_deletes_them() -> None:
    ours, others, by_hand = (registered(name=one, declared_in=one) for one in (SET, "other.yml", ""))
    assert [(one.action, one.before) for one in decide([others, by_hand, ours])] == [("undeclared", ours)]
    assert [(one.action, one.before) for one in decide([others, by_hand, ours], prune=True)] == [("delete", ours)]


# Writing


def test_a_module_bears_where_it_is_declared_and_its_version_the_revision(here: Context) -> None:
    assert sync(here, declared(datastore="redis", live_update=True), is_dirty=True) == ["create"]
    module = living(here, "mymod")
    assert (module.declared_in, module.datastore, module.live_update, module.md5) == (
        SET,
        "redis",
        True,
        builders.MD5[1],
    )
    assert module.current.source == Source(declared_in=SET, revision=COMMIT, is_dirty=True)
    assert here.store.read_contents(module.id, 1) == builders.contents(1)


def test_a_second_time_nothing_changes_not_even_the_ledgers_number(here: Context) -> None:
    wanted = (declared(), declared("other", 2, apply_order=1))
    sync(here, *wanted)
    before, serial = stored(here), here.store.snapshot().serial
    assert sync(here, *wanted, revision="another") == ["unchanged", "unchanged"]
    assert (stored(here), here.store.snapshot().serial) == (before, serial)


def test_unchanged_contents_keep_number_md5_and_source_when_something_else_changes(here: Context) -> None:
    sync(here, declared())
    version = living(here, "mymod").current
    assert sync(here, declared(description="new"), revision="another") == ["update"]
    assert (living(here, "mymod").current, living(here, "mymod").description) == (version, "new")


def test_other_contents_are_the_next_version_from_the_new_revision(here: Context) -> None:
    sync(here, declared())
    sync(here, declared(number=2), revision="another")
    module = living(here, "mymod")
    assert [(one.number, one.source.revision if one.source else None) for one in module.versions] == [
        (1, COMMIT),
        (2, "another"),
    ]
    assert here.store.read_contents(module.id, 2) == builders.contents(2)


def test_a_module_changed_by_hand_stays_declared_and_its_version_has_no_source(here: Context) -> None:
    sync(here, declared())
    registry.change(here, "mymod", registry.Change(), builders.contents(2))
    assert (living(here, "mymod").declared_in, living(here, "mymod").current.source) == (SET, None)


def test_a_plan_alone_changes_nothing(here: Context) -> None:
    sync(here, declared(), declared("gone"))
    before, serial = stored(here), here.store.snapshot().serial
    planned = module_sync.plan(here, declaration(declared(number=2), declared("other")), prune=True)
    assert [one.action for one in planned.steps] == ["update", "create", "delete"]
    assert planned.is_changing
    assert planned.steps[0].after.md5 == builders.MD5[2]
    assert (stored(here), here.store.snapshot().serial) == (before, serial)


def test_a_sync_is_one_run_in_the_history_with_its_reason(here: Context) -> None:
    sync(here, declared(), declared("gone"))
    serial = here.store.snapshot().serial
    sync(REPLACE(here, reason="ticket 7"), declared(number=2), declared("other"), prune=True)
    tables = here.store.snapshot()
    [run] = tables.find(Run, reason="ticket 7")
    names = {one.id: one.name for one in tables.find(Module)}
    assert (run.verb, run.actor, run.state, run.subject) == ("module-sync", "ada", "done", "3 modules")
    done = {names[key]: action for key, action in run.options["modules"].items()}
    assert done == {"mymod": "update", "other": "create", "gone": "delete"}
    assert run.serial == tables.serial == serial + 1


def test_prune_deletes_the_contents_too(here: Context) -> None:
    sync(here, declared())
    module = living(here, "mymod")
    assert sync(here, prune=True) == ["delete"]
    assert stored(here)[module.id].deleted_at
    with pytest.raises(errors.NotFound):
        here.store.read_contents(module.id, 1)


# All or nothing


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (declared("other", type="x"), "Module type 'x' was not found."),
        (declared("other", datastore="x"), "Datastore 'x' cannot be found."),
        (declared("other", datastore="redis", datastore_version="x"), "Datastore version 'x' cannot be found."),
        (declared("other", datastore_version="7"), "The version '7' needs its datastore."),
        (declared("other", data=b"no message"), "Could not extract ping message: line 1 has no '='"),
        (declared("other", data=b""), "The contents must hold some data"),
        (declared("other", apply_order=10), "The apply_order 10 is not valid."),
        (declared("other", description="\n"), "The description is not valid."),
        (declared("other", full_access=True, hidden=True), "Cannot make module full access: (Visible: False)"),
    ],
)
def test_one_that_is_refused_refuses_all_and_is_named(here: Context, bad: Declared, said: str) -> None:
    error = refused(here, declared(), bad)
    assert error.what == said
    assert error.details["declared"] == "other"


def test_a_module_that_is_declared_twice_is_refused(here: Context) -> None:
    assert refused(here, declared(), declared(number=2)).what.startswith("Module 'mymod' is declared twice")


def test_what_hosts_hold_is_guarded(here: Context, put: Put) -> None:
    sync(here, declared(), declared("live", live_update=True))
    hold(put, living(here, "mymod"))
    hold(put, living(here, "live"))
    assert refused(here, declared(number=2), declared("new")).what == module_rules.GUARD
    assert refused(here, declared("live", live_update=True), prune=True).what == module_rules.GUARD
    assert refused(here, declared(), prune=True).what == "Module 'live' is still held by 1 instance(s)."
    assert sync(here, declared(description="harmless"), declared("live", 2, live_update=True)) == ["update", "update"]


def test_a_tenant_needs_an_admin_for_what_module_create_would_need_one(here: Context) -> None:
    tenant = as_actor(here, TENANT)
    assert "You must be admin to create" in refused(tenant, declared(all_tenants=True)).what
    sync(here, declared())
    assert "You must be admin to update" in refused(tenant, declared(number=2)).what
    assert sync(tenant, declared()) == ["unchanged"]


def test_a_set_is_a_tenants_own(here: Context) -> None:
    sync(as_actor(here, STRANGER), declared())
    assert sync(here, declared()) == ["create"]
    assert sync(as_actor(here, STRANGER), prune=True) == ["delete"]
    assert living(here, "mymod").tenant == "default"


def test_modules_of_all_tenants_are_an_admins(here: Context) -> None:
    sync(here, declared(all_tenants=True))
    assert sync(as_actor(here, TENANT)) == []
    assert sync(as_actor(here, ADMIN)) == ["undeclared"]


def test_a_hidden_namesake_is_a_duplicate_for_a_tenant(here: Context) -> None:
    registry.create(here, registry.Request(name="mymod", type="ping", hidden=True), builders.contents(1))
    assert "A module with the name 'mymod' already exists" in refused(as_actor(here, TENANT), declared()).what


def test_a_plan_older_than_the_registry_is_refused(here: Context) -> None:
    planned = module_sync.plan(here, declaration(declared()), prune=False)
    registry.create(here, registry.Request(name="mymod", type="ping"), builders.contents(2))
    with pytest.raises(errors.Refused, match="The registry has changed meanwhile"):
        module_sync.carry_out(here, planned)
    assert living(here, "mymod").declared_in == ""


def test_what_hosts_came_to_hold_meanwhile_refuses_the_whole_plan(here: Context, put: Put) -> None:
    sync(here, declared("held"))
    planned = module_sync.plan(here, declaration(declared("new"), declared("held", 2)), prune=False)
    hold(put, living(here, "held"))
    before = stored(here)
    with pytest.raises(errors.Refused) as refusal:
        module_sync.carry_out(here, planned)
    assert (refusal.value.what, refusal.value.details["declared"]) == (module_rules.GUARD, "held")
    assert stored(here) == before
    with pytest.raises(errors.NotFound):
        here.store.read_contents(planned.steps[0].after.id, 1)


def test_a_version_given_by_its_id_is_the_same_the_second_time(here: Context) -> None:
    from dbmod import datastores

    number = datastores.versions("redis")[-1]
    wanted = declared(datastore="redis", datastore_version=datastores.version_id("redis", number))
    assert sync(here, wanted) == ["create"]
    assert sync(here, wanted) == ["unchanged"]
    assert living(here, "mymod").datastore_version == number


def test_what_a_plan_says_is_counted_and_told_line_by_line(here: Context) -> None:
    sync(here, declared(), declared("gone"))
    planned = module_sync.plan(here, declaration(declared(number=2, datastore="redis"), declared("new")), prune=False)
    assert module_sync.counts(planned) == "1 created, 1 updated, 1 undeclared"
    assert [module_sync.line(one) for one in planned.steps] == [
        f"update mymod (ping, redis), md5 {builders.MD5[2]}: datastore, contents",
        f"create new (ping, all), md5 {builders.MD5[1]}",
        f"undeclared gone (ping, all), md5 {builders.MD5[1]}",
    ]
    assert module_sync.counts(module_sync.plan(as_actor(here, STRANGER), declaration(), prune=False)) == "no modules"
