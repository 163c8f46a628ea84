"""Faults that a user meets: broken hosts, dead hosts, failing modules, a late writer, hosts changed behind our back."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from dbmod.records import Attempt, Instance, Module, Row, Run
from tests import figures
from tests.end_to_end.sites import Site
from tests.faults import checker

pytestmark = pytest.mark.patient

HOSTS = 7
DEAD = {
    "the first": ("db-0",),
    "the last": ("db-6",),
    "a whole batch": ("db-2", "db-3"),
    "all": tuple(f"db-{number}" for number in range(HOSTS)),
}
trials: list[str] = []


def place(site: Site, name: str) -> Path:
    return Path(str(site.instance(name).provider_facts["directory"]))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Seven hosts that hold the first version; the second is current."""
    site = Site(tmp_path_factory.mktemp("flow") / "template")
    site.add_hosts(HOSTS)
    site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "--all", "--module", "mymod")
    site.update_module("mymod", b"message=Module.V2\n")
    yield site
    if trials:
        figures.figure("R19b", f"{', '.join(trials)} of {HOSTS} dead: unreachable, all others applied, 0 planned")


def test_an_old_version_goes_to_one_host_and_then_back_to_all(template: Site, make_site: Callable[..., Site]) -> None:
    site = make_site(template)
    first, second = (one.sha256 for one in site.find(Module)[0].versions)
    site.well("module-reapply", "mymod", "--delay", "0")
    site.well("module-apply", "db-3", "mymod", "--contents-version", "1")
    module = site.find(Module)[0]
    held = {one.name: site.held(one, module).sha256 for one in site.find(Instance)}
    assert held == {f"db-{number}": first if number == 3 else second for number in range(HOSTS)}
    site.well("module-rollback", "mymod", "--to", "1")
    site.well("module-reapply", "mymod", "--delay", "0")
    assert {site.held(one, module).sha256 for one in site.find(Instance)} == {first}
    assert site.find(Module)[0].current.number == 3


def test_a_plan_in_a_file_is_done_as_it_says_or_not_at_all(template: Site, make_site: Callable[..., Site]) -> None:
    site = make_site(template)
    plan, stale = str(site.directory / "plan.json"), str(site.directory / "stale.json")
    runs = len(site.find(Run))
    chosen = ("module-reapply", "mymod", "--batch_size", "3", "--delay", "0")
    rows = site.well(*chosen, "--plan", plan, "-f", "json").json()
    site.well(*chosen, "--plan", stale)
    assert len(site.find(Run)) == runs
    assert site.dbmod("module-reapply", "mymod", "--from-plan", plan).code == 2
    assert site.dbmod("module-apply", "--from-plan", plan).code == 2
    site.well("module-reapply", "--from-plan", plan)
    names = {one.id: one.name for one in site.find(Instance)}
    done = [(names[one.instance_id], one.batch, one.from_number, one.number) for one in site.attempts(site.last_run())]
    assert done == [(one["Instance"], one["Batch"], one["From"], one["To"]) for one in rows]
    assert [batch for _, batch, _, _ in done] == [1, 1, 1, 2, 2, 2, 3]
    refused = site.dbmod("module-reapply", "--from-plan", stale)
    assert (refused.code, len(site.find(Run))) == (2, runs + 1)
    assert "The ledger has moved since" in refused.err
    assert "db-0, mymod: would be left out now" in refused.err


def test_a_reapply_takes_a_selection_also_in_a_plan(template: Site, make_site: Callable[..., Site]) -> None:
    site = make_site(template)
    plan = str(site.directory / "plan.json")
    site.well("module-reapply", "mymod", "--limit", "db-[123]", "--plan", plan)
    site.well("module-reapply", "mymod", "--limit", "db-*,!db-[1235]")
    assert sorted(site.states(site.last_run())) == ["db-0", "db-4", "db-6"]
    site.well("module-reapply", "--from-plan", plan)
    assert sorted(site.states(site.last_run())) == ["db-1", "db-2", "db-3"]
    assert site.dbmod("module-reapply", "mymod", "--limit", "nobody").code == 2


def test_reapply_takes_only_those_that_stand_so(template: Site, make_site: Callable[..., Site]) -> None:
    site = make_site(template)
    site.well("module-reapply", "mymod", "--delay", "0")
    [contents] = (place(site, "db-5")).glob("instances/*/modules/ping/*/contents.dat")
    contents.write_bytes(b"message=somebody else's\n")
    assert site.dbmod("drift").code == 1
    site.update_module("mymod", b"message=Module.V3\n")
    site.well("module-reapply", "mymod", "--only", "drifted")
    names = {one.id: one.name for one in site.find(Instance)}
    assert [names[one.instance_id] for one in site.attempts(site.last_run())] == ["db-5"]
    assert site.dbmod("module-reapply", "mymod", "--only", "wrong").code == 2


