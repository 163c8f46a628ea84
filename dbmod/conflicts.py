"""Open runs that stand in the way of another one."""

from collections.abc import Sequence
from datetime import timedelta

from dbmod import clock, errors, planning, processes
from dbmod.records import ASKING, Attempt, Module, Run
from dbmod.store.interface import Tables

EXPIRES_AFTER = timedelta(hours=6)  # a run on another machine that was not renewed for so long is lost


def refuse(tables: Tables, verb: str, work: Sequence[planning.Work], *, but: str = "") -> None:
    """Refuse what another open run works on.

    but  a run that is in nobody's way: the one being planned
    """
    if verb in ASKING:
        return
    wanted = {(item.instance.id, item.module.id if item.module else "") for item in work}
    touched = {instance_id for instance_id, _ in wanted}
    names = {item.instance.id: item.instance.name for item in work}
    for run in tables.find(Run):
        if not run.is_open or run.verb in ASKING or run.id == but or is_dead(run):
            continue
        for attempt in tables.find(Attempt, run_id=run.id, state="planned"):
            whole = attempt.module_id == "" or (attempt.instance_id, "") in wanted
            if attempt.instance_id in touched and (whole or (attempt.instance_id, attempt.module_id) in wanted):
                raise errors.Refused(
                    f"Instance '{names[attempt.instance_id]}' is being worked on by run {run.id}.",
                    details={"run": f"{run.title} by {run.actor} since {clock.seconds(run.created_at)}, {run.state}"},
                    next_step=run.ways_out,
                )


def refuse_while_worked_on(tables: Tables, module: Module) -> None:
    """Refuse to take a module away that an open run still has to carry to hosts."""
    for run in tables.find(Run):
        if (
            run.is_open
            and not is_dead(run)
            and tables.find(Attempt, run_id=run.id, module_id=module.id, state="planned")
        ):
            raise errors.Refused(
                f"Module '{module.name}' is being worked on by run {run.id}.",
                next_step=run.ways_out,
            )


def is_dead(run: Run) -> bool:
    """Tell whether the process that carries out an open run is gone."""
    if not run.is_open or run.owner is None:
        return False
    if run.owner.host == processes.this_host():
        return not processes.is_alive(run.owner)
    return clock.now() - run.renewed_at > EXPIRES_AFTER
