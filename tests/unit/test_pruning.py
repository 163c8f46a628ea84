"""Which versions may go, and what is left of them. In a real ledger, with real contents."""

from collections.abc import Callable
from typing import Any

import pytest

from dbmod import clock, errors, lookup, module_versions, operations, pruning, registry
from dbmod.context import Context
from dbmod.paces import Pace
from dbmod.records import Module, Row, Run
from dbmod.selection import Selection
from tests import builders
from tests.builders import REPLACE, TENANT, as_actor

Put = Callable[..., None]
HOST = builders.instance("db-1")
MODULE = builders.module(versions=4)
ROLLS_BACK = {"pace": {"on_failure": "rollback"}}


@pytest.fixture
def module(here: Context) -> Module:
    """A module with four versions."""
    made = registry.create(here, registry.Request(name="mymod", type="ping", live_update=True), builders.contents(1))
    for number in (2, 3, 4):
        made = registry.change(here, made.id, registry.Change(), builders.contents(number))
    return made


def going(here: Context, *, keep: int | None = 1, older_than_days: int | None = None) -> list[int]:
    verdicts = pruning.plan(here, "mymod", keep=keep, older_than_days=older_than_days)
    return [one.version.number for one in verdicts if not one.stays]


def prune(here: Context, *numbers: int) -> list[int]:
    return [one.number for one in pruning.prune(here, "mymod", numbers, keep=1, older_than_days=None)]


@pytest.mark.parametrize(
    ("run", "attempt", "row", "expected"),
    [
        ({"state": "done", "serial": 7}, {"state": "ok"}, {"serial": 7}, {4}),
        ({"state": "failed", "serial": 7}, {"state": "error"}, {"serial": 7}, {2, 4}),
        ({"state": "failed", "serial": 7}, {"state": "unknown"}, {"serial": 5}, {2, 4}),
        ({"state": "failed", "serial": 7}, {"state": "unknown"}, {"serial": 9}, {4}),
        ({"state": "failed", "serial": 7}, {"state": "unreachable"}, {"serial": 5}, {4}),
        ({"state": "cancelled", "serial": 7}, {"state": "cancelled"}, {"serial": 5}, {4}),
        ({"state": "done", "serial": 7, "options": {"check": True}}, {"state": "skipped"}, {"serial": 5}, {4}),
        ({"state": "done", "serial": 7, "verb": "query"}, {"state": "ok"}, {"serial": 5}, {2, 4}),
        ({"state": "done", "serial": 7}, {"state": "ok"}, {"serial": 9, "observed": "drifted"}, {2, 4}),
        ({"state": "done", "serial": 7}, {"state": "ok"}, {"serial": 9, "observed": "in sync"}, {4}),
        ({"state": "done", "serial": 7, "verb": "remove"}, {"state": "ok"}, {"serial": 7, "removed_at": 1}, set()),
        ({"state": "failed", "serial": 7, "verb": "remove"}, {"state": "unknown"}, {"serial": 5}, {2, 4}),
        ({"state": "paused", "serial": 7}, {"state": "ok"}, {"serial": 7}, {1, 2, 4}),
        ({"state": "planned", "serial": 7}, {"state": "planned"}, {"serial": 5}, {1, 2, 4}),
        ({"state": "failed", "serial": 7, "options": ROLLS_BACK}, {"state": "ok"}, {"serial": 7}, {1, 2, 4}),
        ({"state": "failed", "serial": 7, "options": ROLLS_BACK}, {"state": "ok"}, {"serial": 8}, {4}),
        ({"state": "failed", "serial": 7}, {"state": "unknown"}, None, {2}),
        ({"state": "done", "serial": 7}, {"state": "ok"}, None, {2}),
    ],
    ids=str,
)
def test_what_hosts_hold_or_may_hold_is_needed(
    run: dict[str, Any], attempt: dict[str, Any], row: dict[str, Any] | None, expected: set[int]
) -> None:
    """The attempt is about version 2 where there was version 1; the row says version 4, unless it is removed."""
    one = builders.run(**run)
    tried = builders.attempt(one, MODULE, HOST, 2, from_number=1, **attempt)
    rows: list[Row] = []
    if row is not None:
        gone = {"held": None, "removed_at": builders.LATER} if "removed_at" in row else {}
        rows = [builders.row(MODULE, HOST, 4, **(row | gone))]
    found = pruning.needed(rows, [HOST], [one], [tried])
    assert set(found) - {0} == expected
    assert all("'db-1'" in why for why in found.values())
    assert pruning.needed(rows, [], [one], [tried]) == {}  # an instance that is gone holds nothing


