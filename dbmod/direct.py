"""Runs started by `ansible-playbook` itself: from its variables to a planned run, by the same operations as `dbmod`."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from dbmod import (
    awx,
    connections,
    declaration,
    doors,
    errors,
    fleet_inventory,
    ledger,
    module_sync,
    paths,
    playbook_plans,
    plays,
    rollouts,
    run_directory,
    variables,
    vault_files,
)
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.playbook_plans import Given, Play
from dbmod.records import Attempt, Instance, Module, Run
from dbmod.store.interface import Tables
from dbmod.store.rehearsal import Rehearsal

HOSTS_ARE_ASKED = ("module_apply", "module_remove", "module_reapply")  # under --check: what would change there
MAKING = ("create", "grow")
LINES_LIMIT = 50  # of what a play says of its plan


def begin(here: Context, playbook: str, play: Play) -> doors.Answer:
    """Plan what a play asks for, and take the run over. Under --check nothing is written, but for HOSTS_ARE_ASKED.

    Returns  {"plan": see plays.plan_of, "told": lines for people, "added": hosts that the inventory has not}
    Raises   BadInput, Refused and whatever the operation raises
    """
    planner = playbook_plans.PLANNERS.get(playbook)
    if planner is None:
        raise errors.BadInput(f"{playbook} is planned by the dbmod command alone.", next_step="dbmod help")
    given = variables.read(playbook, play.given)
    here = _asked(here, given, play)
    is_rehearsal = play.check and playbook not in HOSTS_ARE_ASKED
    if not is_rehearsal:
        ledger.sweep(here.store)
        run_directory.sweep(here)
    rehearsal = msgspec.structs.replace(here, store=Rehearsal(here.store))
    planned = planner(rehearsal, given, play)
    if planned.run:
        _refuse_strangers(rehearsal, planned.run, play)
        _refuse_unapproved(rehearsal, planned.run, awx.planned_run(play.given))
    if is_rehearsal:
        return plays.nothing() | {"told": _told(rehearsal, planned, "Nothing is done (--check). It would"), "added": []}
    planned = planner(here, given, play)
    asks = "asks hosts what would change (--check):" if play.check else "is to"
    told = _told(here, planned, f"Run {planned.run.id} {asks}" if planned.run else "")
    if planned.run is None:
        return plays.nothing() | {"told": told, "added": []}
    # A job of AWX has its inventory from another place, where the file that ssh looks into was thrown away.
    living = here.store.snapshot().find(Instance, deleted_at=None)
    fleet_inventory.write_known_hosts(here.settings, connections.known_hosts(living))
    added = [host for host in run_directory.hosts_of(here, planned.run) if not _is_ours(play, host)]
    return doors.start(here, planned.run.id) | {"told": told, "added": added}


def sync(here: Context, play: Play, *, open_vault: vault_files.Open) -> doors.Answer:
    """Make the registry equal to a file that declares modules; with --check only say what would be done.

    A relative file is looked for where ansible-playbook is started: in AWX that is the project.

    Returns  {"changed", "msg", "lines": one for each module}
    Raises   BadInput, Refused
    """
    given = variables.read("module_sync", play.given)
    here = _asked(here, given, play)
    declared = declaration.read(
        paths.named(given["file"]),
        limit_bytes=here.settings.contents_limit_bytes,
        open_vault=open_vault,
        revision_told=awx.revision(play.given),
    )
    planned = module_sync.plan(here, declared, prune=given["prune"])
    if not play.check:
        module_sync.carry_out(here, planned)
    lines = [module_sync.line(step) for step in planned.steps]
    return {"changed": planned.is_changing, "msg": module_sync.counts(planned), "lines": lines}


def take_over(here: Context, run_id: str, *, check: bool) -> doors.Answer:
    """Take over the run that the command planned, or an earlier job. Raises Refused where --check would fake it."""
    run = ledger.open_run(here.store.snapshot(), run_id)
    if check and not run.options.get("check"):
        raise errors.Refused(f"The run {run_id} is planned to be done, not to be tried.", next_step="leave --check out")
    if run.state != "paused":
        return doors.start(here, run_id) | {"told": [], "added": []}
    planned = rollouts.plan_resume(here, run.id)  # refused where it may not go on
    begun = doors.start(here, run_id) if planned.run else plays.nothing()
    return begun | {"told": planned.not_touched, "added": []}


def _is_ours(play: Play, host: str) -> bool:
    """Tell whether the play's inventory says of a host which instance it is."""
    return host in play.known and "dbmod_id" in play.known[host]


