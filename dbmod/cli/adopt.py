"""Servers that exist: adopt them, release them again."""

from collections.abc import Sequence

import click
import msgspec

from dbmod import adoption, errors, logins, lookup, operations, paths, run_directory, survey
from dbmod.adoption import Request
from dbmod.cli import ask, carry, complete, options, output
from dbmod.cli.carry import Outcome
from dbmod.cli.options import Display
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Run
from dbmod.selection import Selection

ADOPTED = ("Name", "Address", "Datastore", "Version", "Port", "Restart Command", "Status", "Message")


@options.command(
    "adopt",
    example="dbmod adopt --inventory production.yml --group databases --datastore mysql --cluster-by galera_cluster\n"
    "dbmod adopt db-7 --host db-7.example.org --datastore redis --user admin",
)
@click.argument("name", required=False)
@click.option("--datastore", required=True, shell_complete=complete.datastores, help="What runs there.")
@click.option(
    "--inventory",
    type=click.Path(),
    help="Your Ansible inventory: a file, a directory, a plugin's settings. It goes on to say how hosts are reached.",
)
@click.option("--group", metavar="PATTERN", help="Which of its hosts: a group, or any of Ansible's patterns.")
@click.option("--cluster-by", metavar="VARIABLE", default="", help="Hosts with one value of it are a cluster.")
@click.option("--prune", is_flag=True, help="Release those that the group no longer names.")
@click.option("--host", metavar="ADDRESS", help="One host, by its address or name.")
@click.option("--ssh-port", type=click.IntRange(1, 65535), default=22, show_default=True, help="Of that one host.")
@click.option("--user", default="", help="Whom to log in as there.  [default: as ssh chooses]")
@click.option("--private-key", default="", metavar="FILE", help="With which key.  [default: ssh_private_key]")
@click.option("--become/--no-become", default=None, help="Use sudo there.  [default: as before; --become when new]")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Of the server.  [default: dbmod_port in the inventory, or the only one there is]",
)
@click.option(
    "--restart-command",
    default="",
    metavar="WORDS",
    help="How the server is restarted.  [default: dbmod_restart_command in the inventory, or its systemd unit]",
)
@click.option("--accept-host-key", is_flag=True, help="Take the keys that hosts show, without knowing them before.")
@click.option(
    "--baseline",
    multiple=True,
    metavar="MODULE",
    shell_complete=complete.modules,
    help="Record this module where its effect is there already; nothing is applied (repeatable).",
)
@options.confirmed
@options.displays
@options.shown(*ADOPTED)
@options.changes
def adopt(
    context: Context,
    *,
    prune: bool,
    baseline: tuple[str, ...],
    yes: bool,
    display: Display,
    view: output.View,
    **given: object,
) -> int:
    """Take servers that exist into the fleet: a whole group of an Ansible inventory, or one host.

    Nothing on the hosts is changed. Adopting again takes over what has changed, and what is new.
    """
    request = _request(prune=prune, **given)
    for module in baseline:
        lookup.module(context.store.snapshot(), module, actor=context.actor)
    run, gone = _planned(context, request, display)
    outcome = carry.finish(context, run, display)
    tables = context.store.snapshot()
    found = {one.instance_id: tables.get(Instance, one.instance_id) for one in outcome.attempts}
    output.table(view, ADOPTED, [_row(found[one.instance_id], one) for one in outcome.attempts])
    output.note(carry.summary(outcome))
    _prune(context, gone, prune=prune, yes=yes)
    _explain_early_end(outcome)
    recorded = _record_baseline(context, outcome, baseline, display)  # on those that were adopted, whoever else failed
    return outcome.exit_code or recorded


