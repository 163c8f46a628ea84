"""Carrying out a planned run and telling what became of it; the outcome is read from the ledger, never from events."""

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from dbmod import clock, errors, ledger, operations
from dbmod.cli import output, progress
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.records import Attempt, Instance, Module, Run

ON_HOSTS = ("Instance", "Name", "Type", "Datastore", "Version", "Status", "Message")
OUTCOMES = ("Instance", "Status", "From", "To", "Message")
HAND_OVER_SECONDS = 20
WORST_FIRST = (
    *("error", "unknown", "unreachable", "cancelled", "planned", "skipped"),
    *("would fail", "would change", "would stay", "ok"),
)
COUNTED = (
    ("ok", "ok"),
    *((one, one) for one in ("would change", "would stay", "would fail")),
    ("skipped", "skipped"),
    ("error", "failed"),
    ("unreachable", "unreachable"),
    ("unknown", "unknown"),
    ("cancelled", "not started"),
    ("planned", "not done yet"),
)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has ended, with its attempts in the order of the plan and the names that tables need."""

    run: Run
    attempts: tuple[Attempt, ...]
    instances: dict[str, str]  # id → name
    modules: dict[str, Module]
    way_back: "Outcome | None" = None  # of the run that put back what this one changed

    @property
    def about_modules(self) -> list[Attempt]:
        return [one for one in self.attempts if one.module_id]

    @property
    def about_instances(self) -> list[Attempt]:
        return [one for one in self.attempts if not one.module_id]

    @property
    def exit_code(self) -> int:
        """Give what the command ends with: 130 where the user stopped it, else as the ledger judges."""
        if self.run.state == "cancelled":
            return errors.Interrupted.exit_code
        return ledger.exit_code(self.attempts) or int(self.run.state in ("failed", "lost"))


def finish(context: Context, run: Run, display: Display) -> Outcome:
    """Carry a run out in the foreground; on a terminal also behind its canary, if the user says so."""
    import gc

    from dbmod import rollouts, runner

    gc.enable()
    going: Run | None = run
    while going is not None:
        shown = progress.make(quiet=display.quiet, plain=display.verbosity > 0)
        with contextlib.redirect_stdout(sys.stderr):  # ansible-runner prints its output; standard output is for data
            ended = runner.carry_out(context, going, progress=shown, verbosity=display.verbosity, login=display.login)
        going = _behind_the_canary(context, ended)
    tables = context.store.snapshot()
    ended = tables.get(Run, ended.id) or ended  # behind the canary nothing may have been left to do
    later = rollouts.followers(tables, ended.id) if rollouts.rolls_back(ended) else []
    back = next((one for one in later if one.verb == "rollback"), None)
    return msgspec.structs.replace(read(context, ended), way_back=read(context, back) if back else None)


def _behind_the_canary(context: Context, run: Run) -> Run | None:
    """Ask whether a run that paused behind its canary goes on; None where it does not, or nobody is there to ask."""
    is_canary = run.state == "paused" and run.pause_after == run.batch
    if not is_canary or not output.is_terminal(sys.stdin) or not output.is_terminal(sys.stderr):
        return None
    from dbmod import rollouts
    from dbmod.cli import ask

    if not ask.goes_on(f"The canary is done: {counts(read(context, run).attempts)}. Go on with the rest?"):
        return None
    planned = rollouts.plan_resume(context, run.id)
    skipped(planned)
    return planned.run


def to_the_end(context: Context, run: Run, display: Display) -> int:
    """Carry out a run that shows no table, say what went wrong, and give the exit code."""
    outcome = finish(context, run, display)
    complain(outcome)
    return outcome.exit_code


def leave(context: Context, run: Run) -> None:
    """Let a run go on by itself; returns when its own process has taken it over, so that no sweep takes it for lost."""
    from dbmod import runner

    log = runner.detach(context, run)
    deadline = time.monotonic() + HAND_OVER_SECONDS
    while time.monotonic() < deadline:
        now = context.store.snapshot().get(Run, run.id)
        if now is None or not now.is_open or (now.owner and now.owner.pid != os.getpid()):
            break
        time.sleep(0.05)
    output.note(f"The run {run.id} goes on by itself: dbmod run-wait {run.id}; its output: {log}")


def read(context: Context, run: Run) -> Outcome:
    """Read what became of a run."""
    tables = context.store.snapshot()
    attempts = sorted(tables.find(Attempt, run_id=run.id), key=lambda one: one.place)
    found = {one.instance_id: tables.get(Instance, one.instance_id) for one in attempts}
    modules = {one.module_id: tables.get(Module, one.module_id) for one in attempts if one.module_id}
    return Outcome(
        run=run,
        attempts=tuple(attempts),
        instances={key: one.name if one else key for key, one in found.items()},
        modules={key: one for key, one in modules.items() if one},
    )


def asked_by(context: Context) -> str:
    """Say who asks, and why if that was said."""
    return f"{context.actor.name} ({context.reason})" if context.reason else context.actor.name


def skipped(planned: Planned) -> None:
    """Tell of the instances that were selected and are not touched."""
    for line in planned.not_touched:
        output.note(line)


def status(attempt: Attempt) -> str:
    """Give a status for tables: the host's own, what a look found, or why there is none."""
    if attempt.would:
        return attempt.told.upper()
    if attempt.state in ("ok", "error", "skipped") and attempt.status:
        return attempt.status
    return "RUNNING" if attempt.state == "planned" and attempt.started_at else attempt.state.upper()


