"""Modules and their versions: create, change, delete."""

import base64
import hashlib
from datetime import datetime
from typing import Any

import msgspec

from dbmod import clock, conflicts, errors, history, ids, lookup, module_rules, module_types
from dbmod.context import Context
from dbmod.identity import Actor
from dbmod.records import Module, Source, Version
from dbmod.store.interface import Store, Tables


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What module-create asks for."""

    name: str
    type: str
    description: str | None = None
    datastore: str | None = None
    datastore_version: str | None = None
    auto_apply: bool = False
    all_tenants: bool = False
    hidden: bool = False
    live_update: bool = False
    priority_apply: bool = False
    apply_order: int = 5
    full_access: bool | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What module-update asks for; UNSET leaves a thing as it is, None as a datastore means all."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    type: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType | None = msgspec.UNSET
    datastore: str | msgspec.UnsetType | None = msgspec.UNSET
    datastore_version: str | msgspec.UnsetType | None = msgspec.UNSET
    auto_apply: bool | msgspec.UnsetType = msgspec.UNSET
    all_tenants: bool | msgspec.UnsetType = msgspec.UNSET
    hidden: bool | msgspec.UnsetType = msgspec.UNSET
    live_update: bool | msgspec.UnsetType = msgspec.UNSET
    priority_apply: bool | msgspec.UnsetType = msgspec.UNSET
    apply_order: int | msgspec.UnsetType = msgspec.UNSET
    full_access: bool | msgspec.UnsetType = msgspec.UNSET

    def asked(self) -> dict[str, Any]:
        """Give the fields that were asked for."""
        values = {field: getattr(self, field) for field in self.__struct_fields__}
        return {field: value for field, value in values.items() if value is not msgspec.UNSET}


def create(context: Context, request: Request, contents: bytes, *, validate: bool = True) -> Module:
    """Register a module with its first contents.

    validate  ask the type whether the contents are good before any host sees them
    Raises    BadInput, Refused, LedgerError; nothing is written then
    """
    module = new(context, context.store.snapshot(), request, contents, validate=validate)
    with context.transaction("module-create") as tables:
        put_new(context, tables, module, contents)
        _note(context, tables, "module-create", module.id, versions_between(None, module))
    return module


def new(
    context: Context,
    tables: Tables,
    request: Request,
    contents: bytes,
    *,
    source: Source | None = None,
    validate: bool = True,
) -> Module:
    """Give the module that a request asks for, not yet registered.

    source  where it is declared; None: it is made by hand
    Raises  BadInput, Refused
    """
    actor, settings = context.actor, context.settings
    type_name = request.type.lower()
    module_rules.refuse_bad_fields(request.name, request.description, request.apply_order)
    module_type = module_types.find(settings, type_name)
    module_rules.refuse_power(module_type, actor=actor, action="create")
    datastore, version = module_rules.datastore_of(tables, settings, request.datastore, request.datastore_version)
    _refuse_admin_options(request, actor=actor, action="create")
    module_rules.refuse_bad_contents(module_type, contents, settings=settings, validate=validate)
    now = clock.now()
    return Module(
        id=ids.new_id(),
        name=request.name,
        type=type_name,
        tenant=None if request.all_tenants else actor.tenant,
        datastore=datastore,
        datastore_version=version,
        description=request.description,
        auto_apply=request.auto_apply,
        visible=not request.hidden,
        live_update=request.live_update,
        priority_apply=request.priority_apply,
        apply_order=request.apply_order,
        is_admin=actor.admin and not request.full_access,
        full_access=bool(request.full_access),
        created_at=now,
        updated_at=now,
        versions=(version_of(contents, number=1, author=actor.name, created_at=now, source=source),),
        declared_in=source.declared_in if source else "",
    )


def put_new(context: Context, tables: Tables, module: Module, contents: bytes) -> None:
    """Write what `new` gave, with its contents, into an open transaction. Raises Refused for a duplicate."""
    module_rules.refuse_duplicate(tables, module)
    context.store.write_contents(module.id, 1, contents)
    tables.put(module)


def change(context: Context, reference: str, asked: Change, contents: bytes | None, *, validate: bool = True) -> Module:
    """Change a module; other contents become its next version.

    Raises  BadInput, Refused, LedgerError; nothing is written then
    """
    if not asked.asked() and contents is None:
        raise errors.BadInput("Nothing to change was given.", next_step="dbmod module-update --help")
    changed(context, context.store.snapshot(), reference, asked, contents, validate=validate)
    with context.transaction("module-update") as tables:  # types and servers were asked above, without the lock
        before, after = changed(context, tables, reference, asked, contents, validate=False)
        put_changed(context, tables, before, after, contents)
        _note(context, tables, "module-update", after.id, versions_between(before, after))
    return after


def changed(
    context: Context,
    tables: Tables,
    reference: str,
    asked: Change,
    contents: bytes | None,
    *,
    source: Source | None = None,
    validate: bool = True,
) -> tuple[Module, Module]:
    """Give a module before and after a change, not yet written.

    source  where it is declared; None: it is changed by hand, and stays declared where it was
    Raises  BadInput, Refused
    """
    actor, settings = context.actor, context.settings
    before = lookup.module(tables, reference, actor=actor)
    if before.is_admin and not actor.admin:
        raise errors.Refused("You must be admin to update a module with these options. (Module is an admin module)")
    after = _changed(before, asked, actor=actor)
    if source:
        after = msgspec.structs.replace(after, declared_in=source.declared_in)
    module_rules.refuse_bad_fields(after.name, after.description, after.apply_order)
    module_type = module_types.find(settings, after.type)
    module_rules.refuse_power(module_type, actor=actor, action="update")
    if (after.datastore, after.datastore_version) != (before.datastore, before.datastore_version):
        datastore, version = module_rules.datastore_of(tables, settings, after.datastore, after.datastore_version)
        after = msgspec.structs.replace(after, datastore=datastore, datastore_version=version)
    _refuse_admin_options(_as_request(after, asked), actor=actor, action="update")
    if after.full_access and (options := _admin_options(_as_request(after, asked))):
        raise errors.Refused(f"Cannot make module full access: ({', '.join(options)})")
    if contents is not None:
        module_rules.refuse_bad_contents(module_type, contents, settings=settings, validate=validate)
        after = _with_contents(after, contents, author=actor.name, source=source)
    elif after.type != before.type and validate:
        module_types.validate(module_type, context.store.read_contents(before.id, before.current.number))
    return before, after


def put_changed(context: Context, tables: Tables, before: Module, after: Module, contents: bytes | None) -> None:
    """Write what `changed` gave into an open transaction. Raises Refused where hosts or a duplicate forbid it."""
    module_rules.refuse_change_of_held(tables, before, after)
    module_rules.refuse_duplicate(tables, after)
    if contents is not None and (
        after.current.number != before.current.number or not _is_readable(context.store, before)
    ):
        context.store.write_contents(after.id, after.current.number, contents)
    tables.put(after)


def delete(context: Context, reference: str, *, force: bool) -> Module:
    """Delete a module and its contents.

    force  also while hosts hold it: rows and contents stay, so that it can still be listed and removed
    """
    with context.transaction("module-delete") as tables:
        module = lookup.module(tables, reference, actor=context.actor)
        refuse_delete(tables, module, actor=context.actor, force=force)
        put_deleted(tables, module)
        _note(context, tables, "module-delete", module.id, versions_between(module, None))
        holding = module_rules.holders(tables, module)
    if not holding:
        context.store.delete_contents(module.id)
    return module


def refuse_delete(tables: Tables, module: Module, *, actor: Actor, force: bool = False) -> None:
    """Refuse to delete what is an admin's, what a run works on, and without *force* what hosts hold."""
    if module.is_admin and not actor.admin:
        raise errors.Refused("You must be admin to delete a module with these options. (Module is an admin module)")
    _refuse_admin_options(_as_request(module, Change()), actor=actor, action="delete")
    conflicts.refuse_while_worked_on(tables, module)
    module_rules.refuse_delete_of_held(tables, module, force=force)


