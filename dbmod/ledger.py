"""Runs, attempts and live rows: plan, start, record, close."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from dbmod import answers, clock, conflicts, errors, evidence, planning, processes
from dbmod.evidence import Outcome
from dbmod.ids import new_id
from dbmod.records import ASKING, Attempt, Cluster, Instance, Owner, Row, Run, RunState
from dbmod.store.interface import Store, Tables

IDLE = ("NONE", "No tasks for the cluster.")  # what a cluster does when no run works on it
REPLACE = msgspec.structs.replace


def plan(
    tables: Tables,
    *,
    verb: str,
    playbook: str,
    work: Sequence[planning.Work],
    spread: Sequence[Sequence[Instance]],
    actor: str,
    reason: str = "",
    options: Mapping[str, Any] | None = None,
    module_id: str | None = None,
    cluster_id: str | None = None,
    delay_seconds: float = 0,
    max_errors: int | None = None,
    max_unreachable: int | None = None,
    pause_after: int = 0,
    not_after: datetime | None = None,
    follows: str = "",
) -> Run:
    """Write a run and its planned attempts.

    work    what to do, in the order of the modules on a host
    spread  the hosts, batch by batch; may be empty for a run about instances only
    Raises  Refused where another open run works on the same
    """
    conflicts.refuse(tables, verb, work)
    now = clock.now()
    run = Run(
        id=new_id(),
        serial=tables.serial + 1,
        verb=verb,
        playbook=playbook,
        module_id=module_id,
        cluster_id=cluster_id,
        options=dict(options or {}),
        actor=actor,
        reason=reason,
        subject=_subject([item.instance for item in work]),
        state="planned",
        owner=processes.owner(),
        batch=0,
        batch_sizes=tuple(len(batch) for batch in spread),
        delay_seconds=delay_seconds,
        max_errors=max_errors,
        max_unreachable=max_unreachable,
        pause_after=pause_after,
        not_after=not_after,
        follows=follows,
        created_at=now,
        renewed_at=now,
    )
    tables.put(run, *planning.attempts(run.id, work, spread))
    return run


def plan_instances(tables: Tables, run: Run, instances: Sequence[Instance]) -> Run:
    """Add to a run the attempts that claim whole instances (batch 0), for create, delete, restart, grow and shrink.

    Returns  the run, now about these instances
    """
    work = [planning.Work(instance=instance, module=None) for instance in instances]
    conflicts.refuse(tables, run.verb, work, but=run.id)
    claims = planning.attempts(run.id, work, [instances])
    claimed = REPLACE(run, subject=_subject(instances))
    tables.put(claimed, *(REPLACE(claim, batch=0) for claim in claims))
    return claimed


def put_closed(tables: Tables, *attempts: Attempt) -> None:
    """Write attempts that are over, with the number of the commit that says so."""
    tables.put(*(REPLACE(one, closed_in=tables.serial + 1) for one in attempts))


def open_run(tables: Tables, run_id: str) -> Run:
    """Give a run that may go on. Raises Refused if it has ended."""
    run = tables.get(Run, run_id)
    if run is None:
        raise errors.NotFound(f"No run with an ID of '{run_id}' exists.", next_step="dbmod run-list")
    if not run.is_open:
        raise errors.Refused(f"The run {run.id} has ended: {run.state}.", next_step=f"dbmod run-show {run.id}")
    return run


def start(tables: Tables, run_id: str, owner: Owner) -> Run:
    """Hand a planned or paused run to the process that carries it out."""
    waiting = open_run(tables, run_id)
    if waiting.state not in ("planned", "paused"):
        raise errors.Refused(f"The run {run_id} is {waiting.state} already.", next_step=f"dbmod run-show {run_id}")
    run = REPLACE(_woken(waiting), state="running", owner=owner, renewed_at=clock.now())
    tables.put(run)
    return run


def _woken(run: Run) -> Run:
    """Give a run as it goes on: nothing that made it pause does so again at once."""
    if run.state != "paused":
        return run
    not_after = run.not_after
    while not_after is not None and not_after <= clock.now():
        not_after += timedelta(days=1)
    return REPLACE(run, pause_after=0, not_after=not_after, message="")


def record(tables: Tables, run_id: str, *, batch: int, outcomes: Sequence[Outcome]) -> list[Attempt]:
    """Close a batch: every attempt planned for it, answered or not, and the live rows that evidence changes.

    Returns  the closed attempts
    """
    run = open_run(tables, run_id)
    now = clock.now()
    by_instance = {outcome.instance: outcome for outcome in outcomes}
    planned = [attempt for attempt in tables.find(Attempt, run_id=run.id, batch=batch) if attempt.state == "planned"]
    closed: list[Attempt] = []
    rows: list[Row] = []
    for attempt in planned:
        outcome = by_instance.get(attempt.instance_id)
        if run.verb in ASKING:
            found, looked_at = answers.close(tables, run, attempt, outcome)
            closed += found
            rows += looked_at
            continue
        done = evidence.judge(attempt, run, outcome, at=now)
        before = tables.get(Row, attempt.instance_id, within=attempt.module_id)
        after = evidence.row_after(before, done, run)
        if after is not None and after is not before:
            rows.append(after)
        closed.append(done)
    answers.catch_up(tables, rows)
    tables.put(*rows, REPLACE(run, renewed_at=now))
    put_closed(tables, *closed)
    return closed


def close(tables: Tables, run_id: str, *, message: str = "") -> Run:
    """End a run: what is still planned was not done; its state follows from its attempts. A paused one stays."""
    run = tables.get(Run, run_id)
    if run is None or not run.is_open or run.state == "paused":
        return run or open_run(tables, run_id)
    return end(tables, run, message=message)


def end(tables: Tables, run: Run, *, message: str) -> Run:
    """End a run that is open, a paused one too."""
    now = clock.now()
    told = "" if run.state == "pausing" else run.message  # there was no batch left to pause before
    attempts = tables.find(Attempt, run_id=run.id)
    left = _abandon_rest(tables, run, at=now, why=message)
    state: RunState = "done"
    if left or any(attempt.is_bad for attempt in attempts):
        state = "cancelled" if left and run.stop_requested_by else "failed"
    ended = REPLACE(
        run, state=state, ended_at=now, closed_in=tables.serial + 1, renewed_at=now, message=message or told
    )
    tables.put(ended)
    return ended


def request_stop(tables: Tables, run_id: str, *, by: str) -> Run:
    """Ask a run to stop after the batch in flight; the gate before the next batch reads it. A paused one ends now."""
    run = REPLACE(open_run(tables, run_id), stop_requested_by=by)
    if run.state == "paused":
        return end(tables, run, message=f"stopped by {by}")
    tables.put(run)
    return run


def lose(tables: Tables, run: Run) -> Run:
    """End a run whose process is gone: what had started is unknown, the rest was not done, builds are in ERROR."""
    now = clock.now()
    _abandon_rest(tables, run, at=now)
    why = "its process ended before it did"
    lost = REPLACE(run, state="lost", ended_at=now, closed_in=tables.serial + 1, message=why)
    tables.put(lost)
    return lost


def sweep(store: Store) -> list[Run]:
    """End the runs whose process is gone. Takes the ledger's lock only where there is one.

    Returns  the runs that were lost
    """
    if not [run for run in store.snapshot().find(Run) if conflicts.is_dead(run)]:
        return []
    with store.transaction(holder="sweep") as tables:
        lost = [lose(tables, run) for run in tables.find(Run) if conflicts.is_dead(run)]
    for run in lost:
        store.delete_contents(run.id)
    return lost


def close_rows(tables: Tables, instance_ids: Sequence[str]) -> None:
    """Close the live rows of instances that are really gone."""
    now = clock.now()
    gone = set(instance_ids)
    rows = [row for row in tables.find(Row, removed_at=None) if row.instance_id in gone]
    tables.put(*(REPLACE(row, held=None, held_md5=None, held_sha256=None, removed_at=now) for row in rows))


def moves(run: Run, attempt: Attempt) -> tuple[int | None, int | None]:
    """Tell from which version to which an attempt leads: a question moves nothing, a removal leads to none."""
    if run.verb in ASKING:
        return None, None
    return attempt.from_number, None if evidence.removes(run, attempt) else attempt.number or None


def exit_code(attempts: Sequence[Attempt]) -> int:
    """Give the exit code of a run: 0 all well, 4 when all were tried and none reached, else 1 if any failed."""
    hosts = {attempt.instance_id for attempt in attempts}
    unreached = {attempt.instance_id for attempt in attempts if attempt.state == "unreachable"}
    if hosts and hosts == unreached:
        return 4
    return 1 if any(attempt.is_bad or attempt.state == "cancelled" for attempt in attempts) else 0


def _abandon_rest(tables: Tables, run: Run, *, at: datetime, why: str = "") -> list[Attempt]:
    """Close what is still planned, free what the run claimed. Returns what was still planned."""
    left = tables.find(Attempt, run_id=run.id, state="planned")
    put_closed(tables, *(_abandoned(attempt, run, at=at) for attempt in left))
    for attempt in left:
        if attempt.batch == 0:
            _give_up_instance(tables, run, attempt.instance_id, why=why)
    claims = any(attempt.batch == 0 for attempt in left)  # without any, the cluster's task is already another run's
    cluster = tables.get(Cluster, run.cluster_id) if run.cluster_id and claims else None
    if cluster and cluster.task_name != IDLE[0]:
        task_name, task_description = IDLE
        tables.put(REPLACE(cluster, task_name=task_name, task_description=task_description, updated_at=at))
    return left


def _abandoned(attempt: Attempt, run: Run, *, at: datetime) -> Attempt:
    begun = attempt.started_at is not None or (attempt.batch == 0 and run.state != "planned")
    if begun:
        return REPLACE(attempt, state="unknown", message=evidence.NO_ANSWER, ended_at=at)
    return REPLACE(attempt, state="cancelled", message="the run ended before its batch", ended_at=at)


def _give_up_instance(tables: Tables, run: Run, instance_id: str, *, why: str) -> None:
    instance = tables.get(Instance, instance_id)
    if instance and instance.status == "BUILD":
        now = clock.now()
        fault = f"the run {run.id} that built it ended before it did" + (f": {why}" if why else "")
        gone = run.verb == "adopt"  # its server is not ours: nothing of it is left behind
        tables.put(
            REPLACE(
                instance,
                status="DELETED" if gone else "ERROR",
                fault=fault,
                updated_at=now,
                deleted_at=now if gone else None,
            )
        )


def _subject(instances: Sequence[Instance]) -> str:
    names = {instance.id: instance.name for instance in instances}
    return next(iter(names.values()), "") if len(names) < 2 else f"{len(names)} instances"
