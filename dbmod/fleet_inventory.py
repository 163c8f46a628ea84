"""The whole fleet of a ledger as an inventory, for the dynamic source inventory/dbmod.yml."""

from typing import Any

from dbmod import config, connections, inventory, store
from dbmod.records import Instance
from dbmod.store import durable


def load() -> dict[str, Any]:
    """Read the ledger.

    Returns  {"all": {"hosts": {name: variables}}, "groups": {name: [host names]}}
    """
    settings = config.load().settings
    living = store.open(settings).snapshot().find(Instance, deleted_at=None)
    host_names = inventory.host_names(living)
    file = settings.home_path / "known_hosts"
    reached = connections.variables(living, settings, known_hosts_file=file)
    keys = connections.known_hosts(living).encode()
    if keys and (not file.exists() or file.read_bytes() != keys):
        durable.make_directory(settings.home_path)
        durable.write_file(file, keys)
    data = inventory.build(living, host_names=host_names, connections=reached)
    groups: dict[str, list[str]] = {}
    for instance in living:
        for group in (f"datastore_{instance.datastore}", f"provider_{instance.provider}"):
            groups.setdefault(group, []).append(host_names[instance.id])
    return data | {"groups": groups}
