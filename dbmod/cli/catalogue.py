"""What there is to choose from: datastores, their versions, flavors, module types."""

import click

from dbmod import datastores, errors, module_types
from dbmod.cli import complete, options, output
from dbmod.context import Context

NAMED = ("ID", "Name")
FLAVORS = ("ID", "Name", "RAM", "vCPUs", "Disk")
TYPES = ("Type", "Does", "Keys", "Datastores", "Needs", "Scope", "Secret", "Restarts")


@options.command("datastore-list", example="dbmod datastore-list")
@options.shown(*NAMED)
@options.reads
def list_datastores(_context: Context, *, view: output.View) -> None:
    """List the datastores that can be created here."""
    rows = []
    for name in datastores.names():
        try:
            datastores.versions(name)
        except errors.Refused as missing:
            output.note(f"not here: {name} ({missing.what}; {missing.next_step})")
        else:
            rows.append((name, name))
    output.table(view, NAMED, rows)


@options.command("datastore-version-list", example="dbmod datastore-version-list redis")
@click.argument("datastore", shell_complete=complete.datastores)
@options.shown(*NAMED)
@options.reads
def list_versions(_context: Context, *, datastore: str, view: output.View) -> None:
    """List the versions of a datastore that can be created here."""
    rows = [(datastores.version_id(datastore, number), number) for number in datastores.versions(datastore)]
    output.table(view, NAMED, rows)


@options.command("flavor-list", example="dbmod flavor-list")
@options.shown(*FLAVORS)
@options.reads
def list_flavors(context: Context, *, view: output.View) -> None:
    """List the flavors, by RAM (MiB; disk in GB)."""
    rows = [(key, one.name, one.ram_mib, one.vcpus, one.disk_gb) for key, one in context.settings.flavors.items()]
    output.table(view, FLAVORS, sorted(rows, key=lambda row: (row[2], row[0])))


@options.command("module-type-list", example="dbmod module-type-list")
@options.shown(*TYPES)
@options.reads
def list_types(context: Context, *, view: output.View) -> None:
    """List the module types: what each does, takes and needs."""
    rows = [
        (
            name,
            one.summary,
            list(one.declares.keys),
            list(one.declares.datastores) or ["all"],
            list(one.declares.needs),
            one.declares.scope,
            one.declares.secret,
            one.declares.restarts,
        )
        for name, one in module_types.listing(context.settings).items()
    ]
    output.table(view, TYPES, rows)
