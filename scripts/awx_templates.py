"""Write awx/job_templates.yml from the playbooks' specifications; a contract test checks that it is current."""

from pathlib import Path
from typing import Any

import yaml

from dbmod import paths, variables

TARGET = Path(__file__).resolve().parent.parent / "awx" / "job_templates.yml"
HEAD = """---
# Made by `make docs` from playbooks/argument_specs/; do not edit. In the variables of infra.aap_configuration.
"""
ORGANIZATION = "{{ dbmod_awx_organization }}"
READING = ("module_query", "module_retrieve", "instance_adopt")
REGISTERING = ("module_sync",)  # contents come from the project; no host is touched
ROLLOUTS = ("module_apply", "module_reapply")  # what a workflow plans, has approved, and does on the canary first
WITHOUT_APPROVAL = ("module_query",)  # of what operators start
# Types of answers. What is not here is no question: an answer is one line, and nothing that is secret or structured.
KINDS = {"str": "text", "path": "text", "int": "integer", "float": "float", "bool": "multiplechoice"}
TEXT_LIMIT = 1024


def configuration() -> dict[str, Any]:
    """Give the whole file: job templates, the workflows over them, and who may start and approve what."""
    playbooks = variables.playbooks()
    rollouts = [one for one in ROLLOUTS if one in playbooks]
    return {
        "controller_templates": [
            *(_template(one) for one in playbooks),
            *(_planning_template(one) for one in rollouts),
        ],
        "controller_workflows": [_workflow(one) for one in rollouts],
        "controller_roles": _roles(playbooks, rollouts),
    }


def survey(playbook: str) -> list[dict[str, Any]]:
    """Ask for the variables of a playbook. An answer that is left empty is unset; a boolean is a choice."""
    options = variables.specification(playbook)["options"]
    return [_question(name, option) for name, option in options.items() if kind_of(option)]


def kind_of(option: dict[str, Any]) -> str:
    """Give the type of the question for a variable; "" where it is none."""
    if "choices" in option:
        return "multiplechoice"
    if option["type"] == "list":
        return "text" if option["elements"] == "str" else ""
    return KINDS.get(option["type"], "")


def text() -> str:
    return HEAD + yaml.dump(configuration(), Dumper=_Dumper, sort_keys=False, width=116, allow_unicode=True)


def _question(name: str, option: dict[str, Any]) -> dict[str, Any]:
    kind = kind_of(option)
    default = option.get("default", "")
    question: dict[str, Any] = {
        "question_name": name.replace("_", " ").capitalize(),
        "question_description": option["description"],
        "variable": name,
        "type": kind,
        "required": option.get("required", False),
        "default": str(default).lower() if isinstance(default, bool) else default,
    }
    if kind == "text":
        return question | {"min": 0, "max": TEXT_LIMIT}
    if kind == "multiplechoice":
        return question | {"choices": option.get("choices", ["false", "true"])}
    return question | {"min": 0, "max": 2**31 - 1}


def _template(playbook: str) -> dict[str, Any]:
    found = variables.specification(playbook)
    return {
        "name": _name(playbook),
        "description": found["short_description"],
        **_common(playbook),
        "job_type": "run",
        "ask_job_type_on_launch": True,
    }


def _planning_template(playbook: str) -> dict[str, Any]:
    """Give a template that changes nothing, and tells its plan to those who approve."""
    found = variables.specification(playbook)
    return {
        "name": f"{_name(playbook)} plan",
        "description": f"{found['short_description']}: what would be done",
        **_common(playbook),
        "job_type": "check",
        "ask_job_type_on_launch": False,
        "notification_templates_success": ["dbmod plan"],
        "notification_templates_error": ["dbmod plan"],
    }


