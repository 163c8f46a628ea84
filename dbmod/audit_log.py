"""The ledger's changes one by one, for a SIEM: who did what, when, to what, and what came of it.

Nothing is written for it. Every change is in the ledger as a run and its attempts, which never change once they are
over and bear the number of the commit that closed them. So the order is that of the commits, whatever clocks say, and
a cursor is a place in it. Messages are left out: a type's may say what is in the contents, Ansible's what is in the
user's variables.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec

from dbmod import errors, ledger
from dbmod.records import ASKING, Attempt, Cluster, Instance, Module, Run
from dbmod.store.interface import Tables

CURSOR = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?\Z")
WHOLE_COMMIT = 10**9  # behind the last change of any commit
FORMAT = 1
Place = tuple[int, int]  # serial of a commit, and the number of a change in it


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the stream; its fields are documented in docs/audit-log.md and stay what they are."""

    cursor: str
    time: datetime
    event: Literal["planned", "attempt", "ended", "changed"]
    verb: str
    outcome: str
    actor: str
    reason: str
    run: str
    subject: str  # which instances, for people: the name of one, or how many
    check: bool = False  # hosts were only asked what would change
    module: str | None = None
    module_id: str | None = None
    instance: str | None = None
    instance_id: str | None = None
    cluster: str | None = None
    cluster_id: str | None = None
    from_version: int | None = None
    to_version: int | None = None
    stopped_by: str = ""  # who asked a run to stop that has ended
    format: int = FORMAT


def place(cursor: str) -> Place:
    """Read a cursor: `SERIAL.NUMBER` as lines have it, or `SERIAL` for all of that commit; "" is the beginning.

    Raises  BadInput
    """
    match = CURSOR.match(cursor.strip() or "0")
    if match is None:
        raise errors.BadInput(
            f"{cursor[:50]!r} is no cursor.", next_step="give the last line's, as 1234.5, or nothing for the beginning"
        )
    return int(match[1]), int(match[2]) if match[2] else WHOLE_COMMIT


def changes(tables: Tables, *, after: Place) -> list[Change]:
    """Give what has changed behind a place, in the order of the commits.

    Raises  Refused where the ledger is not as far as that place: a backup was restored
    """
    if after[0] > tables.serial:
        raise errors.Refused(
            f"The cursor is at {after[0]}, and the ledger is only at {tables.serial}: a backup was restored, or it is "
            "another ledger.",
            next_step=f"begin anew with --after {tables.serial}, or an earlier one",
        )
    found: list[tuple[int, Change]] = []
    for run in sorted(tables.find(Run), key=lambda one: one.serial):
        if run.is_open or max(run.serial, run.closed_in) >= after[0]:
            found += _of_run(tables, run)
    found.sort(key=lambda one: one[0])  # which keeps the order within a commit
    numbered = [
        msgspec.structs.replace(one, cursor=f"{serial}.{number}")
        for serial, commit in itertools.groupby(found, key=lambda one: one[0])
        for number, (_, one) in enumerate(commit, start=1)
        if (serial, number) > after
    ]
    return _named(tables, numbered)


def line(change: Change) -> str:
    """Write a change as one line of JSON, in ASCII: nothing in it moves a cursor or breaks a line."""
    return json.dumps(msgspec.to_builtins(change), separators=(",", ":"))


def _of_run(tables: Tables, run: Run) -> Iterator[tuple[int, Change]]:
    """Give all that a run has done so far, with the commits' serials."""
    attempts = sorted(tables.find(Attempt, run_id=run.id), key=lambda one: (one.place, one.module_id))
    if not run.playbook:
        yield from ((run.serial, one) for one in _of_note(run, attempts))
        return
    yield run.serial, _change(run, event="planned", time=run.created_at, outcome="planned")
    for one in attempts:
        if _is_told(run, one):
            yield one.closed_in or run.serial, _of_attempt(run, one)
    if run.ended_at:
        told = _change(run, event="ended", time=run.ended_at, outcome=run.state, stopped_by=run.stop_requested_by)
        yield run.closed_in or run.serial, told


def _of_note(run: Run, attempts: Iterable[Attempt]) -> Iterator[Change]:
    """Give the changes of a run that had to do with no host: one for each module, version or instance it was about."""
    base = _change(run, event="changed", time=run.created_at, outcome="ok")
    versions: dict[str, list[int | None]] = run.options.get("versions", {})
    several = [
        *({"module_id": key, "from_version": pair[0], "to_version": pair[1]} for key, pair in versions.items()),
        *({"from_version": number} for number in run.options.get("pruned", ())),
        *({"instance_id": one.instance_id} for one in attempts),
    ]
    if not several:
        several = [{"module_id": one} for one in run.options.get("modules", {})] or [{}]
    yield from (msgspec.structs.replace(base, **one) for one in several)


def _of_attempt(run: Run, attempt: Attempt) -> Change:
    before, after = ledger.moves(run, attempt)
    return _change(
        run,
        event="attempt",
        time=attempt.ended_at or run.created_at,
        outcome=attempt.state,
        module_id=attempt.module_id or None,
        instance_id=attempt.instance_id,
        from_version=before,
        to_version=after,
    )


def _is_told(run: Run, attempt: Attempt) -> bool:
    """Tell whether an attempt is a change: of those that only asked, what corrected the ledger or read contents."""
    if attempt.state == "planned" or run.options.get("check"):
        return False
    return run.verb not in ASKING or attempt.changed or (run.verb == "retrieve" and bool(attempt.module_id))


def _change(run: Run, **fields: Any) -> Change:
    known: dict[str, Any] = {
        "cursor": "",
        "verb": run.verb,
        "actor": run.actor,
        "reason": run.reason,
        "run": run.id,
        "subject": run.subject,
        "check": bool(run.options.get("check")),
        "module_id": run.module_id,
        "cluster_id": run.cluster_id,
    }
    return Change(**(known | fields))


def _named(tables: Tables, found: Iterable[Change]) -> list[Change]:
    """Add the names that things have now, or had when they went."""
    modules = {one.id: one.name for one in tables.find(Module)}
    instances = {one.id: one.name for one in tables.find(Instance)}
    clusters = {one.id: one.name for one in tables.find(Cluster)}
    return [
        msgspec.structs.replace(
            one,
            module=modules.get(one.module_id or ""),
            instance=instances.get(one.instance_id or ""),
            cluster=clusters.get(one.cluster_id or ""),
        )
        for one in found
    ]
