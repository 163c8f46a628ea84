"""What the runner does around ansible-runner: directories, contents that cannot be read, who may carry a run out."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from dbmod import config, errors, ledger, operations, planning, processes, run_directory, runner
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Run
from dbmod.selection import Selection
from tests import builders

Put = Callable[..., None]


class Silence:
    """A progress that shows nothing."""

    def start(self, run: Run, hosts: Mapping[str, str], attempts: Sequence[Attempt]) -> None: ...

    def batch(self, number: int, of: int, hosts: Sequence[str]) -> None: ...

    def host(self, name: str, state: str, message: str) -> None: ...

    def step(self, name: str, task: str, *, done: bool) -> None: ...

    def note(self, text: str) -> None: ...

    def stop(self) -> None: ...


def test_a_directory_is_swept_when_its_run_has_ended_and_its_maker_is_gone(here: Context, put: Put) -> None:
    run = builders.run(state="done")
    put(run)
    directory = here.settings.home_path / "runs" / run.id
    directory.mkdir(parents=True)
    maker = directory / run_directory.MAKER
    maker.write_bytes(msgspec.json.encode(processes.owner()))
    run_directory.sweep(here)
    assert directory.exists()  # ansible-runner still works there for a moment after the playbook closed the run
    maker.write_bytes(msgspec.json.encode(builders.dead_owner()))
    run_directory.sweep(here)
    assert not directory.exists()


@pytest.mark.parametrize(("provider", "is_ours"), [("local", True), ("ssh", False)])
def test_run_leaves_the_temporary_directory_of_other_machines_to_them(
    here: Context, put: Put, provider: str, is_ours: bool
) -> None:
    put(builders.instance(provider=provider), builders.module())
    run = operations.plan_apply(here, Selection(instance="myinst"), ["mymod"]).run
    assert run
    directory = here.settings.home_path / "runs" / run.id
    directory.mkdir(parents=True)
    with run_directory.environment(here, directory):
        assert os.environ["ANSIBLE_LOCAL_TEMP"] == str(directory / "tmp")
        assert (os.environ.get("ANSIBLE_REMOTE_TEMP") == str(directory / "tmp")) is is_ours


@pytest.mark.parametrize("named", ["", "other.yml"])
def test_the_playbook_has_the_settings_of_where_the_command_is(
    here: Context, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / (named or "dbmod.yml")).write_text("type_directories: [types]\ntype_timeout_seconds: 77\n")
    monkeypatch.setenv("DBMOD_CONFIG", named)
    (tmp_path / "types").mkdir()
    put(builders.instance(), builders.module())
    run = operations.plan_apply(here, Selection(instance="myinst"), ["mymod"]).run
    assert run
    directory = here.settings.home_path / "runs" / run.id
    directory.mkdir(parents=True)
    there = Context(store=here.store, settings=config.load().settings, actor=here.actor)
    with run_directory.environment(there, directory):
        monkeypatch.chdir("/")
        settings = config.load().settings
    assert (settings.type_directories, settings.type_timeout_seconds) == ((str(tmp_path / "types"),), 77)


def test_contents_that_cannot_be_read_are_refused_before_any_host_is_touched(
    here: Context, put: Put, tmp_path: Path
) -> None:
    instance = builders.instance(provider_facts={"directory": str(tmp_path)})
    put(instance, builders.module())
    run = operations.plan_apply(here, Selection(instance="myinst"), ["mymod"]).run
    assert run
    with pytest.raises(errors.LedgerDamaged, match="there are no contents 1 of"):
        runner.carry_out(here, run, progress=Silence())
    tables = here.store.snapshot()
    assert [one.state for one in tables.find(Attempt, run_id=run.id)] == ["cancelled"]
    ended = tables.get(Run, run.id)
    assert ended and not ended.is_open
    assert list(tmp_path.iterdir()) == []
    assert not (here.settings.home_path / "runs" / run.id).exists()


def test_a_run_is_carried_out_once(here: Context, put: Put) -> None:
    instance: Instance = builders.instance()
    put(instance)
    with here.store.transaction(holder="a test") as tables:
        work = [planning.Work(instance=instance, module=None)]
        run = ledger.plan(tables, verb="query", playbook="module_query", work=work, spread=[[instance]], actor="ada")
        ledger.start(tables, run.id, processes.owner())
    with here.store.transaction(holder="a test") as tables, pytest.raises(errors.Refused, match="is running already"):
        ledger.start(tables, run.id, processes.owner())


def test_a_directory_that_is_not_signed_yet_is_left_to_its_maker(here: Context) -> None:
    directory = run_directory.parent(here) / "new"
    directory.mkdir()
    run_directory.sweep(here)
    assert directory.exists()
    before = directory.stat().st_mtime - run_directory.UNSIGNED_SECONDS
    os.utime(directory, (before, before))
    run_directory.sweep(here)
    assert not directory.exists()
