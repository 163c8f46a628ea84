"""What the shell completes: names from the ledger. A ledger that cannot be read completes nothing and says nothing."""

from collections.abc import Callable, Iterable, Sequence

import click

from dbmod import names
from dbmod.records import Cluster, Instance, Module, Run
from dbmod.store.interface import Tables

STOPPED = ("paused", "failed", "cancelled", "lost")
Completer = Callable[[click.Context, click.Parameter, str], list[str]]


def modules(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _from_ledger(lambda tables: [one.name for one in tables.find(Module, deleted_at=None)], incomplete)


def instances(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _from_ledger(lambda tables: [one.name for one in tables.find(Instance, deleted_at=None)], incomplete)


def clusters(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _from_ledger(lambda tables: [one.name for one in tables.find(Cluster, deleted_at=None)], incomplete)


def runs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _from_ledger(lambda tables: [one.id for one in tables.find(Run)], incomplete)


def open_runs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _from_ledger(lambda tables: [one.id for one in tables.find(Run) if one.is_open], incomplete)


def stopped_runs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Those that `run-resume` may go on with."""
    return _from_ledger(
        lambda tables: [one.id for one in tables.find(Run) if one.state in STOPPED and one.may_go_on], incomplete
    )


def instances_and_modules(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The first name is an instance, the others are modules."""
    return (modules if context.params.get("names") else instances)(context, parameter, incomplete)


def modules_and_instances(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    found = {*modules(context, parameter, incomplete), *instances(context, parameter, incomplete)}
    return sorted(found, key=names.natural_key)


def types(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from dbmod import config, module_types

    return _quietly(lambda: module_types.listing(config.load().settings), incomplete)


def datastores(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from dbmod import datastores as known

    return _quietly(known.names, incomplete)


def providers(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from dbmod import providers as known

    return _quietly(known.names, incomplete)


def flavors(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from dbmod import config

    return _quietly(lambda: config.load().settings.flavors, incomplete)


def words(choices: Sequence[str]) -> Completer:
    """Complete from a fixed list."""
    return lambda _context, _parameter, incomplete: [
        one for one in choices if one.lower().startswith(incomplete.lower())
    ]


def _from_ledger(find: Callable[[Tables], Iterable[str]], incomplete: str) -> list[str]:
    from dbmod import config, store

    return _quietly(lambda: find(store.open(config.load().settings).snapshot()), incomplete)


def _quietly(find: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    from dbmod import errors

    try:
        return sorted({name for name in find() if name.startswith(incomplete)}, key=names.natural_key)
    except errors.DbmodError:
        return []
