"""The type prometheus_exporter on servers that dbmod made: passwords everywhere, sockets that nobody else enters."""

from pathlib import Path

import pytest

from dbmod import datastores
from tests.beds.cloud import Cloud
from tests.openstack_fleet import OpenstackFleet

pytestmark = [pytest.mark.root, pytest.mark.cloud, pytest.mark.nightly, pytest.mark.timeout(1200)]
DATASTORES = ("mysql", "postgresql", "redis")


def test_servers_that_dbmod_made_let_their_exporter_see_them(cloud: Cloud, tmp_path: Path) -> None:
    fleet = OpenstackFleet(cloud, tmp_path / "home")
    for name in DATASTORES:
        fleet.done("create", name, "15", "--size", "1", "--datastore", name)
    file = tmp_path / "exporter.dat"
    file.write_text("listen=@address@:@port+3000@\n")
    fleet.done("module-create", "metrics", "prometheus_exporter", str(file), "--live_update")
    fleet.done("module-apply", "--all", "--module", "metrics")
    for name in DATASTORES:
        listen = f"{fleet.instance(name).address}:{datastores.describe(name).port + 3000}"
        [row] = fleet.done("module-query", name, "-f", "json").json()
        assert row["Status"] == "OK"
        assert f"_exporter on {listen} says " in row["Message"]
    accounts = f"{fleet.instance('redis').provider_facts['directory']}/data/users.acl"
    [made] = [
        line for line in fleet.machine("redis").run("cat", accounts).stdout.splitlines() if "dbmod_exporter" in line
    ]
    assert "+config" not in made
    fleet.done("module-remove", "--all", "--module", "metrics")
    assert "dbmod_exporter" not in fleet.machine("redis").run("cat", accounts).stdout
    for name in DATASTORES:
        fleet.done("delete", name, "--yes")
    assert fleet.mine() == {}
