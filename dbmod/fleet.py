"""Instances and clusters: plan to create, change and delete them, record what became of them."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from dbmod import clock, datastores, errors, ids, ledger, lookup, names, operations, planning, providers
from dbmod.config import Settings
from dbmod.operations import Context
from dbmod.planning import Work
from dbmod.records import Attempt, Cluster, Instance, InstanceStatus, Module, Run
from dbmod.store.interface import Tables

REPLACE = msgspec.structs.replace
FACTS = ("address", "port", "server_id", "volume_id", "host_keys")  # what a provider may find out
TASKS = {
    "create": ("BUILDING", "Building the initial cluster."),
    "grow": ("GROWING_CLUSTER", "Increasing cluster size."),
    "shrink": ("SHRINKING_CLUSTER", "Decreasing cluster size."),
    "delete": ("DELETING", "Deleting the cluster."),
}


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A database user to make; the password is a secret and travels encrypted."""

    name: str
    password: str


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """What one instance is to be, alone or in a cluster."""

    flavor: str
    volume_gb: int = 1
    volume_type: str | None = None
    modules: tuple[str, ...] = ()
    nics: tuple[str, ...] = ()
    availability_zone: str | None = None
    region: str | None = None


class NewInstance(msgspec.Struct, frozen=True, kw_only=True):
    """What `create` asks for."""

    name: str
    member: Member
    datastore: str | None = None
    datastore_version: str | None = None
    provider: str | None = None
    locality: str | None = None
    databases: tuple[str, ...] = ()
    users: tuple[Account, ...] = ()


class NewCluster(msgspec.Struct, frozen=True, kw_only=True):
    """What `cluster-create` asks for."""

    name: str
    datastore: str
    datastore_version: str
    members: tuple[Member, ...]
    provider: str | None = None
    locality: str | None = None


def plan_create(context: Context, request: NewInstance) -> tuple[Instance, Run]:
    """Write a BUILD instance and the run that builds it; nothing is written where anything does not fit."""
    settings = context.settings
    datastore = request.datastore or settings.datastore
    version = datastores.check_version(datastore, request.datastore_version)
    provider = request.provider or settings.provider
    providers.describe(provider)
    _refuse_bad_name(request.name)
    datastores.check_accounts(datastore, request.databases, [(user.name, user.password) for user in request.users])
    with context.store.transaction(holder="create", wait_seconds=context.lock_wait_seconds) as tables:
        instance, modules = _new_instance(
            tables,
            context,
            request.member,
            name=request.name,
            datastore=datastore,
            version=version,
            provider=provider,
            locality=request.locality,
        )
        tables.put(instance)
        run = _plan_build(tables, context, "create", "instance_create", {instance.id: (instance, modules)})
        if request.databases or request.users:
            accounts = {instance.id: {"databases": request.databases, "users": request.users}}
            context.store.write_contents(run.id, 0, msgspec.json.encode(accounts))
    return instance, run


def plan_cluster_create(context: Context, request: NewCluster) -> tuple[Cluster, Run]:
    """Write a cluster, its BUILD members and the run that builds them."""
    version = datastores.check_version(request.datastore, request.datastore_version)
    provider = request.provider or context.settings.provider
    providers.describe(provider)
    _refuse_bad_name(request.name)
    datastores.check_cluster(request.datastore, len(request.members))
    now = clock.now()
    task_name, task_description = TASKS["create"]
    cluster = Cluster(
        id=ids.new_id(),
        name=request.name,
        tenant=context.actor.tenant,
        provider=provider,
        datastore=request.datastore,
        datastore_version=version,
        region=_region(request.members, context.settings),
        locality=request.locality,
        task_name=task_name,
        task_description=task_description,
        created_at=now,
        updated_at=now,
    )
    with context.store.transaction(holder="cluster-create", wait_seconds=context.lock_wait_seconds) as tables:
        tables.put(cluster)
        run = _plan_members(tables, context, cluster, request.members, verb="create")
    return cluster, run


def plan_cluster_grow(context: Context, reference: str, members: Sequence[Member]) -> tuple[Cluster, Run]:
    """Write the new BUILD members of a cluster and the run that adds them."""
    if not members:
        raise errors.BadInput("No --instance was given.", next_step="dbmod cluster-grow --help")
    with context.store.transaction(holder="cluster-grow", wait_seconds=context.lock_wait_seconds) as tables:
        cluster = _idle_cluster(tables, context, reference)
        return cluster, _plan_members(tables, context, cluster, members, verb="grow")


def plan_cluster_shrink(context: Context, reference: str, leaving: Sequence[str]) -> tuple[Cluster, Run]:
    """Plan to take members out of a cluster and delete them."""
    with context.store.transaction(holder="cluster-shrink", wait_seconds=context.lock_wait_seconds) as tables:
        gone = {lookup.instance(tables, name, actor=context.actor).id for name in leaving}
        cluster = _idle_cluster(tables, context, reference, leaving=gone)
        members = members_of(tables, cluster.id)
        strangers = gone - {member.id for member in members}
        if strangers:
            raise errors.BadInput(
                f"Not in cluster '{cluster.name}': {', '.join(sorted(strangers))}",
                next_step=f"dbmod cluster-instances {cluster.name}",
            )
        datastores.check_cluster(cluster.datastore, len(members) - len(gone))
        return cluster, _plan_claim(
            tables, context, "shrink", "cluster_shrink", [one for one in members if one.id in gone], cluster=cluster
        )


