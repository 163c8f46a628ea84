"""Finding things by id first, then by exact name, with the one wording for none and for several."""

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from dbmod import errors
from dbmod.identity import Actor, sees
from dbmod.records import Cluster, Instance, Module, Row, Run, Version
from dbmod.store.interface import Tables

T = TypeVar("T", Module, Instance, Cluster)
LISTS = {"module": "dbmod module-list", "instance": "dbmod list --include_clustered", "cluster": "dbmod cluster-list"}
SHORTEST_RUN_PREFIX = 4
SHORTEST_MD5_PREFIX = 6


def module(tables: Tables, reference: str, *, actor: Actor, deleted: bool = False) -> Module:
    """Find a module that *actor* may see.

    deleted  also those deleted by force while hosts hold them
    """

    def is_there(found: Module) -> bool:
        held = deleted and tables.find(Row, module_id=found.id, removed_at=None)
        return sees(actor, found) and bool(held or not found.deleted_at)

    return _one(tables, Module, "module", reference, is_there)


def instance(tables: Tables, reference: str, *, actor: Actor) -> Instance:
    return _one(tables, Instance, "instance", reference, lambda found: not found.deleted_at and owns(actor, found))


def cluster(tables: Tables, reference: str, *, actor: Actor) -> Cluster:
    return _one(tables, Cluster, "cluster", reference, lambda found: not found.deleted_at and owns(actor, found))


def run(tables: Tables, reference: str) -> Run:
    """Find a run by its id or the beginning of it."""
    exact = tables.get(Run, reference)
    if exact:
        return exact
    prefixed = len(reference) >= SHORTEST_RUN_PREFIX
    found = [run for run in tables.find(Run) if prefixed and run.id.startswith(reference)]
    if not found:
        raise errors.NotFound(f"No run with an ID of '{reference}' exists.", next_step="dbmod run-list")
    if len(found) > 1:
        raise errors.NotUnique(f"Multiple run matches found for '{reference}', use an ID to be more specific.")
    return found[0]


def version(of: Module, reference: str) -> Version:
    """Find a version of a module by its number, its md5 or the beginning of that: the newest with contents."""
    if reference.isdecimal() and (exact := of.version(int(reference))):
        return exact
    prefix = reference.lower()
    found = [one for one in of.versions if len(prefix) >= SHORTEST_MD5_PREFIX and one.md5.startswith(prefix)]
    next_step = f"dbmod module-versions {of.name}"
    if not found:
        raise errors.NotFound(f"Module '{of.name}' has no version '{reference[:80]}'.", next_step=next_step)
    if len({one.md5 for one in found}) > 1:
        raise errors.NotUnique(f"Several versions of module '{of.name}' begin with '{reference}'.", next_step=next_step)
    return next((one for one in reversed(found) if not one.pruned_at), found[-1])


def owns(actor: Actor, thing: Instance | Cluster) -> bool:
    return actor.admin or thing.tenant == actor.tenant


def living_instances(tables: Tables, *, actor: Actor) -> list[Instance]:
    return [found for found in tables.find(Instance, deleted_at=None) if owns(actor, found)]


def _one(
    tables: Tables,
    kind: type[T],
    noun: Literal["module", "instance", "cluster"],
    reference: str,
    is_there: Callable[[T], bool],
) -> T:
    exact = tables.get(kind, reference)
    if exact and is_there(exact):
        return exact
    found: Iterable[T] = tables.find(kind, name=reference)
    named = [thing for thing in found if is_there(thing)]
    if not named:
        raise errors.NotFound(f"No {noun} with a name or ID of '{reference}' exists.", next_step=LISTS[noun])
    if len(named) > 1:
        raise errors.NotUnique(
            f"Multiple {noun} matches found for '{reference}', use an ID to be more specific.",
            details={"matches": ", ".join(sorted(thing.id for thing in named))},
        )
    return named[0]
