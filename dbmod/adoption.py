"""Servers that exist, to be taken into the fleet: planned; and released again."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec

from dbmod import (
    adopted,
    building,
    clock,
    conflicts,
    datastores,
    errors,
    fleet,
    history,
    ids,
    inventory,
    ledger,
    lookup,
    names,
    paths,
    planning,
    survey,
    user_inventory,
)
from dbmod.context import Context
from dbmod.records import Instance, Run

PLAYBOOK = "instance_adopt"
SSH_PORT = 22
DEFAULTS: dict[str, str | int] = {"become": 1}  # of a host that no inventory describes
REPLACE = msgspec.structs.replace


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What `adopt` asks for: a group of an inventory, or one host by its address."""

    datastore: str
    inventory: str = ""  # its absolute path, or where else it is, as awx.inventory says
    group: str = ""
    cluster_by: str = ""  # the variable whose value names a host's cluster
    name: str = ""
    host: str = ""
    ssh_port: int = SSH_PORT
    user: str = ""
    private_key: str = ""
    become: bool | None = None  # None: as before, and by sudo where the host is new
    port: int = 0  # 0: the only one that the datastore listens on there
    restart_command: tuple[str, ...] = ()
    accept_host_key: bool = False


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A host that is to be in the fleet."""

    name: str
    address: str | None
    facts: dict[str, str | int]


def plan(
    context: Context, request: Request, *, arguments: Sequence[str] = (), hosts: Sequence[str] | None = None
) -> tuple[Run, list[Instance]]:
    """Write the run that looks at the hosts, and an instance in BUILD for each that is new.

    arguments  for Ansible, where the inventory needs a vault's password to be read
    hosts      of the group, where Ansible has read the inventory already
    Returns    the run, and the instances of this inventory's group that it no longer names
    """
    datastores.describe(request.datastore)
    if request.cluster_by and not survey.VARIABLE.match(request.cluster_by):
        raise errors.BadInput(f"--cluster-by {request.cluster_by!r} is no name of a variable.")
    wanted = _from_inventory(request, arguments, hosts) if request.inventory else [_single(request)]
    with context.transaction("adopt") as tables:
        living = tables.find(Instance, deleted_at=None)
        own = lookup.living_instances(tables, actor=context.actor)
        known = {one.name: _known(own, one, request) for one in wanted}
        _refuse_taken(living, wanted, known, datastore=request.datastore)
        instances = [known[one.name] or _new(context, request, one) for one in wanted]
        tables.put(*(one for one in instances if one.status == "BUILD"))
        options = {
            "datastore": request.datastore,
            "port": request.port,
            "restart_command": list(request.restart_command),
            "cluster_by": request.cluster_by,
            "accept_host_key": request.accept_host_key,
            "logins": _logins(instances, wanted),
        }
        listed = {one.id for one in instances}
        return fleet.plan_claim(tables, context, "adopt", PLAYBOOK, instances, options=options), [
            one for one in own if _is_of(one, request) and one.id not in listed
        ]


def plan_host_key(context: Context, reference: str) -> tuple[Instance, Run]:
    """Plan to take the key that a host shows now for the one that the fleet knows it by."""
    with context.transaction("update") as tables:
        instance = lookup.instance(tables, reference, actor=context.actor)
        if not instance.host_keys:
            raise errors.Refused(f"Instance '{instance.name}' is not reached by SSH, so it has no host key.")
        options = {"datastore": instance.datastore, "accept_host_key": True, "host_keys_only": True}
        return instance, fleet.plan_claim(tables, context, "adopt", PLAYBOOK, [instance], options=options)


def release(context: Context, instances: Sequence[Instance]) -> None:
    """Forget adopted instances; nothing on their hosts is touched. Their rows are closed, clusters left empty too."""
    for one in instances:
        if one.provider != adopted.PROVIDER:
            raise errors.Refused(
                f"Instance '{one.name}' was not adopted: dbmod made its server.", next_step=f"dbmod delete {one.name}"
            )
    with context.transaction("release") as tables:
        now = clock.now()
        conflicts.refuse(tables, "release", [planning.Work(instance=one, module=None) for one in instances])
        tables.put(*(REPLACE(one, status="DELETED", updated_at=now, deleted_at=now) for one in instances))
        ledger.close_rows(tables, [one.id for one in instances])
        gone = [one.id for one in instances]
        history.note(tables, "release", actor=context.actor.name, reason=context.reason, instance_ids=gone)
        adopted.close_empty_clusters(tables)


def _from_inventory(request: Request, arguments: Sequence[str], hosts: Sequence[str] | None) -> list[_Wanted]:
    place = request.inventory
    if paths.is_path(place) and not paths.is_there(Path(place)):
        raise errors.BadInput(f"There is no inventory {place}.")
    if any(character in place for character in "{}\n\\"):
        raise errors.BadInput(f"The inventory's path {place!r} holds braces, backslashes or line breaks.")
    if not names.is_valid_text(request.group) or set("{}") & set(request.group):
        raise errors.BadInput(f"--group {request.group[:80]!r} is no pattern.")
    found = user_inventory.hosts(Path(place), request.group, arguments=arguments) if hosts is None else hosts
    if not found:
        raise errors.NotFound(
            f"The group '{request.group}' has no hosts in {place}.", next_step=f"ansible -i {place} --list-hosts all"
        )
    strange = [name for name in found if not inventory.is_host_name(name)]
    if strange:
        raise errors.BadInput(
            f"Hosts cannot be called {', '.join(repr(name[:80]) for name in strange[:5])} in the fleet.",
            next_step="use letters, digits, `.`, `_` and `-`, and neither all, localhost nor ungrouped",
        )
    facts: dict[str, str | int] = {"inventory": place, "group": request.group}
    return [_Wanted(name=name, address=None, facts=facts | {"inventory_host": name}) for name in found]


def _single(request: Request) -> _Wanted:
    fleet.refuse_bad_name(request.name)
    for what, text in (("--host", request.host.replace(":", "")), ("--user", request.user or "x")):
        if not names.is_plain(text):
            raise errors.BadInput(f"{what} {text!r} is not plain.", next_step="use letters, digits, `.`, `_` and `-`")
    facts: dict[str, str | int] = {"ssh_port": request.ssh_port}
    if request.become is not None:
        facts["become"] = int(request.become)
    if request.user:
        facts["user"] = request.user
    if request.private_key:
        path = paths.named(request.private_key)
        if not paths.is_there(path) or any(character in str(path) for character in '{}\n"\\'):
            raise errors.BadInput(f"There is no private key {path}.")
        facts["private_key"] = str(path)
    return _Wanted(name=request.name, address=request.host, facts=facts)


def _known(living: Sequence[Instance], wanted: _Wanted, request: Request) -> Instance | None:
    """Find the instance that this host is in the fleet already."""
    for one in living:
        facts = one.provider_facts
        if one.provider != adopted.PROVIDER:
            continue
        is_named = facts.get("inventory_host") == wanted.facts.get("inventory_host")
        if request.inventory and is_named and _is_its_inventory(facts.get("inventory"), wanted.facts["inventory"]):
            return one
        is_there = (one.address, facts.get("ssh_port")) == (wanted.address, wanted.facts.get("ssh_port"))
        is_meant = one.port == request.port if request.port else one.name == wanted.name
        if wanted.address and not facts.get("inventory") and is_there and is_meant:
            return one
    return None


def _is_its_inventory(before: str | int | None, now: str | int) -> bool:
    """Tell whether an inventory is the one that a host came from, or where that one has moved to."""
    was = str(before or "")
    return before == now or (paths.is_path(was) and not paths.is_there(Path(was)))


def _refuse_taken(
    living: Sequence[Instance], wanted: Sequence[_Wanted], known: Mapping[str, Instance | None], *, datastore: str
) -> None:
    """Refuse hosts whose name another instance bears in inventories: neither would be found there any more."""
    own = {one.id for one in known.values() if one}
    bearers = Counter(str(one.provider_facts.get("inventory_host", one.name)) for one in living if one.id not in own)
    bearers.update(one.name for one in living if one.id not in own)
    taken = [one.name for one in wanted if bearers[one.name] and not known[one.name]]
    if taken:
        raise errors.Refused(
            f"Other instances are called so already: {', '.join(taken[:10])}",
            next_step=_way_out(living, taken),
        )
    for one in known.values():
        if one and one.status == "BUILD":
            raise errors.Refused(f"Instance '{one.name}' is being adopted by another run.", next_step="dbmod run-list")
    others = [one for one in known.values() if one and one.datastore != datastore]
    if others:
        raise errors.Refused(
            f"In the fleet as {others[0].datastore} already: {', '.join(one.name for one in others[:10])}",
            next_step="give a second server on a host a name of its own in the inventory, with the same ansible_host",
        )


def _way_out(living: Sequence[Instance], taken: Sequence[str]) -> str:
    """Say what to do about names that are taken; one of an inventory stays taken there, whatever dbmod calls it."""
    places = [
        one.provider_facts["inventory"] for one in living if one.provider_facts.get("inventory_host", one) in taken
    ]
    if places:
        return f"adopt them from {places[0]}, where they were adopted from; or release them; or name these otherwise"
    return "dbmod update <instance> --name renames one; another name in the inventory does it too"


def _new(context: Context, request: Request, wanted: _Wanted) -> Instance:
    now = clock.now()
    return Instance(
        id=ids.new_id(),
        name=wanted.name,
        tenant=context.actor.tenant,
        provider=adopted.PROVIDER,
        datastore=request.datastore,
        datastore_version="",
        flavor="",
        volume_gb=0,
        volume_type=None,
        region=context.settings.region or building.NO_REGION,
        availability_zone=None,
        locality=None,
        cluster_id=None,
        status="BUILD",
        fault="",
        address=wanted.address,
        port=None,
        server_id=None,
        volume_id=None,
        created_at=now,
        updated_at=now,
        provider_facts=wanted.facts if request.inventory else {**DEFAULTS, **wanted.facts},
    )


def _logins(instances: Sequence[Instance], wanted: Sequence[_Wanted]) -> dict[str, dict[str, str | int]]:
    """Give how hosts are reached now, where the command says it otherwise than the ledger: instance id → facts."""
    return {
        instance.id: one.facts
        for instance, one in zip(instances, wanted, strict=True)
        if instance.provider_facts | one.facts != instance.provider_facts
    }


def _is_of(instance: Instance, request: Request) -> bool:
    """Tell whether an instance was adopted from the request's group of hosts."""
    facts = (*(instance.provider_facts.get(name) for name in ("inventory", "group")), instance.datastore)
    asked = (request.inventory, request.group, request.datastore)
    return bool(request.inventory) and instance.provider == adopted.PROVIDER and facts == asked


def members(context: Context, references: Collection[str], cluster: str) -> list[Instance]:
    """Find the instances to release: those named, and those of a cluster."""
    tables = context.store.snapshot()
    found = [lookup.instance(tables, one, actor=context.actor) for one in references]
    if cluster:
        found += fleet.members_of(tables, lookup.cluster(tables, cluster, actor=context.actor).id)
    return list({one.id: one for one in found}.values())
