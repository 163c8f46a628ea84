"""Runs that `ansible-playbook` plans by itself, from its variables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod import connections, direct, errors, fleet, ledger, providers, run_directory
from dbmod.context import Context
from dbmod.records import Attempt, Hold, Instance, Module, Run
from tests import builders

Put = Callable[..., None]


class Tagged(str):
    """Stands for Ansible's own strings, which carry where they came from."""

    __slots__ = ("origin",)


@pytest.fixture
def hosts(put: Put) -> list[Instance]:
    instances = [builders.instance(f"db-{number}") for number in (1, 2, 3)]
    module = builders.module(versions=2)
    put(
        module,
        builders.cluster(),
        *instances,
        builders.row(module, instances[0]),
        builders.row(module, instances[1], 2),
    )
    return instances


def play(hosts: list[Instance], *, check: bool = False, **given: Any) -> direct.Play:
    """Give a play over these hosts and one that is not ours."""
    known: dict[str, dict[str, Any]] = {one.name: {"dbmod_id": one.id} for one in hosts} | {"foreign": {}}
    return direct.Play(
        given=given,
        hosts=direct.hosts_of_play(known, known),
        known=known,
        groups={"all": list(known), "shop": [one.name for one in hosts], "others": ["foreign"]},
        names=list(known),
        sources=["/project/inventory/dbmod.yml"],
        check=check,
    )


def begun(here: Context, playbook: str, asked: direct.Play) -> tuple[Run, list[str]]:
    answer = direct.begin(here, playbook, asked)
    tables = here.store.snapshot()
    run = tables.get(Run, answer["plan"]["run"])
    assert run
    assert run.state == "running"
    names = {one.id: one.name for one in tables.find(Instance)}
    done = sorted({names[one.instance_id] for one in tables.find(Attempt, run_id=run.id)})
    with here.store.transaction(holder="test") as tables:
        ledger.close(tables, run.id)  # so that the next one may work on the same
    return run, done


def refused(here: Context, playbook: str, asked: direct.Play) -> str:
    with pytest.raises(errors.BadInput) as refusal:
        direct.begin(here, playbook, asked)
    return refusal.value.what


def test_apply_takes_names_separated_by_commas_or_a_list(here: Context, hosts: list[Instance], put: Put) -> None:
    put(builders.module(name="other"))
    run, names = begun(
        here, "module_apply", play(hosts, instance="db-1", modules=Tagged("mymod,other"), reason="ticket")
    )
    assert (run.verb, run.reason, run.options["check"], names) == ("apply", "ticket", False, ["db-1"])
    assert len(here.store.snapshot().find(Attempt, run_id=run.id)) == 2
    run, _ = begun(here, "module_apply", play(hosts, instance="db-2", modules=["mymod"], check=True))
    assert run.options["check"] is True


def test_what_no_approved_plan_names_is_refused(here: Context, hosts: list[Instance], put: Put) -> None:
    approved, _ = begun(here, "module_reapply", play(hosts, module="mymod", force=True, check=True))
    again = {"module": "mymod", "force": True, "dbmod_planned_run": approved.id}
    begun(here, "module_reapply", play(hosts, **again))
    [module] = here.store.snapshot().find(Module)
    newer = msgspec.structs.replace(module.current, number=module.current.number + 1)
    put(msgspec.structs.replace(module, versions=(*module.versions, newer)))
    with pytest.raises(errors.Refused, match=f"is version {newer.number} now, and the plan that was approved is for"):
        direct.begin(here, "module_reapply", play(hosts, **again))
    put(module, builders.row(module, hosts[2]))
    with pytest.raises(errors.Refused, match="Module 'mymod' on 'db-3' is not in the plan that was approved"):
        direct.begin(here, "module_reapply", play(hosts, **again))


def test_an_empty_answer_of_a_survey_means_unset(here: Context, hosts: list[Instance]) -> None:
    empty = {"cluster": "", "limit_to": None, "batch_size": "", "delay": "", "max_errors": ""}
    run, names = begun(here, "module_apply", play(hosts, instance="db-1", modules="mymod", **empty))
    assert (names, run.delay_seconds, run.max_errors) == (["db-1"], 2, 0)


