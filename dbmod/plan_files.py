"""Plans in files: what a run would do, to be looked at, and then done exactly so or not at all.

A plan is planned anew when it is to be done, by the same functions, and compared with what the file holds. So a file
says nothing that the ledger would not, and one that somebody has changed is at most refused.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec

from dbmod import errors, names, operations, output_file, paths
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.paces import Pace
from dbmod.records import Attempt, Instance, Module
from dbmod.selection import Selection
from dbmod.store.joined import Joined
from dbmod.store.rehearsal import Rehearsal

FORMAT = 1
WHAT = "The plan"
LIMIT_BYTES = 256 << 20  # 10,000 instances with 5 modules take 20 MiB
NAMED_LIMIT = 5  # of the differences that a refusal names

Command = Literal["module-apply", "module-remove", "module-reapply"]
Resolve = Callable[[Selection], Selection]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a command was asked to do, as it was typed."""

    command: Command
    modules: tuple[str, ...]
    selection: Selection = Selection()
    version: str | None = None
    md5: str | None = None
    only: tuple[str, ...] = ()
    include_clustered: bool = False
    force: bool = False
    pace: Pace = Pace()


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One module on one instance."""

    instance_id: str
    instance: str
    module_id: str
    module: str
    batch: int
    order: int
    from_number: int | None
    number: int
    sha256: str


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the ledger makes of what was asked.

    left_out  instance → why
    pace      batch sizes, budgets and the like, as numbers of this fleet
    tasks     the user's own files of tasks → SHA-256
    """

    format: int = FORMAT
    asked: Asked
    steps: tuple[Step, ...]
    left_out: dict[str, str]
    pace: dict[str, Any]
    tasks: dict[str, str]


