"""Records and hosts' answers for tests of the domain. Each builder gives a sound one; keywords change fields."""

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from dbmod import ids, processes, registry
from dbmod.context import Context
from dbmod.evidence import Outcome
from dbmod.identity import Actor
from dbmod.records import Attempt, Cluster, Evidence, Instance, Module, Owner, Row, Run, Version
from dbmod.transport import Answer, Result
from tests import ledgers

REPLACE = msgspec.structs.replace
ADMIN = Actor(name="ada", tenant="default", admin=True)
TENANT = Actor(name="tom", tenant="default", admin=False)
STRANGER = Actor(name="sue", tenant="other", admin=False)
MOMENT = ledgers.MOMENT
LATER = MOMENT + timedelta(hours=1)
CREATED = datetime(2017, 6, 2, 17, 22, 24, tzinfo=UTC)
MD5 = {  # of the guide: V1 to V4
    1: "7f700cc7b99606615f8b51946f6d3228",
    2: "ba7c204979c8de54be6efb70a17d40b9",
    3: "869744bdd18e306a96c145df562065ab",
    4: "6e2c81c1547d640b4c6e7752ed0e33ab",
}


def as_actor(context: Context, actor: Actor) -> Context:
    return REPLACE(context, actor=actor)


def contents(number: int) -> bytes:
    """Give the contents of the guide's module in version *number*, as its `echo` writes them."""
    return b"message=Module.V%d\n" % number


def sha256(number: int) -> str:
    return hashlib.sha256(contents(number)).hexdigest()


def version(number: int) -> Version:
    return registry.version_of(contents(number), number=number, author="ada", created_at=MOMENT)


def module(versions: int = 1, **changes: Any) -> Module:
    """Give a module of the type ping with that many versions, for all datastores."""
    told = tuple(version(number) for number in range(1, versions + 1))
    return REPLACE(ledgers.module(1), **({"id": ids.new_id(), "versions": told} | changes))


def instance(name: str = "myinst", **changes: Any) -> Instance:
    """Give an ACTIVE redis of the local provider."""
    one = Instance(
        id=ids.new_id(),
        name=name,
        tenant="default",
        provider="local",
        datastore="redis",
        datastore_version="7.0.15",
        flavor="15",
        volume_gb=1,
        volume_type=None,
        region="RegionOne",
        availability_zone=None,
        locality=None,
        cluster_id=None,
        status="ACTIVE",
        fault="",
        address="127.0.0.1",
        port=None,  # no server behind it: its status is what the ledger says
        server_id=None,
        volume_id=None,
        created_at=MOMENT,
        updated_at=MOMENT,
        built_at=MOMENT,
        ram_mib=512,
        vcpus=1,
    )
    return REPLACE(one, **changes)


def cluster(name: str = "myclust", **changes: Any) -> Cluster:
    one = Cluster(
        id=ids.new_id(),
        name=name,
        tenant="default",
        provider="local",
        datastore="redis",
        datastore_version="7.0.15",
        region="RegionOne",
        locality=None,
        task_name="NONE",
        task_description="No tasks for the cluster.",
        created_at=MOMENT,
        updated_at=MOMENT,
    )
    return REPLACE(one, **changes)


def row(of: Module, on: Instance, number: int = 1, **changes: Any) -> Row:
    """Give the live row of an instance that holds version *number*."""
    held = {"held": number, "held_md5": MD5[number], "held_sha256": sha256(number)}
    return REPLACE(ledgers.row(1), **({"module_id": of.id, "instance_id": on.id} | held | changes))


def run(**changes: Any) -> Run:
    return REPLACE(ledgers.run(1), **({"id": ids.new_id(), "serial": 7, "options": {}} | changes))


def attempt(of: Run, module: Module, on: Instance, number: int = 1, **changes: Any) -> Attempt:
    """Give the planned attempt of version *number* in batch 1."""
    one = Attempt(
        run_id=of.id,
        instance_id=on.id,
        module_id=module.id,
        batch=1,
        position=0,
        order=0,
        state="planned",
        number=number,
        from_number=None,
        sha256=sha256(number),
    )
    return REPLACE(one, **changes)


def evidence(attempt: Attempt, run: Run, /, **changes: Any) -> Evidence:
    """Give the result.json that the host of *attempt* writes when all goes well."""
    one = Evidence(
        instance=attempt.instance_id,
        machine="0" * 32,
        run=run.id,
        serial=run.serial,
        verb="remove" if run.verb == "remove" else "apply",
        type="ping",
        name="mymod",
        datastore="all",
        datastore_version="all",
        tenant="default",
        module=attempt.module_id,
        version_number=attempt.number,
        md5=MD5.get(attempt.number, ""),
        sha256=attempt.sha256,
        status="OK",
        message=f"Module.V{attempt.number}",
        created=CREATED,
        updated=LATER,
        removed=LATER if run.verb == "remove" else None,
        auto_apply=False,
        visible=True,
        is_admin=True,
    )
    return REPLACE(one, **changes)


def result(evidence: Evidence, /, **changes: Any) -> Result:
    """Give the line that goes with a result.json."""
    one = Result(
        module=evidence.module,
        type=evidence.type,
        status=evidence.status,
        message=evidence.message,
        changed=True,
        evidence=evidence,
    )
    return REPLACE(one, **changes)


def refused(attempt: Attempt, message: str) -> Result:
    """Give the line of a host that could not write a result.json."""
    return Result(module=attempt.module_id, type="ping", status="ERROR", message=message)


def answer(*results: Result, **changes: Any) -> Answer:
    return REPLACE(Answer(started=True, finished=True, results=results), **changes)


SILENCE = Answer(started=False, finished=False, results=())


def outcome(on: Instance, answer: Answer, reason: str = "") -> Outcome:
    return Outcome(instance=on.id, answer=answer, reason=reason)


def well(attempt: Attempt, run: Run, /, **changes: Any) -> Outcome:
    """Give the outcome of a host that did what one attempt planned; keywords change its result.json."""
    told = result(evidence(attempt, run, **changes))
    return Outcome(instance=attempt.instance_id, answer=answer(told))


def dead_owner() -> Owner:
    """Describe a process of this machine that has really ended."""
    with subprocess.Popen(["true"]) as child:
        child.wait()
    return REPLACE(processes.owner(), pid=child.pid, started_ticks=1)
