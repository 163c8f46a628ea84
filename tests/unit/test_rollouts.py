"""Runs that pause, go on, stop at their budgets, or are rolled back; instances on hold. In a real ledger."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from dbmod import clock, direct, errors, gate, holds, ledger, operations, processes, rollouts
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.paces import Pace
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.selection import Selection
from tests import builders
from tests.builders import REPLACE

Put = Callable[..., None]
EVERY = Selection(all=True)


class Rollout(msgspec.Struct):
    """Six instances that hold version 1 of a module that has two, and a run over them."""

    here: Context
    module: Module
    instances: list[Instance]

    def plan(self, **pace: Any) -> Run:
        planned = operations.plan_reapply(self.here, "mymod", pace=Pace(**({"batch_size": 2} | pace)))
        assert planned.run
        return self.start(planned.run)

    def start(self, run: Run) -> Run:
        with self.here.store.transaction(holder="a test") as tables:
            return ledger.start(tables, run.id, processes.owner())

    def attempts(self, run: Run) -> list[Attempt]:
        found = self.here.store.snapshot().find(Attempt, run_id=run.id)
        return sorted(found, key=lambda one: (one.batch, one.position))

    def batch(self, run: Run, number: int, *, failing: int = 0, dead: int = 0, silent: int = 0) -> str:
        """Carry out a batch, whose first hosts fail, are dead, or began and were not heard. Returns why it may not."""
        with self.here.store.transaction(holder="a test") as tables:
            if why := gate.start_batch(tables, run.id, number):
                return why
            outcomes = []
            for place, one in enumerate(one for one in self.attempts(run) if one.batch == number):
                host = next(host for host in self.instances if host.id == one.instance_id)
                if place < failing:
                    evidence = {"status": "ERROR", "message": "no"}
                    told = builders.result(builders.evidence(one, run, **evidence))
                    outcomes.append(builders.outcome(host, builders.answer(told)))
                elif place < failing + dead:
                    outcomes.append(builders.outcome(host, builders.SILENCE, "refused"))
                elif place < failing + dead + silent:
                    outcomes.append(builders.outcome(host, REPLACE(builders.SILENCE, started=True)))
                else:
                    removal = {"removed": builders.LATER} if one.number == 0 else {}
                    outcomes.append(builders.well(one, run, **removal))
            ledger.record(tables, run.id, batch=number, outcomes=outcomes)
        return ""

    def close(self, run: Run) -> Run:
        with self.here.store.transaction(holder="a test") as tables:
            return ledger.close(tables, run.id)

    def now(self, run: Run) -> Run:
        found = self.here.store.snapshot().get(Run, run.id)
        assert found
        return found

    def states(self, run: Run) -> str:
        return " ".join(one.state for one in self.attempts(run))

    def held(self) -> list[int | None]:
        rows = {one.instance_id: one for one in self.here.store.snapshot().find(Row, module_id=self.module.id)}
        return [rows[one.id].held for one in self.instances]


@pytest.fixture
def rollout(here: Context, put: Put) -> Rollout:
    module = builders.module(versions=2)
    instances = [builders.instance(f"db-{number}") for number in range(6)]
    moments = [builders.MOMENT + timedelta(seconds=number) for number in range(6)]
    rows = [builders.row(module, one, 1, updated_at=at) for one, at in zip(instances, moments, strict=True)]
    put(module, *instances, *rows)
    return Rollout(here=here, module=module, instances=instances)


def refused(work: Callable[..., Any], *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(errors.DbmodError) as refusal:
        work(*arguments, **keywords)
    return refusal.value.what


def test_a_canary_pauses_the_run_and_resume_lets_it_go_on_itself(rollout: Rollout) -> None:
    run = rollout.plan(canary=1)
    assert run.batch_sizes == (1, 2, 2, 1)
    assert rollout.batch(run, 1) == ""
    assert rollout.batch(run, 2) == "the canary is done"
    paused = rollout.close(run)  # as its runner does at the end of the playbook
    assert (paused.state, paused.owner, rollout.states(run)) == ("paused", None, "ok" + " planned" * 5)
    assert ledger.sweep(rollout.here.store) == []
    planned = rollouts.plan_resume(rollout.here, run.id)
    assert planned.run
    assert planned.run.id == run.id
    rollout.start(planned.run)
    assert [rollout.batch(run, number) for number in (2, 3, 4)] == ["", "", ""]
    assert (rollout.close(run).state, rollout.held()) == ("done", [2] * 6)


def test_a_paused_run_keeps_others_off_and_ends_when_it_is_cancelled(rollout: Rollout) -> None:
    run = rollout.plan(canary=1)
    rollout.batch(run, 1)
    rollout.batch(run, 2)
    with pytest.raises(errors.Refused, match="is being worked on by run") as refusal:
        operations.plan_apply(rollout.here, EVERY, ["mymod"])
    assert refusal.value.next_step == f"dbmod run-resume {run.id}, or dbmod run-cancel {run.id}"
    with rollout.here.store.transaction(holder="a test") as tables:
        assert ledger.request_stop(tables, run.id, by="eve").state == "cancelled"
    assert rollout.states(run) == "ok" + " cancelled" * 5


def test_a_pause_that_was_asked_for_comes_after_the_batch_in_flight(rollout: Rollout) -> None:
    run = rollout.plan()
    rollout.batch(run, 1)
    with rollout.here.store.transaction(holder="a test") as tables:
        gate.request_pause(tables, run.id, by="eve (graphs)")
    assert rollout.batch(run, 2) == "paused by eve (graphs)"
    assert rollout.now(run).state == "paused"
    with rollout.here.store.transaction(holder="a test") as tables:
        assert gate.request_pause(tables, run.id, by="eve").state == "paused"


def test_no_batch_starts_after_the_hour_and_resume_waits_for_the_next_one(rollout: Rollout, put: Put) -> None:
    run = rollout.plan(not_after="06:00")
    assert run.not_after is not None
    assert clock.now() < run.not_after <= clock.now() + timedelta(days=1)
    put(REPLACE(run, not_after=clock.now() - timedelta(hours=1)))
    assert rollout.batch(run, 1).startswith("no batch starts after ")
    planned = rollouts.plan_resume(rollout.here, run.id).run
    assert planned is not None
    resumed = rollout.start(planned)
    assert resumed.not_after is not None
    assert timedelta(hours=22) < resumed.not_after - clock.now() < timedelta(hours=24)


def test_dead_hosts_count_against_their_own_budget(rollout: Rollout) -> None:
    run = rollout.plan(max_unreachable=1)
    assert rollout.batch(run, 1, dead=1) == ""
    assert rollout.batch(run, 2, dead=1) == ""
    assert rollout.batch(run, 3) == "unreachable hosts: 2, and --max_unreachable allows 1"
    assert rollout.now(run).state == "failed"


def test_resume_goes_on_with_all_that_is_not_done_and_names_the_runs_before(rollout: Rollout) -> None:
    run = rollout.plan(delay_seconds=3, max_unreachable="50%")
    rollout.batch(run, 1, failing=1)
    assert rollout.batch(run, 2).startswith("failed hosts: 1")
    assert rollout.states(run) == "error ok" + " cancelled" * 4
    later = rollouts.plan_resume(rollout.here, run.id[:8]).run
    assert later is not None
    names = {one.id: one.name for one in rollout.instances}
    assert [names[one.instance_id] for one in rollout.attempts(later)] == ["db-0", "db-2", "db-3", "db-4", "db-5"]
    tables = rollout.here.store.snapshot()
    assert (later.follows, rollouts.gone_on_with(tables, later), later.verb) == (run.id, (run.id,), "reapply")
    assert (later.batch_sizes, later.delay_seconds, later.max_errors, later.max_unreachable) == ((2, 2, 1), 3, 0, 3)
    assert f"goes on in run {later.id}" in refused(rollouts.plan_resume, rollout.here, run.id)
    rollout.start(later)
    rollout.batch(later, 1, silent=1)
    rollout.close(later)
    third = rollouts.plan_resume(rollout.here, later.id).run
    assert third is not None
    assert rollouts.gone_on_with(rollout.here.store.snapshot(), third) == (later.id, run.id)


def test_what_follows_a_canary_that_failed_begins_with_a_canary(rollout: Rollout) -> None:
    run = rollout.plan(canary=1, batch_size="2,50%")
    rollout.batch(run, 1, failing=1)
    assert rollout.batch(run, 2).startswith("failed hosts: 1")
    later = rollouts.plan_resume(rollout.here, run.id).run
    assert later is not None
    assert (later.batch_sizes, later.pause_after) == ((1, 2, 3), 1)
    rollout.start(later)
    rollout.batch(later, 1)
    assert rollout.batch(later, 2) == "the canary is done"
    with rollout.here.store.transaction(holder="a test") as tables:
        ledger.request_stop(tables, later.id, by="eve")
    third = rollouts.plan_resume(rollout.here, later.id).run
    assert third is not None
    assert (third.batch_sizes, third.pause_after) == ((2, 3), 0)


def test_what_follows_a_run_that_failed_goes_on_with_the_batch_that_it_failed_in(rollout: Rollout) -> None:
    run = rollout.plan(ramp=True, batch_size=3)
    assert run.batch_sizes == (1, 2, 3)
    rollout.batch(run, 1)
    rollout.batch(run, 2, failing=1)
    assert rollout.batch(run, 3).startswith("failed hosts: 1")
    later = rollouts.plan_resume(rollout.here, run.id).run
    assert later is not None
    assert later.batch_sizes == (2, 2)


def test_resume_is_refused_where_the_module_has_moved_on(rollout: Rollout, put: Put) -> None:
    run = rollout.plan(canary=1)
    rollout.batch(run, 1)
    rollout.batch(run, 2)
    put(REPLACE(rollout.module, versions=(*rollout.module.versions, builders.version(3))))
    with pytest.raises(errors.Refused) as refusal:
        rollouts.plan_resume(rollout.here, run.id)
    assert refusal.value.what == (
        f"Module 'mymod' has moved on: the run {run.id} carries version 2, and the current one is 3."
    )
    assert refusal.value.next_step == f"dbmod run-cancel {run.id}, then dbmod module-reapply mymod"
    with rollout.here.store.transaction(holder="a test") as tables:
        ledger.request_stop(tables, run.id, by="eve")
    with pytest.raises(errors.Refused) as refusal:
        rollouts.plan_resume(rollout.here, run.id)
    assert refusal.value.next_step == "dbmod module-reapply mymod"


def test_resume_of_an_earlier_version_that_was_asked_for_goes_on(rollout: Rollout) -> None:
    planned = operations.plan_apply(rollout.here, EVERY, ["mymod"], pace=Pace(batch_size=4, canary=1), version="1")
    assert planned.run
    run = rollout.start(planned.run)
    rollout.batch(run, 1)
    rollout.batch(run, 2)
    resumed = rollouts.plan_resume(rollout.here, run.id)
    assert resumed.run is not None


def test_resume_of_what_cannot_go_on_is_refused(rollout: Rollout) -> None:
    asked = operations.plan_question(rollout.here, "query", EVERY).run
    assert asked
    assert "is none that could go on" in refused(rollouts.plan_resume, rollout.here, asked.id)
    run = rollout.plan()
    assert "is running already" in refused(rollouts.plan_resume, rollout.here, run.id)


def test_a_run_that_did_all_has_nothing_to_resume(rollout: Rollout) -> None:
    run = rollout.plan(batch_size=6)
    rollout.batch(run, 1)
    rollout.close(run)
    assert rollouts.plan_resume(rollout.here, run.id) == Planned(run=None)


def test_rollback_puts_back_what_each_changed_host_had(rollout: Rollout, put: Put) -> None:
    never = builders.instance("db-9")
    put(never)
    rollout.instances.append(never)
    planned = operations.plan_apply(
        rollout.here, EVERY, ["mymod"], pace=Pace(batch_size=7, max_errors=0, on_failure="rollback")
    )
    assert planned.run
    run = rollout.start(planned.run)
    rollout.batch(run, 1, failing=1, dead=1, silent=1)
    closed = rollout.close(run)
    assert rollouts.rolls_back(closed)
    assert gate.is_spent(closed, rollout.attempts(run))
    back = rollouts.plan_rollback(rollout.here, run.id).run
    assert back is not None
    names = {one.id: one.name for one in rollout.instances}
    told = [(names[one.instance_id], one.from_number, one.number) for one in rollout.attempts(back)]
    assert told == [
        ("db-0", 2, 1), ("db-2", 2, 1), ("db-3", 2, 1), ("db-4", 2, 1), ("db-5", 2, 1), ("db-9", 2, 0),
    ]  # fmt: skip
    assert rollouts.gone_on_with(rollout.here.store.snapshot(), back) == ()
    assert (back.verb, back.follows, back.max_errors, back.playbook) == ("rollback", run.id, None, "module_apply")
    rollout.start(back)
    rollout.batch(back, 1)
    assert (rollout.close(back).state, rollout.held()) == ("done", [1, 1, 1, 1, 1, 1, None])
    assert "has been rolled back in run" in refused(rollouts.plan_resume, rollout.here, run.id)


def test_a_way_back_waits_only_where_servers_restart_and_no_hour_stops_it(rollout: Rollout, put: Put) -> None:
    for kind, seconds in (("ping", 0), ("config", 7)):
        module = builders.module(versions=2, name=f"my{kind}", type=kind)
        put(module, *(builders.row(module, one, 1) for one in rollout.instances))
        pace = Pace(batch_size=2, delay_seconds=7, canary=0, not_after="06:00", on_failure="rollback")
        planned = operations.plan_reapply(rollout.here, module.name, pace=pace).run
        assert planned
        run = rollout.start(planned)
        assert (run.delay_seconds, run.not_after is None) == (7, False)
        assert rollout.batch(run, 1, failing=1) == ""
        rollout.close(run)
        back = rollouts.plan_rollback(rollout.here, run.id).run
        assert back
        assert (back.delay_seconds, back.not_after) == (seconds, None)
        rollout.start(back)
        rollout.close(back)


def test_a_look_waits_for_no_delay_no_hour_and_does_not_pause(rollout: Rollout) -> None:
    pace = Pace(batch_size=2, delay_seconds=7, not_after="06:00")
    planned = operations.plan_reapply(rollout.here, "mymod", pace=pace, check=True).run
    assert planned
    run = rollout.start(planned)
    assert (run.batch_sizes, run.delay_seconds, run.not_after) == ((2, 2, 2), 0, None)
    with rollout.here.store.transaction(holder="a test") as tables:
        assert "(reapply --check) is none that could go on" in refused(gate.request_pause, tables, run.id, by="eve")


def test_what_is_on_hold_meanwhile_is_not_put_back_either(rollout: Rollout) -> None:
    run = rollout.plan(batch_size=3, on_failure="rollback")
    rollout.batch(run, 1, failing=1)
    rollout.close(run)
    holds.hold(REPLACE(rollout.here, reason="backup"), "db-1", until="")
    back = rollouts.plan_rollback(rollout.here, run.id).run
    assert back
    assert back.options["skipped"] == {"on hold, by ada: backup": ["db-1"]}
    assert len(rollout.attempts(back)) == 2


def test_what_goes_on_with_several_modules_names_a_skipped_instance_once(rollout: Rollout, put: Put) -> None:
    put(builders.module(name="second"))
    run = operations.plan_apply(rollout.here, EVERY, ["mymod", "second"], pace=Pace(batch_size=2)).run
    assert run
    rollout.start(run)
    rollout.close(run)
    holds.hold(REPLACE(rollout.here, reason="backup"), "db-1", until="")
    planned = rollouts.plan_resume(rollout.here, run.id)
    assert [one.instance for one in planned.skipped] == ["db-1"]


def test_trouble_after_the_module_came_fails_the_attempt_and_the_row_says_what_is_held(rollout: Rollout) -> None:
    run = rollout.plan(batch_size=6)
    first = rollout.attempts(run)[0]
    with rollout.here.store.transaction(holder="a test") as tables:
        gate.start_batch(tables, run.id, 1)
        sick = REPLACE(builders.well(first, run), trouble="See whether its server is well after: no")
        [done, *_] = ledger.record(tables, run.id, batch=1, outcomes=[sick])
    assert (done.state, done.status, done.message) == ("error", "ERROR", "See whether its server is well after: no")
    row = rollout.here.store.snapshot().get(Row, first.instance_id, within=first.module_id)
    assert row is not None
    assert (row.held, row.status) == (2, "OK")


def test_an_instance_on_hold_is_skipped_by_what_changes_hosts_and_asked_by_the_rest(rollout: Rollout) -> None:
    here = REPLACE(rollout.here, reason="backup")
    assert refused(holds.hold, rollout.here, "db-1", until="") == "A hold needs a reason."
    holds.hold(here, "db-1", until="2h")
    holds.hold(here, "db-2", until="")
    planned = operations.plan_reapply(rollout.here, "mymod")
    assert planned.run
    assert len(rollout.attempts(planned.run)) == 4
    [first, second] = sorted(planned.skipped, key=lambda one: one.instance)
    assert first.why.startswith("on hold until 20")
    assert (second.why, planned.exit_code) == ("on hold, by ada: backup", 0)
    asked = operations.plan_question(rollout.here, "query", EVERY).run
    assert asked
    assert len(rollout.attempts(asked)) == 6
    holds.release(rollout.here, "db-2")
    one = Selection(instance="db-1")
    assert "is on hold until" in refused(operations.plan_remove, rollout.here, one, "mymod")


def test_what_is_put_on_hold_while_a_run_is_paused_is_left_alone_when_it_goes_on(rollout: Rollout) -> None:
    run = rollout.plan(canary=1, batch_size=5)
    rollout.batch(run, 1)
    rollout.batch(run, 2)
    holds.hold(REPLACE(rollout.here, reason="backup"), "db-3", until="")
    planned = rollouts.plan_resume(rollout.here, run.id)
    assert [(one.instance, one.why) for one in planned.skipped] == [("db-3", "on hold, by ada: backup")]
    assert planned.exit_code == 0
    rollout.start(run)
    assert rollout.batch(run, 2) == ""
    assert (rollout.close(run).state, rollout.held()) == ("done", [2, 2, 2, 1, 2, 2])


def test_a_paused_run_of_which_all_that_is_left_is_on_hold_ends_when_it_is_to_go_on(rollout: Rollout) -> None:
    run = rollout.plan(canary=5)
    rollout.batch(run, 1)
    rollout.batch(run, 2)
    holds.hold(REPLACE(rollout.here, reason="backup"), "db-5", until="")
    answer = direct.take_over(rollout.here, run.id, check=False)
    assert answer["told"] == ["skipped db-5: on hold, by ada: backup"]
    assert answer["plan"]["hosts"] == []
    assert (rollout.now(run).state, rollout.now(run).message) == ("done", "all that was left is on hold")


@pytest.mark.parametrize(
    ("text", "hours"),
    [("90m", 1.5), ("12h", 12), ("3d", 72), ("2026-11-27", 12), ("2026-11-26T13:00", 1), ("2026-11-26T13:00Z", 1)],
)
def test_until_is_a_span_or_a_date(text: str, hours: float) -> None:
    now = clock.now().replace(year=2026, month=11, day=26, hour=12, minute=0, second=0, microsecond=0)
    assert holds.moment(text, now=now) - now == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "soon", "0h", "2025-01-01", "99999d99", "12w", "999999999999d"])
def test_until_that_cannot_be_or_is_past_is_refused(text: str) -> None:
    assert refused(holds.moment, text, now=clock.now()).startswith("--until")