def test_check_says_what_the_run_after_it_does(template: Site, make_site: Callable[..., Site]) -> None:
    site = make_site(template)
    before = site.find(Row)
    site.well("module-apply", "db-5", "mymod")
    held = site.find(Row)
    assert held != before
    words = ("module-reapply", "mymod", "--force", "--batch_size", "4", "--delay", "0")
    tried = site.well(*words, "--check", "-f", "json")
    told = {row["Instance"]: (row["Batch"], row["From"], row["To"], row["Would"]) for row in tried.json()}
    assert {name for name, row in told.items() if row[1:] == (1, 2, "CHANGE")} == {
        f"db-{number}" for number in range(HOSTS) if number != 5
    }
    assert told["db-5"][1:] == (2, 2, "STAY")
    assert tried.err.endswith(f": {HOSTS - 1} would change, 1 would stay; nothing was done\n")
    assert tried.err.splitlines()[-6:-1] == [
        "--- mymod version 1",
        "+++ mymod version 2",
        "@@ -1 +1 @@",
        "-message=Module.V1",
        "+message=Module.V2",
    ]
    assert (site.find(Row), site.states(site.last_run())) == (held, dict.fromkeys(told, "skipped"))
    assert "batch 1 of 2: db-0 would change" in tried.err
    told_later = site.well("history", "db-0", "-f", "json").json()[-1]
    assert (told_later["Verb"], told_later["Status"]) == ("reapply --check", "WOULD CHANGE")
    site.well(*words)
    done = {row.instance_id: row.batch for row in site.attempts(site.last_run())}
    assert {site.instance(name).id: row[0] for name, row in told.items()} == done
    tried = site.well("module-remove", "db-5", "mymod", "--check", "-f", "json")
    assert [(row["From"], row["To"], row["Would"]) for row in tried.json()] == [(2, None, "CHANGE")]
    site.well("module-remove", "db-5", "mymod")
    [removed] = site.well("run-show", site.last_run().id, "-f", "json").json()["attempts"]
    assert (removed["From"], removed["To"]) == (2, None)


def test_pruning_drops_what_no_host_may_hold_and_a_rollout_goes_on(
    template: Site, make_site: Callable[..., Site]
) -> None:
    site = make_site(template)
    for number in (3, 4, 5):
        site.update_module("mymod", b"message=Module.V%d\n" % number)
    site.well("module-apply", "db-1", "mymod", "--contents-version", "3")
    checked = site.well("module-prune", "mymod", "--keep", "1", "--check", "-f", "json").json()
    told = {one["Number"]: one["Would"] for one in checked}
    assert told == {1: "KEEP", 2: "PRUNE", 3: "KEEP", 4: "PRUNE", 5: "KEEP"}
    assert next(one["Why"] for one in checked if one["Number"] == 3) == "'db-1' holds it"
    ended = site.dbmod("module-prune", "mymod", "--keep", "1")
    assert (ended.code, "has to be confirmed" in ended.err) == (2, True), ended.said
    ended = site.well("module-prune", "mymod", "--keep", "1", "--yes", "--reason", "ticket 9")
    assert "2 of 5 versions pruned, 36 bytes" in ended.err
    listed = site.well("module-versions", "mymod", "-f", "json").json()
    assert [one["Number"] for one in listed if one["Pruned"]] == [2, 4]
    assert [one["Md5"] for one in listed] == [one.md5 for one in site.module("mymod").versions]
    for words in (
        ("module-apply", "db-1", "mymod", "--contents-version", "2"),
        ("module-rollback", "mymod", "--to", "4"),
        ("module-diff", "mymod", "4", "5"),
    ):
        ended = site.dbmod(*words)
        assert (ended.code, "of module 'mymod' were pruned, 20" in ended.err) == (2, True), ended.said
    site.well("ledger-check")
    assert "ticket 9" in site.well("history", "mymod").out
    site.well("module-reapply", "mymod", "--delay", "0")
    site.well("module-prune", "mymod", "--keep", "1", "--yes")
    assert [one.number for one in site.context.store.stored_contents()] == [5]
    site.settled = True


