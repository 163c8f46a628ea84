"""The changes of a ledger, one by one: in the order of its commits, from any place on, without what is secret."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from dbmod import audit_log, clock, errors, fleet, gate, holds, ledger, operations, processes, pruning, registry
from dbmod.audit_log import Change
from dbmod.context import Context
from dbmod.paces import Pace
from dbmod.records import Attempt, Instance, Run
from dbmod.selection import Selection
from tests import builders
from tests.builders import REPLACE

Put = Callable[..., None]
EVERY = Selection(all=True)


@pytest.fixture
def hosts(put: Put) -> list[Instance]:
    found = [builders.instance(f"db-{number}") for number in range(3)]
    put(*found)
    return found


def told(here: Context, after: str = "") -> list[Change]:
    return audit_log.changes(here.store.snapshot(), after=audit_log.place(after))


def short(found: list[Change]) -> list[tuple[Any, ...]]:
    names = ("event", "verb", "outcome", "module", "instance", "from_version", "to_version")
    return [tuple(getattr(one, name) for name in names) for one in found]


def start(here: Context, planned: operations.Planned) -> Run:
    assert planned.run
    with here.transaction("a test") as tables:
        return ledger.start(tables, planned.run.id, processes.owner())


def batch(here: Context, run: Run, number: int, *, failing: str = "") -> None:
    """Carry out a batch in two commits, as the doors do; the host of one id fails."""
    with here.transaction("a test") as tables:
        assert gate.start_batch(tables, run.id, number) == ""
    with here.transaction("a test") as tables:
        outcomes = []
        for one in tables.find(Attempt, run_id=run.id, batch=number):
            bad = {"status": "ERROR", "message": "Module.V2 in a message"} if one.instance_id == failing else {}
            outcomes.append(builders.well(one, run, **bad))
        ledger.record(tables, run.id, batch=number, outcomes=outcomes)


def close(here: Context, run: Run) -> None:
    with here.transaction("a test") as tables:
        ledger.close(tables, run.id)


def register(here: Context, count: int) -> None:
    registry.create(here, registry.Request(name="mymod", type="ping", live_update=True), builders.contents(1))
    for number in range(2, count + 1):
        registry.change(here, "mymod", registry.Change(), builders.contents(number))


def test_every_change_is_told_with_versions_reason_and_outcome(here: Context, hosts: list[Instance]) -> None:
    register(here, 2)
    asking = REPLACE(here, reason="ticket 7")
    holds.hold(asking, "db-2", until="")
    run = start(here, operations.plan_apply(asking, EVERY, ["mymod"], pace=Pace(batch_size=2, max_errors=1)))
    batch(here, run, 1, failing=hosts[1].id)
    close(here, run)
    pruning.prune(here, "mymod", {1}, keep=1, older_than_days=None)
    found = told(here)
    assert short(found) == [
        ("changed", "module-create", "ok", "mymod", None, None, 1),
        ("changed", "module-update", "ok", "mymod", None, 1, 2),
        ("changed", "hold", "ok", None, "db-2", None, None),
        ("planned", "apply", "planned", None, None, None, None),
        ("attempt", "apply", "ok", "mymod", "db-0", None, 2),
        ("attempt", "apply", "error", "mymod", "db-1", None, 2),
        ("ended", "apply", "failed", None, None, None, None),
        ("changed", "module-prune", "ok", "mymod", None, 1, None),
    ]
    assert [one.reason for one in found] == ["", "", *["ticket 7"] * 5, ""]
    assert {one.actor for one in found} == {"ada"}
    assert (found[3].subject, found[4].time > found[3].time) == ("2 instances", True)
    lines = [audit_log.line(one) for one in found]
    assert all("Module.V" not in line and line.isascii() for line in lines)
    assert json.loads(lines[4])["instance_id"] == hosts[0].id


def test_a_reader_that_goes_on_at_any_place_misses_nothing_and_gets_nothing_twice(
    here: Context, hosts: list[Instance]
) -> None:
    register(here, 2)
    run = start(here, operations.plan_apply(here, EVERY, ["mymod"], pace=Pace(batch_size=1, max_errors=None)))
    read: list[Change] = []

    def catch_up() -> None:
        read.extend(told(here, read[-1].cursor if read else ""))

    catch_up()
    later = operations.plan_question(here, "query", EVERY)  # a run that begins later and ends before
    for number in (1, 2, 3):
        batch(here, run, number)
        catch_up()
        if number == 2:
            close(here, start(here, later))
            catch_up()
    close(here, run)
    catch_up()
    every = told(here)
    assert read == every
    places = [audit_log.place(one.cursor) for one in every]
    assert places == sorted(set(places))
    for number, one in enumerate(every, start=1):
        assert told(here, one.cursor) == every[number:]
    serial = int(every[-1].cursor.partition(".")[0])
    assert told(here, str(serial)) == []


def test_clocks_do_not_matter(here: Context, hosts: list[Instance], put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    register(here, 1)
    before = told(here)
    ahead = clock.now() - timedelta(days=1)
    monkeypatch.setattr(clock, "now", lambda: ahead)  # of another controller, a day behind
    registry.change(here, "mymod", registry.Change(description="other"), None)
    [new] = told(here, before[-1].cursor)
    assert (new.verb, new.time < before[-1].time) == ("module-update", True)


def test_what_only_asks_is_told_as_a_run_and_what_it_reads_or_corrects_one_by_one(
    here: Context, hosts: list[Instance], put: Put
) -> None:
    register(here, 1)
    done = builders.run(verb="reconcile", state="done", serial=50, ended_at=builders.LATER, closed_in=51)
    module = here.store.snapshot().find(builders.Module)[0]
    same, corrected = (builders.attempt(done, module, one, state="ok", closed_in=51) for one in hosts[:2])
    read = builders.run(verb="retrieve", state="done", serial=52, ended_at=builders.LATER, closed_in=53)
    fetched = builders.attempt(read, module, hosts[2], state="ok", closed_in=53)
    with here.transaction("a test") as tables:
        tables.advance(60)
        tables.put(done, read, same, REPLACE(corrected, changed=True), fetched)
    assert short(told(here, "49")) == [
        ("planned", "reconcile", "planned", None, None, None, None),
        ("attempt", "reconcile", "ok", "mymod", "db-1", None, None),
        ("ended", "reconcile", "done", None, None, None, None),
        ("planned", "retrieve", "planned", None, None, None, None),
        ("attempt", "retrieve", "ok", "mymod", "db-2", None, None),
        ("ended", "retrieve", "done", None, None, None, None),
    ]


def test_a_trial_is_marked_and_a_removal_has_no_version_after(here: Context, hosts: list[Instance], put: Put) -> None:
    register(here, 1)
    module = here.store.snapshot().find(builders.Module)[0]
    put(builders.row(module, hosts[0], 1))
    begin = told(here)[-1].cursor
    tried = start(here, operations.plan_apply(here, Selection(instance="db-0"), ["mymod"], check=True))
    with here.transaction("a test") as tables:
        ledger.request_stop(tables, tried.id, by="eve (wrong module)")
    close(here, tried)
    run = start(here, operations.plan_remove(here, Selection(instance="db-0"), "mymod"))
    batch(here, run, 1)
    close(here, run)
    found = told(here, begin)
    assert [(one.verb, one.check, one.event, one.stopped_by) for one in found[:2]] == [
        ("apply", True, "planned", ""),
        ("apply", True, "ended", "eve (wrong module)"),
    ]
    assert short(found[2:]) == [
        ("planned", "remove", "planned", None, None, None, None),
        ("attempt", "remove", "ok", "mymod", "db-0", 1, None),
        ("ended", "remove", "done", None, None, None, None),
    ]


def test_instances_that_come_and_go_and_runs_that_are_lost_are_told(here: Context, hosts: list[Instance]) -> None:
    _, run = fleet.plan_restart(here, "db-1")
    with here.transaction("a test") as tables:
        fleet.record(tables, run, status="ACTIVE", faults={hosts[1].id: "it does not start"}, facts={})
        ledger.close(tables, run.id)
    _, second = fleet.plan_restart(here, "db-2")
    with here.transaction("a test") as tables:
        ledger.lose(tables, second)
    assert short(told(here)) == [
        ("planned", "restart", "planned", None, None, None, None),
        ("attempt", "restart", "error", None, "db-1", None, None),
        ("ended", "restart", "failed", None, None, None, None),
        ("planned", "restart", "planned", None, None, None, None),
        ("attempt", "restart", "cancelled", None, "db-2", None, None),
        ("ended", "restart", "lost", None, None, None, None),
    ]


def test_what_an_older_dbmod_closed_is_told_at_its_runs_place(here: Context, hosts: list[Instance], put: Put) -> None:
    module = builders.module()
    run = builders.run(state="done", serial=1, ended_at=builders.LATER, closed_in=0)
    put(module, run, builders.attempt(run, module, hosts[0], state="ok", ended_at=builders.LATER))
    assert [(one.cursor, one.event) for one in told(here)] == [("1.1", "planned"), ("1.2", "attempt"), ("1.3", "ended")]


@pytest.mark.parametrize("text", ["x", "-1", "1.", "1.2.3", "1,5", "9" * 40, "\uff11"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(errors.BadInput, match="is no cursor"):
        audit_log.place(text)


def test_a_cursor_ahead_of_the_ledger_is_refused(here: Context, hosts: list[Instance]) -> None:
    with pytest.raises(errors.Refused, match="a backup was restored"):
        told(here, "999.1")
