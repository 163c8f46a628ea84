"""What the playbooks' action plugins do: plan, gate, apply, record. The plugins themselves are thin shells.

They run on the controller, inside ansible-playbook's workers, whoever launched it.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dbmod import (
    adopted,
    clock,
    config,
    errors,
    evidence,
    first_look,
    fleet,
    identity,
    inventory,
    ledger,
    plays,
    processes,
    rollouts,
    ssh_trouble,
    store,
    transport,
)
from dbmod import (
    gate as gate_rules,
)
from dbmod.context import Context
from dbmod.evidence import Outcome
from dbmod.failpoints import failpoint
from dbmod.records import Attempt, Instance, Run
from dbmod.store.interface import Tables
from dbmod.survey import Told

BATCH_POLL_SECONDS = 0.25
INTERPRETER = "ansible_python_interpreter"
HOST_VARIABLES = (
    "dbmod_id",
    "dbmod_host_home",
    "dbmod_datastore",
    "dbmod_datastore_version",
    "dbmod_directory",
    "dbmod_provider",
    "dbmod_unit",
    "dbmod_address",
    "dbmod_port",
    "dbmod_memory_mib",
    "dbmod_restart_command",
    "dbmod_facts",
)
Answer = dict[str, Any]


def guarded(work: Callable[[], Answer]) -> Answer:
    """Run a door's work; a failure tells its kind and a refusal its text, never data."""
    try:
        return work()
    except errors.DbmodError as error:
        return {"failed": True, "msg": "\n".join(error.lines()), "exit_code": error.exit_code}
    except Exception as error:  # noqa: BLE001  the text may hold a secret, so only the kind leaves
        return {"failed": True, "msg": f"internal error of dbmod ({type(error).__name__})"}


def context() -> Context:
    settings = config.load().settings
    return Context(store=store.open(settings), settings=settings, actor=identity.current(settings))


def start(here: Context, run_id: str) -> Answer:
    """Take over a planned run and hand its plan to the plays below.

    Returns  {"plan": …}, see `plays.plan_of`
    """
    with here.store.transaction(holder=run_id) as tables:
        run = ledger.start(tables, run_id, processes.owner(os.getppid()))
    failpoint("after_plan")
    return {"plan": plays.plan_of(here.store.snapshot(), run)}


def way_back(here: Context, run_id: str) -> Answer:
    """Plan and take over the run that puts back what a run changed, where too much failed and that was asked for.

    Returns  {"plan": …} of that run; of nothing where there is none
    """
    tables = here.store.snapshot()
    run = tables.get(Run, run_id)
    if run is None or not rollouts.rolls_back(run) or not gate_rules.is_spent(run, tables.find(Attempt, run_id=run_id)):
        return plays.nothing()
    planned = rollouts.plan_rollback(here, run_id)
    return start(here, planned.run.id) if planned.run else plays.nothing()


def gate(here: Context, run_id: str, hosts: Sequence[str], instance_ids: Sequence[str]) -> Answer:
    """Wait until the delay since the last batch is over, then tell whether the batch may start.

    Where it may not, that is told at once: nobody waits the delay for a canary's question, or a budget that is spent.

    Returns  {"stop": bool, "why": str, "batch": number, "hosts": [inventory names]}
    """
    tables = here.store.snapshot()
    run = tables.get(Run, run_id) or ledger.open_run(tables, run_id)
    wanted = set(instance_ids)
    attempts = tables.find(Attempt, run_id=run_id)  # between two batches nothing is recorded
    batch = min((one.batch for one in attempts if one.instance_id in wanted and one.batch > 0), default=0)
    if run.batch > 0:
        _wait(here, run, batch, attempts)
    with here.store.transaction(holder=run_id) as tables:
        why = gate_rules.start_batch(tables, run_id, batch)
        now = tables.get(Run, run_id)
    if why and now is not None and now.state == "paused":
        why += f"; next: dbmod run-resume {run_id}, or the same playbook with -e dbmod_run={run_id}"
    failpoint("before_batch")
    return {"stop": bool(why), "why": why, "batch": batch, "hosts": list(hosts)}


def look(here: Context, run_id: str, found: Mapping[str, Mapping[str, Any]]) -> Answer:
    """Record the hosts that are dead before the first batch, and plan the batches without them, replicas first.

    found    inventory host → {"id", "trouble": why it cannot be reached, or "", "is_replica"}, see `look_report`
    Returns  {"plan": of what is left, and what `record_modules` gives}
    """
    dead = {one["id"]: one["trouble"] for one in found.values() if one["trouble"]}
    replicas = {one["id"] for one in found.values() if one["is_replica"]}
    with here.store.transaction(holder=run_id) as tables:
        closed = first_look.take(tables, ledger.open_run(tables, run_id), dead=dead, replicas=replicas)
        _close_when_done(tables, run_id)
    tables = here.store.snapshot()
    run = tables.get(Run, run_id) or ledger.open_run(tables, run_id)
    return _told(here, run_id, closed) | {"plan": plays.plan_of(tables, run)}


