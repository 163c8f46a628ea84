"""Module types of one's own: begun from one that works, and tried before any host sees it."""

from pathlib import Path

import click

from dbmod import errors, module_types, names, output_file, paths
from dbmod.cli import options, output
from dbmod.context import Context

TRIALS = ("Check", "Case", "Status", "Message")
EXAMPLE = "motd"
WHAT = "The type"


@options.command("type-new", example="dbmod type-new audit_log --directory types")
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="PATH",
    help="Where to.  [default: the first of type_directories, else here]",
)
@options.reads
def new(context: Context, *, name: str, directory: Path | None) -> None:
    """Write a module type that works, with its documentation and its cases, to be made into your own."""
    if not names.is_valid_type(name):
        raise errors.BadInput("A type's name takes lower-case letters, digits and _, from a letter on.")
    if name in module_types.files(context.settings):
        raise errors.Refused(f"The type '{name}' is there already.", next_step="dbmod module-type-list")
    configured = [*context.settings.type_directories, "."]
    path = (directory or Path(configured[0]).expanduser()) / f"{module_types.PREFIX}{name}.py"
    if path.exists() or path.is_symlink():
        raise errors.Refused(f"{path} is there already.", next_step="choose another name, or remove it")
    output_file.refuse_bad_place(path, what=WHAT)
    source = (paths.PACKAGE / "examples" / f"{module_types.PREFIX}{EXAMPLE}.py").read_text(encoding="utf-8")
    output_file.write(path, source.replace(EXAMPLE, name), what=WHAT, mode=0o644)
    output.line(str(path))
    output.note(f"next: make it yours, then dbmod type-test {path}")
    if path.parent.absolute() not in module_types.directories(context.settings):
        output.note(f"next: type_directories in dbmod.yml has to name {path.parent.absolute()}")


@options.command(
    "type-test",
    example="dbmod type-test types/dbmod_audit_log.py",
    about="Try a module type on a scratch host of this machine, with the cases in its file.\n\n"
    "Its documentation, its cases and its Python are looked at; then each case is applied in check mode, applied, "
    "applied again, asked for, removed, and on a fresh host cut off and applied once more. Files stay below a "
    "directory that is thrown away, and systemctl is a stand-in; other programs that the type calls are real.",
)
@click.argument("path", type=click.Path(path_type=Path))
@options.shown(*TRIALS)
@options.reads
def test(context: Context, *, path: Path, view: output.View) -> int:
    from dbmod import type_trials  # with the scratch host

    del context
    trials = list(type_trials.carry_out(module_types.at(path)))
    rows = [(one.check, one.case or None, one.status, one.message) for one in trials]
    output.table(view, TRIALS, rows)
    failed = sum(one.status == "FAILED" for one in trials)
    left = sum(one.status == "NOT TRIED" for one in trials)
    output.note(f"{path.name}: {len(trials) - failed - left} ok, {failed} failed, {left} not tried")
    return int(failed > 0)
