"""Modules and their versions: create, change, delete, and the rules that guard them."""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from dbmod import clock, config, datastores, errors, ids, ledger, lookup, module_types, names, providers
from dbmod.context import Context
from dbmod.identity import Actor
from dbmod.records import Instance, Module, Row, Version
from dbmod.store.interface import Store, Tables

GUARD = (
    "A module cannot be deleted or its contents modified if it has been applied to a non-terminated instance, "
    "unless the module has been marked as 'live_update.' "
    "Please remove the module from all non-terminated instances and try again."
)
APPLY_ORDERS = range(10)
HARMLESS = {"name", "description", "apply_order", "updated_at"}  # what may change while hosts hold a fixed module


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
    description: str | msgspec.UnsetType = msgspec.UNSET
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
    actor, settings = context.actor, context.settings
    type_name = request.type.lower()
    _refuse_bad_fields(request.name, request.description, request.apply_order)
    module_type = module_types.find(settings, type_name)
    tables = context.store.snapshot()
    datastore, version = _datastore_of(tables, settings, request.datastore, request.datastore_version)
    _refuse_admin_options(request, actor=actor, action="create")
    _refuse_bad_contents(module_type, contents, settings=settings, validate=validate)
    now = clock.now()
    module = Module(
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
        versions=(version_of(contents, number=1, author=actor.name, created_at=now),),
    )
    with context.transaction("module-create") as tables:
        _refuse_duplicate(tables, module)
        context.store.write_contents(module.id, 1, contents)
        tables.put(module)
        ledger.note(tables, "module-create", actor=actor.name, reason=context.reason, module_id=module.id)
    return module


def change(context: Context, reference: str, asked: Change, contents: bytes | None, *, validate: bool = True) -> Module:
    """Change a module; other contents become its next version.

    Raises  BadInput, Refused, LedgerError; nothing is written then
    """
    if not asked.asked() and contents is None:
        raise errors.BadInput("Nothing to change was given.", next_step="dbmod module-update --help")
    _checked_change(context, context.store.snapshot(), reference, asked, contents, validate=validate)
    with context.transaction("module-update") as tables:  # types and servers were asked above, without the lock
        before, after = _checked_change(context, tables, reference, asked, contents, validate=False)
        _refuse_change_of_held(tables, before, after)
        _refuse_duplicate(tables, after)
        if contents is not None and (
            after.current.number != before.current.number or not _is_readable(context.store, before)
        ):
            context.store.write_contents(after.id, after.current.number, contents)
        tables.put(after)
        ledger.note(tables, "module-update", actor=context.actor.name, reason=context.reason, module_id=after.id)
    return after


def delete(context: Context, reference: str, *, force: bool) -> Module:
    """Delete a module and its contents.

    force  also while hosts hold it: rows and contents stay, so that it can still be listed and removed
    """
    actor = context.actor
    with context.transaction("module-delete") as tables:
        module = lookup.module(tables, reference, actor=actor)
        if module.is_admin and not actor.admin:
            raise errors.Refused("You must be admin to delete a module with these options. (Module is an admin module)")
        _refuse_admin_options(_as_request(module, Change()), actor=actor, action="delete")
        ledger.refuse_while_worked_on(tables, module)
        holding = holders(tables, module)
        if holding and not module.live_update:
            raise errors.Refused(GUARD, details=_where(module, holding))
        if holding and not force:
            raise errors.Refused(
                f"Module '{module.name}' is still held by {len(holding)} instance(s).",
                details=_where(module, holding),
                next_step="module-remove it there, or module-delete --force to forget it here and keep the rows",
            )
        tables.put(msgspec.structs.replace(module, deleted_at=clock.now()))
        ledger.note(tables, "module-delete", actor=actor.name, reason=context.reason, module_id=module.id)
    if not holding:
        context.store.delete_contents(module.id)
    return module


def holders(tables: Tables, module: Module) -> list[Row]:
    """Give the rows of the instances that hold *module* in any version."""
    return [row for row in tables.find(Row, module_id=module.id, removed_at=None) if row.held is not None]


def version_of(contents: bytes, *, number: int, author: str, created_at: datetime) -> Version:
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
    )


def _is_readable(store: Store, module: Module) -> bool:
    """Tell whether the present contents are whole; the same contents given again mend what is damaged."""
    try:
        store.read_contents(module.id, module.current.number)
    except errors.DbmodError:
        return False
    return True


