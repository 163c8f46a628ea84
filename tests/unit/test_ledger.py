"""Runs, attempts and live rows in a real ledger: plan, gate, record, close, lose."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from dbmod import clock, conflicts, errors, gate, ledger, planning, processes
from dbmod.evidence import Outcome
from dbmod.records import Attempt, Cluster, Instance, Module, Row, Run
from dbmod.store.interface import Store
from tests import builders
from tests.builders import LATER, REPLACE

Put = Callable[..., None]
MODULE = builders.module(versions=2)
OTHER = builders.module(name="other")
HOSTS = [builders.instance(f"db-{number}") for number in range(1, 5)]


@pytest.fixture
def fleet_of_four(empty_ledger: Store, put: Put) -> Store:
    put(MODULE, OTHER, *HOSTS)
    return empty_ledger


def plan(
    store: Store,
    hosts: Sequence[Instance] = HOSTS,
    *,
    modules: Sequence[Module] = (MODULE,),
    size: int = 2,
    **more: Any,
) -> Run:
    work = [
        planning.Work(instance=host, module=module, number=module.current.number)
        for host in hosts
        for module in modules
    ]
    told = {"verb": "apply", "playbook": "module_apply", "actor": "ada"} | more
    with store.transaction(holder="a test") as tables:
        return ledger.plan(tables, work=work, spread=planning.batches(hosts, sizes=(size,)), **told)


def claim(store: Store, verb: str, hosts: Sequence[Instance], **more: Any) -> Run:
    told = {"verb": verb, "playbook": f"instance_{verb}", "work": [], "spread": [], "actor": "ada"} | more
    with store.transaction(holder="a test") as tables:
        run = ledger.plan(tables, **told)
        ledger.plan_instances(tables, run, hosts)
    return run


def do(store: Store, work: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    with store.transaction(holder="a test") as tables:
        return work(tables, *arguments, **keywords)


def start(store: Store, run: Run) -> None:
    do(store, ledger.start, run.id, processes.owner())


def of(store: Store, run: Run) -> Run:
    found = store.snapshot().get(Run, run.id)
    assert found
    return found


def attempts(store: Store, run: Run) -> list[Attempt]:
    return sorted(store.snapshot().find(Attempt, run_id=run.id), key=lambda one: (one.batch, one.position, one.order))


def states(store: Store, run: Run) -> list[str]:
    return [one.state for one in attempts(store, run)]


def well(store: Store, run: Run, **changes: Any) -> list[Outcome]:
    """Give the outcomes of all hosts of a run, as if each did well."""
    return [builders.well(one, run, **changes) for one in attempts(store, run)]


def batch(store: Store, run: Run, number: int, outcomes: Sequence[Outcome]) -> list[Attempt]:
    assert do(store, gate.start_batch, run.id, number) == ""
    closed: list[Attempt] = do(store, ledger.record, run.id, batch=number, outcomes=outcomes)
    return closed


def refused(store: Store, work: Callable[..., Any], *arguments: Any, **keywords: Any) -> errors.Refused:
    with pytest.raises(errors.Refused) as refusal:
        do(store, work, *arguments, **keywords)
    assert refusal.value.exit_code == 2
    return refusal.value


# Planning


def test_a_run_is_written_with_its_attempts_and_the_next_serial(fleet_of_four: Store) -> None:
    before = fleet_of_four.snapshot().serial
    run = plan(fleet_of_four, modules=(MODULE, OTHER), reason="ticket 7", options={"check": False}, max_errors=1)
    assert of(fleet_of_four, run) == run
    assert (run.serial, run.state, run.batch_sizes, run.batch) == (before + 1, "planned", (2, 2), 0)
    assert (run.actor, run.reason, run.max_errors, run.owner) == ("ada", "ticket 7", 1, processes.owner())
    assert [(one.batch, one.position, one.order) for one in attempts(fleet_of_four, run)] == [
        (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 2, 0), (2, 2, 1), (2, 3, 0), (2, 3, 1),
    ]  # fmt: skip
    assert plan(fleet_of_four, verb="query").serial == run.serial + 1


def test_two_runs_may_not_touch_the_same_instance_and_module_at_once(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four, HOSTS[:2])
    refusal = refused(fleet_of_four, lambda tables: plan_in(tables, HOSTS[1:3]))
    assert refusal.what == f"Instance 'db-2' is being worked on by run {run.id}."
    assert refusal.details["run"].startswith("apply by ada since ")
    assert run.id in refusal.next_step
    plan(fleet_of_four, HOSTS[2:])
    plan(fleet_of_four, HOSTS[:2], modules=(OTHER,))


def plan_in(tables: Any, hosts: Sequence[Instance], module: Module | None = MODULE, verb: str = "apply") -> Run:
    work = [planning.Work(instance=host, module=module) for host in hosts]
    return ledger.plan(tables, verb=verb, playbook="x", work=work, spread=[hosts], actor="ada")


def test_a_claim_on_an_instance_excludes_every_other_change_of_it_both_ways(fleet_of_four: Store) -> None:
    deleting = claim(fleet_of_four, "delete", HOSTS[:1])
    assert deleting.id in refused(fleet_of_four, plan_in, HOSTS[:1]).what
    applying = plan(fleet_of_four, HOSTS[1:2])
    with pytest.raises(errors.Refused, match=applying.id):
        claim(fleet_of_four, "restart", HOSTS[1:2])
    assert all(run.verb in ("delete", "apply") for run in fleet_of_four.snapshot().find(Run))


def test_questions_disturb_nobody(fleet_of_four: Store) -> None:
    do(fleet_of_four, plan_in, HOSTS, None, "query")
    plan(fleet_of_four)
    do(fleet_of_four, plan_in, HOSTS, None, "reconcile")


def test_what_is_done_or_ended_or_dead_is_in_nobodys_way(fleet_of_four: Store, put: Put) -> None:
    run = plan(fleet_of_four)
    start(fleet_of_four, run)
    batch(fleet_of_four, run, 1, well(fleet_of_four, run))
    plan(fleet_of_four, HOSTS[:2])
    do(fleet_of_four, ledger.close, run.id)
    third = plan(fleet_of_four, HOSTS[2:])
    put(REPLACE(third, owner=builders.dead_owner()))
    plan(fleet_of_four, HOSTS[2:])


# The gate


def test_a_batch_is_marked_as_started_before_it_starts(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four)
    start(fleet_of_four, run)
    assert of(fleet_of_four, run).state == "running"
    assert do(fleet_of_four, gate.start_batch, run.id, 1) == ""
    assert [one.started_at is not None for one in attempts(fleet_of_four, run)] == [True, True, False, False]
    assert of(fleet_of_four, run).batch == 1
    assert of(fleet_of_four, run).renewed_at > run.renewed_at


def test_when_failures_exceed_the_budget_no_new_batch_starts(fleet_of_four: Store) -> None:
    for budget, goes_on in ((0, False), (1, True), (None, True)):
        run = plan(fleet_of_four, size=1, max_errors=budget, modules=(OTHER,))
        start(fleet_of_four, run)
        batch(fleet_of_four, run, 1, well(fleet_of_four, run, status="ERROR", message="no"))
        why = do(fleet_of_four, gate.start_batch, run.id, 2)
        assert why == ("" if goes_on else "failed hosts: 1, and --max_errors allows 0")
        if not goes_on:
            assert states(fleet_of_four, run) == ["error", "cancelled", "cancelled", "cancelled"]
            assert (of(fleet_of_four, run).state, of(fleet_of_four, run).message) == ("failed", why)
        do(fleet_of_four, ledger.close, run.id)


def test_the_budget_counts_hosts_not_modules(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four, size=1, modules=(MODULE, OTHER), max_errors=1)
    start(fleet_of_four, run)
    answers = [builders.result(builders.evidence(one, run, status="ERROR")) for one in attempts(fleet_of_four, run)[:2]]
    closed = batch(fleet_of_four, run, 1, [builders.outcome(HOSTS[0], builders.answer(*answers))])
    assert [one.state for one in closed] == ["error", "error"]
    assert do(fleet_of_four, gate.start_batch, run.id, 2) == ""


def test_an_unknown_host_spends_the_budget_and_a_dead_host_never_stops_the_others(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four, size=1, max_errors=0)
    start(fleet_of_four, run)
    batch(fleet_of_four, run, 1, [])
    begun = builders.outcome(HOSTS[1], builders.answer(finished=False))
    batch(fleet_of_four, run, 2, [begun])
    assert states(fleet_of_four, run) == ["unreachable", "unknown", "planned", "planned"]
    assert do(fleet_of_four, gate.start_batch, run.id, 3) == "failed hosts: 1, and --max_errors allows 0"


def test_a_stop_request_ends_the_run_before_the_next_batch(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four)
    start(fleet_of_four, run)
    do(fleet_of_four, gate.start_batch, run.id, 1)
    do(fleet_of_four, ledger.request_stop, run.id, by="grace")
    do(fleet_of_four, ledger.record, run.id, batch=1, outcomes=well(fleet_of_four, run))
    assert do(fleet_of_four, gate.start_batch, run.id, 2) == "stopped by grace"
    assert states(fleet_of_four, run) == ["ok", "ok", "cancelled", "cancelled"]
    assert (of(fleet_of_four, run).state, of(fleet_of_four, run).message) == ("cancelled", "stopped by grace")
    assert do(fleet_of_four, gate.start_batch, run.id, 2) == "the run has ended: cancelled"
    assert do(fleet_of_four, gate.start_batch, "none", 1) == "the run has ended: it is not in the ledger"


# Recording


def test_every_attempt_of_the_batch_is_closed_answered_or_not_and_rows_follow_evidence(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four, size=4)
    start(fleet_of_four, run)
    first, second, third, _ = attempts(fleet_of_four, run)
    outcomes = [
        builders.well(first, run),
        builders.well(second, run, status="ERROR", message="no"),
        builders.outcome(HOSTS[2], builders.answer(finished=False)),
        builders.outcome(builders.instance("nobody asked"), builders.SILENCE),
    ]
    closed = batch(fleet_of_four, run, 1, outcomes)
    assert [one.state for one in closed] == states(fleet_of_four, run) == ["ok", "error", "unknown", "unreachable"]
    assert closed[2].key == third.key
    rows = {row.instance_id: row for row in fleet_of_four.snapshot().find(Row)}
    assert {one: (row.held, row.last_attempt) for one, row in rows.items()} == {
        HOSTS[0].id: (2, "ok"),
        HOSTS[1].id: (None, "error"),
    }
    assert do(fleet_of_four, ledger.record, run.id, batch=1, outcomes=outcomes) == []


def test_one_failing_module_does_not_keep_the_others_from_being_recorded(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four, HOSTS[:1], modules=(MODULE, OTHER))
    start(fleet_of_four, run)
    one, two = attempts(fleet_of_four, run)
    told = builders.answer(
        builders.result(builders.evidence(one, run, status="ERROR")), builders.result(builders.evidence(two, run))
    )
    assert [a.state for a in batch(fleet_of_four, run, 1, [builders.outcome(HOSTS[0], told)])] == ["error", "ok"]
    rows = {row.module_id: row.held for row in fleet_of_four.snapshot().find(Row)}
    assert rows == {MODULE.id: None, OTHER.id: 1}


def test_a_late_writer_is_refused_and_a_stale_plan_not_carried_out(
    fleet_of_four: Store, figure: Callable[[str, str], None]
) -> None:
    changed = 0
    for state in ("done", "failed", "cancelled", "lost"):
        run = plan(fleet_of_four)
        outcomes = well(fleet_of_four, run)
        do(fleet_of_four, lambda tables, run=run, state=state: tables.put(REPLACE(run, state=state)))
        before = fleet_of_four.snapshot().serial
        for work, arguments in (
            (ledger.start, {"owner": processes.owner()}),
            (ledger.record, {"batch": 1, "outcomes": outcomes}),
            (ledger.request_stop, {"by": "x"}),
        ):
            assert refused(fleet_of_four, work, run.id, **arguments).what == f"The run {run.id} has ended: {state}."
        changed += fleet_of_four.snapshot().serial - before
        do(fleet_of_four, lambda tables, run=run: tables.delete(*tables.find(Attempt, run_id=run.id)))
    figure("R8", f"12 of 12 late writes of ended runs refused, {changed} changes in the ledger")
    assert changed == 0
    assert fleet_of_four.snapshot().find(Row) == []


def test_applying_twice_changes_nothing_but_the_time(fleet_of_four: Store) -> None:
    rows = []
    for hour in (1, 2):
        run = plan(fleet_of_four, HOSTS[:1])
        start(fleet_of_four, run)
        updated = LATER + timedelta(hours=hour)
        batch(fleet_of_four, run, 1, well(fleet_of_four, run, updated=updated))
        do(fleet_of_four, ledger.close, run.id)
        rows += fleet_of_four.snapshot().find(Row, module_id=MODULE.id)
    same = {"serial": rows[0].serial, "run_id": rows[0].run_id, "updated_at": rows[0].updated_at}
    assert rows[1] != rows[0]
    assert REPLACE(rows[1], **same) == rows[0]


def test_an_unknown_run_is_not_found(fleet_of_four: Store) -> None:
    with pytest.raises(errors.NotFound, match="No run with an ID of 'x' exists"):
        ledger.open_run(fleet_of_four.snapshot(), "x")
    with pytest.raises(errors.NotFound):
        do(fleet_of_four, ledger.close, "x")


# Questions


def ask(store: Store, verb: str, outcome: Outcome | None) -> list[Attempt]:
    run = do(store, plan_in, HOSTS[:1], None, verb)
    start(store, run)
    closed = batch(store, run, 1, [outcome] if outcome else [])
    do(store, ledger.close, run.id)
    return closed


def seen(number: int = 1, note: str = "", module: Module = MODULE, **changes: Any) -> Outcome:
    """Give what a host that was last written by a run of serial 5 says of its only module."""
    run = builders.run(serial=5)
    told = builders.evidence(builders.attempt(run, module, HOSTS[0], number), run, **changes)
    return builders.outcome(HOSTS[0], builders.answer(builders.result(told, note=note)))


def held_row(store: Store) -> Row:
    found = store.snapshot().get(Row, HOSTS[0].id, within=MODULE.id)
    assert found
    return found


def test_a_query_adds_an_answer_for_each_module_and_writes_what_it_saw(fleet_of_four: Store, put: Put) -> None:
    row = builders.row(MODULE, HOSTS[0], 1, serial=5)
    put(row)
    asked, answered = ask(fleet_of_four, "query", seen())
    assert (asked.module_id, asked.state) == ("", "ok")
    assert (answered.module_id, answered.state, answered.status, answered.message) == (
        MODULE.id,
        "ok",
        "OK",
        "Module.V1",
    )
    assert held_row(fleet_of_four).observed == "in sync"
    assert (held_row(fleet_of_four).held, held_row(fleet_of_four).updated_at) == (1, row.updated_at)
    ask(fleet_of_four, "query", seen(note="drifted"))
    assert held_row(fleet_of_four).observed == "drifted"
    _, missing = ask(fleet_of_four, "query", builders.outcome(HOSTS[0], builders.answer()))
    assert (missing.message, held_row(fleet_of_four).observed) == (
        "missing: the host has nothing of it",
        "missing",
    )


def test_a_query_that_finds_more_than_the_ledger_knows_corrects_nothing(fleet_of_four: Store) -> None:
    _, answered = ask(fleet_of_four, "query", seen(2))
    assert (answered.number, answered.sha256) == (2, builders.sha256(2))
    assert fleet_of_four.snapshot().find(Row) == []


def test_a_retrieve_moves_no_row(fleet_of_four: Store, put: Put) -> None:
    row = builders.row(MODULE, HOSTS[0], 1, serial=5)
    put(row)
    ask(fleet_of_four, "retrieve", seen(note="drifted"))
    assert held_row(fleet_of_four) == row


def test_a_reconcile_repairs_the_ledger_from_the_host(fleet_of_four: Store) -> None:
    _, answered = ask(fleet_of_four, "reconcile", seen(2))
    assert (answered.changed, answered.message) == (True, "recorded: the host holds version 2")
    assert held_row(fleet_of_four).held == 2
    _, again = ask(fleet_of_four, "reconcile", seen(2))
    assert not again.changed


def test_a_host_is_believed_about_itself_alone(fleet_of_four: Store, put: Put) -> None:
    of_another = builders.row(MODULE, HOSTS[1], 1, serial=5)
    put(of_another)
    for verb in ("reconcile", "query"):
        _, answered = ask(fleet_of_four, verb, seen(2, serial=500, instance=HOSTS[1].id))
        assert (answered.changed, answered.evidence, answered.message) == (
            False,
            None,
            "result.json names another instance",
        )
    assert fleet_of_four.snapshot().find(Row) == [of_another]
    assert fleet_of_four.snapshot().serial < 500


def test_a_host_that_did_not_finish_its_answer_is_unknown_and_one_that_is_silent_unreachable(
    fleet_of_four: Store, put: Put
) -> None:
    put(builders.row(MODULE, HOSTS[0], 1, serial=5))
    cut_off = REPLACE(seen(), answer=REPLACE(seen().answer, finished=False))
    assert [one.state for one in ask(fleet_of_four, "query", cut_off)] == ["unknown"]
    assert [one.state for one in ask(fleet_of_four, "query", None)] == ["unreachable"]
    assert held_row(fleet_of_four).observed is None


# Closing


def test_a_run_with_nothing_left_and_nothing_bad_is_done(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four, size=4)
    start(fleet_of_four, run)
    batch(fleet_of_four, run, 1, well(fleet_of_four, run))
    closed = do(fleet_of_four, ledger.close, run.id)
    assert (closed.state, closed.message) == ("done", "")
    assert closed.ended_at is not None
    assert do(fleet_of_four, ledger.close, run.id, message="again") == closed


def test_what_had_started_is_unknown_and_the_rest_was_cancelled(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four)
    start(fleet_of_four, run)
    do(fleet_of_four, gate.start_batch, run.id, 1)
    closed = do(fleet_of_four, ledger.close, run.id, message="ansible-playbook ended with 250")
    assert (closed.state, closed.message) == ("failed", "ansible-playbook ended with 250")
    assert states(fleet_of_four, run) == ["unknown", "unknown", "cancelled", "cancelled"]


def test_a_run_that_was_stopped_after_its_last_batch_is_done(fleet_of_four: Store) -> None:
    run = plan(fleet_of_four, size=4)
    start(fleet_of_four, run)
    do(fleet_of_four, ledger.request_stop, run.id, by="ada")
    do(fleet_of_four, ledger.record, run.id, batch=1, outcomes=well(fleet_of_four, run))
    assert do(fleet_of_four, ledger.close, run.id).state == "done"


@pytest.mark.parametrize("end", ["close", "sweep"])
def test_a_build_that_ends_early_is_in_error_and_its_cluster_free_again(
    empty_ledger: Store, put: Put, end: str
) -> None:
    cluster = builders.cluster(task_name="BUILDING", task_description="Building the initial cluster.")
    building = builders.instance(status="BUILD", cluster_id=cluster.id)
    put(cluster, building)
    run = claim(empty_ledger, "create", [building], cluster_id=cluster.id)
    put(REPLACE(run, state="running", owner=builders.dead_owner()))
    if end == "close":
        do(empty_ledger, ledger.close, run.id)
    else:
        assert [one.id for one in ledger.sweep(empty_ledger)] == [run.id]
    found = empty_ledger.snapshot().get(Instance, building.id)
    assert found
    assert (found.status, found.fault) == ("ERROR", f"the run {run.id} that built it ended before it did")
    assert states(empty_ledger, run) == ["unknown"]
    free = empty_ledger.snapshot().get(Cluster, cluster.id)
    assert free
    assert (free.task_name, free.task_description) == ("NONE", "No tasks for the cluster.")


def test_a_run_that_claims_nothing_any_more_does_not_free_the_cluster_of_another(
    fleet_of_four: Store, put: Put
) -> None:
    cluster = builders.cluster(task_name="GROWING_CLUSTER")
    put(cluster)
    run = plan(fleet_of_four, cluster_id=cluster.id, verb="create")
    do(fleet_of_four, ledger.close, run.id)
    assert fleet_of_four.snapshot().get(Cluster, cluster.id) == cluster


def test_an_instance_that_was_only_restarted_keeps_its_status(fleet_of_four: Store) -> None:
    run = claim(fleet_of_four, "restart", HOSTS[:1])
    start(fleet_of_four, run)
    do(fleet_of_four, ledger.close, run.id)
    assert fleet_of_four.snapshot().get(Instance, HOSTS[0].id) == HOSTS[0]


# Lost runs


def test_a_run_whose_process_is_gone_is_lost_and_its_started_attempts_unknown(fleet_of_four: Store, put: Put) -> None:
    run = plan(fleet_of_four)
    start(fleet_of_four, run)
    do(fleet_of_four, gate.start_batch, run.id, 1)
    fleet_of_four.write_contents(run.id, 0, b"secret")
    assert ledger.sweep(fleet_of_four) == []
    put(REPLACE(of(fleet_of_four, run), owner=builders.dead_owner()))
    assert [one.id for one in ledger.sweep(fleet_of_four)] == [run.id]
    assert of(fleet_of_four, run).state == "lost"
    assert states(fleet_of_four, run) == ["unknown", "unknown", "cancelled", "cancelled"]
    with pytest.raises(errors.NotFound):
        fleet_of_four.read_contents(run.id, 0)
    refused(fleet_of_four, ledger.record, run.id, batch=1, outcomes=[])


def test_a_sweep_without_dead_runs_takes_no_lock(fleet_of_four: Store) -> None:
    plan(fleet_of_four)
    with fleet_of_four.transaction(holder="a test"):
        assert ledger.sweep(fleet_of_four) == []


def test_a_run_of_another_machine_is_lost_when_it_was_not_renewed_for_hours(fleet_of_four: Store, put: Put) -> None:
    run = plan(fleet_of_four)
    far = REPLACE(processes.owner(), host="far")
    put(REPLACE(run, owner=far, renewed_at=clock.now() - conflicts.EXPIRES_AFTER + timedelta(minutes=1)))
    assert ledger.sweep(fleet_of_four) == []
    put(REPLACE(run, owner=far, renewed_at=clock.now() - conflicts.EXPIRES_AFTER - timedelta(minutes=1)))
    assert [one.id for one in ledger.sweep(fleet_of_four)] == [run.id]


def test_a_run_without_an_owner_or_already_ended_is_not_lost(fleet_of_four: Store, put: Put) -> None:
    put(builders.run(owner=None, state="planned"), builders.run(owner=builders.dead_owner(), state="done"))
    assert ledger.sweep(fleet_of_four) == []


# Rows of what is gone, exit codes


def test_rows_of_instances_that_are_gone_are_closed_and_the_others_stay(fleet_of_four: Store, put: Put) -> None:
    gone, stays = builders.row(MODULE, HOSTS[0]), builders.row(MODULE, HOSTS[1])
    closed_before = builders.row(OTHER, HOSTS[0], removed_at=LATER, held=None)
    put(gone, stays, closed_before)
    do(fleet_of_four, ledger.close_rows, [HOSTS[0].id])
    tables = fleet_of_four.snapshot()
    row = tables.get(Row, HOSTS[0].id, within=MODULE.id)
    assert row
    assert (row.held, row.held_md5, row.held_sha256) == (None, None, None)
    assert row.removed_at is not None
    assert tables.get(Row, HOSTS[1].id, within=MODULE.id) == stays
    assert tables.get(Row, HOSTS[0].id, within=OTHER.id) == closed_before


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], 0),
        (["ok", "ok"], 0),
        (["ok", "skipped"], 0),
        (["ok", "error"], 1),
        (["ok", "unknown"], 1),
        (["ok", "unreachable"], 1),
        (["ok", "cancelled"], 1),
        (["error"], 1),
        (["unknown"], 1),
        (["unreachable"], 4),
        (["unreachable", "unreachable"], 4),
        (["unreachable", "cancelled"], 1),  # who was not tried may well answer
        (["unreachable", "error"], 1),
        (["cancelled"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_codes(told: list[Any], expected: int) -> None:
    run = builders.run()
    closed = [builders.attempt(run, MODULE, host, state=state) for host, state in zip(HOSTS, told, strict=False)]
    assert ledger.exit_code(closed) == expected


def test_reconcile_numbers_on_from_what_hosts_have_seen(fleet_of_four: Store) -> None:
    ask(fleet_of_four, "reconcile", seen(serial=500))
    assert 500 <= fleet_of_four.snapshot().serial < 510
    ask(fleet_of_four, "reconcile", seen(serial=10**12))
    assert fleet_of_four.snapshot().serial < 600
