"""The fleet compared with the cloud."""

import click

from dbmod import audit, errors
from dbmod.cli import ask, options, output
from dbmod.context import Context

FOUND = ("Kind", "ID", "Name", "Finding")


@options.command("audit", example="dbmod audit\ndbmod audit --clean")
@click.option("--clean", is_flag=True, help="Remove what is in the cloud, bears this ledger's mark and is nobody's.")
@options.confirmed
@options.shown(*FOUND)
@options.changes
def compare(context: Context, *, clean: bool, yes: bool, view: output.View) -> int:
    """Find what is in the cloud and not in the fleet, and the reverse; the exit code is 1 where there is any."""
    found = audit.audit(context)
    output.table(view, FOUND, [(one.kind, one.id, one.name, one.finding) for one in found])
    removable = audit.removable(found)
    if not clean or not removable:
        return errors.Failed.exit_code if found else 0
    ask.confirm(f"Removing {len(removable)} things from the cloud", "remove", yes=yes)
    left = audit.clean(context, removable)
    for sentence in left:
        output.error([sentence])
    output.note(f"{len(removable) - len(left)} of {len(removable)} are removed.")
    return errors.Failed.exit_code if left or len(found) > len(removable) else 0
