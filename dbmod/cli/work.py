"""Modules on instances: apply, remove, query, retrieve, reapply."""

from typing import Any

import click

from dbmod import clock, errors, identity, names, operations, planning
from dbmod.cli import carry, complete, options, output, planned, trial
from dbmod.cli.carry import Outcome
from dbmod.cli.options import Display
from dbmod.cli.pace import paced
from dbmod.cli.planned import Found, Paper
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.paces import Pace
from dbmod.plan_files import Asked
from dbmod.records import Attempt, Row
from dbmod.selection import Selection

QUERIED = ("Instance", "Name", "Type", "Datastore", "Version", "Status", "Message", "Created", "Updated", "Standing")
COLUMNS = tuple(dict.fromkeys((*carry.ON_HOSTS, *trial.TRIED)))  # of a command, and of its --check
NONE_READY = "the selection names no instance that is ready for it"
ONE_OR_SEVERAL = "--cluster, --datastore, --limit and --all choose several instances instead of INSTANCE."


@options.command(
    "module-apply",
    example="dbmod module-apply myinst mymod\ndbmod module-apply --datastore redis --module mymod --batch_size 10",
    about=f"Apply modules, in their order, to an instance; or to many, batch by batch.\n\n{ONE_OR_SEVERAL}",
)
@click.argument("names", nargs=-1, metavar="INSTANCE MODULE...", shell_complete=complete.instances_and_modules)
@click.option("--module", "further", multiple=True, shell_complete=complete.modules, help="A module (repeatable).")
@click.option(
    "--contents-version", metavar="NUMBER|MD5", help="An earlier version of one module.  [default: the current one]"
)
@options.selects
@paced
@trial.option
@planned.option
@options.displays
@options.shown(*COLUMNS)
@options.changes
def apply(
    context: Context,
    *,
    names: tuple[str, ...],
    further: tuple[str, ...],
    contents_version: str | None,
    several: Selection,
    pace: Pace,
    check: bool,
    paper: Paper,
    display: Display,
    view: output.View,
) -> int:
    def asked() -> Asked:
        selection, modules = options.named_or_several(names, several, what="module-apply")
        return Asked(
            command="module-apply",
            selection=selection,
            modules=(*modules, *further),
            version=contents_version,
            pace=pace,
        )

    found = planned.plan(context, paper, asked, command="module-apply", check=check, display=display, view=view)
    if found is None:
        return 0
    if check:
        return trial.show(context, found.planned, display, view)
    return _show_modules(context, found, display, view)


@options.command(
    "module-remove",
    example="dbmod module-remove myinst mymod\ndbmod module-remove --cluster myclust mymod",
    about=f"Remove a module from an instance; or from many, batch by batch.\n\n{ONE_OR_SEVERAL}",
)
@click.argument("names", nargs=-1, metavar="INSTANCE MODULE", shell_complete=complete.instances_and_modules)
@click.option("--module", "further", multiple=True, shell_complete=complete.modules, help="The module.")
@options.selects
@paced
@trial.option
@planned.option
@options.displays
@options.shown(*COLUMNS)
@options.changes
def remove(
    context: Context,
    *,
    names: tuple[str, ...],
    further: tuple[str, ...],
    several: Selection,
    pace: Pace,
    check: bool,
    paper: Paper,
    display: Display,
    view: output.View,
) -> int:
    def asked() -> Asked:
        selection, named = options.named_or_several(names, several, what="module-remove")
        if len(modules := (*named, *further)) != 1:
            raise errors.BadInput("Name one module.", next_step="dbmod module-remove --help")
        return Asked(command="module-remove", selection=selection, modules=modules, pace=pace)

    found = planned.plan(context, paper, asked, command="module-remove", check=check, display=display, view=view)
    if found is None:
        return 0
    if check:
        return trial.show(context, found.planned, display, view)
    if not found.asked.selection.is_one:
        return _show_modules(context, found, display, view)
    outcome = _carried_out(context, found.planned, display)
    if outcome is None:
        return 0
    for attempt in outcome.about_modules:
        if attempt.state != "ok":
            output.error([f"{outcome.instances[attempt.instance_id]}: {carry.status(attempt)} {attempt.message}"])
    carry.complain(outcome)
    return outcome.exit_code