def test_only_hosts_of_the_play_are_touched_which_limit_may_have_narrowed(here: Context, hosts: list[Instance]) -> None:
    _, names = begun(here, "module_apply", play(hosts[:2], all_instances="yes", modules="mymod"))
    assert names == ["db-1", "db-2"]
    said = refused(here, "module_apply", play(hosts[:2], instance="db-3", modules="mymod"))
    assert said == "Instance 'db-3' is not among the hosts of this play."


def test_a_group_of_the_play_is_adopted(here: Context, hosts: list[Instance], tmp_path: Path) -> None:
    asked = {"group": "others", "datastore": "redis"}
    said = refused(here, "instance_adopt", play(hosts, **asked))
    assert said == "Hosts are adopted from one inventory of your own, and 0 were given."
    with pytest.raises(errors.NotFound, match="no group 'nosuch'"):
        direct.begin(here, "instance_adopt", play(hosts, **(asked | {"group": "nosuch"})))
    inventory = tmp_path / "production.ini"
    inventory.write_text("[others]\nforeign\n")
    one = play(hosts, **asked)
    given = msgspec.structs.replace(one, sources=[*one.sources, str(inventory)])
    tried = direct.begin(here, "instance_adopt", msgspec.structs.replace(given, check=True))
    assert tried["told"] == ["Nothing is done (--check). It would adopt:", "foreign"]
    assert here.store.snapshot().find(Instance, name="foreign") == []
    answer = direct.begin(here, "instance_adopt", given)
    assert answer["added"] == ["foreign"]
    [new] = here.store.snapshot().find(Instance, name="foreign")
    assert (new.status, new.provider_facts["inventory"], new.provider_facts["group"]) == (
        "BUILD",
        str(inventory),
        "others",
    )


def test_what_awx_lent_a_job_is_not_looked_for_on_disk(here: Context, hosts: list[Instance], put: Put) -> None:
    told = {"awx_job_id": 7, "awx_inventory_id": 5, "group": "others", "datastore": "redis"}
    direct.begin(here, "instance_adopt", play(hosts, **told))
    [new] = here.store.snapshot().find(Instance, name="foreign")
    with pytest.raises(errors.Refused, match="adopted from AWX inventory 5"):
        connections.inventories([new])
    put(msgspec.structs.replace(new, status="ACTIVE"))
    with pytest.raises(errors.Refused, match="called so already"):
        direct.begin(here, "instance_adopt", play(hosts, **(told | {"awx_inventory_id": 6})))


def test_keys_of_the_hosts_are_there_for_ssh_whoever_made_the_inventory(
    here: Context, hosts: list[Instance], put: Put
) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA"
    put(msgspec.structs.replace(hosts[0], host_keys=(key,)))
    begun(here, "module_query", play(hosts, instance="db-1"))
    assert (here.settings.home_path / "known_hosts").read_text() == f"{hosts[0].id} {key}\n"


def test_pace_and_limit_of_an_apply(here: Context, hosts: list[Instance]) -> None:
    asked = {"limit_to": "db-[12]", "batch_size": "1", "delay": "0.5", "max_errors": 2}
    run, names = begun(here, "module_apply", play(hosts, modules="mymod", **asked))
    assert (names, run.batch_sizes, run.delay_seconds, run.max_errors) == (["db-1", "db-2"], (1, 1), 0.5, 2)


def test_remove_reapply_query_and_retrieve(here: Context, hosts: list[Instance], tmp_path: Path) -> None:
    assert begun(here, "module_remove", play(hosts[1:2], instance="db-2", module="mymod"))[1] == ["db-2"]
    run, names = begun(here, "module_reapply", play(hosts[:1], module="mymod", force="True", md5=builders.MD5[1]))
    assert (run.verb, names) == ("reapply", ["db-1"])
    told = {"check": False, "md5": builders.MD5[1], "include_clustered": False, "force": True}
    assert run.options.items() >= told.items()
    assert begun(here, "module_query", play(hosts, all_instances=True))[0].verb == "query"
    assert begun(here, "module_query", play(hosts, datastore="redis", reconcile="yes"))[0].verb == "reconcile"
    run, _ = begun(here, "module_retrieve", play(hosts, instance="db-1", directory=str(tmp_path), prefix="p"))
    assert run.options == {"directory": str(tmp_path), "prefix": "p_"}


