"""The type new_relic_license on a machine with systemd; the agent itself is a stand-in, a real unit of that name.

What a host without systemd or root answers, needs none. The cases of tests/contract use a stand-in of systemctl in a
scratch root, because they run everywhere.
"""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dbmod import transport
from tests import hosts
from tests.agents import BROKEN, FILE, Agent
from tests.beds.bed import Bed
from tests.beds.hosts import Host
from tests.remote import Remote

LICENSE = b"license_key=0123456789abcdef\n"
KEY = "0123456789abcdef"
REACHED = "var/tmp/reached"


@pytest.fixture(scope="module")
def machine(bed: Bed) -> Iterator[Host]:
    with bed.borrow_hosts() as lent:
        yield lent.take(1)[0]


@pytest.fixture
def remote(machine: Host) -> Iterator[Remote]:
    """The machine without any trace of tests before."""
    yield Remote(machine)
    machine.run("rm", "-rf", "/var/lib/dbmod", f"/{FILE}", f"/{BROKEN}", f"/{REACHED}")


@pytest.mark.root
def test_license_restarts_only_on_change_and_rolls_back_what_does_not_start(remote: Remote) -> None:
    agent, file, broken = Agent(remote.machine), remote.root / FILE, remote.root / BROKEN
    started = agent.starts
    file.write_text("log: {}\n")
    file.chmod(0o640)
    broken.touch()
    failed = remote.apply("new_relic_license", LICENSE).result
    assert failed.status == "ERROR"
    assert failed.message == "New Relic license key not installed: systemctl restart newrelic-infra ended with code 1"
    assert file.read_text() == "log: {}\n"
    assert (agent.state, agent.starts) == ("failed", started)
    broken.unlink()
    assert remote.apply("new_relic_license", LICENSE, serial=2).result.status == "OK"
    assert file.read_text() == f"log: {{}}\nlicense_key: {KEY}\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert (agent.state, agent.key, agent.starts) == ("active", KEY, started + 1)
    assert remote.apply("new_relic_license", LICENSE, serial=3).result.changed is False
    assert agent.starts == started + 1
    file.write_text("log: {}\n")
    look = remote.look("query", "new_relic_license").result
    assert (look.note, look.detail) == ("missing", f"license_key is not in /{FILE}")
    assert remote.apply("new_relic_license", LICENSE, serial=4).result.changed is True
    assert remote.remove("new_relic_license", serial=5).result.message == "New Relic license key removed"
    assert (agent.state, file.read_text()) == ("inactive", "log: {}\n")


@pytest.mark.root
def test_license_that_hangs_the_agent_is_given_up_in_time(remote: Remote) -> None:
    Agent(remote.machine)
    file, slow = remote.root / FILE, remote.root / "etc/systemd/system/newrelic-infra.service.d/slow.conf"
    file.write_text("license_key: 0123456789of_before\n")
    slow.parent.mkdir()
    slow.write_text("[Service]\nExecStartPre=/bin/sleep 60\n")
    remote.machine.run("systemctl", "daemon-reload")
    try:
        failed = remote.apply("new_relic_license", LICENSE, time_limit_seconds=6).result
    finally:
        slow.unlink()
        slow.parent.rmdir()
        remote.machine.run("systemctl", "daemon-reload")
        remote.machine.run("systemctl", "stop", "newrelic-infra")
    assert (failed.status, failed.message) == (
        "ERROR",
        "New Relic license key not installed: systemctl timed out after 4 s",
    )
    assert file.read_text() == "license_key: 0123456789of_before\n"


@pytest.mark.root
def test_license_restarts_after_a_kill_between_file_and_restart(remote: Remote) -> None:
    """The file already has the key when the second try comes, and the agent does not know it yet."""
    agent = Agent(remote.machine)
    started = agent.starts
    (remote.root / FILE).write_text(f"license_key: {KEY}\n")
    request = remote.request("apply", hosts.module("new_relic_license", LICENSE))
    trap = transport.Failpoint(name="before_type", file=f"/{REACHED}")
    command = remote.machine.ssh_command("sudo", "sh", "-c", transport.command(remote.python))
    session = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert session.stdin
    stopping = msgspec.structs.replace(request, failpoint=trap)
    session.stdin.write(transport.frame(stopping, remote.sources, [LICENSE]))
    session.stdin.close()
    reached = remote.root / REACHED
    deadline = time.monotonic() + 20
    while not (reached.exists() and reached.read_text()):
        assert time.monotonic() < deadline, "the failpoint was never reached"
        time.sleep(0.02)
    remote.machine.run("kill", "-KILL", reached.read_text().strip())
    session.wait(timeout=20)
    reached.unlink()
    assert agent.starts == started
    assert remote.apply("new_relic_license", LICENSE, serial=2).result.status == "OK"
    assert (agent.state, agent.key, agent.starts) == ("active", KEY, started + 1)


@pytest.mark.root
def test_license_needs_root(remote: Remote) -> None:
    remote.home, remote.becomes = Path("/home/debian/dbmod"), ()
    sent = remote.apply("new_relic_license", LICENSE)
    assert (sent.result.status, sent.result.message) == ("ERROR", "new_relic_license needs root on the host")
    assert not (remote.root / FILE).exists()


def test_license_needs_systemd(tmp_path: Path) -> None:
    host = hosts.Host(tmp_path)
    (host.root / "run/systemd/system").rmdir()
    sent = host.apply("new_relic_license", LICENSE)
    assert (sent.result.status, sent.result.message) == ("ERROR", "new_relic_license needs systemd on the host")
    assert not (host.root / FILE).exists()
