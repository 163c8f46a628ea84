"""Deciding what a run will do. Pure: reads records, gives records."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from dbmod import errors
from dbmod.records import Attempt, Instance, Module, Row

Standing = Literal["current", "outdated", "failed", "drifted", "missing", "unknown"]


DISAGREEING: tuple[Standing, ...] = ("drifted", "missing", "unknown")  # found by a look at the host
AMISS: tuple[Standing, ...] = ("outdated", "failed", *DISAGREEING)  # what a reapply brings to the current version


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do on one instance."""

    instance: Instance
    module: Module | None  # None: ask or change the instance as a whole
    number: int = 0  # version to apply; 0 where none is
    from_number: int | None = None


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a type asks of an instance."""

    offers: tuple[str, ...] = ()  # root, systemd
    datastores: tuple[str, ...] = ()  # the only ones it works on; empty: any


def standing(row: Row, module: Module) -> Standing:
    """Tell how an instance stands with a module. Derived from evidence, never stored."""
    if row.observed is not None and row.observed != "in sync":
        return row.observed
    if row.last_attempt == "error":
        return "failed"
    return "current" if row.held_sha256 == module.current.sha256 else "outdated"


def is_current(row: Row, module: Module) -> bool:
    return standing(row, module) == "current"


def due(
    rows: Iterable[Row], module: Module, *, md5: str | None = None, only: Collection[str] = (), force: bool = False
) -> list[Row]:
    """Choose the rows a reapply of *module* has to touch.

    rows     live rows of this module: only instances that hold it, or failed to
    md5      only those that hold this version
    only     only those that stand so with it; empty: however they stand
    force    also those that are current
    Returns  the chosen rows, in the order given
    """
    chosen = [row for row in rows if row.removed_at is None and (md5 is None or row.held_md5 == md5)]
    chosen = [row for row in chosen if not only or standing(row, module) in only]
    return [row for row in chosen if force or not is_current(row, module)]


def in_order(modules: Iterable[Module]) -> list[Module]:
    """Put modules in the order they are applied on a host: priority first, then apply_order, ties by name."""
    return sorted(modules, key=lambda module: (not module.priority_apply, module.apply_order, module.name, module.id))


def fits(module: Module, *, datastore: str, datastore_version: str) -> bool:
    return module.datastore in (None, datastore) and module.datastore_version in (None, datastore_version)


def refuse_misfits(modules: Iterable[Module], *, datastore: str, datastore_version: str) -> None:
    """Refuse all modules if one is bound to another datastore or version."""
    for module in modules:
        if module.datastore not in (None, datastore):
            raise errors.Refused(
                f"Module '{module.name}' cannot be applied "
                f"(Wrong datastore '{module.datastore}' - expected '{datastore}')",
                next_step=f"dbmod module-update {module.name} --all_datastores, or choose another instance",
            )
        if module.datastore_version not in (None, datastore_version):
            raise errors.Refused(
                f"Module '{module.name}' cannot be applied "
                f"(Wrong datastore version '{module.datastore_version}' - expected '{datastore_version}')",
                next_step=f"dbmod module-update {module.name} --all_datastore_versions, or choose another instance",
            )


def refuse_unmet_needs(needs: Mapping[str, Needs], offers: Collection[str], *, provider: str, datastore: str) -> None:
    """Refuse modules whose types need what the instance's provider cannot meet, or another datastore.

    needs   module name → what its type needs
    offers  what the provider gives
    """
    for name, wanted in needs.items():
        missing = sorted(set(wanted.offers) - set(offers))
        if missing:
            raise errors.Refused(
                f"Module '{name}' cannot be applied (needs {' and '.join(missing)}, "
                f"which the provider '{provider}' does not offer)",
                next_step="apply it to an instance of another provider, or as root where root is what is missing",
            )
        if wanted.datastores and datastore not in wanted.datastores:
            raise errors.Refused(
                f"Module '{name}' cannot be applied "
                f"(its type is for {', '.join(wanted.datastores)}, not '{datastore}')",
                next_step="dbmod module-type-list shows what each type is for",
            )


def fitting(modules: Iterable[Module], *, datastore: str, datastore_version: str, tenant: str) -> list[Module]:
    """Choose the auto_apply modules that a new instance of *tenant* gets unasked."""
    return [
        module
        for module in modules
        if module.auto_apply
        and module.deleted_at is None
        and module.tenant in (None, tenant)
        and fits(module, datastore=datastore, datastore_version=datastore_version)
    ]


def batches(instances: Iterable[Instance], *, sizes: Sequence[int], apart: bool = True) -> list[list[Instance]]:
    """Spread instances over batches.

    sizes  of the batches at most, the last for all that follow
    apart  never two members of a cluster in one batch

    Each goes to the first batch that has room for it, so the order given is kept as far as that rule allows.
    """
    result: list[list[Instance]] = []
    clusters: list[set[str]] = []
    first_with_room = 0

    def is_full(place: int) -> bool:
        return len(result[place]) >= sizes[min(place, len(sizes) - 1)]

    for instance in instances:
        place = first_with_room
        while place < len(result) and (is_full(place) or instance.cluster_id in clusters[place]):
            place += 1
        if place == len(result):
            result.append([])
            clusters.append(set())
        result[place].append(instance)
        if apart and instance.cluster_id:
            clusters[place].add(instance.cluster_id)
        while first_with_room < len(result) and is_full(first_with_room):
            first_with_room += 1
    return result


def replicas_first(
    instances: Sequence[Instance], replicas: Collection[str], *, sizes: Sequence[int]
) -> list[list[Instance]]:
    """Spread instances over batches, those that copy from others in earlier ones than all the rest.

    replicas  their ids; who copies from whom does not matter, and one that is not known to copy goes last
    """
    copying = batches([one for one in instances if one.id in replicas], sizes=sizes)
    others = [one for one in instances if one.id not in replicas]
    return copying + batches(others, sizes=sizes[len(copying) :] or sizes[-1:])


def attempts(run_id: str, work: Sequence[Work], spread: Sequence[Sequence[Instance]]) -> list[Attempt]:
    """Write the plan of a run.

    work    in the order of the modules on a host
    spread  the hosts, batch by batch
    """
    by_instance: dict[str, list[Work]] = {}
    for item in work:
        by_instance.setdefault(item.instance.id, []).append(item)
    return [
        _attempt(run_id, item, batch=batch, position=position, order=order)
        for instance_id, (batch, position) in _places(spread).items()
        for order, item in enumerate(by_instance[instance_id])
    ]


def moved(planned: Iterable[Attempt], spread: Sequence[Sequence[Instance]]) -> list[Attempt]:
    """Give planned attempts their places in other batches."""
    places = _places(spread)
    return [
        msgspec.structs.replace(one, batch=batch, position=position)
        for one in planned
        for batch, position in [places[one.instance_id]]
    ]


def _places(spread: Sequence[Sequence[Instance]]) -> dict[str, tuple[int, int]]:
    """Give each instance's batch, from 1, and its position in the run, from 0, in the order of the run."""
    hosts = [(batch, instance.id) for batch, members in enumerate(spread, start=1) for instance in members]
    return {instance_id: (batch, position) for position, (batch, instance_id) in enumerate(hosts)}


def _attempt(run_id: str, item: Work, *, batch: int, position: int, order: int) -> Attempt:
    version = item.module.version(item.number) if item.module else None
    return Attempt(
        run_id=run_id,
        instance_id=item.instance.id,
        module_id=item.module.id if item.module else "",
        batch=batch,
        position=position,
        order=order,
        state="planned",
        number=item.number,
        from_number=item.from_number,
        sha256=version.sha256 if version else "",
    )
