"""The fleet and the cloud compared: what bears this ledger's mark and is not in the fleet, and the reverse."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from dbmod import cloud, cloud_machines, errors, history, marks
from dbmod.cloud_machines import Thing
from dbmod.context import Context
from dbmod.records import CHANGING_INSTANCES, Attempt, Instance, Run
from dbmod.store.interface import Tables

PROVIDER = "openstack"
STRANGE = "not in the fleet"
UNUSED = "nothing uses it"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that does not fit."""

    kind: str
    id: str
    name: str
    finding: str
    region: str
    thing: Thing | None = None  # in the cloud, which --clean may remove; None: something of the fleet's


def audit(context: Context) -> list[Finding]:
    """Ask every region that the fleet knows, in the project of the login. Raises Failed, Refused."""
    tables = context.store.snapshot()
    instances = tables.find(Instance, provider=PROVIDER)
    regions = sorted({one.region for one in instances}) or [context.settings.region]
    found: list[Finding] = []
    project = cloud.project(context.settings)
    for region in regions:
        things = cloud_machines.things(context.settings, marks.ledger_id(context.store), region=region)
        # After the listing: whatever was in the cloud by then, and is no leftover, has its instance in here.
        living = [
            one
            for one in context.store.snapshot().find(Instance, provider=PROVIDER, region=region, deleted_at=None)
            if one.provider_facts.get("project", project) == project
        ]
        found += compare(things, living, busy=busy(context.store.snapshot()), region=region)
    return found


def busy(tables: Tables) -> set[str]:
    """Give the ids of the instances that a run changes right now: what they have in the cloud comes and goes."""
    return {
        attempt.instance_id
        for run in tables.find(Run)
        if run.is_open and run.verb in CHANGING_INSTANCES
        for attempt in tables.find(Attempt, run_id=run.id, batch=0)
    }


def compare(things: Sequence[Thing], living: Sequence[Instance], *, busy: set[str], region: str) -> list[Finding]:
    """Find what does not fit. Pure."""
    by_id = {one.id: one for one in living}
    found = [_finding(one, STRANGE, region) for one in things if one.instance and one.instance not in by_id]
    for one in things:
        instance = by_id.get(one.instance)
        known = {"server": instance and instance.server_id, "volume": instance and instance.volume_id}.get(one.kind)
        if instance and known and known != one.id and instance.id not in busy:
            found.append(_finding(one, f"{instance.name} has another {one.kind}", region))
    pairs = [(one.id, one.cluster_id) for one in living]
    found += [_finding(one, UNUSED, region) for one in cloud_machines.unused(things, pairs)]
    present = {(one.kind, one.id): one for one in things}
    for instance in living:
        if instance.id in busy:
            continue
        found += _missing(instance, "server", instance.server_id, present, region)
        found += _missing(instance, "volume", instance.volume_id, present, region)
    return found


def _finding(thing: Thing, finding: str, region: str) -> Finding:
    return Finding(kind=thing.kind, id=thing.id, name=thing.name, finding=finding, region=region, thing=thing)


def _missing(
    instance: Instance,
    kind: Literal["server", "volume"],
    known: str | None,
    present: dict[tuple[str, str], Thing],
    region: str,
) -> list[Finding]:
    if not known:
        return []
    thing = present.get((kind, known))
    if thing is None:
        text = f"its {kind} is gone"
    elif kind == "server" and thing.status != "ACTIVE":
        text = f"its server is {thing.status}"
    else:
        return []
    return [Finding(kind="instance", id=instance.id, name=instance.name, finding=text, region=region)]


def clean(context: Context, findings: Sequence[Finding]) -> list[str]:
    """Remove what is in the cloud and nobody's. Returns what is left and why, a sentence each.

    Raises  Refused for a tenant: what bears the ledger's mark may be another's
    """
    if not context.actor.admin:
        raise errors.Refused("You must be admin to remove what is in the cloud and not in the fleet.")
    with context.transaction("audit") as tables:
        history.note(tables, "audit", actor=context.actor.name, reason=context.reason)
    left = []
    for region in sorted({one.region for one in findings}):
        unwanted = [one.thing for one in removable(findings) if one.thing and one.region == region]
        left += cloud_machines.remove(context.settings, unwanted, region=region)
    return left


def removable(findings: Sequence[Finding]) -> list[Finding]:
    """Choose what may be removed: never what an instance of the fleet has to do with."""
    return [one for one in findings if one.thing and one.finding in (STRANGE, UNUSED)]
