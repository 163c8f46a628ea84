"""From a playbook's variables to the operation of the library that plans it: one function for each playbook."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from dbmod import adoption, awx, building, errors, fleet, lookup, operations, paths, task_files
from dbmod.building import Member
from dbmod.context import Context
from dbmod.operations import Planned, Skipped
from dbmod.paces import Pace
from dbmod.selection import Selection
from dbmod.store.rehearsal import Rehearsal

Given = Mapping[str, Any]


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """The play that asks for a plan.

    given   variables of the command line and of the play, none of the inventory's, which may bear any name
    hosts   its hosts that are instances, as --limit may have narrowed them: name → instance id
    known   what the inventory knows: host name → variables
    groups  of the inventory: name → names of its hosts
    """

    given: Mapping[str, Any]
    hosts: Mapping[str, str]
    known: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Collection[str]] = {}
    names: Collection[str] = ()  # of all its hosts
    sources: Collection[str] = ()  # paths of its inventories
    limit: str = ""
    check: bool = False

    @property
    def instance_ids(self) -> tuple[str, ...]:
        return tuple(self.hosts.values())


def _apply(here: Context, given: Given, play: Play) -> Planned:
    return operations.plan_apply(
        here,
        _selection(given, play),
        _names(given, "modules"),
        pace=_pace(given, play),
        check=play.check,
        version=given.get("contents_version"),
    )


def _remove(here: Context, given: Given, play: Play) -> Planned:
    return operations.plan_remove(
        here, _selection(given, play), given["module"], pace=_pace(given, play), check=play.check
    )


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
        selection=Selection(hosts=play.instance_ids),
        md5=given.get("md5"),
        only=tuple(_names(given, "only")),
        include_clustered=given["include_clustered"],
        force=given["force"],
        pace=_pace(given, play),
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


def _adopt(here: Context, given: Given, play: Play) -> Planned:
    group = given["group"]
    if group not in play.groups:
        raise errors.NotFound(f"The inventory has no group '{group}'.", next_step="ansible-inventory --graph")
    request = adoption.Request(
        datastore=given["datastore"],
        inventory=_inventory(given, play),
        group=group,
        cluster_by=given.get("cluster_by", ""),
        accept_host_key=given["accept_host_key"],
    )
    run, gone = adoption.plan(here, request, hosts=[name for name in play.groups[group] if name in play.names])
    why = "its group no longer names it: dbmod release forgets it"
    return Planned(run=run, skipped=tuple(Skipped(instance=one.name, why=why) for one in gone if not play.limit))


def _inventory(given: Given, play: Play) -> str:
    """Give the place of the user's own inventory, from which its hosts are reached in later runs too."""
    if "inventory" in given:
        return str(paths.named(given["inventory"]))
    if elsewhere := awx.inventory(play.given):
        return elsewhere
    found = [one for one in play.sources if paths.is_path(one) and Path(one).name not in paths.FLEET_SOURCES]
    if len(found) != 1:
        raise errors.BadInput(
            f"Hosts are adopted from one inventory of your own, and {len(found)} were given.",
            next_step="-i production.yml, or -e inventory=production.yml to say which of several it is",
        )
    return found[0]


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
    "instance_adopt": _adopt,
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


def _pace(given: Given, play: Play) -> Pace:
    has_workflow = bool(awx.planned_run(play.given))  # which has a canary of its own, and nobody to answer a pause
    pace = Pace(
        batch_size=given.get("batch_size"),
        ramp=given["ramp"],
        canary=given.get("canary", 0 if has_workflow else None),
        delay_seconds=given["delay"],
        max_errors=given["max_errors"],
        max_unreachable=given.get("max_unreachable"),
        reach_first=given.get("reach_first"),
        replicas_first=given.get("replicas_first"),
        not_after=given.get("not_after", ""),
        on_failure=given["on_failure"],
        gate=given.get("gate"),
        max_lag_seconds=given["max_lag"],
        **{name: str(paths.named(given[name])) for name in ("before_host", "after_host") if name in given},
    )
    task_files.refuse_unusable(pace, is_within=True)
    return pace


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
