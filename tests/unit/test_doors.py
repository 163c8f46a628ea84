"""What the playbooks' action plugins do, without Ansible: plan, gate, record."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dbmod import building, clock, doors, errors, fleet, inventory, ledger, operations, plays, processes, rollouts
from dbmod import gate as gate_rules
from dbmod.building import Account, Member, NewInstance
from dbmod.context import Context
from dbmod.paces import Pace
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.selection import Selection
from tests import builders
from tests.builders import REPLACE

Put = Callable[..., None]
FAST = Pace(batch_size=2, delay_seconds=0)


@pytest.fixture
def three(put: Put) -> list[Instance]:
    instances = [builders.instance(f"db-{number}") for number in (1, 2, 3)]
    put(builders.module(), *instances)
    return instances


def started(here: Context, pace: Pace = FAST) -> tuple[Run, dict[str, Any]]:
    run = operations.plan_apply(here, Selection(all=True), ["mymod"], pace=pace).run
    assert run
    return run, doors.start(here, run.id)["plan"]


def attempts(here: Context, run: Run) -> list[Attempt]:
    return sorted(here.store.snapshot().find(Attempt, run_id=run.id), key=lambda one: one.position)


def of(here: Context, run: Run) -> Run:
    found = here.store.snapshot().get(Run, run.id)
    assert found
    return found


def gate(here: Context, run: Run, *instances: Instance) -> dict[str, Any]:
    return doors.gate(here, run.id, [one.name for one in instances], [one.id for one in instances])


def registered(attempt: Attempt, run: Run, **changes: Any) -> dict[str, Any]:
    """Give what dbmod_apply leaves in a host's variables."""
    return {"changed": True, "outcome": msgspec.to_builtins(builders.well(attempt, run, **changes))}


def test_a_refusal_tells_its_text_and_anything_else_only_its_kind() -> None:
    def refusing() -> dict[str, Any]:
        raise errors.Refused("no", next_step="yes")

    def raising() -> dict[str, Any]:
        raise KeyError("CANARY")

    assert doors.guarded(lambda: {"a": 1}) == {"a": 1}
    assert doors.guarded(refusing) == {"failed": True, "msg": "no\n  next  yes", "exit_code": 2}
    assert doors.guarded(raising) == {"failed": True, "msg": "internal error of dbmod (KeyError)"}