class Sealed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: a plan, and the digest by which damage is seen."""

    plan: msgspec.Raw
    sha256: str


def planned(context: Context, asked: Asked, *, check: bool = False) -> Planned:
    """Plan what was asked, and write the run."""
    if asked.command == "module-reapply":
        return operations.plan_reapply(
            context,
            asked.modules[0],
            selection=asked.selection,
            md5=asked.md5,
            only=asked.only,
            include_clustered=asked.include_clustered,
            force=asked.force,
            pace=asked.pace,
            check=check,
        )
    if asked.command == "module-remove":
        return operations.plan_remove(context, asked.selection, asked.modules[0], pace=asked.pace, check=check)
    return operations.plan_apply(
        context, asked.selection, asked.modules, pace=asked.pace, check=check, version=asked.version
    )


def resolved(asked: Asked, resolve: Resolve) -> Asked:
    """Look up what the selection names; that of a reapply may be empty."""
    if asked.command == "module-reapply" and asked.selection == Selection():
        return asked
    return msgspec.structs.replace(asked, selection=resolve(asked.selection))


def save(context: Context, path: Path, asked: Asked, resolve: Resolve) -> tuple[Plan, Planned]:
    """Write to a file what would be done; neither the ledger nor a host is touched.

    resolve  looks up what the selection names outside of the ledger
    """
    output_file.refuse_bad_place(path, what=WHAT)
    rehearsal = msgspec.structs.replace(context, store=Rehearsal(context.store))
    found = planned(rehearsal, resolved(asked, resolve))
    plan = _described(rehearsal, asked, found)
    data = msgspec.json.encode(plan)
    sealed = msgspec.json.encode(Sealed(plan=msgspec.Raw(data), sha256=hashlib.sha256(data).hexdigest()))
    output_file.write(path, sealed.decode() + "\n", what=WHAT)
    return plan, found


def read(path: Path, command: Command) -> Plan:
    """Read a plan that the same command saved. Raises BadInput."""
    if not paths.is_there(path) or not path.is_file():
        raise errors.BadInput(f"There is no plan {path}.", next_step=f"dbmod {command} … --plan {path} makes one")
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise errors.BadInput(f"{path} is too large for a plan.")
        data = path.read_bytes()
        sealed = msgspec.json.decode(data, type=Sealed)
        plan = msgspec.json.decode(sealed.plan, type=Plan)
    except OSError as error:
        raise errors.BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise errors.BadInput(f"{path} is no plan of this dbmod.", next_step=_again(command, path)) from error
    if hashlib.sha256(sealed.plan).hexdigest() != sealed.sha256:
        raise errors.BadInput(f"{path} is not what was written: its digest differs.", next_step=_again(command, path))
    if not plan.asked.modules:
        raise errors.BadInput(f"{path} is a plan of no module.", next_step=_again(command, path))
    if plan.format != FORMAT or plan.asked.command != command:
        raise errors.BadInput(f"{path} is a plan of {plan.asked.command}, format {plan.format}.")
    return plan


def take(context: Context, path: Path, plan: Plan, resolve: Resolve) -> Planned:
    """Plan anew what a plan says, and write the run, in one transaction; refused where anything would be otherwise.

    Raises  Refused, naming what has moved; whatever planning raises
    """
    asked = resolved(plan.asked, resolve)
    with context.transaction(asked.command) as tables:
        here = msgspec.structs.replace(context, store=Joined(tables))
        found = planned(here, asked)
        moved = list(islice(_differences(plan, _described(here, plan.asked, found)), NAMED_LIMIT + 1))
        if moved:
            lines = [*moved[:NAMED_LIMIT], *(["and more"] if len(moved) > NAMED_LIMIT else [])]
            raise errors.Refused(
                f"The ledger has moved since {path} was written; nothing was done.",
                details={str(number): line for number, line in enumerate(lines, 1)},
                next_step=_again(asked.command, path),
            )
    return found


def _again(command: Command, path: Path) -> str:
    return f"plan again, and look at it: dbmod {command} … --plan {path}"


def _described(here: Context, asked: Asked, found: Planned) -> Plan:
    left_out = {one.instance: one.why for one in found.skipped}
    if found.run is None:
        return Plan(asked=asked, steps=(), left_out=left_out, pace={}, tasks={})
    tables, run = here.store.snapshot(), found.run
    instances = {one.id: one.name for one in tables.find(Instance)}
    modules = {one.id: one.name for one in tables.find(Module)}
    attempts = sorted(tables.find(Attempt, run_id=run.id), key=lambda one: one.place)
    pace = msgspec.to_builtins(run.options.get("pace", {}))
    limits = {"delay": run.delay_seconds, "max_errors": run.max_errors, "max_unreachable": run.max_unreachable}
    return Plan(
        asked=asked,
        steps=tuple(
            Step(
                instance_id=one.instance_id,
                instance=instances[one.instance_id],
                module_id=one.module_id,
                module=modules[one.module_id],
                batch=one.batch,
                order=one.order,
                from_number=one.from_number,
                number=one.number,
                sha256=one.sha256,
            )
            for one in attempts
        ),
        left_out=left_out,
        pace={**pace, **limits, "batch_sizes": list(run.batch_sizes), "pause_after": run.pause_after},
        tasks={
            pace[name]: hashlib.sha256(Path(pace[name]).read_bytes()).hexdigest()
            for name in ("before_host", "after_host")
            if pace.get(name)
        },
    )


def _differences(then: Plan, now: Plan) -> Iterator[str]:
    """Say what is otherwise, the instances first."""
    before = {(one.instance_id, one.module_id): one for one in then.steps}
    after = {(one.instance_id, one.module_id): one for one in now.steps}
    for key, old in before.items():
        new = after.get(key)
        if new is None:
            why = now.left_out.get(old.instance)
            yield f"{old.instance}, {old.module}: would be left out now{f': {why}' if why else ''}"
        elif new != old:
            yield f"{old.instance}, {old.module}: {_change(old, new)}"
    for key, new in after.items():
        if key not in before:
            yield f"{new.instance}, {new.module}: is not in the plan, and would be done now"
    for name in sorted(then.left_out.keys() ^ now.left_out.keys(), key=names.natural_key):
        yield f"{name}: {'is no longer' if name in then.left_out else 'would now be'} left out"
    if then.pace != now.pace:
        yield "the batches, budgets or what is done around each host would be others"
    for file in sorted({name for name, _ in then.tasks.items() ^ now.tasks.items()}):
        yield f"{file} is another file now"


def _change(old: Step, new: Step) -> str:
    if (old.instance, old.module) != (new.instance, new.module):
        return f"has another name now: {new.instance}, {new.module}"
    if (old.from_number, old.number) != (new.from_number, new.number):
        return f"from version {new.from_number} to {new.number} now, the plan has {old.from_number} to {old.number}"
    if old.sha256 != new.sha256:
        return "has other contents now"
    if old.batch == new.batch:
        return f"would be module {new.order + 1} of its instance now, the plan has it as {old.order + 1}"
    return f"would be in batch {new.batch} now, the plan has {old.batch}"
