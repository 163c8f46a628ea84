"""What hosts answered when they were asked: by query, retrieve and reconcile."""

from collections.abc import Sequence

import msgspec

from dbmod import clock, evidence, planning, reconcile
from dbmod.evidence import Outcome
from dbmod.records import Attempt, Module, Row, Run
from dbmod.store.interface import Tables
from dbmod.transport import Result

LEAP = 10_000_000  # commits that a backup may be behind; a host that claims more is not believed
REPLACE = msgspec.structs.replace


def close(tables: Tables, run: Run, asked: Attempt, outcome: Outcome | None) -> tuple[list[Attempt], list[Row]]:
    """Close the attempt that asks a whole host, and add one for each module that the host or the ledger names."""
    now = clock.now()
    if outcome is None or not outcome.answer.finished:
        return [evidence.judge(asked, run, outcome, at=now)], []
    results = {result.module: _of_itself(result, asked) for result in outcome.answer.results}
    attempts = [REPLACE(asked, state="ok", ended_at=now)]
    rows = []
    for module in tables.find(Module):
        row = tables.get(Row, asked.instance_id, within=module.id)
        result = results.get(module.id)
        is_there = result is not None and not (result.evidence and result.evidence.removed)
        if not is_there and (row is None or row.held is None):
            continue
        if result is None and outcome.answer.problem:  # it said something that cannot be read, perhaps about this one
            result = _unread(module, outcome.answer.problem)
        correction = reconcile.correct(row, result, at=now) if run.verb == "reconcile" else None
        after = correction.after if correction else evidence.look(row, result, at=now)
        if after is not None and after is not row and run.verb != "retrieve":
            rows.append(after)
        said = _said(run, after, result)
        if correction and correction.what not in planning.DISAGREEING:  # of those it is told what was found
            said = correction.what
        attempts.append(_answer(asked, module, result, message=said, changed=correction is not None))
    return attempts, rows


def _of_itself(result: Result, asked: Attempt) -> Result:
    """Give what a host says of itself: of another instance it may say what it likes, and nobody believes it."""
    if result.evidence is None or result.evidence.instance == asked.instance_id:
        return result
    problem = "result.json names another instance"
    return REPLACE(result, status="ERROR", message=problem, note="unknown", detail=problem, evidence=None)


def _unread(module: Module, problem: str) -> Result:
    return Result(module=module.id, type=module.type, status="ERROR", message=problem, note="unknown", detail=problem)


def _said(run: Run, row: Row | None, result: Result | None) -> str:
    """Give what to tell of a module that was looked at: what is wrong with it there, else its own message."""
    message = result.message if result else ""
    is_kept = run.verb == "retrieve" and message.startswith("/")  # the path of the file it was written to
    if row is not None and row.observed in planning.DISAGREEING and not is_kept:
        return f"{row.observed}: {row.observed_detail}"
    return message


def _answer(asked: Attempt, module: Module, result: Result | None, *, message: str, changed: bool) -> Attempt:
    found = result.evidence if result else None
    return REPLACE(
        asked,
        module_id=module.id,
        state="ok",
        number=found.version_number if found else 0,
        sha256=found.sha256 if found else "",
        status=(found.status if found else ""),
        message=message,
        changed=changed,
        ended_at=clock.now(),
        evidence=found,
    )


def catch_up(tables: Tables, rows: Sequence[Row]) -> None:
    """Number on from what hosts have seen: a ledger restored from a backup is behind, and they refuse what is older."""
    seen = max((row.serial for row in rows), default=0)
    if tables.serial < seen <= tables.serial + LEAP:
        tables.advance(seen)
