"""Pruning: the contents of old versions go, those of a version that a host holds or may hold never do.

Number, digests, author and times of a version stay for ever: the history speaks of them.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

import msgspec

from dbmod import clock, errors, history, lookup, rollouts
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Module, Row, Run, Version
from dbmod.store.interface import Tables

MAY_BE_THERE = ("ok", "error", "unknown")  # states of an attempt that began on its host, or saw what was there
REPLACE = msgspec.structs.replace


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the contents of a version may go."""

    version: Version
    stays: str  # why; "" where they may go


def plan(context: Context, reference: str, *, keep: int | None, older_than_days: int | None) -> list[Verdict]:
    """Judge all versions of a module whose contents are there. Nothing is written.

    keep             so many of the newest versions stay
    older_than_days  only versions made before that may go
    Raises           BadInput where neither is given; NotFound; Refused for an admin's module
    """
    return _judged(context, context.store.snapshot(), reference, keep=keep, older_than_days=older_than_days)[1]


def prune(
    context: Context, reference: str, numbers: Collection[int], *, keep: int | None, older_than_days: int | None
) -> list[Version]:
    """Drop the contents of the versions that were planned, as far as they may still go.

    The registry says so before the first contents go: what is killed in between leaves contents that nobody names, and
    the next pruning of the module removes them.

    numbers  of the versions that the user has agreed to
    """
    with context.transaction("module-prune") as tables:
        module, verdicts = _judged(context, tables, reference, keep=keep, older_than_days=older_than_days)
        going = {one.version.number for one in verdicts if not one.stays and one.version.number in numbers}
        now = clock.now()
        versions = [REPLACE(one, pruned_at=now) if one.number in going else one for one in module.versions]
        if going:
            tables.put(REPLACE(module, versions=tuple(versions)))
            history.note(
                tables,
                "module-prune",
                actor=context.actor.name,
                reason=context.reason,
                module_id=module.id,
                options={"pruned": sorted(going)},
            )
    for one in versions:
        if one.pruned_at:
            context.store.delete_contents(module.id, one.number)
    return [one for one in versions if one.number in going]


def decide(
    module: Module, needed: Mapping[int, str], *, keep: int | None, made_before: datetime | None
) -> list[Verdict]:
    """Judge the versions whose contents are there, the oldest first. Pure.

    needed  number → why hosts or runs need it
    """
    newest = {one.number for one in module.versions[-keep:]} if keep else set()
    verdicts = []
    for one in module.versions:
        if one.pruned_at:
            continue
        stays = needed.get(one.number, "")
        if one is module.current:
            stays = "it is the current one"
        elif not stays and one.number in newest:
            stays = f"it is among the newest {keep}"
        elif not stays and made_before and one.created_at >= made_before:
            stays = "it is not that old"
        verdicts.append(Verdict(version=one, stays=stays))
    return verdicts


def needed(
    rows: Iterable[Row], instances: Iterable[Instance], runs: Iterable[Run], attempts: Iterable[Attempt]
) -> dict[int, str]:
    """Say which versions of a module hosts hold or may hold, or a run may bring to them: number → why. Pure.

    A host holds what its row says, proven at the row's serial. It may hold what came after and was not proven: what
    failed midway, was not heard, or was found by a look; and all it ever got, where a look found something else.

    rows, attempts  of this module
    instances       living ones
    """
    names = {one.id: one.name for one in instances}
    by_instance = {one.instance_id: one for one in rows if one.instance_id in names}
    by_run = {one.id: one for one in runs}
    found: dict[int, str] = {}
    for attempt in attempts:
        run, row = by_run.get(attempt.run_id), by_instance.get(attempt.instance_id)
        if run is None or attempt.instance_id not in names:
            continue
        on_host = names[attempt.instance_id]
        if run.is_open or _may_go_back(run, row):
            for number in (attempt.number, attempt.from_number):
                found[number or 0] = f"run {run.id} ({run.state}) may need it on '{on_host}'"
        elif _may_hold(attempt, run, row):
            found[attempt.number] = f"'{on_host}' may hold it: run {run.id}, {attempt.state}"
    return found | {row.held or 0: f"'{names[row.instance_id]}' holds it" for row in by_instance.values()}


def _may_go_back(run: Run, row: Row | None) -> bool:
    """Tell whether a run that failed may still put back what was there: nothing has been proven on the host since."""
    return rollouts.rolls_back(run) and run.state != "done" and (row is None or row.serial <= run.serial)


def _may_hold(attempt: Attempt, run: Run, row: Row | None) -> bool:
    """Tell whether an attempt left, or found, on the host what its row does not prove."""
    if attempt.state not in MAY_BE_THERE:
        return False
    if row is None or row.observed not in (None, "in sync"):
        return True
    return run.serial > row.serial or (run.serial == row.serial and attempt.state != "ok")


def _judged(
    context: Context, tables: Tables, reference: str, *, keep: int | None, older_than_days: int | None
) -> tuple[Module, list[Verdict]]:
    if keep is None and older_than_days is None:
        raise errors.BadInput("What is to stay was not said.", next_step="--keep N, --older-than DAYS, or both")
    module = lookup.module(tables, reference, actor=context.actor)
    if module.is_admin and not context.actor.admin:
        raise errors.Refused("You must be admin to prune the versions of an admin module.")
    wanted = needed(
        tables.find(Row, module_id=module.id),
        tables.find(Instance, deleted_at=None),
        tables.find(Run),
        tables.find(Attempt, module_id=module.id),
    )
    made_before = None if older_than_days is None else clock.now() - timedelta(days=older_than_days)
    return module, decide(module, wanted, keep=keep, made_before=made_before)
