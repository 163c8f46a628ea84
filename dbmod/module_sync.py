"""The registry made equal to a file that declares modules: read, decide, write; all of it or nothing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from dbmod import errors, history, identity, module_rules, registry
from dbmod.context import Context
from dbmod.declaration import Declaration, Declared, Entry
from dbmod.records import Module, Source
from dbmod.registry import Change
from dbmod.store.interface import Tables

Action = Literal["create", "update", "unchanged", "undeclared", "delete"]
DONE: dict[Action, str] = {
    "create": "created",
    "update": "updated",
    "unchanged": "unchanged",
    "undeclared": "undeclared",
    "delete": "deleted",
}
WRITING = ("create", "update", "delete")
LEFT_ALONE = ("name", "contents")  # of an entry: what finds the module, and a path
REPLACE = msgspec.structs.replace


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be done about one module.

    declared  None: it is no longer in the file
    before    None: it is not in the registry
    changes   what differs, for people
    """

    action: Action
    declared: Declared | None = None
    before: Module | None = None
    asked: Change = Change()
    changes: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that every rule allows, and the module as it will be."""

    decision: Decision
    after: Module

    @property
    def action(self) -> Action:
        return self.decision.action


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a sync will do."""

    declaration: Declaration
    prune: bool
    steps: tuple[Step, ...]

    @property
    def undeclared(self) -> list[Module]:
        """Give the modules that the file declared before and no longer does."""
        return [one.after for one in self.steps if one.action in ("undeclared", "delete")]

    @property
    def is_changing(self) -> bool:
        return any(one.action in WRITING for one in self.steps)


def plan(context: Context, declaration: Declaration, *, prune: bool) -> Plan:
    """Check everything, and say what will be done. Nothing is written.

    prune   delete what the file no longer declares
    Raises  BadInput, Refused
    """
    tables = context.store.snapshot()
    declaration = REPLACE(declaration, modules=_with_versions_named(context, tables, declaration))
    _refuse_twins(declaration.modules, context.actor.tenant)
    steps = []
    for decision in _decided(context, tables, declaration, prune=prune):
        with _about(decision):
            step = Step(decision=decision, after=_after(context, tables, decision, declaration.source))
            _refuse_by_tables(context, tables, step)
        steps.append(step)
    return Plan(declaration=declaration, prune=prune, steps=tuple(steps))


def carry_out(context: Context, planned: Plan) -> None:
    """Write a plan in one transaction: all of it or nothing; nothing at all where nothing changes.

    Raises   Refused where the registry is another than the one that was planned on, or hosts hold more by now
    """
    if not planned.is_changing:
        return
    with context.transaction("module-sync") as tables:  # types and servers were asked by `plan`, without the lock
        decisions = _decided(context, tables, planned.declaration, prune=planned.prune)
        if decisions != [one.decision for one in planned.steps]:
            raise errors.Refused("The registry has changed meanwhile: nothing was done.", next_step="repeat it")
        for step in planned.steps:  # all of them, before the first contents are written
            with _about(step.decision):
                _refuse_by_tables(context, tables, step)
        for step in planned.steps:
            _write(context, tables, step)
        _note(context, tables, [one for one in planned.steps if one.action in WRITING])
    for step in planned.steps:
        if step.action == "delete":
            context.store.delete_contents(step.after.id)


def decide(
    declared: Sequence[Declared], modules: Sequence[Module], *, declared_in: str, tenant: str, prune: bool
) -> list[Decision]:
    """Compare what is declared with the registry. Pure.

    A module is found by what no two share (name, type, tenant, datastore, version). What is left over on both sides is
    paired by its name where the registry's one was declared in this set and both are the only ones: it is bound anew.

    modules      living ones that the actor sees
    declared_in  the name of this set
    Returns      the file's modules in its order, then those that it no longer declares, by name
    """
    by_scope = {module_rules.scope(one): one for one in modules}
    found = [by_scope.get(_scope(one.entry, tenant)) for one in declared]
    taken = {one.id for one in found if one}
    ours = [one for one in modules if one.declared_in == declared_in and one.id not in taken]
    namesakes = Counter(one.name for one in ours)
    waiting = Counter(one.entry.name for one, match in zip(declared, found, strict=True) if match is None)
    bound_anew = {one.name: one for one in ours if namesakes[one.name] == waiting[one.name] == 1}
    found = [match or bound_anew.get(one.entry.name) for one, match in zip(declared, found, strict=True)]
    decisions = [_decision(one, match, declared_in) for one, match in zip(declared, found, strict=True)]
    gone = sorted((one for one in ours if one.name not in bound_anew), key=lambda one: (one.name, one.id))
    return decisions + [Decision(action="delete" if prune else "undeclared", before=one) for one in gone]


def counts(planned: Plan) -> str:
    """Count the steps in one line: 1 created, 2 unchanged."""
    actions = [one.action for one in planned.steps]
    return ", ".join(f"{actions.count(one)} {word}" for one, word in DONE.items() if one in actions) or "no modules"


def line(step: Step) -> str:
    """Describe a step in one line: update mymod (ping, redis): contents."""
    after = step.after
    bound = " ".join([after.datastore or "all", after.datastore_version or ""]).rstrip()
    changes = ": " + ", ".join(step.decision.changes) if step.decision.changes else ""
    return f"{step.action} {after.name} ({after.type}, {bound}), md5 {after.md5}{changes}"


