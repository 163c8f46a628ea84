"""What every datastore keeps, found by listing: a new folder roles/datastore_<name>/ is tested without a new file."""

import contextlib
import pwd
import socket
import subprocess
import threading
from pathlib import Path

import msgspec
import pytest

from dbmod import datastores, errors, paths, transport, yaml_file
from tests import hosts

TASKS = ("server", "install", "configure", "accounts", "remove")
CLUSTER_TASKS = ("cluster_create", "cluster_grow", "cluster_shrink")
HOSTILE = "p'w\"\\`;--\t{{ 7*7 }} ünï"

every = pytest.mark.parametrize("name", datastores.names())


def test_there_are_datastores() -> None:
    assert {"mysql", "postgresql", "redis"} <= set(datastores.names())


@every
def test_role_has_its_tasks_with_specified_inputs(name: str) -> None:
    role = paths.role("datastore", name)
    wanted = TASKS + (CLUSTER_TASKS if datastores.describe(name).cluster_minimum else ())
    specified = yaml_file.read(role / "meta" / "argument_specs.yml")["argument_specs"]
    for task in wanted:
        assert (role / "tasks" / f"{task}.yml").is_file()
        assert task in specified
    assert (role / "README.md").read_text().startswith(f"# datastore_{name}\n")


@every
def test_tasks_are_named_with_their_file(name: str) -> None:
    for path in sorted((paths.role("datastore", name) / "tasks").glob("*.yml")):
        for task in yaml_file.read(path):
            assert task["name"].startswith(f"{path.stem} | "), path


@every
def test_server_fact_bears_the_role_name(name: str) -> None:
    [task] = yaml_file.read(paths.role("datastore", name) / "tasks" / "server.yml")
    described = task["ansible.builtin.set_fact"][f"datastore_{name}_server"]
    assert tuple(described["programs"]) == tuple(datastores.describe(name).servers)
    assert described["package"] == datastores.describe(name).package


@every
@pytest.mark.parametrize("python", hosts.pythons())
def test_health_of_an_adopted_server_that_lets_nobody_in_is_whether_it_reacts(
    name: str, python: str, tmp_path: Path
) -> None:
    host = hosts.Host(tmp_path)
    host.python = python
    source = (paths.role("datastore", name) / "health.py").read_text()

    def faults(port: int) -> tuple[str, ...]:
        asked = host.request("health", datastore=name, address="127.0.0.1", port=port, max_lag_seconds=30)
        sent = host.send(asked, sources={"health": source})
        told = transport.read_health(sent.output.decode(), asked.run)
        assert told is not None, sent.errors.decode()
        assert not told.is_replica
        return told.faults

    for greeting in (b"5.5.5", b""):  # some only close the connection
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            threading.Thread(target=_greet, args=(listener, greeting), daemon=True).start()
            assert faults(port) == ()
    with socket.socket() as bound:  # and listens to nobody
        bound.bind(("127.0.0.1", 0))
        assert faults(bound.getsockname()[1]) == ("it does not answer",)


