"""The OpenStack Trove module guide, step by step, on real MariaDB and a real Redis Cluster, on this machine and on
OpenStack: what a user sees.
"""

import itertools
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from dbmod import demo, names
from tests import figures
from tests.end_to_end import tables

IN_CLOUD = [pytest.mark.root, pytest.mark.cloud, pytest.mark.nightly]
COUNT_COLUMNS = ["Module Name", "Min Updated Date", "Max Updated Date", "Module MD5", "Current", "Count"]
MODULE_PROPERTIES = [
    "apply_order",
    "auto_apply",
    "created",
    "datastore",
    "datastore_id",
    "datastore_version",
    "datastore_version_id",
    "description",
    "id",
    "instance_count",
    "is_admin",
    "live_update",
    "md5",
    "name",
    "priority_apply",
    "tenant",
    "tenant_id",
    "type",
    "updated",
    "visible",
]
INSTANCE_PROPERTIES = [
    "created",
    "datastore",
    "datastore_version",
    "encrypted_rpc_messaging",
    "flavor",
    "id",
    "name",
    "region",
    "server_id",
    "status",
    "tenant_id",
    "updated",
    "volume",
    "volume_id",
]
CLUSTER_PROPERTIES = [
    "created",
    "datastore",
    "datastore_version",
    "id",
    "instance_count",
    "name",
    "task_description",
    "task_name",
    "updated",
]
INSTANCE_COLUMNS = ["ID", "Name", "Datastore", "Datastore Version", "Status", "Flavor ID", "Size", "Region"]

COUNTS = {  # after each step: (md5, current, count) by date
    "count_1": [(demo.FIRST_MD5, "True", "1")],
    "count_2": [(demo.FIRST_MD5, "False", "1")],
    "count_2_clustered": [(demo.FIRST_MD5, "False", "1"), (demo.SECOND_MD5, "True", "3")],
    "count_3": [(demo.FIRST_MD5, "False", "1"), (demo.SECOND_MD5, "False", "3")],
    "count_member": [(demo.FIRST_MD5, "False", "1"), (demo.SECOND_MD5, "False", "2"), (demo.THIRD_MD5, "True", "1")],
    "count_4": [(demo.FIRST_MD5, "False", "1"), (demo.SECOND_MD5, "False", "2"), (demo.THIRD_MD5, "False", "2")],
    "count_reapplied": [
        (demo.FIRST_MD5, "False", "1"),
        (demo.SECOND_MD5, "False", "2"),
        (demo.FOURTH_MD5, "True", "2"),
    ],
    "count_forced": [(demo.FIRST_MD5, "False", "1"), (demo.SECOND_MD5, "False", "2"), (demo.FOURTH_MD5, "True", "2")],
    "count_end": [(demo.FOURTH_MD5, "True", "5")],
}
MD5_AFTER = {
    "create_module": demo.FIRST_MD5,
    "update_2": demo.SECOND_MD5,
    "update_3": demo.THIRD_MD5,
    "update_4": demo.FOURTH_MD5,
}


class Told:
    """The guide once told: what each step printed."""

    def __init__(self, story: demo.Story) -> None:
        self.story = story
        self.output: dict[str, str] = {}
        self.exit_codes: dict[str, int] = {}

    def tell(self, steps: tuple[demo.Step, ...]) -> None:
        for step in steps:
            done = self.story.carry_out(self.story.command(step), capture=True)
            self.output[step.name] = done.stdout + done.stderr
            self.exit_codes[step.name] = done.returncode


