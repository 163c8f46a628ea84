"""`--check`: the hosts are asked what would change, and nothing is."""

from collections.abc import Callable, Iterable
from typing import Any

import click

from dbmod import errors, ledger, module_versions
from dbmod.cli import carry, output
from dbmod.cli.carry import Outcome
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.records import Attempt

TRIED = ("Instance", "Name", "Batch", "From", "To", "Would", "Message")


def option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --check; the command gets it as `check`."""
    told = "Ask the hosts what would change, and show the difference; change nothing."
    return click.option("--check", is_flag=True, help=told)(function)


def show(context: Context, planned: Planned, display: Display, view: output.View) -> int:
    """Carry out a run that only asks, and show what it would do in which batch. Returns the exit code."""
    carry.skipped(planned)
    if planned.run is None:
        output.note("Nothing would be done.")
        return planned.exit_code
    outcome = carry.finish(context, planned.run, display)
    output.table(view, TRIED, [_row(outcome, one) for one in outcome.about_modules])
    if planned.run.verb != "remove":
        _show_differences(context, outcome)
    carry.complain(outcome)
    output.note(f"{carry.summary(outcome)}; nothing was done")
    would_fail = any(one.would == "fail" for one in outcome.about_modules)
    return outcome.exit_code or int(would_fail) or planned.exit_code


def _row(outcome: Outcome, attempt: Attempt) -> tuple[Any, ...]:
    module = outcome.modules.get(attempt.module_id)
    return (
        outcome.instances[attempt.instance_id],
        module.name if module else attempt.module_id,
        attempt.batch,
        *ledger.moves(outcome.run, attempt),
        attempt.would.upper() or carry.status(attempt),
        attempt.message,
    )


def _show_differences(context: Context, outcome: Outcome) -> None:
    """Show what each module's contents come to, once for every version that a host has now."""
    for module_id, before, after in dict.fromkeys(_steps(outcome.about_modules)):
        try:
            lines = module_versions.difference(context, module_id, str(before), str(after))
        except errors.BadInput as refusal:  # secret contents, or a version that an older ledger does not know
            lines = [f"{outcome.modules[module_id].name}: {refusal.what}"]
        for line in lines:
            output.note(line)


def _steps(attempts: Iterable[Attempt]) -> Iterable[tuple[str, int, int]]:
    return (
        (one.module_id, one.from_number, one.number)
        for one in attempts
        if one.from_number and one.from_number != one.number
    )
