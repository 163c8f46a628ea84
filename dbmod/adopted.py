"""What was found on hosts that are adopted, taken into the ledger."""

from collections.abc import Mapping
from typing import Any

import msgspec

from dbmod import clock, errors, fleet, ids, ledger
from dbmod.records import Attempt, Cluster, Instance, Run
from dbmod.store.interface import Tables
from dbmod.survey import Told

PROVIDER = "ssh"
LOST = "the host was lost"
SHOWN_FACTS = ("address", "port", "datastore_version", "restart_command", "volume_gb", "ram_mib", "vcpus")
REPLACE = msgspec.structs.replace


def record(tables: Tables, run: Run, told: Mapping[str, Told]) -> list[Attempt]:
    """Write what was found on the hosts that a run claims.

    told     instance id → what its host said; one that dropped out of the play said nothing
    Returns  the closed attempts. A host that failed leaves no new instance, and a known one as it was
    """
    now = clock.now()
    closed = []
    servers = {_server(one): one for one in tables.find(Instance, provider=PROVIDER, status="ACTIVE", deleted_at=None)}
    for claim in tables.find(Attempt, run_id=run.id, batch=0):
        instance = tables.get(Instance, claim.instance_id)
        if instance is None or claim.state != "planned":
            continue
        one = told.get(instance.id) or Told(instance=instance.id, state="unreachable", message=LOST)
        try:
            after, message = _after(tables, run, instance, one)
            if one.state == "ok":
                _refuse_twice(after, servers)
        except errors.DbmodError as refusal:
            one = REPLACE(one, state="error", message=refusal.what)
        if one.state == "ok":
            tables.put(after)
            servers[_server(after)] = after
            done = REPLACE(claim, state="ok", status="OK", message=message, changed=after != instance, ended_at=now)
        else:
            if instance.status == "BUILD":
                tables.put(REPLACE(instance, status="DELETED", fault=one.message, updated_at=now, deleted_at=now))
            status = "ERROR" if one.state == "error" else ""
            done = REPLACE(claim, state=one.state, status=status, message=one.message, ended_at=now)
        ledger.put_closed(tables, done)
        closed.append(done)
    close_empty_clusters(tables)
    return closed


def _server(instance: Instance) -> tuple[frozenset[str], str | None, int | None]:
    """Tell servers apart: the host's keys and address, and the port."""
    return frozenset(instance.host_keys), instance.address, instance.port


def _refuse_twice(after: Instance, servers: Mapping[tuple[frozenset[str], str | None, int | None], Instance]) -> None:
    """Refuse a server that is in the fleet under another name: it would be restarted and counted twice."""
    there = servers.get(_server(after))
    if there and there.id != after.id:
        raise errors.Refused(f"this server is in the fleet already, as {there.name}")


def reached(run: Run, instance: Instance) -> Instance:
    """Give an instance with the login that the run's command says; the ledger has it once the host has answered."""
    said = run.options.get("logins", {}).get(instance.id, {})
    return REPLACE(instance, provider_facts=instance.provider_facts | said)


def _after(tables: Tables, run: Run, instance: Instance, told: Told) -> tuple[Instance, str]:
    """Give the instance as it is to be, and what changed of it."""
    if told.state != "ok":
        return instance, told.message
    after = reached(run, instance)
    after = REPLACE(after, **fleet.checked_facts(after, told.facts))
    if not run.options.get("host_keys_only"):
        after = REPLACE(after, status="ACTIVE", fault="", built_at=instance.built_at or clock.now())
    if told.cluster:
        after = REPLACE(after, cluster_id=_cluster_named(tables, after, told.cluster).id)
    if instance.status == "BUILD":
        return after, told.message or "adopted"
    changes = [
        f"{name}: {_shown(getattr(instance, name))} → {_shown(getattr(after, name))}"
        for name in SHOWN_FACTS
        if getattr(instance, name) != getattr(after, name)
    ]
    changes += [f"status: {instance.status} → {after.status}"] if instance.status != after.status else []
    changes += ["host keys changed"] if set(instance.host_keys) != set(after.host_keys) else []
    changes += ["cluster changed"] if instance.cluster_id != after.cluster_id else []
    if after != instance:
        after = REPLACE(after, updated_at=clock.now())
    return after, "; ".join([*changes, *([told.message] if told.message else [])]) or "as before"


def _shown(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _cluster_named(tables: Tables, instance: Instance, name: str) -> Cluster:
    """Give the adopted cluster of a name, made on first use."""
    found = [one for one in tables.find(Cluster, name=name, deleted_at=None) if one.tenant == instance.tenant]
    for one in found:
        if (one.provider, one.datastore) == (PROVIDER, instance.datastore):
            return one
    if found:
        raise errors.Refused(f"the cluster '{name}' is there already, as {found[0].datastore} of {found[0].provider}")
    now = clock.now()
    task_name, task_description = ledger.IDLE
    made = Cluster(
        id=ids.new_id(),
        name=name,
        tenant=instance.tenant,
        provider=PROVIDER,
        datastore=instance.datastore,
        datastore_version=instance.datastore_version,
        region=instance.region,
        locality=None,
        task_name=task_name,
        task_description=task_description,
        created_at=now,
        updated_at=now,
    )
    tables.put(made)
    return made


def close_empty_clusters(tables: Tables) -> None:
    for cluster in tables.find(Cluster, provider=PROVIDER, deleted_at=None):
        if not fleet.members_of(tables, cluster.id):
            tables.put(REPLACE(cluster, updated_at=clock.now(), deleted_at=clock.now()))
