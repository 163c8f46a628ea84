"""The fleet as a dynamic inventory; a thin door to dbmod/fleet_inventory.py."""

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.template import trust_as_template

DOCUMENTATION = """
name: dbmod
short_description: The instances of a dbmod ledger
description:
  - Lists every living instance of the ledger below E(DBMOD_HOME), with groups by datastore and provider.
  - A host bears its instance's name where that is plain and unique, else its id.
options:
  plugin:
    description: Always V(dbmod).
    required: true
    choices: [dbmod]
"""


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]
    """The plugin that `plugin: dbmod` names."""

    NAME = "dbmod"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and Path(path).name in ("dbmod.yml", "dbmod.yaml")

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            import dbmod  # noqa: F401
        except ImportError:
            sys.path.append(str(Path(__file__).resolve().parents[2]))
        from dbmod import errors, fleet_inventory

        try:
            data = fleet_inventory.load()
        except errors.DbmodError as error:
            raise AnsibleParserError("\n".join(error.lines())) from error
        for host, variables in data["all"]["hosts"].items():
            inventory.add_host(host)
            for name, value in variables.items():
                # checked to hold no template; untrusted, an export would wrap it, and AWX would store the wrapping
                inventory.set_variable(host, name, trust_as_template(value) if isinstance(value, str) else value)
        for group, members in data["groups"].items():
            inventory.add_group(group)
            for host in members:
                inventory.add_host(host, group=group)
