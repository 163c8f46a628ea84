"""Runs that plain `ansible-playbook` plans by itself: real servers, --check, --limit, the user's own inventory."""

import json
from pathlib import Path

import pytest

from dbmod import datastores, paths
from dbmod.records import Attempt, Cluster, Instance, Row, Run
from tests import builders
from tests.end_to_end.sites import Ended, Site

pytestmark = pytest.mark.patient

AWX = {
    "awx_job_id": 42,
    "awx_user_name": "alice",
    "awx_job_template_name": "Create",
    "awx_project_revision": "1a2b3c4d5e",
}
SECRET = b"never to be printed\n"


def play(site: Site, *names: str, **given: object) -> Ended:
    """Run playbooks one after another; variables go as a file with !unsafe texts, as AWX hands them over."""
    lines = [f"{key}: {'!unsafe ' if isinstance(one, str) else ''}{json.dumps(one)}" for key, one in given.items()]
    file = site.directory / "variables.yml"
    file.write_text("\n".join(lines))
    return site.ansible("ansible-playbook", *(str(paths.playbook(name)) for name in names), "-e", f"@{file}")


def test_an_instance_is_made_restarted_and_deleted_without_the_command(site: Site) -> None:
    module = site.add_module("mymod", b"message=V1\n")
    ended = play(
        site, "instance_create", name="red", flavor="15", modules="mymod", datastore="", reason="a test", **AWX
    )
    assert ended.code == 0, ended.said
    red = site.instance("red")
    assert (red.status, red.datastore, red.flavor) == ("ACTIVE", "redis", "15")
    assert site.held(red, module).sha256 == module.current.sha256
    run = site.last_run()
    assert (run.verb, run.state, run.reason) == ("create", "done", "a test")
    assert run.actor == "alice (AWX job 42, template Create, revision 1a2b3c4)"
    refused = play(site, "instance_delete", instance="red", confirm="reed")
    assert refused.code == 2
    assert "has to be confirmed" in refused.out
    ended = play(site, "instance_restart", "instance_delete", instance="red", confirm="red")
    assert ended.code == 0, ended.said
    assert site.find(Instance, deleted_at=None) == []
    assert not Path(str(red.provider_facts["directory"])).exists()
    assert [one.removed_at is not None for one in site.find(Row)] == [True]
    verbs = [one.verb for one in sorted(site.find(Run), key=lambda one: one.serial)]
    assert verbs == ["module-create", "create", "restart", "delete"]


def test_check_says_what_every_playbook_would_do_and_does_nothing(site: Site) -> None:
    hosts = site.add_hosts(2)
    cluster = builders.cluster("ring")
    site.add_hosts(4, name="ring-member", cluster_id=cluster.id)
    with site.context.store.transaction(holder="test") as tables:
        tables.put(cluster)
    module = site.add_module("mymod", SECRET, kind="blob")
    site.well("module-apply", "db-0", "mymod")
    before = (site.find(Instance), site.find(Cluster), site.find(Row), site.find(Run))
    alone = {"name": "new", "flavor": "15", "instance": "db-0", "directory": str(site.directory / "none")}
    version = datastores.versions("redis")[0]
    many = {"name": "new", "flavor": 15, "datastore": "redis", "datastore_version": version, "cluster": "ring"}
    for names, given in (
        (("instance_create", "instance_restart", "instance_delete", "module_query", "module_retrieve"), alone),
        (("cluster_create", "cluster_grow"), many | {"instances": 3}),
        (("cluster_shrink", "cluster_delete"), {"cluster": "ring", "members": ["ring-member-3"]}),
    ):
        ended = checked(site, names, given)
        assert ended.code == 0, ended.said
        assert ended.out.count("Nothing is done (--check). It would") == len(names), ended.said
        assert (site.find(Instance), site.find(Cluster), site.find(Row), site.find(Run)) == before
    assert not (site.directory / "none").exists()
    ended = checked(
        site,
        ("module_apply", "module_remove", "module_reapply"),
        {"instance": "db-0", "modules": "mymod", "module": "mymod", "force": True},
    )
    assert ended.code == 0, ended.said
    assert site.find(Row) == before[2]
    asked = [one for one in site.find(Run) if one not in before[3]]
    assert sorted(one.verb for one in asked) == ["apply", "reapply", "remove"]
    assert {one.state for run in asked for one in site.find(Attempt, run_id=run.id)} == {"skipped"}
    assert site.held(hosts[0], module).sha256 == module.current.sha256
    assert SECRET.decode().strip() not in ended.said


