"""Modules and their versions: list, show, create, change, delete."""

from collections import Counter
from typing import Any

import click
import msgspec

from dbmod import clock, contents_files, errors, identity, lookup, module_rules, module_versions, pruning, registry
from dbmod.cli import ask, complete, options, output, shapes
from dbmod.context import Context
from dbmod.pruning import Verdict
from dbmod.records import Module

LISTED = ("ID", "Name", "Type", "Datastore", "Version", "Auto Apply", "Priority", "Order", "Admin")
LISTED_FOR_ADMIN = ("Tenant", "Visible")
VERSIONS = ("Number", "Md5", "Size", "Author", "Created", "Current", "Instances", "Source", "Pruned")
VERSIONS_FURTHER = ("Sha256", "Revision")
PRUNED = ("Number", "Md5", "Size", "Created", "Would", "Why")
NO_VALIDATE = "Do not ask the type whether the contents are good."


@options.command("module-list", example="dbmod module-list --datastore mysql")
@click.option(
    "--datastore",
    metavar="NAME|all",
    shell_complete=complete.datastores,
    help="Only modules bound to this datastore; `all`: only those bound to none.",
)
@click.option("--of-tenant", metavar="TENANT", help="Only modules of this tenant; `all`: only those of all tenants.")
@options.shown(*LISTED, *LISTED_FOR_ADMIN)
@options.reads
def list_modules(context: Context, *, datastore: str | None, of_tenant: str | None, view: output.View) -> None:
    """List the modules you may see, the oldest first."""
    found = [
        one
        for one in context.store.snapshot().find(Module, deleted_at=None)
        if identity.sees(context.actor, one)
        and datastore in (None, one.datastore or "all")
        and of_tenant in (None, one.tenant or "all")
    ]
    found.sort(key=lambda one: (one.created_at, one.id))
    columns = (*LISTED, *LISTED_FOR_ADMIN) if context.actor.admin else LISTED
    output.table(view, columns, [_listed(one)[: len(columns)] for one in found])


@options.command("module-show", example="dbmod module-show mymod --long")
@click.argument("module", shell_complete=complete.modules)
@click.option(
    "--long", is_flag=True, help="Also its digest, size, version and where it is declared, as json and yaml do."
)
@options.shown(*shapes.MODULE, *shapes.MODULE_FURTHER)
@options.reads
def show(context: Context, *, module: str, long: bool, view: output.View) -> None:
    """Show a module; never its contents."""
    _show(context, lookup.module(context.store.snapshot(), module, actor=context.actor), view, long=long)


@options.command(
    "module-create",
    example="echo 'message=Module.V1' > ping1.dat\ndbmod module-create mymod ping ping1.dat --live_update",
)
@click.argument("name")
@click.argument("type", shell_complete=complete.types)
@click.argument("file", type=click.Path(allow_dash=True))
@click.option("--description", metavar="TEXT", help="What it is for.")
@click.option("--datastore", shell_complete=complete.datastores, help="Bind it to a datastore.  [default: all]")
@click.option("--datastore_version", metavar="VERSION", help="Bind it to a version of that.  [default: all]")
@click.option("--auto_apply", is_flag=True, help="Apply it to every new instance that fits. (admin)")
@click.option("--all_tenants", is_flag=True, help="Let all tenants use it. (admin)")
@click.option("--hidden", is_flag=True, help="Hide it from tenants. (admin)")
@click.option("--live_update", is_flag=True, help="Let it be changed while instances hold it.")
@click.option("--priority_apply", is_flag=True, help="Apply it before the others. (admin)")
@click.option(
    "--apply_order", type=int, default=5, show_default=True, metavar="0..9", help="Its place among the others."
)
@click.option(
    "--full_access/--no_full_access", default=None, help="Let the tenant change it although an admin made it. (admin)"
)
@click.option("--no-validate", "unchecked", is_flag=True, help=NO_VALIDATE)
@options.shown(*shapes.MODULE, *shapes.MODULE_FURTHER)
@options.changes
def create(context: Context, *, file: str, unchecked: bool, view: output.View, **fields: Any) -> None:
    """Register a module: a name for contents of a type; FILE `-` reads standard input."""
    request = registry.Request(**fields)
    contents = contents_files.read(file, limit_bytes=context.settings.contents_limit_bytes)
    made = registry.create(context, request, contents, validate=not unchecked)
    _show(context, made, view)


