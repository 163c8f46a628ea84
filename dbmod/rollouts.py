"""What may follow a run that carries modules to hosts: going on with it, or putting back what it changed."""

from collections.abc import Iterable, Sequence

import msgspec

from dbmod import clock, errors, holds, ledger, lookup, operations, paces
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.paces import Pace
from dbmod.planning import Work
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.selection import Selection
from dbmod.store.interface import Tables

OF_ITS_OWN = ("pace", "skipped")  # options that a run does not hand on to the one that goes on with it
CHECKED = ("apply", "reapply")  # whose module must be what it was when they were planned


def plan_resume(context: Context, reference: str) -> Planned:
    """Plan to go on with a run that is paused, or has ended before all was done: what is done is not done again.

    A paused run goes on itself. One that has ended is followed by a run over the rest, with the same contents, batches,
    delay and budgets; a host that finished without being heard is told so, and does nothing twice.
    """
    with context.transaction("run-resume") as tables:
        run = lookup.run(tables, reference)
        _refuse_unfit(tables, run)
        tried = _about_modules(tables, run)
        if run.state == "paused":
            rest = [one for one in tried if one.state == "planned"]
        else:
            rest = [one for one in tried if one.is_bad or one.state == "cancelled"]
        _refuse_moved(tables, run, rest)
        if run.state == "paused":
            left = _leave_held(tables, rest)
            if not tables.find(Attempt, run_id=run.id, state="planned"):
                ledger.end(tables, run, message="all that was left is on hold")
                return Planned(run=None, skipped=tuple(left))
            return Planned(run=run, skipped=tuple(left))
        work, missing = _work(tables, rest, back=False)
        modules = [] if run.verb == "remove" else list(dict.fromkeys(one.module for one in work if one.module))
        ready, skipped = _ready(context, work, modules)
        return operations.write(
            tables,
            context,
            run.verb,
            ready,
            pace=_pace_of_rest(run, tried),
            skipped=[*skipped, *missing],
            options={name: value for name, value in run.options.items() if name not in OF_ITS_OWN},
            module_id=run.module_id,
            follows=run.id,
        )


def plan_rollback(context: Context, run_id: str) -> Planned:
    """Plan to put back, on the hosts that a run changed, the version each had; what it had not is removed again.

    Its batches are of the run's last size. Between them it waits only where a type restarts the server, which needs
    the time to settle: nobody has to look at each step on a way back. No hour stops it halfway. With a gate each server
    has to be well afterwards; before it may well not be. The user's tasks are around the run, not around this.
    """
    with context.transaction("rollback") as tables:
        run = lookup.run(tables, run_id)
        changed = [one for one in _about_modules(tables, run) if _may_have_changed(run, one)]
        work, missing = _work(tables, changed, back=True)
        ready, skipped = _ready(context, work, [])
        asked = _pace(run)
        return operations.write(
            tables,
            context,
            "rollback",
            ready,
            pace=msgspec.structs.replace(
                asked,
                delay_seconds=asked.delay_seconds if operations.restarts(ready, context) else 0,
                max_errors=None,
                max_unreachable=None,
                not_after="",
                on_failure="stop",
                before_host="",
                after_host="",
            ),
            skipped=[*skipped, *missing],
            options={"check": False},
            module_id=run.module_id,
            follows=run.id,
        )


def pace(run: Run) -> Pace:
    """Give the pace that a run was planned with."""
    return msgspec.convert(run.options.get("pace", {}), Pace)


def rolls_back(run: Run) -> bool:
    """Tell whether a run was asked to put back what it changed when too much fails."""
    return bool(run.options.get("pace", {}).get("on_failure") == "rollback")


def followers(tables: Tables, run_id: str) -> list[Run]:
    """Give the runs that follow one, the first first."""
    return sorted((one for one in tables.find(Run) if one.follows == run_id), key=lambda one: one.serial)


def gone_on_with(tables: Tables, run: Run) -> tuple[str, ...]:
    """Name the runs that a run goes on with, the last first. A rollback goes on with none: it takes one back."""
    earlier = tables.get(Run, run.follows) if run.follows else None
    if earlier is None or earlier.verb != run.verb:
        return ()
    return (earlier.id, *gone_on_with(tables, earlier))


def _refuse_unfit(tables: Tables, run: Run) -> None:
    show = f"dbmod run-show {run.id}"
    if not run.may_go_on:
        raise errors.Refused(f"The run {run.id} ({run.title}) is none that could go on.", next_step=show)
    if run.is_open and run.state != "paused":
        raise errors.Refused(f"The run {run.id} is {run.state} already.", next_step=show)
    for later in followers(tables, run.id):
        what = "has been rolled back" if later.verb == "rollback" else "goes on"
        raise errors.Refused(f"The run {run.id} {what} in run {later.id}.", next_step=f"dbmod run-show {later.id}")


