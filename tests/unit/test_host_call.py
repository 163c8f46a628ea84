"""One round trip for a run, to a real host side on this machine: the command and the frame, without Ansible."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod import doors, gate, host_call, ledger, operations, processes, registry, transport
from dbmod.context import Context
from dbmod.evidence import Outcome
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.selection import Selection
from tests import builders, hosts
from tests.builders import REPLACE

Put = Callable[..., None]


@pytest.fixture
def host(here: Context, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """An instance whose home is a scratch directory; doors find the ledger by the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBMOD_HOME", here.settings.home)
    (tmp_path / "instance").mkdir()
    instance = builders.instance(provider_facts={"directory": str(tmp_path / "instance")})
    put(instance)
    return instance


def variables(host: Instance, **more: Any) -> dict[str, Any]:
    place = str(host.provider_facts["directory"])
    return {
        "dbmod_id": host.id,
        "dbmod_host_home": place,
        "dbmod_datastore": host.datastore,
        "dbmod_datastore_version": host.datastore_version,
        "dbmod_directory": place,
        "dbmod_port": host.port,
        doors.INTERPRETER: hosts.pythons()[0],
    } | more


def send(command: str, data: bytes) -> host_call.Reply:
    """Do what a connection does."""
    ended = subprocess.run(["/bin/sh", "-c", command], input=data, capture_output=True, check=False)
    trouble = host_call.trouble_of(ended.returncode, ended.stderr.decode())
    return host_call.Reply(output=ended.stdout.decode(), trouble=trouble)


def module(here: Context, number: int = 1, **asked: Any) -> Module:
    request = registry.Request(**({"name": "mymod", "type": "ping"} | asked))
    return registry.create(here, request, builders.contents(number))


def begin(here: Context, run: Run | None) -> Run:
    assert run
    with here.store.transaction(holder="a test") as tables:
        started = ledger.start(tables, run.id, processes.owner())
        gate.start_batch(tables, run.id, 1)
    return started


def carried_out(
    here: Context, run: Run | None, host: Instance, send: host_call.Send = send, **more: Any
) -> list[Attempt]:
    """Carry a run out on its host and record it, as the playbook does."""
    started = begin(here, run)
    answer = host_call.carry_out(started.id, variables(host, **more), send)
    doors.record_modules(here, started.id, {host.name: answer})
    found = here.store.snapshot().find(Attempt, run_id=started.id)
    return sorted(found, key=lambda one: (one.order, one.module_id))


def apply(here: Context, *names: str) -> Run | None:
    return operations.plan_apply(here, Selection(instance="myinst"), names).run


def test_all_modules_of_a_host_go_in_one_round_trip_and_are_recorded(here: Context, host: Instance) -> None:
    first, second = module(here, 1, name="first"), module(here, 2, name="second", apply_order=9)
    calls = []

    def counted(command: str, data: bytes) -> host_call.Reply:
        calls.append((command, data))
        return send(command, data)

    closed = carried_out(here, apply(here, "second", "first"), host, counted)
    assert [(one.module_id, one.state, one.message) for one in closed] == [
        (first.id, "ok", "Module.V1"),
        (second.id, "ok", "Module.V2"),
    ]
    assert len(calls) == 1
    assert b"Module.V2" in calls[0][1]
    assert "Module" not in calls[0][0]
    row = here.store.snapshot().get(Row, host.id, within=second.id)
    assert row
    assert (row.held, row.held_sha256) == (1, builders.sha256(2))


def test_remove_query_and_reconcile_see_what_is_there(here: Context, host: Instance) -> None:
    made = module(here)
    carried_out(here, apply(here, "mymod"), host)
    one = Selection(instance="myinst")
    _, seen = sorted(
        carried_out(here, operations.plan_question(here, "query", one).run, host), key=lambda a: a.module_id
    )
    assert (seen.module_id, seen.status, seen.message) == (made.id, "OK", "Module.V1")
    (gone,) = carried_out(here, operations.plan_remove(here, one, "mymod").run, host)
    assert gone.state == "ok"
    row = here.store.snapshot().get(Row, host.id, within=made.id)
    assert row
    assert row.removed_at is not None
    answers = carried_out(here, operations.plan_question(here, "reconcile", one).run, host)
    assert not any(answer.changed for answer in answers)


def test_check_changes_nothing_on_the_host(here: Context, host: Instance, tmp_path: Path) -> None:
    module(here)
    run = operations.plan_apply(here, Selection(instance="myinst"), ["mymod"], check=True).run
    (looked,) = carried_out(here, run, host)
    assert (looked.state, looked.changed) == ("skipped", True)
    assert list((tmp_path / "instance").iterdir()) == []
    assert here.store.snapshot().find(Row) == []


@pytest.mark.parametrize(
    ("reply", "state", "message"),
    [
        (host_call.Reply(output="", trouble="Connection refused"), "unreachable",
         "the connection was refused; next: is ssh running there, on this port?"),
        (host_call.Reply(output=""), "unreachable", "the host was not reached"),
        (host_call.Reply(output="\ndbmod-started RUN\n", trouble="lost"), "unknown", "lost"),
        (host_call.Reply(output="", trouble="over ssh: \ndbmod-started RUN\nConnection reset"), "unknown",
         "it started there, and no answer came: the connection was cut; next: dbmod reconcile myinst"),
        (host_call.Reply(output="", trouble="over ssh: Timeout, server db-1 not responding."), "unknown",
         "it started there, and no answer came: no answer in time; next: dbmod reconcile myinst"),
        (host_call.Reply(output="dbmod-refused - dbmod needs Python 3.6 or newer on the host"), "unreachable",
         "dbmod needs Python 3.6 or newer on the host"),
    ],
)  # fmt: skip
def test_a_host_without_an_answer_is_an_outcome_too(
    here: Context, host: Instance, reply: host_call.Reply, state: str, message: str
) -> None:
    module(here)
    run = apply(here, "mymod")
    assert run
    told = REPLACE(reply, output=reply.output.replace("RUN", run.id), trouble=reply.trouble.replace("RUN", run.id))
    (closed,) = carried_out(here, run, host, lambda _command, _data: told)
    assert (closed.state, closed.message) == (state, message)
    assert here.store.snapshot().find(Row) == []


