"""A ledger that forgets."""

from collections.abc import Callable

import pytest

from dbmod import errors
from dbmod.records import Attempt, Instance, Module
from dbmod.store.interface import Store
from dbmod.store.rehearsal import Rehearsal
from tests import builders


def test_changes_are_seen_in_the_rehearsal_and_nowhere_else(empty_ledger: Store, put: Callable[..., None]) -> None:
    old, gone, new = (builders.instance(name) for name in ("old", "gone", "new"))
    put(old, gone)
    rehearsal = Rehearsal(empty_ledger)
    with rehearsal.transaction(holder="test") as tables:
        tables.put(new, builders.instance("renamed", id=old.id))
        tables.delete(gone)
        assert {one.name for one in tables.find(Instance)} == {"new", "renamed"}
    seen = rehearsal.snapshot()
    assert {one.name for one in seen.find(Instance)} == {"new", "renamed"}
    assert seen.find(Instance, name="old") == []
    assert [one.id for one in seen.find(Instance, name="new")] == [new.id]
    assert (seen.get(Instance, gone.id), seen.get(Instance, new.id)) == (None, new)
    real = empty_ledger.snapshot()
    assert ({one.name for one in real.find(Instance)}, seen.serial) == ({"old", "gone"}, real.serial)


def test_records_that_are_split_are_found_by_what_splits_them(empty_ledger: Store) -> None:
    rehearsal, module = Rehearsal(empty_ledger), builders.module()
    run = builders.run()
    attempt = builders.attempt(run, module, builders.instance("db-1"))
    with rehearsal.transaction(holder="test") as tables:
        tables.put(attempt)
    assert rehearsal.snapshot().get(Attempt, attempt.key, within=run.id) == attempt
    assert rehearsal.snapshot().find(Attempt, run_id=run.id) == [attempt]
    assert rehearsal.snapshot().find(Attempt, run_id="another") == []


def test_what_raises_leaves_nothing_in_the_rehearsal_either(empty_ledger: Store) -> None:
    rehearsal = Rehearsal(empty_ledger)
    with pytest.raises(errors.Refused), rehearsal.transaction(holder="test") as tables:
        tables.put(builders.module())
        raise errors.Refused("no")
    assert rehearsal.snapshot().find(Module) == []


def test_secrets_are_not_kept(empty_ledger: Store) -> None:
    rehearsal = Rehearsal(empty_ledger)
    rehearsal.write_contents("0" * 36, 0, b"secret")
    with pytest.raises(errors.NotFound):
        rehearsal.read_contents("0" * 36, 0)
