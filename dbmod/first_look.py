"""The look at a run's hosts before its first batch: the dead are left out of the batches, replicas go before others."""

from collections.abc import Collection, Mapping

import msgspec

from dbmod import clock, evidence, ledger, paces, planning
from dbmod.paces import Pace
from dbmod.records import Attempt, Instance, Run
from dbmod.store.interface import Tables

REPLACE = msgspec.structs.replace


def take(tables: Tables, run: Run, *, dead: Mapping[str, str], replicas: Collection[str]) -> list[Attempt]:
    """Close what cannot be done, and spread the other hosts over the batches anew: a dead one is no canary.

    dead      instance id → why its host cannot be reached
    replicas  ids of those that copy from others
    Returns   the closed attempts
    """
    if not dead and not replicas:
        return []
    now = clock.now()
    planned = sorted(tables.find(Attempt, run_id=run.id, state="planned"), key=lambda one: one.position)
    closed = [
        evidence.judge(one, run, evidence.not_asked(one.instance_id, dead[one.instance_id]), at=now)
        for one in planned
        if one.instance_id in dead
    ]
    waiting = [one for one in planned if one.instance_id not in dead]
    known = {one.id: one for one in tables.find(Instance)}
    instances = [known[one] for one in dict.fromkeys(one.instance_id for one in waiting)]
    spread = planning.replicas_first(instances, replicas, sizes=_sizes(run))
    batch_sizes = tuple(len(batch) for batch in spread)
    tables.put(REPLACE(run, batch_sizes=batch_sizes), *planning.moved(waiting, spread))
    ledger.put_closed(tables, *closed)
    return closed


def _sizes(run: Run) -> tuple[int, ...]:
    """Give the sizes that were asked for: a planned batch may be smaller, as the last one or for a cluster's sake."""
    pace = msgspec.convert(run.options.get("pace", {}), Pace)
    if pace.batch_size is None:  # planned by an older dbmod
        return run.batch_sizes
    return paces.plan(pace, hosts=sum(run.batch_sizes)).sizes