def _checked_change(
    context: Context, tables: Tables, reference: str, asked: Change, contents: bytes | None, *, validate: bool
) -> tuple[Module, Module]:
    """Give a module before and after a change, or refuse it."""
    actor, settings = context.actor, context.settings
    before = lookup.module(tables, reference, actor=actor)
    if before.is_admin and not actor.admin:
        raise errors.Refused("You must be admin to update a module with these options. (Module is an admin module)")
    after = _changed(before, asked, actor=actor)
    _refuse_bad_fields(after.name, after.description, after.apply_order)
    module_type = module_types.find(settings, after.type)
    if (after.datastore, after.datastore_version) != (before.datastore, before.datastore_version):
        datastore, version = _datastore_of(tables, settings, after.datastore, after.datastore_version)
        after = msgspec.structs.replace(after, datastore=datastore, datastore_version=version)
    _refuse_admin_options(_as_request(after, asked), actor=actor, action="update")
    if after.full_access and (options := _admin_options(_as_request(after, asked))):
        raise errors.Refused(f"Cannot make module full access: ({', '.join(options)})")
    if contents is not None:
        _refuse_bad_contents(module_type, contents, settings=settings, validate=validate)
        after = _with_contents(after, contents, author=actor.name)
    elif after.type != before.type and validate:
        module_types.validate(module_type, context.store.read_contents(before.id, before.current.number))
    return before, after


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


def _with_contents(module: Module, contents: bytes, *, author: str) -> Module:
    version = version_of(contents, number=module.current.number + 1, author=author, created_at=module.updated_at)
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


def _refuse_bad_fields(name: str, description: str | None, apply_order: int) -> None:
    if not names.is_valid_name(name):
        raise errors.BadInput(
            f"The name {name[:300]!r} is not valid.",
            next_step="use 1 to 255 characters with a letter or digit, no control character, no `/`, not `.` or `..`",
        )
    if description is not None and not names.is_valid_text(description):
        raise errors.BadInput(
            "The description is not valid.",
            next_step="use 1 to 255 characters with a letter or digit and no control character",
        )
    if apply_order not in APPLY_ORDERS:
        raise errors.BadInput(f"The apply_order {apply_order} is not valid.", next_step="use a number from 0 to 9")


def _datastore_of(
    tables: Tables, settings: config.Settings, datastore: str | None, version: str | None
) -> tuple[str | None, str | None]:
    """Check both together. Returns the datastore's and the version's name, None for all."""
    if datastore is None:
        if version is not None:
            raise errors.BadInput(f"The version '{version}' needs its datastore.", next_step="add --datastore")
        return None, None
    datastores.describe(datastore)
    return datastore, _version_of(tables, settings, datastore, version) if version is not None else None


def _version_of(tables: Tables, settings: config.Settings, datastore: str, version: str) -> str:
    """Find a version that an instance has, or that could be created."""
    present = sorted({one.datastore_version for one in tables.find(Instance, datastore=datastore, deleted_at=None)})
    try:
        return datastores.choose_version(datastore, version, present)
    except errors.NotFound:
        if not providers.describe(settings.provider).creates:
            raise
        return providers.check_version(settings, settings.provider, datastore, version)


def _refuse_bad_contents(
    module_type: module_types.ModuleType, contents: bytes, *, settings: config.Settings, validate: bool
) -> None:
    if not contents:
        raise errors.BadInput("The contents must hold some data")
    if len(contents) > settings.contents_limit_bytes:
        raise errors.BadInput(
            f"The contents are too large: {len(contents)} bytes, the limit is {settings.contents_limit_bytes}.",
            next_step="set contents_limit_bytes, up to 67108864",
        )
    if validate:
        module_types.validate(module_type, contents)


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


def _refuse_duplicate(tables: Tables, module: Module) -> None:
    def scope(one: Module) -> tuple[str | None, ...]:
        return one.name, one.type, one.tenant, one.datastore, one.datastore_version

    twins: Iterable[Module] = tables.find(Module, name=module.name, deleted_at=None)
    if any(scope(twin) == scope(module) and twin.id != module.id for twin in twins):
        raise errors.Refused(
            f"A module with the name '{module.name}' already exists for datastore '{module.datastore or 'all'}' "
            f"and datastore version '{module.datastore_version or 'all'}'"
        )


def _refuse_change_of_held(tables: Tables, before: Module, after: Module) -> None:
    changed = {
        field for field in before.__struct_fields__ if getattr(before, field) != getattr(after, field)
    } - HARMLESS
    if after.live_update:
        changed.discard("live_update")
    if before.live_update:
        changed &= {"type"}  # the host keeps a module under its type: another type would leave the old one behind
    if not changed:
        return
    holding = holders(tables, before)
    if holding:
        raise errors.Refused(GUARD, details=_where(before, holding) | {"changes": ", ".join(sorted(changed))})


def _where(module: Module, holding: list[Row]) -> dict[str, str]:
    return {
        "module": f"{module.name} ({module.type})",
        "state": f"held by {len(holding)} instance(s): dbmod module-instances {module.id} --include_clustered",
    }
