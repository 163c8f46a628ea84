"""What the module commands ask for, checked and planned: apply, remove, query, retrieve, reapply, reconcile.

The `dbmod` command and the playbooks' own plan task call the same functions.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dbmod import clock, errors, holds, ledger, lookup, module_rules, module_types, names, paces, planning, providers
from dbmod.config import Settings
from dbmod.context import Context
from dbmod.paces import Pace
from dbmod.planning import Work
from dbmod.records import ASKING, Instance, Module, Row, Run
from dbmod.selection import Selection, select
from dbmod.store.interface import Tables

PLAYBOOKS = {"reconcile": "query", "rollback": "apply"}  # verb → the playbook that carries it out, if of another name
MOST_NAMED = 5  # instances that are skipped for the same reason
PREFIX_LIMIT_BYTES = 100  # a file's name has 255, the rest of it takes at most 150


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """An instance that was selected and is not touched."""

    instance: str
    why: str
    is_down: bool = False  # it should have been touched, and could not be


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A run ready to be carried out; run is None where there is nothing to do."""

    run: Run | None
    skipped: tuple[Skipped, ...] = ()
    clustered: int = 0  # members of clusters that a reapply leaves out, as nobody asked for them

    @property
    def exit_code(self) -> int:
        """Give 1 where an instance that is down was left out: not all that was asked for was done."""
        return int(any(one.is_down for one in self.skipped))

    @property
    def not_touched(self) -> list[str]:
        """Tell in lines what was selected and is not touched."""
        members = f"left out: {self.clustered} in clusters; include_clustered takes them"
        return skipped_lines(by_reason(self.skipped)) + [members] * bool(self.clustered)


def plan_apply(
    context: Context,
    selection: Selection,
    references: Sequence[str],
    *,
    pace: Pace | None = None,
    check: bool = False,
    baseline: bool = False,
    version: str | None = None,
) -> Planned:
    """Plan to apply modules, all checked first; one misfit refuses all where one instance is named.

    references  modules by name or id
    check       plan to look only: the hosts say what would change, no live row moves
    baseline    plan to record as applied what the hosts have already; nothing is applied
    version     of the one module, by number or md5; None: the current ones
    """
    if not references:
        raise errors.BadInput("No module was named.", next_step="dbmod module-apply --help")
    pace = pace or Pace()
    _refuse_haste(context, pace)
    with context.transaction("module-apply") as tables:
        modules = _unique([lookup.module(tables, reference, actor=context.actor) for reference in references])
        numbers = {one.id: one.current.number for one in modules}
        if version:
            if len(modules) != 1:
                raise errors.BadInput("--contents-version goes with one module.")
            numbers = {modules[0].id: lookup.version(modules[0], version).number}
        instances = select(tables, selection, actor=context.actor)
        chosen, skipped = ready(instances, modules, selection=selection, settings=context.settings)
        held = {module.id: _held(tables, module) for module in modules}
        work = [
            Work(
                instance=instance,
                module=module,
                number=numbers[module.id],
                from_number=held[module.id].get(instance.id),
            )
            for instance in chosen
            for module in planning.in_order(modules)
        ]
        return write(
            tables,
            context,
            "apply",
            work,
            pace=pace,
            skipped=skipped,
            options={"check": check}
            | ({"baseline": True} if baseline else {})
            | ({"version": version} if version else {}),
        )


def plan_remove(
    context: Context, selection: Selection, reference: str, *, pace: Pace | None = None, check: bool = False
) -> Planned:
    """Plan to remove a module from the instances that hold it; one named instance has to hold it."""
    pace = pace or Pace()
    _refuse_haste(context, pace)
    with context.transaction("module-remove") as tables:
        module = lookup.module(tables, reference, actor=context.actor, deleted=True)
        rows = {row.instance_id: row for row in tables.find(Row, module_id=module.id, removed_at=None)}
        instances = select(tables, selection, actor=context.actor)
        if selection.is_one and instances[0].id not in rows:
            raise errors.Refused(
                f"Module '{module.name}' has not been applied",
                next_step=f"dbmod module-list-instance {selection.instance}",
            )
        holding = [instance for instance in instances if instance.id in rows]
        chosen, skipped = ready(holding, [], selection=selection, settings=context.settings)
        work = [
            Work(instance=one, module=module, number=rows[one.id].held or 0, from_number=rows[one.id].held)
            for one in chosen
        ]
        return write(tables, context, "remove", work, pace=pace, skipped=skipped, options={"check": check})


def plan_question(
    context: Context, verb: str, selection: Selection, *, options: Mapping[str, Any] | None = None
) -> Planned:
    """Plan to ask hosts: verb is "query", "retrieve" or "reconcile"."""
    with context.transaction(f"module-{verb}") as tables:
        instances = select(tables, selection, actor=context.actor)
        chosen, skipped = ready(instances, [], selection=selection, settings=context.settings, asks=True)
        work = [Work(instance=instance, module=None) for instance in chosen]
        pace = Pace(delay_seconds=0, max_errors=None)
        return write(tables, context, verb, work, pace=pace, skipped=skipped, options=dict(options or {}))


