"""The listing of module types, and validation on the controller."""

import subprocess
import sys
from pathlib import Path

import pytest

from dbmod import config, errors, module_types, paths
from dbmod.hostside import dbmod_kit as kit
from tests import hosts


def with_types(directory: Path, **sources: str) -> config.Settings:
    for name, source in sources.items():
        (directory / f"dbmod_{name}.py").write_text(source)
    return config.Settings(type_directories=(str(directory),))


LIBRARY = paths.content() / "library"
GOOD = hosts.type_source("return kit.Outcome(True, '')", header="DOCUMENTATION = 'short_description: Do it'")


def test_listing_finds_our_types_and_the_users(tmp_path: Path) -> None:
    found = module_types.listing(with_types(tmp_path, mine=GOOD))
    assert list(found) == sorted({"mine", *(path.stem.removeprefix("dbmod_") for path in LIBRARY.glob("dbmod_*.py"))})
    assert {"config", "file", "new_relic_license", "ping", "prometheus_exporter", "script", "sql"} < set(found)
    assert found["mine"].summary == "Do it"
    assert found["mine"].declares == kit.Declares()
    assert found["ping"].declares.keys == ("message",)
    assert module_types.sources(with_types(tmp_path, mine=GOOD), ["mine", "gone"]) == {"mine": GOOD}


def test_find_takes_any_case_and_says_what_is_missing() -> None:
    assert module_types.find(config.Settings(), "PING").name == "ping"
    with pytest.raises(errors.NotFound) as refusal:
        module_types.find(config.Settings(), "pong")
    assert refusal.value.what == "Module type 'pong' was not found."


def test_two_files_of_one_name_are_refused_with_both_paths(tmp_path: Path) -> None:
    with pytest.raises(errors.BadInput) as refusal:
        module_types.listing(with_types(tmp_path, ping=GOOD))
    assert str(tmp_path / "dbmod_ping.py") in refusal.value.what
    assert "library/dbmod_ping.py" in refusal.value.what


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("Upper", GOOD, "a type's name takes lower-case letters"),
        ("broken", "def validate(:\n", "is not Python: line 1"),
        ("empty", "", "has no validate function"),
        ("raising", "raise RuntimeError('CANARY')", "cannot be loaded (RuntimeError)"),
        ("ending", "raise SystemExit('CANARY')", "cannot be loaded (SystemExit)"),
        ("importing", "import no_such_package_of_anybody", "cannot be loaded (ModuleNotFoundError)"),
        ("declaring", GOOD + "\nDECLARES = {'secret': True}", "DECLARES must be a kit.Declares"),
        ("needing", GOOD + "\nDECLARES = kit.Declares(needs=('luck',))", "needs knows root, systemd"),
        ("cases", GOOD + "\nCASES = [1]", "CASES must be a tuple of dicts"),
    ],
)
def test_a_file_that_is_no_type_is_refused_by_name(tmp_path: Path, name: str, source: str, reason: str) -> None:
    with pytest.raises(errors.BadInput) as refusal:
        module_types.listing(with_types(tmp_path, **{name: source}))
    assert f"dbmod_{name}.py" in refusal.value.what
    assert reason in refusal.value.what
    assert "CANARY" not in refusal.value.what


def test_a_directory_that_is_missing_is_refused(tmp_path: Path) -> None:
    settings = config.Settings(type_directories=(str(tmp_path / "no"),))
    with pytest.raises(errors.BadInput, match=r"type_directories: .*/no is not a directory"):
        module_types.listing(settings)


def test_validate_gives_the_types_own_reason(tmp_path: Path) -> None:
    ping = module_types.find(config.Settings(), "ping")
    module_types.validate(ping, b"message=1\n")
    with pytest.raises(errors.BadInput) as refusal:
        module_types.validate(ping, b"massage=CANARY\n")
    assert refusal.value.what == "Message not found in contents file"
    for kind in ("ValueError", "SystemExit"):
        raising = GOOD.replace("    pass", f"    raise {kind}(contents)")
        mine = module_types.find(with_types(tmp_path, mine=raising), "mine")
        with pytest.raises(errors.BadInput) as refusal:
            module_types.validate(mine, b"CANARY")
        assert refusal.value.what == f"{kind} in mine's validate"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import time; time.sleep(600)", "timed out after 0.2 s in mine's validate"),
        ("raise kit.Refused('')", ""),
        ("import os; os.kill(os.getpid(), 9)", "ended without a result (signal 9) in mine's validate"),
    ],
)
def test_validate_that_never_ends_dies_or_gives_no_reason_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    monkeypatch.setattr(module_types, "VALIDATE_SECONDS", 0.2)
    settings = with_types(tmp_path, mine=GOOD.replace("    pass", f"    {code}"))
    with pytest.raises(errors.BadInput) as refusal:
        module_types.validate(module_types.find(settings, "mine"), b"CANARY")
    assert (refusal.value.what, "--no-validate" in str(refusal.value.next_step)) == (reason, reason != "")


def test_listing_imports_neither_ansible_nor_yaml() -> None:
    code = (
        "import sys; from dbmod import config, module_types; module_types.listing(config.Settings());"
        "print([name for name in sys.modules if name.split('.')[0] in ('ansible', 'yaml')])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