def test_the_context_comes_from_the_environment(here: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_HOME", here.settings.home)
    monkeypatch.setenv("DBMOD_TENANT", "blue")
    found = doors.context()
    assert found.settings.home_path == here.settings.home_path
    assert found.actor.tenant == "blue"


def test_start_hands_the_run_over_with_hosts_and_batches(here: Context, three: list[Instance]) -> None:
    run, plan = started(here)
    assert plan["hosts"] == plan["module_hosts"] == ["db-1", "db-2", "db-3"]
    assert (plan["run"], plan["verb"], plan["batch_sizes"], plan["delay"]) == (run.id, "apply", [2, 1], 0)
    assert (plan["cluster"], plan["members"], plan["new_hosts"], plan["leaving_hosts"]) == ("", [], [], [])
    assert of(here, run).state == "running"


def test_the_plan_of_a_cluster_names_its_members_and_the_new_and_leaving_ones(here: Context, put: Put) -> None:
    cluster = builders.cluster()
    members = [builders.instance(f"myclust-member-{number}", cluster_id=cluster.id) for number in (10, 2, 1, 3)]
    put(cluster, *members)
    _, run = fleet.plan_cluster_shrink(here, "myclust", ["myclust-member-2"])
    plan = plays.plan_of(here.store.snapshot(), run)
    assert plan["members"] == [f"myclust-member-{number}" for number in (1, 2, 3, 10)]
    assert (plan["hosts"], plan["leaving_hosts"]) == (["myclust-member-2"],) * 2
    assert (plan["module_hosts"], plan["new_hosts"], plan["batch_sizes"]) == ([], [], [1])


def test_the_gate_starts_batch_after_batch(here: Context, three: list[Instance]) -> None:
    run, _ = started(here)
    assert gate(here, run, *three[:2]) == {"stop": False, "why": "", "batch": 1, "hosts": ["db-1", "db-2"]}
    doors.record_modules(here, run.id, {one.instance_id: registered(one, run) for one in attempts(here, run)})
    assert gate(here, run, three[2])["batch"] == 2
    assert [one.started_at is not None for one in attempts(here, run)] == [True] * 3


def test_the_delay_is_waited_between_batches_and_not_before_the_first(here: Context, three: list[Instance]) -> None:
    run, _ = started(here, Pace(batch_size=2, delay_seconds=0.3))
    began = time.monotonic()
    gate(here, run, *three[:2])
    first = time.monotonic() - began
    gate(here, run, three[2])
    assert first < 0.3 <= time.monotonic() - began - first


def test_the_delay_is_not_waited_where_the_run_pauses_or_has_to_stop(here: Context, three: list[Instance]) -> None:
    began = time.monotonic()
    run, _ = started(here, Pace(batch_size=1, delay_seconds=60, canary=1, max_errors=0))
    gate(here, run, three[0])
    [first, *_] = attempts(here, run)
    doors.record_modules(here, run.id, {"db-1": registered(first, run, status="ERROR", message="no")})
    assert gate(here, run, three[1])["why"].startswith("failed hosts: 1")
    run, _ = started(here, Pace(batch_size=1, delay_seconds=60, canary=1))
    gate(here, run, three[0])
    [first, *_] = attempts(here, run)
    doors.record_modules(here, run.id, {"db-1": registered(first, run)})
    assert gate(here, run, three[1])["why"].startswith("the canary is done")
    doors.start(here, run.id)
    with here.store.transaction(holder="a test") as tables:
        gate_rules.request_pause(tables, run.id, by="grace")
    assert gate(here, run, three[1])["why"].startswith("paused by grace")
    assert time.monotonic() - began < 30


def test_the_delay_is_counted_from_the_end_of_the_batch_before(here: Context, three: list[Instance], put: Put) -> None:
    run, _ = started(here, Pace(batch_size=1, delay_seconds=60, canary=1))
    gate(here, run, three[0])
    [first, *_] = attempts(here, run)
    doors.record_modules(here, run.id, {"db-1": registered(first, run)})
    gate(here, run, three[1])
    doors.start(here, run.id)  # as run-resume does, after a night
    [first, *_] = attempts(here, run)
    put(REPLACE(first, ended_at=clock.now() - timedelta(hours=8)))
    began = time.monotonic()
    assert gate(here, run, three[1])["batch"] == 2
    assert time.monotonic() - began < 30


def test_a_stop_request_ends_the_delay_at_once(here: Context, three: list[Instance]) -> None:
    run, _ = started(here, Pace(batch_size=2, delay_seconds=60))
    gate(here, run, *three[:2])
    with here.store.transaction(holder="a test") as tables:
        ledger.request_stop(tables, run.id, by="grace")
    assert gate(here, run, three[2])["why"] == "stopped by grace"
    assert gate(here, run, three[2])["stop"]
    with pytest.raises(errors.NotFound):
        doors.gate(here, "none", [], [])


def test_a_batch_is_recorded_in_one_transaction_whoever_answered(here: Context, three: list[Instance]) -> None:
    run, _ = started(here, Pace(batch_size=3, delay_seconds=0))
    gate(here, run, *three)
    first, second, _ = attempts(here, run)
    before = here.store.snapshot().serial
    answer = doors.record_modules(
        here,
        run.id,
        {
            "db-1": registered(first, run),
            "db-2": registered(second, run, status="ERROR", message="no"),
            "db-3": None,
            "foreign": {"skipped": True},
        },
    )
    assert here.store.snapshot().serial == before + 1
    assert answer["failed_hosts"] == ["db-2", "db-3"]
    assert answer["lines"] == [
        {"instance": "db-1", "state": "ok", "message": "Module.V1"},
        {"instance": "db-2", "state": "error", "message": "no"},
        {"instance": "db-3", "state": "unreachable", "message": "the host was not reached"},
    ]
    assert of(here, run).state == "failed"


def test_a_host_that_is_not_well_before_is_skipped_and_counts_as_failed_and_a_dead_one_as_dead(
    here: Context, three: list[Instance]
) -> None:
    run, _ = started(here)
    gate(here, run, *three[:2])
    trouble = {"task": "watched | See that its server is well", "message": "no", "is_dead": False, "run": run.id}
    known = {
        "db-1": {"dbmod_id": three[0].id, "batch_trouble": trouble},
        "db-2": {"dbmod_id": three[1].id, "batch_trouble": trouble | {"message": "refused", "is_dead": True}},
    }
    reports = {name: doors.module_report(one, name, run.id) for name, one in known.items()}
    answer = doors.record_modules(here, run.id, reports)
    assert answer["failed_hosts"] == ["db-1", "db-2"]
    assert answer["lines"] == [
        {"instance": "db-1", "state": "skipped", "message": "left alone: See that its server is well: no"},
        {"instance": "db-2", "state": "unreachable", "message": "refused"},
    ]
    assert gate(here, run, three[2])["why"] == "failed hosts: 1, and --max_errors allows 0"
    assert of(here, run).state == "failed"
    resumed = rollouts.plan_resume(here, run.id).run
    assert resumed
    assert len(attempts(here, resumed)) == 3


def test_hosts_that_are_dead_before_the_first_batch_are_in_none_and_spend_the_budget(
    here: Context, three: list[Instance]
) -> None:
    run, plan = started(here, Pace(batch_size=1, canary=1, delay_seconds=0, max_unreachable=0))
    assert plan["look_hosts"] == plan["module_hosts"] == ["db-1", "db-2", "db-3"]
    reached = ({"failed": True, "msg": "Connection refused"}, {"changed": False}, {"changed": False})
    known = {
        one.name: {"dbmod_id": one.id, "dbmod_datastore": one.datastore, "__first_look_reached": told}
        for one, told in zip(three, reached, strict=True)
    }
    told = doors.look(here, run.id, {name: doors.look_report(one, name) for name, one in known.items()})
    assert (told["failed_hosts"], told["plan"]["module_hosts"]) == (["db-1"], ["db-2", "db-3"])
    assert (told["plan"]["batch_sizes"], of(here, run).batch_sizes) == ([1, 1], (1, 1))
    [line] = told["lines"]
    assert line["message"] == "the connection was refused; next: is ssh running there, on this port?"
    assert [(one.batch, one.state) for one in attempts(here, run) if one.instance_id != three[0].id] == [
        (1, "planned"),
        (2, "planned"),
    ]
    assert gate(here, run, three[1])["why"] == "unreachable hosts: 1, and --max_unreachable allows 0"


def test_a_run_whose_hosts_are_all_dead_ends_before_its_first_batch(here: Context, three: list[Instance]) -> None:
    run, _ = started(here, Pace(reach_first=True))
    told = doors.look(here, run.id, {one.name: {"id": one.id, "trouble": "no", "is_replica": False} for one in three})
    assert (told["plan"]["module_hosts"], of(here, run).state) == ([], "failed")
    assert [one.state for one in attempts(here, run)] == ["unreachable"] * 3


def test_replicas_are_served_before_all_others_and_a_resumed_run_keeps_that(
    here: Context, three: list[Instance]
) -> None:
    run, plan = started(here, Pace(delay_seconds=0, replicas_first=True))
    assert (plan["batch_sizes"], plan["replicas_first"]) == ([3], True)
    known = {one.name: {"dbmod_id": one.id, "dbmod_datastore": one.datastore} for one in three}
    known["db-3"]["__first_look_health"] = {"is_replica": True}
    plan = doors.look(here, run.id, {name: doors.look_report(one, name) for name, one in known.items()})["plan"]
    assert (plan["module_hosts"], plan["batch_sizes"]) == (["db-3", "db-1", "db-2"], [1, 2])
    assert gate(here, run, three[2])["batch"] == 1
    doors.record_modules(here, run.id, {})
    with here.store.transaction(holder="a test") as tables:
        ledger.close(tables, run.id)
    resumed = rollouts.plan_resume(here, run.id).run
    assert resumed
    assert plays.plan_of(here.store.snapshot(), resumed)["module_hosts"] == ["db-3", "db-1", "db-2"]


def test_a_look_does_not_spread_hosts_over_smaller_batches_than_was_asked_for(here: Context, put: Put) -> None:
    hosts = [builders.instance(f"db-{number:02}", cluster_id="one" if number > 9 else None) for number in range(13)]
    put(builders.module(), *hosts)
    run, plan = started(here, Pace(batch_size=8, delay_seconds=0, replicas_first=True))
    assert plan["batch_sizes"] == [8, 3, 1, 1]
    known = {one.name: {"id": one.id, "trouble": "", "is_replica": one in hosts[11:]} for one in hosts}
    assert doors.look(here, run.id, known)["plan"]["batch_sizes"] == [1, 1, 8, 3]


@pytest.mark.parametrize(
    ("pace", "looks"),
    [
        (Pace(), False),
        (Pace(max_unreachable="50%"), True),
        (Pace(max_unreachable=1, reach_first=False), False),
        (Pace(reach_first=True), True),
        (Pace(replicas_first=True), True),
    ],
)
def test_hosts_are_looked_at_first_where_that_was_asked_for_or_the_dead_are_counted(
    here: Context, three: list[Instance], pace: Pace, looks: bool
) -> None:
    run, plan = started(here, pace)
    assert bool(plan["look_hosts"]) is looks
    gate(here, run, *three)
    assert plays.plan_of(here.store.snapshot(), of(here, run))["look_hosts"] == []  # it goes on after a pause


def test_an_instance_that_gets_another_name_or_a_namesake_meanwhile_is_recorded_all_the_same(
    here: Context, three: list[Instance], put: Put
) -> None:
    run, _ = started(here, Pace(batch_size=3, delay_seconds=0))
    gate(here, run, *three)
    found = {one.name: registered(attempt, run) for one, attempt in zip(three, attempts(here, run), strict=True)}
    with pytest.raises(errors.Refused, match="is being worked on by run"):
        fleet.rename(here, "db-1", "renamed")
    put(builders.REPLACE(three[0], name="renamed"))
    put(builders.instance("db-2"))
    doors.record_modules(here, run.id, found)
    assert [one.state for one in attempts(here, run)] == ["ok"] * 3
    assert of(here, run).state == "done"
    assert len(here.store.snapshot().find(Row)) == 3


def test_the_run_is_closed_with_its_last_batch(here: Context, three: list[Instance]) -> None:
    run, _ = started(here)
    for batch in (three[:2], three[2:]):
        assert of(here, run).state == "running"
        gate(here, run, *batch)
        doors.record_modules(here, run.id, {one.instance_id: registered(one, run) for one in attempts(here, run)})
    assert of(here, run).state == "done"
    with pytest.raises(errors.Refused):
        doors.record_modules(here, run.id, {})


def build(here: Context) -> tuple[Instance, Run]:
    instance, run = building.plan_create(here, NewInstance(name="myinst", member=Member(flavor="15")))
    doors.start(here, run.id)
    return instance, run


def told(instance: Instance, *, reached: bool = True, **variables: Any) -> dict[str, dict[str, Any]]:
    return {instance.name: doors.instance_report({"dbmod_id": instance.id} | variables, reached=reached)}


def test_an_instance_is_recorded_with_its_facts(here: Context) -> None:
    instance, run = build(here)
    report = told(instance, instance_facts={"address": "127.0.0.2"})
    answer = doors.record_instances(here, run.id, status="ACTIVE", hosts=report)
    found = here.store.snapshot().get(Instance, instance.id)
    assert found
    assert (found.status, found.address) == ("ACTIVE", "127.0.0.2")
    assert (answer["failed_hosts"], of(here, run).state) == ([], "done")


def test_what_was_made_is_known_before_the_instance_is_built_and_after_its_run_is_lost(here: Context) -> None:
    instance, run = build(here)
    doors.record_facts(here, run.id, instance.id, {"server_id": "s-1", "provider_facts": {"fixed_address": "10.0.0.4"}})
    with here.store.transaction(holder="a test") as tables:
        ledger.close(tables, run.id, message="Install with apt: no answer in time")
    found = here.store.snapshot().get(Instance, instance.id)
    assert found
    assert (found.status, found.server_id, found.provider_facts["fixed_address"]) == ("ERROR", "s-1", "10.0.0.4")
    assert found.provider_facts.items() >= instance.provider_facts.items()
    assert found.fault.endswith("ended before it did: Install with apt: no answer in time")
    with pytest.raises(errors.Refused):
        doors.record_facts(here, run.id, instance.id, {"server_id": "s-2"})


def test_passwords_of_users_are_gone_when_the_instance_is_made(here: Context) -> None:
    request = NewInstance(name="new", member=Member(flavor="15"), users=(Account(name="app", password="secret"),))
    instance, run = building.plan_create(here, request)
    doors.start(here, run.id)
    assert b"secret" in here.store.read_contents(run.id, 0)
    doors.record_instances(here, run.id, status="ACTIVE", hosts=told(instance))
    with pytest.raises(errors.NotFound):
        here.store.read_contents(run.id, 0)


@pytest.mark.parametrize(
    ("report", "fault"),
    [
        (lambda one: told(one, instance_failure="Start it: port taken"), "Start it: port taken"),
        (lambda one: told(one, reached=False), "the host was lost"),
        (lambda one: told(one, reached=False, instance_failure="x"), "x"),
        (lambda one: {}, "the host was lost"),
    ],
)
def test_an_instance_that_failed_or_dropped_out_is_in_error(here: Context, report: Any, fault: str) -> None:
    instance, run = build(here)
    answer = doors.record_instances(here, run.id, status="ACTIVE", hosts=report(instance))
    found = here.store.snapshot().get(Instance, instance.id)
    assert found
    assert (found.status, found.fault, of(here, run).state) == ("ERROR", fault, "failed")
    assert answer["failed_hosts"] == list(report(instance))
    assert answer["lines"] == [{"instance": "myinst", "state": "error", "message": fault}]


def test_a_host_that_is_not_of_the_run_is_no_trouble(here: Context, three: list[Instance]) -> None:
    instance, run = build(here)
    hosts = (
        told(instance) | told(three[0], instance_failure="x") | {"foreign": doors.instance_report({}, reached=False)}
    )
    doors.record_instances(here, run.id, status="ACTIVE", hosts=hosts)
    assert here.store.snapshot().get(Instance, three[0].id) == three[0]


def test_a_deleted_instance_is_gone(here: Context, three: list[Instance]) -> None:
    _, run = fleet.plan_delete(here, "db-1")
    doors.start(here, run.id)
    doors.record_instances(here, run.id, status="DELETED", hosts=told(three[0]))
    found = here.store.snapshot().get(Instance, three[0].id)
    assert found
    assert found.status == "DELETED"
    assert three[0].id not in inventory.host_names(here.store.snapshot().find(Instance))


def test_plain_strips_tagged_types() -> None:
    class Text(str):
        pass

    class Number(int):
        pass

    value = doors.plain(
        {Text("a"): [Text("b"), Number(1), 1.5, True, None, (Text("c"),)], 1: datetime(2017, 6, 2, tzinfo=UTC)}
    )
    assert value == {"a": ["b", 1, 1.5, True, None, ["c"]], "1": "2017-06-02 00:00:00+00:00"}
    assert [type(one) for one in value["a"]] == [str, int, float, bool, type(None), list]
    assert {type(key) for key in value} == {str}


def test_a_door_knows_of_a_host_only_what_it_has_to() -> None:
    variables = {"dbmod_id": "i", "dbmod_port": 1, "ansible_password": "CANARY", "ansible_python_interpreter": "/p"}
    assert doors.plain_host(variables) == {"dbmod_id": "i", "dbmod_port": 1, "ansible_python_interpreter": "/p"}


def test_start_is_refused_for_a_run_that_has_ended(here: Context, put: Put) -> None:
    run = builders.run(state="lost", owner=processes.owner())
    put(run)
    with pytest.raises(errors.Refused, match="has ended: lost"):
        doors.start(here, run.id)
    assert here.store.snapshot().find(Module) == []
    assert REPLACE(run) == of(here, run)
