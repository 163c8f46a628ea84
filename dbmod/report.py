"""What the page of `dbmod report` shows: the fleet, versions of modules, the newest runs, as compact data. Pure."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from dbmod import clock, fleet_status, ledger
from dbmod.fleet_status import Pair
from dbmod.records import Attempt, Instance, Module, Run

Data = dict[str, Any]
# In a script element only these can end it, begin a comment, or end a line of JavaScript.
ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs in a report may name.

    is_all  an admin asks about the whole fleet: also runs about what is gone
    """

    instances: Mapping[str, str]  # id → name, as the next two
    modules: Mapping[str, str]
    clusters: Mapping[str, str]
    is_all: bool = False


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A run as far as it may be told.

    is_whole  no attempt of it was left out
    """

    run: Run
    attempts: list[Attempt]
    is_whole: bool


class Words:
    """Texts that occur often, each kept once."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {"": 0}

    def place(self, text: str) -> int:
        return self._places.setdefault(text, len(self._places))

    def all(self) -> list[str]:
        return list(self._places)


def told(run: Run, attempts: Iterable[Attempt], scope: Scope) -> Told | None:
    """Leave out of a run what is not in scope; None where nothing is left."""
    every = list(attempts)
    if scope.is_all:
        return Told(run=run, attempts=every, is_whole=True)
    seen = [one for one in every if one.instance_id in scope.instances and one.module_id in {"", *scope.modules}]
    synced = set(run.options.get("modules", ())) if run.verb == "module-sync" else set()
    is_registered = run.module_id in scope.modules or bool(synced & scope.modules.keys())
    is_about = not run.playbook and (is_registered or run.cluster_id in scope.clusters)
    if not seen and not is_about:
        return None
    return Told(run=run, attempts=seen, is_whole=len(seen) == len(every) and synced <= scope.modules.keys())


def data(
    *,
    made_at: datetime,
    title: str,
    instances: Sequence[Instance],
    modules: Sequence[Module],
    pairs: Sequence[Pair],
    runs: Sequence[tuple[Told, str]],
    scope: Scope,
) -> Data:
    """Give all that the page shows.

    title  what was chosen, for people
    runs   each with its counts, in words
    """
    words = Words()
    return {
        "made": clock.seconds(made_at),
        "title": title,
        "standings": fleet_status.STANDINGS,
        "instances": [_instance(one, scope) for one in instances],
        "modules": _modules(modules, pairs),
        "cells": _cells(instances, modules, pairs, words),
        "runs": [_run(one, counts, scope, words) for one, counts in runs],
        "words": words.all(),  # last: the others fill it
    }


def embedded(content: Data) -> str:
    """Write data as JSON that cannot leave its script element, whatever the names in it are."""
    return json.dumps(content, separators=(",", ":")).translate(ESCAPES)


def _instance(one: Instance, scope: Scope) -> list[Any]:
    cluster = scope.clusters.get(one.cluster_id, one.cluster_id) if one.cluster_id else ""
    return [one.name, one.id, one.datastore, one.datastore_version, cluster, one.region, one.status]


def _modules(modules: Sequence[Module], pairs: Iterable[Pair]) -> list[Data]:
    """Give modules with their versions, the newest first: number, md5, when, who, holders, since when it is pruned."""
    held = Counter((pair.module.id, pair.row.held) for pair in pairs if pair.row)
    return [
        {
            "name": one.name,
            "id": one.id,
            "type": one.type,
            "deleted": one.deleted_at is not None,
            "versions": [
                [
                    version.number,
                    version.md5,
                    clock.seconds(version.created_at),
                    version.author,
                    held[one.id, version.number],
                    clock.seconds(version.pruned_at) if version.pruned_at else "",
                ]
                for version in reversed(one.versions)
            ],
        }
        for one in modules
    ]


def _cells(instances: Sequence[Instance], modules: Sequence[Module], pairs: Iterable[Pair], words: Words) -> list[Any]:
    """Give a line for each instance: for each module standing, version held, when looked at, message; 0: not for it."""
    found = {(pair.instance.id, pair.module.id): pair for pair in pairs}
    return [
        [_cell(found[one.id, module.id], words) if (one.id, module.id) in found else 0 for module in modules]
        for one in instances
    ]


def _cell(pair: Pair, words: Words) -> list[int]:
    row = pair.row
    seen = clock.seconds(row.observed_at) if row and row.observed_at else ""
    cell = [
        fleet_status.STANDINGS.index(pair.standing),
        (row.held or 0) if row else 0,
        words.place(seen),
        words.place(pair.message),
    ]
    while len(cell) > 1 and cell[-1] == 0:  # most have neither a look nor a message
        cell.pop()
    return cell


def _run(one: Told, counts: str, scope: Scope, words: Words) -> Data:
    run = one.run
    return {
        "id": run.id,
        "verb": run.title,
        "what": _what(one, scope),
        "state": run.state,
        "batch": run.batch,
        "batches": len(run.batch_sizes),
        "actor": run.actor,
        "reason": run.reason,
        "message": run.message if one.is_whole else "",  # it may name what was left out
        "created": clock.seconds(run.created_at),
        "ended": clock.seconds(run.ended_at) if run.ended_at else "",
        "counts": counts,
        "attempts": [_attempt(attempt, run, scope, words) for attempt in one.attempts],
    }


def _what(one: Told, scope: Scope) -> str:
    """Name what a run is about, where that is one thing that may be named."""
    for key, names in ((one.run.module_id, scope.modules), (one.run.cluster_id, scope.clusters)):
        if key:
            return names.get(key, key if scope.is_all else "")
    return one.run.subject if one.is_whole else ""


def _attempt(one: Attempt, run: Run, scope: Scope, words: Words) -> list[int]:
    """Give batch, and as places of words instance, module, state; versions before and after; the message's place."""
    state = "running" if one.state == "planned" and one.started_at else one.told
    is_well = one.state == "ok" or one.would in ("change", "stay")
    is_correction = run.verb == "reconcile" and one.changed
    before, after = ledger.moves(run, one)
    message = "" if is_well and not is_correction else one.message  # a ping's own message is its contents
    return [
        one.batch,
        words.place(scope.instances.get(one.instance_id, one.instance_id)),
        words.place(scope.modules.get(one.module_id, one.module_id)),
        words.place(state),
        before or 0,
        after or 0,
        words.place(message),
    ]