def _decision(declared: Declared, before: Module | None, declared_in: str) -> Decision:
    if before is None:
        return Decision(action="create", declared=declared)
    asked = difference(declared.entry, before)
    changes = list(asked.asked())
    changes += ["contents"] if declared.sha256 != before.current.sha256 else []
    changes += ["declared_in"] if declared_in != before.declared_in else []
    action: Action = "update" if changes else "unchanged"
    return Decision(action=action, declared=declared, before=before, asked=asked, changes=tuple(changes))


def difference(entry: Entry, before: Module) -> Change:
    """Give what module-update has to change so that a module is as it is declared. Pure.

    What an entry leaves out is as module-create has it; full_access, which only an admin may name, stays as it is.
    """
    wanted: dict[str, Any] = {
        field: getattr(entry, field) for field in entry.__struct_fields__ if field not in LEFT_ALONE
    }
    wanted["type"] = entry.type.lower()
    present = {
        **{field: getattr(before, field, None) for field in wanted},
        "hidden": not before.visible,
        "all_tenants": before.tenant is None,
    }
    if entry.full_access is None:
        del wanted["full_access"]
    return Change(**{field: value for field, value in wanted.items() if value != present[field]})


def _scope(entry: Entry, tenant: str) -> tuple[str | None, ...]:
    """Give what `module_rules.scope` gives of the module that this entry declares."""
    owner = None if entry.all_tenants else tenant
    return entry.name, entry.type.lower(), owner, entry.datastore, entry.datastore_version


def _mine(context: Context, tables: Tables) -> list[Module]:
    """Give the modules that a file of the actor's can declare: its tenant's; for an admin also those of all tenants."""
    actor = context.actor
    seen = [one for one in tables.find(Module, deleted_at=None) if identity.sees(actor, one)]
    return [one for one in seen if one.tenant == actor.tenant or (actor.admin and one.tenant is None)]


def _with_versions_named(context: Context, tables: Tables, declaration: Declaration) -> tuple[Declared, ...]:
    """Give the declared modules with the names of their datastores' versions, which may be given as ids.

    One that is in the registry already is not asked about: its version may be known on other machines alone.
    """
    known = {module_rules.scope(one) for one in _mine(context, tables)}
    named = []
    for one in declaration.modules:
        entry = one.entry
        if _scope(entry, context.actor.tenant) not in known:
            with _about(Decision(action="create", declared=one)):
                datastore, version = module_rules.datastore_of(
                    tables, context.settings, entry.datastore, entry.datastore_version
                )
            entry = REPLACE(entry, datastore=datastore, datastore_version=version)
        named.append(REPLACE(one, entry=entry))
    return tuple(named)


def _decided(context: Context, tables: Tables, declaration: Declaration, *, prune: bool) -> list[Decision]:
    return decide(
        declaration.modules,
        _mine(context, tables),
        declared_in=declaration.source.declared_in,
        tenant=context.actor.tenant,
        prune=prune,
    )


def _after(context: Context, tables: Tables, decision: Decision, source: Source) -> Module:
    """Give the module as it will be, by the registry's rules. Raises BadInput, Refused."""
    declared, before = decision.declared, decision.before
    if before is None:
        if declared is None:
            raise errors.InternalError("a decision is about no module")
        return registry.new(context, tables, declared.entry, declared.contents, source=source)
    if decision.action != "update":
        return before
    return registry.changed(context, tables, before.id, decision.asked, _new_contents(decision), source=source)[1]


def _refuse_by_tables(context: Context, tables: Tables, step: Step) -> None:
    """Refuse what other modules, hosts or runs forbid."""
    decision = step.decision
    if decision.action == "update" and decision.before:
        module_rules.refuse_change_of_held(tables, decision.before, step.after)
    if decision.action in ("create", "update"):
        module_rules.refuse_duplicate(tables, step.after)
    if decision.action == "delete":
        registry.refuse_delete(tables, step.after, actor=context.actor)


def _write(context: Context, tables: Tables, step: Step) -> None:
    decision = step.decision
    if decision.action == "create" and decision.declared:
        registry.put_new(context, tables, step.after, decision.declared.contents)
    elif decision.action == "update" and decision.before:
        registry.put_changed(context, tables, decision.before, step.after, _new_contents(decision))
    elif decision.action == "delete":
        registry.put_deleted(tables, step.after)


def _note(context: Context, tables: Tables, written: Sequence[Step]) -> None:
    subject = written[0].after.name if len(written) == 1 else f"{len(written)} modules"
    history.note(
        tables,
        "module-sync",
        actor=context.actor.name,
        reason=context.reason,
        options={
            "modules": {one.after.id: one.action for one in written},
            "versions": {one.after.id: _versions(one) for one in written},
        },
        subject=subject,
    )


def _versions(step: Step) -> list[int | None]:
    return registry.versions_between(step.decision.before, None if step.action == "delete" else step.after)


def _new_contents(decision: Decision) -> bytes | None:
    return decision.declared.contents if decision.declared and "contents" in decision.changes else None


def _refuse_twins(declared: Sequence[Declared], tenant: str) -> None:
    seen = set()
    for one in declared:
        scope = _scope(one.entry, tenant)
        if scope in seen:
            raise errors.BadInput(f"Module '{one.entry.name}' is declared twice, with the same type and datastore.")
        seen.add(scope)


@contextmanager
def _about(decision: Decision) -> Iterator[None]:
    """Name the module in whatever refuses it."""
    try:
        yield
    except errors.DbmodError as error:
        named = decision.declared.entry if decision.declared else decision.before
        error.details = {"declared": named.name if named else "", **error.details}
        raise
