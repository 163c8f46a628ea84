"""Modules: every rule of SEMANTICS §3 on create, update and delete, with its words."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from dbmod import datastores, errors, module_rules, registry
from dbmod.context import Context
from dbmod.identity import Actor
from dbmod.records import Module, Run
from dbmod.registry import Change, Request
from tests import builders
from tests.builders import ADMIN, REPLACE, STRANGER, TENANT, as_actor

Put = Callable[..., None]
BAD_NAMES = ["", " ", ".", "..", "a/b", "a\nb", "a\0", "-", "x" * 256]
ADMIN_OPTIONS = [
    ({"all_tenants": True}, "(Tenant: all)"),
    ({"auto_apply": True}, "(Auto: True)"),
    ({"hidden": True}, "(Visible: False)"),
    ({"priority_apply": True}, "(Priority: True)"),
    ({"full_access": True}, "(Full Access: True)"),
    ({"full_access": False}, "(Full Access: False)"),
    ({"all_tenants": True, "auto_apply": True}, "(Tenant: all, Auto: True)"),
    (
        {"all_tenants": True, "auto_apply": True, "hidden": True, "priority_apply": True, "full_access": False},
        "(Tenant: all, Auto: True, Visible: False, Priority: True, Full Access: False)",
    ),
]


def create(
    here: Context, number: int = 1, *, actor: Actor = ADMIN, contents: bytes | None = None, **asked: Any
) -> Module:
    request = Request(**({"name": "mymod", "type": "ping"} | asked))
    data = builders.contents(number) if contents is None else contents
    return registry.create(as_actor(here, actor), request, data)


def change(here: Context, module: Module, number: int | None = None, *, actor: Actor = ADMIN, **asked: Any) -> Module:
    contents = builders.contents(number) if number else None
    return registry.change(as_actor(here, actor), module.id, Change(**asked), contents)


def refused(work: Callable[..., Any], *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(errors.BadInput) as refusal:
        work(*arguments, **keywords)
    assert refusal.value.exit_code == 2
    return refusal.value.what


def stored(here: Context) -> list[Module]:
    return here.store.snapshot().find(Module)


def hold(put: Put, module: Module, number: int = 1, **changes: Any) -> None:
    instance = builders.instance()
    put(instance, builders.row(module, instance, number, **changes))


# Create


def test_a_module_is_created_with_its_first_version_and_the_guides_md5(here: Context) -> None:
    module = create(here, live_update=True, description="a b")
    assert stored(here) == [module]
    assert (module.md5, module.current.number, module.current.size_bytes) == (builders.MD5[1], 1, 18)
    assert module.current.sha256 == builders.sha256(1)
    assert (module.tenant, module.is_admin, module.visible, module.apply_order) == ("default", True, True, 5)
    assert (module.auto_apply, module.priority_apply, module.live_update) == (False, False, True)
    assert here.store.read_contents(module.id, 1) == builders.contents(1)


@pytest.mark.parametrize("number", builders.MD5)
def test_md5_is_of_the_base64_text_as_the_guide_shows(number: int) -> None:
    assert builders.version(number).md5 == builders.MD5[number]


def test_the_type_is_kept_in_lower_case(here: Context) -> None:
    assert create(here, type="PiNg").type == "ping"


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bad_name_or_description_is_refused(here: Context, name: str) -> None:
    assert "is not valid" in refused(create, here, name=name)
    module = create(here)
    assert "is not valid" in refused(change, here, module, name=name)
    if "/" not in name:
        assert refused(create, here, name="other", description=name) == "The description is not valid."
    assert stored(here) == [module]


def test_an_unknown_type_is_refused(here: Context) -> None:
    assert refused(create, here, type="x") == "Module type 'x' was not found."
    assert refused(change, here, create(here), type="x") == "Module type 'x' was not found."


def test_an_unknown_datastore_or_version_is_refused(here: Context) -> None:
    assert refused(create, here, datastore="x") == "Datastore 'x' cannot be found."
    said = refused(create, here, datastore="redis", datastore_version="x")
    assert said == "Datastore version 'x' cannot be found."
    assert stored(here) == []


def test_a_version_without_its_datastore_is_refused(here: Context) -> None:
    assert refused(create, here, datastore_version="7") == "The version '7' needs its datastore."


def test_a_version_can_be_named_by_its_id(here: Context) -> None:
    number = datastores.versions("redis")[-1]
    module = create(here, datastore="redis", datastore_version=datastores.version_id("redis", number))
    assert (module.datastore, module.datastore_version) == ("redis", number)


def test_a_duplicate_is_refused_with_names(here: Context) -> None:
    number = datastores.versions("redis")[-1]
    create(here)
    assert refused(create, here) == (
        "A module with the name 'mymod' already exists for datastore 'all' and datastore version 'all'"
    )
    create(here, datastore="redis", datastore_version=number)
    assert refused(create, here, datastore="redis", datastore_version=number) == (
        f"A module with the name 'mymod' already exists for datastore 'redis' and datastore version '{number}'"
    )


def test_the_name_alone_need_not_be_unique(here: Context) -> None:
    create(here)
    create(here, datastore="redis")
    create(here, type="new_relic_license", contents=b"license_key=0123456789")
    create(here, all_tenants=True)
    create(here, actor=STRANGER)
    assert len(stored(here)) == 5


def test_a_deleted_modules_name_is_free_again(here: Context) -> None:
    registry.delete(here, create(here).id, force=False)
    assert create(here).deleted_at is None


def test_an_update_into_a_duplicate_is_refused(here: Context) -> None:
    create(here)
    other = create(here, name="other")
    assert "A module with the name 'mymod' already exists" in refused(change, here, other, name="mymod")


def test_contents_have_one_byte_to_the_limit(here: Context) -> None:
    assert refused(create, here, contents=b"") == "The contents must hold some data"
    small = msgspec.structs.replace(here, settings=msgspec.structs.replace(here.settings, contents_limit_bytes=20))
    create(small, contents=b"message=" + b"x" * 12)
    said = refused(create, small, name="other", contents=b"message=" + b"x" * 13)
    assert said == "The contents are too large: 21 bytes, the limit is 20."


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"other=1\n", "Message not found in contents file"),
        (b"no line\n", "Could not extract ping message: line 1 has no '='"),
        (bytes(1 << 20), "Could not extract ping message: the contents are not text (a zero byte)"),
        (b"message=\xff", "Could not extract ping message: the contents are not UTF-8 text (byte 8)"),
    ],
)
def test_a_bad_payload_is_refused_by_its_type_at_create_and_update(here: Context, contents: bytes, said: str) -> None:
    assert refused(create, here, contents=contents) == said
    module = create(here)
    settings = here.settings
    assert refused(registry.change, REPLACE(here, settings=settings), module.id, Change(), contents) == said
    assert stored(here) == [module]


def test_validation_can_be_skipped(here: Context) -> None:
    request = Request(name="m", type="ping")
    module = registry.create(here, request, b"\xff", validate=False)
    assert here.store.read_contents(module.id, 1) == b"\xff"
    changed = registry.change(here, module.id, Change(), b"\0", validate=False)
    assert changed.current.number == 2


@pytest.mark.parametrize("order", [-1, 10])
def test_the_apply_order_is_from_0_to_9(here: Context, order: int) -> None:
    assert refused(create, here, apply_order=order) == f"The apply_order {order} is not valid."
    assert refused(change, here, create(here), apply_order=order) == f"The apply_order {order} is not valid."


# Admin-only options


@pytest.mark.parametrize(("asked", "options"), ADMIN_OPTIONS)
def test_admin_only_options_are_refused_to_a_tenant_who_is_told_them_all(
    here: Context, asked: dict[str, bool], options: str
) -> None:
    said = refused(create, here, actor=TENANT, **asked)
    assert said == f"You must be admin to create a module with these options. {options}"
    module = create(here, actor=TENANT)
    said = refused(change, here, module, actor=TENANT, **asked)
    assert said == f"You must be admin to update a module with these options. {options}"
    assert stored(here) == [module]


def test_full_access_with_any_other_is_refused_for_an_admin_too(here: Context) -> None:
    said = refused(create, here, full_access=True, auto_apply=True)
    assert said == "Cannot make module full access: (Auto: True)"
    said = refused(create, here, full_access=True, all_tenants=True, hidden=True, priority_apply=True)
    assert said == "Cannot make module full access: (Tenant: all, Visible: False, Priority: True)"
    assert refused(change, here, create(here, auto_apply=True), full_access=True).endswith("(Auto: True)")


def test_a_full_access_module_takes_no_other_option_later(here: Context) -> None:
    module = create(here, full_access=True)
    assert refused(change, here, module, all_tenants=True) == "Cannot make module full access: (Tenant: all)"
    assert change(here, module, all_tenants=True, full_access=False).is_admin


def test_is_admin_means_made_by_an_admin_unless_full_access(here: Context) -> None:
    assert create(here, name="a").is_admin
    assert not create(here, name="b", full_access=True).is_admin
    assert create(here, name="c", full_access=False).is_admin
    own = create(here, name="d", actor=TENANT)
    assert not own.is_admin
    assert not change(here, create(here, name="e"), full_access=True).is_admin


# Update


def test_nothing_to_change_is_an_error(here: Context) -> None:
    assert refused(change, here, create(here)) == "Nothing to change was given."


def test_every_field_can_be_changed_and_unset_leaves_it(here: Context) -> None:
    module = create(here, description="old")
    number = datastores.versions("redis")[-1]
    asked = {
        "name": "new", "description": "d", "datastore": "redis", "datastore_version": number, "auto_apply": True,
        "live_update": True, "priority_apply": True, "apply_order": 9,
    }  # fmt: skip
    changed = change(here, module, hidden=True, all_tenants=True, **asked)
    assert {field: getattr(changed, field) for field in asked} == asked
    assert (changed.visible, changed.tenant) == (False, None)
    back = change(here, changed, hidden=False, all_tenants=False, auto_apply=False)
    assert (back.visible, back.tenant, back.auto_apply, back.priority_apply) == (True, "default", False, True)
    assert (back.id, back.created_at, back.versions) == (module.id, module.created_at, module.versions)


def test_other_contents_become_the_next_version_and_all_versions_are_kept(here: Context) -> None:
    module = change(here, change(here, create(here), 2), 3)
    assert [(one.number, one.md5) for one in module.versions] == [(n, builders.MD5[n]) for n in (1, 2, 3)]
    assert [here.store.read_contents(module.id, n) for n in (1, 2, 3)] == [builders.contents(n) for n in (1, 2, 3)]


def test_the_same_contents_leave_md5_and_number(here: Context, put: Put) -> None:
    module = create(here)
    hold(put, module)
    assert change(here, module, 1).versions == module.versions


@pytest.mark.parametrize(
    "asked",
    [
        {"auto_apply": True}, {"hidden": True}, {"all_tenants": True}, {"priority_apply": True}, {"datastore": "redis"},
        {"full_access": True}, {"name": "x", "auto_apply": True}, {"live_update": True, "auto_apply": True},
    ],
    ids=str,
)  # fmt: skip
def test_a_held_module_without_live_update_cannot_be_changed(here: Context, put: Put, asked: dict[str, Any]) -> None:
    module = create(here)
    hold(put, module)
    assert refused(change, here, module, **asked) == module_rules.GUARD
    assert refused(change, here, module, 2, live_update=True) == module_rules.GUARD
    assert stored(here) == [module]


def test_the_guard_has_troves_words() -> None:
    assert module_rules.GUARD == (
        "A module cannot be deleted or its contents modified if it has been applied to a non-terminated instance, "
        "unless the module has been marked as 'live_update.' Please remove the module from all non-terminated "
        "instances and try again."
    )


def test_the_guard_looks_at_every_version_not_only_the_current(here: Context, put: Put) -> None:
    module = change(here, create(here), 2)
    hold(put, module, number=1)
    assert refused(change, here, module, 3) == module_rules.GUARD
    assert refused(registry.delete, here, module.id, force=True) == module_rules.GUARD


def test_description_name_apply_order_and_switching_live_update_on_are_allowed_while_held(
    here: Context, put: Put
) -> None:
    module = create(here)
    hold(put, module)
    changed = change(here, module, description="d", name="n", apply_order=0)
    assert (changed.description, changed.name, changed.apply_order) == ("d", "n", 0)
    live = change(here, module, live_update=True)
    assert change(here, live, 2).current.number == 2


def test_a_removed_or_never_applied_module_is_not_held(here: Context, put: Put) -> None:
    module = create(here)
    hold(put, module, held=None, removed_at=builders.LATER)
    hold(put, module, held=None, last_attempt="error", status="ERROR")
    assert change(here, module, 2).current.number == 2


def test_a_live_update_module_may_change_but_not_its_type_while_held(here: Context, put: Put) -> None:
    module = create(here, live_update=True)
    hold(put, module)
    settings = here.settings
    work = registry.change
    asked, license_key = Change(type="new_relic_license"), b"license_key=0123456789"
    assert refused(work, REPLACE(here, settings=settings), module.id, asked, license_key) == module_rules.GUARD
    assert not change(here, module, 2, live_update=False).live_update


def test_the_type_can_be_changed_where_the_contents_are_good_for_it(here: Context) -> None:
    module = create(here)
    assert refused(change, here, module, type="new_relic_license") == "'license_key' not found in contents file"
    both = create(here, name="both", contents=b"message=a\nlicense_key=0123456789\n")
    assert change(here, both, type="New_Relic_License").type == "new_relic_license"


def test_a_tenant_may_not_change_or_delete_an_admins_module(here: Context) -> None:
    module = create(here)
    assert refused(change, here, module, actor=TENANT, name="x") == (
        "You must be admin to update a module with these options. (Module is an admin module)"
    )
    assert refused(registry.delete, as_actor(here, TENANT), module.id, force=False) == (
        "You must be admin to delete a module with these options. (Module is an admin module)"
    )


def test_a_tenant_may_not_delete_what_an_admin_gave_to_all_tenants(here: Context) -> None:
    module = change(here, create(here, actor=TENANT), all_tenants=True)
    assert refused(registry.delete, as_actor(here, STRANGER), module.id, force=False) == (
        "You must be admin to delete a module with these options. (Tenant: all)"
    )


def test_a_tenant_changes_and_deletes_its_own_and_full_access_modules(here: Context) -> None:
    for module in (create(here, actor=TENANT), create(here, name="f", full_access=True)):
        assert change(here, module, 2, actor=TENANT, name=f"{module.name}2").current.author == "tom"
        registry.delete(as_actor(here, TENANT), module.id, force=False)
        assert refused(change, here, module, name="x") == f"No module with a name or ID of '{module.id}' exists."


def test_what_a_tenant_cannot_see_does_not_exist_for_it(here: Context) -> None:
    hidden = create(here, hidden=True)
    for actor in (TENANT, STRANGER):
        said = refused(change, here, hidden, actor=actor, name="x")
        assert said == f"No module with a name or ID of '{hidden.id}' exists."


def test_a_datastore_is_checked_together_with_the_version_that_is_set(here: Context) -> None:
    number = datastores.versions("redis")[-1]
    module = create(here, datastore="redis", datastore_version=number)
    assert refused(change, here, module, datastore="mysql") == f"Datastore version '{number}' cannot be found."
    said = refused(change, here, module, datastore=None, datastore_version=number)
    assert said == f"The version '{number}' needs its datastore."
    both = change(here, module, datastore="mysql", datastore_version=datastores.versions("mysql")[-1])
    assert both.datastore == "mysql"
    every = change(here, both, datastore=None)
    assert (every.datastore, every.datastore_version) == (None, None)


def test_a_module_of_a_version_that_is_not_installed_any_more_can_still_be_changed(here: Context, put: Put) -> None:
    old = builders.module(datastore="redis", datastore_version="3.2.6")
    put(old)
    assert change(here, old, description="d").datastore_version == "3.2.6"


# Delete


def test_a_deleted_module_is_gone_with_its_contents(here: Context) -> None:
    module = create(here)
    registry.delete(here, "mymod", force=False)
    assert [one.deleted_at is not None for one in stored(here)] == [True]
    with pytest.raises(errors.NotFound):
        here.store.read_contents(module.id, 1)


def test_a_held_live_update_module_is_deleted_by_force_only_and_rows_and_contents_stay(here: Context, put: Put) -> None:
    module = create(here, live_update=True)
    hold(put, module)
    said = refused(registry.delete, here, module.id, force=False)
    assert said == "Module 'mymod' is still held by 1 instance(s)."
    registry.delete(here, module.id, force=True)
    assert len(module_rules.holders(here.store.snapshot(), module)) == 1
    assert here.store.read_contents(module.id, 1) == builders.contents(1)


def test_a_refused_delete_leaves_everything(here: Context, put: Put) -> None:
    module = create(here)
    hold(put, module)
    before = here.store.snapshot().serial
    assert refused(registry.delete, here, module.id, force=False) == module_rules.GUARD
    assert here.store.snapshot().serial == before
    assert len(module_rules.holders(here.store.snapshot(), module)) == 1


def test_every_change_of_the_registry_is_kept_in_the_history_with_its_reason(here: Context) -> None:
    request = Request(name="mymod", type="ping")
    module = registry.create(REPLACE(here, reason="one"), request, builders.contents(1))
    registry.change(REPLACE(here, reason="two"), "mymod", Change(name="new"), None)
    registry.delete(REPLACE(here, reason="three"), "new", force=False)
    runs = sorted(here.store.snapshot().find(Run), key=lambda run: run.serial)
    assert [(run.verb, run.reason, run.module_id, run.actor, run.state) for run in runs] == [
        ("module-create", "one", module.id, "ada", "done"),
        ("module-update", "two", module.id, "ada", "done"),
        ("module-delete", "three", module.id, "ada", "done"),
    ]


def test_the_same_contents_given_again_mend_damaged_ones(here: Context) -> None:
    module = create(here)
    here.store.delete_contents(module.id, 1)
    changed = registry.change(here, module.id, Change(), builders.contents(1))
    assert changed.current.number == 1
    assert here.store.read_contents(module.id, 1) == builders.contents(1)


def test_only_an_admin_registers_and_changes_what_does_anything_on_a_host(here: Context) -> None:
    tenant = builders.as_actor(here, builders.TENANT)
    request = registry.Request(name="mine", type="script", live_update=True)
    script = b"#!/bin/sh\necho hello\n"
    with pytest.raises(errors.Refused, match="You must be admin to create a module of the type 'script'"):
        registry.create(tenant, request, script)
    shared = registry.create(here, msgspec.structs.replace(request, full_access=True), script)
    assert not shared.is_admin
    with pytest.raises(errors.Refused, match="You must be admin to update a module of the type 'script'"):
        registry.change(tenant, "mine", registry.Change(), b"#!/bin/sh\nid\n")
