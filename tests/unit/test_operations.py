"""What the module commands plan: SEMANTICS §3 on Apply, Remove and Reapply, against a real ledger."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod import errors, ledger, module_types, operations
from dbmod.context import Context
from dbmod.operations import Planned
from dbmod.paces import Pace
from dbmod.records import Attempt, Instance, Module, Row, Run
from dbmod.selection import Selection, select
from tests import builders, hosts
from tests.builders import REPLACE, STRANGER, TENANT, as_actor

Put = Callable[..., None]
EVERY = Selection(all=True)


def one(name: str = "db-1") -> Selection:
    return Selection(instance=name)


def refused(work: Callable[..., Any], *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(errors.BadInput) as refusal:
        work(*arguments, **keywords)
    return refusal.value.what


class Fleet(msgspec.Struct):
    """Two versions of mymod; three single redis, one mysql, three members of a cluster."""

    here: Context
    module: Module
    instances: dict[str, Instance]

    def holds(self, name: str, number: int = 1, **changes: Any) -> Row:
        return builders.row(self.module, self.instances[name], number, **changes)

    def attempts(self, planned: Planned) -> list[Attempt]:
        assert planned.run
        found = self.here.store.snapshot().find(Attempt, run_id=planned.run.id)
        return sorted(found, key=lambda attempt: (attempt.position, attempt.order))

    def hosts(self, planned: Planned) -> list[str]:
        """Name the planned instances batch by batch, in order: ["a b", "c"]."""
        names = {instance.id: instance.name for instance in self.instances.values()}
        batches: dict[int, list[str]] = {}
        for attempt in self.attempts(planned):
            batches.setdefault(attempt.batch, []).append(names[attempt.instance_id])
        return [" ".join(dict.fromkeys(batch)) for _, batch in sorted(batches.items())]


@pytest.fixture
def fleet(here: Context, put: Put) -> Fleet:
    cluster = builders.cluster()
    instances = [builders.instance(f"db-{number}") for number in (1, 2, 3)]
    instances += [builders.instance(f"myclust-member-{number}", cluster_id=cluster.id) for number in (1, 2, 3)]
    instances.append(builders.instance("sql", datastore="mysql", datastore_version="10.11.6"))
    module = builders.module(versions=2)
    put(cluster, module, *instances)
    return Fleet(here=here, module=module, instances={instance.name: instance for instance in instances})


# Apply


def test_all_named_modules_are_checked_first_and_one_mismatch_refuses_all(fleet: Fleet, put: Put) -> None:
    put(
        builders.module(name="bound", datastore="mysql"),
        builders.module(name="old", datastore="redis", datastore_version="3"),
    )
    before = fleet.here.store.snapshot().serial
    assert refused(operations.plan_apply, fleet.here, one(), ["mymod", "bound"]) == (
        "Module 'bound' cannot be applied (Wrong datastore 'mysql' - expected 'redis')"
    )
    assert refused(operations.plan_apply, fleet.here, one(), ["mymod", "old"]) == (
        "Module 'old' cannot be applied (Wrong datastore version '3' - expected '7.0.15')"
    )
    assert refused(operations.plan_apply, fleet.here, one(), ["mymod", "none"]).startswith("No module with a name")
    assert fleet.here.store.snapshot().serial == before


def test_a_plan_names_the_current_version_and_the_one_before_in_the_right_order(fleet: Fleet, put: Put) -> None:
    first = builders.module(name="first", priority_apply=True)
    put(first, fleet.holds("db-1"))
    planned = operations.plan_apply(fleet.here, one(), ["mymod", "first", "mymod"])
    told = [(attempt.module_id, attempt.number, attempt.from_number) for attempt in fleet.attempts(planned)]
    assert told == [(first.id, 1, None), (fleet.module.id, 2, 1)]
    assert planned.run
    assert (planned.run.verb, planned.run.playbook) == ("apply", "module_apply")


@pytest.mark.parametrize("status", ["BUILD", "SHUTDOWN", "ERROR"])
def test_an_instance_that_is_not_active_is_refused_with_its_status(fleet: Fleet, put: Put, status: Any) -> None:
    put(REPLACE(fleet.instances["db-1"], status=status, fault="it broke"))
    with pytest.raises(errors.Refused) as refusal:
        operations.plan_apply(fleet.here, one(), ["mymod"])
    assert refusal.value.what == f"Instance 'db-1' is not ACTIVE: its status is {status}."
    assert refusal.value.details == {"fault": "it broke"}
    assert refusal.value.next_step == "dbmod restart db-1"
    planned = operations.plan_apply(fleet.here, Selection(limit="db-*"), ["mymod"])
    assert fleet.hosts(planned) == ["db-2 db-3"]
    assert [(skipped.instance, skipped.why) for skipped in planned.skipped] == [
        ("db-1", f"not ACTIVE: its status is {status}.")
    ]
    assert planned.run
    assert planned.run.options["skipped"] == {f"not ACTIVE: its status is {status}.": ["db-1"]}


def test_of_many_instances_the_misfits_are_skipped_and_reported(fleet: Fleet, put: Put) -> None:
    put(builders.module(name="bound", datastore="redis"))
    planned = operations.plan_apply(fleet.here, EVERY, ["bound"])
    assert fleet.hosts(planned) == ["db-1 db-2 db-3 myclust-member-1", "myclust-member-2", "myclust-member-3"]
    why = "Module 'bound' cannot be applied (Wrong datastore 'redis' - expected 'mysql')"
    assert [(skipped.instance, skipped.why) for skipped in planned.skipped] == [("sql", why)]


def test_a_provider_refuses_a_type_whose_needs_it_cannot_meet(fleet: Fleet, put: Put) -> None:
    put(builders.module(name="licence", type="new_relic_license"))
    lacking = "systemd" if os.geteuid() == 0 else "root and systemd"
    expected = f"Module 'licence' cannot be applied (needs {lacking}, which the provider 'local' does not offer)"
    assert refused(operations.plan_apply, fleet.here, one(), ["licence"]) == expected
    planned = operations.plan_apply(fleet.here, EVERY, ["licence"])
    assert planned.run is None
    assert {skipped.why for skipped in planned.skipped} == {expected}


def test_no_module_and_no_instance_are_refused(fleet: Fleet) -> None:
    assert refused(operations.plan_apply, fleet.here, one(), []) == "No module was named."
    assert refused(operations.plan_apply, fleet.here, Selection(), ["mymod"]) == "No instance was named."
    assert refused(operations.plan_apply, fleet.here, one("x"), ["mymod"]).startswith("No instance with a name")


def test_a_second_run_on_the_same_is_refused_naming_the_first(fleet: Fleet) -> None:
    first = operations.plan_apply(fleet.here, one(), ["mymod"]).run
    assert first
    assert refused(operations.plan_apply, fleet.here, EVERY, ["mymod"]) == (
        f"Instance 'db-1' is being worked on by run {first.id}."
    )


def test_check_is_kept_in_the_run(fleet: Fleet) -> None:
    run = operations.plan_apply(fleet.here, one(), ["mymod"], check=True).run
    assert run
    assert (run.options["check"], run.pause_after) == (True, 0)


# Selections


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ({"limit": "db-*"}, "db-1 db-2 db-3"),
        ({"limit": "db-*, !db-2"}, "db-1 db-3"),
        ({"limit": "!db-?"}, "myclust-member-1 myclust-member-2 myclust-member-3 sql"),
        ({"limit": "db-[12],sql"}, "db-1 db-2 sql"),
        ({"limit": "DB-1"}, ""),
        ({"cluster": "myclust"}, "myclust-member-1 myclust-member-2 myclust-member-3"),
        ({"cluster": "myclust", "limit": "*-2"}, "myclust-member-2"),
        ({"datastore": "mysql"}, "sql"),
        ({"datastore": "redis", "limit": "*1"}, "db-1 myclust-member-1"),
        ({"all": True}, "db-1 db-2 db-3 myclust-member-1 myclust-member-2 myclust-member-3 sql"),
        ({"all": True, "hosts": ()}, ""),
        ({"instance": "myclust-member-2"}, "myclust-member-2"),
    ],
    ids=str,
)
def test_selections(fleet: Fleet, selection: dict[str, Any], expected: str) -> None:
    found = select(fleet.here.store.snapshot(), Selection(**selection), actor=fleet.here.actor)
    assert " ".join(instance.name for instance in found) == expected


def test_a_selection_by_id_and_only_among_the_hosts_of_the_play(fleet: Fleet) -> None:
    tables, db_1 = fleet.here.store.snapshot(), fleet.instances["db-1"]
    for selection in (Selection(limit=db_1.id), Selection(instance=db_1.id), Selection(all=True, hosts=(db_1.id,))):
        assert select(tables, selection, actor=fleet.here.actor) == [db_1]
    said = refused(select, tables, Selection(instance="db-1", hosts=()), actor=fleet.here.actor)
    assert said == "Instance 'db-1' is not among the hosts of this play."


def test_a_tenant_selects_among_its_own(fleet: Fleet, put: Put) -> None:
    put(builders.instance("theirs", tenant="other"))
    tables = fleet.here.store.snapshot()
    assert [one.name for one in select(tables, EVERY, actor=STRANGER)] == ["theirs"]
    assert "theirs" not in [one.name for one in select(tables, EVERY, actor=TENANT)]


# Remove


def test_what_has_not_been_applied_cannot_be_removed(fleet: Fleet, put: Put) -> None:
    expected = "Module 'mymod' has not been applied"
    assert refused(operations.plan_remove, fleet.here, one(), "mymod") == expected
    put(fleet.holds("db-1", removed_at=builders.LATER, held=None))
    assert refused(operations.plan_remove, fleet.here, one(), "mymod") == expected
    assert operations.plan_remove(fleet.here, EVERY, "mymod").run is None


def test_a_remove_touches_those_that_hold_it_or_failed_to(fleet: Fleet, put: Put) -> None:
    put(fleet.holds("db-1", 2), fleet.holds("db-3", held=None, last_attempt="error"))
    planned = operations.plan_remove(fleet.here, EVERY, "mymod")
    assert fleet.hosts(planned) == ["db-1 db-3"]
    assert [(one.number, one.from_number) for one in fleet.attempts(planned)] == [(2, 2), (0, None)]


def test_a_module_deleted_by_force_can_still_be_removed(fleet: Fleet, put: Put) -> None:
    put(REPLACE(fleet.module, deleted_at=builders.LATER), fleet.holds("db-1"))
    assert fleet.hosts(operations.plan_remove(fleet.here, one(), "mymod")) == ["db-1"]
    assert refused(operations.plan_apply, fleet.here, one("db-2"), ["mymod"]).startswith("No module with a name")


# Reapply


def test_a_reapply_touches_holders_that_are_not_current_and_never_installs(fleet: Fleet, put: Put) -> None:
    put(fleet.holds("db-1", 1), fleet.holds("db-2", 2), fleet.holds("myclust-member-1", 1))
    assert fleet.hosts(operations.plan_reapply(fleet.here, "mymod")) == ["db-1"]


def test_a_reapply_counts_the_members_of_clusters_that_it_leaves_out(fleet: Fleet, put: Put) -> None:
    put(fleet.holds("myclust-member-1", 1), fleet.holds("myclust-member-2", 2))
    assert operations.plan_reapply(fleet.here, "mymod") == Planned(run=None, clustered=1)
    assert operations.plan_reapply(fleet.here, "mymod", include_clustered=True).clustered == 0
    assert operations.plan_reapply(fleet.here, "mymod", selection=Selection(limit="db-*")).clustered == 0


def test_an_md5_that_no_version_has_is_refused(fleet: Fleet) -> None:
    said = refused(operations.plan_reapply, fleet.here, "mymod", md5=builders.MD5[4])
    assert said == f"No version of module 'mymod' has the md5 '{builders.MD5[4]}'."


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"include_clustered": True}, "db-1 myclust-member-1"),
        ({"force": True}, "db-1 db-2"),
        ({"force": True, "include_clustered": True}, "db-1 db-2 myclust-member-1"),
        ({"md5": builders.MD5[1]}, "db-1"),
        ({"md5": builders.MD5[2]}, ""),
        ({"md5": builders.MD5[2], "force": True}, "db-2"),
        ({"selection": Selection(hosts=())}, ""),
        ({"selection": Selection(limit="db-*,!db-1"), "force": True}, "db-2"),
        ({"selection": Selection(datastore="mysql")}, ""),
        ({"selection": Selection(limit="*1")}, "db-1"),
        ({"selection": Selection(limit="*1"), "include_clustered": True}, "db-1 myclust-member-1"),
        ({"selection": Selection(cluster="myclust")}, "myclust-member-1"),
        ({"selection": Selection(all=True)}, "db-1 myclust-member-1"),
    ],
    ids=str,
)
def test_which_instances_a_reapply_touches(fleet: Fleet, put: Put, asked: dict[str, Any], expected: str) -> None:
    put(fleet.holds("db-1", 1), fleet.holds("db-2", 2), fleet.holds("myclust-member-1", 1))
    planned = operations.plan_reapply(fleet.here, "mymod", **asked)
    touched = " ".join(fleet.hosts(planned)) if planned.run else ""
    assert sorted(touched.split()) == expected.split()


def test_batches_go_by_name_with_numbers_as_people_count(fleet: Fleet, put: Put) -> None:
    fleet.instances["db-10"] = builders.instance("db-10")
    put(fleet.instances["db-10"], fleet.holds("db-10"), fleet.holds("db-2"), fleet.holds("db-3"))
    planned = operations.plan_reapply(fleet.here, "mymod", pace=Pace(batch_size=2))
    assert fleet.hosts(planned) == ["db-2 db-3", "db-10"]


def test_wrong_datastores_are_skipped_and_reported(fleet: Fleet, put: Put) -> None:
    put(REPLACE(fleet.module, datastore="redis"), fleet.holds("db-1"), fleet.holds("sql"))
    planned = operations.plan_reapply(fleet.here, "mymod")
    assert fleet.hosts(planned) == ["db-1"]
    assert [skipped.instance for skipped in planned.skipped] == ["sql"]


def test_contents_are_those_at_the_start(fleet: Fleet, put: Put) -> None:
    put(fleet.holds("db-1"))
    planned = operations.plan_reapply(fleet.here, "mymod")
    put(REPLACE(fleet.module, versions=(*fleet.module.versions, builders.version(3))))
    assert [(one.number, one.sha256) for one in fleet.attempts(planned)] == [(2, builders.sha256(2))]


def test_nothing_to_do_is_no_run_and_no_error(fleet: Fleet, put: Put) -> None:
    put(fleet.holds("db-1", 2))
    before = fleet.here.store.snapshot().serial
    assert operations.plan_reapply(fleet.here, "mymod") == Planned(run=None)
    assert fleet.here.store.snapshot().serial == before


def test_deleted_instances_are_never_touched(fleet: Fleet, put: Put) -> None:
    gone = REPLACE(fleet.instances["db-1"], status="DELETED", deleted_at=builders.LATER)
    put(gone, fleet.holds("db-1"))
    assert operations.plan_reapply(fleet.here, "mymod").run is None


# Pace


def test_the_pace_is_50_at_once_two_seconds_between_unless_asked_otherwise(fleet: Fleet) -> None:
    run = operations.plan_apply(fleet.here, EVERY, ["mymod"]).run
    assert run
    assert (run.batch_sizes, run.delay_seconds, run.max_errors) == ((5, 1, 1), 2, 0)
    with fleet.here.store.transaction(holder="a test") as tables:
        ledger.close(tables, run.id)
    pace = Pace(batch_size=1, delay_seconds=0, max_errors=3)
    run = operations.plan_apply(fleet.here, Selection(limit="db-*"), ["mymod"], pace=pace).run
    assert run
    assert (run.batch_sizes, run.delay_seconds, run.max_errors) == ((1, 1, 1), 0, 3)


@pytest.mark.parametrize(
    ("pace", "said"),
    [
        (Pace(batch_size=0), "--batch_size must be at least 1."),
        (Pace(batch_size=-1), "--batch_size must be at least 1."),
        (Pace(delay_seconds=-0.1), "--delay must not be negative."),
        (Pace(delay_seconds=float("nan")), "--delay must be a number of seconds."),
        (Pace(delay_seconds=float("inf")), "--delay must be a number of seconds."),
        (Pace(max_errors=-1), "--max_errors must not be negative."),
    ],
)
def test_a_pace_that_cannot_be_is_refused_everywhere(fleet: Fleet, put: Put, pace: Pace, said: str) -> None:
    put(fleet.holds("db-1"))
    assert refused(operations.plan_apply, fleet.here, one(), ["mymod"], pace=pace) == said
    assert refused(operations.plan_remove, fleet.here, one(), "mymod", pace=pace) == said
    assert refused(operations.plan_reapply, fleet.here, "mymod", pace=pace) == said


def test_a_tenant_takes_at_most_50_at_once_and_at_least_two_seconds_unless_configured(fleet: Fleet, put: Put) -> None:
    put(REPLACE(fleet.module, is_admin=False), fleet.holds("db-1"))
    tenant = as_actor(fleet.here, TENANT)
    for pace, said in (
        (Pace(batch_size=51), "A tenant's --batch_size is at most 50."),
        (Pace(delay_seconds=1.9), "A tenant's --delay is at least 2 seconds."),
    ):
        assert refused(operations.plan_reapply, tenant, "mymod", pace=pace) == said
        assert operations.plan_reapply(fleet.here, "mymod", pace=pace, md5=builders.version(2).md5).run is None
    settings = REPLACE(tenant.settings, tenant_batch_size_limit=2, tenant_delay_minimum_seconds=0)
    configured = REPLACE(tenant, settings=settings)
    run = operations.plan_apply(configured, Selection(limit="db-*"), ["mymod"], pace=Pace(delay_seconds=0)).run
    assert run
    assert run.batch_sizes == (2, 1)


def test_a_type_that_restarts_the_server_defaults_to_batches_of_one(fleet: Fleet, put: Put, tmp_path: Path) -> None:
    header = "DECLARES = kit.Declares(restarts=True)"
    (tmp_path / "dbmod_tune.py").write_text(hosts.type_source("return kit.Outcome(True, '')", header=header))
    here = REPLACE(fleet.here, settings=REPLACE(fleet.here.settings, type_directories=(str(tmp_path),)))
    put(builders.module(name="tuned", type="tune"))
    singles = Selection(limit="db-*")
    planned = operations.plan_apply(here, singles, ["tuned"])
    assert fleet.hosts(planned) == ["db-1", "db-2", "db-3"]
    assert planned.run
    assert (planned.run.pause_after, planned.run.options["pace"]["gate"]) == (1, True)
    with here.store.transaction(holder="a test") as tables:
        ledger.close(tables, planned.run.id)
    assert fleet.hosts(operations.plan_apply(here, singles, ["tuned"], pace=Pace(batch_size=3, canary=0))) == [
        "db-1 db-2 db-3"
    ]


def test_types_are_read_a_few_times_not_once_for_each_instance(
    fleet: Fleet, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(*(builders.instance(f"more-{number}") for number in range(60)))
    reads = 0
    real = module_types.listing

    def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return real(*arguments)

    monkeypatch.setattr(module_types, "listing", counted)
    assert operations.plan_apply(fleet.here, EVERY, ["mymod"]).run
    assert 1 <= reads <= 3


# Questions


def test_a_question_asks_whole_hosts_at_once_and_disturbs_nobody(fleet: Fleet) -> None:
    operations.plan_apply(fleet.here, one(), ["mymod"])
    for verb, playbook in (("query", "module_query"), ("reconcile", "module_query"), ("retrieve", "module_retrieve")):
        planned = operations.plan_question(fleet.here, verb, Selection(limit="db-*"))
        assert [(attempt.module_id, attempt.state) for attempt in fleet.attempts(planned)] == [("", "planned")] * 3
        assert planned.run
        assert (planned.run.playbook, planned.run.delay_seconds, planned.run.max_errors) == (playbook, 0, None)


def test_retrieve_makes_its_directory_private_and_ends_the_prefix_in_one_underscore(
    fleet: Fleet, tmp_path: Path
) -> None:
    for prefix, expected in (("", ""), ("a", "a_"), ("a_", "a_")):
        target = tmp_path / "new" / f"of {prefix}"
        run = operations.plan_retrieve(fleet.here, one(), directory=str(target), prefix=prefix).run
        assert run
        assert run.options == {"directory": str(target), "prefix": expected}
        assert target.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("prefix", ["../a", "a/b", "a\nb", "-", "x" * 100, "漢" * 34, "\ud800a"])
def test_a_prefix_that_would_leave_the_directory_or_fill_the_name_is_refused(
    fleet: Fleet, tmp_path: Path, prefix: str
) -> None:
    said = refused(operations.plan_retrieve, fleet.here, one(), directory=str(tmp_path / "new"), prefix=prefix)
    assert said.startswith("The prefix ")
    assert not (tmp_path / "new").exists()


def test_a_directory_that_cannot_be_made_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused(operations.plan_retrieve, fleet.here, one(), directory=str(tmp_path / "file" / "x"), prefix="")
    assert said == f"The directory {tmp_path}/file/x cannot be made: Not a directory"
    assert fleet.here.store.snapshot().find(Run) == []


def test_what_is_down_and_left_out_is_told_by_the_exit_code(fleet: Fleet, put: Put) -> None:
    assert operations.plan_apply(fleet.here, EVERY, ["mymod"]).exit_code == 0
    put(builders.instance("db-down", status="SHUTDOWN"))
    planned = operations.plan_apply(fleet.here, Selection(limit="db-down"), ["mymod"])
    assert (planned.run, planned.exit_code) == (None, 1)