def test_a_host_with_nothing_left_is_skipped_without_a_call(here: Context, host: Instance) -> None:
    module(here)
    run = begin(here, apply(here, "mymod"))
    assert host_call.carry_out(run.id, variables(host) | {"dbmod_id": "another"}, never) == {
        "skipped": True,
        "changed": False,
    }


def never(_command: str, _data: bytes) -> host_call.Reply:
    raise AssertionError("nothing may be sent")


def test_a_run_that_has_ended_sends_nothing(here: Context, host: Instance) -> None:
    module(here)
    run = begin(here, apply(here, "mymod"))
    with here.store.transaction(holder="a test") as tables:
        ledger.close(tables, run.id)
    outcome = host_call.carry_out(run.id, variables(host), never)["outcome"]
    assert outcome["was_refused"]
    assert outcome["reason"] == f"The run {run.id} has ended: failed."


def test_a_module_that_is_not_in_the_ledger_any_more_sends_nothing(here: Context, host: Instance) -> None:
    made = module(here)
    run = begin(here, apply(here, "mymod"))
    with here.store.transaction(holder="a test") as tables:
        tables.delete(made)
    outcome = host_call.carry_out(run.id, variables(host), never)["outcome"]
    assert "names a module that is not in the ledger" in outcome["reason"]
    with here.store.transaction(holder="a test") as tables:
        (closed,) = ledger.record(tables, run.id, batch=1, outcomes=[msgspec.convert(outcome, Outcome)])
    assert (closed.state, closed.message) == ("error", outcome["reason"])


def test_an_interpreter_that_is_to_be_discovered_becomes_the_systems_python(here: Context, host: Instance) -> None:
    module(here)
    commands = []

    def noted(command: str, _data: bytes) -> host_call.Reply:
        commands.append(command)
        return host_call.Reply(output="", trouble="x")

    carried_out(here, apply(here, "mymod"), host, noted, **{doors.INTERPRETER: "auto_silent"})
    assert commands == [transport.command("/usr/bin/python3")]


# Retrieve


def retrieved(here: Context, host: Instance, target: Path, *, admin: bool = True, prefix: str = "") -> dict[str, bytes]:
    run = operations.plan_retrieve(here, Selection(instance="myinst"), directory=str(target), prefix=prefix).run
    os.environ["DBMOD_ADMIN"] = str(admin).lower()
    try:
        closed = carried_out(here, run, host)
    finally:
        del os.environ["DBMOD_ADMIN"]
    files = {path.name: path.read_bytes() for path in target.iterdir()}
    assert sorted(one.message for one in closed if one.module_id) == sorted(str(target / name) for name in files)
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o600}
    return files


def test_retrieve_writes_the_bytes_on_the_host_under_the_guides_name(
    here: Context, host: Instance, tmp_path: Path
) -> None:
    module(here)
    carried_out(here, apply(here, "mymod"), host)
    assert retrieved(here, host, tmp_path / "a") == {"mymod_all_all.dat": builders.contents(1)}
    assert retrieved(here, host, tmp_path / "b", prefix="db") == {"db_mymod_all_all.dat": builders.contents(1)}


def test_two_modules_of_one_name_get_two_files(here: Context, host: Instance, tmp_path: Path) -> None:
    one, two = module(here, 1), module(here, 2, all_tenants=True)
    carried_out(here, apply(here, one.id, two.id), host)
    files = retrieved(here, host, tmp_path / "a")
    assert sorted(files.values()) == [builders.contents(1), builders.contents(2)]
    assert len(files) == 2


def test_contents_of_an_admins_module_are_not_for_a_tenant(here: Context, host: Instance, tmp_path: Path) -> None:
    module(here)
    module(here, 2, name="free", full_access=True)
    carried_out(here, apply(here, "mymod", "free"), host)
    assert retrieved(here, host, tmp_path / "a", admin=False) == {
        "mymod_all_all.dat": b"Must be admin to retrieve contents for module mymod",
        "free_all_all.dat": builders.contents(2),
    }


@pytest.mark.parametrize("name", ["漢" * 250, "x" * 240, "x" * 255])
def test_a_name_that_is_too_long_for_a_file_gives_way_to_the_id(
    here: Context, host: Instance, tmp_path: Path, name: str
) -> None:
    made = module(here, name=name)
    carried_out(here, apply(here, made.id), host)
    files = retrieved(here, host, tmp_path / "a", prefix="p" * 99)
    assert files == {f"{'p' * 99}_{made.id}_all_all.dat": builders.contents(1)}


def test_why_a_command_failed_is_its_last_line_without_our_own() -> None:
    assert host_call.trouble_of(0, "whatever") == ""
    assert host_call.trouble_of(1, "Traceback\nboom\ndbmod-started x\n\n") == "boom"
    assert host_call.trouble_of(127, "") == "the command on the host ended with 127"
    assert len(host_call.trouble_of(1, "x" * 9999)) == host_call.TROUBLE_LIMIT
