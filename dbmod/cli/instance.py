"""Instances: create, list, show, rename, restart, delete, their passwords."""

from collections.abc import Sequence
from typing import Any

import click

from dbmod import adoption, building, clock, errors, fleet, history, holds, lookup, passwords, providers
from dbmod.cli import ask, carry, complete, holding, options, output, paging, parsing, shapes
from dbmod.cli.carry import Outcome
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.records import Cluster, Instance

CREATED = (
    "created",
    "datastore",
    "datastore_version",
    "encrypted_rpc_messaging",
    "flavor",
    "id",
    "name",
    "region",
    "server_id",
    "status",
    "tenant_id",
    "updated",
    "volume",
    "volume_id",
)
LISTED_FURTHER = ("Hold",)
SHOWN = (
    "address",
    "availability_zone",
    "cluster",
    "connect",
    "created",
    "datastore",
    "datastore_version",
    "fault",
    "flavor",
    "hold",
    "id",
    "inventory",
    "log",
    "modules",
    "name",
    "port",
    "provider",
    "ram_mib",
    "region",
    "restart_command",
    "server_id",
    "status",
    "tenant_id",
    "updated",
    "volume",
    "volume_id",
)


@options.command(
    "create",
    example="dbmod create myinst 15 --size 1 --module mymod\n"
    "dbmod create shop 15 --datastore mysql --databases shop --users app",
)
@click.argument("name")
@click.argument("flavor", shell_complete=complete.flavors)
@click.option("--size", "volume_gb", type=int, default=1, show_default=True, metavar="GB", help="Size of its volume.")
@click.option("--volume_type", metavar="TYPE", help="The cloud's type of volume.")
@click.option(
    "--datastore", shell_complete=complete.datastores, help="What to run.  [default: redis, by configuration]"
)
@click.option("--datastore_version", metavar="VERSION", help="Which version.  [default: the newest there is]")
@click.option(
    "--module", "modules", multiple=True, shell_complete=complete.modules, help="A module to apply (repeatable)."
)
@click.option("--databases", multiple=True, metavar="NAME", help="A database to make (repeatable, or by comma).")
@click.option(
    "--users",
    multiple=True,
    metavar="NAME[:PASSWORD]",
    help="A user to make (repeatable); without a password: asked for, or a line of standard input each.",
)
@click.option("--availability_zone", metavar="ZONE", help="Where in the cloud.")
@click.option(
    "--nic", "nics", multiple=True, metavar="net-id=…,v4-fixed-ip=…,port-id=…", help="A network (repeatable)."
)
@click.option("--region", help="The cloud's region.  [default: by configuration]")
@click.option("--locality", type=click.Choice(["affinity", "anti-affinity"]), help="Near to, or away from, its peers.")
@options.provider
@options.waits
@options.displays
@options.shown(*CREATED)
@options.changes
@options.meets
def create(
    context: Context,
    *,
    databases: tuple[str, ...],
    users: tuple[str, ...],
    wait: bool,
    display: Display,
    view: output.View,
    **given: Any,
) -> int:
    """Create an instance: a database server with its modules."""
    request = building.NewInstance(
        name=given["name"],
        member=building.Member(
            flavor=given["flavor"],
            volume_gb=given["volume_gb"],
            volume_type=given["volume_type"],
            modules=given["modules"],
            nics=tuple(building.nic(one) for one in given["nics"]),
            availability_zone=given["availability_zone"],
            region=given["region"],
        ),
        datastore=given["datastore"],
        datastore_version=given["datastore_version"],
        provider=given["provider"],
        locality=given["locality"],
        databases=parsing.words(databases),
        users=ask.accounts(users, may_ask=wait),
    )
    instance, run = building.plan_create(context, request)
    note_ignored([instance])
    if not wait:
        carry.leave(context, run)
        return show_created(context, instance.id, view)
    outcome = carry.finish(context, run, display)
    show_created(context, instance.id, view)
    show_failed_modules(outcome)
    carry.complain(outcome)
    return outcome.exit_code


@options.command("list", example="dbmod list --include_clustered")
@options.clustered
@options.pages
@options.shown(*shapes.INSTANCES, *LISTED_FURTHER)
@options.reads
def list_instances(
    context: Context, *, include_clustered: bool, limit: int | None, marker: str | None, view: output.View
) -> None:
    """List the instances."""
    found = [
        one
        for one in lookup.living_instances(context.store.snapshot(), actor=context.actor)
        if include_clustered or one.cluster_id is None
    ]
    now = clock.now()
    rows = [
        (*shapes.instance(one, status=providers.observed_status(one)), holds.why(one, now=now) or None)
        for one in paging.page(found, limit=limit, marker=marker)
    ]
    output.table(view, shapes.INSTANCES, rows, further=LISTED_FURTHER)