def plan_cluster_delete(context: Context, reference: str) -> tuple[Cluster, Run]:
    with context.store.transaction(holder="cluster-delete", wait_seconds=context.lock_wait_seconds) as tables:
        cluster = lookup.cluster(tables, reference, actor=context.actor)
        members = members_of(tables, cluster.id)
        return cluster, _plan_claim(tables, context, "delete", "cluster_delete", members, cluster=cluster)


def plan_delete(context: Context, reference: str) -> tuple[Instance, Run]:
    with context.store.transaction(holder="delete", wait_seconds=context.lock_wait_seconds) as tables:
        instance = lookup.instance(tables, reference, actor=context.actor)
        if instance.cluster_id:
            raise errors.Refused(
                f"Instance '{instance.name}' is a member of a cluster.",
                next_step=f"dbmod cluster-shrink {instance.cluster_id} {instance.name}, or dbmod cluster-delete",
            )
        return instance, _plan_claim(tables, context, "delete", "instance_delete", [instance])


def plan_restart(context: Context, reference: str) -> tuple[Instance, Run]:
    with context.store.transaction(holder="restart", wait_seconds=context.lock_wait_seconds) as tables:
        instance = lookup.instance(tables, reference, actor=context.actor)
        if instance.status == "BUILD":
            raise errors.Refused(f"Instance '{instance.name}' is still being built.", next_step="dbmod run-list")
        return instance, _plan_claim(tables, context, "restart", "instance_restart", [instance])


def rename(context: Context, reference: str, name: str) -> Instance:
    """Give an instance another name; nothing on its host changes."""
    _refuse_bad_name(name)
    with context.store.transaction(holder="update", wait_seconds=context.lock_wait_seconds) as tables:
        instance = lookup.instance(tables, reference, actor=context.actor)
        renamed = REPLACE(instance, name=name, updated_at=clock.now())
        tables.put(renamed)
        ledger.note(tables, "update", actor=context.actor.name, reason=context.reason)
    return renamed


def record(
    tables: Tables,
    run: Run,
    *,
    status: InstanceStatus,
    faults: Mapping[str, str],
    facts: Mapping[str, Mapping[str, Any]],
) -> list[Instance]:
    """Write what became of the instances that a run claims.

    status  what they are now where nothing went wrong: ACTIVE or DELETED
    faults  instance id → why it failed, also for hosts that dropped out
    facts   instance id → address, port, server_id, volume_id, host_keys as the provider found them
    """
    now = clock.now()
    claims = [claim for claim in tables.find(Attempt, run_id=run.id, module_id="") if claim.state == "planned"]
    changed = []
    for claim in claims:
        instance = tables.get(Instance, claim.instance_id)
        if instance is None:
            continue
        fault = faults.get(instance.id, "")
        known = _checked_facts(instance, facts.get(instance.id, {}))
        changed.append(
            REPLACE(
                instance,
                status=status if not fault else instance.status if run.verb == "shrink" else "ERROR",
                fault=fault,
                updated_at=now,
                deleted_at=now if status == "DELETED" and not fault else None,
                **known,
            )
        )
        state, verdict = ("error", "ERROR") if fault else ("ok", "OK")
        tables.put(REPLACE(claim, state=state, status=verdict, message=fault, ended_at=now))
    tables.put(*changed)
    ledger.close_rows(tables, [one.id for one in changed if one.deleted_at])
    _abandon_modules_of(tables, run, [one.id for one in changed if one.status == "ERROR"])
    if run.cluster_id:
        _record_cluster(tables, run)
    return changed


