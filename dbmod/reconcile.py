"""From rows and what the hosts say to corrections of the ledger. Pure."""

from datetime import datetime

import msgspec

from dbmod import evidence
from dbmod.records import Evidence, Row
from dbmod.transport import Result


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """One row before and after."""

    before: Row | None
    after: Row
    what: str  # a few words for the user


def correct(row: Row | None, result: Result | None, *, at: datetime) -> Correction | None:
    """Give the correction that makes a row equal to its host's evidence; None where it is.

    row      None: the ledger has none
    result   None: the host has nothing of this module
    """
    found = result.evidence if result else None
    believed = found is not None and result is not None and result.note != "unknown"
    after = row
    if believed and found is not None and (row is None or found.serial > row.serial):
        after = _from_evidence(row, found)
    after = evidence.look(after, result, at=at)
    if after is None:
        return None
    what = _difference(row, after)
    return Correction(before=row, after=after, what=what) if what else None


def _from_evidence(row: Row | None, found: Evidence) -> Row:
    if found.status == "ERROR":
        return evidence.failed(row, found)
    return evidence.removed(row, found) if found.removed else evidence.applied(row, found)


def _difference(before: Row | None, after: Row) -> str:
    if before is None:
        return f"recorded: the host holds version {after.held}" if after.held else "recorded: the host's last attempt"
    if (before.held, before.removed_at, before.status) != (after.held, after.removed_at, after.status):
        return f"corrected: version {before.held or 'none'} to {after.held or 'none'}, {after.status}"
    if after.observed != before.observed and after.observed not in (None, "in sync"):
        return str(after.observed)
    return "in sync again" if before.observed not in (None, "in sync", after.observed) else ""