@options.command(
    "module-query",
    example="dbmod module-query myinst\ndbmod module-query --all -f json",
    about=f"Ask the host of an instance, or of many, which modules it has.\n\n{ONE_OR_SEVERAL}",
)
@click.argument("names", nargs=-1, metavar="INSTANCE", shell_complete=complete.instances)
@options.selects
@options.displays
@options.shown(*QUERIED)
@options.changes
def query(context: Context, *, names: tuple[str, ...], several: Selection, display: Display, view: output.View) -> int:
    selection, more = options.named_or_several(names, several, what="module-query")
    if more:
        raise errors.BadInput(
            "module-query asks about one instance, or those that an option chooses.",
            next_step="dbmod module-query --help",
        )
    selection = options.resolved(context, selection, display)
    outcome = _carried_out(context, operations.plan_question(context, "query", selection), display)
    if outcome is None:
        return 0
    rows = _answers(context, outcome)
    if selection.is_one:
        output.table(view, QUERIED[1:-1], [row[1:] for row in rows], further=QUERIED[-1:])
    else:
        output.table(view, QUERIED[:-1], rows, further=QUERIED[-1:])
    carry.complain(outcome)
    return outcome.exit_code or int(any(row[-1] in planning.DISAGREEING for row in rows))


@options.command("module-retrieve", example="dbmod module-retrieve myinst --directory contents --prefix today")
@click.argument("instance", shell_complete=complete.instances)
@click.option("--directory", default=".", show_default=True, metavar="PATH", help="Where to; made if missing.")
@click.option("--prefix", default="", metavar="TEXT", help="What the files' names begin with.")
@options.displays
@options.changes
def retrieve(context: Context, *, instance: str, directory: str, prefix: str, display: Display) -> int:
    """Fetch the contents of an instance's modules from its host into files."""
    selection = Selection(instance=instance)
    planned = operations.plan_retrieve(context, selection, directory=directory, prefix=prefix)
    outcome = _carried_out(context, planned, display)
    if outcome is None:
        return 0
    for attempt in outcome.about_modules:
        if attempt.state == "ok" and attempt.message.startswith("/"):
            name = outcome.modules[attempt.module_id].name
            output.line(f"Module contents for '{name}' written to '{attempt.message}'")
        else:  # a secret type keeps no contents on its host, and says so
            output.note(f"{carry.module_row(outcome, attempt)[1]}: {attempt.message or carry.status(attempt)}")
    carry.complain(outcome)
    amiss = any(attempt.message.startswith(planning.DISAGREEING) for attempt in outcome.about_modules)
    return outcome.exit_code or int(amiss)


