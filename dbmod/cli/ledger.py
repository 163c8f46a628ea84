"""The ledger itself: check, repair, back up, restore, copy, another key."""

from pathlib import Path

import click
import msgspec

from dbmod import config, errors, history, identity, store
from dbmod.cli import ask, options, output
from dbmod.config import Settings
from dbmod.context import Context

CHECKED = ("contents", "damaged", "home", "records", "serial", "shards")
SAVED = ("bytes", "file", "files", "key", "serial")
COPIED = ("contents", "from", "key_id", "records", "serial", "to")


@options.command("ledger-check", example="dbmod ledger-check\ndbmod ledger-check --repair --yes")
@click.option("--repair", is_flag=True, help="Make it usable again; what is damaged is kept aside.")
@options.confirmed
@options.shown(*CHECKED)
def check(*, repair: bool, yes: bool, view: output.View) -> int:
    """Read and verify the whole ledger."""
    settings = config.load().settings
    if repair:
        _refuse_postgresql(settings, "ledger-check --repair")
        from dbmod.store import repair as repairing

        ask.confirm(f"Repairing the ledger in {settings.home_path}", "repair", yes=yes)
        report = repairing.repair(settings)
    else:
        report = store.open(settings).check()
    for sentence in report.done:
        output.note(sentence)
    output.properties(
        view,
        {
            "contents": report.contents,
            "damaged": len(report.problems),
            "home": store.open(settings).place,
            "records": report.records,
            "serial": report.serial,
            "shards": report.shards,
        },
    )
    for problem in report.problems:
        output.error([f"{problem.where}: {problem.what}"])
    return 0 if report.is_sound else errors.LedgerDamaged.exit_code


@options.command("ledger-backup", example="dbmod ledger-backup /backup/dbmod.tar")
@click.argument("file", type=click.Path(path_type=Path))
@options.shown(*SAVED)
@options.reads
def backup(context: Context, *, file: Path, view: output.View) -> None:
    """Write the ledger, the contents and their key into one file; whoever has it can read the contents."""
    from dbmod.store import backup as backups

    _refuse_postgresql(context.settings, "ledger-backup")
    saved = backups.backup(context.settings, file)
    if saved.has_key:
        output.note(f"{file} holds the key too: keep it as secret as the contents themselves.")
    else:
        output.note("The key is not in it: it comes from DBMOD_KEY or key_command. Without it the contents are lost.")
    output.properties(view, _saved(saved.path, saved.serial, saved.files, saved.size_bytes, has_key=saved.has_key))


@options.command("ledger-restore", example="dbmod ledger-restore /backup/dbmod.tar --force")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Also over a ledger that is there; that one is kept aside.")
@click.option("--lock-wait", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait for a writer.")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the history.")
@options.shown(*SAVED)
def restore(*, file: Path, force: bool, lock_wait: float | None, reason: str, view: output.View) -> None:
    """Put a backup in place; it is verified before anything is touched."""
    from dbmod.store import backup as backups

    settings = config.load().settings
    _refuse_postgresql(settings, "ledger-restore")
    if lock_wait is not None:
        settings = msgspec.structs.replace(settings, lock_wait_seconds=lock_wait)
    saved = backups.restore(settings, file, force=force)
    with store.open(settings).transaction(holder="ledger-restore") as tables:
        who = identity.current(settings).name
        history.note(tables, "ledger-restore", actor=who, reason=reason, subject=file.name)
    if saved.replaced:
        output.note(f"The ledger that was there is kept in {saved.replaced}")
    if not saved.has_key:
        output.note("The backup holds no key: give it by DBMOD_KEY or key_command, as it was when it was made.")
    output.note("The hosts may have moved on since the backup: dbmod reconcile compares.")
    output.properties(view, _saved(saved.path, saved.serial, saved.files, saved.size_bytes, has_key=saved.has_key))


@options.command(
    "ledger-copy",
    example="dbmod ledger-copy ~/.local/state/dbmod postgresql://dbmod@db.example.com/dbmod\n"
    "dbmod ledger-copy configured /backup/ledger",
    about="Copy a whole ledger, contents included, into an empty one, and compare both.\n\n"
    "FROM and TO are each a home directory, postgresql://… without a password, a file that holds such an address "
    "with all it needs, or `configured`: the ledger that dbmod uses now. The contents of the copy are encrypted with "
    "the key that counts there; a home without a key gets a new one.",
)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--lock-wait", type=click.FloatRange(min=0), metavar="SECONDS", help="How long to wait for a writer.")
@options.shown(*COPIED)
def copy(*, source: str, target: str, lock_wait: float | None, view: output.View) -> None:
    from dbmod.store import copying

    settings = config.load().settings
    if lock_wait is not None:
        settings = msgspec.structs.replace(settings, lock_wait_seconds=lock_wait)
    copied = copying.copy(*(store.open(copying.settings_of(settings, place)) for place in (source, target)))
    output.note("Both were read again and are equal. From now on only one of them may be written: set DBMOD_LEDGER.")
    output.properties(
        view,
        {
            "contents": copied.contents,
            "from": copied.source,
            "key_id": copied.key_id,
            "records": copied.records,
            "serial": copied.serial,
            "to": copied.target,
        },
    )


@options.command("key-rotate", example="dbmod key-rotate")
@options.changes
def rotate(context: Context) -> None:
    """Encrypt all contents anew, with a new key."""
    done = context.store.rotate_key()
    with context.transaction("key-rotate") as tables:
        history.note(tables, "key-rotate", actor=context.actor.name, reason=context.reason)
    again = ", going on where it was interrupted" if done.was_interrupted else ""
    output.note(f"{done.files} contents are encrypted with the key {done.key_id} now{again}. Backups need the old key.")


def _saved(path: Path, serial: int, files: int, size_bytes: int, *, has_key: bool) -> dict[str, str | int | bool]:
    return {"bytes": size_bytes, "file": str(path), "files": files, "key": has_key, "serial": serial}


def _refuse_postgresql(settings: Settings, command: str) -> None:
    """Refuse what is done to files. Raises Refused, naming what does the same for PostgreSQL."""
    if settings.ledger:
        raise errors.Refused(
            f"{command} works on files, and this ledger is in PostgreSQL",
            details={"ledger": store.open(settings).place},
            next_step="pg_dump, as docs/ledger-for-a-team.md says, or dbmod ledger-copy configured DIRECTORY",
        )
