"""A run that waits: pause it, let it go on."""

import click

from dbmod import gate, lookup, paces, rollouts, task_files
from dbmod.cli import carry, complete, options, output
from dbmod.cli.options import Display
from dbmod.context import Context


@options.command("run-pause", example="dbmod run-pause 4f1c --reason 'first look at the graphs'")
@click.argument("run", shell_complete=complete.open_runs)
@options.changes
def pause(context: Context, *, run: str) -> None:
    """Let a run pause after the batch in flight."""
    with context.store.transaction(holder="run-pause") as tables:
        one = gate.request_pause(tables, lookup.run(tables, run).id, by=carry.asked_by(context))
    when = "is paused" if one.state == "paused" else "will pause after the batch in flight"
    output.note(f"The run {one.id} {when}: dbmod run-resume {one.id}")


@options.command(
    "run-resume",
    example="dbmod run-resume 4f1c",
    about="Go on with a run that is paused, or that ended before all was done.\n\n"
    "What is done is not done again, with the same contents, batches and budgets; refused where the module has another "
    "version now.",
)
@click.argument("run", shell_complete=complete.stopped_runs)
@options.displays
@options.shown(*carry.ON_HOSTS)
@options.changes
def resume(context: Context, *, run: str, display: Display, view: output.View) -> int:
    pace = rollouts.pace(lookup.run(context.store.snapshot(), run))
    paces.refuse_nonsense(pace)  # a file of tasks may be another by now, or gone
    task_files.refuse_unusable(pace)
    planned = rollouts.plan_resume(context, run)
    carry.skipped(planned)
    if planned.run is None:
        output.note("Nothing is left to do.")
        return planned.exit_code
    outcome = carry.finish(context, planned.run, display)
    output.table(view, carry.ON_HOSTS, [carry.module_row(outcome, one) for one in outcome.about_modules])
    carry.complain(outcome)
    output.note(carry.summary(outcome))
    return outcome.exit_code or planned.exit_code
