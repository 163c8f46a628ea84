"""The status of the fleet and its drift as a user types them, from a ledger of its own. No host, no Ansible."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from dbmod import cli, config, store
from dbmod.cli import status
from dbmod.records import Instance, Module, Row
from dbmod.store.interface import Store
from tests import builders

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Two modules and a fleet: db-1 current, db-2 outdated, db-3 in a cluster and bare, db-4 of mysql."""
    for name in ("DBMOD_ADMIN", "DBMOD_TENANT", "DBMOD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    opened = store.open(config.load().settings)
    cluster = builders.cluster("shop")
    first, second = builders.module(2, name="first"), builders.module(name="second", datastore="redis")
    one, two = builders.instance("db-1"), builders.instance("db-2", region="Basel")
    three = builders.instance("db-3", cluster_id=cluster.id)
    four = builders.instance("db-4", datastore="mysql", datastore_version="10.11.6")
    rows = (builders.row(first, one, 2), builders.row(first, two, 1), builders.row(second, one))
    with opened.transaction(holder="a test") as tables:
        tables.put(cluster, first, second, one, two, three, four, *rows)
    return opened


@pytest.fixture
def typed(ledger: Store, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command: gives exit code, standard output, standard error."""

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.execute(list(words))
        return code, *capsys.readouterr()

    return run


def observe(ledger: Store, name: str, observed: str | None, **changes: object) -> None:
    """Let the ledger say that a look at an instance found this of all that it holds."""
    with ledger.transaction(holder="a test") as tables:
        [instance] = tables.find(Instance, name=name)
        for row in tables.find(Row, instance_id=instance.id):
            tables.put(msgspec.structs.replace(row, observed=observed, observed_at=builders.LATER, **changes))


def test_status_shows_a_column_for_each_instance(typed: Typed) -> None:
    code, out, err = typed("status")
    assert code == 0
    assert out == (
        "+--------+---------+-------------+-------------+-------------+\n"
        "| Module | db-1    | db-2        | db-3        | db-4        |\n"
        "+--------+---------+-------------+-------------+-------------+\n"
        "| first  | current | outdated    | not applied | not applied |\n"
        "| second | current | not applied | not applied |             |\n"
        "+--------+---------+-------------+-------------+-------------+\n"
    )
    assert err == "instances: 4, modules: 2, standings: 2 current, 1 outdated, 4 not applied\n"


def test_status_gives_a_line_to_each_of_few_instances_that_do_not_fit(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    lines = typed("status", "--module", "first")[1].splitlines()
    assert [line.split("|")[1:3] for line in lines[3:5]] == [
        [" db-1     ", " current     "],
        [" db-2     ", " outdated    "],
    ]


def test_status_counts_where_the_instances_do_not_fit(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setattr(status, "MOST_LINES", 3)
    code, out, err = typed("status", "--module", "first")
    assert code == 0
    assert out == (
        "+--------+-------------+------+------------+\n"
        "| Module | Standing    | shop | no cluster |\n"
        "+--------+-------------+------+------------+\n"
        "| first  | current     |    0 |          1 |\n"
        "| first  | outdated    |    0 |          1 |\n"
        "| first  | not applied |    1 |          1 |\n"
        "+--------+-------------+------+------------+\n"
    )
    assert err.splitlines()[0].startswith("Counted by cluster")


def test_status_turns_a_matrix_that_was_asked_for_and_does_not_fit(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    lines = typed("status", "--by", "instance")[1].splitlines()
    assert lines[1] == "| Instance | first       | second      |"
    assert lines[4] == "| db-2     | outdated    | not applied |"


def test_status_has_a_line_for_each_group_and_module_where_the_groups_do_not_fit(
    typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert typed("status", "--by", "region")[1].splitlines()[1:5] == [
        "| Region    | Module | current | outdated | not applied |",
        "+-----------+--------+---------+----------+-------------+",
        "| Basel     | first  |       0 |        1 |           0 |",
        "| Basel     | second |       0 |        0 |           1 |",
    ]


@pytest.mark.parametrize(
    ("by", "columns"),
    [
        ("instance", ["db-1", "db-2", "db-3", "db-4"]),
        ("cluster", ["shop", "no cluster"]),
        ("version", ["mysql 10.11.6", "redis 7.0.15"]),
        ("datastore", ["mysql", "redis"]),
        ("region", ["Basel", "RegionOne"]),
    ],
)
def test_status_has_a_column_for_each_group(typed: Typed, by: str, columns: list[str]) -> None:
    code, out, _ = typed("status", "--by", by)
    headers = [one.strip() for one in out.splitlines()[1].split("|")[1:-1]]
    assert (code, [one for one in headers if one not in ("Module", "Standing")]) == (0, columns)


def test_status_gives_a_row_for_each_pair_in_every_other_format(typed: Typed) -> None:
    rows = json.loads(typed("status", "-f", "json")[1])
    assert len(rows) == 7
    assert (rows[0]["Module"], rows[0]["Instance"], rows[0]["Standing"], rows[0]["Held"]) == (
        "first", "db-1", "current", 2,
    )  # fmt: skip
    assert {row["Cluster"] for row in rows} == {None, "shop"}
    listed = list(csv.DictReader(io.StringIO(typed("status", "-f", "csv")[1])))
    assert [one["Standing"] for one in listed] == [row["Standing"] for row in rows]
    assert typed("status", "-f", "value", "-c", "Instance", "-c", "Standing", "--limit", "db-1")[1] == (
        "db-1 current\ndb-1 current\n"
    )
    assert "Standing: outdated" in typed("status", "-f", "yaml")[1]
    assert typed("status", "-c", "Standing")[1].splitlines()[1] == "| Standing    |"


def test_status_counts_in_rows_where_it_is_told_by_what(typed: Typed) -> None:
    rows = json.loads(typed("status", "--by", "datastore", "-f", "json", "-c", "Group", "-c", "Count")[1])
    assert rows[0] == {"Group": "mysql", "Count": 1}
    assert sum(row["Count"] for row in rows) == 7


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("--cluster", "shop"), {"db-3"}),
        (("--datastore", "mysql"), {"db-4"}),
        (("--limit", "db-*,!db-1"), {"db-2", "db-3", "db-4"}),
        (("--all",), {"db-1", "db-2", "db-3", "db-4"}),
    ],
)
def test_status_takes_the_options_that_select(typed: Typed, words: tuple[str, ...], names: set[str]) -> None:
    assert {row["Instance"] for row in json.loads(typed("status", *words, "-f", "json")[1])} == names


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("status", "--limit", "nix"), "ERROR: No instance matches the selection."),
        (("status", "--module", "nix"), "ERROR: No module with a name or ID of 'nix' exists."),
        (("status", "-f", "csv", "-c", "Group"), "ERROR: There is no column Group here."),
        (("drift", "db-1", "--all"), "ERROR: Name one instance, or choose several by an option."),
        (("drift", "--no-ask", "--metrics", "none/x.prom"), "ERROR: The metrics cannot go to none/x.prom"),
    ],
)
def test_bad_input_is_refused_with_exit_2(typed: Typed, words: tuple[str, ...], first: str) -> None:
    code, out, err = typed(*words)
    assert (code, out) == (2, "")
    assert err.startswith(first)


def test_names_that_hide_text_and_names_that_are_shared_are_told_apart(typed: Typed, ledger: Store) -> None:
    posing = (builders.instance("db-1"), builders.instance("Module"), builders.instance("db\u202e-5"))
    with ledger.transaction(holder="a test") as tables:
        tables.put(*posing)
        [second] = tables.find(Module, name="second")
        tables.put(msgspec.structs.replace(second, name="first"))
    code, out, _ = typed("status", "--by", "instance")
    assert code == 0
    assert f"db-1 ({posing[0].id})" in out
    assert f"Module ({posing[1].id})" in out
    assert "db\\u202e-5" in out
    assert f"first ({second.id})" in out


def test_an_empty_fleet_has_a_status_and_no_drift(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "other"))
    assert typed("status")[0] == 0
    assert typed("status", "-f", "json")[:2] == (0, "[]\n")
    assert typed("drift", "-f", "json")[:2] == (0, "[]\n")
    assert typed("drift", "--no-ask", "--metrics", "x.prom")[0] == 0
    assert "# TYPE dbmod_pairs gauge" in Path("x.prom").read_text()


def test_drift_without_asking_exits_with_1_unless_all_is_current(typed: Typed, ledger: Store) -> None:
    code, out, err = typed("drift", "--no-ask", "-f", "value", "-c", "Module", "-c", "Instance", "-c", "Standing")
    assert (code, out) == (1, "first db-2 outdated\nfirst db-1 current\nsecond db-1 current\n")
    assert err == "instances: 4, modules: 2, standings: 2 current, 1 outdated\n"
    assert typed("drift", "db-1", "--no-ask")[0] == 0
    assert typed("drift", "--no-ask", "--module", "second")[0] == 0
    observe(ledger, "db-1", "missing")
    assert typed("drift", "db-1", "--no-ask", "-f", "value", "-c", "Standing")[:2] == (1, "missing\nmissing\n")


def test_drift_writes_metrics_of_what_it_says(typed: Typed, ledger: Store) -> None:
    observe(ledger, "db-2", "drifted")
    assert typed("drift", "--no-ask", "--metrics", "dbmod.prom")[0] == 1
    text = Path("dbmod.prom").read_text()
    assert 'standing="drifted"} 1\n' in text
    assert f"dbmod_last_look_timestamp_seconds {builders.LATER.timestamp():.15g}\n" in text


def test_drift_of_a_fleet_that_is_down_reaches_no_host(typed: Typed, ledger: Store) -> None:
    with ledger.transaction(holder="a test") as tables:
        tables.put(*(msgspec.structs.replace(one, status="SHUTDOWN") for one in tables.find(Instance)))
    code, out, err = typed("drift", "-f", "json")
    assert code == 4
    assert {(row["Standing"], row["Message"]) for row in json.loads(out)} == {
        ("unknown", "not asked: its status is SHUTDOWN")
    }
    assert "skipped db-1" in err


def test_list_tells_which_instances_are_on_hold(typed: Typed) -> None:
    assert typed("hold", "db-2", "--reason", "backup")[0] == 0
    told = {one["Name"]: one["Hold"] for one in json.loads(typed("list", "-f", "json")[1])}
    assert told["db-1"] is None
    assert told["db-2"].endswith(": backup")
    assert "Hold" not in typed("list")[1]


def test_what_has_nothing_to_do_says_why(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_ACTOR", "ada")
    removal = typed("module-remove", "--limit", "db-2,db-3", "--module", "second")
    assert removal == (0, "", "Nothing to do: the selection names no instance that holds 'second'.\n")
    assert typed("module-reapply", "second") == (0, "", "Nothing to do: no instance needs 'second'.\n")
    narrowed = (0, "", "Nothing to do: no chosen instance needs 'first'.\n")
    assert typed("module-reapply", "first", "--limit", "db-1") == narrowed
    assert typed("module-reapply", "first", "--only", "failed") == narrowed
    typed("hold", "db-2", "--reason", "backup")
    why = "skipped db-2: on hold, by ada: backup\nNothing to do: no other instance needs 'first'.\n"
    assert typed("module-reapply", "first") == (0, "", why)