@pytest.fixture(scope="module", params=["local", pytest.param("openstack", marks=IN_CLOUD)])
def guide(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The whole guide, told once for all tests of this file; its servers are removed at the end."""
    with pytest.MonkeyPatch.context() as environment:
        if request.param == "openstack":
            for name, value in request.getfixturevalue("bed").cloud.environment.items():
                environment.setenv(name, value)
        started = time.monotonic()
        told = Told(demo.Story(tmp_path_factory.mktemp("guide"), provider=request.param))
        try:
            told.tell(demo.STEPS)
            figures.figure("guide", f"{request.param}: {len(demo.STEPS)} steps in {time.monotonic() - started:.0f} s")
            yield told
        finally:
            told.tell(demo.CLEAN_UP)
    assert [name for name, code in told.exit_codes.items() if code != 0] == []


@pytest.mark.parametrize("step", [step.name for step in demo.STEPS])
def test_step_of_the_guide_succeeds(guide: Told, step: str) -> None:
    assert guide.exit_codes[step] == 0, guide.output[step]


@pytest.mark.parametrize("step", COUNTS)
def test_counts_after_each_step_are_the_guides(guide: Told, step: str) -> None:
    output = guide.output[step]
    assert tables.is_framed(output)
    assert tables.columns(output) == COUNT_COLUMNS
    seen = [(row["Module MD5"], row["Current"], row["Count"]) for row in tables.rows(output)]
    assert seen == COUNTS[step]


@pytest.mark.parametrize("step", MD5_AFTER)
def test_module_shows_the_guides_md5(guide: Told, step: str) -> None:
    shown = tables.properties(guide.output[step])
    assert shown["md5"] == MD5_AFTER[step]
    assert list(shown) == MODULE_PROPERTIES


def test_module_is_bound_to_its_datastore_until_unbound(guide: Told) -> None:
    assert tables.properties(guide.output["create_module"])["datastore"] == "mysql"
    assert tables.properties(guide.output["all_datastores"])["datastore"] == "all"


@pytest.mark.parametrize("step", ["create_myinst", "create_myinst_2"])
def test_instance_table_is_the_guides(guide: Told, step: str) -> None:
    shown = tables.properties(guide.output[step])
    assert list(shown) == INSTANCE_PROPERTIES
    assert (shown["status"], shown["flavor"], shown["volume"], shown["region"]) == ("ACTIVE", "15", "1", "RegionOne")
    is_local = guide.story.provider == "local"
    assert shown["encrypted_rpc_messaging"] == str(not is_local)
    assert [names.is_identifier(shown[key]) for key in ("server_id", "volume_id")] == [not is_local, not is_local]


def test_cluster_table_is_the_guides(guide: Told) -> None:
    shown = tables.properties(guide.output["create_cluster"])
    assert list(shown) == CLUSTER_PROPERTIES
    assert (shown["datastore"], shown["instance_count"], shown["name"]) == ("redis", "3", "myclust")


def test_redis_cluster_is_well(guide: Told) -> None:
    assert "cluster_state:ok" in guide.output["cluster_state"]
    assert "cluster_slots_ok:16384" in guide.output["cluster_state"]


def test_query_shows_the_hosts_answer(guide: Told) -> None:
    output = guide.output["query_myinst"]
    assert tables.columns(output) == [
        "Name", "Type", "Datastore", "Version", "Status", "Message", "Created", "Updated",
    ]  # fmt: skip
    (row,) = tables.rows(output)
    assert (row["Name"], row["Type"], row["Status"], row["Message"]) == ("mymod", "ping", "OK", "Module.V1")
    assert datetime.strptime(row["Created"], "%Y-%m-%d %H:%M:%S.%f")
    assert len(row["Created"]) == len("2017-06-02 17:23:40.50")


def test_apply_to_one_member_shows_its_message(guide: Told) -> None:
    output = guide.output["apply_member"]
    assert tables.columns(output) == ["Name", "Type", "Datastore", "Version", "Status", "Message"]
    assert [list(row.values()) for row in tables.rows(output)] == [["mymod", "ping", "all", "all", "OK", "Module.V3"]]


def test_instances_table_shows_the_instance(guide: Told) -> None:
    output = guide.output["instances"]
    assert tables.columns(output) == [*INSTANCE_COLUMNS, "Tenant ID"]
    assert [(row["Name"], row["Status"]) for row in tables.rows(output)] == [("myinst", "ACTIVE")]


def test_list_leaves_cluster_members_out(guide: Told) -> None:
    output = guide.output["list"]
    assert tables.columns(output) == INSTANCE_COLUMNS
    assert [row["Name"] for row in tables.rows(output)] == ["myinst", "myinst_2"]


def test_cluster_instances_lists_the_members(guide: Told) -> None:
    output = guide.output["cluster_instances"]
    assert tables.columns(output) == ["ID", "Name", "Flavor ID", "Size", "Status"]
    assert {row["Name"] for row in tables.rows(output)} == {f"myclust-member-{number}" for number in (1, 2, 3)}
    assert {row["Status"] for row in tables.rows(output)} == {"ACTIVE"}


def test_force_moves_only_the_dates_of_that_version(guide: Told) -> None:
    before = {row["Module MD5"]: row for row in tables.rows(guide.output["count_reapplied"])}
    after = {row["Module MD5"]: row for row in tables.rows(guide.output["count_forced"])}
    for md5 in (demo.FIRST_MD5, demo.SECOND_MD5):
        assert before[md5] == after[md5]
    assert after[demo.FOURTH_MD5]["Min Updated Date"] > before[demo.FOURTH_MD5]["Min Updated Date"]


def test_reapply_leaves_current_ones_alone(guide: Told) -> None:
    forced = {row["Module MD5"]: row for row in tables.rows(guide.output["count_forced"])}
    (end,) = tables.rows(guide.output["count_end"])
    assert end["Min Updated Date"] == forced[demo.FOURTH_MD5]["Min Updated Date"]
    assert end["Max Updated Date"] > end["Min Updated Date"]


def test_batches_of_one_run_one_at_a_time_three_seconds_apart(guide: Told) -> None:
    applied = guide.story.ask("module-list-instance", "myinst", "-f", "json")
    assert applied
    run_id = _newest_run(guide)
    ended = _ends_of(guide, run_id)
    gaps = [(later - sooner).total_seconds() for sooner, later in itertools.pairwise(ended)]
    figures.figure(
        "pace", f"module-reapply --batch_size=1 --delay=3: seconds between hosts {[round(gap, 1) for gap in gaps]}"
    )
    assert len(ended) == 3
    assert all(gap >= 3 for gap in gaps)


def test_contents_on_the_host_are_the_registered_bytes(guide: Told) -> None:
    directory = Path(guide.story.directory / "contents")
    guide.story.ask("module-retrieve", "myinst", "--directory", str(directory), "--prefix", "mine")
    assert (directory / "mine_mymod_all_all.dat").read_bytes() == b"message=Module.V4\n"


def _newest_run(guide: Told) -> str:
    import json

    runs = json.loads(guide.story.ask("run-list", "-f", "json"))
    return next(run["ID"] for run in runs if run["Verb"] == "reapply")


def _ends_of(guide: Told, run_id: str) -> list[datetime]:
    from dbmod import config, store
    from dbmod.records import Attempt

    settings = config.load({"DBMOD_HOME": guide.story.environment["DBMOD_HOME"]}).settings
    attempts = store.open(settings).snapshot().find(Attempt, run_id=run_id)
    return sorted(attempt.ended_at for attempt in attempts if attempt.ended_at)
