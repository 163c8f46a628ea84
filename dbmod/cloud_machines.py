"""What dbmod has in a cloud: what instances share, what bears a ledger's mark, and its removal."""

import fcntl
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from dbmod import cloud, errors, keypairs, marks
from dbmod.config import Settings
from dbmod.store import durable

POLL_SECONDS = 1.0
REMOVE_SECONDS = 180
SSH_PORT = 22
LOCK = "cloud.lock"


class Thing(msgspec.Struct, frozen=True, kw_only=True):
    """Something in the cloud that bears this ledger's mark."""

    kind: str  # server, port, volume, floating address, security group, server group, keypair
    id: str
    name: str
    status: str = ""
    instance: str = ""  # empty: several share it
    owner: str = ""  # of what is shared: a datastore, a cluster's id, a fingerprint


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """What a new instance shares with others; made where it is missing."""

    ledger: str
    datastore: str
    ports: tuple[int, ...]  # of the datastore, open to the allowed ranges
    member_ports: tuple[int, ...]  # open to other instances of the datastore
    ranges: tuple[str, ...]
    group: str = ""  # what the server group is for: a cluster's id, or an instance's
    policy: str = ""  # affinity, anti-affinity; empty: no server group


def share(settings: Settings, wanted: Shared, *, region: str = "") -> dict[str, str]:
    """Make sure of keypair, security group and server group.

    Returns  {"keypair": name, "security_group": id, "server_group": id or ""}
    """
    connection = cloud.connect(settings, region=region)
    public = keypairs.public_key(settings)
    keypair = marks.shared_name(wanted.ledger, keypairs.fingerprint(public))
    group = marks.shared_name(wanted.ledger, wanted.group)
    with alone(settings), cloud.asked("make what instances share"):  # names are not unique there
        if not connection.compute.find_keypair(keypair):
            connection.compute.create_keypair(name=keypair, public_key=public)
        security_group = _security_group(connection, wanted)
        server_group = ""
        if wanted.policy:
            known = connection.compute.find_server_group(group)
            known = known or connection.compute.create_server_group(name=group, policy=wanted.policy)
            server_group = known.id
    return {"keypair": keypair, "security_group": security_group, "server_group": server_group}


def _security_group(connection: cloud.Connection, wanted: Shared) -> str:
    """Make a group with exactly the rules wanted. Returns its id."""
    name = marks.shared_name(wanted.ledger, wanted.datastore)
    project = connection.current_project_id  # an admin is told of every project's
    found = sorted(one.id for one in connection.network.security_groups(name=name, project_id=project))
    if found:
        group_id = found[0]
    else:
        text = f"ssh and {wanted.datastore} of dbmod's instances"
        group_id = connection.network.create_security_group(name=name, description=text).id
    rules = _rules(wanted, group_id)
    present = {_rule_key(one): one for one in connection.network.security_group_rules(security_group_id=group_id)}
    for key, rule in present.items():
        if key[0] == "ingress" and key not in rules:
            connection.network.delete_security_group_rule(rule.id)
    for key, rule in rules.items():
        if key not in present:
            connection.network.create_security_group_rule(security_group_id=group_id, **rule)
    return str(group_id)


