"""The fleet on one page for a browser: how it stands, its modules' versions, its newest runs."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from dbmod import clock, lookup, output_file, report, report_page
from dbmod.cli import carry, complete, holding, options, output, status
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.records import Attempt, Cluster, Instance, Run
from dbmod.report import Scope, Told
from dbmod.selection import Selection
from dbmod.store.interface import Tables

REPORT = "The report"


@options.command(
    "report",
    example="dbmod report --html fleet.html\ndbmod report --html shop.html --cluster shop --runs 200",
    about="Write the fleet as one page for a browser; no host is contacted.\n\n"
    "The page holds how each module stands on each instance, the versions of the modules, the newest runs with their "
    "batches: as much as status and run-show tell you, never contents. It needs no network and no other file.",
)
@click.option(
    "--html", "path", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Write this file, 0600."
)
@click.option(
    "--runs", "most", type=click.IntRange(min=0), default=50, show_default=True, metavar="N", help="So many runs."
)
@options.selects
@click.option("--module", "references", multiple=True, shell_complete=complete.modules, help="A module (repeatable).")
@options.reads
def write(context: Context, *, path: Path, most: int, several: Selection, references: tuple[str, ...]) -> None:
    output_file.refuse_bad_place(path, what=REPORT)
    selection = options.one_or_several((), several, what="report")
    fleet = status.read(context, options.resolved(context, selection, Display()), references)
    tables = context.store.snapshot()
    scope = _scope(context, tables, fleet, is_whole=selection.all and not references)
    runs = itertools.islice(_told(tables, scope), most)
    data = report.data(
        made_at=clock.now(),
        title=_title(context, several, references),
        instances=fleet.instances,
        modules=fleet.modules,
        pairs=fleet.pairs,
        runs=[(one, carry.counts(one.attempts) if one.attempts else "") for one in runs],
        scope=scope,
    )
    output_file.write(path, report_page.fill(report.embedded(data)), what=REPORT)  # 0600: it names hosts and people
    output.note(f"{path}: {status.summary(fleet)}")


def _scope(context: Context, tables: Tables, fleet: status.Fleet, *, is_whole: bool) -> Scope:
    """Give what the runs may name: of a whole fleet also the instances that are gone."""
    actor = context.actor
    instances = [one for one in tables.find(Instance) if lookup.owns(actor, one)] if is_whole else fleet.instances
    modules = holding.seen(context, tables) if is_whole else fleet.modules
    return Scope(
        instances={one.id: one.name for one in instances},
        modules={one.id: one.name for one in modules},
        clusters={one.id: one.name for one in tables.find(Cluster) if lookup.owns(actor, one)},
        is_all=is_whole and actor.admin,
    )


def _told(tables: Tables, scope: Scope) -> Iterator[Told]:
    """Give the runs in scope, the newest first; the attempts of a run are read when it is its turn."""
    for run in sorted(tables.find(Run), key=lambda one: one.serial, reverse=True):
        attempts = sorted(tables.find(Attempt, run_id=run.id), key=lambda one: one.place)
        one = report.told(run, attempts, scope)
        if one:
            yield one


def _title(context: Context, several: Selection, references: Sequence[str]) -> str:
    """Say what was chosen, and by whose eyes."""
    words = {"cluster": several.cluster, "datastore": several.datastore, "limit": several.limit}
    chosen = [f"{name} {value}" for name, value in words.items() if value]
    chosen += [f"module {reference}" for reference in references]
    seen_by = "" if context.actor.admin else f", as tenant {context.actor.tenant} sees it"
    return f"{', '.join(chosen) or 'All instances'}{seen_by}"
