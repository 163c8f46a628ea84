"""Clusters: create, list, show, grow, shrink, delete."""

import click

from dbmod import building, fleet, lookup, providers
from dbmod.cli import ask, carry, complete, instance, options, output, paging, parsing, shapes
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.records import Cluster

SHOWN = (
    "created",
    "datastore",
    "datastore_version",
    "id",
    "instance_count",
    "name",
    "task_description",
    "task_name",
    "updated",
)
LISTED = ("ID", "Name", "Datastore", "Datastore Version", "Task Name")
MEMBERS = ("ID", "Name", "Flavor ID", "Size", "Status")
MEMBER = click.option(
    "--instance",
    "members",
    multiple=True,
    metavar="flavor=…,volume=…,module=…",
    help="A member (repeatable); also volume_type=, nic=, availability_zone=, region=; module= may repeat.",
)


@options.command(
    "cluster-create",
    example="dbmod cluster-create myclust redis 7.0.15 --instance flavor=15,volume=1,module=mymod \\\n"
    "  --instance flavor=15,volume=1 --instance flavor=15,volume=1",
)
@click.argument("name")
@click.argument("datastore", shell_complete=complete.datastores)
@click.argument("version")
@MEMBER
@click.option(
    "--locality", type=click.Choice(["affinity", "anti-affinity"]), help="Members near to each other, or apart."
)
@options.provider
@options.waits
@options.displays
@options.shown(*SHOWN)
@options.changes
@options.meets
def create(
    context: Context, *, members: tuple[str, ...], wait: bool, display: Display, view: output.View, **given: str | None
) -> int:
    """Create a cluster of instances of one datastore."""
    request = building.NewCluster(
        name=given["name"] or "",
        datastore=given["datastore"] or "",
        datastore_version=given["version"] or "",
        members=parsing.members(members),
        provider=given["provider"],
        locality=given["locality"],
    )
    cluster, run = building.plan_cluster_create(context, request)
    instance.note_ignored(fleet.members_of(context.store.snapshot(), cluster.id))
    if not wait:
        carry.leave(context, run)
        return _show(context, cluster.id, view)
    outcome = carry.finish(context, run, display)
    _show(context, cluster.id, view)
    instance.show_failed_modules(outcome)
    carry.complain(outcome)
    return outcome.exit_code


@options.command("cluster-list", example="dbmod cluster-list")
@options.pages
@options.shown(*LISTED)
@options.reads
def list_clusters(context: Context, *, limit: int | None, marker: str | None, view: output.View) -> None:
    """List the clusters."""
    tables = context.store.snapshot()
    found = [one for one in tables.find(Cluster, deleted_at=None) if lookup.owns(context.actor, one)]
    rows = [
        (one.id, one.name, one.datastore, one.datastore_version, one.task_name)
        for one in paging.page(found, limit=limit, marker=marker)
    ]
    output.table(view, LISTED, rows)


@options.command("cluster-show", example="dbmod cluster-show myclust")
@click.argument("cluster", shell_complete=complete.clusters)
@options.shown(*SHOWN)
@options.reads
def show(context: Context, *, cluster: str, view: output.View) -> int:
    """Show a cluster."""
    return _show(context, lookup.cluster(context.store.snapshot(), cluster, actor=context.actor).id, view)


@options.command("cluster-instances", example="dbmod cluster-instances myclust")
@click.argument("cluster", shell_complete=complete.clusters)
@options.shown(*MEMBERS)
@options.reads
def members_of(context: Context, *, cluster: str, view: output.View) -> None:
    """List the members of a cluster."""
    tables = context.store.snapshot()
    one = lookup.cluster(tables, cluster, actor=context.actor)
    rows = [
        (member.id, member.name, member.flavor, member.volume_gb, providers.observed_status(member))
        for member in fleet.members_of(tables, one.id)
    ]
    output.table(view, MEMBERS, rows)


@options.command("cluster-grow", example="dbmod cluster-grow myclust --instance flavor=15,volume=1,module=mymod")
@click.argument("cluster", shell_complete=complete.clusters)
@MEMBER
@options.displays
@options.shown(*SHOWN)
@options.changes
@options.meets
def grow(context: Context, *, cluster: str, members: tuple[str, ...], display: Display, view: output.View) -> int:
    """Add members to a cluster, and give them their share."""
    one, run = building.plan_cluster_grow(context, cluster, parsing.members(members))
    outcome = carry.finish(context, run, display)
    _show(context, one.id, view)
    instance.show_failed_modules(outcome)
    carry.complain(outcome)
    return outcome.exit_code


@options.command("cluster-shrink", example="dbmod cluster-shrink myclust myclust-member-4 --yes")
@click.argument("cluster", shell_complete=complete.clusters)
@click.argument("instances", nargs=-1, required=True, metavar="INSTANCE...", shell_complete=complete.instances)
@options.confirmed
@options.displays
@options.changes
def shrink(context: Context, *, cluster: str, instances: tuple[str, ...], yes: bool, display: Display) -> int:
    """Take members out of a cluster and delete them; their share goes to the others first."""
    one = lookup.cluster(context.store.snapshot(), cluster, actor=context.actor)
    ask.confirm(f"Deleting {', '.join(instances)} of the cluster '{one.name}'", one.name, yes=yes)
    _, run = fleet.plan_cluster_shrink(context, one.id, instances)
    return carry.to_the_end(context, run, display)


@options.command("cluster-delete", example="dbmod cluster-delete myclust --yes")
@click.argument("cluster", shell_complete=complete.clusters)
@options.confirmed
@options.displays
@options.changes
def delete(context: Context, *, cluster: str, yes: bool, display: Display) -> int:
    """Delete a cluster, all its members and their data."""
    one = lookup.cluster(context.store.snapshot(), cluster, actor=context.actor)
    ask.confirm(f"Deleting the cluster '{one.name}' with its data", one.name, yes=yes)
    _, run = fleet.plan_cluster_delete(context, one.id)
    return carry.to_the_end(context, run, display)


def _show(context: Context, cluster_id: str, view: output.View) -> int:
    tables = context.store.snapshot()
    one = tables.get(Cluster, cluster_id)
    if one is not None:
        output.properties(view, shapes.cluster(one, instance_count=len(fleet.members_of(tables, one.id))))
    return 0
