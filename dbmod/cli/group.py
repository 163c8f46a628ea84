"""The command `dbmod`: which commands there are, by noun, each loaded when it is called."""

import difflib
import importlib

import click

SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "Modules",
        "module",
        (
            "module-list",
            "module-show",
            "module-create",
            "module-update",
            "module-delete",
            "module-versions",
            "module-diff",
            "module-rollback",
            "module-prune",
        ),
    ),
    ("Modules as code", "sync", ("module-sync",)),
    (
        "Modules on instances",
        "work",
        ("module-apply", "module-remove", "module-query", "module-retrieve", "module-reapply"),
    ),
    (
        "Who holds what",
        "holding",
        ("module-instances", "module-instance-count", "module-list-instance", "cluster-modules"),
    ),
    ("How the fleet stands", "status", ("status",)),
    ("The fleet on a page", "report", ("report",)),
    ("The fleet compared with its hosts", "drift", ("drift",)),
    ("Instances", "instance", ("create", "list", "show", "password", "update", "restart", "delete")),
    ("Instances to leave alone", "hold", ("hold", "unhold")),
    ("Machines in the cloud", "audit", ("audit",)),
    ("Servers that exist", "adopt", ("adopt", "release")),
    (
        "Clusters",
        "cluster",
        (
            "cluster-create",
            "cluster-list",
            "cluster-show",
            "cluster-instances",
            "cluster-grow",
            "cluster-shrink",
            "cluster-delete",
        ),
    ),
    (
        "What there is to choose from",
        "catalogue",
        ("datastore-list", "datastore-version-list", "flavor-list", "module-type-list"),
    ),
    ("Types of your own", "types", ("type-new", "type-test")),
    ("Runs and history", "run", ("run-list", "run-show", "run-wait", "run-cancel", "history", "reconcile")),
    ("Changes for a SIEM", "audit_log", ("audit-log",)),
    ("Runs that wait", "rollout", ("run-pause", "run-resume")),
    ("The ledger", "ledger", ("ledger-check", "ledger-backup", "ledger-restore", "ledger-copy", "key-rotate")),
    ("dbmod itself", "own", ("config", "completion", "demo")),
)
HELP_NAMES = ("-h", "--help")  # said here, not by a context: click keeps the option of the first context that asks
ALIASES = {"rollout": "module-reapply"}
HIDDEN = {"run-execute": "run"}
MODULES = {name: module for _, module, names in SECTIONS for name in names} | HIDDEN


class Commands(click.Group):
    """A group whose commands are imported when they are asked for: start-up pays for one file, not for all."""

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return list(HELP_NAMES)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  (click's signature)
        return [name for _, _, names in SECTIONS for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  (as above)
        spelled = cmd_name.replace("_", "-")
        name = ALIASES.get(spelled, spelled)
        if name not in MODULES:
            return None
        module = importlib.import_module(f"dbmod.cli.{MODULES[name]}")
        found = (one for one in vars(module).values() if isinstance(one, click.Command) and one.name == name)
        return next(found, None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            close = difflib.get_close_matches(args[0].replace("_", "-"), [*MODULES, *ALIASES], n=3)
            hint = f" Did you mean {' or '.join(close)}?" if close else ""
            ctx.fail(f"There is no command {args[0]!r}.{hint}")
        return command.name if command else None, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(len(name) for name in MODULES)
        for title, _, names in SECTIONS:
            found = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name.ljust(widest), command.get_short_help_str(limit=200)) for name, command in found if command]
            with formatter.section(title):
                formatter.write_dl(rows)
