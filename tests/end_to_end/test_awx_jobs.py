"""Job templates run as AWX runs them; the project is gone afterwards, and the ledger has all of it."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dbmod import datastores, paths
from dbmod.records import Cluster, Instance, Module, Run
from tests import awx, builders
from tests.beds.hosts import Hosts
from tests.end_to_end import canaries
from tests.end_to_end.awx_shape import Controller
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = pytest.mark.patient

SECRET = b"C4nary-of-a-module-in-AWX\n"
ACTOR = "alice (AWX job 42, template {}, revision 1a2b3c4)"
# Answers in check mode: for most templates, and for those that need others.
ALONE: dict[str, object] = {"instance": "db-0", "module": "mymod", "modules": "mymod", "directory": "/nonexistent"}
NEW: dict[str, object] = {"name": "new", "flavor": "15", "datastore": "redis"}
ANSWERS: dict[str, dict[str, object]] = {
    "cluster_create": NEW | {"instances": 3},
    "cluster_delete": {"cluster": "ring"},
    "cluster_grow": {"cluster": "ring", "instances": 1, "flavor": "15"},
    "cluster_shrink": {"cluster": "ring", "members": "ring-member-3"},
    "instance_create": NEW,
    "instance_adopt": {"group": "strangers", "datastore": "redis"},
}


@pytest.fixture
def site(team_site: Site) -> Site:
    """A site with its ledger in PostgreSQL: a job's own home is thrown away with it."""
    return team_site


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
    assert sorted(planned.artifacts["dbmod_plan"][1:]) == ["db-0 (mymod)", "db-1 (mymod)", "db-2 (mymod)"]
    assert site.last_run().id == planned.artifacts["dbmod_planned_run"]
    canary = controller.launch("dbmod module_reapply", answers, limit="db-1", after=planned)
    assert canary.code == 0, canary.out
    assert [site.held(one, module).sha256 == module.current.sha256 for one in hosts] == [False, True, False]
    rest = controller.launch("dbmod module_reapply", answers, after=planned)
    assert rest.code == 0, rest.out
    assert [site.held(one, module).sha256 == module.current.sha256 for one in hosts] == [True] * 3
    run = site.last_run()
    assert (run.actor, run.reason, run.state) == (ACTOR.format("dbmod module_reapply"), "ticket 7", "done")
    assert sorted(site.states(run)) == ["db-0", "db-2"]
    site.update_module("mymod", SECRET * 3)
    late = controller.launch("dbmod module_reapply", answers, after=planned)
    assert (late.code, "and the plan that was approved is for version 2" in late.out) == (2, True), late.out
    assert site.last_run().playbook == ""  # that of the update itself: nothing was planned
    assert not [one for one in (planned, canary, rest, late) if SECRET.decode().strip() in one.written]


def test_an_apply_names_the_host_that_failed(site: Site) -> None:
    site.add_hosts(2)
    site.add_module("mymod", b"fail", kind="blob")
    job = Controller(site).launch("dbmod module_apply", {"modules": "mymod", "instance": "db-0"})
    assert job.code == 2
    assert site.states(site.last_run()) == {"db-0": "error"}
    assert f"dbmod run-show {site.last_run().id}" in job.out


@pytest.mark.nightly
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


@pytest.mark.nightly
@pytest.mark.root
def test_hosts_of_an_inventory_of_awx_are_adopted_and_get_modules(ssh_hosts: Hosts, site: Site) -> None:
    [machine] = ssh_hosts.take(1)
    machine.run("systemctl", "start", "redis-server")
    inventory = ssh_hosts.write_inventory(
        site.directory / "hosts.yml", [machine], ansible_become=True, ansible_ssh_common_args=""
    )
    module = site.add_module("mymod", SECRET, kind="blob")
    controller = Controller(site, sources=[inventory])
    answers = {"group": "hosts", "datastore": "redis"}
    job = controller.launch("dbmod instance_adopt", answers)
    assert (job.code, site.states(site.last_run())) == (2, {machine.name: "unreachable"}), job.out
    assert "--accept-host-key" in site.attempts(site.last_run())[0].message
    job = controller.launch("dbmod instance_adopt", answers | {"accept_host_key": "true"})
    assert job.code == 0, job.out
    one = site.instance(machine.name)
    assert (one.status, one.provider_facts["inventory"]) == ("ACTIVE", "AWX inventory 3")
    assert set(one.host_keys) == set(machine.host_keys)
    site.homes[one.id] = machine.root / HOST_HOME
    job = controller.launch("dbmod module_apply", {"modules": "mymod", "instance": machine.name})
    assert job.code == 0, job.out
    assert site.held(one, module).sha256 == module.current.sha256
    ended = site.dbmod("module-query", machine.name)
    assert (ended.code, "adopted from AWX inventory 3" in ended.err) == (2, True), ended.said


