"""Every module type found by listing, with the CASES of its own file, as dbmod ships it; in playbooks: the file beside.

A new type needs no new test here; what a case may say is in docs/module-types.md.
"""

from pathlib import Path
from typing import Any

import pytest

from dbmod import config, module_types, paths, type_trials
from tests import hosts

SETTINGS = config.Settings(type_directories=(str(hosts.EXAMPLES),))
TYPES = module_types.listing(SETTINGS)
ALL_CASES = [(name, number) for name, found in TYPES.items() for number in range(len(found.cases))]
# Those that need a server are carried out by integration/test_type_sql.py and test_prometheus_exporter.py.
CASES = [(name, number) for name, number in ALL_CASES if "server" not in TYPES[name].cases[number]]
GOOD = [(name, number) for name, number in CASES if "refused" not in TYPES[name].cases[number]]
BAD = [(name, number) for name, number in CASES if "refused" in TYPES[name].cases[number]]


def case_of(name: str, number: int) -> dict[str, Any]:
    return TYPES[name].cases[number]


@pytest.fixture(params=hosts.pythons())
def host(request: pytest.FixtureRequest, tmp_path: Path) -> hosts.Host:
    host = hosts.Host(tmp_path, hosts.EXAMPLES)
    host.python = request.param
    return host


@pytest.mark.parametrize("name", TYPES)
def test_type_is_documented_and_portable_and_validates_as_its_cases_say(name: str) -> None:
    assert [one for one in type_trials.of_whole(TYPES[name]) if one.status != "OK"] == []


def test_the_tutorial_shows_the_file_that_works() -> None:
    shown = (paths.PACKAGE.parent / "docs/module-types.md").read_text().partition("```python\n")[2].partition("```")[0]
    source = (hosts.EXAMPLES / "dbmod_motd.py").read_text()
    assert [part for part in shown.strip().split("\n\n") if part not in source] == []
    assert "def apply" in shown


@pytest.mark.parametrize(("name", "number"), CASES)
def test_shipped_type_keeps_what_every_type_has_to(host: hosts.Host, name: str, number: int) -> None:
    tried = list(type_trials.of_case(TYPES[name], number + 1, host))
    assert [one for one in tried if one.status != "OK"] == []
    assert tried
