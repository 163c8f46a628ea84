"""What every playbook keeps, found by listing: header, specification, example, and a page about it."""

import itertools
import re
import runpy
import shlex
from pathlib import Path

import pytest

from dbmod import paths, playbook_plans, variables, yaml_file

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "playbook_reference.py"
MADE = runpy.run_path(str(SCRIPT))
EVERY = MADE["playbooks"]()
every = pytest.mark.parametrize("name", EVERY)
SYNC = "module_sync"  # does no work on hosts, so it plans no run there
TYPES = ("bool", "dict", "float", "int", "list", "path", "raw", "str")


def test_page_is_current() -> None:
    assert MADE["TARGET"].read_text(encoding="utf-8") == MADE["reference"](), "run `make docs`"


def test_every_playbook_plans_by_itself() -> None:
    assert set(variables.playbooks()) == {*playbook_plans.PLANNERS, SYNC} == set(EVERY)


@every
def test_header_says_what_happens_to_hosts_which_variables_and_an_example(name: str) -> None:
    told = MADE["header"](name)
    assert set(told) == {"Title", "On hosts", "Variables", "Example"}
    assert all(told.values())


@pytest.mark.parametrize("name", variables.playbooks())
def test_header_and_specification_name_the_same_variables(name: str) -> None:
    assert MADE["names_in"](MADE["header"](name)["Variables"]) == set(variables.specification(name)["options"])


@pytest.mark.parametrize("name", variables.playbooks())
def test_specification_is_whole_and_its_example_passes(name: str) -> None:
    found = variables.specification(name)
    assert found["short_description"]
    for option, about in found["options"].items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", option)
        assert about["type"] in TYPES
        assert about["description"].endswith(".")
    program, file, *words = shlex.split(MADE["header"](name)["Example"])
    assert (program, file) == ("ansible-playbook", f"playbooks/{name}.yml")
    given = dict(word.split("=", 1) for option, word in itertools.pairwise(words) if option == "-e")
    assert set(given) <= set(variables.read(name, given))


@pytest.mark.parametrize("name", [name for name in EVERY if name != SYNC])
def test_first_play_imports_the_plan_under_the_files_own_name(name: str) -> None:
    first, *others = yaml_file.read(paths.playbook(name))
    [task] = first["tasks"]
    assert task["ansible.builtin.import_tasks"] == "tasks/plan.yml"
    assert task["vars"] == {"dbmod_playbook": name}
    assert first["hosts"] == "all:localhost"
    assert others
