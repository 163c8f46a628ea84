"""From the fleet to an Ansible inventory. Pure. Only checked ids, addresses, ports and numbers become variables.

A string with `{{ … }}` in an inventory is executed on the controller, so nothing that a user wrote may come here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dbmod import datastores, errors, inventory_groups, names, providers
from dbmod.records import Instance

Variables = dict[str, Any]
HOST_HOME = "/var/lib/dbmod"  # where a host keeps contents and results, unless its provider says otherwise
RESERVED = ("all", "localhost", "ungrouped")


def host_names(instances: Iterable[Instance]) -> dict[str, str]:
    """Give each living instance its name in inventories: its own where that is plain and unique, else its id.

    One that was adopted from the user's inventory keeps the name it has there: what that says of it goes on to count.

    Returns  instance id → host name
    """
    living = [instance for instance in instances if instance.deleted_at is None]
    theirs = {
        one.id: str(one.provider_facts["inventory_host"]) for one in living if one.provider_facts.get("inventory")
    }
    ours = {one.id: one.name for one in living if one.id not in theirs}
    bearers = Counter([*set(theirs.values()), *ours.values()])
    return theirs | {key: name if bearers[name] == 1 and is_host_name(name) else key for key, name in ours.items()}


def is_host_name(name: str) -> bool:
    """Tell whether a name can stand for a host; an id cannot, as it may be another instance's, nor a group's name."""
    is_taken = name in RESERVED or names.is_identifier(name) or inventory_groups.is_like_a_group(name)
    return names.is_plain(name) and not is_taken


def build(
    instances: Iterable[Instance],
    *,
    host_names: Mapping[str, str],
    connections: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Write instances as an inventory in the JSON that Ansible's own yaml plugin reads.

    connections  instance id → connection variables, ansible_connection and the like
    """
    hosts = {host_names[instance.id]: variables(instance) | dict(connections[instance.id]) for instance in instances}
    return {"all": {"hosts": hosts}}


def variables(instance: Instance) -> Variables:
    """Give the variables of one host, see `roles/*/meta/argument_specs.yml`."""
    facts = instance.provider_facts
    servers = datastores.describe(instance.datastore).servers
    usual = next(iter(servers.values()))
    known: Variables = {
        "dbmod_id": instance.id,
        "dbmod_provider": instance.provider,
        "dbmod_datastore": instance.datastore,
        "dbmod_datastore_version": instance.datastore_version,
        "dbmod_servers": msgspec.to_builtins(servers),
        "dbmod_account": facts.get("account", usual.account),
        "dbmod_unit": facts.get("unit", usual.unit),
        "dbmod_installs": providers.describe(instance.provider).installs,
        "dbmod_address": facts.get("fixed_address", instance.address),  # where its server listens
        "dbmod_port": instance.port,
        "dbmod_flavor": instance.flavor or None,
        "dbmod_memory_mib": instance.ram_mib,
        "dbmod_vcpus": instance.vcpus,
        "dbmod_volume_gb": instance.volume_gb,
        "dbmod_cluster": instance.cluster_id,
        "dbmod_server_id": instance.server_id,
        "dbmod_volume_id": instance.volume_id,
        "dbmod_restart_command": list(instance.restart_command) or None,
        "dbmod_directory": facts.get("directory"),
        "dbmod_uid": facts.get("uid"),
        "dbmod_gid": facts.get("gid", facts.get("uid")),
        "dbmod_facts": {key: _checked(key, value) for key, value in facts.items()} or None,
        "dbmod_host_home": facts.get("home", facts.get("directory", HOST_HOME)),
    }
    return {key: _checked(key, value) for key, value in known.items() if value is not None}


def is_harmless(text: str) -> bool:
    """Tell whether Ansible finds nothing to execute in a text; a first line may say what stands for the braces."""
    return "{" not in text and "\n" not in text


def _checked(key: str, value: Any) -> Any:
    """Refuse a value that Ansible would execute; the fleet's own checks keep such out, this is the last door."""
    if isinstance(value, list):
        return [_checked(key, one) for one in value]
    if isinstance(value, str) and not is_harmless(value):
        raise errors.BadInput(
            f"The {key.removeprefix('dbmod_')} {value!r} cannot be used: Ansible would execute what is in the braces.",
            next_step="choose a path without braces and line breaks for home and local_directory",
        )
    return value