def record_modules(here: Context, run_id: str, found: Mapping[str, Any]) -> Answer:
    """Close the batch in one transaction, answered or not.

    found    inventory host → what dbmod_apply registered there, or None
    Returns  {"failed_hosts": inventory names that failed so far, "lines": [{instance, state, message}]}
    """
    failpoint("before_record")
    outcomes = [
        msgspec.convert(plain(value["outcome"]), Outcome)
        for value in found.values()  # by the id in it: an instance may have got another name since the run began
        if isinstance(value, Mapping) and isinstance(value.get("outcome"), Mapping)
    ]
    with here.store.transaction(holder=run_id) as tables:
        run = ledger.open_run(tables, run_id)
        closed = ledger.record(tables, run_id, batch=run.batch, outcomes=outcomes)
        _close_when_done(tables, run_id)
    failpoint("after_record")
    return _told(here, run_id, closed)


def record_instances(here: Context, run_id: str, *, status: str, hosts: Mapping[str, Mapping[str, Any]]) -> Answer:
    """Write what became of the instances that the run claims.

    hosts  inventory host → {"id", "failure", "facts", "untouched", "unreached"}, see `instance_report`;
           a claimed instance without one has failed
    """
    told = {str(value["id"]): value for value in hosts.values()}
    with here.store.transaction(holder=run_id) as tables:
        run = ledger.open_run(tables, run_id)
        claimed = [one.instance_id for one in tables.find(Attempt, run_id=run_id, batch=0)]
        faults = {one: str(told[one]["failure"]) if one in told else adopted.LOST for one in claimed}
        facts = {one: plain(told[one]["facts"]) for one in claimed if one in told}
        fleet.record(
            tables,
            run,
            status="DELETED" if status == "DELETED" else "ACTIVE",
            faults=faults,
            facts=facts,
            untouched=[one for one in claimed if one in told and told[one].get("untouched")],
            unreached=[one for one in claimed if one in told and told[one].get("unreached")],
        )
        closed = [one for one in tables.find(Attempt, run_id=run_id, batch=0) if one.state != "planned"]
        _close_when_done(tables, run_id)
    _forget_passwords(here, run, claimed)
    if run.verb == "create":
        here.store.delete_contents(run.id)  # the databases and users that were asked for are made
    answer = _told(here, run_id, closed)
    failed = {one.instance_id for one in closed if one.is_bad}
    return answer | {"failed_hosts": [host for host, value in hosts.items() if value["id"] in failed]}


def record_facts(here: Context, run_id: str, instance_id: str, facts: Mapping[str, Any]) -> Answer:
    """Write at once what a provider has made for an instance: a host that dies, or a run, must not take it along.

    facts  any of fleet.FACTS
    """
    with here.store.transaction(holder=run_id) as tables:
        ledger.open_run(tables, run_id)
        fleet.learn(tables, instance_id, plain(facts))
    return {"changed": True}


def record_adopted(here: Context, run_id: str, found: Mapping[str, Any]) -> Answer:
    """Write what was found on hosts that are adopted.

    found  inventory host → what dbmod_survey registered there, or None
    """
    told = {
        host: msgspec.convert(plain(value["told"]), Told)
        for host, value in found.items()
        if isinstance(value, Mapping) and isinstance(value.get("told"), Mapping)
    }
    with here.store.transaction(holder=run_id) as tables:
        run = ledger.open_run(tables, run_id)
        closed = adopted.record(tables, run, {one.instance: one for one in told.values()})
        _close_when_done(tables, run_id)
    failed = {one.instance_id for one in closed if one.state != "ok"}
    return _told(here, run_id, closed) | {
        "failed_hosts": [host for host, one in told.items() if one.instance in failed]
    }


def _forget_passwords(here: Context, run: Run, instance_ids: Iterable[str]) -> None:
    """Delete the passwords of instances that are gone, and the one that the members of a cluster shared."""
    tables = here.store.snapshot()
    for one in instance_ids:
        instance = tables.get(Instance, one)
        if instance is None or instance.deleted_at:
            here.store.delete_contents(one)
    if run.cluster_id and not fleet.members_of(tables, run.cluster_id):
        here.store.delete_contents(run.cluster_id)


