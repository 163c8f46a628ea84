"""Which instances a command or a playbook is about."""

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase

import msgspec

from dbmod import errors, lookup, names
from dbmod.identity import Actor
from dbmod.records import Instance
from dbmod.store.interface import Tables


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances: one by name or id, or several by the other fields together."""

    instance: str = ""
    cluster: str = ""
    datastore: str = ""
    limit: str = ""  # names with * and ?, several by comma, `!` in front leaves out
    groups: dict[str, frozenset[str]] = {}  # words of limit that name groups of users' inventories → instance ids
    all: bool = False
    hosts: tuple[str, ...] | None = None  # ids that the launcher allows (Ansible's --limit); None: all

    @property
    def is_one(self) -> bool:
        return bool(self.instance)


def select(tables: Tables, selection: Selection, *, actor: Actor) -> list[Instance]:
    """Give the instances that a selection names, by name."""
    if selection.is_one:
        one = lookup.instance(tables, selection.instance, actor=actor)
        if selection.hosts is not None and one.id not in selection.hosts:
            raise errors.BadInput(f"Instance '{one.name}' is not among the hosts of this play.")
        return [one]
    if not (selection.cluster or selection.datastore or selection.limit or selection.all):
        raise errors.BadInput(
            "No instance was named.", next_step="name one, or use --cluster, --datastore, --limit or --all"
        )
    cluster_id = lookup.cluster(tables, selection.cluster, actor=actor).id if selection.cluster else None
    chosen = [
        instance
        for instance in lookup.living_instances(tables, actor=actor)
        if (cluster_id is None or instance.cluster_id == cluster_id)
        and (not selection.datastore or instance.datastore == selection.datastore)
        and (not selection.limit or matches(instance, selection.limit, groups=selection.groups))
        and (selection.hosts is None or instance.id in selection.hosts)
    ]
    return sorted(chosen, key=lambda instance: (names.natural_key(instance.name), instance.id))


def matches(instance: Instance, pattern: str, *, groups: Mapping[str, Collection[str]] | None = None) -> bool:
    """Tell whether a name, an id or a group matches a pattern like `db-*,!db-7`.

    groups  see Selection.groups
    """
    parts = [part.strip() for part in pattern.split(",") if part.strip()]
    wanted = [part for part in parts if not part.startswith("!")] or ["*"]
    unwanted = [part[1:] for part in parts if part.startswith("!")]

    def fits(one: str) -> bool:
        return fnmatchcase(instance.name, one) or instance.id == one or instance.id in (groups or {}).get(one, ())

    return any(fits(one) for one in wanted) and not any(fits(one) for one in unwanted)