@options.command(
    "module-update",
    example="dbmod module-update mymod --file ping2.dat\ndbmod module-update mymod --all_datastores",
)
@click.argument("module", shell_complete=complete.modules)
@click.option("--name", help="Another name.")
@click.option("--type", shell_complete=complete.types, help="Another type.")
@click.option(
    "--file", type=click.Path(allow_dash=True), help="Other contents, its next version; `-` reads standard input."
)
@click.option("--description", metavar="TEXT", help="Another description.")
@click.option("--datastore", shell_complete=complete.datastores, help="Bind it to a datastore.")
@click.option("--all_datastores", is_flag=True, help="Bind it to none.")
@click.option("--datastore_version", metavar="VERSION", help="Bind it to a version.")
@click.option("--all_datastore_versions", is_flag=True, help="Bind it to no version.")
@click.option("--auto_apply/--no_auto_apply", default=None, help="Apply it to every new instance that fits. (admin)")
@click.option("--all_tenants/--no_all_tenants", default=None, help="Let all tenants use it. (admin)")
@click.option("--hidden/--no_hidden", default=None, help="Hide it from tenants. (admin)")
@click.option("--live_update/--no_live_update", default=None, help="Let it be changed while instances hold it.")
@click.option("--priority_apply/--no_priority_apply", default=None, help="Apply it before the others. (admin)")
@click.option("--apply_order", type=int, metavar="0..9", help="Its place among the others.")
@click.option("--full_access/--no_full_access", default=None, help="Let the tenant change it. (admin)")
@click.option("--no-validate", "unchecked", is_flag=True, help=NO_VALIDATE)
@options.shown(*shapes.MODULE, *shapes.MODULE_FURTHER)
@options.changes
def update(
    context: Context, *, module: str, file: str | None, unchecked: bool, view: output.View, **fields: Any
) -> None:
    """Change a module; what is not given stays as it is."""
    change = _change(fields)
    contents = None
    if file is not None:
        contents = contents_files.read(file, limit_bytes=context.settings.contents_limit_bytes)
    changed = registry.change(context, module, change, contents, validate=not unchecked)
    _show(context, changed, view)


@options.command("module-delete", example="dbmod module-delete mymod")
@click.argument("module", shell_complete=complete.modules)
@click.option("--force", is_flag=True, help="Also while instances hold it: it can still be listed and removed there.")
@options.changes
def delete(context: Context, *, module: str, force: bool) -> None:
    """Delete a module and its contents."""
    registry.delete(context, module, force=force)


@options.command("module-versions", example="dbmod module-versions mymod")
@click.argument("module", shell_complete=complete.modules)
@options.shown(*VERSIONS, *VERSIONS_FURTHER)
@options.reads
def versions(context: Context, *, module: str, view: output.View) -> None:
    """List the versions of a module's contents, the first one first, and how many instances hold each."""
    tables = context.store.snapshot()
    one = lookup.module(tables, module, actor=context.actor)
    held = Counter(row.held for row in module_rules.holders(tables, one))
    rows = [
        (
            version.number,
            version.md5,
            version.size_bytes,
            version.author,
            clock.seconds(version.created_at),
            version is one.current,
            held[version.number],
            shapes.source(version.source),
            clock.seconds(version.pruned_at) if version.pruned_at else None,
            version.sha256,
            (version.source.revision if version.source else "") or None,
        )
        for version in one.versions
    ]
    output.table(view, VERSIONS, rows, further=VERSIONS_FURTHER)


@options.command("module-diff", example="dbmod module-diff mymod\ndbmod module-diff mymod 2 5")
@click.argument("module", shell_complete=complete.modules)
@click.argument("before", required=False, metavar="[BEFORE]")
@click.argument("after", required=False, metavar="[AFTER]")
@options.reads
def diff(context: Context, *, module: str, before: str | None, after: str | None) -> None:
    """Show what two versions of a module's contents differ in, named by number or md5: the last two unless said.

    Contents that are secret are not shown.
    """
    for line in module_versions.difference(context, module, before, after):
        output.line(line)


