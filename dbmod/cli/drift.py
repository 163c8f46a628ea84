"""How what was applied stands, after a look at the hosts: for people, and for monitoring."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from dbmod import fleet_status, metrics, operations, output_file
from dbmod.cli import carry, complete, options, output, status
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.fleet_status import Pair
from dbmod.records import Instance
from dbmod.selection import Selection

DRIFTED = ("Module", "Instance", "Standing", "Message")
DRIFTED_FURTHER = ("Held", "Observed", "Module ID", "Instance ID")
NOT_REACHED = 4  # as ledger.exit_code has it
METRICS = "The metrics"
READABLE = 0o644  # node_exporter runs under an account of its own


@options.command(
    "drift",
    example="dbmod drift --all\ndbmod drift --metrics /var/lib/prometheus/node-exporter/dbmod.prom",
    about="Ask the hosts how what was applied to them stands; for monitoring.\n\n"
    "The ledger is made equal to the hosts, as by reconcile; no host is changed. Standings are those of status; what "
    "was applied to a host that does not answer is unknown. Without INSTANCE and without an option: all instances.\n\n"
    "Exit codes: 0 all is current, 1 something is not, 2 refused, 3 the ledger cannot be used, 4 no host was reached.",
)
@click.argument("names", nargs=-1, metavar="[INSTANCE]", shell_complete=complete.instances)
@options.selects
@click.option("--module", "references", multiple=True, shell_complete=complete.modules, help="A module (repeatable).")
@click.option("--ask/--no-ask", default=True, show_default=True, help="Ask the hosts, or say what the ledger knows.")
@click.option(
    "--metrics",
    "metrics_path",
    type=click.Path(path_type=Path),
    help="Write this file for Prometheus too: *.prom, for the textfile collector of node_exporter.",
)
@options.displays
@options.shown(*DRIFTED, *DRIFTED_FURTHER)
@options.changes
def drift(
    context: Context,
    *,
    names: tuple[str, ...],
    several: Selection,
    references: tuple[str, ...],
    ask: bool,
    metrics_path: Path | None,
    display: Display,
    view: output.View,
) -> int:
    if metrics_path:
        output_file.refuse_bad_place(metrics_path, what=METRICS)
    selection = options.resolved(context, options.one_or_several(names, several, what="drift"), display)
    instances, _ = status.chosen(context, context.store.snapshot(), selection, references)  # before a host is asked
    code, silent = _asked(context, selection, instances, display) if ask else (0, {})
    fleet = status.read(context, selection, references)
    found = fleet_status.looked_at(fleet.pairs, silent)
    fleet = msgspec.structs.replace(fleet, pairs=found)
    if metrics_path:
        text = metrics.text(fleet.instances, found)
        output_file.write(metrics_path, text, what=METRICS, mode=READABLE)
    first_amiss = sorted(found, key=lambda pair: pair.standing == "current")
    output.table(view, DRIFTED, [_drifted(pair) for pair in first_amiss], further=DRIFTED_FURTHER)
    output.note(status.summary(fleet))
    return code or int(any(pair.standing != "current" for pair in found))


def _asked(
    context: Context, selection: Selection, instances: Sequence[Instance], display: Display
) -> tuple[int, dict[str, str]]:
    """Ask the hosts. Returns the exit code, and for each instance that did not answer why: by its id."""
    planned = operations.plan_question(context, "reconcile", selection)
    carry.skipped(planned)
    silent = {one.id: f"not asked: its status is {one.status}" for one in instances}
    if planned.run is None:
        return NOT_REACHED if instances else 0, silent
    outcome = carry.finish(context, planned.run, display)
    for attempt in outcome.about_instances:
        silent[attempt.instance_id] = attempt.message or attempt.state
        if attempt.state == "ok":
            del silent[attempt.instance_id]
    carry.complain(outcome)
    return outcome.exit_code, silent


def _drifted(pair: Pair) -> tuple[Any, ...]:
    """Give a row of DRIFTED and DRIFTED_FURTHER."""
    one, module = pair.instance, pair.module
    return module.name, one.name, pair.standing, pair.message, *status.known(pair), module.id, one.id
