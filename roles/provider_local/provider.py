"""What dbmod/providers.py asks of the provider `local`: see class Hooks there."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dbmod import datastores, errors
from dbmod.config import Flavor, Settings
from dbmod.providers import LOOPBACK, Place, Wanted
from dbmod.records import Instance

GIB = 1 << 30


def flavors(settings: Settings) -> Mapping[str, Flavor]:
    """Give what the configuration names."""
    return settings.flavors


def versions(settings: Settings, datastore: str) -> list[str]:
    """Give what is installed on this machine."""
    del settings
    return datastores.versions(datastore)


def check(settings: Settings, wanted: Wanted) -> Mapping[str, str | int]:
    """Refuse where the volume finds no room below the local servers' directory; it looks, and reserves nothing."""
    place = settings.local_path
    while not place.is_dir():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < wanted.volume_gb * GIB:
        raise errors.Refused(
            f"no room for a volume of {wanted.volume_gb} GB below {settings.local_path}",
            details={
                "free": f"{free / GIB:.1f} GB",
                "note": "the local provider looks for room, it does not reserve it",
            },
            next_step="free some space, ask for a smaller --size, or set local_directory to another disk",
        )
    return {}


def place(settings: Settings, wanted: Wanted, living: Sequence[Instance]) -> Place:
    """Choose port, user and directory.

    Raises Refused where no port is free, or where a server of its own user could not reach its files
    """
    taken = _ports_of(living)
    distances = (0, *datastores.describe(wanted.datastore).further_ports)
    for port in settings.local_port_range:
        needed = [port + distance for distance in distances]
        if taken.isdisjoint(needed) and all(_is_free(number) for number in needed):
            break
    else:
        raise errors.Refused(
            f"no free port is left in {settings.local_ports}", next_step="set local_ports to a wider range"
        )
    facts: dict[str, str | int] = {"directory": str(settings.local_path / wanted.instance_id)}
    if os.geteuid() == 0:
        _check_reachable(settings.local_path)
        facts |= _owner(settings, wanted.datastore, port)
    return Place(address=LOOPBACK, port=port, facts=facts)


def _owner(settings: Settings, datastore: str, port: int) -> dict[str, str | int]:
    """Give user and group of a server of root's: a number of its own, or an account where the server insists on one."""
    described = datastores.describe(datastore)
    if not described.account_required:
        number = settings.local_uid_base + port
        return {"uid": number, "gid": number}
    name = described.servers[Path(datastores.server_program(datastore)).name].account
    try:
        account = pwd.getpwnam(name)
    except KeyError as error:
        raise errors.Refused(
            f"{described.title} runs only under an account, and there is no `{name}` on this machine",
            next_step=f"apt-get install {described.package}, which makes it",
        ) from error
    return {"uid": account.pw_uid, "gid": account.pw_gid}


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
