"""Stopping: Ctrl-C once and twice, run-cancel, runs that go on by themselves, two runs in each other's way."""

import os
import signal
import time
from pathlib import Path

import pytest

from dbmod import processes
from dbmod.records import Attempt, Run
from tests.end_to_end.sites import Site, finish
from tests.faults import failpoints

SLOW = '''"""Takes its time, so that a test can come in between."""
import os
import time

from ansible.module_utils import dbmod_kit as kit

DECLARES = kit.Declares()


def validate(contents):
    pass


def apply(contents, host):
    deadline = time.monotonic() + 30
    while os.path.exists(contents.decode().strip()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return kit.Outcome(changed=False, message="waited")


def remove(contents, host):
    return kit.Outcome(changed=False, message="")


if __name__ == "__main__":
    kit.main(validate, apply, remove)
'''


@pytest.fixture
def slow(site: Site) -> Site:
    """Four hosts, and a module that takes until the file `wait` is removed."""
    (site.types / "dbmod_slow.py").write_text(SLOW)
    site.add_hosts(4)
    wait_file(site).touch()
    site.add_module("slow", f"{wait_file(site)}\n".encode(), kind="slow")
    return site


def wait_file(site: Site) -> Path:
    return site.directory / "wait"


def wait_for_batch(site: Site, number: int) -> Run:
    """Wait until a batch is on its hosts."""
    failpoints.until(
        lambda: [one for one in site.find(Run, state="running") if one.batch == number], bool, f"batch {number}"
    )
    failpoints.until(
        lambda: list(site.directory.glob("db-*/instances/*/modules/slow/*/contents.dat")),
        lambda found: len(found) >= 2 * number,
        f"the hosts of batch {number}",
    )
    return site.last_run()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_first_ctrl_c_or_a_closed_terminal_finishes_the_batch_and_cancels_the_rest(slow: Site, number: int) -> None:
    command = slow.start("module-apply", "--all", "--module", "slow", "--batch_size", "2", "--delay", "0")
    wait_for_batch(slow, 1)
    os.killpg(command.pid, number)  # as a terminal does
    failpoints.until(lambda: slow.last_run().stop_requested_by, bool, "the stop to be asked for")
    wait_file(slow).unlink()
    ended = finish(command)
    assert ended.code == 130, ended.said
    assert slow.last_run().state == "cancelled"
    assert slow.states(slow.last_run()) == {"db-0": "ok", "db-1": "ok", "db-2": "cancelled", "db-3": "cancelled"}
    assert "once more to stop now" in ended.err
    assert "2 not started" in ended.err


def test_second_ctrl_c_stops_now_and_what_had_started_is_unknown(slow: Site) -> None:
    command = slow.start("module-apply", "--all", "--module", "slow", "--batch_size", "2", "--delay", "0")
    wait_for_batch(slow, 1)
    os.killpg(command.pid, signal.SIGINT)
    failpoints.until(lambda: slow.last_run().stop_requested_by, bool, "the stop to be asked for")
    asked = time.monotonic()
    os.killpg(command.pid, signal.SIGINT)
    ended = finish(command)
    assert time.monotonic() - asked < 10
    assert ended.code == 130, ended.said
    assert slow.last_run().state == "cancelled"
    assert slow.states(slow.last_run()) == {
        "db-0": "unknown", "db-1": "unknown", "db-2": "cancelled", "db-3": "cancelled",
    }  # fmt: skip
    wait_file(slow).unlink()
    failpoints.wait_for_end(slow.home)
    assert slow.dbmod("reconcile", "--all").code in (0, 1)
    slow.settled = True


def test_ctrl_c_before_the_first_batch_starts_none(slow: Site) -> None:
    command = slow.start("module-apply", "--all", "--module", "slow")
    failpoints.until(lambda: slow.find(Run, verb="apply"), bool, "the run to be planned")
    assert command.stderr
    assert command.stderr.readline().startswith(b"run ")  # Ansible is still to be loaded
    os.killpg(command.pid, signal.SIGINT)
    assert finish(command).code == 130
    assert (slow.last_run().state, slow.last_run().message) == ("cancelled", f"stopped by {slow.context.actor.name}")
    assert set(slow.states(slow.last_run()).values()) == {"cancelled"}


def test_ctrl_c_while_waiting_between_batches_stops_at_once(slow: Site) -> None:
    wait_file(slow).unlink()
    command = slow.start("module-apply", "--all", "--module", "slow", "--batch_size", "2", "--delay", "30")
    failpoints.until(lambda: slow.find(Attempt, state="ok"), lambda found: len(found) == 2, "the first batch")
    os.killpg(command.pid, signal.SIGINT)
    asked = time.monotonic()
    ended = finish(command)
    assert ended.code == 130, ended.said
    assert time.monotonic() - asked < 8
    assert sorted(slow.states(slow.last_run()).values()) == ["cancelled", "cancelled", "ok", "ok"]


def test_run_cancel_from_another_process_stops_after_the_batch(slow: Site) -> None:
    command = slow.start("module-apply", "--all", "--module", "slow", "--batch_size", "2", "--delay", "0")
    run = wait_for_batch(slow, 1)
    slow.well("run-cancel", run.id, "--reason", "wrong module")
    wait_file(slow).unlink()
    assert finish(command).code == 130
    shown = slow.well("run-show", run.id, "-f", "json").json()
    assert (shown["state"], shown["instances"]) == ("cancelled", "2 ok, 2 not started")
    assert "wrong module" in shown["message"]


def test_two_runs_on_one_instance_are_refused_naming_the_run(slow: Site) -> None:
    command = slow.start("module-apply", "db-0", "slow")
    failpoints.until(lambda: list(slow.directory.glob("db-0/instances/*/modules/slow/*/contents.dat")), bool, "db-0")
    run = slow.last_run()
    refused = slow.dbmod("module-apply", "db-0", "slow")
    assert refused.code == 2, refused.said
    assert run.id in refused.err
    assert "next" in refused.err
    slow.add_module("other", b"message=hi\n")
    assert slow.well("module-apply", "db-1", "other").code == 0
    wait_file(slow).unlink()
    assert finish(command).code == 0


@pytest.mark.root
def test_no_wait_goes_on_by_itself_and_run_wait_tells_its_end(site: Site) -> None:
    started = site.well("create", "db", "15", "--size", "1", "--no-wait")
    assert "BUILD" in started.out
    run = site.last_run()
    assert run.id in started.err
    waited = site.well("run-wait", run.id, "-f", "json").json()
    assert waited["state"] == "done"
    assert site.instance("db").status == "ACTIVE"
    site.well("delete", "db", "--yes")


@pytest.mark.root
def test_a_server_killed_is_seen_and_comes_back_with_restart(site: Site) -> None:
    site.well("create", "db", "15", "--size", "1")
    pid = int((site.directory / "local" / site.instance("db").id / "server.pid").read_text())
    server = processes.owner(pid)
    os.kill(pid, signal.SIGKILL)
    failpoints.until(lambda: processes.is_alive(server), lambda alive: not alive, "the server to end")
    assert [one["Status"] for one in site.well("list", "-f", "json").json()] == ["SHUTDOWN"]
    assert site.well("show", "db", "-f", "json").json()["status"] == "SHUTDOWN"
    site.well("restart", "db")
    assert [one["Status"] for one in site.well("list", "-f", "json").json()] == ["ACTIVE"]
    site.well("delete", "db", "--yes")
