"""Instances and clusters that are there: plan to change and delete them, record what became of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from dbmod import clock, conflicts, datastores, errors, history, holds, ledger, lookup, names, planning, providers
from dbmod.context import Context
from dbmod.records import Attempt, Cluster, Instance, InstanceStatus, Run
from dbmod.store.interface import Tables

REPLACE = msgspec.structs.replace
FACTS = (  # what a provider may find out
    "address",
    "datastore_version",
    "host_keys",
    "port",
    "provider_facts",
    "ram_mib",
    "restart_command",
    "server_id",
    "vcpus",
    "volume_gb",
    "volume_id",
)
TASKS = {
    "create": ("BUILDING", "Building the initial cluster."),
    "grow": ("GROWING_CLUSTER", "Increasing cluster size."),
    "shrink": ("SHRINKING_CLUSTER", "Decreasing cluster size."),
    "delete": ("DELETING", "Deleting the cluster."),
}


def plan_cluster_shrink(context: Context, reference: str, leaving: Sequence[str]) -> tuple[Cluster, Run]:
    """Plan to take members out of a cluster and delete them."""
    with context.transaction("cluster-shrink") as tables:
        gone = {lookup.instance(tables, name, actor=context.actor).id for name in leaving}
        cluster = idle_cluster(tables, context, reference, leaving=gone)
        _refuse_adopted(f"Cluster '{cluster.name}'", cluster.provider, f"--cluster {cluster.name}")
        members = members_of(tables, cluster.id)
        strangers = gone - {member.id for member in members}
        if strangers:
            raise errors.BadInput(
                f"Not in cluster '{cluster.name}': {', '.join(sorted(strangers))}",
                next_step=f"dbmod cluster-instances {cluster.name}",
            )
        datastores.check_cluster(cluster.datastore, len(members) - len(gone))
        return cluster, plan_claim(
            tables, context, "shrink", "cluster_shrink", [one for one in members if one.id in gone], cluster=cluster
        )


def plan_cluster_delete(context: Context, reference: str) -> tuple[Cluster, Run]:
    with context.transaction("cluster-delete") as tables:
        cluster = lookup.cluster(tables, reference, actor=context.actor)
        _refuse_adopted(f"Cluster '{cluster.name}'", cluster.provider, f"--cluster {cluster.name}")
        members = members_of(tables, cluster.id)
        return cluster, plan_claim(tables, context, "delete", "cluster_delete", members, cluster=cluster)


def plan_delete(context: Context, reference: str) -> tuple[Instance, Run]:
    with context.transaction("delete") as tables:
        instance = lookup.instance(tables, reference, actor=context.actor)
        _refuse_adopted(f"Instance '{instance.name}'", instance.provider, instance.name)
        if instance.cluster_id:
            raise errors.Refused(
                f"Instance '{instance.name}' is a member of a cluster.",
                next_step=f"dbmod cluster-shrink {instance.cluster_id} {instance.name}, or dbmod cluster-delete",
            )
        return instance, plan_claim(tables, context, "delete", "instance_delete", [instance])


def plan_restart(context: Context, reference: str) -> tuple[Instance, Run]:
    with context.transaction("restart") as tables:
        instance = lookup.instance(tables, reference, actor=context.actor)
        if instance.status == "BUILD":
            raise errors.Refused(f"Instance '{instance.name}' is still being built.", next_step="dbmod run-list")
        if instance.built_at is None:
            raise errors.Refused(
                f"Instance '{instance.name}' was never built.",
                details={"fault": instance.fault},
                next_step=f"dbmod delete {instance.name}, then create it again",
            )
        if not providers.describe(instance.provider).creates and not instance.restart_command:
            raise errors.Refused(
                f"No restart command of instance '{instance.name}' is known.",
                next_step="adopt it once more with --restart-command 'systemctl restart …'",
            )
        return instance, plan_claim(tables, context, "restart", "instance_restart", [instance])


def _refuse_adopted(what: str, provider: str, reference: str) -> None:
    if not providers.describe(provider).creates:
        raise errors.Refused(
            f"{what} was adopted, so dbmod does not delete its server.",
            next_step=f"dbmod release {reference} forgets it and touches nothing",
        )


def rename(context: Context, reference: str, name: str) -> Instance:
    """Give an instance another name; nothing on its host changes."""
    refuse_bad_name(name)
    with context.transaction("update") as tables:
        instance = lookup.instance(tables, reference, actor=context.actor)
        conflicts.refuse(tables, "update", [planning.Work(instance=instance, module=None)])  # its host is known by name
        renamed = REPLACE(instance, name=name, updated_at=clock.now())
        tables.put(renamed)
        history.note(tables, "update", actor=context.actor.name, reason=context.reason, instance_ids=[instance.id])
    return renamed


def record(
    tables: Tables,
    run: Run,
    *,
    status: InstanceStatus,
    faults: Mapping[str, str],
    facts: Mapping[str, Mapping[str, Any]],
    untouched: Collection[str] = (),
    unreached: Collection[str] = (),
) -> list[Instance]:
    """Write what became of the instances that a run claims.

    status     what they are now where nothing went wrong: ACTIVE or DELETED
    faults     instance id → why it failed, also for hosts that dropped out
    facts      instance id → what the provider found out, any of FACTS
    untouched  those that failed before anything was done to them: they stay what they are
    unreached  those of them whose host was not reached
    """
    now = clock.now()
    claims = [claim for claim in tables.find(Attempt, run_id=run.id, module_id="") if claim.state == "planned"]
    changed = []
    for claim in claims:
        instance = tables.get(Instance, claim.instance_id)
        if instance is None:
            continue
        fault = faults.get(instance.id, "")
        stays = run.verb == "shrink" or instance.id in untouched
        known = checked_facts(instance, facts.get(instance.id, {}))
        changed.append(
            REPLACE(
                instance,
                status=status if not fault else instance.status if stays else "ERROR",
                fault=instance.fault if instance.id in untouched else fault,
                built_at=instance.built_at or (now if status == "ACTIVE" and not fault else None),
                updated_at=now,
                deleted_at=now if status == "DELETED" and not fault else None,
                **known,
            )
        )
        state, verdict = ("error", "ERROR") if fault else ("ok", "OK")
        if instance.id in unreached:
            state, verdict = "unreachable", ""
        ledger.put_closed(tables, REPLACE(claim, state=state, status=verdict, message=fault, ended_at=now))
    tables.put(*changed)
    ledger.close_rows(tables, [one.id for one in changed if one.deleted_at])
    _abandon_modules_of(tables, run, [one.id for one in changed if one.status == "ERROR"])
    if run.cluster_id:
        _record_cluster(tables, run)
    return changed


def learn(tables: Tables, instance_id: str, facts: Mapping[str, Any]) -> None:
    """Write what a provider has found out of an instance that is still being built."""
    instance = tables.get(Instance, instance_id)
    if instance is None:
        raise errors.InternalError(f"the instance {instance_id} is not in the fleet")
    tables.put(REPLACE(instance, updated_at=clock.now(), **checked_facts(instance, facts)))


def checked_facts(instance: Instance, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a provider may say about an instance. Ansible gives numbers as text; the ledger reads no such port."""
    told = {name: facts[name] for name in FACTS if name in facts}
    if "provider_facts" in told:
        told["provider_facts"] = instance.provider_facts | told["provider_facts"]
    try:
        checked = msgspec.convert(msgspec.to_builtins(instance) | told, Instance, strict=False)
    except msgspec.ValidationError as error:
        raise errors.InternalError(f"The provider '{instance.provider}' told what cannot be: {error}") from error
    return {name: getattr(checked, name) for name in told}