@pytest.mark.parametrize(
    ("keep", "made_before", "expected"),
    [(1, None, [1, 2, 3]), (2, None, [1, 2]), (9, None, []), (None, clock.now(), [1, 2, 3]), (2, clock.now(), [1, 2])],
)
def test_how_many_may_go(keep: int | None, made_before: Any, expected: list[int]) -> None:
    verdicts = pruning.decide(MODULE, {}, keep=keep, made_before=made_before)
    assert [one.version.number for one in verdicts if not one.stays] == expected
    assert pruning.decide(MODULE, {}, keep=keep, made_before=builders.MOMENT)[0].stays != ""
    held = pruning.decide(MODULE, {1: "'db-1' holds it"}, keep=keep, made_before=made_before)
    assert held[0].stays == "'db-1' holds it" or held[0].stays.startswith("it is among")


def test_contents_go_and_what_is_said_of_them_stays(here: Context, module: Module, put: Put) -> None:
    put(HOST, builders.row(module, HOST, 2))
    assert going(here) == [1, 3]
    assert prune(here, *going(here)) == [1, 3]
    after = here.store.snapshot().get(Module, module.id)
    assert after is not None
    assert [bool(one.pruned_at) for one in after.versions] == [True, False, True, False]
    assert [REPLACE(one, pruned_at=None) for one in after.versions] == list(module.versions)
    assert sorted(one.number for one in here.store.stored_contents()) == [2, 4]
    assert here.store.check().is_sound
    assert (here.store.check().contents, going(here), prune(here, 1, 2, 3, 4)) == (2, [], [])
    [noted] = here.store.snapshot().find(Run, verb="module-prune")
    assert (noted.module_id, noted.options) == (module.id, {"pruned": [1, 3]})


def test_only_what_was_agreed_to_goes_and_only_what_still_may(here: Context, module: Module, put: Put) -> None:
    agreed = going(here)
    put(HOST, builders.row(module, HOST, 2))
    assert (agreed, prune(here, *agreed[:2])) == ([1, 2, 3], [1])


def test_a_pruning_that_was_killed_is_finished_by_the_next(here: Context, module: Module) -> None:
    prune(here, 1)
    here.store.write_contents(module.id, 1, builders.contents(1))  # as if it had not come to removing them
    assert here.store.check().is_sound
    assert prune(here, 2) == [2]
    assert sorted(one.number for one in here.store.stored_contents()) == [3, 4]


def test_a_pruned_version_is_refused_wherever_its_contents_are_wanted(here: Context, module: Module, put: Put) -> None:
    put(HOST)
    prune(here, 1, 3)
    said = "The contents of version 1 of module 'mymod' were pruned, 20"
    every = Selection(all=True)
    for work in (
        lambda: module_versions.rollback(here, "mymod", "1"),
        lambda: module_versions.difference(here, "mymod", "1", None),
        lambda: module_versions.difference(here, "mymod", None, "2"),
        lambda: operations.plan_apply(here, every, ["mymod"], version="1"),
        lambda: operations.plan_apply(here, every, ["mymod"], version=builders.MD5[1]),
    ):
        with pytest.raises(errors.Refused) as refusal:
            work()
        assert refusal.value.what.startswith(said)
        assert "dbmod module-versions mymod" in refusal.value.next_step
    assert here.store.snapshot().find(Run, verb="apply") == []
    again = module_versions.rollback(here, "mymod", "2")
    assert (again.current.number, lookup.version(again, builders.MD5[2]).number) == (5, 5)


def test_a_md5_finds_the_version_whose_contents_are_there(here: Context, module: Module) -> None:
    module_versions.rollback(here, "mymod", "3")
    registry.change(here, "mymod", registry.Change(), builders.contents(1))
    prune(here, 5)
    [after] = here.store.snapshot().find(Module)
    assert lookup.version(after, builders.MD5[3]).number == 3


def test_what_a_paused_run_would_put_back_stays(here: Context, module: Module, put: Put) -> None:
    put(HOST, builders.row(module, HOST, 1))
    run = operations.plan_apply(here, Selection(instance="db-1"), ["mymod"], pace=Pace(canary=1)).run
    assert run is not None
    put(REPLACE(run, state="paused"))
    put(builders.row(module, HOST, 4))
    assert going(here) == [2, 3]
    verdicts = pruning.plan(here, "mymod", keep=1, older_than_days=None)
    assert verdicts[0].stays == f"run {run.id} (paused) may need it on 'db-1'"


def test_what_is_to_stay_has_to_be_said_and_an_admins_module_is_an_admins(here: Context, module: Module) -> None:
    with pytest.raises(errors.BadInput, match="What is to stay was not said"):
        pruning.plan(here, "mymod", keep=None, older_than_days=None)
    with pytest.raises(errors.Refused, match="must be admin"):
        pruning.plan(as_actor(here, TENANT), "mymod", keep=1, older_than_days=None)
    assert going(here, keep=None, older_than_days=0) == [1, 2, 3]
    assert going(here, keep=None, older_than_days=1) == []
