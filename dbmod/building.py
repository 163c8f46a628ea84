"""New instances and clusters: what is asked for, checked and planned; the playbooks then build it."""

from collections.abc import Mapping, Sequence

import msgspec

from dbmod import clock, datastores, errors, fleet, ids, ledger, lookup, operations, planning, providers
from dbmod.config import Settings
from dbmod.context import Context
from dbmod.planning import Work
from dbmod.records import Cluster, Instance, Module, Run
from dbmod.store.interface import Tables

NO_REGION = "RegionOne"  # as Trove shows it
NIC_KEYS = ("net-id", "v4-fixed-ip", "port-id")


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
    provider = request.provider or settings.provider
    version = providers.check_version(settings, provider, datastore, request.datastore_version)
    fleet.refuse_bad_name(request.name)
    datastores.check_accounts(datastore, request.databases, [(user.name, user.password) for user in request.users])
    new = _checked(
        settings,
        request.member,
        provider=provider,
        datastore=datastore,
        version=version,
        locality=request.locality,
    )
    with context.transaction("create") as tables:
        instance, modules = _new_instance(tables, context, new, name=request.name)
        tables.put(instance)
        run = _plan_build(tables, context, "create", "instance_create", {instance.id: (instance, modules)})
        if request.databases or request.users:
            accounts = {instance.id: {"databases": request.databases, "users": request.users}}
            context.store.write_contents(run.id, 0, msgspec.json.encode(accounts))
    return instance, run


def plan_cluster_create(context: Context, request: NewCluster) -> tuple[Cluster, Run]:
    """Write a cluster, its BUILD members and the run that builds them."""
    provider = request.provider or context.settings.provider
    version = providers.check_version(context.settings, provider, request.datastore, request.datastore_version)
    fleet.refuse_bad_name(request.name)
    datastores.check_cluster(request.datastore, len(request.members))
    now = clock.now()
    task_name, task_description = fleet.TASKS["create"]
    cluster = Cluster(
        id=ids.new_id(),
        name=request.name,
        tenant=context.actor.tenant,
        provider=provider,
        datastore=request.datastore,
        datastore_version=version,
        region=NO_REGION,
        locality=request.locality,
        task_name=task_name,
        task_description=task_description,
        created_at=now,
        updated_at=now,
    )
    news = _checked_members(context.settings, cluster, request.members)
    cluster = msgspec.structs.replace(cluster, region=_region(news[0]))
    _refuse_regions(cluster, news)
    with context.transaction("cluster-create") as tables:
        tables.put(cluster)
        run = _plan_members(tables, context, cluster, news, verb="create")
    return cluster, run


def plan_cluster_grow(context: Context, reference: str, members: Sequence[Member]) -> tuple[Cluster, Run]:
    """Write the new BUILD members of a cluster and the run that adds them."""
    if not members:
        raise errors.BadInput("No --instance was given.", next_step="dbmod cluster-grow --help")
    there = fleet.idle_cluster(context.store.snapshot(), context, reference)
    news = _checked_members(context.settings, there, members)
    _refuse_regions(there, news)
    with context.transaction("cluster-grow") as tables:
        cluster = fleet.idle_cluster(tables, context, there.id)
        return cluster, _plan_members(tables, context, cluster, news, verb="grow")


def nic(text: str) -> str:
    """Check a network: net-id=…, v4-fixed-ip=…, port-id=…, each at most once. Returns it without spaces."""
    parts = [part.strip() for part in text.split(",")]
    keys = [part.partition("=")[0] for part in parts]
    if any(not part.partition("=")[2] for part in parts) or set(keys) - set(NIC_KEYS) or len(set(keys)) < len(keys):
        raise errors.BadInput(
            f"A nic {text!r} is not understood.", details={"form": "net-id=…,v4-fixed-ip=…,port-id=…"}
        )
    return ",".join(parts)


class _New(msgspec.Struct, frozen=True, kw_only=True):
    """An instance to make whose provider found nothing against it."""

    wanted: providers.Wanted
    provider: str
    found: Mapping[str, str | int]
    modules: tuple[str, ...]


def _refuse_regions(cluster: Cluster, news: Sequence[_New]) -> None:
    """A cluster's security group and server group are in one region, and so are its members."""
    strange = sorted({_region(new) for new in news} - {cluster.region})
    if strange:
        raise errors.Refused(f"All members of a cluster are in one region: {cluster.region}, not {', '.join(strange)}")


