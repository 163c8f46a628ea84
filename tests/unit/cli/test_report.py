"""The report as a user types it, from a ledger of its own. No host, no browser."""

import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbmod import cli, config, store
from dbmod.store.interface import Store
from tests import builders

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two instances of ours in two datastores and one of another tenant; a module for all, and a hidden one; a run."""
    for name in ("DBMOD_ADMIN", "DBMOD_TENANT", "DBMOD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    opened = store.open(config.load().settings)
    module, hidden = builders.module(name="licence"), builders.module(name="hidden-one", visible=False)
    one, two = builders.instance("db-1"), builders.instance("db-2", datastore="mysql")
    theirs = builders.instance("theirs-7", tenant="other")
    run = builders.run(state="done", playbook="module_apply", reason="a ticket", owner=None, batch=1, batch_sizes=(3,))
    attempts = [builders.attempt(run, what, on, state="ok") for what in (module, hidden) for on in (one, two, theirs)]
    rows = [builders.row(module, one), builders.row(module, theirs), builders.row(hidden, one)]
    with opened.transaction(holder="a test") as tables:
        tables.put(module, hidden, one, two, theirs, run, *attempts, *rows)
    return opened


@pytest.fixture
def typed(ledger: Store, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command: gives exit code, standard output, standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.execute(list(words))
        return code, *capsys.readouterr()

    return run


def data_of(path: str) -> dict[str, Any]:
    text = Path(path).read_text(encoding="utf-8")
    [held] = re.findall(r'type="application/json">(.*?)</script>', text, re.DOTALL)
    return json.loads(held)


def test_report_writes_a_page_that_its_owner_alone_reads(typed: Typed) -> None:
    Path("fleet.html").write_text("older")
    Path("fleet.html").chmod(0o644)
    code, out, err = typed("report", "--html", "fleet.html")
    assert (code, out) == (0, "")
    assert err.startswith("fleet.html: instances: ")
    assert stat.S_IMODE(Path("fleet.html").stat().st_mode) == 0o600
    assert sorted(path.name for path in Path().iterdir()) == ["fleet.html", "home"]


def test_an_admins_report_tells_all(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_ADMIN", "true")
    assert typed("report", "--html", "fleet.html")[0] == 0
    data = data_of("fleet.html")
    assert {one[0] for one in data["instances"]} == {"db-1", "db-2", "theirs-7"}
    assert {one["name"] for one in data["modules"]} == {"licence", "hidden-one"}
    assert [len(one["attempts"]) for one in data["runs"]] == [6]


def test_a_tenants_report_does_not_hold_what_is_not_theirs(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_ADMIN", "false")
    monkeypatch.setenv("DBMOD_TENANT", "default")
    assert typed("report", "--html", "fleet.html")[0] == 0
    text = Path("fleet.html").read_text(encoding="utf-8")
    assert "hidden-one" not in text
    assert "theirs-7" not in text
    assert [len(one["attempts"]) for one in data_of("fleet.html")["runs"]] == [2]


def test_a_report_of_a_selection_holds_that_alone(typed: Typed) -> None:
    assert typed("report", "--html", "x.html", "--datastore", "mysql", "--module", "licence")[0] == 0
    data = data_of("x.html")
    assert [one[0] for one in data["instances"]] == ["db-2"]
    assert [one["name"] for one in data["modules"]] == ["licence"]
    assert "db-1" not in Path("x.html").read_text(encoding="utf-8")
    assert data["title"].startswith("datastore mysql, module licence")
    assert typed("report", "--html", "x.html", "--runs", "0")[0] == 0
    assert data_of("x.html")["runs"] == []


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("--html", "none/x.html"), "ERROR: The report cannot go to none/x.html"),
        (("--html", "x.html", "--limit", "nix"), "ERROR: No instance matches the selection."),
        (("--html", "x.html", "--module", "nix"), "ERROR: No module with a name or ID of 'nix' exists."),
    ],
)
def test_bad_input_is_refused_and_writes_nothing(typed: Typed, words: tuple[str, ...], first: str) -> None:
    code, out, err = typed("report", *words)
    assert (code, out) == (2, "")
    assert err.startswith(first)
    assert not Path("x.html").exists()
