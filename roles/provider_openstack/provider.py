"""What dbmod/providers.py asks of the provider `openstack`: see class Hooks there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dbmod import cloud, datastores, errors, keypairs, marks, names, store
from dbmod.config import Flavor, Settings
from dbmod.providers import Place, Wanted
from dbmod.records import Instance

DIRECTORY = "/srv/dbmod"  # where the volume is mounted
HOME = "/var/lib/dbmod"  # where the machine keeps contents and results


def flavors(settings: Settings) -> Mapping[str, Flavor]:
    """Give the cloud's flavors."""
    return cloud.flavors(_in_region(settings, settings.region))


def versions(settings: Settings, datastore: str) -> list[str]:
    """Give what the cloud's images have, by their property dbmod_versions."""
    return cloud.versions(_in_region(settings, settings.region), datastore)


def check(settings: Settings, wanted: Wanted) -> Mapping[str, str | int]:
    """Find image, networks and volume type, and refuse names that are not there; quota and room the cloud judges."""
    settings = _in_region(settings, wanted.region)
    image = cloud.image_of(settings, wanted.datastore, wanted.datastore_version)
    facts: dict[str, str | int] = {
        "image": image.id,
        "user": image.user or settings.openstack_user,
        "become": 1,
        "home": HOME,
        "directory": DIRECTORY,
        "project": cloud.project(settings),
        "ledger": marks.ledger_id(store.open(settings)),
        "region": settings.region,
        "networks": cloud.networks(settings, wanted.nics),
        "timeout_seconds": settings.openstack_timeout_seconds,
    }
    keypairs.public_key(settings)
    if wanted.volume_type:
        facts["volume_type"] = cloud.volume_type(settings, wanted.volume_type)
    if settings.openstack_floating_network:
        facts["floating_network"] = cloud.network(settings, settings.openstack_floating_network)
    if settings.openstack_cloud:
        facts["cloud"] = settings.openstack_cloud  # a run without the command has no clouds.yaml of its own
    if settings.accept_host_key:
        facts["accept_host_key"] = 1
    if wanted.availability_zone:
        facts["availability_zone"] = wanted.availability_zone
    _refuse_what_is_no_variable({**facts, "flavor": wanted.flavor_id})
    return facts


def place(settings: Settings, wanted: Wanted, living: Sequence[Instance]) -> Place:
    """Each instance has a machine of its own, so its port is the usual one."""
    del settings, living
    return Place(port=datastores.describe(wanted.datastore).port)


def _in_region(settings: Settings, region: str) -> Settings:
    """Give the settings with the region that is asked for, as each has images, flavors and networks of its own."""
    return msgspec.structs.replace(settings, region=cloud.regions(settings, region))


def _refuse_what_is_no_variable(facts: Mapping[str, Any]) -> None:
    """Names that users chose become Ansible variables, so they are plain."""
    for key in ("user", "availability_zone", "flavor", "region", "cloud"):
        if key in facts and not names.is_plain(str(facts[key])):
            raise errors.BadInput(f"The {key} {facts[key]!r} has characters that dbmod does not take.")