@options.command("release", example="dbmod release db-7 --yes\ndbmod release --cluster shop --yes")
@click.argument("instances", nargs=-1, metavar="INSTANCE...", shell_complete=complete.instances)
@click.option("--cluster", default="", shell_complete=complete.clusters, help="All members of this cluster.")
@options.confirmed
@options.changes
def release(context: Context, *, instances: tuple[str, ...], cluster: str, yes: bool) -> None:
    """Forget adopted instances; their hosts are not touched."""
    chosen = adoption.members(context, instances, cluster)
    if not chosen:
        raise errors.BadInput("No instance was named.", next_step="dbmod release --help")
    word = cluster or (chosen[0].name if len(chosen) == 1 else "release")
    ask.confirm(f"Forgetting {_names(chosen)}", word, yes=yes)
    adoption.release(context, chosen)


def _request(*, prune: bool, **given: object) -> Request:
    """Check that the options fit together. Raises BadInput."""
    inventory, name, host = given["inventory"], given["name"], given["host"]
    if bool(inventory) == bool(host):
        raise errors.BadInput(
            "Adopt either a group of an inventory, or one host.",
            next_step="--inventory FILE --group GROUP, or NAME --host ADDRESS",
        )
    if inventory and (name or not given["group"]):
        raise errors.BadInput("With --inventory goes --group, and no NAME: hosts keep the names they have there.")
    if host and (not name or given["group"] or given["cluster_by"] or prune):
        raise errors.BadInput("With --host goes a NAME, and no --group, --cluster-by or --prune.")
    words = survey.restart_words(given.pop("restart_command"))
    values = {key: value for key, value in given.items() if value is not None}
    if inventory:
        values["inventory"] = str(paths.named(str(inventory)))
    return msgspec.structs.replace(Request(datastore=str(given["datastore"])), **(values | {"restart_command": words}))


def _planned(context: Context, request: Request, display: Display) -> tuple[Run, list[Instance]]:
    """Plan; while the inventory is read, what opens it lies in a private directory."""
    with run_directory.private(context) as directory:
        arguments = logins.arguments(display.login, context.settings, directory)
        return adoption.plan(context, request, arguments=arguments)


def _record_baseline(context: Context, adopted: Outcome, modules: Sequence[str], display: Display) -> int:
    """Record the modules whose effect the adopted hosts have already; the others are named. Returns the exit code."""
    chosen = tuple(one.instance_id for one in adopted.about_instances if one.state == "ok")
    if not modules or not chosen:
        return 0
    planned = operations.plan_apply(context, Selection(all=True, hosts=chosen), modules, baseline=True)
    carry.skipped(planned)
    if planned.run is None:
        return planned.exit_code
    outcome = carry.finish(context, planned.run, display)
    output.note_table(carry.ON_HOSTS, [carry.module_row(outcome, one) for one in outcome.about_modules])
    output.note(carry.summary(outcome))
    return outcome.exit_code or planned.exit_code


def _row(instance: Instance | None, attempt: Attempt) -> tuple[object, ...]:
    if instance is None:
        return (attempt.instance_id, None, None, None, None, None, carry.status(attempt), attempt.message)
    return (
        instance.name,
        instance.address,
        instance.datastore,
        instance.datastore_version or None,
        instance.port,
        " ".join(instance.restart_command) or None,
        carry.status(attempt),
        attempt.message,
    )


def _prune(context: Context, gone: Sequence[Instance], *, prune: bool, yes: bool) -> None:
    if not gone:
        return
    if not prune:
        output.note(f"The group no longer names {_names(gone)}: --prune releases them.")
        return
    ask.confirm(f"Forgetting {_names(gone)}", gone[0].name if len(gone) == 1 else "release", yes=yes)
    adoption.release(context, gone)
    output.note(f"Released {_names(gone)}.")


def _names(instances: Sequence[Instance]) -> str:
    names = [one.name for one in instances]
    return ", ".join(names) if len(names) <= 10 else f"{', '.join(names[:10])} and {len(names) - 10} more"


def _explain_early_end(outcome: Outcome) -> None:
    if outcome.run.state != "done" and outcome.run.message:
        output.note(f"The run {outcome.run.id} ended early: {outcome.run.message}")
