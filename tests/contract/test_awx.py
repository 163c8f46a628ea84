"""awx/*.yml, as far as it can be tried without an AWX, which none of these tests has: see tests/awx.py.

It loads as Ansible loads it, its items are what the modules of awx.awx take, and its surveys are the playbooks' own
specifications. That an AWX then makes of it what it should is not shown here.
"""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from dbmod import config, variables, vault
from tests import awx

SCRIPT = awx.ROOT / "scripts" / "awx_templates.py"
MADE = runpy.run_path(str(SCRIPT))
CONFIGURE = "playbooks/awx/configure.yml"  # makes the templates, so has none
MODULES = {
    "aap_organizations": "organization",
    "aap_teams": "team",
    "controller_credential_types": "credential_type",
    "controller_credentials": "credential",
    "controller_execution_environments": "execution_environment",
    "controller_inventories": "inventory",
    "controller_inventory_sources": "inventory_source",
    "controller_labels": "label",
    "controller_notifications": "notification_template",
    "controller_projects": "project",
    "controller_roles": "role",
    "controller_schedules": "schedule",
    "controller_templates": "job_template",
    "controller_workflows": "workflow_job_template",
}
ANSWERS = {"integer": "7", "float": "0.5", "multiplechoice": "", "text": "text"}
AWX_REFUSES = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "JOB_ID", "INVENTORY_ID", "CACHE", "AWX_HOST", "PROJECT_REVISION")


@pytest.fixture(scope="module")
def specifications() -> dict[str, dict[str, Any]]:
    """Give the options of each module of awx.awx, in the form of an argument spec."""
    program = str(Path(sys.executable).parent / "ansible-doc")
    names = [f"awx.awx.{one}" for one in MODULES.values()]
    told = subprocess.run([program, "--json", "-t", "module", *names], capture_output=True, text=True, check=True)
    return {
        name.rpartition(".")[2]: as_specification(found["doc"]["options"])
        for name, found in json.loads(told.stdout).items()
    }


def as_specification(options: dict[str, Any]) -> dict[str, Any]:
    kept = ("type", "elements", "choices", "required", "aliases")
    return {
        name: {key: about[key] for key in kept if key in about}
        | ({"options": as_specification(about["suboptions"])} if about.get("suboptions") else {})
        for name, about in options.items()
    }


def test_file_is_current() -> None:
    assert MADE["TARGET"].read_text(encoding="utf-8") == MADE["text"](), "run `make docs`"


@pytest.mark.parametrize("name", MODULES)
def test_items_are_what_the_module_takes(name: str, specifications: dict[str, dict[str, Any]]) -> None:
    validator = ArgumentSpecValidator(specifications[MODULES[name]])
    items = awx.data()[name]
    assert items
    for item in items:
        assert validator.validate(json.loads(json.dumps(item))).error_messages == []


def test_awx_offers_our_playbooks_and_each_has_a_template() -> None:
    ours = {f"playbooks/{one}.yml" for one in variables.playbooks()}
    assert awx.offered_playbooks() == ours | {CONFIGURE}
    assert {one["playbook"] for one in awx.data()["controller_templates"]} == ours


@pytest.mark.parametrize("template", awx.data()["controller_templates"], ids=lambda one: one["name"])
def test_survey_and_specification_agree(template: dict[str, Any]) -> None:
    playbook = Path(template["playbook"]).stem
    options = variables.specification(playbook)["options"]
    questions = template["survey_spec"]["spec"]
    assert {one["variable"] for one in questions} >= {name for name, one in options.items() if one.get("required")}
    for one in questions:
        option = options[one["variable"]]
        assert one["type"] == MADE["kind_of"](option)
        assert one["type"] in ANSWERS  # so neither password nor textarea: contents are never an answer
        assert one["required"] == option.get("required", False)
    given = {one["variable"]: one.get("choices", [""])[0] or ANSWERS[one["type"]] for one in questions}
    assert set(variables.read(playbook, given)) >= set(given)
    needed = {one["variable"]: "text" for one in questions if one["required"]}
    unanswered = {one["variable"]: "" for one in questions} | needed
    assert variables.read(playbook, unanswered) == variables.read(playbook, needed)


def test_no_survey_asks_for_contents_or_users() -> None:
    every = [*awx.data()["controller_templates"], *awx.data()["controller_workflows"]]
    asked = {one["variable"] for found in every for one in found["survey_spec"]["spec"]}
    assert not asked & {"contents", "users", "password", "key"}


