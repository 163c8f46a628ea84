"""The ledger's changes as lines of JSON, for a SIEM."""

import gc
import time

import click

from dbmod import audit_log, errors, store
from dbmod.cli import options, output
from dbmod.context import Context

POLL_SECONDS = 1.0


@options.command(
    "audit-log",
    example="dbmod audit-log --after 1234.5\ndbmod audit-log --follow >> /var/log/dbmod/audit.jsonl",
    about="Print every change in the ledger as a line of JSON: who, what, when, on what, what came of it.\n\n"
    "A line's `cursor` is its place: --after goes on behind it. Never contents, secrets or hosts' messages. What the "
    "fields mean is in docs/audit-log.md.",
)
@click.option("--after", default="", metavar="CURSOR", help="Begin behind this place.  [default: the beginning]")
@click.option("--follow", is_flag=True, help="Wait for further changes, until it is stopped.")
@options.reads
def show(context: Context, *, after: str, follow: bool) -> None:
    if not context.actor.admin:
        raise errors.Refused("You must be admin to read the changes of all tenants.")
    place = audit_log.place(after)
    gc.enable()  # it may go on for months
    while output.has_reader():
        tables = store.open(context.settings).snapshot()  # a store keeps what it has read: a fresh one keeps nothing
        for change in audit_log.changes(tables, after=place):
            output.line(audit_log.line(change))
            place = audit_log.place(change.cursor)
        if not follow:
            return
        while output.has_reader() and context.store.snapshot().serial == tables.serial:
            time.sleep(POLL_SECONDS)
