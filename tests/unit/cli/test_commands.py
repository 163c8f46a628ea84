"""The registry's commands as a user types them, on a ledger of its own. No host, no Ansible."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dbmod import cli

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Type a command: gives exit code, standard output, standard error."""
    for name in ("DBMOD_ADMIN", "DBMOD_TENANT", "DBMOD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    Path("ping1.dat").write_text("message=Module.V1\n")
    Path("ping2.dat").write_text("message=Module.V2\n")

    def run(*words: str) -> tuple[int, str, str]:
        code = cli.execute(list(words))
        return code, *capsys.readouterr()

    return run


def test_module_create_shows_the_guides_rows(typed: Typed) -> None:
    code, out, err = typed("module-create", "mymod", "ping", "ping1.dat", "--live_update")
    assert (code, err) == (0, "")
    names = [line.split("|")[1].strip() for line in out.splitlines()[3:-1]]
    assert names == [
        "apply_order",
        "auto_apply",
        "created",
        "datastore",
        "datastore_id",
        "datastore_version",
        "datastore_version_id",
        "description",
        "id",
        "instance_count",
        "is_admin",
        "live_update",
        "md5",
        "name",
        "priority_apply",
        "tenant",
        "tenant_id",
        "type",
        "updated",
        "visible",
    ]
    assert "| md5                  | 7f700cc7b99606615f8b51946f6d3228     |" in out
    assert "| live_update          | True                                 |" in out


def test_options_take_hyphens_and_commands_underscores(typed: Typed) -> None:
    assert typed("module_create", "mymod", "ping", "ping1.dat", "--live-update", "--apply-order=3")[0] == 0
    shown = json.loads(typed("module-show", "mymod", "-f", "json")[1])
    assert (shown["live_update"], shown["apply_order"], shown["version_number"]) == (True, 3, 1)


def test_module_update_makes_the_next_version(typed: Typed) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    code, out, _ = typed("module-update", "mymod", "--file", "ping2.dat", "-c", "MD5", "-f", "value")
    assert (code, out) == (0, "ba7c204979c8de54be6efb70a17d40b9\n")
    assert typed("module-versions", "mymod", "-f", "value", "-c", "Number", "-c", "Current")[1] == "1 False\n2 True\n"


def test_versions_are_compared_and_taken_back(typed: Typed) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    typed("module-update", "mymod", "--file", "ping2.dat")
    code, out, _ = typed("module-diff", "mymod")
    assert (code, out.splitlines()[-2:]) == (0, ["-message=Module.V1", "+message=Module.V2"])
    assert typed("module-diff", "mymod", "2", "9")[0] == 2
    Path("odd.dat").write_bytes(b"message=a\x1b[31m\n")
    typed("module-update", "mymod", "--file", "odd.dat")
    assert "\x1b" not in typed("module-diff", "mymod")[1]
    shown = typed("module-rollback", "mymod", "--to", "1", "-c", "MD5", "-f", "value")
    assert shown[:2] == (0, "7f700cc7b99606615f8b51946f6d3228\n")
    held = typed("module-versions", "mymod", "-f", "value", "-c", "Number", "-c", "Instances", "-c", "Current")
    assert held[1] == "1 False 0\n2 False 0\n3 False 0\n4 True 0\n"


def test_module_update_can_unbind_and_switch_off(typed: Typed) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat", "--datastore", "redis", "--live_update", "--auto_apply")
    code, _, _ = typed("module-update", "mymod", "--all_datastores", "--no_live_update", "--no-auto-apply")
    shown = json.loads(typed("module-show", "mymod", "-f", "json")[1])
    assert code == 0
    assert (shown["datastore"], shown["live_update"], shown["auto_apply"]) == ("all", False, False)


def test_module_update_refuses_a_datastore_and_all(typed: Typed) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    code, _, err = typed("module-update", "mymod", "--datastore", "redis", "--all_datastores")
    assert (code, err) == (2, "ERROR: --datastore and --all_datastores exclude each other.\n")


def test_module_list_has_two_more_columns_for_an_admin(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    assert typed("module-list")[1].splitlines()[1].split("|")[-3:-1] == [" Tenant  ", " Visible "]
    monkeypatch.setenv("DBMOD_ADMIN", "false")
    assert typed("module-list")[1].splitlines()[1].split("|")[-2] == " Admin "


def test_module_list_chooses_by_datastore_and_tenant(typed: Typed) -> None:
    typed("module-create", "bound", "ping", "ping1.dat", "--datastore", "redis")
    typed("module-create", "free", "ping", "ping1.dat", "--all_tenants")
    for options, names in (
        ((), "bound\nfree\n"),
        (("--datastore", "redis"), "bound\n"),
        (("--datastore", "all"), "free\n"),
        (("--of-tenant", "all"), "free\n"),
        (("--of-tenant", "default"), "bound\n"),
    ):
        assert typed("module-list", *options, "-f", "value", "-c", "Name")[1] == names


def test_module_delete_is_silent(typed: Typed) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    assert typed("module-delete", "mymod", "--reason", "done with it") == (0, "", "")
    assert typed("module-show", "mymod")[0] == 2


def test_counts_and_holders_of_a_new_module_are_empty_tables(typed: Typed) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    assert len(typed("module-instance-count", "mymod")[1].splitlines()) == 4
    assert json.loads(typed("module-instances", "mymod", "-f", "json")[1]) == []


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (("module-show", "nix"), "ERROR: No module with a name or ID of 'nix' exists."),
        (("show", "nix"), "ERROR: No instance with a name or ID of 'nix' exists."),
        (("cluster-show", "nix"), "ERROR: No cluster with a name or ID of 'nix' exists."),
        (("run-show", "nix1"), "ERROR: No run with an ID of 'nix1' exists."),
        (("history", "nix"), "ERROR: No module or instance with a name or ID of 'nix' exists."),
        (("module-show",), "ERROR: Missing argument 'MODULE'."),
        (("module-show", "a", "--nonsense"), "ERROR: No such option '--nonsense'."),
        (("module-shwo",), "ERROR: There is no command 'module-shwo'. Did you mean module-show"),
        (("module-list", "-c", "Colour"), "ERROR: There is no column Colour here."),
        (("module-list", "-f", "xml"), "ERROR: Invalid value for '-f' / '--format': 'xml' is not one of"),
        (("module-create", "x", "ping", "none.dat"), "ERROR: The file 'none.dat' cannot be read: No such file"),
        (("module-create", "x", "nope", "ping1.dat"), "ERROR: Module type 'nope' was not found."),
        (("module-create", "../x", "ping", "ping1.dat"), "ERROR: The name '../x' is not valid."),
        (("module-apply",), "ERROR: No instance was named."),
        (("module-apply", "--limit", "db-*", "mymod"), "ERROR: No instance matches the selection."),
        (("module-remove", "--all"), "ERROR: Name one module."),
        (("module-query", "a", "b"), "ERROR: module-query asks about one instance"),
        (("module-reapply", "x", "--batch_size", "0"), "ERROR: --batch_size must be at least 1."),
        (("module-reapply", "x", "--delay", "-1"), "ERROR: --delay must not be negative."),
        (("module-update", "x"), "ERROR: Nothing to change was given."),
        (("list", "--marker", "x"), "ERROR: The marker 'x' is not in this list."),
        (("create", "x", "99"), "ERROR: Flavor '99' cannot be found."),
        (("cluster-grow", "x"), "ERROR: No --instance was given."),
    ],
)
def test_bad_input_is_refused_with_exit_2(typed: Typed, words: tuple[str, ...], first: str) -> None:
    code, out, err = typed(*words)
    assert (code, out) == (2, "")
    assert err.startswith(first)
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [("module-show",), ("module-show", "x", "--format"), ("module-show", "x", "--nix")])
def test_usage_errors_name_the_commands_help(typed: Typed, words: tuple[str, ...]) -> None:
    assert typed(*words)[2].splitlines()[1] == "  next  dbmod module-show --help"


