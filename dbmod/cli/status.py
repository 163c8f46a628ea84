"""How the fleet stands: every module on every instance, as the ledger knows."""

from collections.abc import Iterator, Sequence
from typing import Any

import click
import msgspec

from dbmod import clock, fleet_status, lookup
from dbmod.cli import complete, holding, layout, options, output
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.fleet_status import By, Group, Matrix, Pair
from dbmod.records import Cluster, Instance, Module, Row
from dbmod.selection import Selection, select
from dbmod.store.interface import Tables

ON_INSTANCES = ("Module", "Instance", "Cluster", "Datastore", "Version", "Region", "Standing")
ON_INSTANCES_FURTHER = ("Held", "Message", "Observed", "Module ID", "Instance ID")
COUNTED = ("Module", "Group", "Standing", "Count")
COUNTED_FURTHER = ("Module ID",)
NARROWEST = 4  # columns of the terminal that a column of a table takes at least
MOST_LINES = 50  # instances that have a line each unasked


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What was chosen, and how it stands."""

    instances: list[Instance]
    modules: list[Module]
    pairs: list[Pair]
    clusters: list[Cluster]


@options.command(
    "status",
    example="dbmod status\ndbmod status --by cluster --module mymod\ndbmod status -f json | jq '.[].Standing'",
    about="Show how each module stands on each instance, as the ledger knows; no host is contacted.\n\n"
    "Standings: current, outdated, failed (the last attempt), drifted, missing, unknown (the last look at the host), "
    "not applied; empty where the module is for other instances.\n\n"
    "Where a column for each instance does not fit the terminal, up to 50 have a line each; more are counted: by "
    "cluster, else by version, else by datastore. With --by, a table that does not fit is turned. json, yaml, csv, "
    "value and -c give a line for each module and instance; with --by for each count.",
)
@options.selects
@click.option("--module", "references", multiple=True, shell_complete=complete.modules, help="A module (repeatable).")
@click.option("--by", type=click.Choice(fleet_status.BY), help="What a column is.  [default: what fits]")
@options.shown(*dict.fromkeys((*ON_INSTANCES, *COUNTED, *ON_INSTANCES_FURTHER)))
@options.reads
def status(
    context: Context, *, several: Selection, references: tuple[str, ...], by: By | None, view: output.View
) -> None:
    selection = options.one_or_several((), several, what="status")
    fleet = read(context, options.resolved(context, selection, Display()), references)
    if view.format == "table" and not view.columns:
        _show_matrix(fleet, by)
        output.note(summary(fleet))
    elif by in (None, "instance"):
        clusters = {one.id: one.name for one in fleet.clusters}
        rows = [_on_instance(pair, clusters) for pair in fleet.pairs]
        output.table(view, ON_INSTANCES, rows, further=ON_INSTANCES_FURTHER)
    else:
        counts = fleet_status.count(fleet.pairs, _groups(fleet, by))
        output.table(
            view,
            COUNTED,
            [(one.module.name, one.group.label, one.standing, one.count, one.module.id) for one in counts],
            further=COUNTED_FURTHER,
        )


def chosen(
    context: Context, tables: Tables, selection: Selection, references: Sequence[str]
) -> tuple[list[Instance], list[Module]]:
    """Give the instances and the modules that a command is about. Raises BadInput for what is not there."""
    instances = select(tables, selection, actor=context.actor)
    modules = holding.seen(context, tables)
    if not references:
        return instances, modules
    named = {lookup.module(tables, one, actor=context.actor, deleted=True).id for one in references}
    return instances, [one for one in modules if one.id in named]


def read(context: Context, selection: Selection, references: Sequence[str]) -> Fleet:
    """Read the chosen part of the ledger's last state, each table once."""
    tables = context.store.snapshot()
    instances, modules = chosen(context, tables, selection, references)
    rows = [row for module in modules for row in tables.find(Row, module_id=module.id, removed_at=None)]
    pairs = fleet_status.pairs(instances, modules, rows)
    there = {pair.module.id for pair in pairs}
    return Fleet(
        instances=instances,
        modules=[one for one in modules if one.id in there or not one.deleted_at],
        pairs=pairs,
        clusters=tables.find(Cluster),
    )


def summary(fleet: Fleet) -> str:
    """Count in one line: instances: 12, modules: 5, standings: 50 current, 6 outdated, 4 not applied."""
    counted = ", ".join(f"{number} {standing}" for standing, number in fleet_status.totals(fleet.pairs).items())
    return f"instances: {len(fleet.instances)}, modules: {len(fleet.modules)}, standings: {counted or 'none'}"


def known(pair: Pair) -> tuple[int | None, str | None]:
    """Give the number of the version held, and when the host was last asked."""
    row = pair.row
    return (row.held, clock.seconds(row.observed_at) if row.observed_at else None) if row else (None, None)


def _groups(fleet: Fleet, by: By) -> dict[str, Group]:
    return fleet_status.groups(fleet.instances, by, fleet.clusters)


def _matrix(fleet: Fleet, by: By) -> Matrix:
    group_of = _groups(fleet, by)
    return fleet_status.matrix(fleet.modules, fleet_status.count(fleet.pairs, group_of), group_of, by)


def _show_matrix(fleet: Fleet, by: By | None) -> None:
    """Show the first layout that fits, or the last one."""
    width = output.width()
    for chosen in _layouts(fleet, by, width):
        if layout.grid_width(chosen[1].headers, chosen[1].rows) <= width:
            break
    one, shown = chosen
    if one != "instance" and not by:
        output.note(f"Counted by {one}, as a column or a line for each instance does not fit: --by instance")
    output.table(output.View(), shown.headers, shown.rows)


def _layouts(fleet: Fleet, by: By | None, width: int) -> Iterator[tuple[By, Matrix]]:
    """Lay out what was asked for, or what may be useful, the finest first: as it is, and turned where that helps."""
    for one in (by,) if by else _worth_trying(fleet, width):
        shown = _matrix(fleet, one)
        yield one, shown
        if by or (one == "instance" and len(fleet.instances) <= MOST_LINES):
            yield one, fleet_status.turned(shown, one)
    if not by:
        yield one, fleet_status.turned(shown, one)


def _worth_trying(fleet: Fleet, width: int) -> list[By]:
    """Give what to lay out by, the finest first, without what cannot fit, or would be one column for all."""
    in_clusters = any(one.cluster_id for one in fleet.instances)
    may_fit = len(fleet.instances) <= max(width // NARROWEST, MOST_LINES)
    useful = {"instance": may_fit, "cluster": in_clusters}
    return [one for one in fleet_status.FINEST_FIRST if useful.get(one, True)]


def _on_instance(pair: Pair, clusters: dict[str, str]) -> tuple[Any, ...]:
    """Give a row of ON_INSTANCES and ON_INSTANCES_FURTHER."""
    one = pair.instance
    cluster = clusters.get(one.cluster_id, one.cluster_id) if one.cluster_id else None
    shared = (cluster, one.datastore, one.datastore_version, one.region)
    held, observed = known(pair)
    return (
        *(pair.module.name, one.name, *shared, pair.standing),
        *(held, pair.message, observed, pair.module.id, one.id),
    )
