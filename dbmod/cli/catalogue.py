"""What there is to choose from: datastores, their versions, flavors, module types."""

import click

from dbmod import datastores, errors, module_types, providers
from dbmod.cli import complete, options, output
from dbmod.context import Context

NAMED = ("ID", "Name")
FLAVORS = ("ID", "Name", "RAM", "vCPUs", "Disk")
TYPES = ("Type", "Does", "Keys", "Datastores", "Needs", "Scope", "Secret", "Restarts")


@options.command("datastore-list", example="dbmod datastore-list")
@options.provider
@options.shown(*NAMED)
@options.reads
def list_datastores(context: Context, *, provider: str | None, view: output.View) -> None:
    """List the datastores that can be created here."""
    rows = []
    hooks = providers.hooks(provider or context.settings.provider)
    for name in datastores.names():
        try:
            hooks.versions(context.settings, name)
        except errors.Refused as missing:
            output.note(f"not here: {name} ({missing.what}; {missing.next_step})")
        else:
            rows.append((name, name))
    output.table(view, NAMED, rows)


@options.command("datastore-version-list", example="dbmod datastore-version-list redis")
@click.argument("datastore", shell_complete=complete.datastores)
@options.provider
@options.shown(*NAMED)
@options.reads
def list_versions(context: Context, *, datastore: str, provider: str | None, view: output.View) -> None:
    """List the versions of a datastore that can be created here."""
    datastores.describe(datastore)
    known = providers.hooks(provider or context.settings.provider).versions(context.settings, datastore)
    rows = [(datastores.version_id(datastore, number), number) for number in known]
    output.table(view, NAMED, rows)


@options.command("flavor-list", example="dbmod flavor-list")
@options.provider
@options.shown(*FLAVORS)
@options.reads
def list_flavors(context: Context, *, provider: str | None, view: output.View) -> None:
    """List the flavors, by RAM (MiB; disk in GB)."""
    known = providers.hooks(provider or context.settings.provider).flavors(context.settings)
    rows = [(key, one.name, one.ram_mib, one.vcpus, one.disk_gb) for key, one in known.items()]
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
