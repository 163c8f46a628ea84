"""Who holds what, from the ledger: no host is contacted."""

from collections import defaultdict
from typing import Any

import click

from dbmod import clock, fleet, identity, lookup, module_rules, planning, providers
from dbmod.cli import complete, options, output, paging, shapes
from dbmod.context import Context
from dbmod.records import Instance, Module, Row
from dbmod.store.interface import Tables

TENANT = "Tenant ID"
COUNTS = ("Module Name", "Min Updated Date", "Max Updated Date", "Module MD5", "Current", "Count")
ON_INSTANCE = ("ID", "Name", "Type", "Md5", "Created", "Updated", "Current")
ON_CLUSTER = ("Instance Name", "Module Name", "Module Type", "Md5", "Created", "Updated", "Current")


@options.command("module-instances", example="dbmod module-instances mymod --include_clustered")
@click.argument("module", shell_complete=complete.modules)
@options.clustered
@options.pages
@click.option("--missing", is_flag=True, help="Instead the instances that it fits and that do not hold it.")
@options.shown(*shapes.INSTANCES, TENANT)
@options.reads
def instances(
    context: Context,
    *,
    module: str,
    include_clustered: bool,
    limit: int | None,
    marker: str | None,
    missing: bool,
    view: output.View,
) -> None:
    """List the instances that hold a module, in any version."""
    tables = context.store.snapshot()
    one = lookup.module(tables, module, actor=context.actor, deleted=True)
    holding = {row.instance_id for row in module_rules.holders(tables, one)}
    found = [
        instance
        for instance in lookup.living_instances(tables, actor=context.actor)
        if (include_clustered or instance.cluster_id is None)
        and (_fits(one, instance) and instance.id not in holding if missing else instance.id in holding)
    ]
    admin = context.actor.admin
    output.table(
        view,
        (*shapes.INSTANCES, TENANT) if admin else shapes.INSTANCES,
        [
            shapes.instance(instance, status=providers.observed_status(instance))
            + ((instance.tenant,) if admin else ())
            for instance in paging.page(found, limit=limit, marker=marker)
        ],
    )


@options.command("module-instance-count", example="dbmod module-instance-count mymod --include_clustered")
@click.argument("module", shell_complete=complete.modules)
@options.clustered
@options.shown(*COUNTS)
@options.reads
def count(context: Context, *, module: str, include_clustered: bool, view: output.View) -> None:
    """Count the instances that hold each version of a module."""
    tables = context.store.snapshot()
    one = lookup.module(tables, module, actor=context.actor, deleted=True)
    counted = {
        instance.id
        for instance in lookup.living_instances(tables, actor=context.actor)
        if include_clustered or instance.cluster_id is None
    }
    by_md5: dict[str | None, list[Row]] = defaultdict(list)
    for row in module_rules.holders(tables, one):
        if row.instance_id in counted:
            by_md5[row.held_md5].append(row)
    rows = [_counted(one, held) for held in by_md5.values()]
    output.table(view, COUNTS, sorted(rows, key=lambda row: (row[1], row[2], row[3])))


@options.command("module-list-instance", example="dbmod module-list-instance myinst")
@click.argument("instance", shell_complete=complete.instances)
@options.shown(*ON_INSTANCE)
@options.reads
def on_instance(context: Context, *, instance: str, view: output.View) -> None:
    """List the modules that an instance holds, as the ledger knows."""
    tables = context.store.snapshot()
    one = lookup.instance(tables, instance, actor=context.actor)
    rows = [
        (module.id, module.name, module.type, *shapes.held(row, module))
        for module, row in held_by(tables, one, modules=seen(context, tables))
    ]
    output.table(view, ON_INSTANCE, rows)


@options.command("cluster-modules", example="dbmod cluster-modules myclust")
@click.argument("cluster", shell_complete=complete.clusters)
@options.shown(*ON_CLUSTER)
@options.reads
def on_cluster(context: Context, *, cluster: str, view: output.View) -> None:
    """List the modules that the members of a cluster hold, as the ledger knows."""
    tables = context.store.snapshot()
    one = lookup.cluster(tables, cluster, actor=context.actor)
    modules = seen(context, tables)
    rows = [
        (member.name, module.name, module.type, *shapes.held(row, module))
        for member in fleet.members_of(tables, one.id)
        for module, row in held_by(tables, member, modules=modules)
    ]
    output.table(view, ON_CLUSTER, rows)


def seen(context: Context, tables: Tables) -> list[Module]:
    """Give the modules that exist for the one who asks, in the order in which they are applied."""
    return planning.in_order(one for one in tables.find(Module) if identity.sees(context.actor, one))


def held_by(tables: Tables, instance: Instance, *, modules: list[Module]) -> list[tuple[Module, Row]]:
    """Give the modules that an instance holds, with their rows; a row by its key, so no shard is decoded whole."""
    pairs = [(module, tables.get(Row, instance.id, within=module.id)) for module in modules]
    return [(module, row) for module, row in pairs if row and row.removed_at is None and row.held is not None]


def _fits(module: Module, instance: Instance) -> bool:
    return planning.fits(module, datastore=instance.datastore, datastore_version=instance.datastore_version)


def _counted(module: Module, rows: list[Row]) -> tuple[Any, ...]:
    updated = [row.updated_at for row in rows]
    return (
        module.name,
        clock.seconds(min(updated)),
        clock.seconds(max(updated)),
        rows[0].held_md5,
        rows[0].held_sha256 == module.current.sha256,
        len(rows),
    )