def checked(site: Site, names: tuple[str, ...], given: dict[str, object]) -> Ended:
    playbooks = [str(paths.playbook(name)) for name in names]
    return site.ansible("ansible-playbook", "--check", "--diff", *playbooks, "-e", json.dumps(given))


def test_limit_and_the_users_own_inventory_narrow_and_never_mislead(site: Site) -> None:
    db_0, db_1, _ = site.add_hosts(3)
    module = site.add_module("mymod", SECRET, kind="blob")
    own = site.directory / "own.ini"
    own.write_text("[web]\nweb-1\n[all:vars]\ncluster=nowhere\ninstance=web-1\nmodules=none\nforce=yes\n")
    fleet = ("-i", str(own), "-i", str(paths.content() / "inventory" / "dbmod.yml"))
    ended = site.playbook(
        "module_apply", *fleet, "--limit", "db-0,db-1,web-1", "-e", "all_instances=yes modules=mymod", "--diff", "-vv"
    )
    assert ended.code == 0, ended.said
    assert {row.instance_id for row in site.find(Row)} == {db_0.id, db_1.id}
    assert site.held(db_1, module).sha256 == module.current.sha256
    assert SECRET.decode().strip() not in ended.said
    ended = site.playbook("instance_delete", *fleet, "--limit", "db-0", "-e", "instance=db-1 confirm=db-1")
    assert ended.code == 2
    assert "Instance 'db-1' is not among the hosts of this play." in ended.out
    own.write_text("[db-2]\ndb-0\ndb-1\n")  # Ansible takes the group of a name before the host
    ended = site.playbook("instance_delete", *fleet, "-e", "instance=db-2 confirm=db-2")
    assert ended.code == 2
    assert "The inventory has a group 'db-2'" in ended.out
    assert len(site.find(Instance, deleted_at=None)) == 3


def test_a_sliced_job_and_a_wrong_value_are_refused_before_anything_is_planned(site: Site) -> None:
    site.add_hosts(1)
    sliced = {"awx_job_launch_type": "workflow", "awx_workflow_job_name": "Query", "awx_job_template_name": "Query"}
    ended = play(site, "module_query", all_instances=True, **sliced)
    assert (ended.code, site.find(Run)) == (2, [])
    assert "A sliced job is not started" in ended.out
    ended = play(site, "instance_create", name="red", flavor="15", size="big")
    assert (ended.code, site.find(Run)) == (2, [])
    assert "'size'" in ended.out


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_cluster_lives_without_the_command(site: Site) -> None:
    version = datastores.versions("redis")[0]
    members = [{"flavor": "20"}]
    ended = play(
        site,
        "cluster_create",
        name="ring",
        datastore="redis",
        datastore_version=version,
        flavor="15",
        instances=2,
        members=members,
    )
    assert ended.code == 0, ended.said
    assert [site.instance(f"ring-member-{number}").flavor for number in (1, 2, 3)] == ["20", "15", "15"]
    ended = play(site, "cluster_grow", cluster="ring", instances=1, flavor="15")
    assert ended.code == 0, ended.said
    assert site.instance("ring-member-4").status == "ACTIVE"
    ended = play(site, "cluster_shrink", cluster="ring", members="ring-member-4", confirm="ring")
    assert ended.code == 0, ended.said
    ended = play(site, "cluster_delete", cluster="ring", confirm="ring")
    assert ended.code == 0, ended.said
    assert site.find(Instance, deleted_at=None) == []
    assert list((site.directory / "local").iterdir()) == []