@options.command("show", example="dbmod show myinst")
@click.argument("instance", shell_complete=complete.instances)
@options.shown(*SHOWN)
@options.reads
def show(context: Context, *, instance: str, view: output.View) -> None:
    """Show an instance: its state, and how to connect to it."""
    tables = context.store.snapshot()
    one = lookup.instance(tables, instance, actor=context.actor)
    cluster = tables.get(Cluster, one.cluster_id) if one.cluster_id else None
    modules = holding.seen(context, tables)
    output.properties(
        view,
        {
            "address": one.address,
            "availability_zone": one.availability_zone,
            "cluster": cluster.name if cluster else one.cluster_id,
            "connect": providers.connect_hint(one) or None,
            "created": clock.seconds(one.created_at),
            "datastore": one.datastore,
            "datastore_version": one.datastore_version,
            "fault": one.fault or None,
            "flavor": one.flavor,
            "hold": holds.why(one, now=clock.now()) or None,
            "id": one.id,
            "inventory": one.provider_facts.get("inventory"),
            "log": providers.log_path(one) or None,
            "modules": [module.name for module, _ in holding.held_by(tables, one, modules=modules)],
            "name": one.name,
            "port": one.port,
            "provider": one.provider,
            "ram_mib": one.ram_mib,
            "region": one.region,
            "restart_command": " ".join(one.restart_command) or None,
            "server_id": one.server_id,
            "status": providers.observed_status(one),
            "tenant_id": one.tenant,
            "updated": clock.seconds(one.updated_at),
            "volume": one.volume_gb,
            "volume_id": one.volume_id,
        },
    )


@options.command(
    "update", example="dbmod update myinst --name shop-1\ndbmod update myinst --accept-host-key --reason 'new machine'"
)
@click.argument("instance", shell_complete=complete.instances)
@click.option("--name", help="Its new name.")
@click.option("--accept-host-key", is_flag=True, help="Take the key that its host shows now: after you made sure.")
@options.displays
@options.changes
def update(context: Context, *, instance: str, name: str | None, accept_host_key: bool, display: Display) -> int:
    """Rename an instance, or take its host's new key; nothing on its host changes."""
    if not name and not accept_host_key:
        raise errors.BadInput("Nothing is to be changed.", next_step="dbmod update --help")
    code = 0
    if accept_host_key:
        from dbmod import cloud_tasks  # only here is a cloud asked

        if not cloud_tasks.take_console_keys(context, instance):
            one, run = adoption.plan_host_key(context, instance)
            instance = one.id
            code = carry.to_the_end(context, run, display)
    if name:
        fleet.rename(context, instance, name)
    return code


@options.command("restart", example="dbmod restart myinst")
@click.argument("instance", shell_complete=complete.instances)
@options.displays
@options.changes
def restart(context: Context, *, instance: str, display: Display) -> int:
    """Restart an instance's server, also one that is down."""
    _, run = fleet.plan_restart(context, instance)
    return carry.to_the_end(context, run, display)


@options.command("delete", example="dbmod delete myinst --yes")
@click.argument("instance", shell_complete=complete.instances)
@options.confirmed
@options.displays
@options.changes
def delete(context: Context, *, instance: str, yes: bool, display: Display) -> int:
    """Delete an instance with its data."""
    one = lookup.instance(context.store.snapshot(), instance, actor=context.actor)
    ask.confirm(f"Deleting the instance '{one.name}' and its data", one.name, yes=yes)
    _, run = fleet.plan_delete(context, one.id)
    return carry.to_the_end(context, run, display)


@options.command("password", example="dbmod password myinst")
@click.argument("instance", shell_complete=complete.instances)
@options.changes
def password(context: Context, *, instance: str) -> None:
    """Print the administrator's password of an instance; who asked is kept in the history."""
    with context.transaction("password") as tables:
        one = lookup.instance(tables, instance, actor=context.actor)
        known = passwords.read(context.store, one)
        history.note(tables, "password", actor=context.actor.name, reason=context.reason, instance_ids=[one.id])
    output.line(known)


def show_created(context: Context, instance_id: str, view: output.View) -> int:
    """Print an instance as `create` does."""
    one = context.store.snapshot().get(Instance, instance_id)
    if one is not None:
        encrypted = providers.describe(one.provider).encrypted
        output.properties(view, shapes.created_instance(one, encrypted=encrypted))
    return 0


def show_failed_modules(outcome: Outcome) -> None:
    """Show, beside the data, the modules that a new instance did not get."""
    failed = [carry.module_row(outcome, one) for one in outcome.about_modules if one.state not in ("ok", "skipped")]
    if failed:
        output.note_table(carry.ON_HOSTS, failed)


def note_ignored(instances: Sequence[Instance]) -> None:
    """Say which of the given options mean nothing to the provider; they are kept in the ledger all the same."""
    given = {
        (one.provider, option)
        for one in instances
        for option in providers.describe(one.provider).ignores
        if getattr(one, option)
    }
    for provider, option in sorted(given):
        output.note(f"The provider {provider} does not use --{option.removesuffix('s')}.")
