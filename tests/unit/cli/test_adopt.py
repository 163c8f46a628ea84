"""Options of adopting and logging in that do not fit together are refused before anything is touched."""

from pathlib import Path

import pytest

from dbmod import cli


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("adopt --datastore redis", "Adopt either a group of an inventory, or one host."),
        ("adopt --datastore redis --inventory i.yml --host a", "Adopt either a group of an inventory, or one host."),
        ("adopt --datastore redis --inventory i.yml", "With --inventory goes --group"),
        ("adopt x --datastore redis --inventory i.yml --group g", "With --inventory goes --group"),
        ("adopt --datastore redis --host a", "With --host goes a NAME"),
        ("adopt x --datastore redis --host a --group g", "With --host goes a NAME"),
        ("adopt x --datastore redis --host a --prune", "With --host goes a NAME"),
        ("adopt x --datastore redis --host a --restart-command a;b", "The restart command holds 'a;b'"),
        ("adopt x --datastore redis --host a --baseline nosuch", "No module with a name or ID of 'nosuch' exists."),
        ("adopt --datastore redis --inventory /gone.yml --group g", "There is no inventory /gone.yml."),
        ("adopt --datastore redis --inventory / --group {{g}}", "--group '{{g}}' is no pattern."),
        ("adopt --datastore redis --inventory / --group g --cluster-by a-b", "--cluster-by 'a-b' is no name"),
        ("adopt x --datastore redis --host a --vault-id prod@", "--vault-id 'prod@' has no source."),
        ("release", "No instance was named."),
        ("update x", "Nothing is to be changed."),
        ("create x 15 --no-wait -K", "-K and --vault-id go with --wait"),
    ],
)
def test_what_does_not_fit_together_is_refused(words: str, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.execute(words.split()) == 2
    assert capsys.readouterr().err.startswith(f"ERROR: {what}")
