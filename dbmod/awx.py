"""What AWX tells a job of itself, in the extra variables awx_… and, the same once more, tower_… , and is told. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dbmod import errors
from dbmod.identity import Actor

PREFIXES = ("awx", "tower")
PLANNED_RUN = "dbmod_planned_run"
REVISION_LENGTH = 7
TEXT_LIMIT = 100


def actor(known: Actor, variables: Mapping[str, Any]) -> Actor:
    """Give who asks with the job in his name, as `alice (AWX job 42, template Apply, revision 1a2b3c4)`.

    known      who asks as far as dbmod's own configuration says; his tenant and rights stay
    variables  of the play; without a job's id nothing is changed
    """
    job = _told(variables, "job_id")
    if not job:
        return known
    schedule = _told(variables, "schedule_name") or _told(variables, "parent_job_schedule_name")
    person = _told(variables, "user_name") or (f"schedule {schedule}" if schedule else known.name)
    parts = [f"AWX job {job}"]
    for what, name in (("template", "job_template_name"), ("revision", "project_revision")):
        text = _told(variables, name)
        parts += [f"{what} {text[:REVISION_LENGTH] if what == 'revision' else text}"] if text else []
    return msgspec.structs.replace(known, name=f"{person} ({', '.join(parts)})")


def revision(variables: Mapping[str, Any]) -> str:
    """Give the commit of the project that AWX checked out, "" elsewhere."""
    return _told(variables, "project_revision")


def inventory(variables: Mapping[str, Any]) -> str:
    """Give the place of AWX's inventory, "" elsewhere: the file that a job reads it from is thrown away."""
    number = _told(variables, "inventory_id")
    return f"AWX inventory {number}" if number else ""


def planned_run(variables: Mapping[str, Any]) -> str:
    """Give the run that an earlier job of this workflow planned: its artifacts are variables of the later ones."""
    return str(variables.get(PLANNED_RUN) or "")


def refuse_slice(variables: Mapping[str, Any]) -> None:
    """Refuse a job that sees a part of the inventory only: batches, budget and clusters are counted over all of it.

    Source  AWX says nothing of slices to the job. It runs them as a workflow that bears the template's own name, and
            24.6.1 builds the inventory with slice_number and slice_count, which the job does not see. Where somebody
            hands on the number of slices it is believed
    """
    count = _told(variables, "job_slice_count")
    template = _told(variables, "job_template_name")
    is_own_workflow = bool(template) and template == _told(variables, "workflow_job_name")
    if (count.isdigit() and int(count) > 1) or (is_own_workflow and _told(variables, "job_launch_type") == "workflow"):
        raise errors.Refused(
            "A sliced job is not started: each slice would see a part of the hosts, with a budget of its own.",
            details={"template": template} if template else None,
            next_step="set the template's Job Slicing to 1; a workflow of your own is not named as its template",
        )


def artifacts(run_id: str, told: Sequence[str]) -> dict[str, Any]:
    """Hand a plan on as AWX's artifacts, as `set_stats` does: to notifications, and to the next nodes of a workflow.

    run_id   of the planned run, "" where there is none
    told     the plan's lines for people
    Returns  what an action plugin adds to its result; the names are no variable of any playbook
    """
    data = {PLANNED_RUN: run_id, "dbmod_plan": list(told)}
    return {"ansible_stats": {"data": data, "per_host": False, "aggregate": False}}


def _told(variables: Mapping[str, Any], name: str) -> str:
    """Give one of AWX's variables as printable text, "" where there is none."""
    values = (variables.get(f"{prefix}_{name}") for prefix in PREFIXES)
    text = next((str(value) for value in values if value not in (None, "")), "")
    return "".join(one if one.isprintable() else "?" for one in text)[:TEXT_LIMIT]
