"""What every provider keeps, found by listing, and what is special to `local`."""

import os
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dbmod import clock, config, datastores, errors, ids, local_servers, paths, providers, yaml_file
from dbmod.records import Instance

every = pytest.mark.parametrize("name", providers.names())
LOW = 17200 + os.getpid() % 100 * 10


@pytest.fixture
def roomy(settings: config.Settings) -> config.Settings:
    """Settings whose directory every local server can enter, and ten ports."""
    return msgspec.structs.replace(settings, local_directory="/var/tmp/dbmod-test", local_ports=f"{LOW}-{LOW + 9}")


def test_there_are_providers() -> None:
    assert "local" in providers.names()


@every
def test_role_has_its_tasks_with_specified_inputs(name: str) -> None:
    role = paths.role("provider", name)
    specified = yaml_file.read(role / "meta" / "argument_specs.yml")["argument_specs"]
    for task in ("create", "directories", "start", "stop", "restart", "delete"):
        [*tasks] = yaml_file.read(role / "tasks" / f"{task}.yml")
        assert all(one["name"].startswith(f"{task} | ") for one in tasks)
        assert task in specified
    assert (role / "README.md").read_text().startswith(f"# provider_{name}\n")


@every
def test_description_is_whole(name: str) -> None:
    described = providers.describe(name)
    assert described.title
    assert "ansible_connection" in described.connection


def test_unknown_provider_is_not_found() -> None:
    with pytest.raises(errors.NotFound, match="Provider 'moon' cannot be found"):
        providers.describe("moon")


def test_local_offers_root_only_to_root_and_never_systemd() -> None:
    assert providers.offers("local") == (frozenset({"root"}) if os.geteuid() == 0 else frozenset())


def test_what_creates_has_its_hooks_and_what_adopts_says_so() -> None:
    for name in providers.names():
        if providers.describe(name).creates:
            hooks = providers.hooks(name)
            assert all(callable(getattr(hooks, one)) for one in ("flavors", "versions", "check", "place"))
        else:
            with pytest.raises(errors.Refused, match="creates no instances"):
                providers.hooks(name)


def test_place_is_the_first_free_port_and_has_its_own_user(roomy: config.Settings) -> None:
    place = allocate(roomy)
    assert place.port == LOW
    assert place.address == "127.0.0.1"
    assert place.facts.get("uid") == (200000 + LOW if os.geteuid() == 0 else None)
    assert Path(str(place.facts["directory"])).parent == Path("/var/tmp/dbmod-test")


def test_place_leaves_ports_of_the_fleet_and_of_others_alone(roomy: config.Settings) -> None:
    taken = instance(port=LOW)
    with socket.create_server(("127.0.0.1", LOW + 1)):
        place = allocate(roomy, taken)
    assert place.port == LOW + 2


def test_place_heeds_the_cluster_bus(roomy: config.Settings) -> None:
    with socket.create_server(("127.0.0.1", LOW + 10000)):
        assert allocate(roomy).port == LOW + 1


def test_place_reuses_the_port_of_a_deleted_instance(roomy: config.Settings) -> None:
    gone = msgspec.structs.replace(instance(port=LOW), deleted_at=clock.now())
    assert allocate(roomy, gone).port == LOW


def test_without_a_free_port_there_is_no_place(roomy: config.Settings) -> None:
    fleet = [instance(port=LOW + number) for number in range(10)]
    with pytest.raises(errors.Refused, match=f"no free port is left in {LOW}-{LOW + 9}"):
        allocate(roomy, *fleet)


@pytest.mark.root
def test_directory_that_servers_cannot_enter_is_refused(roomy: config.Settings, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(errors.Refused, match="cannot enter"):
        allocate(msgspec.structs.replace(roomy, local_directory=str(closed / "servers")))


def test_room_is_looked_for_and_not_reserved(settings: config.Settings) -> None:
    assert providers.hooks("local").check(settings, wanted()) == {}
    assert not settings.local_path.exists()
    with pytest.raises(errors.Refused) as refused:
        providers.hooks("local").check(settings, wanted(volume_gb=1 << 20))
    assert "does not reserve it" in refused.value.details["note"]


def test_silent_port_reads_as_shutdown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = instance(port=listener.getsockname()[1])
        assert providers.observed_status(running) == "ACTIVE"
    assert providers.observed_status(running) == "SHUTDOWN"
    for status in ("BUILD", "ERROR", "DELETED"):
        assert providers.observed_status(msgspec.structs.replace(running, status=status)) == status


def test_hints_name_the_instance_own_files() -> None:
    one = instance(port=LOW, directory="/a dir/x")
    assert providers.log_path(one) == "/a dir/x/log/server.log"
    assert providers.connect_hint(one) == (
        f"REDISCLI_AUTH=\"$(cat '/a dir/x'/etc/password)\" redis-cli -h 127.0.0.1 -p {LOW}"
    )
    member = msgspec.structs.replace(one, cluster_id=ids.new_id())
    assert "redis-cli -c -h" in providers.connect_hint(member)
    assert providers.connect_hint(msgspec.structs.replace(one, address=None)) == ""


@pytest.mark.parametrize("directory", ["/", "/etc", "relative", "/var/lib/dbmod-local", "/x/../etc"])
def test_place_is_always_a_directory_that_dbmod_made(directory: str) -> None:
    with pytest.raises(ValueError, match="named by the instance's id"):
        local_servers.Place(directory=Path(directory), uid=None, address="127.0.0.1", port=1)


def test_place_is_never_run_as_root() -> None:
    with pytest.raises(ValueError, match="never runs as root"):
        local_servers.Place(directory=Path("/x") / ids.new_id(), uid=0, address="127.0.0.1", port=1)


def wanted(**changes: Any) -> providers.Wanted:
    asked = providers.Wanted(
        instance_id=ids.new_id(),
        datastore="redis",
        datastore_version="7.0.15",
        flavor_id="15",
        flavor=config.FLAVORS["15"],
        volume_gb=1,
        region="RegionOne",
    )
    return msgspec.structs.replace(asked, **changes)


def allocate(settings: config.Settings, *fleet: Instance) -> providers.Place:
    return providers.hooks("local").place(settings, wanted(), fleet)


def instance(*, port: int, directory: str = "/nowhere") -> Instance:
    now = clock.now()
    return Instance(
        id=ids.new_id(),
        name="one",
        tenant="default",
        provider="local",
        datastore="redis",
        datastore_version=datastores.versions("redis")[0],
        flavor="15",
        volume_gb=1,
        volume_type=None,
        region="RegionOne",
        availability_zone=None,
        locality=None,
        cluster_id=None,
        status="ACTIVE",
        fault="",
        address="127.0.0.1",
        port=port,
        server_id=None,
        volume_id=None,
        created_at=now,
        updated_at=now,
        provider_facts={"directory": directory},
    )
