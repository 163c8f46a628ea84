"""Whether the next batch of a run may start: stops, pauses, budgets, the hour."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from dbmod import clock, errors, ledger
from dbmod.records import Attempt, Run
from dbmod.store.interface import Tables

REPLACE = msgspec.structs.replace


def start_batch(tables: Tables, run_id: str, batch: int) -> str:
    """Mark a batch as started, or close the run, or let it pause.

    Returns  "" when the batch may start, else why not
    """
    run = tables.get(Run, run_id)
    if run is None or not run.is_open:
        return f"the run has ended: {run.state if run else 'it is not in the ledger'}"
    attempts = tables.find(Attempt, run_id=run.id)
    if why := reason_to_stop(run, attempts):
        ledger.close(tables, run.id, message=why)
        return why
    if why := reason_to_pause(run, batch, now=clock.now()):
        tables.put(REPLACE(run, state="paused", owner=None, message=why))
        return why
    now = clock.now()
    waiting = [attempt for attempt in attempts if attempt.batch == batch and attempt.state == "planned"]
    begun = [REPLACE(attempt, started_at=now) for attempt in waiting]
    tables.put(REPLACE(run, batch=batch, renewed_at=now), *begun)
    return ""


def is_spent(run: Run, attempts: Sequence[Attempt]) -> bool:
    """Tell whether a run failed on more hosts than it was allowed to."""
    return bool(_overspent(run, attempts))


def request_pause(tables: Tables, run_id: str, *, by: str) -> Run:
    """Ask a run to pause after the batch in flight. Raises Refused where nothing could go on then."""
    run = ledger.open_run(tables, run_id)
    if run.state == "paused":
        return run
    if not run.may_go_on:
        raise errors.Refused(f"The run {run.id} ({run.title}) is none that could go on.", next_step=run.ways_out)
    pausing = REPLACE(run, state="pausing", message=f"paused by {by}")
    tables.put(pausing)
    return pausing


def reason_to_stop(run: Run, attempts: Sequence[Attempt]) -> str:
    return f"stopped by {run.stop_requested_by}" if run.stop_requested_by else _overspent(run, attempts)


def _overspent(run: Run, attempts: Sequence[Attempt]) -> str:
    failed = {one.instance_id for one in attempts if one.batch > 0 and one.has_failed}
    dead = {one.instance_id for one in attempts if one.batch > 0 and one.state == "unreachable"}
    if run.max_errors is not None and len(failed) > run.max_errors:
        return f"failed hosts: {len(failed)}, and --max_errors allows {run.max_errors}"
    if run.max_unreachable is not None and len(dead) > run.max_unreachable:
        return f"unreachable hosts: {len(dead)}, and --max_unreachable allows {run.max_unreachable}"
    return ""


def reason_to_pause(run: Run, batch: int, *, now: datetime) -> str:
    if run.state == "pausing":
        return run.message
    if run.not_after is not None and now >= run.not_after:
        return f"no batch starts after {clock.local(run.not_after)} (--not-after)"
    if run.pause_after and batch > run.pause_after:
        return "the canary is done"
    return ""
