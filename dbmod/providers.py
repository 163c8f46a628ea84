"""Where instances come from: what each provider offers, and how its instances are seen."""

import functools
import os
import shlex
import shutil
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import msgspec

from dbmod import config, datastores, errors, local_servers, paths
from dbmod.records import Instance, InstanceStatus

LOOPBACK = "127.0.0.1"
GIB = 1 << 30


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """roles/provider_<name>/provider.yml."""

    title: str
    offers: tuple[str, ...]  # what module types may need
    offers_as_root: tuple[str, ...]  # besides, where dbmod runs as root
    connection: dict[str, Any]  # host variables
    ignores: tuple[str, ...] = ()  # options of create that mean nothing to it: volume_type, nics …
    encrypted: bool  # whether contents travel encrypted: encrypted_rpc_messaging
    observed_by: Literal["port", "nothing"]  # how list and show see that a server is down


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a new local instance goes."""

    address: str
    port: int
    uid: int | None  # None: as the user who runs dbmod
    directory: Path


def names() -> list[str]:
    """List the providers: the folders roles/provider_*."""
    return paths.drop_ins("provider")


@functools.cache
def describe(name: str) -> Provider:
    """Give a provider's description. Raises NotFound."""
    if name not in names():
        raise errors.NotFound(f"Provider '{name}' cannot be found.", details={"known": ", ".join(names())})
    path = paths.role("provider", name) / "provider.yml"
    from dbmod import yaml_file  # 10 ms, and only some commands look here

    try:
        return msgspec.convert(yaml_file.read(path), Provider)
    except msgspec.ValidationError as error:
        raise errors.BadInput(f"{path}: {error}") from error


def offers(name: str) -> frozenset[str]:
    """Give what this provider's hosts offer to module types here and now, as `root` and `systemd`."""
    provider = describe(name)
    return frozenset(provider.offers) | (frozenset(provider.offers_as_root) if os.geteuid() == 0 else frozenset())


def connection(name: str) -> dict[str, Any]:
    """Give the host variables that reach this provider's hosts; on this machine the Python that runs dbmod serves."""
    variables = dict(describe(name).connection)
    if variables.get("ansible_connection") == "local":
        variables["ansible_python_interpreter"] = sys.executable
    return variables


def observed_status(instance: Instance) -> InstanceStatus:
    """Give an instance's status as it can be seen from here without a login: an ACTIVE one may be SHUTDOWN."""
    if instance.status != "ACTIVE" or describe(instance.provider).observed_by != "port":
        return instance.status
    if instance.port is None or local_servers.is_listening(instance.address or LOOPBACK, instance.port):
        return instance.status
    return "SHUTDOWN"


def allocate(
    settings: config.Settings, instances: Iterable[Instance], *, instance_id: str, datastore: str
) -> Allocation:
    """Choose port, user and directory of a new local instance.

    instances  the fleet as the transaction sees it that also writes the new instance
    Raises     Refused where no port is free, or where a server of its own user could not reach its files
    """
    taken = _ports_of(instances)
    distances = (0, *datastores.describe(datastore).further_ports)
    for port in settings.local_port_range:
        wanted = [port + distance for distance in distances]
        if taken.isdisjoint(wanted) and all(_is_free(number) for number in wanted):
            break
    else:
        raise errors.Refused(
            f"no free port is left in {settings.local_ports}", next_step="set local_ports to a wider range"
        )
    uid = settings.local_uid_base + port if os.geteuid() == 0 else None
    if uid is not None:
        _check_reachable(settings.local_path)
    return Allocation(address=LOOPBACK, port=port, uid=uid, directory=settings.local_path / instance_id)


def _ports_of(instances: Iterable[Instance]) -> set[int]:
    return {
        instance.port + distance
        for instance in instances
        if instance.provider == "local" and instance.port and instance.deleted_at is None
        for distance in (0, *datastores.describe(instance.datastore).further_ports)
    }


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free for a server
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _check_reachable(path: Path) -> None:
    """As root each server has a user of its own, which must be able to walk to its directory."""
    for folder in path.parents:
        if folder.is_dir() and not folder.stat().st_mode & 0o001:
            raise errors.Refused(
                f"local servers run under users of their own, and those cannot enter {folder}",
                next_step=f"chmod o+x {folder}, or set local_directory to another place",
            )


def check_room(settings: config.Settings, volume_gb: int) -> int:
    """Give the free bytes below the local servers' directory; it looks, and reserves nothing.

    Raises Refused where less than *volume_gb* is free
    """
    place = settings.local_path
    while not place.is_dir():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < volume_gb * GIB:
        raise errors.Refused(
            f"no room for a volume of {volume_gb} GB below {settings.local_path}",
            details={
                "free": f"{free / GIB:.1f} GB",
                "note": "the local provider looks for room, it does not reserve it",
            },
            next_step="free some space, ask for a smaller --size, or set local_directory to another disk",
        )
    return free


def directory(instance: Instance) -> Path | None:
    """Give a local instance's directory; None where it has none."""
    place = instance.provider_facts.get("directory")
    return Path(str(place)) if place else None


def log_path(instance: Instance) -> str:
    """Give where the server's log is; empty where dbmod does not know."""
    place = directory(instance)
    return str(place / "log" / "server.log") if place else ""


def connect_hint(instance: Instance) -> str:
    """Give the command that opens a client; empty where there is no address yet."""
    if instance.port is None or not instance.address:
        return ""
    datastore = datastores.describe(instance.datastore)
    client = datastores.find_program(datastore.clients)
    values = {
        "client": Path(client).name if client else datastore.clients[0],
        "address": instance.address,
        "port": str(instance.port),
        "directory": shlex.quote(str(directory(instance) or "")),
    }
    text = datastore.connect_cluster if instance.cluster_id and datastore.connect_cluster else datastore.connect
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
