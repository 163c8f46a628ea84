"""Compare the ledger with all hosts, by the model of promise R7: a row says what its host can prove, and nothing else.

Nothing here uses dbmod's own judgement (evidence, reconcile): it reads result.json and the bytes with its own eyes.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from dbmod import errors, module_types, processes, store, transport
from dbmod.config import Settings
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.store.interface import Tables

ENDED = ("done", "failed", "cancelled", "lost")
ADMITTED = ("drifted", "missing", "unknown")  # what a row says when it knows that its host differs


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What lies on a host for one module.

    evidence  result.json as it is; None where it is not there or is not one
    sha256    of contents.dat; "" where it is not there
    """

    evidence: dict[str, Any] | None
    sha256: str


def problems(
    settings: Settings,
    *,
    settled: bool = False,
    except_for: Collection[str] = (),
    homes: Mapping[str, Path] | None = None,
) -> list[str]:
    """List whatever is not as promised; empty is good.

    settled     after a reconcile of everything: no host may know more than the ledger
    except_for  names of instances whose host a test broke on purpose
    homes       where instances that are not local keep what they hold, seen from here: instance id → directory
    """
    tables = store.open(settings).snapshot()
    found = [f"{one.where}: {one.what}" for one in store.open(settings).check().problems]
    found += _run_problems(tables)
    found += _version_problems(settings, tables)
    secret = {name for name, one in module_types.listing(settings).items() if one.declares.secret}
    modules = {one.id: one for one in tables.find(Module)}
    rows = {(one.instance_id, one.module_id): one for one in tables.find(Row)}
    unsettled = _unsettled(tables) if not settled else {}
    for instance in tables.find(Instance):
        if instance.name in except_for:
            continue
        for module in modules.values():
            row = rows.get((instance.id, module.id))
            held = on_host(instance, module, homes)
            lag = unsettled.get((instance.id, module.id), -1) > (row.serial if row else 0)
            label = f"{module.name} on {instance.name}: "
            found += [label + text for text in _differences(instance, row, held, lag, module.type in secret)]
    return found


def on_host(instance: Instance, module: Module, homes: Mapping[str, Path] | None = None) -> Held:
    """Read what an instance's host holds of a module."""
    folder = folder_of(instance, module, homes)
    evidence, digest = None, ""
    if (folder / "result.json").is_file():
        try:
            evidence = json.loads((folder / "result.json").read_bytes())
        except ValueError:
            evidence = None
    if (folder / "contents.dat").is_file():
        digest = hashlib.sha256((folder / "contents.dat").read_bytes()).hexdigest()
    return Held(evidence=evidence if isinstance(evidence, dict) else None, sha256=digest)


def folder_of(instance: Instance, module: Module, homes: Mapping[str, Path] | None = None) -> Path:
    local = Path(str(instance.provider_facts.get("directory", "/nowhere")))
    place = (homes or {}).get(instance.id, local)
    return place / "instances" / instance.id / "modules" / module.type / module.id


def _differences(instance: Instance, row: Row | None, held: Held, lag: bool, is_secret: bool) -> Iterator[str]:
    """lag: an attempt is `unknown`, so the host may be ahead of the row."""
    if instance.deleted_at is not None:
        if row is not None and row.removed_at is None:
            yield "the instance is deleted and its row is live"
        return
    evidence = held.evidence
    if is_secret and held.sha256:
        yield "the contents of a secret type lie on the host"
    if row is None:
        if evidence is not None and not lag:
            yield f"the host has a result of run {evidence['run']} and the ledger has no row"
        return
    if row.observed in ADMITTED:
        if _agrees(row, held, is_secret):
            yield f"the row says {row.observed}, and nothing is wrong"
        return
    if evidence is None:
        yield "a row without a result on the host"
        return
    if row.serial > evidence["serial"]:
        yield f"the row is of serial {row.serial}, the host's result of {evidence['serial']}"
    elif row.serial == evidence["serial"] or not lag:
        yield from _unequal(row, evidence)
        if not lag and not _has_contents(row, held, is_secret):
            yield f"the row holds {row.held_sha256}, contents.dat is {held.sha256 or 'not there'}"


