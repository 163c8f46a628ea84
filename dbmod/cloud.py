"""The door to openstacksdk: the connection to a cloud, and what is asked of it before anything is made."""

import functools
import ipaddress
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from dbmod import errors, keypairs
from dbmod.config import Flavor, Settings
from dbmod.store import durable

Connection = Any  # openstack.connection.Connection, whose package is no part of every installation
VERSIONS = "dbmod_versions"  # property of an image: mysql=10.11.14,redis=7.0.15
LOGIN_USER = "os_admin_user"  # OpenStack's own property of images
NOTHING_CONFIGURED = "defaults"  # what openstacksdk calls the cloud where there is none
CLIENT_FILE = "clouds.yaml"
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"  # as cloud-init prints them


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says."""

    project: str
    admin: bool
    expires_at: float  # seconds since the epoch


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a datastore's servers can be made from."""

    id: str
    name: str
    user: str  # whom to log in as; empty: the image does not say
    versions: tuple[tuple[str, str], ...]  # datastore, version
    created_at: str


def connect(settings: Settings, *, region: str = "") -> Connection:
    """Log in lazily: the first question does. Raises Refused, BadInput, Failed.

    region  empty: the settings' region, else the cloud's own
    """
    return _connected(_chosen(settings), region or settings.region, os.environ.get("OS_CLIENT_CONFIG_FILE", ""))


@functools.lru_cache(maxsize=8)
def _connected(cloud: str, region: str, _file: str) -> Connection:
    with asked("be found in its configuration"):
        chosen = _configuration().get_one(cloud=cloud, **({"region_name": region} if region else {}))
        return _package().connection.Connection(config=chosen, app_name="dbmod")


def _package() -> Any:
    try:
        import openstack  # 0.3 s, and only where a cloud is asked
        import openstack.config.loader
    except ImportError as missing:
        raise errors.Refused(
            "The provider 'openstack' needs openstacksdk, which is not installed.",
            next_step="pip install 'dbmod[openstack]'",
        ) from missing
    return openstack


def _configuration() -> Any:
    loader = _package().config.loader
    try:  # with a copy of its list of files: it adds to the one it is given
        return loader.OpenStackConfig(config_files=[*loader.CONFIG_FILES])
    except Exception as error:
        raise errors.BadInput(f"The clouds.yaml cannot be read: {_text(error)}") from error


def _chosen(settings: Settings) -> str:
    """Name the cloud: of the settings, of OS_CLOUD, of the OS_* variables, or the only one there is."""
    known = _configuration()
    names = [one for one in known.get_cloud_names() if one != NOTHING_CONFIGURED]
    chosen = settings.openstack_cloud or known.default_cloud or (names[0] if len(names) == 1 else "")
    if chosen in names:
        return str(chosen)
    if not names:
        raise errors.Refused(
            "No OpenStack cloud is configured.",
            next_step="put a clouds.yaml here or into ~/.config/openstack, or set the OS_* variables of your cloud",
        )
    if chosen and chosen != NOTHING_CONFIGURED:
        raise errors.NotFound(f"There is no cloud '{chosen}' in clouds.yaml.", details={"known": ", ".join(names)})
    raise errors.Refused(
        "There are several clouds, and none was chosen.",
        details={"known": ", ".join(names)},
        next_step="set openstack_cloud or OS_CLOUD to one of them",
    )


@contextmanager
def asked(action: str) -> Iterator[None]:
    """Turn what the cloud or its client says into our errors, with the cloud's own words.

    action  goes on from "The cloud could not "
    """
    try:
        yield
    except errors.DbmodError:
        raise
    except Exception as error:
        kind = type(error).__name__
        if kind in ("Unauthorized", "MissingRequiredOptions", "MissingAuthPlugin"):
            raise errors.Refused(
                f"The cloud refuses the login: {_text(error)}", next_step="see your clouds.yaml or OS_* variables"
            ) from error
        if not type(error).__module__.startswith(("openstack.", "keystoneauth1.")):
            raise
        raise errors.Failed(
            f"The cloud could not {action}: {_text(error)}", next_step="openstack --os-cloud … may tell more"
        ) from error


