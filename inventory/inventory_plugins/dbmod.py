"""The fleet as a dynamic inventory; a thin door to dbmod/fleet_inventory.py."""

import functools
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any, cast

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.template import trust_as_template

DOCUMENTATION = """
name: dbmod
short_description: The instances of a dbmod ledger
description:
  - Lists every living instance of the ledger that exists for the tenant who asks.
  - A host bears its instance's name where that is plain and unique, else its id.
  - "Groups: C(datastore_<name>), C(version_<datastore>_<version>), C(provider_<name>), C(region_<name>),
    C(cluster_<name>), C(tenant_<name>), C(status_<status>); for each module C(module_<name>) (hosts that hold it),
    C(module_<name>_outdated), C(module_<name>_failed)."
  - In a group's name dots and hyphens are underscores. A name that is not plain, or would be another's then, is
    replaced by the id, or by a digest where there is none.
  - A cached inventory is used only while the ledger, the settings and the asking tenant are what they were.
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: Always V(dbmod).
    required: true
    choices: [dbmod]
"""

EXAMPLES = """
# inventory/dbmod.yml
plugin: dbmod
compose:
  endpoint: dbmod_address ~ ':' ~ dbmod_port
groups:
  large: dbmod_memory_mib | default(0) >= 8192
keyed_groups:
  - key: dbmod_flavor
    prefix: flavor
"""

PROJECT = Path(__file__).resolve().parents[2]
VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):  # type: ignore[misc]
    """The plugin that `plugin: dbmod` names."""

    NAME = "dbmod"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and Path(path).name in ("dbmod.yml", "dbmod.yaml")

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        _find_library()
        from dbmod import errors

        try:
            fleet = self._fleet(path, may_be_cached=cache)
        except errors.DbmodError as error:
            raise AnsibleParserError("\n".join(error.lines())) from None  # Ansible would say it twice
        hosts = {name: inventory.get_host(inventory.add_host(name)) for name in fleet.hosts}
        for name, variables in fleet.hosts.items():
            # By the objects themselves: by name, a group of another inventory may be meant; and it takes half the time.
            hosts[name].vars.update(trusted(variables))
        for name, members in fleet.groups.items():
            group = inventory.groups[inventory.add_group(name)]
            for member in members:
                group.add_host(hosts[member])
        self._construct(fleet.hosts)

    def _fleet(self, path: str, *, may_be_cached: bool) -> Any:
        """Give the ledger's inventory, or the cached one where it still is that."""
        from dbmod import doors, fleet_inventory

        here = doors.context()
        tables = here.store.snapshot()
        is_cached, key = self.get_option("cache"), self.get_cache_key(path)
        text = self.cache.get(key) if is_cached and may_be_cached else None
        fleet = fleet_inventory.from_text(text, stamp=fleet_inventory.stamp(here, tables))
        if fleet is None:
            fleet = fleet_inventory.load(here, tables)
            if is_cached:
                self.cache[key] = fleet_inventory.to_text(fleet)
        fleet_inventory.write_known_hosts(here.settings, fleet.known_hosts)
        return fleet

    def _construct(self, hosts: dict[str, Any]) -> None:
        """Do what the options of the fragment `constructed` ask for."""
        strict = self.get_option("strict")
        compose, groups, keyed_groups = (self.get_option(name) for name in ("compose", "groups", "keyed_groups"))
        for name in hosts if compose or groups or keyed_groups else ():
            variables = self.inventory.get_host(name).get_vars()
            self._set_composite_vars(compose, variables, name, strict=strict)
            self._add_host_to_composed_groups(groups, variables, name, strict=strict)
            self._add_host_to_keyed_groups(keyed_groups, variables, name, strict=strict)

    def _compose(self, template: Any, variables: Any, *rest: Any) -> Any:
        return trusted(super()._compose(template, variables, *rest))


def trusted(value: Any) -> Any:
    """Give a value whose texts Ansible takes as they are; an export would wrap others, and AWX store the wrapping.

    A text that holds a template stays untrusted, wherever it came from, and so is never executed.
    """
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [trusted(one) for one in value]
    return _trusted_text(value) if isinstance(value, str) else value


@functools.lru_cache(maxsize=1024)  # hosts have most of their texts in common
def _trusted_text(text: str) -> str:
    from dbmod import inventory

    return cast("str", trust_as_template(text)) if inventory.is_harmless(text) else text


def _find_library() -> None:
    """Make dbmod importable, the one of this project where none is installed. Raises AnsibleParserError."""
    installed = importlib.util.find_spec("dbmod")
    if installed is None or installed.origin is None:  # nothing, or a directory that only bears the name
        sys.path.append(str(PROJECT))
    try:
        from dbmod import __path__ as places
        from dbmod import __version__ as version

        _refuse_another_version(places[0], version)
        import dbmod.doors  # noqa: F401
    except ImportError as error:
        raise AnsibleParserError(
            f"{error.name} is missing in the Python that runs Ansible, {sys.executable}\n"
            f"  next  {sys.executable} -m pip install {PROJECT}"
        ) from None


def _refuse_another_version(found: str, version: str) -> None:
    """Refuse an installed dbmod that is not of this project's version, as an old execution environment has it."""
    own = PROJECT / "dbmod" / "__init__.py"  # not there where this file is part of an installed dbmod
    expected = VERSION.search(own.read_text(encoding="utf-8")) if own.exists() else None
    if expected and expected[1] != version:
        raise AnsibleParserError(
            f"{found} is dbmod {version}, and this project's is {expected[1]}\n"
            f"  next  install dbmod {expected[1]} in the Python that runs Ansible, {sys.executable}"
        )
