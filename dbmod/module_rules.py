"""The rules that guard modules and their versions: what is refused, in which words."""

from collections.abc import Iterable

from dbmod import clock, config, datastores, errors, module_types, names, providers
from dbmod.identity import Actor
from dbmod.module_types import ModuleType
from dbmod.records import Instance, Module, Row, Version
from dbmod.store.interface import Tables

GUARD = (
    "A module cannot be deleted or its contents modified if it has been applied to a non-terminated instance, "
    "unless the module has been marked as 'live_update.' "
    "Please remove the module from all non-terminated instances and try again."
)
APPLY_ORDERS = range(10)
# What may change while hosts hold a fixed module.
HARMLESS = {"name", "description", "apply_order", "updated_at", "declared_in"}


def refuse_bad_name(name: str) -> None:
    if not names.is_valid_name(name):
        raise errors.BadInput(
            f"The name {name[:300]!r} is not valid.",
            next_step="use 1 to 255 characters with a letter or digit, no control character, no `/`, not `.` or `..`",
        )


def refuse_bad_fields(name: str, description: str | None, apply_order: int) -> None:
    refuse_bad_name(name)
    if description is not None and not names.is_valid_text(description):
        raise errors.BadInput(
            "The description is not valid.",
            next_step="use 1 to 255 characters with a letter or digit and no control character",
        )
    if apply_order not in APPLY_ORDERS:
        raise errors.BadInput(f"The apply_order {apply_order} is not valid.", next_step="use a number from 0 to 9")


def datastore_of(
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


def refuse_power(module_type: ModuleType, *, actor: Actor, action: str) -> None:
    """Refuse a type whose contents do on the host whatever they say to those who are not admin."""
    if module_type.declares.admin and not actor.admin:
        raise errors.Refused(
            f"You must be admin to {action} a module of the type '{module_type.name}'.",
            next_step="dbmod module-type-list shows the others",
        )


def refuse_bad_contents(
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


def refuse_pruned(module: Module, version: Version) -> None:
    """Refuse to use contents that were pruned."""
    if version.pruned_at:
        raise errors.Refused(
            f"The contents of version {version.number} of module '{module.name}' were pruned, "
            f"{clock.seconds(version.pruned_at)}.",
            next_step=f"dbmod module-versions {module.name} shows the others; "
            f"or give them again: dbmod module-update {module.name} --file FILE",
        )


def scope(one: Module) -> tuple[str | None, ...]:
    """Give what no two living modules share."""
    return one.name, one.type, one.tenant, one.datastore, one.datastore_version


def refuse_duplicate(tables: Tables, module: Module) -> None:
    """Refuse what another living module is already."""
    twins: Iterable[Module] = tables.find(Module, name=module.name, deleted_at=None)
    if any(scope(twin) == scope(module) and twin.id != module.id for twin in twins):
        raise errors.Refused(
            f"A module with the name '{module.name}' already exists for datastore '{module.datastore or 'all'}' "
            f"and datastore version '{module.datastore_version or 'all'}'"
        )


def holders(tables: Tables, module: Module) -> list[Row]:
    """Give the rows of the instances that hold *module* in any version."""
    return [row for row in tables.find(Row, module_id=module.id, removed_at=None) if row.held is not None]


def refuse_change_of_held(tables: Tables, before: Module, after: Module) -> None:
    """Refuse a change of what hosts hold, unless it is harmless or the module may be changed live."""
    altered = {
        field for field in before.__struct_fields__ if getattr(before, field) != getattr(after, field)
    } - HARMLESS
    if after.live_update:
        altered.discard("live_update")
    if before.live_update:
        altered &= {"type"}  # the host keeps a module under its type: another type would leave the old one behind
    if not altered:
        return
    holding = holders(tables, before)
    if holding:
        raise errors.Refused(GUARD, details=_where(before, holding) | {"changes": ", ".join(sorted(altered))})


def refuse_delete_of_held(tables: Tables, module: Module, *, force: bool) -> None:
    """Refuse to delete what hosts hold; *force* lets a module go that may be changed live."""
    holding = holders(tables, module)
    if holding and not module.live_update:
        raise errors.Refused(GUARD, details=_where(module, holding))
    if holding and not force:
        raise errors.Refused(
            f"Module '{module.name}' is still held by {len(holding)} instance(s).",
            details=_where(module, holding),
            next_step="module-remove it there, or module-delete --force to forget it here and keep the rows",
        )


def _where(module: Module, holding: list[Row]) -> dict[str, str]:
    return {
        "module": f"{module.name} ({module.type})",
        "state": f"held by {len(holding)} instance(s): dbmod module-instances {module.id} --include_clustered",
    }
