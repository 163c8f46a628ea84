"""What the shell completes, as its script asks for it."""

from pathlib import Path

import pytest

from dbmod import cli, config, store
from tests import builders


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give the ids of runs in all states: state → id."""
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    states = ("running", "paused", "done", "failed", "cancelled", "lost")
    made = {state: builders.run(state=state, batch_sizes=(1,)) for state in states}
    with store.open(config.load().settings).transaction(holder="a test") as tables:
        tables.put(*made.values())
    return {state: one.id for state, one in made.items()}


@pytest.mark.parametrize(
    ("command", "states"),
    [
        ("run-show", {"running", "paused", "done", "failed", "cancelled", "lost"}),
        ("run-wait", {"running", "paused"}),
        ("run-pause", {"running", "paused"}),
        ("run-cancel", {"running", "paused"}),
        ("run-resume", {"paused", "failed", "cancelled", "lost"}),
    ],
)
def test_runs_are_completed_that_the_command_can_do_something_about(
    runs: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    states: set[str],
) -> None:
    monkeypatch.setenv("_DBMOD_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"dbmod {command} ")
    monkeypatch.setenv("COMP_CWORD", "2")
    cli.execute([])
    assert {line.removeprefix("plain,") for line in capsys.readouterr().out.split()} == {runs[one] for one in states}