@pytest.mark.parametrize(
    ("playbook", "given", "said"),
    [
        ("instance_adopt", {}, "instance_adopt: missing required arguments: datastore, group"),
        ("module_apply", {"instance": "db-1"}, "module_apply: missing required arguments: modules"),
        ("module_apply", {"instance": "db-1", "modules": " , "}, "No module was named."),
        ("module_apply", {"modules": "mymod"}, "No instance was named."),
        ("module_remove", {"instance": "db-1"}, "module_remove: missing required arguments: module"),
        ("module_reapply", {"module": "mymod", "force": "perhaps"}, "'force'"),
        ("module_reapply", {"module": "mymod", "delay": "soon"}, "'delay'"),
        ("module_reapply", {"module": "mymod", "delay": "nan"}, "--delay must be a number of seconds."),
        ("module_reapply", {"module": "mymod", "canary": "inf"}, "not a whole number: one of canary"),
        ("module_reapply", {"module": "mymod", "canary": "1.5"}, "'canary'"),
        ("module_reapply", {"module": "mymod", "batch_size": "1.5"}, "--batch_size takes a number of hosts"),
        ("module_reapply", {"module": "mymod", "batch_size": "0"}, "--batch_size must be at least 1."),
        ("module_reapply", {"module": "mymod", "delay": [1]}, "'delay'"),
        ("instance_create", {"name": "new", "flavor": 15, "locality": "near"}, "locality"),
        (
            "instance_create",
            {"name": "new", "flavor": 15, "users": [{"name": "app", "password": "x"}]},
            "Users are not",
        ),
        ("instance_create", {"name": "shop", "flavor": 15}, "The inventory has a group 'shop'"),
        ("instance_create", {"name": "foreign", "flavor": 15}, "The inventory has a host 'foreign' already."),
        ("instance_delete", {"instance": "db-1"}, "Deleting the instance 'db-1' and its data has to be confirmed."),
        ("instance_delete", {"instance": "db-1", "confirm": "db-2"}, "Deleting the instance 'db-1' and its data has"),
        ("cluster_grow", {"cluster": "myclust"}, "No member was named."),
        ("cluster_grow", {"cluster": "myclust", "instances": 2}, "The variable `flavor` is not set."),
        ("cluster_grow", {"cluster": "myclust", "members": [{"flavour": "15"}]}, "flavour"),
        ("cluster_shrink", {"cluster": "myclust", "members": "db-3"}, "Deleting db-3 of the cluster 'myclust' has"),
        ("cluster_delete", {"cluster": "myclust"}, "Deleting the cluster 'myclust' with its data has to be confirmed."),
    ],
)
def test_what_is_wrong_is_refused_by_the_variables_name(
    here: Context, hosts: list[Instance], playbook: str, given: dict[str, Any], said: str
) -> None:
    assert said in refused(here, playbook, play(hosts, **given))
    assert here.store.snapshot().find(Run) == []


def test_nothing_to_do_plans_no_run(here: Context, hosts: list[Instance]) -> None:
    asked = play(hosts, module="mymod", md5=builders.version(2).md5)
    assert direct.begin(here, "module_reapply", asked)["told"] == ["Nothing to do."]
    assert here.store.snapshot().find(Run) == []


def test_what_a_reapply_does_not_touch_is_told_first(here: Context, hosts: list[Instance], put: Put) -> None:
    [module] = here.store.snapshot().find(Module)
    member = builders.instance("myclust-member-1", cluster_id=builders.cluster().id)
    held = builders.instance("db-9", hold=Hold(reason="backup", by="ada", since=builders.MOMENT, until=None))
    put(member, held, builders.row(module, member), builders.row(module, held))
    told = direct.begin(here, "module_reapply", play([*hosts, member, held], module="mymod"))["told"]
    assert told[:2] == [
        "skipped db-9: on hold, by ada: backup",
        "left out: 1 in clusters; include_clustered takes them",
    ]
    assert told[3:] == ["db-1 (mymod)"]


def test_create_adds_the_host_that_the_inventory_has_not(here: Context, hosts: list[Instance]) -> None:
    asked = play(hosts, name="new", flavor=15, modules="mymod", datastore="", reason=Tagged("ticket"))
    answer = direct.begin(here, "instance_create", asked)
    assert (answer["added"], answer["plan"]["hosts"]) == (["new"], ["new"])
    assert answer["told"][1:] == ["new (mymod)"]
    known = run_directory.variables_of(here, answer["plan"]["run"], "new")
    assert known["ansible_connection"] == "local"
    assert not (here.settings.home_path / "runs" / answer["plan"]["run"]).exists()  # no host keys are to be known


