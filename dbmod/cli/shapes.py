"""Records as the tables show them. Pure."""

from typing import Any

from dbmod import clock, datastores, planning
from dbmod.records import Cluster, Instance, Module, Row, Source

MODULE = (
    "apply_order",
    "auto_apply",
    "created",
    "datastore",
    "datastore_id",
    "datastore_version",
    "datastore_version_id",
    "description",
    "id",
    "instance_count",
    "is_admin",
    "live_update",
    "md5",
    "name",
    "priority_apply",
    "tenant",
    "tenant_id",
    "type",
    "updated",
    "visible",
)
MODULE_FURTHER = ("declared_in", "revision", "revision_dirty", "sha256", "size_bytes", "version_number")
REVISION_LENGTH = 12
INSTANCES = ("ID", "Name", "Datastore", "Datastore Version", "Status", "Flavor ID", "Size", "Region")


def module(one: Module, *, instance_count: int) -> dict[str, Any]:
    """Give the properties of module-show; the fields of MODULE."""
    version_id = None
    if one.datastore and one.datastore_version:
        version_id = datastores.version_id(one.datastore, one.datastore_version)
    return {
        "apply_order": one.apply_order,
        "auto_apply": one.auto_apply,
        "created": clock.seconds(one.created_at),
        "datastore": one.datastore or "all",
        "datastore_id": one.datastore,
        "datastore_version": one.datastore_version or "all",
        "datastore_version_id": version_id,
        "description": one.description,
        "id": one.id,
        "instance_count": instance_count,
        "is_admin": one.is_admin,
        "live_update": one.live_update,
        "md5": one.md5,
        "name": one.name,
        "priority_apply": one.priority_apply,
        "tenant": one.tenant or "all",
        "tenant_id": one.tenant,
        "type": one.type,
        "updated": clock.seconds(one.updated_at),
        "visible": one.visible,
    }


def module_further(one: Module) -> dict[str, Any]:
    """Give what --long, json and yaml add; the fields of MODULE_FURTHER."""
    version = one.current
    return {
        "declared_in": one.declared_in or None,
        "revision": version.source.revision or None if version.source else None,
        "revision_dirty": version.source.is_dirty if version.source else None,
        "sha256": version.sha256,
        "size_bytes": version.size_bytes,
        "version_number": version.number,
    }


def source(one: Source | None) -> str | None:
    """Write where contents were declared: the set's name, the revision as git abbreviates it."""
    if one is None:
        return None
    return f"{one.declared_in} {one.revision[:REVISION_LENGTH]}{'+changes' if one.is_dirty else ''}".rstrip()


def instance(one: Instance, *, status: str) -> tuple[Any, ...]:
    """Give a row of `list`; the columns INSTANCES.

    status  as it is seen now, not as it was recorded
    """
    return (
        one.id,
        one.name,
        one.datastore,
        one.datastore_version,
        status,
        one.flavor,
        one.volume_gb,
        one.region,
    )


def created_instance(one: Instance, *, encrypted: bool) -> dict[str, Any]:
    """Give the properties that `create` shows."""
    return {
        "created": clock.seconds(one.created_at),
        "datastore": one.datastore,
        "datastore_version": one.datastore_version,
        "encrypted_rpc_messaging": encrypted,
        "flavor": one.flavor,
        "id": one.id,
        "name": one.name,
        "region": one.region,
        "server_id": one.server_id,
        "status": one.status,
        "tenant_id": one.tenant,
        "updated": clock.seconds(one.updated_at),
        "volume": one.volume_gb,
        "volume_id": one.volume_id,
    }


def cluster(one: Cluster, *, instance_count: int) -> dict[str, Any]:
    """Give the properties that the cluster commands show."""
    return {
        "created": clock.seconds(one.created_at),
        "datastore": one.datastore,
        "datastore_version": one.datastore_version,
        "id": one.id,
        "instance_count": instance_count,
        "name": one.name,
        "task_description": one.task_description,
        "task_name": one.task_name,
        "updated": clock.seconds(one.updated_at),
    }


def held(row: Row, one: Module) -> tuple[Any, ...]:
    """Give md5, created, updated and current of a module on an instance."""
    return row.held_md5, clock.seconds(row.created_at), clock.seconds(row.updated_at), planning.is_current(row, one)
