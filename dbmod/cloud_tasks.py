"""What the playbooks' tasks `dbmod_cloud` do; the action plugin of that name is a thin shell."""

import fcntl
import subprocess  # ssh-keyscan, where the user accepts what it says
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dbmod import clock, cloud, cloud_machines, conflicts, datastores, errors, history, keypairs, lookup, planning
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Run

POLL_SECONDS = 1.0
SCAN_SECONDS = 5
Answer = dict[str, Any]


def carry_out(here: Context, arguments: Mapping[str, Any]) -> Answer:
    """Bring an instance's part of the cloud into a state.

    arguments  state, instance, and what each of the functions below takes from it
    Raises     Failed, BadInput
    """
    states = {
        "shared": _share,
        "floating_address": _floating_address,
        "host_keys": _host_keys,
        "undone": _undo,
        "removed": _remove,
        "shared_removed": _remove_shared,
    }
    return states[arguments["state"]](here, _instance(here, arguments), arguments)


def _instance(here: Context, arguments: Mapping[str, Any]) -> Instance:
    found = here.store.snapshot().get(Instance, arguments["instance"])
    if found is None:
        raise errors.InternalError(f"the instance {arguments['instance']} is not in the fleet")
    return found


def _share(here: Context, one: Instance, _arguments: Mapping[str, Any]) -> Answer:
    datastore = datastores.describe(one.datastore)
    ranges = here.settings.openstack_allowed_ranges
    wanted = cloud_machines.Shared(
        ledger=str(one.provider_facts["ledger"]),
        datastore=one.datastore,
        ports=(datastore.port,),
        member_ports=tuple(datastore.port + distance for distance in datastore.further_ports),
        ranges=ranges,
        group=one.cluster_id or one.id,
        policy=one.locality or "",
    )
    return {"changed": False} | cloud_machines.share(here.settings, wanted, region=one.region)


def _floating_address(here: Context, one: Instance, arguments: Mapping[str, Any]) -> Answer:
    address = cloud_machines.floating_address(
        here.settings,
        network=arguments["network"],
        port=arguments["port"],
        ledger=str(one.provider_facts["ledger"]),
        instance=one.id,
        region=one.region,
    )
    return {"changed": True, "address": address}


def _host_keys(here: Context, one: Instance, arguments: Mapping[str, Any]) -> Answer:
    """server, address; known_hosts: the file of the run that ssh looks into."""
    deadline = time.monotonic() + here.settings.openstack_timeout_seconds
    accepts = bool(one.provider_facts.get("accept_host_key"))
    found: list[str] = []
    while not found:
        found = cloud.console_host_keys(here.settings, arguments["server"], region=one.region)
        if not found and accepts:
            found = scanned(arguments["address"])
        if not found and time.monotonic() > deadline:
            raise errors.Failed(
                f"the console did not show the machine's host keys within {here.settings.openstack_timeout_seconds} s",
                next_step="look at it with `openstack console log show`; --accept-host-key takes the key that the "
                "network shows",
            )
        if not found:
            time.sleep(POLL_SECONDS)
    _append(Path(arguments["known_hosts"]), [f"{one.id} {key}\n" for key in found])
    return {"changed": True, "host_keys": found}


def take_console_keys(context: Context, reference: str) -> bool:
    """Let the fleet know an instance's machine by the host keys that its console shows now.

    Returns  False where it has no console, or one that shows no keys
    """
    found = lookup.instance(context.store.snapshot(), reference, actor=context.actor)
    if not found.server_id or "ledger" not in found.provider_facts:
        return False
    keys = cloud.console_host_keys(context.settings, found.server_id, region=found.region)
    if not keys:
        return False
    with context.transaction("update") as tables:
        one = lookup.instance(tables, found.id, actor=context.actor)
        conflicts.refuse(tables, "update", [planning.Work(instance=one, module=None)])
        tables.put(msgspec.structs.replace(one, host_keys=tuple(keys), updated_at=clock.now()))
        history.note(tables, "update", actor=context.actor.name, reason=context.reason, instance_ids=[one.id])
    return True


def scanned(address: str) -> list[str]:
    """Ask the network for the host keys of an address: whoever answers there is believed. Empty where nobody does."""
    answer = subprocess.run(
        ["ssh-keyscan", "-T", str(SCAN_SECONDS), "--", address], capture_output=True, text=True, check=False
    )
    return keypairs.public_keys_in(answer.stdout)


def _append(path: Path, lines: list[str]) -> None:
    """Several machines are made at once, and share the file."""
    with path.open("a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.writelines(lines)


def _undo(here: Context, one: Instance, _arguments: Mapping[str, Any]) -> Answer:
    """Remove what was made of an instance that came to nothing.

    Returns  left: what could not be removed, and why; fault: the cloud's own words on a server in ERROR, which
             openstack.cloud.server 2.5.0 loses: it fails to show a server whose image it knows only by its id
    """
    fault = ""
    try:
        found = _things_of(here, one)
        fault = cloud_machines.fault(here.settings, found, region=one.region)
        left = cloud_machines.remove(here.settings, found, region=one.region)
    except errors.DbmodError as problem:
        left = [f"what was made for it is left: {problem.what}"]
    return {"changed": True, "left": left, "fault": fault}


def _remove(here: Context, one: Instance, _arguments: Mapping[str, Any]) -> Answer:
    """Remove what the instance has, also where part of it is gone already."""
    found = _things_of(here, one)
    left = cloud_machines.remove(here.settings, found, region=one.region)
    if left:
        raise errors.Failed("; ".join(left), next_step=f"dbmod delete {one.id}, which can be repeated")
    return {"changed": bool(found)}


def _things_of(here: Context, one: Instance) -> list[cloud_machines.Thing]:
    if "ledger" not in one.provider_facts:
        return []
    _refuse_another_project(here, one)
    return cloud_machines.of_instance(here.settings, str(one.provider_facts["ledger"]), one.id, region=one.region)


def _refuse_another_project(here: Context, one: Instance) -> None:
    """Another project would have nothing of the instance, and say that it is gone."""
    known, present = one.provider_facts.get("project"), cloud.project(here.settings, region=one.region)
    if known not in (None, present):
        raise errors.Refused(
            f"The instance is in the project {known}, and the login is for {present}.",
            next_step="choose its cloud with OS_CLOUD or openstack_cloud, and repeat",
        )


def _remove_shared(here: Context, one: Instance, _arguments: Mapping[str, Any]) -> Answer:
    """With the last instance of all, or of a cluster, remove what they shared; what somebody still uses stays."""
    with cloud_machines.alone(here.settings):  # who makes an instance looks for them after it is in the fleet
        return _remove_unused(here, one)


def _remove_unused(here: Context, one: Instance) -> Answer:
    tables = here.store.snapshot()
    leaving = {
        attempt.instance_id
        for run in tables.find(Run, state="running")
        if run.verb in ("delete", "shrink")
        for attempt in tables.find(Attempt, run_id=run.id, batch=0)
    }
    living = [
        (other.id, other.cluster_id)
        for other in tables.find(Instance, deleted_at=None, provider=one.provider)
        if other.id not in leaving
    ]
    found = cloud_machines.things(here.settings, str(one.provider_facts["ledger"]), region=one.region)
    unused = cloud_machines.unused(found, living)
    left = cloud_machines.remove(here.settings, unused, region=one.region)
    return {"changed": len(unused) > len(left)}