def plain(value: Any) -> Any:
    """Strip Ansible's tagged types down to what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, str):
        return str.__str__(value)[:]
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Iterable):
        return [plain(one) for one in value]
    return str(value)


def _wait(here: Context, run: Run, batch: int, attempts: Sequence[Attempt]) -> None:
    ended = [one.ended_at for one in attempts if one.ended_at]
    since = (clock.now() - max(ended)).total_seconds() if ended else 0.0
    deadline = time.monotonic() + min(run.delay_seconds, run.delay_seconds - since)  # a clock may have been set back
    while time.monotonic() < deadline:
        now = here.store.snapshot().get(Run, run.id)
        if now is None or not now.is_open or gate_rules.reason_to_stop(now, attempts):
            return
        if gate_rules.reason_to_pause(now, batch, now=clock.now()):
            return
        time.sleep(min(BATCH_POLL_SECONDS, max(0.0, deadline - time.monotonic())))


def _close_when_done(tables: Tables, run_id: str) -> None:
    failpoint("before_close")
    if not tables.find(Attempt, run_id=run_id, state="planned"):
        ledger.close(tables, run_id)


def _told(here: Context, run_id: str, closed: Sequence[Attempt]) -> Answer:
    tables = here.store.snapshot()
    instances = {one.id: one for one in tables.find(Instance)}
    host_names = inventory.host_names(instances.values())
    bad = {one.instance_id for one in tables.find(Attempt, run_id=run_id) if one.is_bad}
    return {
        "failed_hosts": sorted(host_names[one] for one in bad if one in host_names),
        "lines": [
            {"instance": host_names.get(one.instance_id, one.instance_id), "state": one.told, "message": one.message}
            for one in closed
            if one.instance_id in instances
        ],
    }


def run_of_play(variables: Mapping[str, Any]) -> str:
    """Give the id of the run whose plan the plays were handed, see playbooks/tasks/plan.yml."""
    return str(plain(variables["hostvars"].raw_get("localhost")["plan"]["run"]))


def plain_host(variables: Mapping[str, Any], template: Callable[[Any], Any] = plain) -> dict[str, Any]:
    """Pick what a door has to know of a host; its other variables stay Ansible's.

    template  fills in the interpreter, which an inventory of the user's may give as an expression
    """
    known = {key: plain(variables[key]) for key in HOST_VARIABLES if key in variables}
    return known | ({INTERPRETER: plain(template(variables[INTERPRETER]))} if INTERPRETER in variables else {})


def module_report(variables: Mapping[str, Any], host: str, run_id: str) -> Any:
    """Give what dbmod_apply left in a host's variables; where it could not even begin, an outcome that says why.

    What stopped the host before or after its modules came (see roles/batch/tasks/watched.yml) is told with it; that of
    an earlier run of the same play is still among the variables when this one puts back what it did.
    """
    found, trouble = variables.get("__batch_outcome"), variables.get("batch_trouble")
    if isinstance(trouble, Mapping) and trouble["run"] == run_id:
        return _troubled(variables, found)
    if not isinstance(found, Mapping) or "outcome" in found or not found.get("failed"):
        return found
    reason = ssh_trouble.explain(plain(str(found.get("msg", ""))), name=host)
    return _not_asked(variables, reason)


def look_report(variables: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Give what the look before the first batch left in a host's variables, see playbooks/tasks/first_look.yml."""
    reached = variables.get("__first_look_reached")
    trouble = ""
    if isinstance(reached, Mapping) and reached.get("failed"):
        trouble = ssh_trouble.explain(plain(str(reached.get("msg", ""))), name=host) or evidence.NOTHING_RAN
    health = variables.get("__first_look_health")
    is_replica = isinstance(health, Mapping) and health.get("is_replica") is True
    return {"id": str(variables["dbmod_id"]), "trouble": transport.text(trouble), "is_replica": is_replica}


def _troubled(variables: Mapping[str, Any], found: Any) -> Any:
    trouble = plain(variables["batch_trouble"])
    said = transport.text(f"{trouble['task'].rpartition(' | ')[2]}: {trouble['message']}")
    if isinstance(found, Mapping) and isinstance(found.get("outcome"), Mapping):
        return {"outcome": {**plain(found["outcome"]), "trouble": said}}
    if trouble["is_dead"]:
        return _not_asked(variables, trouble["message"])
    return _not_asked(variables, f"left alone: {said}", was_left_alone=True)


def _not_asked(variables: Mapping[str, Any], reason: str, *, was_left_alone: bool = False) -> Any:
    outcome = evidence.not_asked(str(variables["dbmod_id"]), reason, was_left_alone=was_left_alone)
    return {"outcome": msgspec.to_builtins(outcome)}


def instance_report(variables: Mapping[str, Any], *, reached: bool) -> dict[str, Any]:
    """Give what a play left in a host's variables about its instance.

    reached  the host is still in the play; one that dropped out without a word has failed too
    """
    failure = str(variables.get("instance_failure") or "")
    if not failure and not reached:
        failure = adopted.LOST
    return {
        "id": plain(variables.get("dbmod_id", "")),
        "failure": plain(failure),
        "facts": plain(variables.get("instance_facts") or {}),
        "untouched": variables.get("instance_untouched") is True,
        "unreached": variables.get("instance_reached") is False,
    }
