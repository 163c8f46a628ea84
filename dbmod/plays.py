"""A run as the variables that the plays of a playbook take their hosts and batches from."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from dbmod import fleet, inventory, paces, rollouts
from dbmod.records import Attempt, Instance, Run
from dbmod.store.interface import Tables

AROUND = {"gate": False, "before_host": "", "after_host": ""}  # of a run's pace: what is done around each host
HOST_LISTS: tuple[str, ...] = (
    *("hosts", "look_hosts", "module_hosts", "watched_hosts", "way_back_hosts", "put_back_hosts"),
    *("members", "new_hosts", "leaving_hosts"),
)


def nothing() -> dict[str, Any]:
    """Give the plan of a play that has nothing to do: no hosts for the plays below."""
    plan = {"run": "", "verb": "", "cluster": "", "batch_sizes": [1], "delay": 0, **AROUND}
    return {"plan": plan | {name: [] for name in HOST_LISTS}, "msg": "Nothing to do."}


def plan_of(tables: Tables, run: Run) -> dict[str, Any]:
    """Write a run as the variables that the playbooks take their hosts and batches from.

    hosts           inventory names, in order; for create and the like those whose instances the run claims
    batch_sizes     of the module plays; of a run that was paused, what is left
    look_hosts      those of a run with batches that are looked at before the first one
    module_hosts    those that get or lose modules
    watched_hosts   those instead where a server is looked at (gate) before and after, or has the user's tasks around it
    way_back_hosts  again those, where what was changed is put back when too much fails
    put_back_hosts  those that a rollback is about
    members         of the run's cluster, all living ones in order; new_hosts and leaving_hosts are among them
    """
    planned = tables.find(Attempt, run_id=run.id, state="planned")
    attempts = sorted(planned, key=lambda attempt: attempt.position)
    sizes = Counter(batch for batch, _ in {(one.batch, one.instance_id) for one in attempts if one.batch > 0})
    host_names = inventory.host_names(tables.find(Instance, deleted_at=None))
    claimed = _unique(host_names[one.instance_id] for one in attempts if one.batch == 0)
    touched = _unique(host_names[one.instance_id] for one in attempts if one.batch > 0)
    members = fleet.members_of(tables, run.cluster_id) if run.cluster_id else []
    pace = run.options.get("pace", {})
    around = {name: pace.get(name, value) for name, value in AROUND.items()}
    is_watched, is_back = any(around.values()) and not run.options.get("check"), run.verb == "rollback"
    return {
        "run": run.id,
        "verb": run.verb,
        "hosts": claimed or touched,
        "look_hosts": touched if _looks_first(run) and not is_back else [],
        "module_hosts": touched if not (is_watched or is_back) else [],
        "watched_hosts": touched if is_watched and not is_back else [],
        "way_back_hosts": touched if rollouts.rolls_back(run) else [],
        "put_back_hosts": touched if is_back else [],
        "batch_sizes": [sizes[batch] for batch in sorted(sizes)] or [1],
        **around,
        "replicas_first": bool(pace.get("replicas_first")),
        "max_lag_seconds": pace.get("max_lag_seconds", paces.DEFAULT_MAX_LAG_SECONDS),
        "delay": run.delay_seconds,
        "cluster": run.cluster_id or "",
        "members": [host_names[member.id] for member in members],
        "new_hosts": claimed if run.verb in ("create", "grow") else [],
        "leaving_hosts": claimed if run.verb in ("shrink", "delete") else [],
    }


def _looks_first(run: Run) -> bool:
    """Tell whether the hosts of a run are all looked at before its first batch."""
    pace = run.options.get("pace", {})
    is_wanted = bool(pace.get("reach_first") or pace.get("replicas_first"))
    return is_wanted and sum(run.batch_sizes) > 1 and run.batch == 0


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
