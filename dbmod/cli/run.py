"""Runs and history: list, show, wait, cancel; what was ever tried; reconcile."""

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from dbmod import clock, errors, ledger, lookup, operations, planning, processes
from dbmod.cli import carry, complete, options, output
from dbmod.cli.carry import Outcome
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.records import Attempt, Cluster, Instance, Module, Row, Run
from dbmod.selection import Selection
from dbmod.store.interface import Tables

LISTED = ("ID", "Verb", "What", "State", "Batch", "Actor", "Reason", "Created", "Ended")
SHOWN = (
    "actor",
    "batch",
    "created",
    "delay_seconds",
    "ended",
    "follows",
    "id",
    "instances",
    "max_errors",
    "max_lag_seconds",
    "max_unreachable",
    "message",
    "not_after",
    "reason",
    "serial",
    "state",
    "verb",
    "what",
)
TRIED = ("Instance", "Module", "Batch", "Status", "From", "To", "Message")
HISTORY = ("When", "Run", "Verb", "Instance", "Module", "From", "To", "Status", "Message", "Actor", "Reason")
RECONCILED = ("Instance", "Module", "Status", "Correction")


@options.command("run-list", example="dbmod run-list --limit 10")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.  [default: all]")
@options.shown(*LISTED)
@options.reads
def list_runs(context: Context, *, limit: int | None, view: output.View) -> None:
    """List the runs, the latest first."""
    tables = context.store.snapshot()
    runs = sorted(tables.find(Run), key=lambda one: one.serial, reverse=True)[:limit]
    rows = [
        (one.id, one.title, _what(tables, one), one.state, _batch(one), one.actor, one.reason, *carry.times(one))
        for one in runs
    ]
    output.table(view, LISTED, rows)


@options.command("run-show", example="dbmod run-show 4f1c")
@click.argument("run", shell_complete=complete.runs)
@options.shown(*SHOWN, "attempts")
@options.reads
def show(context: Context, *, run: str, view: output.View) -> None:
    """Show a run and what became of each instance; RUN is an id or its beginning."""
    _show(context, lookup.run(context.store.snapshot(), run), view)


@options.command("run-wait", example="dbmod run-wait 4f1c")
@click.argument("run", shell_complete=complete.open_runs)
@options.shown(*SHOWN, "attempts")
@options.reads
def wait(context: Context, *, run: str, view: output.View) -> int:
    """Wait until a run has ended, show it, and exit as it did."""
    from dbmod import runner

    ended = runner.wait(context, lookup.run(context.store.snapshot(), run).id)
    return _show(context, ended, view).exit_code


@options.command("run-cancel", example="dbmod run-cancel 4f1c --reason 'wrong module'")
@click.argument("run", shell_complete=complete.open_runs)
@options.changes
def cancel(context: Context, *, run: str) -> None:
    """Ask a run to stop after the batch in flight."""
    with context.store.transaction(holder="run-cancel") as tables:
        one = ledger.request_stop(tables, lookup.run(tables, run).id, by=carry.asked_by(context))
    when = "will stop after the batch in flight" if one.is_open else "was paused, and has ended"
    output.note(f"The run {one.id} {when}: dbmod run-{'wait' if one.is_open else 'show'} {one.id}")


@options.command("run-execute", example="dbmod run-execute 4f1c", hidden=True)
@click.argument("run")
def execute(*, run: str) -> int:
    """Carry out a planned run, as create --no-wait has it done."""
    context = options.open_context(sweep=False)  # the one who planned it may have ended: it must not be swept
    planned = ledger.open_run(context.store.snapshot(), run)
    with context.store.transaction(holder=planned.id) as tables:
        one = msgspec.structs.replace(ledger.open_run(tables, planned.id), owner=processes.owner())
        tables.put(one)
    outcome = carry.finish(context, one, Display(verbosity=0))
    output.note(carry.summary(outcome))
    return outcome.exit_code


@options.command("history", example="dbmod history mymod")
@click.argument("what", metavar="MODULE|INSTANCE", shell_complete=complete.modules_and_instances)
@options.shown(*HISTORY)
@options.reads
def history(context: Context, *, what: str, view: output.View) -> None:
    """List all that was ever tried with a module or on an instance, the latest last."""
    tables = context.store.snapshot()
    subject = _subject(context, tables, what)
    attempts = tables.find(Attempt, **subject)
    runs = {one.id: one for one in tables.find(Run)}
    tried = [(runs[one.run_id], one) for one in attempts if one.run_id in runs]
    tried.sort(key=lambda pair: (pair[0].serial, pair[1].position, pair[1].order))
    lines = [(run.serial, _tried(tables, run, attempt)) for run, attempt in tried]
    module_id = subject.get("module_id", "")
    lines += [(one.serial, _registered(one, what, module_id)) for one in runs.values() if _is_about(one, module_id)]
    output.table(view, HISTORY, [line for _, line in sorted(lines, key=lambda pair: pair[0])])


@options.command(
    "reconcile",
    example="dbmod reconcile\ndbmod reconcile --cluster myclust",
    about="Make the ledger equal to what the hosts hold; exits with 1 where a host holds something else.\n\n"
    "Without INSTANCE and without an option: all instances.",
)
@click.argument("names", nargs=-1, metavar="[INSTANCE]", shell_complete=complete.instances)
@options.selects
@options.displays
@options.shown(*RECONCILED)
@options.changes
def reconcile(
    context: Context, *, names: tuple[str, ...], several: Selection, display: Display, view: output.View
) -> int:
    selection = options.resolved(context, options.one_or_several(names, several, what="reconcile"), display)
    planned = operations.plan_question(context, "reconcile", selection)
    carry.skipped(planned)
    if planned.run is None:
        output.note("Nothing to do: there is no such instance that could be asked.")
        return 0
    outcome = carry.finish(context, planned.run, display)
    apart = {one.key for one in outcome.about_modules if _disagrees(context, one)}
    found = [one for one in outcome.about_modules if one.changed or one.key in apart]
    output.table(view, RECONCILED, [_correction(outcome, one) for one in found])
    if not found:
        output.note("Nothing to correct: the ledger is what these hosts hold.")
    carry.complain(outcome)
    output.note(carry.summary(outcome))
    return outcome.exit_code or int(bool(apart))


