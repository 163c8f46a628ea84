"""Runs started by `ansible-playbook` itself: from its variables to a planned run, by the same operations as `dbmod`."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from dbmod import (
    awx,
    building,
    connections,
    declaration,
    doors,
    errors,
    fleet,
    fleet_inventory,
    ledger,
    lookup,
    module_sync,
    operations,
    paths,
    run_directory,
    variables,
    vault_files,
)
from dbmod.building import Member
from dbmod.context import Context
from dbmod.operations import Pace, Planned, Selection
from dbmod.records import Attempt, Instance, Module, Run
from dbmod.store.interface import Tables
from dbmod.store.rehearsal import Rehearsal

Given = Mapping[str, Any]
HOSTS_ARE_ASKED = ("module_apply", "module_remove", "module_reapply")  # under --check: what would change there
MAKING = ("create", "grow")
LINES_LIMIT = 50  # of what a play says of its plan


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """The play that asks for a plan.

    given   variables of the command line and of the play, none of the inventory's, which may bear any name
    hosts   its hosts that are instances, as --limit may have narrowed them: name → instance id
    known   what the inventory knows: host name → variables
    groups  names of the inventory's groups
    """

    given: Mapping[str, Any]
    hosts: Mapping[str, str]
    known: Mapping[str, Mapping[str, Any]]
    groups: Collection[str] = ()
    limit: str = ""
    check: bool = False

    @property
    def instance_ids(self) -> tuple[str, ...]:
        return tuple(self.hosts.values())


def begin(here: Context, playbook: str, play: Play) -> doors.Answer:
    """Plan what a play asks for, and take the run over. Under --check nothing is written, but for HOSTS_ARE_ASKED.

    Returns  {"plan": see doors.plan_of, "told": lines for people, "added": hosts that the inventory has not}
    Raises   BadInput, Refused and whatever the operation raises
    """
    planner = PLANNERS.get(playbook)
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
    if is_rehearsal:
        return doors.nothing() | {"told": _told(rehearsal, planned, "Nothing is done (--check). It would"), "added": []}
    planned = planner(here, given, play)
    asks = "asks hosts what would change (--check):" if play.check else "is to"
    told = _told(here, planned, f"Run {planned.run.id} {asks}" if planned.run else "")
    if planned.run is None:
        return doors.nothing() | {"told": told, "added": []}
    # A job of AWX has its inventory from another place, where the file that ssh looks into was thrown away.
    living = here.store.snapshot().find(Instance, deleted_at=None)
    fleet_inventory.write_known_hosts(here.settings, connections.known_hosts(living))
    added = [host for host in run_directory.hosts_of(here, planned.run) if host not in play.known]
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
    return doors.start(here, run_id) | {"told": [], "added": []}


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
        if instance.id in outside and not is_new:
            raise errors.BadInput(
                f"Instance '{instance.name}' is not among the hosts of this play.",
                next_step="widen --limit, and give dbmod's inventory: -i inventory/dbmod.yml",
            )


def _apply(here: Context, given: Given, play: Play) -> Planned:
    return operations.plan_apply(
        here, _selection(given, play), _names(given, "modules"), pace=_pace(given), check=play.check
    )


def _remove(here: Context, given: Given, play: Play) -> Planned:
    return operations.plan_remove(here, _selection(given, play), given["module"], pace=_pace(given), check=play.check)


def _query(here: Context, given: Given, play: Play) -> Planned:
    return operations.plan_question(here, "reconcile" if given["reconcile"] else "query", _selection(given, play))


def _retrieve(here: Context, given: Given, play: Play) -> Planned:
    return operations.plan_retrieve(
        here,
        _selection(given, play),
        directory=given["directory"],
        prefix=given.get("prefix", ""),
        make=not isinstance(here.store, Rehearsal),
    )


def _reapply(here: Context, given: Given, play: Play) -> Planned:
    return operations.plan_reapply(
        here,
        given["module"],
        md5=given.get("md5"),
        include_clustered=given["include_clustered"],
        force=given["force"],
        pace=_pace(given),
        hosts=play.instance_ids,
        check=play.check,
    )


def _create(here: Context, given: Given, play: Play) -> Planned:
    del play
    if "users" in given:
        raise errors.Refused(
            "Users are not made by a playbook's variables: a password in them would be written down in many places.",
            next_step="dbmod create --users NAME asks for it; or make them with what `dbmod password INSTANCE` shows",
        )
    request = building.NewInstance(
        name=given["name"],
        member=_member({"volume": given["size"], **given}),
        datastore=given.get("datastore"),
        datastore_version=given.get("datastore_version"),
        provider=given.get("provider"),
        locality=given.get("locality"),
        databases=_names(given, "databases"),
    )
    return Planned(run=building.plan_create(here, request)[1])


def _cluster_create(here: Context, given: Given, play: Play) -> Planned:
    del play
    request = building.NewCluster(
        name=given["name"],
        datastore=given["datastore"],
        datastore_version=given["datastore_version"],
        members=_members(given),
        provider=given.get("provider"),
        locality=given.get("locality"),
    )
    return Planned(run=building.plan_cluster_create(here, request)[1])


def _cluster_grow(here: Context, given: Given, play: Play) -> Planned:
    del play
    return Planned(run=building.plan_cluster_grow(here, given["cluster"], _members(given))[1])


def _cluster_shrink(here: Context, given: Given, play: Play) -> Planned:
    one = lookup.cluster(here.store.snapshot(), given["cluster"], actor=here.actor)
    leaving = _names(given, "members")
    _confirm(f"Deleting {', '.join(leaving)} of the cluster '{one.name}'", one.name, given, play)
    return Planned(run=fleet.plan_cluster_shrink(here, one.id, leaving)[1])


def _cluster_delete(here: Context, given: Given, play: Play) -> Planned:
    one = lookup.cluster(here.store.snapshot(), given["cluster"], actor=here.actor)
    _confirm(f"Deleting the cluster '{one.name}' with its data", one.name, given, play)
    return Planned(run=fleet.plan_cluster_delete(here, one.id)[1])


def _delete(here: Context, given: Given, play: Play) -> Planned:
    one = lookup.instance(here.store.snapshot(), given["instance"], actor=here.actor)
    _confirm(f"Deleting the instance '{one.name}' and its data", one.name, given, play)
    return Planned(run=fleet.plan_delete(here, one.id)[1])


def _restart(here: Context, given: Given, play: Play) -> Planned:
    del play
    return Planned(run=fleet.plan_restart(here, given["instance"])[1])


PLANNERS: Mapping[str, Callable[[Context, Given, Play], Planned]] = {
    "module_apply": _apply,
    "module_remove": _remove,
    "module_query": _query,
    "module_retrieve": _retrieve,
    "module_reapply": _reapply,
    "instance_create": _create,
    "instance_delete": _delete,
    "instance_restart": _restart,
    "cluster_create": _cluster_create,
    "cluster_grow": _cluster_grow,
    "cluster_shrink": _cluster_shrink,
    "cluster_delete": _cluster_delete,
}


def _confirm(action: str, name: str, given: Given, play: Play) -> None:
    """Have an action that loses something confirmed by its name, as the command does."""
    if not play.check and given.get("confirm") != name:
        raise errors.BadInput(f"{action} has to be confirmed.", next_step=f"-e confirm={name}")


def _selection(given: Given, play: Play) -> Selection:
    return Selection(
        instance=given.get("instance", ""),
        cluster=given.get("cluster", ""),
        datastore=given.get("datastore", ""),
        limit=given.get("limit_to", ""),
        all=given.get("all_instances", False),
        hosts=play.instance_ids,
    )


def _pace(given: Given) -> Pace:
    return Pace(batch_size=given.get("batch_size"), delay_seconds=given["delay"], max_errors=given["max_errors"])


def _members(given: Given) -> tuple[Member, ...]:
    """Give the members of the list, which take what they do not say from the other variables, and those all alike."""
    listed = [_member({**given, **one}) for one in given.get("members", [])]
    alike = [_member(given) for _ in range(given.get("instances", 0))]
    if not listed and not alike:
        raise errors.BadInput("No member was named.", next_step="-e instances=3 -e flavor=15, or a list `members`")
    return (*listed, *alike)


def _member(given: Given) -> Member:
    if "flavor" not in given:
        raise errors.BadInput("The variable `flavor` is not set.", next_step="-e flavor=15; dbmod flavor-list")
    return Member(
        flavor=given["flavor"],
        volume_gb=given["volume"],
        volume_type=given.get("volume_type"),
        modules=_names(given, "modules"),
        nics=tuple(building.nic(one) for one in given.get("nics", [])),
        availability_zone=given.get("availability_zone"),
        region=given.get("region"),
    )


def _names(given: Given, name: str) -> tuple[str, ...]:
    """Give a list's names; Ansible's own splitting at commas leaves blanks."""
    return tuple(one.strip() for one in given.get(name, []) if one.strip())


def _told(here: Context, planned: Planned, beginning: str) -> list[str]:
    """Say for people what is planned, instance by instance, and which ones are left out and why."""
    left_out = [f"{one.instance} is left out: {one.why}" for one in planned.skipped]
    if planned.run is None:
        return _shortened(["Nothing to do.", *left_out])
    tables = here.store.snapshot()
    work = _work_of(tables, planned.run)
    return _shortened([f"{beginning} {planned.run.verb}:", *work, *left_out])


def _work_of(tables: Tables, run: Run) -> list[str]:
    instances = {one.id: one.name for one in tables.find(Instance)}
    modules = {one.id: one.name for one in tables.find(Module)}
    names: dict[str, list[str]] = {}
    for one in sorted(tables.find(Attempt, run_id=run.id), key=lambda one: (one.batch, one.position, one.order)):
        names.setdefault(instances[one.instance_id], []).extend([modules[one.module_id]] if one.module_id else [])
    return [f"{name} ({', '.join(held)})" if held else name for name, held in names.items()]


def _shortened(lines: list[str]) -> list[str]:
    over = len(lines) - LINES_LIMIT
    return [*lines[:LINES_LIMIT], f"and {over} more"] if over > 0 else lines


def hosts_of_play(known: Mapping[str, Mapping[str, Any]], names: Collection[str]) -> dict[str, str]:
    """Give the hosts of a play that are instances, name → instance id."""
    found = ((str(name), known[name]) for name in names)  # to look a host up takes milliseconds
    return {name: str(of_host["dbmod_id"]) for name, of_host in found if "dbmod_id" in of_host}