@pytest.mark.parametrize("what", DEAD)
def test_dead_hosts_are_unreachable_and_the_others_go_on(
    template: Site, make_site: Callable[..., Site], what: str
) -> None:
    site, names = make_site(template), DEAD[what]
    given = ["-e", "all_instances=true", "-e", "modules=mymod", "-e", "batch_size=2", "-e", "delay=0"]
    played = site.playbook("module_apply", *site.dead(*names), *given)
    run = site.last_run()
    states = site.states(run)
    assert {name for name, state in states.items() if state == "unreachable"} == set(names), played.said
    assert {name for name, state in states.items() if state == "ok"} == {f"db-{n}" for n in range(HOSTS)} - set(names)
    assert played.code == 2  # Ansible's own word for it
    assert site.find(Attempt, state="planned") == []
    held = {row.instance_id: row.held for row in site.find(Row)}
    assert {name: held[site.instance(name).id] for name in names} == dict.fromkeys(names, 1)
    waited = site.dbmod("run-wait", run.id)
    assert waited.code == (4 if len(names) == HOSTS else 1)
    site.settled = True
    trials.append(what)


def test_hosts_that_cannot_be_written_are_named_and_the_others_go_on(
    template: Site, make_site: Callable[..., Site]
) -> None:
    site = make_site(template)
    for name, break_it in (("db-1", "removed"), ("db-2", "a file"), ("db-3", "a link"), ("db-4", "a full name")):
        path = place(site, name)
        site.broken.add(name)
        if break_it == "a full name":
            inner = next(path.rglob("contents.dat"))
            inner.unlink()
            inner.mkdir()
            continue
        shutil.rmtree(path)
        if break_it == "a file":
            path.write_text("no directory\n")
        elif break_it == "a link":
            path.symlink_to("/nowhere/at/all")
    applied = site.dbmod("module-apply", "--all", "--module", "mymod", "--max_errors", "9", "-f", "json")
    assert applied.code == 1
    statuses = {row["Instance"]: (row["Status"], row["Message"]) for row in applied.json()}
    assert [statuses[f"db-{number}"] for number in (0, 5, 6)] == [("OK", "Module.V2")] * 3
    broken = [statuses[f"db-{number}"] for number in (1, 2, 3, 4)]
    assert [status for status, _ in broken] == ["ERROR"] * 4, statuses
    assert all("is not there" in message for _, message in broken[:3]), statuses
    assert "Is a directory" in broken[3][1]
    assert site.find(Attempt, state="planned") == []
    assert site.dbmod("module-query", "--all").code in (0, 1)
    assert site.dbmod("reconcile", "--all").code == 1


def test_a_failing_module_keeps_the_version_held_and_the_rest_goes_on(site: Site) -> None:
    site.add_hosts(1)
    for name, contents in (("a", b"one"), ("b", b"two"), ("c", b"three")):
        site.add_module(name, contents, kind="blob")
    site.well("module-apply", "db-0", "a", "b", "c")
    site.update_module("b", b"fail now")
    site.update_module("c", b"four")
    applied = site.dbmod("module-apply", "db-0", "a", "b", "c", "-f", "json")
    assert applied.code == 1
    assert [(row["Name"], row["Status"]) for row in applied.json()] == [("a", "OK"), ("b", "ERROR"), ("c", "OK")]
    assert {row["Name"]: row["Current"] for row in site.well("module-list-instance", "db-0", "-f", "json").json()} == {
        "a": True, "b": False, "c": True,
    }  # fmt: skip
    rows = {row.module_id: row for row in site.find(Row)}
    failed = rows[site.module("b").id]
    assert (failed.held, failed.status, failed.message) == (1, "ERROR", "asked to fail")
    site.update_module("b", b"stay here")
    site.well("module-reapply", "b")
    removed = site.dbmod("module-remove", "db-0", "b")
    assert removed.code == 1
    assert "asked to stay" in removed.err
    site.settled = True


def test_a_late_writer_is_refused_by_the_serial_on_the_host(site: Site) -> None:
    """A host that a newer ledger wrote to takes nothing from an older copy of that ledger."""
    [instance] = site.add_hosts(1)
    site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "db-0", "mymod")
    shutil.copytree(site.home, site.directory / "older")
    site.update_module("mymod", b"message=Module.V2\n")
    for _ in range(3):
        site.well("module-apply", "db-0", "mymod")
    before = checker.on_host(instance, site.module("mymod"))
    late = site.dbmod("module-apply", "db-0", "mymod", "-f", "json", DBMOD_HOME=str(site.directory / "older"))
    assert late.code == 1
    assert "older than" in late.json()[0]["Message"]
    assert checker.on_host(instance, site.module("mymod")) == before
    site.settled = True


def test_remove_and_apply_again_keep_the_first_date(site: Site) -> None:
    [instance] = site.add_hosts(1)
    site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "db-0", "mymod")
    [first] = site.find(Row)
    site.well("module-remove", "db-0", "mymod")
    [gone] = site.find(Row)
    assert (gone.held, gone.removed_at is not None) == (None, True)
    folder = checker.folder_of(instance, site.module("mymod"))
    assert [path.name for path in folder.iterdir()] == ["result.json"]
    refused = site.dbmod("module-remove", "db-0", "mymod")
    assert refused.code == 2
    assert "Module 'mymod' has not been applied" in refused.err
    site.well("module-apply", "db-0", "mymod")
    [again] = site.find(Row)
    assert (again.held, again.created_at, again.removed_at) == (1, first.created_at, None)
    site.settled = True


