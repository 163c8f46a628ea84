"""How modules stand on the instances of a fleet: pairs of both, counted by what instances share. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, get_args

import msgspec

from dbmod import names, planning
from dbmod.records import Cluster, Instance, Module, Row

Standing = planning.Standing | Literal["not applied"]
STANDINGS: tuple[Standing, ...] = (*get_args(planning.Standing), "not applied")
By = Literal["instance", "cluster", "version", "datastore", "region"]
BY: tuple[By, ...] = get_args(By)
FINEST_FIRST: tuple[By, ...] = ("instance", "cluster", "version", "datastore")  # what a matrix is tried by unasked
ALONE = "no cluster"
HEADERS = ("Module", "Standing", *(by.capitalize() for by in BY))  # nothing else in a matrix may be called so


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One module on one instance.

    row      None: not applied
    message  why it stands as it does, where that is known
    """

    module: Module
    instance: Instance
    row: Row | None
    standing: Standing
    message: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Instances that share something."""

    key: str  # of a cluster its id, "" for those in none
    label: str  # no two groups have the same


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How many instances of a group stand so with a module."""

    module: Module
    group: Group
    standing: Standing
    count: int


class Matrix(msgspec.Struct, frozen=True, kw_only=True):
    """A table with a line for each module, or for each standing that it has, and a column for each group."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str | int, ...], ...]


def pairs(instances: Iterable[Instance], modules: Sequence[Module], rows: Iterable[Row]) -> list[Pair]:
    """Pair instances with the modules that fit them or were applied to them, in the order of both.

    rows  live ones; those of other modules and instances are passed over
    """
    live = {(row.instance_id, row.module_id): row for row in rows if row.removed_at is None}
    found = []
    for instance in instances:
        for module in modules:
            row = live.get((instance.id, module.id))
            if row is not None:
                standing: Standing = planning.standing(row, module)
                message = row.message if standing == "failed" else row.observed_detail
                found.append(Pair(module=module, instance=instance, row=row, standing=standing, message=message))
            elif module.deleted_at is None and planning.fits(
                module, datastore=instance.datastore, datastore_version=instance.datastore_version
            ):
                found.append(Pair(module=module, instance=instance, row=None, standing="not applied"))
    return found


def looked_at(found: Iterable[Pair], silent: Mapping[str, str]) -> list[Pair]:
    """Give the pairs after the hosts were asked: what was applied to a host that did not answer is unknown.

    silent   instance id → why there is no answer
    Returns  the applied ones alone
    """
    return [
        msgspec.structs.replace(pair, standing="unknown", message=silent[pair.instance.id])
        if pair.instance.id in silent
        else pair
        for pair in found
        if pair.row is not None
    ]


def groups(instances: Sequence[Instance], by: By, clusters: Iterable[Cluster]) -> dict[str, Group]:
    """Put instances into groups. Returns instance id → its group, the groups in the order of their labels."""
    keys = {instance.id: _key(instance, by) for instance in instances}
    named = {keys[instance.id]: _name(instance, by) for instance in instances}
    if by == "cluster":
        known = {cluster.id: cluster.name for cluster in clusters}
        named = {key: known.get(key, key) if key else ALONE for key in named}
    labelled = labels(named)
    made = {key: Group(key=key, label=label) for key, label in labelled.items()}
    ordered = sorted(keys.items(), key=lambda item: (not item[1], names.natural_key(labelled[item[1]])))
    return {instance_id: made[key] for instance_id, key in ordered}


def labels(named: Mapping[str, str]) -> dict[str, str]:
    """Give each thing its name, with its key where another or a header is called so. Returns key → label."""
    taken = Counter([*named.values(), *HEADERS])
    result = {key: name if taken[name] == 1 else f"{name} ({key})" for key, name in named.items()}
    is_clear = len({*result.values(), *HEADERS}) == len(result) + len(HEADERS)
    return result if is_clear else {key: f"{name} ({key})" for key, name in named.items()}


def count(found: Iterable[Pair], group_of: Mapping[str, Group]) -> list[Count]:
    """Count pairs by module, group and standing, in one pass, in the order of these.

    group_of  see `groups`
    """
    pairs_of_modules: Counter[tuple[str, str, Standing]] = Counter()
    modules: dict[str, Module] = {}
    for pair in found:
        modules[pair.module.id] = pair.module
        pairs_of_modules[pair.module.id, group_of[pair.instance.id].key, pair.standing] += 1
    in_order = {group.key: group for group in group_of.values()}
    places = _places(modules), _places(in_order), _places(STANDINGS)
    counted = sorted(
        pairs_of_modules.items(), key=lambda item: tuple(place[at] for place, at in zip(places, item[0], strict=True))
    )
    return [
        Count(module=modules[module_id], group=in_order[key], standing=standing, count=number)
        for (module_id, key, standing), number in counted
    ]


def totals(found: Iterable[Pair]) -> dict[Standing, int]:
    """Count pairs by standing, in the order of standings; those that no pair has are left out."""
    counted = Counter(pair.standing for pair in found)
    return {standing: counted[standing] for standing in STANDINGS if counted[standing]}


def matrix(modules: Sequence[Module], counts: Iterable[Count], group_of: Mapping[str, Group], by: By) -> Matrix:
    """Lay out counts: by instance a cell is a standing, "" where the module does not fit; else it is a number."""
    columns = {group.key: group.label for group in group_of.values()}
    called = labels({module.id: module.name for module in modules})
    cells: dict[tuple[str, Standing], dict[str, int]] = {}
    standings: dict[str, dict[str, Standing]] = {module.id: {} for module in modules}
    for one in counts:
        cells.setdefault((one.module.id, one.standing), {})[one.group.key] = one.count
        standings[one.module.id][one.group.key] = one.standing
    if by == "instance":
        lines: list[tuple[str | int, ...]] = [
            (called[module.id], *(standings[module.id].get(key, "") for key in columns)) for module in modules
        ]
        return Matrix(headers=("Module", *columns.values()), rows=tuple(lines))
    lines = [
        (called[module.id], standing, *(cells[module.id, standing].get(key, 0) for key in columns))
        for module in modules
        for standing in STANDINGS
        if (module.id, standing) in cells
    ]
    return Matrix(headers=("Module", "Standing", *columns.values()), rows=tuple(lines))


def turned(one: Matrix, by: By) -> Matrix:
    """Turn a matrix: a line for each instance; or for each group with each module, and a column for each standing."""
    if by == "instance":
        columns = zip(one.headers[1:], *(row[1:] for row in one.rows), strict=True)
        return Matrix(headers=(by.capitalize(), *(str(row[0]) for row in one.rows)), rows=tuple(columns))
    shown = [standing for standing in STANDINGS if any(row[1] == standing for row in one.rows)]
    counts = {(row[0], row[1], place): count for row in one.rows for place, count in enumerate(row[2:])}
    modules = dict.fromkeys(row[0] for row in one.rows)
    lines = [
        (group, module, *(counts.get((module, standing, place), 0) for standing in shown))
        for place, group in enumerate(one.headers[2:])
        for module in modules
    ]
    return Matrix(headers=(by.capitalize(), "Module", *shown), rows=tuple(line for line in lines if any(line[2:])))


def _key(instance: Instance, by: By) -> str:
    if by == "instance":
        return instance.id
    return (instance.cluster_id or "") if by == "cluster" else _name(instance, by)


def _name(instance: Instance, by: By) -> str:
    """Name what an instance shares with others; a cluster's name is not known here."""
    shared = {
        "instance": instance.name,
        "version": f"{instance.datastore} {instance.datastore_version}",
        "datastore": instance.datastore,
        "region": instance.region,
    }
    return shared.get(by, "")


def _places(things: Collection[str]) -> dict[str, int]:
    return {thing: place for place, thing in enumerate(things)}