def module_row(outcome: Outcome, attempt: Attempt) -> tuple[str, ...]:
    """Give a row of ON_HOSTS."""
    module = outcome.modules.get(attempt.module_id)
    return (
        outcome.instances[attempt.instance_id],
        module.name if module else attempt.module_id,
        module.type if module else "",
        (module.datastore if module else None) or "all",
        (module.datastore_version if module else None) or "all",
        status(attempt),
        attempt.message,
    )


def outcome_row(outcome: Outcome, attempt: Attempt) -> tuple[str | int | None, ...]:
    """Give a row of OUTCOMES."""
    return (
        outcome.instances[attempt.instance_id],
        status(attempt),
        *ledger.moves(outcome.run, attempt),
        attempt.message,
    )


def complain(outcome: Outcome) -> None:
    """Say on standard error why a run ended otherwise than well, where its table does not show it."""
    for attempt in outcome.about_instances:
        if attempt.is_bad:
            output.error([f"{outcome.instances[attempt.instance_id]}: {attempt.message or attempt.state}"])
    if outcome.run.state == "paused":
        output.note(f"The run {outcome.run.id} is paused: {outcome.run.message}")
        output.note(f"next: {outcome.run.ways_out}")
    elif outcome.run.state != "done" and outcome.run.message:
        output.note(f"The run {outcome.run.id} ended early: {outcome.run.message}")
    if outcome.way_back:
        how = "was" if outcome.way_back.run.state == "done" else "was not all"
        output.note(f"What it had changed {how} put back: {summary(outcome.way_back)}")
        for line in operations.skipped_lines(outcome.way_back.run.options.get("skipped", {})):
            output.note(line)
        for attempt in outcome.way_back.about_modules:
            if attempt.is_bad:
                row = module_row(outcome.way_back, attempt)
                output.error([f"{row[0]} was not put back: {row[1]}: {row[5]} {row[6]}"])
    show = f"next: dbmod run-show {outcome.run.id}"
    if outcome.way_back and outcome.way_back.run.state != "done":
        output.note(f"next: dbmod run-resume {outcome.way_back.run.id} goes on putting back")
    elif outcome.way_back:
        output.note(show)  # what was put back is not gone on with
    elif outcome.run.state == "failed" and len(outcome.attempts) > 1:
        output.note(f"{show}; dbmod run-resume {outcome.run.id} goes on with what is not done")


def summary(outcome: Outcome) -> str:
    """Count a run's instances in one line: run 4f1c…: 14 ok, 1 failed, 35 not started."""
    return f"run {outcome.run.id}: {counts(outcome.attempts)}"


def counts(attempts: Sequence[Attempt]) -> str:
    """Count instances by the worst that happened on each."""
    worst: dict[str, str] = {}
    for one in attempts:
        worst[one.instance_id] = min(worst.get(one.instance_id, "ok"), one.told, key=WORST_FIRST.index)
    found = Counter(worst.values())
    parts = [f"{found[state]} {word}" for state, word in COUNTED if found[state]]
    return ", ".join(parts) or "nothing to do"


def times(run: Run) -> tuple[str, str | None]:
    """Give when a run was made and when it ended."""
    return clock.seconds(run.created_at), clock.seconds(run.ended_at) if run.ended_at else None