def _rules(wanted: Shared, group_id: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Give what may come in, by its key; what goes out is left to the cloud's defaults."""
    rules = [
        {"remote_ip_prefix": one, "port": port, "ether_type": "IPv6" if ":" in one else "IPv4"}
        for one in wanted.ranges
        for port in (SSH_PORT, *wanted.ports)
    ]
    rules += [
        {"remote_group_id": group_id, "port": port, "ether_type": "IPv4"}
        for port in (*wanted.ports, *wanted.member_ports)
    ]
    whole = [
        {key: value for key, value in rule.items() if key != "port"}
        | {
            "direction": "ingress",
            "protocol": "tcp",
            "port_range_min": rule["port"],
            "port_range_max": rule["port"],
        }
        for rule in rules
    ]
    return {_rule_key(rule): rule for rule in whole}


def _rule_key(rule: Any) -> tuple[Any, ...]:
    names = ("direction", "ether_type", "protocol", "port_range_min", "remote_ip_prefix", "remote_group_id")
    return tuple(rule.get(name) if isinstance(rule, dict) else getattr(rule, name) for name in names)


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Let one process of this home at a time look for shared things and make or remove them."""
    durable.make_directory(settings.home_path)
    with (settings.home_path / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def floating_address(
    settings: Settings, *, network: str, port: str, ledger: str, instance: str, region: str = ""
) -> str:
    """Give a port an address that is reached from outside; one that it has stays."""
    connection = cloud.connect(settings, region=region)
    with cloud.asked("give the instance a floating address"):
        for known in connection.network.ips(port_id=port):
            return str(known.floating_ip_address)
        made = connection.network.create_ip(
            floating_network_id=network, port_id=port, description=marks.description(ledger, instance)
        )
    return str(made.floating_ip_address)


def things(settings: Settings, ledger: str, *, region: str = "") -> list[Thing]:
    """List everything in the project of the login that bears a ledger's mark."""
    connection = cloud.connect(settings, region=region)
    found: list[Thing] = []
    with cloud.asked("list what it has"):
        own = {"project_id": connection.current_project_id}  # an admin is told of every project's ports
        for kind, listed in (
            ("server", connection.compute.servers()),
            ("volume", connection.block_storage.volumes()),
        ):
            for one in listed:
                owner, instance = marks.read(one.metadata)
                if owner == ledger:
                    found.append(Thing(kind=kind, id=one.id, name=one.name, status=one.status, instance=instance))
        for kind, listed in (
            ("port", connection.network.ports(**own)),
            ("floating address", connection.network.ips(**own)),
        ):
            for one in listed:
                owner, instance = marks.read(None, one.description)
                if owner == ledger:
                    found.append(Thing(kind=kind, id=one.id, name=one.name or one.id, instance=instance))
        for kind, listed in (
            ("security group", connection.network.security_groups(**own)),
            ("server group", connection.compute.server_groups()),
            ("keypair", connection.compute.keypairs()),
        ):
            prefix = marks.shared_name(ledger, "")
            found += [
                Thing(kind=kind, id=one.id or one.name, name=one.name, owner=one.name.removeprefix(prefix))
                for one in listed
                if one.name.startswith(prefix)
            ]
    return found


ORDER = ("floating address", "server", "port", "volume", "server group", "security group", "keypair")


def remove(settings: Settings, unwanted: Iterable[Thing], *, region: str = "") -> list[str]:
    """Remove things and wait until they are gone; one that is gone already is no error.

    Returns  what is left and why, a sentence each
    """
    connection = cloud.connect(settings, region=region)
    left = []
    for thing in sorted(unwanted, key=lambda one: ORDER.index(one.kind)):
        try:
            with cloud.asked("remove it"):
                _remove(connection, thing)
        except errors.DbmodError as problem:
            left.append(f"{thing.kind} {thing.id} is left: {problem.what}")
    return left


def _remove(connection: cloud.Connection, thing: Thing) -> None:
    compute, network, storage = connection.compute, connection.network, connection.block_storage
    if thing.kind == "server":
        compute.delete_server(thing.id, ignore_missing=True)
        _wait_until_gone(thing, lambda: compute.find_server(thing.id, ignore_missing=True))
    elif thing.kind == "volume":
        _wait_until_free(thing, lambda: storage.find_volume(thing.id, ignore_missing=True))
        storage.delete_volume(thing.id, ignore_missing=True)
        _wait_until_gone(thing, lambda: storage.find_volume(thing.id, ignore_missing=True))
    elif thing.kind == "port":
        network.delete_port(thing.id, ignore_missing=True)
    elif thing.kind == "floating address":
        network.delete_ip(thing.id, ignore_missing=True)
    elif thing.kind == "security group":
        network.delete_security_group(thing.id, ignore_missing=True)
    elif thing.kind == "server group":
        compute.delete_server_group(thing.id, ignore_missing=True)
    else:
        compute.delete_keypair(thing.name, ignore_missing=True)


def _wait_until_gone(thing: Thing, find: Callable[[], Any]) -> None:
    deadline = time.monotonic() + REMOVE_SECONDS
    while (found := find()) is not None:
        if found.status in ("ERROR", "error_deleting") and time.monotonic() > deadline - REMOVE_SECONDS / 2:
            raise errors.Failed(f"its removal ended in {found.status}")
        if time.monotonic() > deadline:
            raise errors.Failed(f"the {thing.kind} is still there after {REMOVE_SECONDS} s: {found.status}")
        time.sleep(POLL_SECONDS)


def _wait_until_free(thing: Thing, find: Callable[[], Any]) -> None:
    """A volume stays in use for a moment after its server is gone."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while (found := find()) is not None and found.status in ("in-use", "detaching", "attaching", "creating"):
        if time.monotonic() > deadline:
            raise errors.Failed(f"the {thing.kind} is still {found.status} after {REMOVE_SECONDS} s")
        time.sleep(POLL_SECONDS)


def fault(settings: Settings, found: Iterable[Thing], *, region: str = "") -> str:
    """Give the cloud's own words on why a server came to nothing; empty where it has none."""
    connection = cloud.connect(settings, region=region)
    for one in found:
        if one.kind == "server" and one.status == "ERROR":
            with cloud.asked("say what became of the server"):
                said = connection.compute.get_server(one.id).fault or {}
            return str(said.get("message", ""))
    return ""


def of_instance(settings: Settings, ledger: str, instance_id: str, *, region: str = "") -> list[Thing]:
    """List what bears one instance's mark."""
    return [one for one in things(settings, ledger, region=region) if one.instance == instance_id]


def unused(found: Sequence[Thing], living: Iterable[tuple[str, str | None]]) -> list[Thing]:
    """Choose the shared things that nobody needs any more. Pure.

    living  id and cluster id of each instance of the fleet that is in the cloud
    """
    needed = {one for pair in living for one in pair if one}
    return [
        one
        for one in found
        if not one.instance and ((one.kind == "server group" and one.owner not in needed) or not needed)
    ]
