"""Options that several commands share, and how a command is declared."""

import functools
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

import click
import msgspec

from dbmod import config, errors, identity, ledger, logins, store
from dbmod.cli import complete, group, output
from dbmod.context import Context
from dbmod.selection import Selection, select

P = ParamSpec("P")
Command = Callable[P, int | None]
DEBUG = "Show where an error came from, secrets removed."


class Display(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a run is shown on standard error, and what it logs in with."""

    quiet: bool = False
    verbosity: int = 0
    login: logins.Login = logins.Login()


class DebugCommand(click.Command):
    """A command that takes --debug, which `dbmod.cli.execute` reads."""

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(group.HELP_NAMES)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as problem:
            problem.ctx = problem.ctx or ctx  # click forgets it where an option lacks its value
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        *own, its_help = super().get_params(ctx)
        debug = click.Option(["--debug"], is_flag=True, expose_value=False, help=DEBUG)
        return [*own, debug, its_help]


def command(
    name: str, *, example: str, about: str | None = None, hidden: bool = False
) -> Callable[[Command[...]], click.Command]:
    """Declare a command.

    example  one command line or more, shown at the end of its help
    about    its first sentence stands in the list of commands; None: the function's docstring
    """
    lines = "\n".join(f"  {line}" for line in example.splitlines())
    title = "Examples" if "\n" in example else "Example"
    return click.command(name, cls=DebugCommand, help=about, epilog=f"\b\n{title}:\n{lines}", hidden=hidden)


def open_context(*, reason: str = "", lock_wait_seconds: float | None = None, sweep: bool = True) -> Context:
    """Read the configuration and open the ledger; runs whose process is gone are ended first, and named."""
    settings = config.load().settings
    if lock_wait_seconds is not None:
        settings = msgspec.structs.replace(settings, lock_wait_seconds=lock_wait_seconds)
    context = Context(
        store=store.open(settings),
        settings=settings,
        actor=identity.current(settings),
        reason=reason,
        lock_wait_seconds=lock_wait_seconds,
    )
    for lost in ledger.sweep(context.store) if sweep else []:
        output.note(
            f"The run {lost.id} ({lost.title}) was lost: its process ended before it did: dbmod run-show {lost.id}"
        )
    if sweep and any((settings.home_path / "runs").glob("*/")):
        from dbmod import run_directory  # only where a run goes on, or left a directory behind, which may hold a key

        run_directory.sweep(context)
    return context


def reads(function: Callable[Concatenate[Context, P], int | None]) -> Command[P]:
    """Hand the command a context."""

    @functools.wraps(function)
    def opened(*args: P.args, **kwargs: P.kwargs) -> int | None:
        return function(open_context(), *args, **kwargs)

    return opened


def changes(function: Command[...]) -> Command[...]:
    """Hand the command a context made from --reason and --lock-wait."""

    @functools.wraps(function)
    def opened(*args: Any, reason: str, lock_wait: float | None, **kwargs: Any) -> int | None:
        return function(open_context(reason=reason, lock_wait_seconds=lock_wait), *args, **kwargs)

    click.option(
        "--lock-wait",
        type=click.FloatRange(min=0),
        metavar="SECONDS",
        help="How long to wait for another writer of the ledger.  [default: lock_wait_seconds, 30]",
    )(opened)
    return click.option("--reason", metavar="TEXT", default="", help="Why; kept in the run and the history.")(opened)


def shown(*columns: str) -> Callable[[Command[...]], Command[...]]:
    """Add -f and -c; the command gets them as `view`.

    columns  all that the command can show: a wrong -c is refused before anything is done
    """

    def add(function: Command[...]) -> Command[...]:
        @functools.wraps(function)
        def viewed(*args: Any, style: output.Format, column: tuple[str, ...], **kwargs: Any) -> int | None:
            view = output.View(format=style, columns=_known(column, columns))
            return function(*args, view=view, **kwargs)

        click.option(
            "-c",
            "--column",
            multiple=True,
            metavar="COLUMN",
            shell_complete=complete.words(columns),
            help="Show this column only (repeatable).",
        )(viewed)
        return click.option(
            "-f",
            "--format",
            "style",
            type=click.Choice(output.FORMATS),
            default="table",
            show_default=True,
            help="How to show it.",
        )(viewed)

    return add


def selects(function: Command[...]) -> Command[...]:
    """Add the options that choose many instances; the command gets them as `several`, a Selection of no single one."""

    @functools.wraps(function)
    def selected(*args: Any, cluster: str, datastore: str, limit: str, everything: bool, **kwargs: Any) -> int | None:
        several = Selection(cluster=cluster, datastore=datastore, limit=limit, all=everything)
        return function(*args, several=several, **kwargs)

    click.option("--all", "everything", is_flag=True, help="All instances, members of clusters too.")(selected)
    click.option(
        "--limit",
        default="",
        metavar="PATTERN",
        help="Instances by name, with * and ?, or group of your inventory; `!` leaves out: 'db-*,!db-7'.",
    )(selected)
    click.option("--datastore", default="", shell_complete=complete.datastores, help="Instances of this datastore.")(
        selected
    )
    return click.option("--cluster", default="", shell_complete=complete.clusters, help="Members of this cluster.")(
        selected
    )


def displays(function: Command[...]) -> Command[...]:
    """Add what every command takes that carries out a run: -q and -v, -K and --vault-id.

    The command gets them as `display`; what has to be asked for is asked first.
    """

    @functools.wraps(function)
    def displayed(
        *args: Any, quiet: bool, verbose: int, ask_become_pass: bool, vault_id: tuple[str, ...], **kwargs: Any
    ) -> int | None:
        if not kwargs.get("wait", True) and (ask_become_pass or vault_id):
            raise errors.BadInput(
                "-K and --vault-id go with --wait: nobody is there to be asked later.",
                next_step="leave out --no-wait, or set become_password_file and vault_ids in the configuration",
            )
        login = _login(become=ask_become_pass, vault_ids=vault_id)
        return function(*args, display=Display(quiet=quiet, verbosity=verbose, login=login), **kwargs)

    _vault_id(displayed, opens="your inventory")
    click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the password of sudo on the hosts.")(displayed)
    click.option("-v", "--verbose", count=True, help="Show Ansible's own output too; -vv and more: more of it.")(
        displayed
    )
    return click.option("-q", "--quiet", is_flag=True, help="No progress.")(displayed)


def unlocks(function: Command[...]) -> Command[...]:
    """Add --vault-id to a command that carries out no run; the command gets it as `login`."""

    @functools.wraps(function)
    def unlocking(*args: Any, vault_id: tuple[str, ...], **kwargs: Any) -> int | None:
        return function(*args, login=_login(become=False, vault_ids=vault_id), **kwargs)

    return _vault_id(unlocking, opens="the contents files")


def meets(function: Command[...]) -> Command[...]:
    """Add --accept-host-key to a command that makes machines."""

    @functools.wraps(function)
    def meeting(context: Context, *args: Any, accept_host_key: bool, **kwargs: Any) -> int | None:
        if accept_host_key:
            settings = msgspec.structs.replace(context.settings, accept_host_key=True)
            context = msgspec.structs.replace(context, settings=settings)
        return function(context, *args, **kwargs)

    return click.option(
        "--accept-host-key",
        is_flag=True,
        help="Take the key that a new machine shows on the network where its console shows none.",
    )(meeting)


def waits(function: Command[...]) -> Command[...]:
    """Add --wait/--no-wait."""
    return click.option(
        "--wait/--no-wait", default=True, show_default=True, help="Wait until it is done, or let it go on by itself."
    )(function)


def provider(function: Command[...]) -> Command[...]:
    """Add --provider."""
    return click.option(
        "--provider",
        shell_complete=complete.providers,
        help="Where instances come from.  [default: local, by configuration]",
    )(function)


def pages(function: Command[...]) -> Command[...]:
    """Add --limit and --marker."""
    click.option("--marker", metavar="ID", help="Begin behind this one: the last of the page before.")(function)
    return click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.  [default: all]")(
        function
    )


def clustered(function: Command[...]) -> Command[...]:
    """Add --include_clustered."""
    return click.option("--include_clustered", is_flag=True, help="Members of clusters too.")(function)


def confirmed(function: Command[...]) -> Command[...]:
    """Add --yes."""
    return click.option("--yes", is_flag=True, help="Do not ask.")(function)


def named_or_several(names: tuple[str, ...], several: Selection, *, what: str) -> tuple[Selection, tuple[str, ...]]:
    """Tell the instance among the names from what follows it.

    names    the instance first, unless *several* chooses
    what     the command, for the refusal's next step
    Returns  the selection, and the names that are not the instance
    """
    if several != Selection():
        return several, names
    if not names:
        raise errors.BadInput(
            "No instance was named.",
            details={"or": "--cluster, --datastore, --limit or --all choose several"},
            next_step=f"dbmod {what} --help",
        )
    return Selection(instance=names[0]), names[1:]


def one_or_several(names: tuple[str, ...], several: Selection, *, what: str) -> Selection:
    """Give what a command is about that may name one instance: that one, those that *several* chooses, or all."""
    if len(names) > 1 or (names and several != Selection()):
        raise errors.BadInput("Name one instance, or choose several by an option.", next_step=f"dbmod {what} --help")
    if names:
        return Selection(instance=names[0])
    return Selection(all=True) if several == Selection() else several


def resolved(context: Context, selection: Selection, display: Display) -> Selection:
    """Resolve a limit that names groups of users' inventories. Raises BadInput where the selection names nothing."""
    if selection.limit:
        from dbmod import run_directory, user_inventory  # only where there is a limit

        with run_directory.private(context) as directory:
            arguments = logins.arguments(display.login, context.settings, directory)
            hosts = functools.partial(user_inventory.hosts, arguments=arguments)
            selection = user_inventory.with_groups(context, selection, hosts)
    _refuse_no_match(context, selection)
    return selection


def _refuse_no_match(context: Context, selection: Selection) -> None:
    """Refuse a selection that names nothing: a slip of the pen must not look like work done. An empty fleet may be."""
    if not selection.all and not select(context.store.snapshot(), selection, actor=context.actor):
        raise errors.BadInput("No instance matches the selection.", next_step="dbmod list --include_clustered")


def _vault_id(function: Command[...], *, opens: str) -> Command[...]:
    return click.option(
        "--vault-id",
        multiple=True,
        metavar="LABEL@SOURCE",
        help=f"Opens what is encrypted in {opens}, as with Ansible: a file, or `prompt` (repeatable).",
    )(function)


def _login(*, become: bool, vault_ids: tuple[str, ...]) -> logins.Login:
    if not become and not vault_ids:
        return logins.Login()
    from dbmod.cli import ask  # 20 ms, and few commands ask

    return ask.login(become=become, vault_ids=vault_ids)


def _known(asked: tuple[str, ...], columns: tuple[str, ...]) -> tuple[str, ...]:
    by_folded = {column.lower(): column for column in columns}
    unknown = [one for one in asked if one.lower() not in by_folded]
    if unknown:
        raise errors.BadInput(f"There is no column {', '.join(unknown)} here.", details={"columns": ", ".join(columns)})
    return tuple(by_folded[one.lower()] for one in asked)
