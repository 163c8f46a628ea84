"""The type new_relic_license with a stand-in of systemctl and a scratch root, as the agent is in no registry we reach.

On a host with systemd the same steps hold without DBMOD_TEST_ROOT and with a real unit named newrelic-infra.
"""

import shutil
from pathlib import Path

import pytest

from tests import hosts

V1, V2 = b"message=Module.V1\n", b"message=Module.V2\n"


LICENSE = b"license_key=0123456789abcdef\n"


@pytest.fixture
def host(tmp_path: Path) -> hosts.Host:
    return hosts.Host(tmp_path)


def test_license_restarts_only_on_change_and_rolls_back_what_does_not_start(host: hosts.Host) -> None:
    calls = host.root / "systemctl.log"
    agent = host.root / "etc/newrelic-infra.yml"
    agent.write_text("log: {}\n")
    agent.chmod(0o640)
    (host.root / "systemctl.fails").touch()
    failed = host.apply("new_relic_license", LICENSE).result
    assert failed.status == "ERROR"
    assert failed.message == ("New Relic license key not installed: systemctl restart newrelic-infra ended with code 1")
    assert agent.read_text() == "log: {}\n"
    (host.root / "systemctl.fails").unlink()
    assert host.apply("new_relic_license", LICENSE, serial=2).result.status == "OK"
    assert agent.read_text() == "log: {}\nlicense_key: 0123456789abcdef\n"
    assert agent.stat().st_mode & 0o777 == 0o640
    assert host.apply("new_relic_license", LICENSE, serial=3).result.changed is False
    assert calls.read_text().splitlines() == ["restart newrelic-infra"] * 2
    agent.write_text("log: {}\n")
    look = host.look("query", "new_relic_license").result
    assert (look.note, look.detail) == ("missing", "license_key is not in /etc/newrelic-infra.yml")
    assert host.apply("new_relic_license", LICENSE, serial=4).result.changed is True
    assert host.remove("new_relic_license", serial=5).result.message == "New Relic license key removed"
    assert (host.root / "systemctl.state").read_text() == "inactive\n"


def test_license_restarts_after_a_kill_between_file_and_restart(host: hosts.Host, tmp_path: Path) -> None:
    """The file already has the key when the second try comes, and the agent does not know it yet."""
    request = host.request("apply", hosts.module("new_relic_license", LICENSE))
    (host.root / "etc/newrelic-infra.yml").write_text("license_key: 0123456789abcdef\n")
    hosts.kill_at(host, "before_type", request, LICENSE, tmp_path)
    assert host.apply("new_relic_license", LICENSE, serial=2).result.status == "OK"
    assert (host.root / "systemctl.log").read_text() == "restart newrelic-infra\n"


def test_license_needs_systemd(host: hosts.Host) -> None:
    shutil.rmtree(host.root / "run")
    sent = host.apply("new_relic_license", LICENSE)
    assert (sent.result.status, sent.result.message) == ("ERROR", "new_relic_license needs systemd on the host")
    assert not (host.root / "etc/newrelic-infra.yml").exists()
