"""Ledgers of a given size, written through the store as dbmod writes them; no server runs behind them."""

import time
from pathlib import Path

import msgspec

from dbmod import clock, config, gate, identity, ids, planning, registry, store, transport
from dbmod import ledger as ledgers
from dbmod.context import Context
from dbmod.evidence import Outcome
from dbmod.records import Evidence, Instance, Module, Run


def context(home: Path, *, ledger: str = "") -> Context:
    environ = {"DBMOD_HOME": str(home), "DBMOD_LEDGER": ledger, "DBMOD_ADMIN": "true"}
    settings = config.load(environ).settings
    return Context(store=store.open(settings), settings=settings, actor=identity.current(settings))


def fill(home: Path, *, instances: int, modules: int, ledger: str = "") -> Context:
    """Make a ledger in which every instance holds every module, as one recorded run per module leaves it.

    ledger  the address of a database; empty: files in the home
    """
    here = context(home, ledger=ledger)
    made = [
        registry.create(
            here,
            registry.Request(name=f"module-{number}", type="ping", live_update=True),
            f"message=Module {number}\n".encode(),
        )
        for number in range(modules)
    ]
    fleet = [instance(number) for number in range(instances)]
    with here.store.transaction(holder="bench") as tables:
        tables.put(*fleet)
    for module in made:
        run = plan(here, fleet, module)
        record(here, run, [answer(run, one, module) for one in fleet])
    return here


def add_hosts(here: Context, directory: Path, count: int) -> None:
    """Add instances that really have a place on this machine, so that modules can be applied to them."""
    with here.store.transaction(holder="bench") as tables:
        for number in range(count):
            place = directory / f"db-{number}"
            place.mkdir()
            tables.put(msgspec.structs.replace(instance(number), port=None, provider_facts={"directory": str(place)}))


def add_batch(here: Context, size: int) -> None:
    """Add the instances that `record_batch` plans and records for."""
    with here.store.transaction(holder="bench") as tables:
        tables.put(*(instance(100_000 + number, region="batch") for number in range(size)))


def record_batch(here: Context) -> float:
    """Plan a batch for the added instances and record it. Returns the seconds of the recording transaction."""
    tables = here.store.snapshot()
    fleet, module = tables.find(Instance, region="batch"), tables.find(Module)[0]
    run = plan(here, fleet, module)
    outcomes = [answer(run, one, module) for one in fleet]
    started = time.perf_counter()
    record(here, run, outcomes)
    return time.perf_counter() - started


def instance(number: int, *, region: str = "RegionOne") -> Instance:
    now = clock.now()
    return Instance(
        id=ids.new_id(),
        name=f"db-{number}",
        tenant="default",
        provider="local",
        datastore="redis",
        datastore_version="7.0.15",
        flavor="15",
        volume_gb=1,
        volume_type=None,
        region=region,
        availability_zone=None,
        locality=None,
        cluster_id=None,
        status="ACTIVE",
        fault="",
        address="127.0.0.1",
        port=1 + number % 1000,
        server_id=None,
        volume_id=None,
        created_at=now,
        updated_at=now,
        provider_facts={"directory": f"/nowhere/{number}"},
    )


def plan(here: Context, fleet: list[Instance], module: Module) -> Run:
    """Plan to apply a module to these instances, all in one batch, and start it."""
    with here.store.transaction(holder="bench") as tables:
        run = ledgers.plan(
            tables,
            verb="apply",
            playbook="module_apply",
            work=[planning.Work(instance=one, module=module, number=module.current.number) for one in fleet],
            spread=[fleet],
            actor="bench",
        )
        gate.start_batch(tables, run.id, 1)
    return run


def record(here: Context, run: Run, outcomes: list[Outcome]) -> None:
    """Close the batch and the run in one transaction, as the playbook's record does."""
    with here.store.transaction(holder=run.id) as tables:
        ledgers.record(tables, run.id, batch=1, outcomes=outcomes)
        ledgers.close(tables, run.id)


def answer(run: Run, one: Instance, module: Module) -> Outcome:
    now = clock.now()
    version = module.current
    evidence = Evidence(
        instance=one.id,
        machine="0" * 32,
        run=run.id,
        serial=run.serial,
        verb="apply",
        type=module.type,
        name=module.name,
        datastore="all",
        datastore_version="all",
        tenant="default",
        module=module.id,
        version_number=version.number,
        md5=version.md5,
        sha256=version.sha256,
        status="OK",
        message="Module",
        created=now,
        updated=now,
        removed=None,
        auto_apply=False,
        visible=True,
        is_admin=True,
    )
    result = transport.Result(
        module=module.id, type=module.type, status="OK", message="Module", changed=True, evidence=evidence
    )
    return Outcome(instance=one.id, answer=transport.Answer(started=True, finished=True, results=(result,)))
