"""What the playbooks' action plugins do: plan, gate, apply, record. The plugins themselves are thin shells.

They run on the controller, inside ansible-playbook's workers, whoever launched it.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from dbmod import (
    adopted,
    config,
    errors,
    fleet,
    identity,
    inventory,
    ledger,
    planning,
    processes,
    ssh_trouble,
    store,
    transport,
)
from dbmod.context import Context
from dbmod.evidence import Outcome
from dbmod.failpoints import failpoint
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.store.interface import Tables
from dbmod.survey import Told

BATCH_POLL_SECONDS = 0.25
RETRIEVED_WEIGHT = 2  # what a host gives passes through Ansible as base64, in several copies: 6 times its size
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

    Returns  {"plan": …}, see `plan_of`
    """
    with here.store.transaction(holder=run_id) as tables:
        run = ledger.start(tables, run_id, processes.owner(os.getppid()))
    failpoint("after_plan")
    return {"plan": plan_of(here.store.snapshot(), run)}


def nothing() -> Answer:
    """Give the plan of a play that has nothing to do: no hosts for the plays below."""
    lists = dict.fromkeys(("hosts", "module_hosts", "members", "new_hosts", "leaving_hosts"), ())
    plan = {"run": "", "verb": "", "cluster": "", "batch_sizes": [1], "at_once": 0, "delay": 0}
    return {"plan": plan | {name: list(value) for name, value in lists.items()}, "msg": "Nothing to do."}


def plan_of(tables: Tables, run: Run) -> dict[str, Any]:
    """Write a run as the variables that the playbooks take their hosts and batches from.

    hosts         inventory names, in order; for create and the like those whose instances the run claims
    batch_sizes   of the module plays
    at_once       hosts served at the same time where contents are large; 0: as many as Ansible's forks
    module_hosts  those that get or lose modules
    members       of the run's cluster, all living ones in order; new_hosts and leaving_hosts are among them
    """
    attempts = sorted(tables.find(Attempt, run_id=run.id), key=lambda attempt: attempt.position)
    host_names = inventory.host_names(tables.find(Instance, deleted_at=None))
    claimed = _unique(host_names[one.instance_id] for one in attempts if one.batch == 0)
    touched = _unique(host_names[one.instance_id] for one in attempts if one.batch > 0)
    members = fleet.members_of(tables, run.cluster_id) if run.cluster_id else []
    return {
        "run": run.id,
        "verb": run.verb,
        "hosts": claimed or touched,
        "module_hosts": touched,
        "batch_sizes": list(run.batch_sizes) or [1],
        "at_once": planning.hosts_at_once(_contents_sizes(tables, run, attempts)),
        "delay": run.delay_seconds,
        "cluster": run.cluster_id or "",
        "members": [host_names[member.id] for member in members],
        "new_hosts": claimed if run.verb in ("create", "grow") else [],
        "leaving_hosts": claimed if run.verb in ("shrink", "delete") else [],
    }


def _contents_sizes(tables: Tables, run: Run, attempts: Sequence[Attempt]) -> Iterable[int]:
    """Give the bytes that go to each host of a run, or come from it."""
    sizes = Counter[str]()
    modules = {one.id: one for one in tables.find(Module)}
    carried = [(one.instance_id, one.module_id, one.number) for one in attempts if one.module_id]
    if run.verb == "retrieve":
        asked = {one.instance_id for one in attempts}
        rows = [tables.get(Row, instance_id, within=module_id) for instance_id in asked for module_id in modules]
        carried = [(row.instance_id, row.module_id, row.held or 0) for row in rows if row]
    for instance_id, module_id, number in carried:
        version = modules[module_id].version(number)
        sizes[instance_id] += version.size_bytes if version else 0
    weight = RETRIEVED_WEIGHT if run.verb == "retrieve" else 1
    return [weight * size for size in sizes.values()]


def gate(here: Context, run_id: str, hosts: Sequence[str], instance_ids: Sequence[str]) -> Answer:
    """Wait the delay before every batch but the first, then tell whether the batch may start.

    Returns  {"stop": bool, "why": str, "batch": number, "hosts": [inventory names]}
    """
    tables = here.store.snapshot()
    run = tables.get(Run, run_id) or ledger.open_run(tables, run_id)
    wanted = set(instance_ids)
    numbers = [one.batch for one in tables.find(Attempt, run_id=run_id) if one.instance_id in wanted and one.batch > 0]
    batch = min(numbers, default=0)
    if run.batch > 0:
        _wait(here, run)
    with here.store.transaction(holder=run_id) as tables:
        why = ledger.start_batch(tables, run_id, batch)
    failpoint("before_batch")
    return {"stop": bool(why), "why": why, "batch": batch, "hosts": list(hosts)}


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
    failed = {one.instance_id for one in closed if one.state in ledger.BAD}
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


def _wait(here: Context, run: Run) -> None:
    deadline = time.monotonic() + run.delay_seconds
    while time.monotonic() < deadline:
        now = here.store.snapshot().get(Run, run.id)
        if now is None or not now.is_open or now.stop_requested_by:
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
    bad = {one.instance_id for one in tables.find(Attempt, run_id=run_id) if one.state in ledger.BAD}
    return {
        "failed_hosts": sorted(host_names[one] for one in bad if one in host_names),
        "lines": [
            {"instance": host_names.get(one.instance_id, one.instance_id), "state": one.state, "message": one.message}
            for one in closed
            if one.instance_id in instances
        ],
    }


def plain_host(variables: Mapping[str, Any], template: Callable[[Any], Any] = plain) -> dict[str, Any]:
    """Pick what a door has to know of a host; its other variables stay Ansible's.

    template  fills in the interpreter, which an inventory of the user's may give as an expression
    """
    known = {key: plain(variables[key]) for key in HOST_VARIABLES if key in variables}
    return known | ({INTERPRETER: plain(template(variables[INTERPRETER]))} if INTERPRETER in variables else {})


def module_report(variables: Mapping[str, Any], host: str) -> Any:
    """Give what dbmod_apply left in a host's variables; where it could not even begin, an outcome that says why."""
    found = variables.get("__batch_outcome")
    if not isinstance(found, Mapping) or "outcome" in found or not found.get("failed"):
        return found
    reason = ssh_trouble.explain(plain(str(found.get("msg", ""))), name=host)
    silence = transport.Answer(started=False, finished=False, results=())
    return {"outcome": msgspec.to_builtins(Outcome(instance=str(variables["dbmod_id"]), answer=silence, reason=reason))}


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


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