def _checked_facts(instance: Instance, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Take what a provider may say about an instance. Ansible gives numbers as text; the ledger reads no such port."""
    told = {name: facts[name] for name in FACTS if name in facts}
    try:
        checked = msgspec.convert(msgspec.to_builtins(instance) | told, Instance, strict=False)
    except msgspec.ValidationError as error:
        raise errors.InternalError(f"The provider '{instance.provider}' told what cannot be: {error}") from error
    return {name: getattr(checked, name) for name in told}


def members_of(tables: Tables, cluster_id: str) -> list[Instance]:
    """Give the living members of a cluster, in the order of their numbers."""
    members = tables.find(Instance, cluster_id=cluster_id, deleted_at=None)
    return sorted(members, key=lambda member: (_member_number(member.name), member.name))


def _new_instance(
    tables: Tables,
    context: Context,
    member: Member,
    *,
    name: str,
    datastore: str,
    version: str,
    provider: str,
    locality: str | None,
    cluster_id: str | None = None,
) -> tuple[Instance, list[Module]]:
    settings = context.settings
    if member.flavor not in settings.flavors:
        raise errors.NotFound(f"Flavor '{member.flavor}' cannot be found.", next_step="dbmod flavor-list")
    if member.volume_gb < 1:
        raise errors.BadInput("The size of a volume must be at least 1 GB.")
    modules = _modules_for(tables, context, member.modules, datastore=datastore, version=version)
    operations.refuse_needs(modules, provider=provider, settings=settings)
    instance_id = ids.new_id()
    providers.check_room(settings, member.volume_gb)
    place = providers.allocate(
        settings, tables.find(Instance, deleted_at=None), instance_id=instance_id, datastore=datastore
    )
    facts: dict[str, str | int] = {"directory": str(place.directory)}
    now = clock.now()
    instance = Instance(
        id=instance_id,
        name=name,
        tenant=context.actor.tenant,
        provider=provider,
        datastore=datastore,
        datastore_version=version,
        flavor=member.flavor,
        volume_gb=member.volume_gb,
        volume_type=member.volume_type,
        region=member.region or settings.region,
        availability_zone=member.availability_zone,
        locality=locality,
        cluster_id=cluster_id,
        status="BUILD",
        fault="",
        address=place.address,
        port=place.port,
        server_id=None,
        volume_id=None,
        created_at=now,
        updated_at=now,
        nics=member.nics,
        provider_facts=facts | ({"uid": place.uid} if place.uid is not None else {}),
    )
    return instance, modules


def _modules_for(
    tables: Tables, context: Context, references: Sequence[str], *, datastore: str, version: str
) -> list[Module]:
    """Give the requested modules, which have to fit, and the auto_apply ones that do."""
    requested = [lookup.module(tables, reference, actor=context.actor) for reference in references]
    planning.refuse_misfits(requested, datastore=datastore, datastore_version=version)
    unasked = planning.fitting(
        tables.find(Module), datastore=datastore, datastore_version=version, tenant=context.actor.tenant
    )
    return planning.in_order({module.id: module for module in [*requested, *unasked]}.values())


def _plan_members(tables: Tables, context: Context, cluster: Cluster, members: Sequence[Member], *, verb: str) -> Run:
    # an admin may grow any tenant's cluster
    as_its_tenant = REPLACE(context, actor=REPLACE(context.actor, tenant=cluster.tenant))
    taken = [_member_number(one.name) for one in tables.find(Instance, cluster_id=cluster.id)]
    first = max(taken, default=0) + 1
    built: dict[str, tuple[Instance, list[Module]]] = {}
    for number, member in enumerate(members, start=first):
        instance, modules = _new_instance(
            tables,
            as_its_tenant,
            member,
            name=f"{cluster.name}-member-{number}",
            datastore=cluster.datastore,
            version=cluster.datastore_version,
            provider=cluster.provider,
            locality=cluster.locality,
            cluster_id=cluster.id,
        )
        tables.put(instance)
        built[instance.id] = (instance, modules)
    _set_task(tables, cluster, verb)
    return _plan_build(tables, context, verb, f"cluster_{verb}", built, cluster_id=cluster.id)


def _plan_build(
    tables: Tables,
    context: Context,
    verb: str,
    playbook: str,
    built: Mapping[str, tuple[Instance, list[Module]]],
    *,
    cluster_id: str | None = None,
) -> Run:
    work = [
        Work(instance=instance, module=module, number=module.current.number)
        for instance, modules in built.values()
        for module in modules
    ]
    with_modules = [instance for instance, modules in built.values() if modules]
    run = ledger.plan(
        tables,
        verb=verb,
        playbook=playbook,
        work=work,
        spread=[with_modules] if with_modules else [],
        actor=context.actor.name,
        reason=context.reason,
        cluster_id=cluster_id,
    )
    ledger.plan_instances(tables, run, [instance for instance, _ in built.values()])
    return run


def _plan_claim(
    tables: Tables,
    context: Context,
    verb: str,
    playbook: str,
    instances: Sequence[Instance],
    *,
    cluster: Cluster | None = None,
) -> Run:
    if cluster:
        _set_task(tables, cluster, verb)
    run = ledger.plan(
        tables,
        verb=verb,
        playbook=playbook,
        work=[],
        spread=[],
        actor=context.actor.name,
        reason=context.reason,
        cluster_id=cluster.id if cluster else None,
    )
    ledger.plan_instances(tables, run, instances)
    return run


def _idle_cluster(tables: Tables, context: Context, reference: str, *, leaving: Collection[str] = ()) -> Cluster:
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


def _set_task(tables: Tables, cluster: Cluster, verb: str) -> None:
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
            tables.put(REPLACE(attempt, state="cancelled", message=message, ended_at=clock.now()))


def _refuse_bad_name(name: str) -> None:
    if not names.is_valid_name(name):
        raise errors.BadInput(
            f"The name {name[:300]!r} is not valid.",
            next_step="use 1 to 255 characters with a letter or digit, no control character, no `/`, not `.` or `..`",
        )


def _region(members: Sequence[Member], settings: Settings) -> str:
    return next((member.region for member in members if member.region), settings.region)


def _member_number(name: str) -> int:
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
