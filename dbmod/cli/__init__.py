"""The command line: arguments in, text out, one file per noun. Nothing here decides about modules or fleets."""

import gc
import os
import sys
from typing import NoReturn

import click

import dbmod
from dbmod import errors
from dbmod.cli import group, output

COMPLETE = "_DBMOD_COMPLETE"  # set by the shell's completion script


def _spelled(token: str) -> str:
    """Let hyphens stand for underscores in options, as people type them."""
    return token.replace("-", "_")


@click.group(
    name="dbmod",
    cls=group.Commands,
    context_settings={"token_normalize_func": _spelled, "max_content_width": 120},
    epilog="\b\nExample:\n  dbmod module-create mymod ping ping1.dat --live_update\n  dbmod module-apply db-1 mymod",
)
@click.version_option(dbmod.__version__, prog_name="dbmod", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error came from, secrets removed.")
def commands() -> None:
    """Keep modules (licence keys, configuration, scripts) on a fleet of databases, and know who holds what.

    Data goes to standard output, notes and progress to standard error. Options are accepted with underscores and with
    hyphens. Exit codes: 0 done, 1 something failed, 2 refused before anything was touched, 3 the ledger cannot be
    used, 4 no host was reachable, 5 internal error, 130 interrupted.
    """


def main() -> NoReturn:
    """Carry out the command that was typed, and exit."""
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: list[str]) -> int:
    """Carry out a command. Returns its exit code; whatever goes wrong is said in one form and never as a traceback."""
    gc.disable()  # a command is short; cyclic garbage of a run's carrying out is collected there
    try:
        try:
            return _invoke(arguments)
        finally:
            output.finish()
    except Exception as problem:  # noqa: BLE001  the one place that turns everything into an exit code
        code = _say(problem)
        if "--debug" in arguments and not isinstance(problem, click.ClickException):
            output.trace(problem)
        return code
    except KeyboardInterrupt:
        output.note("interrupted")
        return errors.Interrupted.exit_code


def _invoke(arguments: list[str]) -> int:
    if COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(commands, {}, "dbmod", COMPLETE, os.environ[COMPLETE])
    try:
        with commands.make_context("dbmod", list(arguments)) as context:
            return commands.invoke(context) or 0
    except click.exceptions.Exit as ended:
        return ended.exit_code


def _say(problem: Exception) -> int:
    """Print what went wrong. Returns the exit code."""
    if isinstance(problem, errors.DbmodError):
        output.error(problem.lines())
        return problem.exit_code
    if isinstance(problem, click.exceptions.NoArgsIsHelpError):
        output.text(problem.format_message().rstrip("\n") + "\n")
        return errors.BadInput.exit_code
    if isinstance(problem, click.ClickException):
        output.error(_usage(problem).lines())
        return errors.BadInput.exit_code
    if isinstance(problem, click.Abort):
        output.note("interrupted")
        return errors.Interrupted.exit_code
    if isinstance(problem, BrokenPipeError):
        return 0
    fault = errors.InternalError(
        f"internal error ({type(problem).__name__})",
        next_step="the same command with --debug shows where; please report it",
    )
    output.error(fault.lines())
    return fault.exit_code


def _usage(problem: click.ClickException) -> errors.BadInput:
    context = problem.ctx if isinstance(problem, click.UsageError) else None
    path = context.command_path if context else "dbmod"
    return errors.BadInput(problem.format_message(), next_step=f"{path} --help")