def put_deleted(tables: Tables, module: Module) -> None:
    """Mark a module as deleted in an open transaction; its contents go when that has ended."""
    tables.put(msgspec.structs.replace(module, deleted_at=clock.now()))


def version_of(
    contents: bytes, *, number: int, author: str, created_at: datetime, source: Source | None = None
) -> Version:
    """Describe contents as a version.

    Source  the md5 is Trove's: of the base64 text on one line, not of the file
    """
    return Version(
        number=number,
        md5=hashlib.md5(base64.b64encode(contents), usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(contents).hexdigest(),
        size_bytes=len(contents),
        author=author,
        created_at=created_at,
        source=source,
    )


def versions_between(before: Module | None, after: Module | None) -> list[int | None]:
    """Give the numbers of a module's current versions before and after a change, as the history keeps them."""
    return [one.current.number if one else None for one in (before, after)]


def _note(context: Context, tables: Tables, verb: str, module_id: str, versions: list[int | None]) -> None:
    history.note(
        tables,
        verb,
        actor=context.actor.name,
        reason=context.reason,
        module_id=module_id,
        options={"versions": {module_id: versions}},
    )


def _is_readable(store: Store, module: Module) -> bool:
    """Tell whether the present contents are whole; the same contents given again mend what is damaged."""
    try:
        store.read_contents(module.id, module.current.number)
    except errors.DbmodError:
        return False
    return True


def _changed(before: Module, asked: Change, *, actor: Actor) -> Module:
    values = asked.asked()
    if "type" in values:
        values["type"] = values["type"].lower()
    if "datastore" in values and values["datastore"] is None:
        values.setdefault("datastore_version", None)
    if "hidden" in values:
        values["visible"] = not values.pop("hidden")
    if "all_tenants" in values:
        values["tenant"] = None if values.pop("all_tenants") else (before.tenant or actor.tenant)
    if "full_access" in values:
        values["is_admin"] = not values["full_access"]
    return msgspec.structs.replace(before, updated_at=clock.now(), **values)


def _with_contents(module: Module, contents: bytes, *, author: str, source: Source | None) -> Module:
    version = version_of(
        contents, number=module.current.number + 1, author=author, created_at=module.updated_at, source=source
    )
    if version.sha256 == module.current.sha256:
        return module
    return msgspec.structs.replace(module, versions=(*module.versions, version))


def _as_request(module: Module, asked: Change) -> Request:
    return Request(
        name=module.name,
        type=module.type,
        auto_apply=module.auto_apply,
        all_tenants=module.tenant is None,
        hidden=not module.visible,
        priority_apply=module.priority_apply,
        full_access=None if asked.full_access is msgspec.UNSET else asked.full_access,
    )


def _admin_options(request: Request) -> list[str]:
    return [
        text
        for given, text in (
            (request.all_tenants, "Tenant: all"),
            (request.auto_apply, "Auto: True"),
            (request.hidden, "Visible: False"),
            (request.priority_apply, "Priority: True"),
        )
        if given
    ]


def _refuse_admin_options(request: Request, *, actor: Actor, action: str) -> None:
    options = _admin_options(request)
    if request.full_access and options:
        raise errors.Refused(f"Cannot make module full access: ({', '.join(options)})")
    if request.full_access is not None:
        options.append(f"Full Access: {request.full_access}")
    if options and not actor.admin:
        raise errors.Refused(f"You must be admin to {action} a module with these options. ({', '.join(options)})")
