"""The whole fleet of a ledger as an inventory, for the dynamic source inventory/dbmod.yml."""

from typing import Any

from dbmod import config, inventory, providers, store
from dbmod.records import Instance


def load() -> dict[str, Any]:
    """Read the ledger.

    Returns  {"all": {"hosts": {name: variables}}, "groups": {name: [host names]}}
    """
    settings = config.load().settings
    living = store.open(settings).snapshot().find(Instance, deleted_at=None)
    host_names = inventory.host_names(living)
    connections = {name: providers.connection(name) for name in {one.provider for one in living}}
    data = inventory.build(living, host_names=host_names, flavors=settings.flavors, connections=connections)
    groups: dict[str, list[str]] = {}
    for instance in living:
        for group in (f"datastore_{instance.datastore}", f"provider_{instance.provider}"):
            groups.setdefault(group, []).append(host_names[instance.id])
    return data | {"groups": groups}