def _text(error: BaseException) -> str:
    """Give the cloud's reason as one line: the body's text where it has one, else the client's."""
    text = str(getattr(error, "details", "") or "") or str(error)
    status = getattr(error, "status_code", None)
    line = " ".join(text.split())
    return f"{line} (HTTP {status})" if status and str(status) not in line else line


def write_client_file(settings: Settings, directory: Path) -> dict[str, str]:
    """Write a private clouds.yaml with the resolved login into a run's directory.

    ansible-runner writes down the environment, so no password may be in it.
    Returns  the environment that leads to the file
    """
    import yaml

    name = _chosen(settings)
    with asked("be found in its configuration"):
        known = _configuration().get_one(cloud=name).config
    plain = {
        key: value
        for key, value in known.items()
        if isinstance(value, (str, int, dict)) and value != "" and key != "region_name"  # each instance names its own
    }
    path = directory / CLIENT_FILE
    durable.write_file(path, yaml.safe_dump({"clouds": {name: plain}}).encode())
    return {"OS_CLIENT_CONFIG_FILE": str(path), "OS_CLOUD": name}


def identity(settings: Settings) -> Identity:
    """Ask the token who we are."""
    connection = connect(settings)
    with asked("say who we are"):
        access = connection.session.auth.get_access(connection.session)
    if not access.project_id:
        raise errors.Refused("The cloud's login is for no project.", next_step="give project_name in your clouds.yaml")
    return Identity(
        project=access.project_id, admin="admin" in access.role_names, expires_at=access.expires.timestamp()
    )


def project(settings: Settings, *, region: str = "") -> str:
    """Give the id of the project that we are logged in to."""
    connection = connect(settings, region=region)
    with asked("log us in"):
        return str(connection.current_project_id)


def flavors(settings: Settings) -> dict[str, Flavor]:
    """Give flavor id → flavor, by RAM."""
    connection = connect(settings)
    with asked("list its flavors"):
        found = sorted(connection.compute.flavors(), key=lambda one: (one.ram, one.vcpus, one.disk, one.id))
    return {one.id: Flavor(name=one.name, ram_mib=one.ram, vcpus=one.vcpus, disk_gb=one.disk) for one in found}


def images(settings: Settings) -> list[Image]:
    """List the images whose property dbmod_versions names datastores, the newest last."""
    connection = connect(settings)
    with asked("list its images"):
        found = list(connection.image.images(status="active"))
    known = [_image(one) for one in found if VERSIONS in (one.properties or {})]
    return sorted(known, key=lambda one: (one.created_at, one.id))


def _image(found: Any) -> Image:
    pairs = [word.partition("=") for word in str(found.properties[VERSIONS]).replace(",", " ").split()]
    return Image(
        id=found.id,
        name=found.name or found.id,
        user=found.properties.get(LOGIN_USER) or getattr(found, LOGIN_USER, None) or "",
        versions=tuple((datastore, version) for datastore, _, version in pairs if version),
        created_at=found.created_at or "",
    )


def versions(settings: Settings, datastore: str) -> list[str]:
    """List the versions of a datastore that images have, the newest last. Raises Refused."""
    found = {version for image in images(settings) for known, version in image.versions if known == datastore}
    if not found:
        raise errors.Refused(
            f"no image of the cloud has the datastore {datastore}",
            next_step=f"openstack image set --property {VERSIONS}={datastore}=<version> <image>",
        )
    return sorted(found, key=lambda version: [int(number) for number in re.findall(r"\d+", version)])


def image_of(settings: Settings, datastore: str, version: str) -> Image:
    """Give the newest image with a version. Raises NotFound."""
    having = [one for one in images(settings) if (datastore, version) in one.versions]
    if not having:
        raise errors.NotFound(
            f"No image has {datastore} {version}.", next_step=f"dbmod datastore-version-list {datastore}"
        )
    return having[-1]


def one_of(found: Sequence[Any], reference: str, *, what: str, next_step: str) -> Any:
    """Find a cloud's thing by id or name. Raises NotFound, NotUnique."""
    hits = [one for one in found if one.id == reference] or [one for one in found if one.name == reference]
    if not hits:
        raise errors.NotFound(f"{what} '{reference}' cannot be found in the cloud.", next_step=next_step)
    if len(hits) > 1:
        raise errors.NotUnique(f"Several {what.lower()}s have the name '{reference}'; use an id.", next_step=next_step)
    return hits[0]


