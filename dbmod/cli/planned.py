"""`--plan` and `--from-plan`: what a command would do goes to a file, and is done as the file says."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from click.core import ParameterSource

from dbmod import errors, plan_files
from dbmod.cli import carry, options, output, progress
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.plan_files import Asked, Plan
from dbmod.selection import Selection

STEPS = ("Instance", "Name", "Batch", "From", "To")
ALONE = ("from_plan", "style", "column", "reason", "lock_wait", "quiet", "verbose", "ask_become_pass", "vault_id")


class Paper(msgspec.Struct, frozen=True, kw_only=True):
    """Where a plan goes to, or is taken from."""

    plan: Path | None = None
    from_plan: Path | None = None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, by hand or in a plan, and the run for it."""

    asked: Asked
    planned: Planned


def option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets them as `paper`."""

    @functools.wraps(function)
    def with_paper(*args: Any, plan: Path | None, from_plan: Path | None, **kwargs: Any) -> int | None:
        if from_plan:
            _refuse_more(click.get_current_context())
        if plan and kwargs["check"]:
            raise errors.BadInput("--plan asks no host, and --check does: choose one.")
        outcome: int | None = function(*args, paper=Paper(plan=plan, from_plan=from_plan), **kwargs)
        return outcome

    file = click.Path(path_type=Path)
    add = click.option(
        "--from-plan",
        type=file,
        metavar="FILE",
        help="Do exactly what a plan says; refused where the ledger has moved since. Goes without names and choices.",
    )(with_paper)
    told = "Write what would be done to this file, 0600, and do nothing; no host is asked."
    return click.option("--plan", type=file, metavar="FILE", help=told)(add)


def plan(
    context: Context,
    paper: Paper,
    asked: Callable[[], Asked],
    *,
    command: plan_files.Command,
    check: bool,
    display: Display,
    view: output.View,
) -> Found | None:
    """Plan what was asked, or what a file says; None where it only went to a file, which is shown.

    asked  reads the command's names and choices, which --from-plan goes without
    """

    def resolve(selection: Selection) -> Selection:
        return options.resolved(context, selection, display)

    if paper.from_plan:
        saved = plan_files.read(paper.from_plan, command)
        return Found(asked=saved.asked, planned=plan_files.take(context, paper.from_plan, saved, resolve))
    wanted = asked()
    if paper.plan:
        saved, found = plan_files.save(context, paper.plan, wanted, resolve)
        carry.skipped(found)
        _show(saved, paper.plan, view)
        return None
    wanted = plan_files.resolved(wanted, resolve)
    return Found(asked=wanted, planned=plan_files.planned(context, wanted, check=check))


def _refuse_more(context: click.Context) -> None:
    """Refuse names and choices beside a plan, which has its own."""
    given = [
        one
        for one in context.command.params
        if one.name not in ALONE and context.get_parameter_source(str(one.name)) is ParameterSource.COMMANDLINE
    ]
    if given:
        words = [one.opts[0] if isinstance(one, click.Option) else one.human_readable_name for one in given]
        raise errors.BadInput(f"--from-plan goes without {', '.join(words)}: the plan says all that.")


def _show(plan: Plan, path: Path, view: output.View) -> None:
    is_removal = plan.asked.command == "module-remove"
    rows = [
        (one.instance, one.module, one.batch, one.from_number, None if is_removal else one.number) for one in plan.steps
    ]
    output.table(view, STEPS, rows)
    count = len({one.instance_id for one in plan.steps})
    batches = len({one.batch for one in plan.steps})
    what = f"{progress.count(count, 'instance')} in {progress.count(batches, 'batch')}"
    output.note(f"{path}: {what}; nothing was done")
    output.note(f"next: dbmod {plan.asked.command} --from-plan {path}")