def _disagrees(context: Context, attempt: Attempt) -> bool:
    """Tell whether the host holds something else than the ledger says: newly seen, or still."""
    row = context.store.snapshot().get(Row, attempt.instance_id, within=attempt.module_id)
    return row is not None and row.removed_at is None and row.observed in planning.DISAGREEING


def _show(context: Context, run: Run, view: output.View) -> Outcome:
    outcome = carry.read(context, run)
    tables = context.store.snapshot()
    created, ended = carry.times(run)
    tried = [_attempted(outcome, one) for one in outcome.attempts]
    tried += [
        (name, None, None, "SKIPPED", None, None, why)
        for why, names in run.options.get("skipped", {}).items()
        for name in names
    ]
    tried += [_synced_module(tables, module_id, said) for module_id, said in _synced(run).items()]
    pace = run.options.get("pace", {})
    output.properties(
        view,
        {
            "actor": run.actor,
            "batch": _batch(run),
            "created": created,
            "delay_seconds": run.delay_seconds,
            "ended": ended,
            "follows": run.follows,
            "id": run.id,
            "instances": carry.counts(outcome.attempts),
            "max_errors": run.max_errors,
            "max_lag_seconds": pace.get("max_lag_seconds") if pace.get("gate") else None,
            "max_unreachable": run.max_unreachable,
            "message": run.message,
            "not_after": clock.seconds(run.not_after) if run.not_after else None,
            "reason": run.reason,
            "serial": run.serial,
            "state": run.state,
            "verb": run.title,
            "what": _what(tables, run),
        },
        further={"attempts": [dict(zip(TRIED, row, strict=True)) for row in tried]},
    )
    if view.format == "table" and not view.columns:
        output.table(view, TRIED, tried)
    return outcome


def _attempted(outcome: Outcome, attempt: Attempt) -> tuple[Any, ...]:
    module = outcome.modules.get(attempt.module_id)
    return (
        outcome.instances[attempt.instance_id],
        module.name if module else None,
        attempt.batch,
        carry.status(attempt),
        *ledger.moves(outcome.run, attempt),
        attempt.message,
    )


def _synced_module(tables: Tables, module_id: str, said: str) -> tuple[Any, ...]:
    module = tables.get(Module, module_id)
    return None, module.name if module else module_id, None, "OK", None, None, said


def _batch(run: Run) -> str:
    return f"{run.batch} of {len(run.batch_sizes)}" if run.batch_sizes else ""


def _what(tables: Tables, run: Run) -> str:
    """Name what a run is about, where that is one thing."""
    if run.module_id:
        module = tables.get(Module, run.module_id)
        return module.name if module else run.module_id
    if run.cluster_id:
        cluster = tables.get(Cluster, run.cluster_id)
        return cluster.name if cluster else run.cluster_id
    return run.subject


def _subject(context: Context, tables: Tables, what: str) -> Mapping[str, str]:
    """Tell by which field of an attempt a module or an instance is found, deleted ones by their ids too."""
    found: dict[str, str] = {}
    for field, kind, find in (("module_id", Module, lookup.module), ("instance_id", Instance, lookup.instance)):
        try:
            found[field] = find(tables, what, actor=context.actor).id
        except errors.NotFound:
            if context.actor.admin and tables.get(kind, what):
                found[field] = what
    if len(found) > 1:
        raise errors.NotUnique(f"Both a module and an instance are called '{what}', use an ID to be more specific.")
    if not found:
        raise errors.NotFound(
            f"No module or instance with a name or ID of '{what}' exists.", next_step="dbmod module-list, dbmod list"
        )
    return found


def _tried(tables: Tables, run: Run, attempt: Attempt) -> tuple[Any, ...]:
    instance, module = tables.get(Instance, attempt.instance_id), tables.get(Module, attempt.module_id)
    return (
        clock.seconds(attempt.ended_at or attempt.started_at or run.created_at),
        run.id,
        run.title,
        instance.name if instance else attempt.instance_id,
        module.name if module else attempt.module_id or None,
        *ledger.moves(run, attempt),
        carry.status(attempt),
        attempt.message,
        run.actor,
        run.reason,
    )


def _is_about(run: Run, module_id: str) -> bool:
    """Tell whether a run only registered, changed or deleted the module that is asked about."""
    return not run.playbook and bool(module_id) and (run.module_id == module_id or module_id in _synced(run))


def _synced(run: Run) -> Mapping[str, str]:
    """Give what a module-sync did: module id → create, update or delete."""
    found: Mapping[str, str] = run.options.get("modules", {}) if run.verb == "module-sync" else {}
    return found


def _registered(run: Run, module: str, module_id: str) -> tuple[Any, ...]:
    when, said = clock.seconds(run.created_at), _synced(run).get(module_id, "")
    return when, run.id, run.verb, None, module, None, None, "OK", said, run.actor, run.reason


def _correction(outcome: Outcome, attempt: Attempt) -> tuple[str, ...]:
    row = carry.module_row(outcome, attempt)
    return row[0], row[1], row[5], row[6]