def test_a_team_has_types_of_its_own_in_its_own_project(site: Site) -> None:
    [host] = site.add_hosts(1)
    types = Path(site.environment["DBMOD_HOME"]).parent / "types"
    example = paths.PACKAGE / "examples" / "dbmod_motd.py"
    shutil.copy(example, types)
    module = site.add_module("oncall", b"On call this week: Ada\n", kind="motd")
    project = project_of_a_team(site.directory / "team")
    shutil.copy(example, project / "types")
    assert awx.offered_playbooks(project) >= {one["playbook"] for one in awx.data()["controller_templates"]}
    controller = Controller(site, project=project, without=["DBMOD_TYPE_DIRECTORIES"])
    job = controller.launch("dbmod module_apply", {"modules": "oncall", "instance": "db-0"})
    assert job.code == 0, job.out
    assert site.held(host, module).sha256 == module.current.sha256


@pytest.mark.nightly
def test_contents_that_are_fetched_are_in_nothing_that_awx_keeps(site: Site) -> None:
    [host] = site.add_hosts(1)
    module = site.add_module("mymod", SECRET, kind="blob")
    site.well("module-apply", "db-0", "mymod")
    controller = Controller(site)
    place = site.directory / "fetched"
    jobs = [
        controller.launch("dbmod module_query", {"all_instances": "true", "reconcile": "true"}),
        controller.launch("dbmod module_retrieve", {"instance": "db-0", "directory": str(place)}),
        controller.launch("dbmod module_remove", {"instance": "db-0", "module": "mymod"}),
    ]
    assert [job.code for job in jobs] == [0, 0, 0], [job.out for job in jobs]
    [file] = place.iterdir()
    assert file.read_bytes() == SECRET
    assert not site.folder(host, module).joinpath("contents.dat").exists()
    secret = canaries.Canary(name="contents", text=SECRET.decode().strip())
    assert [hit for job in jobs for hit in canaries.in_text(job.written, [secret], where="kept")] == []


@pytest.mark.nightly
@pytest.mark.parametrize("template", awx.data()["controller_templates"], ids=lambda one: one["name"])
def test_every_template_says_in_check_mode_what_it_would_do(site: Site, template: dict[str, Any]) -> None:
    cluster = builders.cluster("ring")
    site.add_hosts(1)
    site.add_hosts(4, name="ring-member", cluster_id=cluster.id)
    with site.context.store.transaction(holder="test") as tables:
        tables.put(cluster)
    site.add_module("mymod", SECRET, kind="blob")
    site.well("module-apply", "db-0", "mymod")
    (site.directory / "contents.dat").write_bytes(b"message=Declared\n")
    declared = site.directory / "modules.yml"
    declared.write_text("modules:\n- {name: declared, type: ping, contents: contents.dat}\n")
    before = (site.find(Instance), site.find(Cluster), site.find(Module))
    asked = {one["variable"] for one in template["survey_spec"]["spec"]}
    answers = ANSWERS.get(Path(template["playbook"]).stem, ALONE)
    answers = answers | {"datastore_version": datastores.versions("redis")[0], "file": str(declared)}
    given = {name: value for name, value in answers.items() if name in asked}
    strangers = site.directory / "strangers.ini"
    strangers.write_text("[strangers]\nstranger\n")
    job = Controller(site, sources=[strangers]).launch(template["name"], given, check=True)
    assert job.code == 0, job.out
    assert job.artifacts["dbmod_plan"]
    assert (site.find(Instance), site.find(Cluster), site.find(Module)) == before
    assert SECRET.decode().strip() not in job.written


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