def _asked(here: Context, given: Given, play: Play) -> Context:
    """Give the context with who asks, and why."""
    return msgspec.structs.replace(
        here, actor=awx.actor(here.actor, play.given), reason=given.get("reason", here.reason)
    )


def _refuse_strangers(here: Context, run: Run, play: Play) -> None:
    """Refuse where Ansible would take other hosts than the run's, or leave some of them out."""
    tables = here.store.snapshot()
    outside = {one.instance_id for one in tables.find(Attempt, run_id=run.id)}.difference(play.instance_ids)
    for host, instance in run_directory.hosts_of(here, run).items():
        known = play.hosts.get(host) or (str(play.known[host].get("dbmod_id", "")) if host in play.known else None)
        if host in play.groups or known not in (None, "", instance.id):
            raise errors.Refused(
                f"The inventory has a {'group' if host in play.groups else 'host'} '{host}', "
                f"which Ansible would take for the instance of that name.",
                next_step=f"give one of them another name: dbmod update {instance.id} --name …",
            )
        is_new = instance.status == "BUILD" and run.verb in MAKING
        if is_new and known is not None:
            raise errors.Refused(f"The inventory has a host '{host}' already.", next_step="choose another name")
        if is_new and play.limit:
            raise errors.BadInput(
                f"--limit {play.limit!r} would leave out '{instance.name}', which is not there yet.",
                next_step="leave --limit out",
            )
        if instance.id in outside and not is_new and run.verb != "adopt":
            raise errors.BadInput(
                f"Instance '{instance.name}' is not among the hosts of this play.",
                next_step="widen --limit, and give dbmod's inventory: -i inventory/dbmod.yml",
            )


def _refuse_unapproved(here: Context, run: Run, approved_id: str) -> None:
    """Refuse what a plan that somebody has approved does not hold: another version, or a host beyond it.

    approved_id  of the run that a workflow's first job made with --check; "" where there is none
    """
    if not approved_id:
        return
    tables = here.store.snapshot()
    approved = {(one.instance_id, one.module_id): one.number for one in tables.find(Attempt, run_id=approved_id)}
    for one in tables.find(Attempt, run_id=run.id):
        before = approved.get((one.instance_id, one.module_id))
        if before == one.number:
            continue
        module, instance = tables.get(Module, one.module_id), tables.get(Instance, one.instance_id)
        what = f"Module '{module.name if module else one.module_id}'"
        where = f"on '{instance.name if instance else one.instance_id}'"
        raise errors.Refused(
            f"{what} {where} is not in the plan that was approved."
            if before is None
            else f"{what} is version {one.number} now, and the plan that was approved is for version {before}.",
            details={"plan": f"run {approved_id}"},
            next_step="start the workflow again, so that what is there now is approved",
        )


def _told(here: Context, planned: Planned, beginning: str) -> list[str]:
    """Say for people what is planned, instance by instance, and which ones are skipped and why."""
    if planned.run is None:
        return _shortened(["Nothing to do.", *planned.not_touched])
    tables = here.store.snapshot()
    work = _work_of(tables, planned.run)
    return _shortened([*planned.not_touched, f"{beginning} {planned.run.verb}:", *work])


def _work_of(tables: Tables, run: Run) -> list[str]:
    instances = {one.id: one.name for one in tables.find(Instance)}
    modules = {one.id: one.name for one in tables.find(Module)}
    names: dict[str, list[str]] = {}
    for one in sorted(tables.find(Attempt, run_id=run.id), key=lambda one: one.place):
        names.setdefault(instances[one.instance_id], []).extend([modules[one.module_id]] if one.module_id else [])
    return [f"{name} ({', '.join(held)})" if held else name for name, held in names.items()]


def _shortened(lines: list[str]) -> list[str]:
    over = len(lines) - LINES_LIMIT
    return [*lines[:LINES_LIMIT], f"and {over} more"] if over > 0 else lines


def hosts_of_play(known: Mapping[str, Mapping[str, Any]], names: Collection[str]) -> dict[str, str]:
    """Give the hosts of a play that are instances, name → instance id."""
    found = ((str(name), known[name]) for name in names)  # to look a host up takes milliseconds
    return {name: str(of_host["dbmod_id"]) for name, of_host in found if "dbmod_id" in of_host}