def test_reconcile_finds_what_was_changed_behind_its_back(site: Site) -> None:
    hosts = site.add_hosts(5)
    site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "--all", "--module", "mymod")
    folders = [checker.folder_of(instance, site.module("mymod")) for instance in hosts]
    (folders[1] / "contents.dat").write_bytes(b"message=other\n")
    (folders[2] / "contents.dat").unlink()
    shutil.rmtree(folders[3])
    (folders[4] / "result.json").write_bytes(b"{")
    assert len(site.problems()) == 4  # so the checker, which every test ends with, does see
    found = site.dbmod("reconcile", "--all", "-f", "json")
    assert found.code == 1
    seen = {row["Instance"]: row["Correction"] for row in found.json()}
    other = hashlib.sha256(b"message=other\n").hexdigest()
    assert seen == {
        "db-1": f"drifted: contents.dat is not what was applied: sha256 {other}",
        "db-2": "missing: contents.dat is missing",
        "db-3": "missing: the host has nothing of it",
        "db-4": "unknown: result.json is damaged",
    }
    told = {row["Instance"]: f"{row['Standing']}: {row['Message']}" for row in site.dbmod("drift", "-f", "json").json()}
    assert told == seen | {"db-0": "current: "}
    known = {row["Instance"]: row["Message"] for row in site.well("status", "-f", "json").json()}
    assert known["db-4"] == "result.json is damaged"
    assert (folders[1] / "contents.dat").read_bytes() == b"message=other\n"  # nothing is repaired unasked
    site.settled = True
    assert site.problems() == []
    site.well("module-reapply", "mymod")
    assert site.well("reconcile", "--all", "-f", "json").json() == []


def test_drift_says_what_the_hosts_hold_and_status_what_was_seen(site: Site) -> None:
    hosts = site.add_hosts(3)
    module = site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "--all", "--module", "mymod")
    metrics = site.directory / "dbmod.prom"
    well = site.well("drift", "--metrics", str(metrics), "-f", "json").json()
    assert [(row["Instance"], row["Standing"]) for row in well] == [(f"db-{n}", "current") for n in range(3)]
    assert f'{{module="mymod",module_id="{module.id}",standing="current"}} 3\n' in metrics.read_text()
    (site.folder(hosts[1], module) / "contents.dat").write_bytes(b"message=other\n")
    facts: dict[str, str | int] = {"user": "nobody", "become": 0, "ssh_port": 1, "home": "/nowhere"}  # nobody listens
    with site.context.store.transaction(holder="test") as tables:
        tables.put(msgspec.structs.replace(hosts[2], provider="ssh", provider_facts=facts))
    site.broken.add("db-2")
    assert site.dbmod("drift", "--no-ask").code == 0  # nobody has looked yet
    found = site.dbmod("drift", "--metrics", str(metrics), "-f", "json")
    assert found.code == 1, found.said
    standings = {row["Instance"]: row["Standing"] for row in found.json()}
    assert standings == {"db-0": "current", "db-1": "drifted", "db-2": "unknown"}, found.said
    assert 'standing="drifted"} 1\n' in metrics.read_text()
    assert 'standing="unknown"} 1\n' in metrics.read_text()
    assert site.dbmod("drift", "db-2").code == 4
    assert site.well("drift", "db-0").code == 0
    shown = {row["Instance"]: row["Standing"] for row in site.well("status", "-f", "json").json()}
    assert (shown["db-0"], shown["db-1"]) == ("current", "drifted")
    assert (site.folder(hosts[1], module) / "contents.dat").read_bytes() == b"message=other\n"  # nothing is repaired
    site.settled = True


def test_a_row_that_the_ledger_lost_comes_back_from_the_host(site: Site) -> None:
    """An older ledger is restored: one reconcile makes it equal to the hosts, and later runs are taken by them."""
    site.add_hosts(2)
    site.add_module("mymod", b"message=Module.V1\n")
    site.well("ledger-backup", "before.tar")
    site.well("module-apply", "--all", "--module", "mymod")
    site.well("ledger-restore", "before.tar", "--force")
    assert site.find(Row) == []
    assert site.dbmod("reconcile", "--all").code in (0, 1)
    assert {row.held for row in site.find(Row)} == {1}
    site.well("module-apply", "--all", "--module", "mymod")