def regions(settings: Settings, region: str) -> str:
    """Check a region, or give the cloud's own. Raises NotFound, Refused where a choice has to be made."""
    connection = connect(msgspec.structs.replace(settings, region=""))
    own = str(connection.config.get_region_name() or "")
    if own and region in ("", own):
        return own
    with asked("name its regions"):
        catalog = connection.session.auth.get_access(connection.session).service_catalog.catalog
    known = sorted({str(endpoint["region_id"]) for service in catalog for endpoint in service["endpoints"]})
    if not region and len(known) == 1:
        return known[0]
    if not region:
        raise errors.Refused(
            "The cloud has several regions.",
            details={"known": ", ".join(known)},
            next_step="add --region, or set region",
        )
    if region not in known:
        raise errors.NotFound(f"Region '{region}' cannot be found in the cloud.", details={"known": ", ".join(known)})
    return region


def console_host_keys(settings: Settings, server_id: str, *, region: str = "") -> list[str]:
    """Read a server's public host keys from its console.

    Returns  `<type> <base64>` each; empty while the console does not tell them
    """
    with asked("show the server's console"):
        answer = connect(settings, region=region).compute.get_server_console_output(server_id)
    text = answer.get("output") if isinstance(answer, dict) else answer
    return host_keys_in(text or "")


def host_keys_in(console: str) -> list[str]:
    """Find the last whole block of host keys, as a machine prints it at each boot. Pure."""
    before, end, _ = console.rpartition(END)
    _, begin, block = before.rpartition(BEGIN)
    if not begin or not end:
        return []
    return keypairs.public_keys_in(block)


def network(settings: Settings, reference: str) -> str:
    """Give the id of a network by id or name. Raises NotFound, NotUnique."""
    connection = connect(settings)
    with asked("list its networks"):
        found = list(connection.network.networks())
    return str(one_of(found, reference, what="Network", next_step="openstack network list").id)


def networks(settings: Settings, nics: Sequence[str]) -> str:
    """Resolve --nic, or choose the network where none was given.

    nics     as given: net-id=…,v4-fixed-ip=…,port-id=…
    Returns  the same with ids alone, one word each: net-id=…,v4-fixed-ip=… port-id=…
    Raises   NotFound, BadInput, Refused where a choice has to be made
    """
    if not nics and settings.openstack_network:
        return f"net-id={network(settings, settings.openstack_network)}"
    connection = connect(settings)
    if not nics:
        with asked("list its networks"):
            found = [one for one in connection.network.networks() if not one.is_router_external and one.subnet_ids]
        if len(found) != 1:
            raise errors.Refused(
                "There is no network for the instance." if not found else "There are several networks.",
                details={"known": ", ".join(one.name or one.id for one in found) or "none"},
                next_step="add --nic net-id=…, or set openstack_network",
            )
        return f"net-id={found[0].id}"
    return " ".join(_resolved_nic(settings, nic) for nic in nics)


def _resolved_nic(settings: Settings, nic: str) -> str:
    parts = dict(part.split("=", 1) for part in nic.split(","))
    if "port-id" in parts:
        connection = connect(settings)
        with asked("list its ports"):
            found = list(connection.network.ports())
        return f"port-id={one_of(found, parts['port-id'], what='Port', next_step='openstack port list').id}"
    if "net-id" not in parts:
        raise errors.BadInput(f"The nic {nic!r} names no network.", next_step="--nic net-id=…,v4-fixed-ip=…")
    resolved = f"net-id={network(settings, parts['net-id'])}"
    if "v4-fixed-ip" in parts:
        try:
            resolved += f",v4-fixed-ip={ipaddress.IPv4Address(parts['v4-fixed-ip'])}"
        except ValueError as error:
            raise errors.BadInput(f"The nic {nic!r} has no IPv4 address.") from error
    return resolved


def volume_type(settings: Settings, reference: str) -> str:
    """Give the id of a volume type by id or name. Raises NotFound."""
    connection = connect(settings)
    with asked("list its volume types"):
        found = list(connection.block_storage.types())
    return str(one_of(found, reference, what="Volume type", next_step="openstack volume type list").id)
