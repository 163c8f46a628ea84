"""Promise R7: whatever is killed, wherever it is, one reconcile makes the ledger equal to the hosts."""

import random
import time
from collections.abc import Callable, Iterator

import pytest

from dbmod import failpoints as points
from dbmod.records import Attempt, Row
from tests import figures
from tests.end_to_end.sites import Site, finish
from tests.faults import failpoints

SEED = 20170602
ONCE = ("after_plan", "before_batch", "before_record", "before_close", "after_record", "after_close")
VICTIMS: dict[str, Callable[[bytes], bool]] = {
    "controller": lambda line: not failpoints.is_host(line),
    "command": failpoints.is_command,
    "playbook": failpoints.is_playbook,
    "host": failpoints.is_host,
    "both": lambda line: True,
}
CASES = [(point, victim) for point in points.HOST for victim in ("controller", "host", "both")]
CASES += [(point, "controller") for point in points.CONTROLLER[:-1]]
CASES += [("before_send", "command"), ("before_record", "command"), ("after_close", "command")]
CASES += [("after_send", "playbook"), ("before_close", "playbook")]
EVERY_TIME = [(point, victim) for point, victim in CASES if point not in points.HOST or victim == "controller"]
TRIALS = [pytest.param(*one, marks=() if one in EVERY_TIME else pytest.mark.nightly) for one in CASES]
tried: list[str] = []
survived: list[str] = []


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two hosts; db-0 holds the first version, db-1 nothing; the second version is current."""
    site = Site(tmp_path_factory.mktemp("kill") / "template")
    site.add_hosts(2)
    site.add_module("mymod", b"message=Module.V1\n")
    site.well("module-apply", "db-0", "mymod")
    site.update_module("mymod", b"message=Module.V2\n")
    yield site
    if tried:
        kills = f"{len(survived)} of {len(tried)} kills at {len(points.HOST + points.CONTROLLER)} failpoints"
        figures.figure("R7", f"{kills}: after one reconcile rows equal their hosts' evidence, 0 attempts planned")


@pytest.mark.parametrize(("point", "victim"), TRIALS)
def test_kill_at_a_failpoint_is_settled_by_one_reconcile(
    template: Site, make_site: Callable[..., Site], point: str, victim: str
) -> None:
    tried.append(f"{point} {victim}")
    site = make_site(template)
    trap = failpoints.Trap(point, site.directory / "trap")
    command = site.start("module-apply", "--all", "--module", "mymod", **trap.environment)
    trap.wait(1 if point in ONCE else 2)
    run = site.last_run()
    alive = failpoints.processes(site.home)
    failpoints.kill(pid for pid, line in alive.items() if VICTIMS[victim](line))
    trap.release()
    ended = finish(command)
    failpoints.wait_for_end(site.home)

    listed = site.well("run-list", "-f", "json").json()
    assert {one["State"] for one in listed if one["ID"] == run.id} <= states_after(point, victim), ended.said
    assert site.find(Attempt, state="planned") == []
    assert site.dbmod("reconcile", "--all").code in (0, 1)
    site.settled = True
    assert site.problems() == []
    survived.append(f"{point} {victim}")


def states_after(point: str, victim: str) -> set[str]:
    """Tell what a killed run may read as: lost with its playbook; without `dbmod` alone it may go on to its end."""
    if point in ("after_record", "after_close"):
        return {"done"}
    if victim == "command":
        return {"lost", "done"}
    return {"failed"} if victim in ("host", "playbook") else {"lost"}


# What is killed at a random moment: name → command line, seconds it takes at most, trials.
MOMENTS = {
    "module-apply": (("module-apply", "--all", "--module", "mymod"), 1.6, 6),
    "module-reapply": (("module-reapply", "mymod", "--batch_size", "1", "--delay", "0"), 2.0, 4),
}


@pytest.mark.parametrize("name", MOMENTS)
def test_kill_of_the_command_at_random_moments_loses_nothing(
    template: Site, make_site: Callable[..., Site], name: str
) -> None:
    """The site goes on as the kill left it: the next trial is the next command."""
    words, seconds, trials = MOMENTS[name]
    chance = random.Random(f"{SEED} {name}")
    site = make_site(template)
    site.well("module-apply", "--all", "--module", "mymod")
    for trial in range(trials):
        site.update_module("mymod", f"message=trial {trial}\n".encode())
        command = site.start(*words)
        time.sleep(chance.uniform(0.1, seconds))
        command.kill()
        finish(command)
        assert site.well("list", "-f", "json").json()
        failpoints.wait_for_end(site.home)  # Ansible notices the end of its terminal some moments later
        assert site.well("run-list", "-f", "json").json()
        assert site.problems() == [], f"trial {trial}"
    assert site.dbmod("reconcile", "--all").code in (0, 1)
    site.settled = True
    assert site.problems() == []
    site.well("module-reapply", "mymod")
    assert {row.held for row in site.find(Row)} == {site.module("mymod").current.number}
    kills = f"kill -9 of dbmod {name} at {trials} random moments (seed {SEED})"
    figures.figure("R7", f"{kills}: 0 lost, each next command works")


@pytest.mark.root
def test_kill_while_creating_leaves_an_instance_that_can_be_deleted(site: Site) -> None:
    chance, trials = random.Random(SEED), 2
    for trial in range(trials):
        command = site.start("create", f"redis-{trial}", "15", "--size", "1")
        time.sleep(chance.uniform(0.2, 2.0))
        command.kill()
        finish(command)
        listed = site.well("list", "-f", "json").json()
        failpoints.wait_for_end(site.home)
        if any(one["Name"] == f"redis-{trial}" for one in listed):
            site.well("show", f"redis-{trial}")
            site.well("delete", f"redis-{trial}", "--yes")
        assert list((site.directory / "local").glob("*")) == []
    site.well("create", "whole", "15", "--size", "1")
    site.well("delete", "whole", "--yes")
    assert site.well("list", "-f", "json").json() == []
    kills = f"kill -9 of dbmod create at {trials} random moments (seed {SEED})"
    figures.figure("R7", f"{kills}: every half-built instance was deleted")