def plan_retrieve(context: Context, selection: Selection, *, directory: str, prefix: str, make: bool = True) -> Planned:
    """Plan to fetch contents from hosts into files below *directory*, which is made if missing.

    make  False: the directory is not made yet, as the plan is only looked at
    """
    if prefix and not prefix.endswith("_"):
        prefix += "_"
    is_short = len(prefix.encode(errors="replace")) <= PREFIX_LIMIT_BYTES
    if "/" in prefix or not is_short or (prefix and not names.is_valid_text(prefix)):
        raise errors.BadInput(
            f"The prefix {prefix[:300]!r} is not valid.",
            next_step=f"use letters, digits and no `/`, at most {PREFIX_LIMIT_BYTES} bytes",
        )
    place = Path(directory).expanduser().absolute()
    try:
        if make:
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise errors.BadInput(f"The directory {place} cannot be made: {error.strerror}") from error
    return plan_question(context, "retrieve", selection, options={"directory": str(place), "prefix": prefix})


def plan_reapply(
    context: Context,
    reference: str,
    *,
    selection: Selection | None = None,
    md5: str | None = None,
    only: tuple[str, ...] = (),
    include_clustered: bool = False,
    force: bool = False,
    pace: Pace | None = None,
    check: bool = False,
) -> Planned:
    """Plan to bring the instances that hold a module to its current version.

    selection          only those of these; one that names nothing, or None, is all
    include_clustered  members of clusters too; one cluster, or all instances, are asked for with them
    md5                only those that hold this version
    only               only those that stand so with it, of planning.AMISS
    force              also those that are current
    """
    pace, selection = pace or Pace(), selection or Selection()
    _refuse_haste(context, pace)
    if not set(only) <= set(planning.AMISS):
        raise errors.BadInput(f"--only takes {', '.join(planning.AMISS)}; not {', '.join(only)[:100]}.")
    with context.transaction("module-reapply") as tables:
        module = lookup.module(tables, reference, actor=context.actor)
        held_by = tables.find(Row, module_id=module.id, removed_at=None)
        if md5 not in (None, *(version.md5 for version in module.versions), *(row.held_md5 for row in held_by)):
            raise errors.NotFound(
                f"No version of module '{module.name}' has the md5 '{md5}'.",
                next_step=f"dbmod module-versions {module.name}",
            )
        takes_members = include_clustered or selection.all or bool(selection.cluster)
        named = select(tables, msgspec.structs.replace(selection, all=True), actor=context.actor)
        instances = {one.id: one for one in named if takes_members or one.cluster_id is None}
        rows = planning.due(held_by, module, md5=md5, only=only, force=force)
        held = {row.instance_id: row.held for row in rows}
        left_out = {one.id for one in named} & held.keys() - instances.keys()
        due = [one for one in instances.values() if one.id in held]
        chosen, skipped = ready(due, [module], selection=selection, settings=context.settings)
        work = [
            Work(instance=one, module=module, number=module.current.number, from_number=held[one.id]) for one in chosen
        ]
        planned = write(
            tables,
            context,
            "reapply",
            work,
            pace=pace,
            skipped=skipped,
            module_id=module.id,
            options={"check": check, "md5": md5, "include_clustered": include_clustered, "force": force}
            | ({"only": list(only)} if only else {}),
        )
        return msgspec.structs.replace(planned, clustered=len(left_out))


def by_reason(skipped: Iterable[Skipped]) -> dict[str, list[str]]:
    """Give for each reason the names of those that are skipped for it."""
    found: dict[str, list[str]] = {}
    for one in skipped:
        found.setdefault(one.why, []).append(one.instance)
    return found


def skipped_lines(reasons: Mapping[str, Sequence[str]]) -> list[str]:
    """Tell in a line for each reason what is skipped, by name where it is little; `run-show` names them all.

    reasons  see `by_reason`
    """
    return [
        f"skipped {', '.join(names) if len(names) <= MOST_NAMED else f'{len(names)} instances'}: {why}"
        for why, names in reasons.items()
    ]


def needs_of(modules: Sequence[Module], settings: Settings) -> dict[str, planning.Needs]:
    """Read what modules' types need. Once for many instances: it reads the types' files.

    Returns  module name → needs
    """
    types = module_types.listing(settings, {module.type for module in modules})
    return {
        module.name: planning.Needs(
            offers=types[module.type].declares.needs, datastores=types[module.type].declares.datastores
        )
        for module in modules
        if module.type in types
    }


