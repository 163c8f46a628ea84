"""Job templates run as AWX runs them; the project is gone afterwards, and the ledger has all of it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dbmod import paths
from dbmod.records import Instance, Run
from tests import awx
from tests.beds.hosts import Hosts
from tests.end_to_end.awx_shape import Controller
from tests.end_to_end.sites import Site

SECRET = b"C4nary-of-a-module-in-AWX\n"
ACTOR = "alice (AWX job 42, template {}, revision 1a2b3c4)"


def test_a_rollout_is_planned_tried_on_the_canary_and_done(site: Site) -> None:
    hosts = site.add_hosts(3)
    module = site.add_module("mymod", SECRET, kind="blob")
    site.well("module-apply", "--all", "--module", "mymod")
    module = site.update_module("mymod", SECRET * 2)
    controller = Controller(site)
    answers = {"module": "mymod", "delay": 0, "reason": "ticket 7"}
    planned = controller.launch("dbmod module_reapply plan", answers)
    assert planned.code == 0, planned.out
    assert [site.held(one, module).sha256 == module.current.sha256 for one in hosts] == [False] * 3
    assert planned.artifacts["dbmod_plan"][1:] == ["db-0 (mymod)", "db-1 (mymod)", "db-2 (mymod)"]
    assert site.last_run().id == planned.artifacts["dbmod_planned_run"]
    canary = controller.launch("dbmod module_reapply", answers, limit="db-1")
    assert canary.code == 0, canary.out
    assert [site.held(one, module).sha256 == module.current.sha256 for one in hosts] == [False, True, False]
    rest = controller.launch("dbmod module_reapply", answers)
    assert rest.code == 0, rest.out
    assert [site.held(one, module).sha256 == module.current.sha256 for one in hosts] == [True] * 3
    run = site.last_run()
    assert (run.actor, run.reason, run.state) == (ACTOR.format("dbmod module_reapply"), "ticket 7", "done")
    assert sorted(site.states(run)) == ["db-0", "db-2"]
    assert not [one for one in (planned, canary, rest) if SECRET.decode().strip() in one.written]


def test_an_apply_names_the_host_that_failed(site: Site) -> None:
    site.add_hosts(2)
    site.add_module("mymod", b"fail", kind="blob")
    job = Controller(site).launch("dbmod module_apply", {"modules": "mymod", "instance": "db-0"})
    assert job.code == 2
    assert site.states(site.last_run()) == {"db-0": "error"}
    assert f"dbmod run-show {site.last_run().id}" in job.out


def test_an_instance_is_made_and_deleted(site: Site) -> None:
    module = site.add_module("mymod", b"message=V1\n")
    controller = Controller(site)
    job = controller.launch("dbmod instance_create", {"name": "red", "flavor": "15", "modules": "mymod"})
    assert job.code == 0, job.out
    red = site.instance("red")
    assert (red.status, red.datastore) == ("ACTIVE", "redis")
    assert site.held(red, module).sha256 == module.current.sha256
    assert site.last_run().actor == ACTOR.format("dbmod instance_create")
    job = controller.launch("dbmod instance_delete", {"instance": "red", "confirm": "red"})
    assert job.code == 0, job.out
    assert site.find(Instance, deleted_at=None) == []
    assert [one.state for one in site.find(Run, verb="delete")] == ["done"]


@pytest.mark.root
def test_the_key_of_a_host_is_checked_although_awx_turns_that_off(ssh_hosts: Hosts, site: Site) -> None:
    [machine] = ssh_hosts.take(1)
    [host] = site.add_machines([machine])
    module = site.add_module("mymod", SECRET, kind="blob")
    controller = Controller(site)
    answers = {"modules": "mymod", "instance": "db-00"}
    job = controller.launch("dbmod module_apply", answers)
    assert job.code == 0, job.out
    assert site.held(host, module).sha256 == module.current.sha256
    machine.change_host_keys()
    job = controller.launch("dbmod module_apply", answers)
    assert job.code == 2
    assert site.states(site.last_run()) == {"db-00": "unreachable"}
    assert "the host key is not the one that is known" in site.attempts(site.last_run())[0].message


def test_a_team_has_types_of_its_own_in_its_own_project(site: Site) -> None:
    [host] = site.add_hosts(1)
    types = Path(site.environment["DBMOD_HOME"]).parent / "types"
    example = paths.content() / "docs" / "examples" / "dbmod_motd.py"
    shutil.copy(example, types)
    module = site.add_module("oncall", b"On call this week: Ada\n", kind="motd")
    project = project_of_a_team(site.directory / "team")
    shutil.copy(example, project / "types")
    assert awx.offered_playbooks(project) >= {one["playbook"] for one in awx.data()["controller_templates"]}
    controller = Controller(site, project=project, without=["DBMOD_TYPE_DIRECTORIES"])
    job = controller.launch("dbmod module_apply", {"modules": "oncall", "instance": "db-0"})
    assert job.code == 0, job.out
    assert site.held(host, module).sha256 == module.current.sha256


def project_of_a_team(place: Path) -> Path:
    """Make a project with the commands of docs/with-awx.md, and a stand-in for the image's /usr/share/dbmod."""
    image = place.with_name("image")
    image.mkdir()
    (image / "content").symlink_to(paths.content())
    (image / "hostside").symlink_to(paths.PACKAGE / "hostside")
    page = (awx.ROOT / "docs" / "with-awx.md").read_text(encoding="utf-8")
    [commands] = re.findall(r"```sh\n(dbmod=/usr/share/dbmod.*?)```", page, re.DOTALL)
    place.mkdir()
    words = ["sh", "-euc", commands.replace("/usr/share/dbmod", str(image))]
    subprocess.run(words, cwd=place, check=True)
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    return place
