"""Where instances come from: what each provider offers, and how its instances are seen."""

import functools
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import msgspec

from dbmod import datastores, errors, local_servers, paths
from dbmod.config import Flavor, Settings
from dbmod.records import Instance, InstanceStatus

LOOPBACK = "127.0.0.1"


class Provider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """roles/provider_<name>/provider.yml."""

    title: str
    offers: tuple[str, ...]  # what module types may need
    offers_as_root: tuple[str, ...]  # besides, where dbmod runs as root
    connection: dict[str, Any]  # host variables
    creates: bool = True  # false: it takes over what exists, and has no provider.py
    installs: bool = False  # whether its machines get the datastore's packages: dbmod_installs
    ignores: tuple[str, ...] = ()  # options of create that mean nothing to it: volume_type, nics …
    encrypted: bool  # whether contents travel encrypted: encrypted_rpc_messaging
    observed_by: Literal["port", "nothing"]  # how list and show see that a server is down
    restart_command: tuple[str, ...] = ()  # on the host; may hold {python}, {package}, {directory}, {unit}


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that is to be made."""

    instance_id: str
    datastore: str
    datastore_version: str
    flavor_id: str
    flavor: Flavor
    volume_gb: int
    volume_type: str | None = None
    nics: tuple[str, ...] = ()  # as given: net-id=…,v4-fixed-ip=…,port-id=…
    availability_zone: str | None = None
    region: str
    locality: str | None = None
    cluster_id: str | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a new instance goes."""

    port: int
    address: str | None = None  # None: known when its machine is there
    facts: dict[str, str | int] = {}  # provider_facts


class Hooks(Protocol):
    """roles/provider_<name>/provider.py, of a provider that creates instances."""

    def flavors(self, settings: Settings) -> Mapping[str, Flavor]:
        """Give flavor id → flavor. Raises Failed where a cloud does not answer."""

    def versions(self, settings: Settings, datastore: str) -> list[str]:
        """List the versions that can be created, the newest last. Raises Refused with the remedy where none can."""

    def check(self, settings: Settings, wanted: Wanted) -> Mapping[str, str | int]:
        """Refuse what cannot be made; it may take its time, as no lock is held.

        Returns  what it found out, for the instance's provider_facts
        Raises   Refused, NotFound, Failed
        """

    def place(self, settings: Settings, wanted: Wanted, living: Sequence[Instance]) -> Place:
        """Choose a place; the transaction that writes the instance is open, so nobody else is asked.

        living  the fleet as that transaction sees it
        Raises  Refused
        """


def names() -> list[str]:
    """List the providers: the folders roles/provider_*."""
    return paths.drop_ins("provider")


def restart_command(name: str, *, directory: str, unit: str) -> tuple[str, ...]:
    """Give the words that restart a server on its host; none where the provider is not known."""
    if name not in names():
        return ()
    known = {"python": sys.executable, "package": str(paths.PACKAGE.parent), "directory": directory, "unit": unit}
    return tuple(word.format(**known) for word in describe(name).restart_command)


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


def hooks(name: str) -> Hooks:
    """Give the provider's own functions. Raises NotFound, Refused where it creates nothing."""
    if not describe(name).creates:
        raise errors.Refused(
            f"The provider '{name}' creates no instances.",
            next_step="dbmod adopt takes over a server that exists; --provider chooses another provider",
        )
    return cast("Hooks", paths.load(paths.role("provider", name) / "provider.py"))


def check_flavor(settings: Settings, provider: str, reference: str) -> tuple[str, Flavor]:
    """Find a flavor by id or name. Returns its id and itself. Raises NotFound."""
    known = hooks(provider).flavors(settings)
    for key, flavor in known.items():
        if reference in (key, flavor.name):
            return key, flavor
    raise errors.NotFound(f"Flavor '{reference}' cannot be found.", next_step="dbmod flavor-list")


def check_version(settings: Settings, provider: str, datastore: str, version: str | None) -> str:
    """Give the version to create: the one asked for by number or id, or the newest there is.

    Raises NotFound, Refused
    """
    datastores.describe(datastore)
    return datastores.choose_version(datastore, version, hooks(provider).versions(settings, datastore))


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


def directory(instance: Instance) -> Path | None:
    """Give the directory of an instance's server on its host; None where it has none of ours."""
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
    client = datastores.find_program(datastore.clients, datastore.directories)
    option = datastore.connect_cluster_option if instance.cluster_id else ""
    values = {
        "client": Path(client).name if client else datastore.clients[0],
        "address": instance.address,
        "port": str(instance.port),
        "directory": shlex.quote(str(directory(instance) or "")),
        "instance": shlex.quote(instance.name),
        "cluster": option and f" {option}",
    }
    text = _connect_text(instance, datastore.connect)
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def _connect_text(instance: Instance, connect: datastores.Connect) -> str:
    if describe(instance.provider).connection.get("ansible_connection") == "local":
        return connect.here
    return connect.remote if describe(instance.provider).creates else connect.adopted
