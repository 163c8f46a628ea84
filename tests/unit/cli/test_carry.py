"""What the command tells of a run beside its table."""

import json
from pathlib import Path

import pytest

from dbmod import cli, config, store
from dbmod.cli import carry
from dbmod.operations import Planned, Skipped
from tests import builders


def test_what_is_skipped_is_told_by_reason_and_named_where_it_is_little(capsys: pytest.CaptureFixture[str]) -> None:
    held = [Skipped(instance=f"db-{number}", why="on hold, by ada: backup") for number in range(400)]
    down = [Skipped(instance=name, why="not ACTIVE: its status is SHUTDOWN.") for name in ("a", "b")]
    carry.skipped(Planned(run=None, skipped=(*held[:200], *down, *held[200:])))
    assert capsys.readouterr().err.splitlines() == [
        "skipped 400 instances: on hold, by ada: backup",
        "skipped a, b: not ACTIVE: its status is SHUTDOWN.",
    ]


def test_run_show_names_all_that_were_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    run = builders.run(options={"skipped": {"on hold, by ada: backup": ["db-2", "db-10"]}})
    with store.open(config.load().settings).transaction(holder="a test") as tables:
        tables.put(run)
    assert cli.execute(["run-show", run.id, "-f", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)["attempts"]
    told = [(one["Instance"], one["Batch"], one["Status"], one["Message"]) for one in shown]
    assert told == [(name, None, "SKIPPED", "on hold, by ada: backup") for name in ("db-2", "db-10")]


@pytest.mark.parametrize(("state", "said"), [("done", "was"), ("failed", "was not all"), ("cancelled", "was not all")])
def test_a_way_back_that_failed_is_not_told_as_if_all_were_back(
    capsys: pytest.CaptureFixture[str], state: str, said: str
) -> None:
    back = carry.Outcome(run=builders.run(verb="rollback", state=state), attempts=(), instances={}, modules={})
    run = builders.run(state="failed")
    carry.complain(carry.Outcome(run=run, attempts=(), instances={}, modules={}, way_back=back))
    assert f"What it had changed {said} put back: run {back.run.id}" in capsys.readouterr().err
