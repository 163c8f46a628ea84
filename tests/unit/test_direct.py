"""Runs that `ansible-playbook` plans by itself, from its variables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dbmod import direct, errors
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Run
from tests import builders

Put = Callable[..., None]


class Tagged(str):
    """Stands for Ansible's own strings, which carry where they came from."""

    __slots__ = ("origin",)


@pytest.fixture
def hosts(put: Put) -> list[Instance]:
    instances = [builders.instance(f"db-{number}") for number in (1, 2, 3)]
    module = builders.module(versions=2)
    put(module, *instances, builders.row(module, instances[0]), builders.row(module, instances[1], 2))
    return instances


def play(hosts: list[Instance], **variables: Any) -> dict[str, Any]:
    """Give the variables of a play over these hosts and one that is not ours."""
    known: dict[str, dict[str, Any]] = {one.name: {"dbmod_id": one.id} for one in hosts} | {"foreign": {}}
    return {"hostvars": known, "ansible_play_hosts_all": list(known)} | variables


def planned(here: Context, verb: str, variables: dict[str, Any]) -> tuple[Run, list[str]]:
    run_id = direct.plan(here, verb, variables)
    tables = here.store.snapshot()
    run = tables.get(Run, run_id)
    assert run
    names = {one.id: one.name for one in tables.find(Instance)}
    return run, sorted({names[one.instance_id] for one in tables.find(Attempt, run_id=run_id)})


def refused(here: Context, verb: str, variables: dict[str, Any]) -> str:
    with pytest.raises(errors.BadInput) as refusal:
        direct.plan(here, verb, variables)
    return refusal.value.what


def test_apply_takes_names_separated_by_commas_or_a_list(here: Context, hosts: list[Instance], put: Put) -> None:
    put(builders.module(name="other"))
    run, names = planned(here, "apply", play(hosts, instance="db-1", modules=Tagged("mymod,other"), reason="ticket"))
    assert (run.verb, run.reason, run.options, names) == ("apply", "ticket", {"check": False}, ["db-1"])
    assert len(here.store.snapshot().find(Attempt, run_id=run.id)) == 2
    run, _ = planned(here, "apply", play(hosts, instance="db-2", modules=["mymod"], ansible_check_mode=True))
    assert run.options == {"check": True}


def test_an_empty_answer_of_a_survey_means_unset(here: Context, hosts: list[Instance]) -> None:
    empty = {"cluster": "", "limit_to": None, "batch_size": "", "delay": "", "max_errors": ""}
    run, names = planned(here, "apply", play(hosts, instance="db-1", modules="mymod", **empty))
    assert (names, run.delay_seconds, run.max_errors) == (["db-1"], 2, 0)


def test_only_hosts_of_the_play_are_touched_which_limit_may_have_narrowed(here: Context, hosts: list[Instance]) -> None:
    _, names = planned(here, "apply", play(hosts[:2], all_instances="yes", modules="mymod"))
    assert names == ["db-1", "db-2"]
    said = refused(here, "apply", play(hosts[:2], instance="db-3", modules="mymod"))
    assert said == "Instance 'db-3' is not among the hosts of this play."


def test_pace_and_limit_of_an_apply(here: Context, hosts: list[Instance]) -> None:
    asked = {"limit_to": "db-[12]", "batch_size": "1", "delay": "0.5", "max_errors": 2}
    run, names = planned(here, "apply", play(hosts, modules="mymod", **asked))
    assert (names, run.batch_sizes, run.delay_seconds, run.max_errors) == (["db-1", "db-2"], (1, 1), 0.5, 2)


def test_remove_reapply_query_and_retrieve(here: Context, hosts: list[Instance], tmp_path: Path) -> None:
    assert planned(here, "remove", play(hosts[1:2], instance="db-2", module="mymod"))[1] == ["db-2"]
    run, names = planned(here, "reapply", play(hosts[:1], module="mymod", force="True", md5=builders.MD5[1]))
    assert (run.verb, names) == ("reapply", ["db-1"])
    assert run.options == {"check": False, "md5": builders.MD5[1], "include_clustered": False, "force": True}
    assert planned(here, "query", play(hosts, all_instances=True))[0].verb == "query"
    assert planned(here, "query", play(hosts, datastore="redis", reconcile="yes"))[0].verb == "reconcile"
    run, _ = planned(here, "retrieve", play(hosts, instance="db-1", directory=str(tmp_path), prefix="p"))
    assert run.options == {"directory": str(tmp_path), "prefix": "p_"}


@pytest.mark.parametrize(
    ("verb", "variables", "said"),
    [
        ("create", {}, "`create` is planned by the dbmod command."),
        ("apply", {"instance": "db-1"}, "No module was named."),
        ("apply", {"modules": "mymod"}, "No instance was named."),
        ("remove", {"instance": "db-1"}, "The variable `module` is not set."),
        ("reapply", {}, "The variable `module` is not set."),
        (
            "reapply",
            {"module": "mymod", "force": "perhaps"},
            "The variable `force` must be true or false, not 'perhaps'.",
        ),
        ("reapply", {"module": "mymod", "delay": "soon"}, "The variable `delay` must be a number, not 'soon'."),
        ("reapply", {"module": "mymod", "delay": "nan"}, "The variable `delay` must be a number, not 'nan'."),
        ("reapply", {"module": "mymod", "batch_size": "inf"}, "The variable `batch_size` must be a number, not 'inf'."),
        (
            "reapply",
            {"module": "mymod", "batch_size": "1.5"},
            "The variable `batch_size` must be a whole number, not '1.5'.",
        ),
        ("reapply", {"module": "mymod", "batch_size": "0"}, "--batch_size must be at least 1."),
        ("reapply", {"module": "mymod", "delay": [1]}, "The variable `delay` must be a number, not [1]."),
    ],
)
def test_what_is_wrong_is_refused_by_the_variables_name(
    here: Context, hosts: list[Instance], verb: str, variables: dict[str, Any], said: str
) -> None:
    assert refused(here, verb, play(hosts, **variables)) == said
    assert here.store.snapshot().find(Run) == []


def test_nothing_to_do_plans_no_run(here: Context, hosts: list[Instance]) -> None:
    assert direct.plan(here, "reapply", play(hosts, module="mymod", md5=builders.version(2).md5)) == ""
    assert here.store.snapshot().find(Run) == []