def members_of(tables: Tables, cluster_id: str) -> list[Instance]:
    """Give the living members of a cluster, in the order of their numbers."""
    members = tables.find(Instance, cluster_id=cluster_id, deleted_at=None)
    return sorted(members, key=lambda member: (member_number(member.name), member.name))


def plan_claim(
    tables: Tables,
    context: Context,
    verb: str,
    playbook: str,
    instances: Sequence[Instance],
    *,
    cluster: Cluster | None = None,
    options: Mapping[str, Any] | None = None,
) -> Run:
    """Write a run that does something to whole instances, and claims them for as long as it goes on.

    cluster  busy with it until then
    Raises   Refused where one is to be left alone
    """
    now = clock.now()
    for instance in instances if verb != "adopt" else ():  # which only looks
        holds.refuse_held(instance, now=now)
    if cluster:
        set_task(tables, cluster, verb)
    run = ledger.plan(
        tables,
        verb=verb,
        playbook=playbook,
        work=[],
        spread=[],
        actor=context.actor.name,
        reason=context.reason,
        cluster_id=cluster.id if cluster else None,
        options=options,
    )
    return ledger.plan_instances(tables, run, instances)


def idle_cluster(tables: Tables, context: Context, reference: str, *, leaving: Collection[str] = ()) -> Cluster:
    cluster = lookup.cluster(tables, reference, actor=context.actor)
    if cluster.task_name != ledger.IDLE[0]:
        raise errors.Refused(
            f"Cluster '{cluster.name}' is busy: {cluster.task_description}", next_step="dbmod run-list"
        )
    members = [member for member in members_of(tables, cluster.id) if member.id not in leaving]
    broken = [member.name for member in members if member.status != "ACTIVE"]
    if broken:
        raise errors.Refused(
            f"Cluster '{cluster.name}' has members that are not ACTIVE: {', '.join(broken)}",
            next_step=f"dbmod restart {broken[0]}, or dbmod cluster-shrink {cluster.name} {broken[0]}",
        )
    return cluster


def set_task(tables: Tables, cluster: Cluster, verb: str) -> None:
    task_name, task_description = TASKS[verb]
    tables.put(REPLACE(cluster, task_name=task_name, task_description=task_description, updated_at=clock.now()))


def _record_cluster(tables: Tables, run: Run) -> None:
    cluster = tables.get(Cluster, run.cluster_id or "")
    if cluster is None:
        return
    gone = run.verb == "delete" and not members_of(tables, cluster.id)
    task_name, task_description = ledger.IDLE
    tables.put(
        REPLACE(
            cluster,
            task_name=task_name,
            task_description=task_description,
            updated_at=clock.now(),
            deleted_at=clock.now() if gone else None,
        )
    )


def _abandon_modules_of(tables: Tables, run: Run, instance_ids: Sequence[str]) -> None:
    for instance_id in instance_ids:
        for attempt in tables.find(Attempt, run_id=run.id, instance_id=instance_id, state="planned"):
            message = "its instance was not built"
            ledger.put_closed(tables, REPLACE(attempt, state="cancelled", message=message, ended_at=clock.now()))


def refuse_bad_name(name: str) -> None:
    if not names.is_valid_name(name):
        raise errors.BadInput(
            f"The name {name[:300]!r} is not valid.",
            next_step="use 1 to 255 characters with a letter or digit, no control character, no `/`, not `.` or `..`",
        )


def member_number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
