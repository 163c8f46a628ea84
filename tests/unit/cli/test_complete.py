"""What the shell completes, as its script asks for it."""

import os
import subprocess
import sys
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


@pytest.fixture
def odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    names = ("my-10", "my-2", "my mod", "my,comma", "my'quote", "my*")
    with store.open(config.load().settings).transaction(holder="a test") as tables:
        tables.put(*(builders.module(name=name) for name in names))


@pytest.mark.usefixtures("odd_names")
def test_bash_completes_whole_names_with_numbers_as_people_count() -> None:
    script = (
        'eval "$(dbmod completion bash)"; COMP_WORDS=(dbmod module-show my); COMP_CWORD=2; _dbmod_completion dbmod; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    answer = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines() == ["my\\ mod", "my\\'quote", "my\\*", "my\\,comma", "my-2", "my-10"]


def test_fish_is_told_whole_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(["completion", "fish"]) == 0
    assert 'string split --max 1 ","' in capsys.readouterr().out
