"""From what a host said to what the ledger holds. Pure.

A live row changes only on evidence: a result of the host that names this run, this module and this digest.
"""

from datetime import datetime

import msgspec

from dbmod.records import LEFT_ALONE, Attempt, Evidence, Row, Run
from dbmod.transport import Answer, Result

NOTHING_RAN = "the host was not reached"
NO_ANSWER = "it started on the host, and no answer came"
NOTHING_THERE = "the host has nothing of it"
EARLIER = "its result is of an earlier run"
REPLACE = msgspec.structs.replace


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came back from one host."""

    instance: str  # its id
    answer: Answer
    reason: str = ""  # why there is no answer, or not a whole one
    was_refused: bool = False  # by dbmod itself on the controller: the host was never asked
    was_left_alone: bool = False  # it was not well before, or what the user wants done before did not go well
    trouble: str = ""  # what went wrong around the host after its modules had come


def not_asked(instance_id: str, reason: str, *, was_refused: bool = False, was_left_alone: bool = False) -> Outcome:
    """Give the outcome of a host that was sent nothing."""
    silence = Answer(started=False, finished=False, results=())
    return Outcome(
        instance=instance_id, answer=silence, reason=reason, was_refused=was_refused, was_left_alone=was_left_alone
    )


def judge(attempt: Attempt, run: Run, outcome: Outcome | None, *, at: datetime) -> Attempt:
    """Close a planned attempt of apply or remove by what the host said.

    outcome  None: the host dropped out of the play before it was tried
    """
    result = _result_of(attempt, outcome)
    if outcome is not None and outcome.was_refused:
        return REPLACE(attempt, state="error", status="ERROR", message=outcome.reason, ended_at=at)
    if outcome is not None and outcome.was_left_alone:
        return REPLACE(attempt, state="skipped", status=LEFT_ALONE, message=outcome.reason, ended_at=at)
    if outcome is None or (result is None and not outcome.answer.started):
        reason = (outcome.reason if outcome else "") or NOTHING_RAN
        return REPLACE(attempt, state="unreachable", message=reason, ended_at=at)
    if result is None:
        return REPLACE(attempt, state="unknown", message=outcome.reason or NO_ANSWER, ended_at=at)
    if run.options.get("check") or result.note == "differs":
        status = "" if result.note == "differs" else result.status  # what applying would come to is no verdict here
        return REPLACE(
            attempt, state="skipped", status=status, message=result.message, changed=result.changed, ended_at=at
        )
    if not is_proven(attempt, run, result.evidence, status=result.status):
        state = "error" if result.status == "ERROR" and result.evidence is None else "unknown"
        return REPLACE(attempt, state=state, status=result.status, message=result.message, ended_at=at)
    is_well = result.status == "OK" and not outcome.trouble
    return REPLACE(
        attempt,
        state="ok" if is_well else "error",
        status="OK" if is_well else "ERROR",
        message=result.message if is_well or result.status == "ERROR" else outcome.trouble,
        changed=result.changed,
        ended_at=at,
        evidence=result.evidence,
    )


def removes(run: Run, attempt: Attempt) -> bool:
    """Tell whether an attempt takes its module away: also where a rollback finds that the host had none."""
    return run.verb == "remove" or (run.verb == "rollback" and attempt.number == 0)


def is_proven(attempt: Attempt, run: Run, evidence: Evidence | None, *, status: str) -> bool:
    """Tell whether the host's result is about this very attempt, and says what the host said: *status*."""
    if evidence is None or evidence.status != status:
        return False
    named = (evidence.run, evidence.serial, evidence.instance, evidence.module)
    if named != (run.id, run.serial, attempt.instance_id, attempt.module_id):
        return False
    if removes(run, attempt):
        return evidence.status == "ERROR" or evidence.removed is not None
    return evidence.removed is None and (evidence.version_number, evidence.sha256) == (attempt.number, attempt.sha256)


def row_after(row: Row | None, attempt: Attempt, run: Run) -> Row | None:
    """Give the live row after a closed attempt of apply or remove; None where there is none.

    row  before; None where the module was never tried there
    """
    evidence = attempt.evidence
    if attempt.state not in ("ok", "error") or evidence is None:
        return row
    if evidence.status == "ERROR":  # an attempt may also have failed by what happened after the module was there
        return failed(row, evidence)
    return removed(row, evidence) if removes(run, attempt) else applied(row, evidence)


def look(row: Row | None, result: Result | None, *, at: datetime) -> Row | None:
    """Compare a live row with what a query found on its host; held and status stay.

    result  None: the host has nothing of this module
    """
    if row is None or row.removed_at is not None:
        return row
    evidence, note = (result.evidence, result.note) if result else (None, "")
    if note == "unknown":
        observed = "unknown"
    elif evidence is None or evidence.removed is not None:
        observed = "missing" if row.held is not None else "in sync"
    elif note in ("drifted", "missing"):
        observed = note
    else:
        observed = "drifted" if evidence.serial < row.serial else "in sync"
    detail = _seen(result) if observed != "in sync" else result.detail if result else ""
    return REPLACE(row, observed=observed, observed_at=at, observed_detail=detail)


def _seen(result: Result | None) -> str:
    """Say what a look found that is not in sync, other bytes by their digest."""
    if result is None or (result.evidence and result.evidence.removed):
        return NOTHING_THERE
    is_other = bool(result.observed and result.evidence and result.observed != result.evidence.sha256)
    return (result.detail or EARLIER) + (f": sha256 {result.observed}" if is_other else "")


def applied(row: Row | None, evidence: Evidence) -> Row:
    return Row(
        module_id=evidence.module,
        instance_id=evidence.instance,
        held=evidence.version_number,
        held_md5=evidence.md5,
        held_sha256=evidence.sha256,
        status="OK",
        message=evidence.message,
        last_attempt="ok",
        serial=evidence.serial,
        run_id=evidence.run,
        created_at=row.created_at if row else evidence.created,
        updated_at=evidence.updated,
    )


def failed(row: Row | None, evidence: Evidence) -> Row:
    never = Row(
        module_id=evidence.module,
        instance_id=evidence.instance,
        held=None,
        held_md5=None,
        held_sha256=None,
        status="ERROR",
        message="",
        last_attempt="error",
        serial=0,
        run_id="",
        created_at=evidence.created,
        updated_at=evidence.updated,
    )
    return REPLACE(
        row or never,
        status="ERROR",
        message=evidence.message,
        last_attempt="error",
        serial=evidence.serial,
        run_id=evidence.run,
        removed_at=evidence.removed,  # an apply that fails after a removal is live again, as on the host
        observed=None,
        observed_at=None,
        observed_detail="",
    )


def removed(row: Row | None, evidence: Evidence) -> Row:
    base = row or applied(None, evidence)
    return REPLACE(
        base,
        held=None,
        held_md5=None,
        held_sha256=None,
        status="OK",
        message=evidence.message,
        last_attempt="ok",
        serial=evidence.serial,
        run_id=evidence.run,
        updated_at=evidence.updated,
        removed_at=evidence.removed,
        observed=None,
        observed_at=None,
        observed_detail="",
    )


def _result_of(attempt: Attempt, outcome: Outcome | None) -> Result | None:
    if outcome is None:
        return None
    return outcome.answer.result(attempt.module_id)
