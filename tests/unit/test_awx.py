"""Who asks, and whether a job may run, by what AWX tells it."""

from typing import Any

import pytest

from dbmod import awx, errors
from tests import builders

JOB = {"job_id": 42, "job_template_name": "Apply", "job_launch_type": "manual", "project_revision": "1a2b3c4d5e6f"}


def told(prefix: str = "awx", **more: Any) -> dict[str, Any]:
    return {f"{prefix}_{name}": value for name, value in (JOB | more).items()}


@pytest.mark.parametrize("prefix", awx.PREFIXES)
def test_actor_is_the_person_with_the_job(prefix: str) -> None:
    actor = awx.actor(builders.ADMIN, told(prefix, user_name="alice"))
    assert actor.name == "alice (AWX job 42, template Apply, revision 1a2b3c4)"
    assert (actor.tenant, actor.admin) == (builders.ADMIN.tenant, builders.ADMIN.admin)


def test_a_schedule_is_named_where_there_is_no_person() -> None:
    assert awx.actor(builders.ADMIN, told(schedule_name="nightly")).name.startswith("schedule nightly (AWX job 42,")
    assert awx.actor(builders.ADMIN, told()).name.startswith(f"{builders.ADMIN.name} (AWX job 42,")


def test_without_a_job_and_with_strange_texts() -> None:
    assert awx.actor(builders.ADMIN, {"awx_user_name": "alice", "awx_job_id": ""}) is builders.ADMIN
    name = awx.actor(builders.ADMIN, {"awx_job_id": 1, "awx_user_name": "a\x1b[2J" + "b" * 300}).name
    assert name.isprintable()
    assert len(name) < 150


@pytest.mark.parametrize(
    "variables",
    [
        told(job_launch_type="workflow", workflow_job_name="Apply"),  # how AWX runs slices
        told("tower", job_launch_type="workflow", workflow_job_name="Apply"),
        told(job_slice_count=2),
        {"tower_job_slice_count": "3"},
    ],
)
def test_a_sliced_job_is_refused(variables: dict[str, Any]) -> None:
    with pytest.raises(errors.Refused, match="A sliced job is not started") as refusal:
        awx.refuse_slice(variables)
    assert "Job Slicing to 1" in refusal.value.next_step


@pytest.mark.parametrize(
    "variables",
    [
        {},
        told(),
        told(job_slice_count=1),
        told(job_launch_type="workflow", workflow_job_name="Rollout"),
        {"awx_job_launch_type": "workflow"},
    ],
)
def test_a_whole_job_is_not(variables: dict[str, Any]) -> None:
    awx.refuse_slice(variables)


def test_a_plan_is_handed_on_for_the_whole_job_and_not_for_a_host() -> None:
    assert awx.artifacts("1a2b", ["db-1 (mymod)"])["ansible_stats"] == {
        "data": {"dbmod_planned_run": "1a2b", "dbmod_plan": ["db-1 (mymod)"]},
        "per_host": False,
        "aggregate": False,
    }