def _way_back(instance: Instance) -> str:
    """Say what may make an instance ACTIVE again: a restart, where its server was well before."""
    return f"dbmod restart {instance.name}" if instance.built_at else f"dbmod show {instance.name}"


def ready(
    instances: Sequence[Instance],
    modules: Sequence[Module],
    *,
    selection: Selection,
    settings: Settings,
    asks: bool = False,
) -> tuple[list[Instance], list[Skipped]]:
    """Split the selected instances: ready for these modules, or skipped with the reason; one named one is refused.

    asks  nothing is changed there: a hold does not matter
    """
    ready, skipped = [], []
    needs, now = needs_of(modules, settings), clock.now()
    for instance in instances:
        status = providers.observed_status(instance) if modules else instance.status
        try:
            if status != "ACTIVE":
                raise errors.Refused(
                    f"Instance '{instance.name}' is not ACTIVE: its status is {status}.",
                    details={"fault": instance.fault} if instance.fault else None,
                    next_step=_way_back(instance),
                )
            if not asks:
                holds.refuse_held(instance, now=now)
            planning.refuse_misfits(modules, datastore=instance.datastore, datastore_version=instance.datastore_version)
            offers = providers.offers(instance.provider)
            planning.refuse_unmet_needs(needs, offers, provider=instance.provider, datastore=instance.datastore)
        except errors.Refused as refusal:
            if selection.is_one:
                raise
            why = refusal.what.removeprefix(f"Instance '{instance.name}' is ")  # which is told with it
            skipped.append(Skipped(instance=instance.name, why=why, is_down=status != "ACTIVE"))
        else:
            ready.append(instance)
    return ready, skipped


def write(
    tables: Tables,
    context: Context,
    verb: str,
    work: Sequence[Work],
    *,
    pace: Pace,
    skipped: Sequence[Skipped],
    options: Mapping[str, Any],
    module_id: str | None = None,
    follows: str = "",
) -> Planned:
    """Write the run that does the work; none where there is no work.

    follows  the run that this one goes on with, or rolls back
    """
    if not work:
        return Planned(run=None, skipped=tuple(skipped))
    if verb != "remove":
        _refuse_pruned(work)
    instances = list({item.instance.id: item.instance for item in work}.values())
    admin, limit = context.actor.admin, context.settings.tenant_batch_size_limit
    default = paces.DEFAULT_BATCH_SIZE if admin else min(paces.DEFAULT_BATCH_SIZE, limit)
    pace = paces.settled(pace, restarts=restarts(work, context), default=default)
    plan = paces.plan(pace, hosts=len(instances))
    if not admin and max(plan.sizes) > limit:
        raise errors.Refused(f"A tenant's --batch_size is at most {limit}.")
    is_rehearsed = bool(options.get("check"))
    further = {"skipped": by_reason(skipped)} if skipped else {}
    further |= {} if verb in ASKING else {"pace": msgspec.to_builtins(pace)}
    run = ledger.plan(
        tables,
        verb=verb,
        playbook=f"module_{PLAYBOOKS.get(verb, verb)}",
        work=work,
        spread=planning.batches(instances, sizes=plan.sizes, apart=verb not in ASKING),
        actor=context.actor.name,
        reason=context.reason,
        options={**options, **further},
        module_id=module_id,
        delay_seconds=0 if is_rehearsed else pace.delay_seconds,
        max_errors=plan.max_errors,
        max_unreachable=plan.max_unreachable,
        pause_after=0 if is_rehearsed else plan.pause_after,
        not_after=None if is_rehearsed else paces.deadline(pace.not_after, now=clock.now().astimezone()),
        follows=follows,
    )
    return Planned(run=run, skipped=tuple(skipped))


def restarts(work: Sequence[Work], context: Context) -> bool:
    """Tell whether a type of the work restarts the server."""
    used = {item.module.type for item in work if item.module}
    return any(one.declares.restarts for one in module_types.listing(context.settings, used).values())


def _refuse_pruned(work: Sequence[Work]) -> None:
    """Refuse to bring contents to a host that are no longer there: an earlier version, or one that a rollback needs."""
    for item in work:
        version = item.module.version(item.number) if item.module else None
        if item.module and version:
            module_rules.refuse_pruned(item.module, version)


def _refuse_haste(context: Context, pace: Pace) -> None:
    paces.refuse_nonsense(pace)
    least = context.settings.tenant_delay_minimum_seconds
    if not context.actor.admin and pace.delay_seconds < least:
        raise errors.Refused(f"A tenant's --delay is at least {least:g} seconds.")


def _held(tables: Tables, module: Module) -> dict[str, int | None]:
    return {row.instance_id: row.held for row in tables.find(Row, module_id=module.id, removed_at=None)}


def _unique(modules: Sequence[Module]) -> list[Module]:
    return list({module.id: module for module in modules}.values())