def test_check_writes_nothing_and_says_what_would_be_done(here: Context, hosts: list[Instance], tmp_path: Path) -> None:
    before = here.store.snapshot().serial
    for playbook, given, told in (
        ("instance_create", {"name": "new", "flavor": "15"}, ["Nothing is done (--check). It would create:", "new"]),
        ("instance_delete", {"instance": "db-1"}, ["Nothing is done (--check). It would delete:", "db-1"]),
        ("module_query", {"instance": "db-1"}, ["Nothing is done (--check). It would query:", "db-1"]),
        (
            "module_retrieve",
            {"instance": "db-1", "directory": str(tmp_path / "new")},
            ["Nothing is done (--check). It would retrieve:", "db-1"],
        ),
    ):
        answer = direct.begin(here, playbook, play(hosts, check=True, **given))
        assert (answer["told"], answer["plan"]["hosts"], answer["added"]) == (told, [], [])
    assert here.store.snapshot().serial == before
    assert not (tmp_path / "new").exists()


def test_limit_is_refused_where_it_would_leave_out_what_is_made(here: Context, hosts: list[Instance]) -> None:
    asked = msgspec.structs.replace(play(hosts, name="new", flavor="15"), limit="db-1")
    assert refused(here, "instance_create", asked) == "--limit 'db-1' would leave out 'new', which is not there yet."
    said = refused(here, "instance_restart", play(hosts[:1], instance="db-2"))
    assert said == "Instance 'db-2' is not among the hosts of this play."
    assert here.store.snapshot().find(Run) == []


def test_members_of_the_list_take_what_they_do_not_say_from_the_other_variables(here: Context) -> None:
    version = providers.check_version(here.settings, "local", "redis", None)
    asked = {"members": [{"flavor": 20}, {"volume": "2"}], "instances": "1", "flavor": "15", "volume": 1}
    answer = direct.begin(
        here, "cluster_create", play([], name="ring", datastore="redis", datastore_version=version, **asked)
    )
    made = sorted(here.store.snapshot().find(Instance), key=lambda one: one.name)
    assert [(one.name, one.flavor, one.volume_gb) for one in made] == [
        ("ring-member-1", "20", 1),
        ("ring-member-2", "15", 2),
        ("ring-member-3", "15", 1),
    ]
    assert answer["added"] == [one.name for one in made]


def test_the_job_of_awx_is_the_actor(here: Context, hosts: list[Instance]) -> None:
    told = {"awx_job_id": 42, "tower_job_id": 42, "awx_user_name": Tagged("alice")}
    run, _ = begun(here, "instance_restart", play(hosts, instance="db-1", **told))
    assert run.actor == "alice (AWX job 42)"


def test_a_planned_run_is_not_faked_by_check(here: Context, hosts: list[Instance]) -> None:
    _, run = fleet.plan_restart(here, "db-1")
    with pytest.raises(errors.Refused, match="is planned to be done"):
        direct.take_over(here, run.id, check=True)
    assert direct.take_over(here, run.id, check=False)["plan"]["hosts"] == ["db-1"]


def test_a_host_that_is_reached_by_ssh_gets_its_file_of_host_keys(here: Context, put: Put) -> None:
    facts = {"user": "debian", "become": 1, "directory": "/srv/dbmod"}
    new = builders.instance("far", provider="openstack", status="BUILD", address="192.0.2.7", provider_facts=facts)
    put(new)
    with here.store.transaction(holder="test") as tables:
        run = fleet.plan_claim(tables, here, "create", "instance_create", [new])
    known = run_directory.variables_of(here, run.id, "far")
    file = Path(known["dbmod_known_hosts"])
    assert file.read_text() == ""
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert (known["ansible_connection"], known["ansible_host"], known["ansible_user"]) == ("ssh", "192.0.2.7", "debian")
    assert "StrictHostKeyChecking=yes" in known["ansible_ssh_args"]
    assert "ControlPersist" in known["ansible_ssh_args"]  # dozens of tasks are to come
    file.write_text("a key that the console told")
    assert run_directory.variables_of(here, run.id, "far") == known
    assert file.read_text() == "a key that the console told"