def _greet(listener: socket.socket, greeting: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as connection:
                connection.sendall(greeting)


@every
def test_versions_are_what_the_server_says(name: str) -> None:
    [version] = datastores.versions(name)
    said = subprocess.run([datastores.server_program(name), "--version"], capture_output=True, text=True, check=True)
    assert version in said.stdout
    assert version[0].isdigit()
    assert datastores.choose_version(name, None, [version]) == version
    assert datastores.choose_version(name, f"{name}-{version}", [version]) == version


@every
def test_unknown_version_is_not_found(name: str) -> None:
    with pytest.raises(errors.NotFound) as refused:
        datastores.choose_version(name, "0.1", ["7.0.15"])
    assert refused.value.what == "Datastore version '0.1' cannot be found."


@every
def test_missing_server_names_the_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(datastores, "SYSTEM_PATH", "/nowhere")
    described = msgspec.structs.replace(datastores.describe(name), directories=())
    monkeypatch.setattr(datastores, "describe", lambda asked: described if asked == name else None)
    with pytest.raises(errors.Refused) as refused:
        datastores.server_program(name)
    assert refused.value.next_step == f"apt-get install {described.package}"


@every
def test_server_is_found_without_the_sbin_directories(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert datastores.server_program(name).endswith(tuple(datastores.describe(name).servers))


def test_newest_of_several_versions_is_found(tmp_path: Path) -> None:
    for number in ("9", "15", "100"):
        program = tmp_path / number / "bin" / "a-server"
        program.parent.mkdir(parents=True)
        program.touch(mode=0o755)
    assert datastores.find_program(["a-server"], [f"{tmp_path}/*/bin"]) == f"{tmp_path}/100/bin/a-server"
    assert (
        datastores.find_program(["a-server"], [f"{tmp_path}/9/bin", f"{tmp_path}/*/bin"])
        == f"{tmp_path}/9/bin/a-server"
    )
    assert datastores.find_program(["a-server"]) is None


@every
def test_account_of_the_package_is_named(name: str) -> None:
    program = Path(datastores.server_program(name)).name
    assert pwd.getpwnam(datastores.describe(name).servers[program].account).pw_uid > 0


@every
def test_statements_never_hold_a_password_in_clear(name: str) -> None:
    if not datastores.describe(name).accounts.users:
        with pytest.raises(errors.Refused):
            datastores.check_accounts(name, [], [("bob", HOSTILE)])
        return
    text = datastores.statements(name)([], [{"name": "bob", "password": HOSTILE}])
    assert "bob" in text
    assert HOSTILE not in text
    assert "{{" not in text
    assert text.endswith("\n")


@every
@pytest.mark.parametrize("user", ["", "-x", "a b", "a'b", "a`b", "a\nb", "a" * 200, "../x", "ü"])
def test_bad_user_name_is_refused(name: str, user: str) -> None:
    with pytest.raises(errors.BadInput):
        datastores.check_accounts(name, [], [(user, "secret")])


@every
def test_reserved_user_is_refused(name: str) -> None:
    rules = datastores.describe(name).accounts
    for user in (*rules.reserved, *(f"{beginning}x" for beginning in rules.reserved_beginnings)):
        with pytest.raises(errors.BadInput, match="belongs to the server itself"):
            datastores.check_accounts(name, [], [(user, "secret")])


@every
@pytest.mark.parametrize("password", ["", "a\nb", "a\0b", "x" * 256])
def test_bad_password_is_refused_without_showing_it(name: str, password: str) -> None:
    with pytest.raises(errors.BadInput) as refused:
        datastores.check_accounts(name, [], [("bob", password)])
    assert not password or password not in str(refused.value)


@every
def test_user_named_twice_is_refused(name: str) -> None:
    with pytest.raises(errors.BadInput, match="named twice"):
        datastores.check_accounts(name, [], [("bob", "one"), ("bob", "two")])


@every
def test_cluster_needs_its_minimum(name: str) -> None:
    minimum = datastores.describe(name).cluster_minimum
    if not minimum:
        with pytest.raises(errors.Refused, match=f"Clusters of datastore '{name}' are not supported"):
            datastores.check_cluster(name, 3)
        return
    datastores.check_cluster(name, minimum)
    with pytest.raises(errors.Refused, match=f"at least {minimum} members, not {minimum - 1}"):
        datastores.check_cluster(name, minimum - 1)


def test_databases_of_redis_are_refused() -> None:
    with pytest.raises(errors.Refused, match="Redis or Valkey has no databases that could be created: shop"):
        datastores.check_accounts("redis", ["shop"], [])


def test_unknown_datastore_is_not_found() -> None:
    with pytest.raises(errors.NotFound) as refused:
        datastores.describe("oracle")
    assert refused.value.what == "Datastore 'oracle' cannot be found."