def _refuse_moved(tables: Tables, run: Run, rest: Iterable[Attempt]) -> None:
    """Refuse where the module is no longer what the run was planned with; an earlier version asked for may go on."""
    if run.verb not in CHECKED:
        return
    for number, module_id in sorted({(one.number, one.module_id) for one in rest}):
        module = tables.get(Module, module_id)
        name = module.name if module else module_id
        if module is None or module.deleted_at is not None:
            raise errors.Refused(f"Module '{name}' has been deleted since the run {run.id} was planned.")
        if module.current.number != number and not run.options.get("version"):
            again = f"dbmod module-reapply {name}" if run.verb == "reapply" else f"dbmod module-apply … {name}"
            raise errors.Refused(
                f"Module '{name}' has moved on: the run {run.id} carries version {number}, "
                f"and the current one is {module.current.number}.",
                next_step=f"dbmod run-cancel {run.id}, then {again}" if run.is_open else again,
            )


def _about_modules(tables: Tables, run: Run) -> list[Attempt]:
    found = [one for one in tables.find(Attempt, run_id=run.id) if one.module_id and one.batch > 0]
    return sorted(found, key=lambda one: one.place)


def _may_have_changed(run: Run, attempt: Attempt) -> bool:
    """Tell whether the host may hold something else now: it said so, or it began and was not heard."""
    touched = attempt.state in ("ok", "unknown") or (attempt.state == "error" and attempt.evidence is not None)
    return touched and (run.verb == "remove" or attempt.number != attempt.from_number)


def _leave_held(tables: Tables, rest: Iterable[Attempt]) -> list[operations.Skipped]:
    """Close what a paused run would do to instances that were put on hold since; they are named."""
    now = clock.now()
    left = {}
    for one in rest:
        instance = tables.get(Instance, one.instance_id)
        if instance and (held := holds.why(instance, now=now)):
            ledger.put_closed(tables, msgspec.structs.replace(one, state="skipped", message=held, ended_at=now))
            left[instance.id] = operations.Skipped(instance=instance.name, why=held)
    return list(left.values())


def _work(tables: Tables, attempts: Iterable[Attempt], *, back: bool) -> tuple[list[Work], list[operations.Skipped]]:
    """Make work of attempts; an instance that is gone is named instead."""
    work, missing = [], {}
    for one in attempts:
        instance, module = tables.get(Instance, one.instance_id), tables.get(Module, one.module_id)
        if instance is None or instance.deleted_at is not None:
            name = instance.name if instance else one.instance_id
            missing[one.instance_id] = operations.Skipped(instance=name, why="it has been deleted")
        elif back:
            work.append(
                Work(instance=instance, module=module, number=one.from_number or 0, from_number=one.number or None)
            )
        else:
            row = tables.get(Row, one.instance_id, within=one.module_id)
            held = row.held if row and row.removed_at is None else None
            work.append(Work(instance=instance, module=module, number=one.number, from_number=held))
    return work, list(missing.values())


def _ready(
    context: Context, work: Sequence[Work], modules: Sequence[Module]
) -> tuple[list[Work], list[operations.Skipped]]:
    """Split work: on instances that are ready for these modules, and those that are skipped with the reason."""
    instances = {one.instance.id: one.instance for one in work}
    chosen, skipped = operations.ready(
        list(instances.values()), modules, selection=Selection(all=True), settings=context.settings
    )
    ready = {one.id for one in chosen}
    return [one for one in work if one.instance.id in ready], skipped


def _pace(run: Run) -> Pace:
    """Give the pace of a run for one that follows it: without its beginning, and with its budgets in hosts."""
    asked = pace(run)
    first = str(asked.batch_size).split(",")[-1] if asked.batch_size is not None else None
    return msgspec.structs.replace(
        asked,
        batch_size=first,
        ramp=False,
        canary=0,
        max_errors=run.max_errors,
        max_unreachable=run.max_unreachable,
    )


def _pace_of_rest(run: Run, attempts: Iterable[Attempt]) -> Pace:
    """Give the pace for what a run left: its batches from the one on that was not done, which may be its canary."""
    asked = pace(run)
    planned = paces.plan(asked, hosts=sum(run.batch_sizes), restarts=True)  # settled, but by an older dbmod
    is_done = all(one.state == "ok" for one in attempts if one.batch == run.batch)
    done = run.batch if is_done else max(0, run.batch - 1)
    canary = planned.sizes[0] if done < planned.pause_after else 0
    sizes = planned.sizes[min(max(done, planned.pause_after), len(planned.sizes) - 1) :]
    return msgspec.structs.replace(_pace(run), batch_size=",".join(map(str, sizes)), canary=canary)