def test_templates_are_never_sliced_and_let_the_starter_narrow_them() -> None:
    for one in awx.data()["controller_templates"]:
        assert one["job_slice_count"] == 1
        assert not one["ask_job_slice_count_on_launch"]
        assert all(one[f"ask_{what}_on_launch"] for what in ("limit", "credential", "instance_groups"))
        assert one["ask_job_type_on_launch"] == (one["job_type"] == "run")


def test_a_workflow_does_nothing_that_was_not_approved() -> None:
    templates = {one["name"]: one for one in awx.data()["controller_templates"]}
    for workflow in awx.data()["controller_workflows"]:
        nodes = {one["identifier"]: one for one in workflow["workflow_nodes"]}
        way, at = [], "plan"
        while at:
            way.append(at)
            [*after] = nodes[at]["related"].get("success_nodes", [])
            at = after[0]["identifier"] if after else ""
        assert way == ["plan", "approve-plan", "canary", "approve-rest", "rest"] == list(nodes)
        assert templates[nodes["plan"]["unified_job_template"]["name"]]["job_type"] == "check"
        assert nodes["canary"]["limit"]
        assert [nodes[one]["unified_job_template"]["type"] for one in way[1::2]] == ["workflow_approval"] * 2
        asked = {one["variable"] for one in workflow["survey_spec"]["spec"]}
        for one in ("plan", "canary", "rest"):
            template = templates[nodes[one]["unified_job_template"]["name"]]
            assert {question["variable"] for question in template["survey_spec"]["spec"]} == asked


def test_operators_change_nothing_without_an_approval() -> None:
    settings = awx.data()
    templates = {one["name"]: one for one in settings["controller_templates"]}
    started = {
        name
        for one in settings["controller_roles"]
        if settings["dbmod_awx_operators"] in one["teams"]
        for name in one.get("job_templates", [])
    }
    assert started
    assert all(templates[name]["job_type"] == "check" or "reads hosts" in templates[name]["labels"] for name in started)


def test_everything_belongs_to_the_one_organization() -> None:
    own = awx.data()["dbmod_awx_organization"]
    for name in MODULES:
        if name not in ("aap_organizations", "controller_credential_types", "controller_roles"):
            assert {one["organization"] for one in awx.data()[name]} == {own}


@pytest.mark.parametrize("kind", awx.data()["controller_credential_types"], ids=lambda one: one["name"])
def test_credentials_set_only_what_awx_and_dbmod_know(kind: dict[str, Any], tmp_path: Path) -> None:
    fields = {one["id"]: "x" for one in kind["inputs"]["fields"] if one["type"] == "string"}
    for inputs in ({name: fields[name] for name in kind["inputs"]["required"]}, fields):
        environment = awx.inject(kind["name"], inputs, tmp_path)
        assert all(name.startswith(("DBMOD_", "OS_", "PG")) and name not in AWX_REFUSES for name in environment)
        keys = {name.removeprefix("DBMOD_").lower() for name in environment if name.startswith("DBMOD_")}
        assert keys <= {*config.Settings.__struct_fields__}
        config.load(environment)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "env").iterdir())


def test_ledger_and_key_are_in_files_and_not_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DBMOD_KEY", raising=False)
    keys = [vault.new_key(), vault.new_key()]
    given = {"key": keys[0].line, "previous_key": keys[1].line}
    environment = awx.inject("dbmod contents key", given, tmp_path)
    environment |= awx.inject("dbmod ledger", {"ledger": "postgresql://a:secret@db/x", "admin": True}, tmp_path)
    assert not [one for one in environment.values() if any(text in one for text in (*given.values(), "secret"))]
    assert (environment["DBMOD_ADMIN"], environment["DBMOD_TENANT"], environment["PGSSLMODE"]) == (
        "true",
        "default",
        "require",
    )
    assert Path(environment["DBMOD_LEDGER"]).read_text(encoding="utf-8") == "postgresql://a:secret@db/x"
    settings = config.load({"DBMOD_KEY_COMMAND": environment["DBMOD_KEY_COMMAND"]}).settings
    assert [one.id for one in vault.keys(settings)] == [one.id for one in keys]
    verified = awx.inject("dbmod ledger", {"ledger": "postgresql://db/x", "ca_certificate": "PEM"}, tmp_path)
    assert verified["PGSSLMODE"] == "verify-full"
    assert Path(verified["PGSSLROOTCERT"]).read_text(encoding="utf-8") == "PEM"