@options.command("module-rollback", example="dbmod module-rollback mymod --to 2\ndbmod module-reapply mymod")
@click.argument("module", shell_complete=complete.modules)
@click.option("--to", required=True, metavar="NUMBER|MD5", help="Which version's contents.")
@click.option("--no-validate", "unchecked", is_flag=True, help=NO_VALIDATE)
@options.shown(*shapes.MODULE, *shapes.MODULE_FURTHER)
@options.changes
def rollback(context: Context, *, module: str, to: str, unchecked: bool, view: output.View) -> None:
    """Make the contents of an earlier version the module's newest one; module-reapply brings it to the instances."""
    _show(context, module_versions.rollback(context, module, to, validate=not unchecked), view)


@options.command(
    "module-prune",
    example="dbmod module-prune mymod --keep 5 --older-than 90 --check\ndbmod module-prune mymod --keep 5 --yes",
    about="Drop the contents of old versions of a module; what is said of them in module-versions stays.\n\n"
    "Never dropped: the current version, what an instance holds, or may hold after an attempt that failed or was not "
    "heard, and what a run that goes on or is paused brings or may put back. With both options both have to allow it.",
)
@click.argument("module", shell_complete=complete.modules)
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep the newest N versions.")
@click.option(
    "--older-than",
    "older_than_days",
    type=click.IntRange(0, 36_500),
    metavar="DAYS",
    help="Only versions made more than so many days ago.",
)
@click.option("--check", is_flag=True, help="Say what would be dropped, and what stays and why; drop nothing.")
@options.confirmed
@options.shown(*PRUNED)
@options.changes
def prune(
    context: Context,
    *,
    module: str,
    keep: int | None,
    older_than_days: int | None,
    check: bool,
    yes: bool,
    view: output.View,
) -> None:
    verdicts = pruning.plan(context, module, keep=keep, older_than_days=older_than_days)
    if check:
        output.table(view, PRUNED, [_verdict(one) for one in verdicts])
        return
    going = {one.version.number for one in verdicts if not one.stays}
    if going:
        ask.confirm(f"Dropping the contents of {len(going)} versions of module '{module}'", module, yes=yes)
    dropped = pruning.prune(context, module, going, keep=keep, older_than_days=older_than_days)
    size = sum(one.size_bytes for one in dropped)
    output.note(f"{len(dropped)} of {len(verdicts)} versions pruned, {size} bytes")


def _verdict(one: Verdict) -> tuple[Any, ...]:
    """Give a row of PRUNED."""
    version = one.version
    would = "KEEP" if one.stays else "PRUNE"
    return version.number, version.md5, version.size_bytes, clock.seconds(version.created_at), would, one.stays


def _listed(one: Module) -> tuple[Any, ...]:
    return (
        one.id,
        one.name,
        one.type,
        one.datastore or "all",
        one.datastore_version or "all",
        one.auto_apply,
        one.priority_apply,
        one.apply_order,
        one.is_admin,
        one.tenant or "all",
        one.visible,
    )


def _show(context: Context, one: Module, view: output.View, *, long: bool = False) -> None:
    count = len(module_rules.holders(context.store.snapshot(), one))
    values, further = shapes.module(one, instance_count=count), shapes.module_further(one)
    output.properties(view, {**values, **further} if long else values, further=further)


def _change(fields: dict[str, Any]) -> registry.Change:
    """Turn options into a change: what was not given stays UNSET."""
    for bound, unbound in (("datastore", "all_datastores"), ("datastore_version", "all_datastore_versions")):
        if fields.pop(unbound):
            if fields[bound] is not None:
                raise errors.BadInput(f"--{bound} and --{unbound} exclude each other.")
            fields[bound] = msgspec.NODEFAULT
    if fields["datastore"] is msgspec.NODEFAULT and isinstance(fields["datastore_version"], str):
        raise errors.BadInput("--datastore_version needs a datastore.", next_step="leave out --all_datastores")
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    for name, value in given.items():
        if value is msgspec.NODEFAULT:
            given[name] = None
    return registry.Change(**given)