@options.command(
    "module-reapply",
    example="dbmod module-reapply mymod --include_clustered --batch_size 10 --delay 5",
)
@click.argument("module", required=False, shell_complete=complete.modules)
@click.option("--md5", metavar="MD5", help="Only instances that hold this version.  [default: any]")
@click.option(
    "--only",
    metavar="STANDING",
    default="",
    shell_complete=complete.words(planning.AMISS),
    help=f"Only instances that stand so with it: {', '.join(planning.AMISS)}; several by comma. What drifted or is "
    "missing is known from the last `drift` or `module-query`.  [default: all that are not current]",
)
@options.selects
@options.clustered
@click.option("--force", is_flag=True, help="Also those that are current.")
@paced
@trial.option
@planned.option
@options.displays
@options.shown(*dict.fromkeys((*carry.OUTCOMES, *trial.TRIED)))
@options.changes
def reapply(
    context: Context,
    *,
    module: str | None,
    md5: str | None,
    only: str,
    several: Selection,
    include_clustered: bool,
    force: bool,
    pace: Pace,
    check: bool,
    paper: Paper,
    display: Display,
    view: output.View,
) -> int:
    """Bring the instances that hold a module to its current version, batch by batch. Alias: rollout."""

    def asked() -> Asked:
        if module is None:
            raise errors.BadInput("No module was named.", next_step="dbmod module-reapply --help")
        return Asked(
            command="module-reapply",
            selection=several,
            modules=(module,),
            md5=md5,
            only=tuple(filter(None, (one.strip() for one in only.split(",")))),
            include_clustered=include_clustered,
            force=force,
            pace=pace,
        )

    found = planned.plan(context, paper, asked, command="module-reapply", check=check, display=display, view=view)
    if found is None:
        return 0
    if check:
        return trial.show(context, found.planned, display, view)
    carry.skipped(found.planned)
    if found.planned.run is None:
        output.note(f"Nothing to do: no {_which(found)}instance needs '{found.asked.modules[0]}'.")
        return found.planned.exit_code
    outcome = carry.finish(context, found.planned.run, display)
    output.table(view, carry.OUTCOMES, [carry.outcome_row(outcome, one) for one in outcome.about_modules])
    carry.complain(outcome)
    output.note(carry.summary(outcome))
    return outcome.exit_code or found.planned.exit_code


def _carried_out(context: Context, planned: Planned, display: Display, *, nothing: str = NONE_READY) -> Outcome | None:
    """Carry out what was planned; None where there was nothing to do, which is said."""
    carry.skipped(planned)
    if planned.run is None:
        output.note(f"Nothing to do: {nothing}.")
        return None
    return carry.finish(context, planned.run, display)


def _show_modules(context: Context, found: Found, display: Display, view: output.View) -> int:
    is_held = found.asked.command != "module-remove" or found.planned.skipped
    nothing = NONE_READY if is_held else f"the selection names no instance that holds '{found.asked.modules[0]}'"
    outcome = _carried_out(context, found.planned, display, nothing=nothing)
    if outcome is None:
        return found.planned.exit_code
    rows = [carry.module_row(outcome, one) for one in outcome.about_modules]
    if found.asked.selection.is_one:
        output.table(view, carry.ON_HOSTS[1:], [row[1:] for row in rows])
    else:
        output.table(view, carry.ON_HOSTS, rows)
    carry.complain(outcome)
    if not found.asked.selection.is_one:
        output.note(carry.summary(outcome))
    return outcome.exit_code or found.planned.exit_code


def _which(found: Found) -> str:
    """Say of which instances a reapply has found that none needs it."""
    is_narrowed = found.asked.md5 or found.asked.only or found.asked.selection != Selection()
    return "other " if found.planned.not_touched else "chosen " if is_narrowed else ""


def _answers(context: Context, outcome: Outcome) -> list[tuple[Any, ...]]:
    """Give rows of QUERIED, the latest first; a module that was removed is none any more."""
    there = [
        one
        for one in outcome.about_modules
        if not (one.evidence and one.evidence.removed)
        and one.module_id in outcome.modules
        and identity.sees(context.actor, outcome.modules[one.module_id])
    ]
    there.sort(key=lambda one: one.evidence.updated.timestamp() if one.evidence else 0.0, reverse=True)
    there.sort(key=lambda one: names.natural_key(outcome.instances[one.instance_id]))
    return [_answer(context, outcome, one) for one in there]


def _answer(context: Context, outcome: Outcome, attempt: Attempt) -> tuple[Any, ...]:
    module = outcome.modules[attempt.module_id]
    row = context.store.snapshot().get(Row, attempt.instance_id, within=module.id)
    return (
        *carry.module_row(outcome, attempt)[:5],
        attempt.status or "UNKNOWN",
        attempt.message,
        clock.hundredths(attempt.evidence.created) if attempt.evidence else None,
        clock.hundredths(attempt.evidence.updated) if attempt.evidence else None,
        planning.standing(row, module) if row else None,
    )