def _common(playbook: str) -> dict[str, Any]:
    return {
        "organization": ORGANIZATION,
        "project": "{{ dbmod_awx_project }}",
        "playbook": str(paths.playbook(playbook).relative_to(paths.content())),
        "inventory": "{{ dbmod_awx_inventory }}",
        "execution_environment": "{{ dbmod_awx_execution_environment }}",
        "credentials": "{{ dbmod_awx_credentials }}",
        "labels": ["dbmod", _label(playbook)],
        "allow_simultaneous": True,  # dbmod itself refuses two runs over one instance
        "job_slice_count": 1,
        "ask_job_slice_count_on_launch": False,
        "ask_limit_on_launch": True,
        "ask_credential_on_launch": True,
        "ask_instance_groups_on_launch": True,
        "ask_diff_mode_on_launch": True,
        "survey_enabled": True,
        "survey_spec": {"name": "", "description": "", "spec": survey(playbook)},
    }


def _workflow(playbook: str) -> dict[str, Any]:
    """Plan, approve, canary, approve, rest. A node that fails ends it, and so does an approval that is not given."""
    what = "First rollout" if playbook == "module_apply" else "Rollout"
    nodes = [
        _job("plan", f"{_name(playbook)} plan", then="approve-plan"),
        _approval("approve-plan", f"{what}: is the plan as it should be?", then="canary"),
        _job("canary", _name(playbook), then="approve-rest") | {"limit": "{{ dbmod_awx_canary }}"},
        _approval("approve-rest", f"{what}: the canary is done. Go on with the rest?", then="rest"),
        _job("rest", _name(playbook)),
    ]
    return {
        "name": _workflow_name(playbook),
        "description": f"{variables.specification(playbook)['short_description']}: plan, canary, rest, with approvals",
        "organization": ORGANIZATION,
        "inventory": "{{ dbmod_awx_inventory }}",
        "labels": ["dbmod", "changes hosts"],
        "allow_simultaneous": False,
        "survey_enabled": True,
        "survey_spec": {"name": "", "description": "", "spec": survey(playbook)},
        "notification_templates_approvals": ["dbmod plan"],
        "workflow_nodes": nodes,
    }


def _job(identifier: str, template: str, *, then: str = "") -> dict[str, Any]:
    return {
        "identifier": identifier,
        "unified_job_template": {
            "name": template,
            "type": "job_template",
            "organization": {"name": ORGANIZATION},
        },
        "related": _after(then),
    }


def _approval(identifier: str, question: str, *, then: str) -> dict[str, Any]:
    return {
        "identifier": identifier,
        "unified_job_template": {
            "name": question,
            "type": "workflow_approval",
            "timeout": "{{ dbmod_awx_approval_seconds }}",
        },
        "related": _after(then),
    }


def _after(then: str) -> dict[str, Any]:
    return {"success_nodes": [{"identifier": then}]} if then else {}


def _roles(playbooks: list[str], rollouts: list[str]) -> list[dict[str, Any]]:
    workflows = [_workflow_name(one) for one in rollouts]
    templates = [_name(one) for one in playbooks]
    plans = [f"{_name(one)} plan" for one in rollouts]
    asking = [_name(one) for one in playbooks if one in WITHOUT_APPROVAL]
    return [
        _role("{{ dbmod_awx_administrators }}", "execute", job_templates=[*templates, *plans], workflows=workflows),
        _role("{{ dbmod_awx_operators }}", "execute", job_templates=[*asking, *plans], workflows=workflows),
        _role("{{ dbmod_awx_approvers }}", "approval", workflows=workflows),
        _role("{{ dbmod_awx_approvers }}", "read", job_templates=plans, workflows=workflows),
    ]


def _role(team: str, role: str, **over: list[str]) -> dict[str, Any]:
    return {"role": role, "teams": [team], "lookup_organization": ORGANIZATION, **over}


def _label(playbook: str) -> str:
    if playbook in REGISTERING:
        return "changes modules"
    return "reads hosts" if playbook in READING else "changes hosts"


def _name(playbook: str) -> str:
    return f"dbmod {playbook}"


def _workflow_name(playbook: str) -> str:
    return f"dbmod rollout by {playbook}"


class _Dumper(yaml.SafeDumper):
    """Writes lists as people do, indented below their key, and nothing as an alias."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002  (PyYAML's)
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (PyYAML's)
        return True


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
