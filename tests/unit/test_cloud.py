"""Which cloud, and what is read without asking one."""

from pathlib import Path

import msgspec
import pytest
import yaml

from dbmod import cloud, errors
from dbmod.config import Settings
from tests.unit.test_keypairs import ED25519

CLOUDS = {
    name: {
        "auth": {"auth_url": "http://127.0.0.1:9/v3", "username": "me", "password": "C4nary", "project_name": "p"},
        "region_name": "Here",
    }
    for name in ("one", "two")
}


@pytest.fixture
def clouds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clouds.yaml with two clouds; nothing else of this machine's configuration is seen."""
    for name in ("OS_CLOUD", "OS_AUTH_URL", "OS_USERNAME", "OS_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "login" / "clouds.yaml"  # not here: openstacksdk remembers the directory it was imported in
    path.parent.mkdir()
    write(path, CLOUDS)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def write(path: Path, known: dict[str, object]) -> None:
    path.write_text(yaml.safe_dump({"clouds": known}))


def test_a_choice_between_clouds_has_to_be_made(clouds: Path, settings: Settings) -> None:
    with pytest.raises(errors.Refused, match="several clouds") as refused:
        cloud.connect(settings)
    assert refused.value.details == {"known": "one, two"}
    with pytest.raises(errors.NotFound, match="There is no cloud 'three'"):
        cloud.connect(msgspec.structs.replace(settings, openstack_cloud="three"))


def test_the_setting_wins_then_the_variable_then_the_only_one(
    clouds: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLOUD", "two")
    assert cloud.connect(settings).name == "two"
    assert cloud.connect(msgspec.structs.replace(settings, openstack_cloud="one")).name == "one"
    monkeypatch.delenv("OS_CLOUD")
    write(clouds, {"two": CLOUDS["two"]})
    assert cloud.connect(settings).name == "two"


def test_the_region_of_the_settings_counts_before_the_cloud_s_own(clouds: Path, settings: Settings) -> None:
    write(clouds, {"both": {"auth": CLOUDS["one"]["auth"], "regions": ["Here", "There"]}})
    there = msgspec.structs.replace(settings, region="There")
    assert [cloud.connect(one).config.get_region_name() for one in (settings, there)] == ["Here", "There"]
    assert cloud.connect(there, region="Here").config.get_region_name() == "Here"
    assert [cloud.regions(there, region) for region in ("", "Here")] == ["Here", "Here"]


def test_no_cloud_at_all_is_told(clouds: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds.unlink()
    with pytest.raises(errors.Refused, match="No OpenStack cloud is configured"):
        cloud.connect(settings)


def test_run_gets_the_resolved_login_in_a_private_file(
    clouds: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLOUD", "one")
    directory = tmp_path / "run"
    directory.mkdir()
    environment = cloud.write_client_file(settings, directory)
    assert environment == {"OS_CLIENT_CONFIG_FILE": str(directory / "clouds.yaml"), "OS_CLOUD": "one"}
    path = directory / "clouds.yaml"
    assert path.stat().st_mode & 0o777 == 0o600
    written = yaml.safe_load(path.read_text())["clouds"]["one"]
    assert written["auth"]["password"] == "C4nary"
    assert "region_name" not in written  # or openstacksdk would refuse another one


def test_unreachable_cloud_is_a_failure_with_the_client_s_words(
    clouds: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_CLOUD", "one")
    with pytest.raises(errors.Failed, match=r"The cloud could not list its flavors: .*127\.0\.0\.1:9") as failed:
        cloud.flavors(settings)
    assert "C4nary" not in " ".join(failed.value.lines())


def test_host_keys_are_those_of_the_last_whole_block() -> None:
    old, new = ED25519, "ssh-rsa AAAAB3NzaC1yc2E="
    console = (
        f"boot\n{cloud.BEGIN}\n{old} root@a\n{cloud.END}\nlogin:\n{cloud.BEGIN}\r\n{new} root@a\r\n{cloud.END}\r\nend"
    )
    assert cloud.host_keys_in(console) == [new]
    assert cloud.host_keys_in(f"{cloud.BEGIN}\n{old}\n{cloud.END}\n{cloud.BEGIN}\n{new}\n") == [old]
    assert cloud.host_keys_in(f"{cloud.BEGIN}\n{old}\n") == []
    assert cloud.host_keys_in(f"{old}\n{cloud.END}\n") == []
    assert cloud.host_keys_in("") == []


def test_one_of_several_things_is_found_by_id_and_then_by_name() -> None:
    things = [Thing("1", "a"), Thing("2", "b"), Thing("3", "b"), Thing("b", "c")]
    assert cloud.one_of(things, "b", what="Network", next_step="").name == "c"
    assert cloud.one_of(things, "a", what="Network", next_step="").id == "1"
    with pytest.raises(errors.NotFound, match="Network 'x' cannot be found"):
        cloud.one_of(things, "x", what="Network", next_step="")
    with pytest.raises(errors.NotUnique, match="Several networks"):
        cloud.one_of(things[1:3], "b", what="Network", next_step="")


class Thing(msgspec.Struct):
    """As a cloud lists it."""

    id: str
    name: str