def test_debug_shows_a_trace_and_nothing_else_does(typed: Typed) -> None:
    assert "Traceback" in typed("module-show", "nix", "--debug")[2]
    assert "Traceback" in typed("--debug", "module-show", "nix")[2]


def test_an_internal_error_tells_its_kind_alone(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("CANARY")

    monkeypatch.setattr("dbmod.lookup.module", fail)
    code, _, err = typed("module-show", "x")
    assert code == 5
    assert err.startswith("ERROR: internal error (ZeroDivisionError)\n  next  ")
    assert "CANARY" not in err


def test_config_tells_where_each_value_came_from_and_no_secret(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_KEY", "CANARY")
    Path("dbmod.yml").write_text("region: Basel\n")
    code, out, _ = typed("config", "-f", "json")
    rows = {row["Key"]: (row["Value"], row["Source"]) for row in json.loads(out)}
    assert code == 0
    assert rows["region"] == ("Basel", "dbmod.yml")
    assert rows["home"][1] == "DBMOD_HOME"
    assert rows["forks"] == (50, "default")
    assert "CANARY" not in out


def test_ledger_check_and_backup_and_restore(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    assert typed("ledger-check", "-f", "value", "-c", "damaged")[:2] == (0, "0\n")
    code, out, err = typed("ledger-backup", "b.tar", "-f", "json")
    assert (code, json.loads(out)["key"]) == (0, True)
    assert "as secret as the contents" in err
    assert typed("key-rotate")[0] == 0
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "other"))
    assert typed("ledger-restore", "b.tar", "--reason", "the disk died")[0] == 0
    assert typed("module-list", "-f", "value", "-c", "Name")[1] == "mymod\n"
    assert typed("ledger-restore", "b.tar")[0] == 2
    told = json.loads(typed("audit-log")[1].splitlines()[-1])
    assert (told["verb"], told["subject"], told["reason"]) == ("ledger-restore", "b.tar", "the disk died")


def test_ledger_copy_moves_a_ledger_to_another_home(
    typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    code, out, err = typed("ledger-copy", "configured", str(tmp_path / "other"), "-f", "json")
    assert (code, json.loads(out)["contents"], json.loads(out)["to"]) == (0, 1, str(tmp_path / "other"))
    assert "are equal" in err
    assert typed("ledger-copy", "configured", str(tmp_path / "other"))[0] == 2
    monkeypatch.setenv("DBMOD_HOME", str(tmp_path / "other"))
    assert typed("module-list", "-f", "value", "-c", "Name")[1] == "mymod\n"
    assert typed("ledger-check", "-f", "value", "-c", "contents", "-c", "damaged")[1].split() == ["1", "0"]


def test_ledger_copy_of_nothing_is_refused_and_makes_nothing(typed: Typed, tmp_path: Path) -> None:
    for source, target in ((" ", "configured"), ("configured", ""), (str(tmp_path / "no"), "configured")):
        code, _, err = typed("ledger-copy", source, target)
        assert (code, "next" in err) == (2, True)
    assert not (tmp_path / "no").exists()


def test_what_is_done_to_files_is_refused_for_postgresql(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DBMOD_LEDGER", "postgresql://dbmod:CANARY@127.0.0.1:1/dbmod")
    for words in (("ledger-restore", "b.tar"), ("ledger-check", "--repair", "--yes")):
        code, _, err = typed(*words)
        assert code == 2
        assert "pg_dump" in err
        assert "postgresql://dbmod@127.0.0.1:1/dbmod" in err
        assert "CANARY" not in err
    code, out, err = typed("config", "--format", "json")
    assert (code, "CANARY" in out + err) == (0, False)
    code, _, err = typed("ledger-copy", "postgresql://dbmod:CANARY@127.0.0.1/dbmod", "configured")
    assert (code, "CANARY" in err) == (2, False)


def test_a_damaged_ledger_ends_with_exit_3(typed: Typed, tmp_path: Path) -> None:
    typed("module-create", "mymod", "ping", "ping1.dat")
    shard = next((tmp_path / "home" / "ledger" / "shards").glob("modules*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"]")
    code, _, err = typed("module-list")
    assert code == 3
    assert err.startswith("ERROR: the shard modules of the ledger is damaged")
    assert typed("ledger-check")[0] == 3


@pytest.mark.parametrize("words", [("--help",), ("module-apply", "--help"), ("rollout", "-h"), ("--version",)])
def test_help_and_version_end_well(typed: Typed, words: tuple[str, ...]) -> None:
    code, out, err = typed(*words)
    assert (code, err) == (0, "")
    assert out


def test_dbmod_alone_shows_its_help_and_is_no_success(typed: Typed) -> None:
    code, out, _ = typed()
    assert code == 2
    assert "Modules on instances:" in out