def _checked(
    settings: Settings,
    member: Member,
    *,
    provider: str,
    datastore: str,
    version: str,
    locality: str | None,
    cluster_id: str | None = None,
) -> _New:
    """Ask the provider; a cloud takes its time, so this is done before the ledger is held."""
    if member.volume_gb < 1:
        raise errors.BadInput("The size of a volume must be at least 1 GB.")
    settings = msgspec.structs.replace(settings, region=member.region or settings.region)
    flavor_id, flavor = providers.check_flavor(settings, provider, member.flavor)
    wanted = providers.Wanted(
        instance_id=ids.new_id(),
        datastore=datastore,
        datastore_version=version,
        flavor_id=flavor_id,
        flavor=flavor,
        volume_gb=member.volume_gb,
        volume_type=member.volume_type,
        nics=member.nics,
        availability_zone=member.availability_zone,
        region=settings.region,
        locality=locality,
        cluster_id=cluster_id,
    )
    found = providers.hooks(provider).check(settings, wanted)
    return _New(wanted=wanted, provider=provider, found=found, modules=member.modules)


def _checked_members(settings: Settings, cluster: Cluster, members: Sequence[Member]) -> list[_New]:
    return [
        _checked(
            settings,
            member,
            provider=cluster.provider,
            datastore=cluster.datastore,
            version=cluster.datastore_version,
            locality=cluster.locality,
            cluster_id=cluster.id,
        )
        for member in members
    ]


def _new_instance(tables: Tables, context: Context, new: _New, *, name: str) -> tuple[Instance, list[Module]]:
    wanted = new.wanted
    modules = _modules_for(
        tables,
        context,
        new.modules,
        datastore=wanted.datastore,
        version=wanted.datastore_version,
        provider=new.provider,
    )
    living = tables.find(Instance, deleted_at=None)
    place = providers.hooks(new.provider).place(context.settings, wanted, living)
    now = clock.now()
    instance = Instance(
        id=wanted.instance_id,
        name=name,
        tenant=context.actor.tenant,
        provider=new.provider,
        datastore=wanted.datastore,
        datastore_version=wanted.datastore_version,
        flavor=wanted.flavor_id,
        volume_gb=wanted.volume_gb,
        volume_type=wanted.volume_type,
        region=_region(new),
        availability_zone=wanted.availability_zone,
        locality=wanted.locality,
        cluster_id=wanted.cluster_id,
        status="BUILD",
        fault="",
        address=place.address,
        port=place.port,
        server_id=None,
        volume_id=None,
        created_at=now,
        updated_at=now,
        nics=wanted.nics,
        ram_mib=wanted.flavor.ram_mib,
        vcpus=wanted.flavor.vcpus,
        provider_facts=dict(new.found) | place.facts,
    )
    return instance, modules


def _modules_for(
    tables: Tables, context: Context, references: Sequence[str], *, datastore: str, version: str, provider: str
) -> list[Module]:
    """Give the requested modules, which have to fit, and the auto_apply ones that do."""

    def refuse(modules: Sequence[Module]) -> None:
        needs = operations.needs_of(modules, context.settings)
        planning.refuse_unmet_needs(needs, providers.offers(provider), provider=provider, datastore=datastore)

    def is_met(module: Module) -> bool:
        try:
            refuse([module])
        except errors.Refused:
            return False
        return True

    requested = [lookup.module(tables, reference, actor=context.actor) for reference in references]
    planning.refuse_misfits(requested, datastore=datastore, datastore_version=version)
    unasked = planning.fitting(
        tables.find(Module), datastore=datastore, datastore_version=version, tenant=context.actor.tenant
    )
    refuse(requested)
    unasked = [module for module in unasked if is_met(module)]
    return planning.in_order({module.id: module for module in [*requested, *unasked]}.values())


def _plan_members(tables: Tables, context: Context, cluster: Cluster, news: Sequence[_New], *, verb: str) -> Run:
    # an admin may grow any tenant's cluster
    as_its_tenant = msgspec.structs.replace(
        context, actor=msgspec.structs.replace(context.actor, tenant=cluster.tenant)
    )
    taken = [fleet.member_number(one.name) for one in tables.find(Instance, cluster_id=cluster.id)]
    first = max(taken, default=0) + 1
    built: dict[str, tuple[Instance, list[Module]]] = {}
    for number, new in enumerate(news, start=first):
        instance, modules = _new_instance(tables, as_its_tenant, new, name=f"{cluster.name}-member-{number}")
        tables.put(instance)
        built[instance.id] = (instance, modules)
    fleet.set_task(tables, cluster, verb)
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
    return ledger.plan_instances(tables, run, [instance for instance, _ in built.values()])


def _region(new: _New) -> str:
    return str(new.found.get("region") or new.wanted.region or NO_REGION)
