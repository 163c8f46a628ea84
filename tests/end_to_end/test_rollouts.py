"""Rollouts as a user sees them: canary, resume after a kill (promise R9), rollback, tasks around each host."""

import functools
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbmod.records import Instance, Run
from tests import figures
from tests.end_to_end.sites import Site, finish
from tests.faults import failpoints

COUNTED = '''
"""A type that counts how often it was applied, and fails where the contents say so."""
from ansible.module_utils import dbmod_kit as kit


def validate(contents):
    pass


def apply(contents, host):
    with open(host.path("applied"), "a") as file:
        file.write("once\\n")
    if host.instance in contents.decode():
        raise kit.Refused("as the contents say")
    return kit.Outcome(changed=True, message="counted")


def remove(contents, host):
    return kit.Outcome(changed=True, message="")
'''
HOSTS, SIZE = 20, 3
BATCHES = 7
# Where the controller is killed: failpoint, how many times it is passed before, how many wait there together.
POINTS = [("before_batch", number, 1) for number in range(BATCHES)]
POINTS += [("before_record", number, 1) for number in range(6)]
POINTS += [("after_record", number, 1) for number in range(BATCHES)]
POINTS += [("before_type", number // SIZE, number % SIZE + 1) for number in range(HOSTS)]
SAMPLE = {("before_batch", 3, 1), ("before_type", 2, 2)}
CASES = [pytest.param(*one, marks=() if one in SAMPLE else pytest.mark.nightly) for one in POINTS]
survived: list[str] = []


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Twenty hosts that hold version 1 of a module that has two."""
    site = Site(tmp_path_factory.mktemp("rollout") / "template")
    (site.types / "dbmod_counted.py").write_text(COUNTED)
    site.add_hosts(HOSTS)
    site.add_module("mymod", b"one\n", kind="counted")
    site.well("module-apply", "--all", "--module", "mymod", "--delay", "0")
    site.update_module("mymod", b"two\n")
    for one in site.find(Instance):
        applied(one).unlink()
    yield site
    figures.figure("R9", f"killed at {len(survived)} points and resumed: every one of {HOSTS} hosts exactly once")


def applied(instance: Instance) -> Path:
    return Path(str(instance.provider_facts["directory"])) / "applied"


def counts(site: Site) -> list[int]:
    found = [applied(one) for one in sorted(site.find(Instance), key=lambda one: one.name)]
    return [len(path.read_text().split()) if path.exists() else 0 for path in found]


def alive_behind(trap: failpoints.Trap, site: Site) -> dict[int, bytes]:
    """Give what still works; a host that comes to the failpoint only now is let through."""
    trap.release()
    return failpoints.processes(site.home)


@pytest.mark.parametrize(("point", "passed", "together"), CASES)
def test_resume_after_a_kill_applies_to_every_host_exactly_once(
    template: Site, make_site: Callable[..., Site], point: str, passed: int, together: int
) -> None:
    site = make_site(template)
    trap = failpoints.Trap(point, site.directory / "trap")
    pace = ("--batch_size", str(SIZE), "--delay", "0", "--max_errors", "1")
    command = site.start("module-reapply", "mymod", *pace, **trap.environment)
    in_batch = 1 if point != "before_type" else SIZE
    for _ in range(passed):
        trap.wait(in_batch)
        trap.release()
    trap.wait(together)
    run = site.last_run()
    failpoints.kill(pid for pid, line in failpoints.processes(site.home).items() if not failpoints.is_host(line))
    trap.release()
    finish(command)
    failpoints.until(
        lambda: alive_behind(trap, site), lambda found: not found, "all processes of the killed run to end"
    )
    assert site.well("run-list", "-f", "json").json()  # the next command finds it lost

    resumed = site.well("run-resume", run.id)
    assert counts(site) == [1] * HOSTS, resumed.said
    site.settled = True
    assert site.problems() == []
    later = site.last_run()
    if later.id != run.id:  # killed behind its last batch, nothing was left to do
        assert (later.follows, later.max_errors, later.delay_seconds) == (run.id, 1, 0)
        assert set(later.batch_sizes[:-1]) <= {SIZE}
    survived.append(f"{point} {passed} {together}")


def test_a_canary_waits_for_run_resume_where_there_is_no_terminal(
    template: Site, make_site: Callable[..., Site]
) -> None:
    site = make_site(template)
    ended = site.well("module-reapply", "mymod", "--canary", "2", "--batch_size", "50%", "--delay", "0", "-f", "json")
    run = site.last_run()
    assert (run.state, run.batch_sizes) == ("paused", (2, 10, 8))
    assert f"next: dbmod run-resume {run.id}, or dbmod run-cancel {run.id}" in ended.err
    assert sum(counts(site)) == 2
    assert site.dbmod("module-apply", "db-5", "mymod").code == 2  # it is still to come
    resumed = site.well("run-resume", run.id, "-f", "json").json()
    assert ([one["Status"] for one in resumed], counts(site)) == (["OK"] * HOSTS, [1] * HOSTS)
    assert site.last_run().state == "done"


def test_ansible_playbook_pauses_and_goes_on_likewise(template: Site, make_site: Callable[..., Site]) -> None:
    site = make_site(template)
    words = ("-e", "module=mymod", "-e", "canary=1", "-e", "batch_size=19", "-e", "delay=0")
    assert site.playbook("module_reapply", *words).code == 0
    run = site.last_run()
    assert (run.state, sum(counts(site))) == ("paused", 1)
    assert site.playbook("module_reapply", "-e", f"dbmod_run={run.id}").code == 0
    assert (site.last_run().state, counts(site)) == ("done", [1] * HOSTS)


def let_through(trap: failpoints.Trap, seen: bool) -> bool:
    """Let who waits at a trap go on, unless what was waited for is seen."""
    if not seen:
        trap.release()
    return seen


def test_ctrl_c_stops_a_rollback_after_its_batch_and_resume_goes_on_with_it(
    template: Site, make_site: Callable[..., Site]
) -> None:
    site = make_site(template)
    site.update_module("mymod", f"bad for {site.instance('db-13').id}\n".encode())
    trap = failpoints.Trap("before_batch", site.directory / "trap")
    pace = ("--batch_size", "3", "--delay", "0", "--on-failure", "rollback")
    command = site.start("module-apply", "--limit", "db-0,db-1,db-1?", "--module", "mymod", *pace, **trap.environment)
    going_back = functools.partial(site.find, Run, verb="rollback", batch=1)
    failpoints.until(lambda: let_through(trap, bool(going_back())), bool, "the way back")
    os.killpg(command.pid, signal.SIGINT)
    failpoints.until(lambda: site.last_run().stop_requested_by, bool, "the stop to be asked for")
    failpoints.until(lambda: let_through(trap, command.poll() is not None), bool, "the command to end")
    ended = finish(command)
    back = site.last_run()
    assert (ended.code, back.verb, back.state) == (1, "rollback", "cancelled"), ended.said
    assert f"next: dbmod run-resume {back.id} goes on putting back" in ended.err
    site.well("run-resume", back.id)
    assert {site.held(one, site.module("mymod")).sha256 for one in site.find(Instance)} == {
        site.module("mymod").versions[0].sha256
    }


@pytest.mark.parametrize("launcher", ["dbmod", "ansible-playbook"])
def test_rollback_puts_back_what_the_run_changed(template: Site, make_site: Callable[..., Site], launcher: str) -> None:
    site = make_site(template)
    sixth = site.instance("db-5")
    site.update_module("mymod", f"bad for {sixth.id}\n".encode())
    if launcher == "dbmod":
        pace = ("--batch_size", "3", "--delay", "0", "--on-failure", "rollback")
        ended = site.dbmod("module-apply", "--all", "--module", "mymod", *pace)
        assert ended.code == 1
        assert "What it had changed was put back: run " in ended.err
        assert "run-resume" not in ended.err
    else:
        words = ("all_instances=true", "modules=mymod", "batch_size=3", "delay=0", "on_failure=rollback")
        ended = site.playbook("module_apply", *(word for one in words for word in ("-e", one)))
        assert ended.code == 2, ended.said
    back, run = sorted(site.find(Run), key=lambda one: one.serial)[:-3:-1]
    assert (run.state, back.state, back.verb, back.follows) == ("failed", "done", "rollback", run.id)
    assert set(site.states(back)) == {f"db-{number}" for number in range(6)}
    for one in site.find(Instance):
        assert (site.folder(one, site.module("mymod")) / "contents.dat").read_bytes() == b"one\n", one.name
    site.settled = True
    assert site.problems() == []


def test_tasks_around_each_host_run_there_and_one_that_fails_leaves_its_host_alone(
    template: Site, make_site: Callable[..., Site]
) -> None:
    site = make_site(template)
    for name, task in (
        ("before", 'fail: {msg: "the proxy says no"}\n  when: inventory_hostname == "db-3"'),
        ("after", "ansible.builtin.copy: {content: done, dest: '{{ dbmod_directory }}/after', mode: '0600'}"),
    ):
        (site.directory / f"{name}.yml").write_text(f"- name: Do something {name}\n  {task}\n")
    files = ("--before-host", "before.yml", "--after-host", "after.yml")
    ended = site.dbmod("module-reapply", "mymod", *files, "--delay", "0", "-f", "json")
    assert ended.code == 1, ended.said
    assert f"dbmod run-resume {site.last_run().id} goes on with what is not done" in ended.err
    told = {one["Instance"]: (one["Status"], one["Message"]) for one in ended.json()}
    assert told["db-3"] == ("SKIPPED", "left alone: Do something before: the proxy says no")
    assert told["db-4"] == ("OK", "counted")
    assert [one.name for one in site.find(Instance) if not applied(one).exists()] == ["db-3"]
    assert [one.name for one in site.find(Instance) if not applied(one).with_name("after").exists()] == ["db-3"]


def test_a_file_of_tasks_that_cannot_be_done_is_refused_before_anything_is_touched(
    template: Site, make_site: Callable[..., Site]
) -> None:
    site = make_site(template)
    runs, file = len(site.find(Run)), site.directory / "before.yml"
    file.write_text("- name: Drain it\n  nosuchmodule: {}\n")
    ended = site.dbmod("module-reapply", "mymod", "--before-host", str(file))
    assert (ended.code, len(site.find(Run)), counts(site)) == (2, runs, [0] * HOSTS), ended.said
    assert "couldn't resolve module/action 'nosuchmodule'" in ended.err
    played = site.playbook("module_reapply", "-e", "module=mymod", "-e", f"before_host={file}")
    assert (played.code, len(site.find(Run))) == (2, runs), played.said
    assert "couldn't resolve module/action 'nosuchmodule'" in played.said


def test_a_file_of_tasks_that_changed_or_went_is_refused_by_resume(
    template: Site, make_site: Callable[..., Site]
) -> None:
    site = make_site(template)
    (site.directory / "before.yml").write_text("- name: Nothing\n  ansible.builtin.meta: noop\n")
    site.well("module-reapply", "mymod", "--before-host", "before.yml", "--canary", "1", "--delay", "0")
    (site.directory / "before.yml").write_text("- name: Nothing\n  nosuchmodule: {}\n")
    assert site.dbmod("run-resume", site.last_run().id).code == 2
    (site.directory / "before.yml").unlink()
    assert site.dbmod("run-resume", site.last_run().id).code == 2
    assert (site.last_run().state, sum(counts(site))) == ("paused", 1)


def test_a_server_that_is_not_well_afterwards_gets_its_earlier_version_back(
    template: Site, make_site: Callable[..., Site]
) -> None:
    site = make_site(template)
    place = "{{ dbmod_directory }}/instances/{{ dbmod_id }}/modules/counted"
    contents = f"{place}/{site.module('mymod').id}/contents.dat"
    (site.directory / "after.yml").write_text(f"- name: Use it\n  ansible.builtin.command: grep -q one '{contents}'\n")
    words = ("--canary", "1", "--after-host", "after.yml", "--on-failure", "rollback", "--delay", "0")
    ended = site.dbmod("module-reapply", "mymod", *words)
    assert ended.code == 1, ended.said
    back, run = sorted(site.find(Run), key=lambda one: one.serial)[:-3:-1]
    assert (run.state, back.state, back.verb) == ("failed", "done", "rollback")
    assert list(site.states(back).values()) == ["ok"]
    assert sum(counts(site)) == 2  # one host, there and back
    assert re.search("error  Use it: .*non-zero return code", ended.err)
    site.settled = True
    assert site.problems() == []


def test_a_dead_host_stops_nobody_where_each_host_is_looked_at(template: Site, make_site: Callable[..., Site]) -> None:
    site = make_site(template)
    (site.directory / "after.yml").write_text("- name: Nothing\n  ansible.builtin.command: 'true'\n")
    words = ("modules=mymod", "limit_to=db-?", "batch_size=1", "delay=0", f"after_host={site.directory / 'after.yml'}")
    given = [word for one in words for word in ("-e", one)]
    assert site.playbook("module_apply", *site.dead("db-0", "db-3"), *given).code == 2
    states = site.states(site.last_run())
    assert {name for name, state in states.items() if state == "unreachable"} == {"db-0", "db-3"}
    assert sorted(states.values()) == ["ok"] * 8 + ["unreachable"] * 2
