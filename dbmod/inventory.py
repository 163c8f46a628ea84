"""From the fleet to an Ansible inventory. Pure. Only checked ids, addresses, ports and numbers become variables.

A string with `{{ … }}` in an inventory is executed on the controller, so nothing that a user wrote may come here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from dbmod import errors, names
from dbmod.config import Flavor
from dbmod.records import Instance

Variables = dict[str, Any]
RESERVED = ("all", "localhost", "ungrouped")


def host_names(instances: Iterable[Instance]) -> dict[str, str]:
    """Give each living instance its name in inventories: its own where that is plain and unique, else its id.

    Returns  instance id → host name
    """
    living = [instance for instance in instances if instance.deleted_at is None]
    bearers = Counter(instance.name for instance in living)
    return {
        instance.id: instance.name
        if names.is_plain(instance.name)
        and bearers[instance.name] == 1
        and instance.name not in RESERVED
        and not names.is_identifier(instance.name)  # it may be another instance's id
        else instance.id
        for instance in living
    }


def build(
    instances: Iterable[Instance],
    *,
    host_names: Mapping[str, str],
    flavors: Mapping[str, Flavor],
    connections: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Write instances as an inventory in the JSON that Ansible's own yaml plugin reads.

    connections  provider → connection variables, ansible_connection and the like
    """
    hosts = {
        host_names[instance.id]: variables(instance, flavors=flavors) | dict(connections[instance.provider])
        for instance in instances
    }
    return {"all": {"hosts": hosts}}


def variables(instance: Instance, *, flavors: Mapping[str, Flavor]) -> Variables:
    """Give the variables of one host, see `roles/*/meta/argument_specs.yml`."""
    flavor = flavors.get(instance.flavor)
    known: Variables = {
        "dbmod_id": instance.id,
        "dbmod_provider": instance.provider,
        "dbmod_datastore": instance.datastore,
        "dbmod_datastore_version": instance.datastore_version,
        "dbmod_address": instance.address,
        "dbmod_port": instance.port,
        "dbmod_memory_mib": flavor.ram_mib if flavor else None,
        "dbmod_vcpus": flavor.vcpus if flavor else None,
        "dbmod_volume_gb": instance.volume_gb,
        "dbmod_cluster": instance.cluster_id,
        "dbmod_directory": instance.provider_facts.get("directory"),
        "dbmod_uid": instance.provider_facts.get("uid"),
        "dbmod_host_home": instance.provider_facts.get("directory", "/var/lib/dbmod"),
    }
    return {key: _checked(key, value) for key, value in known.items() if value is not None}


def _checked(key: str, value: str | int) -> str | int:
    """Refuse a value that Ansible would execute; the fleet's own checks keep such out, this is the last door."""
    if isinstance(value, str) and ("{" in value or "\n" in value):
        raise errors.BadInput(
            f"The {key.removeprefix('dbmod_')} {value!r} cannot be used: Ansible would execute what is in the braces.",
            next_step="choose a path without braces and line breaks for home and local_directory",
        )
    return value
