"""Modules as code: the registry made equal to a file of the team's git."""

from pathlib import Path
from typing import Any

import click

from dbmod import declaration, logins, module_sync, vault_files
from dbmod.cli import ask, options, output, shapes
from dbmod.context import Context
from dbmod.module_sync import Plan, Step

SYNCED = ("Name", "Type", "Datastore", "Version", "Action", "Md5", "Changes")
SYNCED_FURTHER = ("ID", "Number")


@options.command(
    "module-sync",
    example="dbmod module-sync modules.yml --check\ndbmod module-sync modules.yml --vault-id prod@~/.vault_password",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Check everything and say what would be done; change nothing.")
@click.option("--prune", is_flag=True, help="Delete the modules that the file declared before and no longer does.")
@options.confirmed
@options.unlocks
@options.shown(*SYNCED, *SYNCED_FURTHER)
@options.changes
def sync(
    context: Context, *, file: Path, check: bool, prune: bool, yes: bool, login: logins.Login, view: output.View
) -> None:
    """Make the registry equal to a file that declares modules: all of it or nothing.

    Contents lie in files beside it, as they are or encrypted by Ansible Vault. No host is touched.
    """
    declared = declaration.read(
        file,
        limit_bytes=context.settings.contents_limit_bytes,
        open_vault=vault_files.opener(logins.vaults(login, context.settings)),
    )
    planned = module_sync.plan(context, declared, prune=prune)
    gone = planned.undeclared
    if prune and gone and not check:
        ask.confirm(f"Deleting {_names(planned)}", gone[0].name if len(gone) == 1 else "delete", yes=yes)
    if not check:
        module_sync.carry_out(context, planned)
    output.table(view, SYNCED, [_row(one, is_done=not check) for one in planned.steps], further=SYNCED_FURTHER)
    output.note(("would be: " if check else "") + module_sync.counts(planned))
    output.note(f"source: {shapes.source(declared.source)}" + ("" if declared.source.revision else ", at no revision"))
    if gone and not prune:
        output.note(f"The file no longer declares {_names(planned)}: --prune deletes them.")


def _row(step: Step, *, is_done: bool) -> tuple[Any, ...]:
    after = step.after
    return (
        after.name,
        after.type,
        after.datastore or "all",
        after.datastore_version or "all",
        step.action,
        after.md5,
        ", ".join(step.decision.changes) or None,
        after.id if is_done or step.action != "create" else None,
        after.current.number,
    )


def _names(planned: Plan) -> str:
    names = [one.name for one in planned.undeclared]
    return ", ".join(names) if len(names) <= 10 else f"{', '.join(names[:10])} and {len(names) - 10} more"
