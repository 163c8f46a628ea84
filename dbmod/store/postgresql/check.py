"""ledger-check on PostgreSQL: read every document and every contents, verify them, change nothing."""

from typing import TYPE_CHECKING

from dbmod.records import Instance, Module, Record, Row
from dbmod.store import check as checking
from dbmod.store.interface import Problem, Report
from dbmod.store.kinds import KINDS

if TYPE_CHECKING:
    from dbmod.store.postgresql.store import PostgresStore


def check(store: "PostgresStore") -> Report:
    """Verify the whole ledger. That its bytes are those that were written, PostgreSQL's own checksums tell."""
    tables = store.snapshot()
    problems: list[Problem] = []
    found: list[Record] = []
    for table, kind in KINDS.items():
        records, bad = tables.understood(kind)
        found += records
        problems += [Problem(where=table, what=what) for what in bad]
    rows = [one for one in found if isinstance(one, Row) and one.removed_at is None]
    problems += checking.orphans(rows, {one.id for one in found if isinstance(one, Instance)})
    modules = [one for one in found if isinstance(one, Module)]
    checked, bad_contents = checking.contents_problems(
        store.settings, modules, store.stored_contents(), store.read_contents
    )
    return Report(
        serial=tables.serial,
        shards=len(tables.state.tables & KINDS.keys()),
        records=len(found),
        contents=checked,
        problems=(*problems, *bad_contents),
    )
