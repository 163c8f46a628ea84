"""module-sync as a user types it, on a ledger of its own; nothing is encrypted here."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dbmod import cli

Typed = Callable[..., tuple[int, str, str]]
FILE = """modules:
  - {name: mymod, type: ping, contents: ping.dat, live_update: true}
  - {name: other, type: ping, contents: ping.dat, datastore: redis}
"""
SHORTER = "modules: [{name: mymod, type: ping, contents: ping.dat, live_update: true}]\n"


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command beside a file that declares two modules: gives exit code, standard output, standard error."""
    for name in ("DBMOD_ADMIN", "DBMOD_TENANT", "DBMOD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("ping.dat").write_text("message=Module.V1\n")
    Path("modules.yml").write_text(FILE)

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.execute(list(words))
        return code, *capsys.readouterr()

    return run


def actions(typed: Typed, *words: str) -> tuple[int, str]:
    code, out, _ = typed("module-sync", "modules.yml", "-f", "value", "-c", "Name", "-c", "Action", *words)
    return code, out


def test_it_shows_a_table_what_was_done_and_from_where(typed: Typed) -> None:
    code, out, err = typed("module-sync", "modules.yml")
    assert code == 0
    assert [cell.strip() for cell in out.splitlines()[1].split("|")[1:-1]] == [
        "Name",
        "Type",
        "Datastore",
        "Version",
        "Action",
        "Md5",
        "Changes",
    ]
    assert err == "2 created\nsource: modules.yml, at no revision\n"


def test_check_says_the_same_and_does_nothing(typed: Typed) -> None:
    code, out, err = typed("module-sync", "modules.yml", "--check", "-f", "json")
    assert (code, err) == (0, "would be: 2 created\nsource: modules.yml, at no revision\n")
    assert [(one["Name"], one["Action"], one["ID"], one["Number"]) for one in json.loads(out)] == [
        ("mymod", "create", None, 1),
        ("other", "create", None, 1),
    ]
    assert typed("module-list", "-f", "value") == (0, "", "")


def test_a_second_time_nothing_changes(typed: Typed) -> None:
    assert actions(typed) == (0, "mymod create\nother create\n")
    assert actions(typed) == (0, "mymod unchanged\nother unchanged\n")


def test_what_the_file_no_longer_declares_is_named_and_pruned_only_when_confirmed(typed: Typed) -> None:
    actions(typed, "--reason", "first")
    Path("modules.yml").write_text(SHORTER)
    code, out, err = typed("module-sync", "modules.yml", "-f", "value", "-c", "Name", "-c", "Action")
    assert (code, out) == (0, "mymod unchanged\nother undeclared\n")
    assert err.endswith("The file no longer declares other: --prune deletes them.\n")
    code, out, err = typed("module-sync", "modules.yml", "--prune")
    assert (code, out, err) == (2, "", "ERROR: Deleting other has to be confirmed.\n  next  add --yes\n")
    assert actions(typed, "--prune", "--check") == (0, "mymod unchanged\nother delete\n")
    assert typed("module-list", "-f", "value", "-c", "Name")[1] == "mymod\nother\n"
    assert actions(typed, "--prune", "--yes") == (0, "mymod unchanged\nother delete\n")
    assert typed("module-list", "-f", "value", "-c", "Name")[1] == "mymod\n"
    columns = ("-c", "Verb", "-c", "Message", "-c", "Reason")
    assert typed("history", "mymod", "-f", "value", *columns)[1] == "module-sync create first\n"
    assert typed("run-list", "-f", "value", "-c", "What")[1] == "other\n2 modules\n"
    run = typed("run-list", "-f", "value", "-c", "ID")[1].split()[1]
    shown = json.loads(typed("run-show", run, "-f", "json")[1])
    assert [(one["Module"], one["Message"]) for one in shown["attempts"]] == [("mymod", "create"), ("other", "create")]


def test_a_refusal_names_the_module_and_changes_nothing(typed: Typed) -> None:
    Path("modules.yml").write_text(FILE.replace("datastore: redis", "datastore: x"))
    code, out, err = typed("module-sync", "modules.yml")
    assert (code, out) == (2, "")
    assert err.startswith("ERROR: Datastore 'x' cannot be found.\n  declared  other\n")
    assert typed("module-list", "-f", "value") == (0, "", "")


def test_versions_and_the_module_say_where_they_are_declared(typed: Typed) -> None:
    typed("module-sync", "modules.yml")
    shown = json.loads(typed("module-show", "mymod", "-f", "json")[1])
    assert (shown["declared_in"], shown["revision"], shown["revision_dirty"]) == ("modules.yml", None, False)
    assert typed("module-versions", "mymod", "-f", "value", "-c", "Source")[1] == "modules.yml\n"
    typed("module-update", "mymod", "--description", "by hand")
    typed("module-create", "hand", "ping", "ping.dat")
    assert json.loads(typed("module-show", "hand", "-f", "json")[1])["declared_in"] is None
    assert typed("module-versions", "hand", "-f", "value", "-c", "Source")[1] == "None\n"


def test_a_vault_id_whose_file_is_not_there_is_refused(typed: Typed) -> None:
    code, _, err = typed("module-sync", "modules.yml", "--vault-id", "prod@none")
    assert code == 2
    assert "there is no file" in err


def test_not_even_debug_quotes_the_file(typed: Typed) -> None:
    Path("modules.yml").write_text("modules:\n  - {name: mymod, contents: 4f1c-secret")
    code, _, err = typed("module-sync", "modules.yml", "--debug")
    assert (code, "Traceback" in err, "4f1c-secret" in err) == (2, True, False)
