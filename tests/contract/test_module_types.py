"""Every module type found by listing, with the CASES of its own file, as dbmod ships it; in playbooks: the file beside.

A new type needs no new test here; what a case may say is in docs/module-types.md.
"""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbmod import config, errors, module_types, paths
from tests import hosts

SETTINGS = config.Settings(type_directories=(str(hosts.EXAMPLES),))
TYPES = module_types.listing(SETTINGS)
ALL_CASES = [(name, number) for name, found in TYPES.items() for number in range(len(found.cases))]
# Those that need a server are carried out by integration/test_type_sql.py and test_prometheus_exporter.py.
CASES = [(name, number) for name, number in ALL_CASES if "server" not in TYPES[name].cases[number]]
GOOD = [(name, number) for name, number in CASES if "refused" not in TYPES[name].cases[number]]
BAD = [(name, number) for name, number in CASES if "refused" in TYPES[name].cases[number]]
KNOWN = {
    *("contents", "refused", "message", "would", "changed", "removed", "files", "after", "after_removed", "canary"),
    "server",
}


def case_of(name: str, number: int) -> dict[str, Any]:
    return TYPES[name].cases[number]


@pytest.fixture(params=hosts.pythons())
def host(request: pytest.FixtureRequest, tmp_path: Path) -> hosts.Host:
    host = hosts.Host(tmp_path, hosts.EXAMPLES)
    host.python = request.param
    return host


def prepare(host: hosts.Host, case: dict[str, Any]) -> None:
    for name, data in case.get("files", {}).items():
        for parent in reversed(host.path(name).relative_to(host.home.parent).parents):
            (host.home.parent / parent).mkdir(mode=0o700, exist_ok=True)
        host.path(name).write_bytes(data)


def files(host: hosts.Host, expected: dict[str, bytes | None]) -> dict[str, bytes | None]:
    return {name: host.path(name).read_bytes() if host.path(name).exists() else None for name in expected}


def apart_from_questions(seen: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Leave out what the stand-in of systemctl writes down: that it was asked something."""
    return {path: facts for path, facts in seen.items() if path not in ("root", "root/systemctl.log")}


def check_no_canary(case: dict[str, Any], *outputs: bytes) -> None:
    canary = case.get("canary", b"\0 no canary")
    for output in outputs:
        assert canary not in output
        assert base64.b64encode(canary)[:-4] not in output


@pytest.mark.parametrize("name", TYPES)
def test_type_has_cases_of_both_kinds_and_documentation(name: str) -> None:
    found = TYPES[name]
    assert [case for case in found.cases if "refused" in case] and [case for case in found.cases if "message" in case]
    assert all(set(case) <= KNOWN for case in found.cases)
    assert all("canary" in case for case in found.cases if found.declares.secret and "message" in case)
    names: dict[str, Any] = module_types.functions(found).apply.__globals__
    documentation = yaml.safe_load(names["DOCUMENTATION"])
    assert documentation["module"] == f"dbmod_{name}"
    assert documentation["short_description"] == found.summary
    assert set(documentation["options"]) == {
        *("contents", "contents_base64", "state", "name", "instance", "module_id", "home"),
    }
    assert yaml.safe_load(names["EXAMPLES"])
    assert {"message", "status"} <= set(yaml.safe_load(names["RETURN"]))


def test_the_tutorial_shows_the_file_that_works() -> None:
    shown = (paths.PACKAGE.parent / "docs/module-types.md").read_text().partition("```python\n")[2].partition("```")[0]
    source = (hosts.EXAMPLES / "dbmod_motd.py").read_text()
    assert [part for part in shown.strip().split("\n\n") if part not in source] == []
    assert "def apply" in shown


@pytest.mark.parametrize(("name", "number"), ALL_CASES)
def test_validation_agrees_with_the_cases(name: str, number: int) -> None:
    case = case_of(name, number)
    if "refused" not in case:
        module_types.validate(TYPES[name], case["contents"])
        return
    with pytest.raises(errors.BadInput) as refusal:
        module_types.validate(TYPES[name], case["contents"])
    assert refusal.value.what == case["refused"]


@pytest.mark.parametrize(("name", "number"), GOOD)
def test_shipped_type_applies_queries_and_removes(host: hosts.Host, name: str, number: int) -> None:
    case, secret = case_of(name, number), TYPES[name].declares.secret
    contents = case["contents"]
    prepare(host, case)
    before = hosts.snapshot(host.home.parent)
    would = host.apply(name, contents, check=True)
    assert apart_from_questions(hosts.snapshot(host.home.parent)) == apart_from_questions(before)
    assert (would.result.status, would.result.changed, would.result.evidence) == ("OK", True, None)
    assert would.result.message == case.get("would", case["message"])
    first = host.apply(name, contents)
    assert (first.result.status, first.result.message, first.result.changed) == ("OK", case["message"], True)
    assert first.result.evidence is not None and first.result.evidence.run == "run-1"
    assert files(host, case.get("after", {})) == case.get("after", {})
    kept = host.folder(name) / "contents.dat"
    assert kept.exists() is not secret
    held = hosts.snapshot(host.home.parent)
    again = host.apply(name, contents, run="run-2", serial=2)
    assert (again.result.status, again.result.message, again.result.changed) == ("OK", case["message"], False)
    own = str(host.folder(name).relative_to(host.home.parent))
    assert {path: seen for path, seen in hosts.snapshot(host.home.parent).items() if not path.startswith(own)} == {
        path: seen for path, seen in held.items() if not path.startswith(own)
    }
    if not secret:
        assert hosts.snapshot(host.folder(name))["contents.dat"] == held[f"{own}/contents.dat"]
    query = host.look("query", name)
    assert (query.result.status, query.result.message, query.result.note) == ("OK", case["message"], "")
    retrieve = host.look("retrieve", name)
    assert retrieve.result.contents == (None if secret else contents)
    removed = host.remove(name, run="run-3", serial=3)
    assert (removed.result.status, removed.result.changed) == ("OK", True)
    assert removed.result.message == case.get("removed", removed.result.message)
    assert removed.result.evidence is not None and removed.result.evidence.removed is not None
    assert removed.result.evidence.created == first.result.evidence.created
    assert not kept.exists()
    assert files(host, case.get("after_removed", {})) == case.get("after_removed", {})
    assert host.remove(name, run="run-4", serial=4).result.changed is False
    every = [would, first, again, query, removed, *([retrieve] if secret else [])]
    check_no_canary(case, *(sent.output + sent.errors for sent in every))
    check_no_canary(case, *(path.read_bytes() for path in host.home.rglob("*") if path.is_file() and secret))


@pytest.mark.parametrize(("name", "number"), BAD)
def test_shipped_type_refuses(host: hosts.Host, name: str, number: int) -> None:
    case = case_of(name, number)
    prepare(host, case)
    sent = host.apply(name, case["contents"])
    assert (sent.result.status, sent.result.message) == ("ERROR", case["refused"])
    assert sent.result.evidence is not None and sent.result.evidence.status == "ERROR"
    check_no_canary(case, sent.output + sent.errors)
