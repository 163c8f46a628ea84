"""The whole fleet of a ledger as an inventory, for the dynamic source inventory/dbmod.yml."""

import os
from typing import Any

from dbmod import config, connections, inventory, store
from dbmod.config import Settings
from dbmod.records import Instance
from dbmod.store import durable

KNOWN_HOSTS = "known_hosts"


def load() -> dict[str, Any]:
    """Read the ledger.

    Returns  {"all": {"hosts": {name: variables}}, "groups": {name: [host names]}}
    """
    settings = config.load().settings
    living = store.open(settings).snapshot().find(Instance, deleted_at=None)
    host_names = inventory.host_names(living)
    file = settings.home_path / KNOWN_HOSTS
    reached = connections.variables(living, settings, known_hosts_file=file)
    write_known_hosts(settings, connections.known_hosts(living))
    data = inventory.build(living, host_names=host_names, connections=reached)
    groups: dict[str, list[str]] = {}
    for instance in living:
        for group in (f"datastore_{instance.datastore}", f"provider_{instance.provider}"):
            groups.setdefault(group, []).append(host_names[instance.id])
    return data | {"groups": groups}


def write_known_hosts(settings: Settings, text: str) -> None:
    """Write the file that the hosts' connection variables name, unless it is there as it is to be.

    Raises  LedgerUnwritable
    """
    file, keys = settings.home_path / KNOWN_HOSTS, text.encode()
    try:
        if not keys or (file.exists() and file.read_bytes() == keys):
            return
        durable.make_directory(file.parent)
        own = file.with_name(f"{file.name}.{os.getpid()}")  # several inventories may be read at once
        durable.write_file(own, keys)
        own.replace(file)
    except OSError as error:
        raise durable.unwritable(error, file, needed_bytes=len(keys)) from error
