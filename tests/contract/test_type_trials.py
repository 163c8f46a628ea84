"""The trials of module types: a type that breaks a rule is told which; the one that `type-new` writes breaks none."""

import base64
import time
from collections import Counter
from pathlib import Path

import pytest

from dbmod import cli, config, module_types, scratch_host, type_trials
from tests import hosts

WHOLE = (hosts.EXAMPLES / "dbmod_motd.py").read_text()
SECOND_CASE = WHOLE[WHOLE.index('    {\n        "contents": b"one') : WHOLE.index('    {"contents": b"\\xff')]
GOOD = WHOLE.replace(SECOND_CASE, "")  # one good case is enough, and takes half the time
WRITE = "    changed = host.write_file(FILE, contents, mode=0o644)\n"
DECLARES = 'DECLARES = kit.Declares(scope="instance")\n'
# What is broken: what is put in place of what, and the checks that fail for it, no others.
BROKEN = {
    "module: dbmod_motd": ("module: dbmod_other", {"is documented"}),
    "RETURN = ": ("GIVES = ", {"is documented"}),
    '"changed": True,': ('"chagned": True,', {"has cases of both kinds"}),
    "LINES_LIMIT = 20\n": ("LINES_LIMIT = 20\nSIZE = (lambda n: (m := n))(1)\n", {"runs on Python 3.6 without more"}),
    "def query(host):": (
        "def unused():\n    import yaml\n\n\ndef query(host):",
        {"runs on Python 3.6 without more"},
    ),
    "DOCUMENTATION = ": ("from __future__ import annotations\n\nDOCUMENTATION = ", {"runs on Python 3.6 without more"}),
    "LINES_LIMIT = 20": ("import dataclasses\n\nLINES_LIMIT = 20", {"runs on Python 3.6 without more"}),
    '"changed": True,\n        "after"': ('"files": {"/../x": b""},\n        "after"', {"begins with its files"}),
    '"changed": True,\n': ('"files": {FILE: "text"},\n', {"begins with its files"}),
    "except UnicodeDecodeError": ("except KeyError", {"validates, and never falls over", "refuses"}),
    WRITE: ("    host.check = False\n" + WRITE, {"check mode changes nothing"}),
    "return kit.Outcome(changed, ": ("return kit.Outcome(True, ", {"a second apply changes nothing"}),
    'return "" if host.read_file(FILE) is not None': ('return "" if host.check', {"query agrees"}),
    "    return kit.Outcome(host.remove_file(FILE)": (
        '    host.write_file("left", b"")\n    return kit.Outcome(host.remove_file(FILE)',
        {"remove undoes it"},
    ),
}


def write(directory: Path, source: str) -> module_types.ModuleType:
    path = directory / "dbmod_motd.py"
    path.write_text(source)
    return module_types.at(path)


@pytest.mark.parametrize("what", BROKEN, ids=lambda what: what.strip()[:30])
def test_a_type_that_breaks_a_rule_is_told_which(tmp_path: Path, what: str) -> None:
    replacement, checks = BROKEN[what]
    assert what in GOOD
    trials = list(type_trials.carry_out(write(tmp_path, GOOD.replace(what, replacement, 1))))
    assert {one.check for one in trials if one.status == "FAILED"} == checks
    assert all(one.message for one in trials if one.status == "FAILED")


@pytest.mark.parametrize("function", ["apply(contents, host)", "query(host)", "remove(contents, host)"])
def test_a_type_that_hangs_is_told_so_and_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    monkeypatch.setattr(scratch_host.Host, "limit_seconds", 1.0)
    source = GOOD.replace(f"def {function}:\n", f"def {function}:\n    import time; time.sleep(60)\n")
    begun = time.monotonic()
    trials = list(type_trials.carry_out(write(tmp_path, source)))
    [failed] = [one for one in trials if one.status == "FAILED"]
    assert "timed out after 1 s" in failed.message
    assert time.monotonic() - begun < 20


def test_a_secret_that_is_shown_is_found(tmp_path: Path) -> None:
    source = GOOD.replace(DECLARES, "DECLARES = kit.Declares(secret=True)\n").replace(
        '        "contents": b"On call', '        "canary": b"Ada",\n        "contents": b"On call'
    )
    source = source.replace("motd of 1 line written", "Ada").replace('"motd of %d line%s written" %', '"Ada" or')
    trials = list(type_trials.carry_out(write(tmp_path, source)))
    assert "no secret is shown" in {one.check for one in trials if one.status == "FAILED"}


@pytest.mark.parametrize("canary", [b"Ada", b"On call this week"])
def test_a_secret_is_found_wherever_it_is_shown_and_nowhere_else(canary: bytes) -> None:
    assert not type_trials._shows(b'{"message": "motd of 1 line written"}', canary)
    assert type_trials._shows(b"x" + canary, canary)


@pytest.mark.parametrize("before", [b"", b"x", b"xx", b"xxx"])
def test_a_secret_is_found_in_base64(before: bytes) -> None:
    assert type_trials._shows(b"said: " + base64.b64encode(before + b"the secret" + b"\n"), b"the secret")


def test_a_case_that_needs_a_server_is_not_tried_and_says_so(tmp_path: Path) -> None:
    source = GOOD.replace('"removed": "motd', '"server": "redis", "removed": "motd')
    trials = list(type_trials.carry_out(write(tmp_path, source)))
    assert Counter(one.status for one in trials)["NOT TRIED"] == 1
    assert not [one for one in trials if one.status == "FAILED"]


def test_type_new_writes_a_type_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: object) -> None:
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    assert cli.execute(["type-new", "modules", "--directory", str(tmp_path)]) == 0  # a name of dbmod's own files
    path = tmp_path / "dbmod_modules.py"
    assert cli.execute(["type-test", str(path)]) == 0
    settings = config.Settings(type_directories=(str(tmp_path),))
    assert module_types.find(settings, "modules").summary == "Keep a message of the day beside a database server"
    assert cli.execute(["type-new", "modules", "--directory", str(tmp_path)]) == 2
    assert cli.execute(["type-new", "ping", "--directory", str(tmp_path)]) == 2
    assert cli.execute(["type-new", "Bad-Name", "--directory", str(tmp_path)]) == 2
    assert cli.execute(["type-test", str(tmp_path / "none.py")]) == 2
    assert cli.execute(["type-test", str(tmp_path / "dbmod_none.py")]) == 2
    path.write_text(path.read_text().replace("kit.Outcome(changed", "kit.Outcome(True"))
    assert cli.execute(["type-test", str(path)]) == 1
