"""The configuration: one file, every key also as a variable, unknown keys refused."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from dbmod import config, errors


def load(tmp_path: Path, text: str = "", **environ: str) -> config.Loaded:
    path = tmp_path / "dbmod.yml"
    path.write_text(text)
    return config.load({"DBMOD_CONFIG": str(path), **environ})


def refusal(tmp_path: Path, text: str = "", **environ: str) -> errors.BadInput:
    with pytest.raises(errors.BadInput) as caught:
        load(tmp_path, text, **environ)
    return caught.value


def test_defaults_are_those_of_the_specification(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = config.load({})
    settings = loaded.settings
    assert (settings.tenant, settings.admin, settings.identity) == ("default", True, "config")
    assert (settings.provider, settings.datastore, settings.lock_wait_seconds) == ("local", "redis", 30)
    assert (settings.contents_limit_bytes, settings.tenant_batch_size_limit) == (8 << 20, 50)
    assert settings.home_path == Path("~/.local/state/dbmod").expanduser()
    assert set(loaded.sources.values()) == {"default"}
    assert settings.flavors["15"].ram_mib == 512


def test_a_variable_wins_over_the_file_and_each_value_tells_where_it_came_from(tmp_path: Path) -> None:
    loaded = load(tmp_path, "tenant: file\nregion: West\n", DBMOD_TENANT="variable", DBMOD_ADMIN="false")
    assert (loaded.settings.tenant, loaded.settings.region, loaded.settings.admin) == ("variable", "West", False)
    assert loaded.sources["tenant"] == "DBMOD_TENANT"
    assert loaded.sources["region"] == str(tmp_path / "dbmod.yml")
    assert loaded.sources["forks"] == "default"


def test_the_first_file_that_exists_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dbmod.yml").write_text("region: Here\n")
    assert config.load({}).settings.region == "Here"
    assert [str(path) for path in config.candidate_files({})][1:] == [
        str(Path("~/.config/dbmod/dbmod.yml").expanduser()),
        "/etc/dbmod/dbmod.yml",
    ]


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load(tmp_path).settings == config.Settings()


def test_lists_and_mappings_come_from_json_in_variables(tmp_path: Path) -> None:
    flavors = '{"1": {"name": "one", "ram_mib": 64, "vcpus": 1, "disk_gb": 1}}'
    settings = load(tmp_path, DBMOD_TYPE_DIRECTORIES='["/a", "/b"]', DBMOD_FLAVORS=flavors).settings
    assert settings.type_directories == ("/a", "/b")
    assert settings.flavors == {"1": config.Flavor(name="one", ram_mib=64, vcpus=1, disk_gb=1)}


def test_secrets_and_test_variables_are_no_settings_and_not_shown(tmp_path: Path) -> None:
    loaded = load(tmp_path, DBMOD_KEY="canary", DBMOD_PREVIOUS_KEY="canary", DBMOD_FAILPOINT="x", DBMOD_TEST_ROOT="/")
    assert "canary" not in repr(loaded)


def test_the_address_of_a_ledger_is_never_shown_and_makes_nobody_an_admin(tmp_path: Path) -> None:
    loaded = load(tmp_path, DBMOD_LEDGER="postgresql://dbmod:canary@db.example.com/dbmod")
    assert (loaded.settings.admin, loaded.sources["admin"]) == (False, "default")
    assert "canary" not in repr(loaded)
    assert config.shown(loaded.settings)["ledger"] == config.HIDDEN
    assert "canary" not in refusal(tmp_path, DBMOD_LEDGER="mysql://u:canary@h/d").what
    assert load(tmp_path, DBMOD_LEDGER="postgresql://", DBMOD_ADMIN="true").settings.admin
    named = load(tmp_path, "ledger: /etc/dbmod/ledger\n").settings
    assert (named.admin, config.shown(named)["ledger"]) == (False, "/etc/dbmod/ledger")
    assert load(tmp_path, DBMOD_LEDGER="").settings.admin


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("colour: red\n", {}, "dbmod has no such setting: colour"),
        ("", {"DBMOD_COLOUR": "red"}, "DBMOD_COLOUR: dbmod has no such setting"),
        ("", {"DBMOD_FORKS": "many"}, "DBMOD_FORKS: forks"),
        ("forks: many\n", {}, "forks"),
        ("", {"DBMOD_IDENTITY": "moon"}, "DBMOD_IDENTITY: identity"),
        ("- a\n- b\n", {}, "must hold `key: value` lines"),
        ("1: a\n", {}, "must hold `key: value` lines"),
        ("", {"DBMOD_CONTENTS_LIMIT_BYTES": "0"}, "contents_limit_bytes must be from 1 to 67108864"),
        ("", {"DBMOD_CONTENTS_LIMIT_BYTES": str((64 << 20) + 1)}, "contents_limit_bytes must be from 1 to 67108864"),
        ("", {"DBMOD_TENANT": "all"}, "tenant must have a name, and not `all`"),
        ("tenant: ''\n", {}, "tenant must have a name, and not `all`"),
        ("home: ''\n", {}, "home must not be empty"),
        ("home: ~\n", {}, "home"),
        ("", {"DBMOD_LOCAL_PORTS": "80-90"}, "local_ports must be LOW-HIGH"),
        ("", {"DBMOD_LOCAL_PORTS": "20000-60000"}, "local_ports must be LOW-HIGH"),
        ("", {"DBMOD_LOCAL_PORTS": "20000"}, "local_ports must be LOW-HIGH"),
        ("", {"DBMOD_TYPE_DIRECTORIES": "[broken"}, "DBMOD_TYPE_DIRECTORIES: type_directories"),
        ("", {"DBMOD_TYPE_DIRECTORIES": "[" * 100_000}, "DBMOD_TYPE_DIRECTORIES: type_directories"),
        ("", {"DBMOD_LEDGER": "mysql://u:canary@h/d"}, "ledger must be postgresql://…"),
    ],
)
def test_what_is_wrong_is_refused_with_its_key_and_place(
    tmp_path: Path, text: str, environ: Mapping[str, str], said: str
) -> None:
    error = refusal(tmp_path, text, **environ)
    assert said in error.what
    assert error.exit_code == 2
    assert len(error.what) < 1000


def test_the_named_configuration_file_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(errors.BadInput, match="cannot be read"):
        config.load({"DBMOD_CONFIG": str(tmp_path / "none.yml")})


def test_local_servers_go_below_the_home_or_to_their_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.Settings(local_directory=str(tmp_path)).local_path == tmp_path
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert config.Settings(home="/h").local_path == Path("/var/lib/dbmod-local")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert config.Settings(home="/h").local_path == Path("/h/local")
    assert config.Settings(local_ports="2000-2002").local_port_range == range(2000, 2003)


def test_the_actor_is_the_login_name_unless_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "grace")
    assert config.Settings().actor_name == "grace"
    assert config.Settings(actor="job 7").actor_name == "job 7"


def test_a_home_that_nobody_knows_is_refused() -> None:
    with pytest.raises(errors.BadInput, match="set HOME, or DBMOD_HOME"):
        config.load({"DBMOD_HOME": "~nobody-of-that-name/dbmod"})


def test_the_actor_of_a_number_without_an_account_is_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 61234)
    assert config.Settings().actor_name == "uid 61234"