def _agrees(row: Row, held: Held, is_secret: bool) -> bool:
    evidence = held.evidence
    return evidence is not None and not list(_unequal(row, evidence)) and _has_contents(row, held, is_secret)


def _has_contents(row: Row, held: Held, is_secret: bool) -> bool:
    if row.held is None:
        return row.last_attempt == "error" or not held.sha256
    return is_secret or row.last_attempt == "error" or held.sha256 == row.held_sha256


def _unequal(row: Row, evidence: dict[str, Any]) -> Iterator[str]:
    """Compare a row with the result it is of, field by field."""
    expected: dict[str, Any] = {
        "serial": evidence["serial"],
        "run_id": evidence["run"],
        "status": evidence["status"],
        "message": transport.text(evidence["message"]),
        "last_attempt": "ok" if evidence["status"] == "OK" else "error",
        "removed_at": _moment(evidence["removed"]),
    }
    if evidence["status"] == "OK":
        there = evidence["removed"] is None
        expected |= {
            "held": evidence["version_number"] if there else None,
            "held_md5": evidence["md5"] if there else None,
            "held_sha256": evidence["sha256"] if there else None,
            "updated_at": _moment(evidence["updated"]),
        }
    for field, value in expected.items():
        if getattr(row, field) != value:
            yield f"{field} is {getattr(row, field)!r} in the ledger and {value!r} on the host"


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _unsettled(tables: Tables) -> dict[tuple[str, str], int]:
    """Give the newest serial of an attempt that nobody knows the end of: (instance, module) → serial."""
    serials = {one.id: one.serial for one in tables.find(Run)}
    found: dict[tuple[str, str], int] = {}
    for one in [*tables.find(Attempt, state="unknown"), *tables.find(Attempt, state="planned")]:
        key = (one.instance_id, one.module_id)
        found[key] = max(found.get(key, 0), serials[one.run_id])
    return found


def _run_problems(tables: Tables) -> Iterator[str]:
    runs = {one.id: one for one in tables.find(Run)}
    serials = [one.serial for one in runs.values()]
    if len(set(serials)) != len(serials):
        yield "two runs have one serial"
    for run in runs.values():
        if run.state in ENDED and run.ended_at is None:
            yield f"run {run.id} is {run.state} and has no end"
        if run.state not in (*ENDED, "paused") and not (run.owner and processes.is_alive(run.owner)):
            yield f"run {run.id} is {run.state} and nobody carries it"
    for attempt in tables.find(Attempt, state="planned"):
        if attempt.run_id not in runs or runs[attempt.run_id].state in ENDED:
            yield f"an attempt of the ended run {attempt.run_id} is still planned"
    for row in tables.find(Row):
        if row.run_id not in runs:
            yield f"a row of run {row.run_id}, which is not in the ledger"


def _version_problems(settings: Settings, tables: Tables) -> Iterator[str]:
    ledger = store.open(settings)
    for module in tables.find(Module, deleted_at=None):
        if [one.number for one in module.versions] != list(range(1, len(module.versions) + 1)):
            yield f"{module.name} has versions {[one.number for one in module.versions]}"
        held = {one.held for one in tables.find(Row, module_id=module.id, removed_at=None)}
        for version in module.versions:
            if version.pruned_at:
                if version.number in held:
                    yield f"{module.name}, version {version.number}: pruned, and a host holds it"
                continue
            try:
                contents = ledger.read_contents(module.id, version.number)
            except errors.DbmodError as error:
                yield f"{module.name}, version {version.number}: {error.what}"
                continue
            if hashlib.sha256(contents).hexdigest() != version.sha256:
                yield f"{module.name}, version {version.number}: other contents than registered"
