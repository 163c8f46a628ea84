"""Instances on hold: put one on hold, take that back."""

import click

from dbmod import clock, holds
from dbmod.cli import complete, options, output
from dbmod.context import Context


@options.command(
    "hold",
    example="dbmod hold db-7 --reason 'backup of the shop' --until 12h",
    about="Leave an instance alone: runs that change hosts skip it, and say so.",
)
@click.argument("instance", shell_complete=complete.instances)
@click.option(
    "--until", default="", metavar="WHEN", help="90m, 12h, 3d, 2026-12-24 or 2026-12-24T06:00.  [default: until unhold]"
)
@options.changes
def hold(context: Context, *, instance: str, until: str) -> None:
    one = holds.hold(context, instance, until=until)
    output.note(f"{one.name}: {holds.why(one, now=clock.now())}")


@options.command("unhold", example="dbmod unhold db-7")
@click.argument("instance", shell_complete=complete.instances)
@options.changes
def unhold(context: Context, *, instance: str) -> None:
    """Take a hold back."""
    holds.release(context, instance)
