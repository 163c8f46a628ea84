"""inventory/dbmod.yml read by Ansible itself: as AWX syncs it, with evil names, cached, constructed, broken."""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import dbmod
from dbmod import paths
from tests import builders
from tests.end_to_end.sites import BIN, PATIENCE_SECONDS, Ended, Site

pytestmark = pytest.mark.patient

VALID = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
HOSTILE = "{{ lookup('pipe', 'touch $DBMOD_TEST_CANARY') }}"
EVIL = (HOSTILE, "my db", "ü", "all", "twin", "twin", "datastore_redis", "-rf")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA"
PROJECT = ("ansible.cfg", "dbmod", "inventory", "library", "playbooks", "roles")
SYNC = ("-i", "inventory/dbmod.yml", "--list", "--export", "--playbook-dir", "inventory")
AWX = {
    "ANSIBLE_FORCE_COLOR": "True",
    "ANSIBLE_HOST_KEY_CHECKING": "False",
    "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
    "ANSIBLE_RETRY_FILES_ENABLED": "False",
    "AWX_PRIVATE_DATA_DIR": "/runner",
    "INVENTORY_SOURCE_ID": "7",
    "INVENTORY_UPDATE_ID": "42",
    "JOB_ID": "42",
    "PYTHONUNBUFFERED": "1",
}
# As an execution environment without dbmod: what is in site-packages, without the links to checkouts there.
SITE_PACKAGES = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})"
BARE = (sys.executable, "-S", "-P", "-c", f"{SITE_PACKAGES}; from ansible.cli.inventory import main; main()")


class Source:
    """A site with hosts and modules, and a copy of the project as AWX has it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.project = site.directory / "project"
        self.project.mkdir()
        for name in PROJECT:
            place = paths.content() / name
            shutil.copytree(place, self.project / name) if place.is_dir() else shutil.copy(place, self.project)
        self.canary = site.directory / "canary"
        self.environment = AWX | {
            "DBMOD_HOME": str(site.home),
            "DBMOD_TEST_CANARY": str(self.canary),
            "HOME": str(site.directory / "person"),
            "PATH": f"{BIN}:/usr/bin:/bin",
        }

    def run(self, *words: str, program: tuple[str, ...] = (), **environment: str) -> Ended:
        """Run ansible-inventory in the project; an empty variable is unset."""
        variables = self.environment | environment
        ended = subprocess.run(
            [*(program or (str(BIN / "ansible-inventory"),)), *words],
            cwd=self.project,
            env={name: value for name, value in variables.items() if value},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)

    def listed(self, *words: str, program: tuple[str, ...] = (), **environment: str) -> Any:
        ended = self.run(*(words or SYNC), program=program, **environment)
        assert ended.code == 0, ended.said
        return ended.json()

    def configure(self, **options: Any) -> None:
        """Write the inventory source with further options."""
        (self.project / "inventory" / "dbmod.yml").write_text(json.dumps({"plugin": "dbmod"} | options))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """db-0 holds the current version, db-1 the first, db-2 the first and failed with another module; ssh-0 nothing."""
    site = Site(tmp_path_factory.mktemp("inventory") / "site")
    site.add_hosts(3)
    site.add_module("my-mod", b"message=Module.V1\n")
    site.well("module-apply", "--all", "--module", "my-mod")
    site.update_module("my-mod", b"message=Module.V2\n")
    site.well("module-apply", "db-0", "my-mod")
    site.add_module("token", b"fail", kind="blob")
    assert site.dbmod("module-apply", "db-2", "token").code == 1
    facts = {"user": "ada", "become": 1, "ssh_port": 2222, "home": "/var/lib/dbmod"}
    with site.context.store.transaction(holder="test") as tables:
        tables.put(
            builders.instance(
                "ssh-0", provider="ssh", address="192.0.2.1", host_keys=(KEY,), provider_facts=facts,
                restart_command=("systemctl", "restart", "redis"),
            )
        )  # fmt: skip
    yield Source(site)
    assert site.problems() == []


@pytest.fixture
def fresh(source: Source) -> Iterator[Source]:
    """The same, with the project's own inventory source afterwards."""
    yield source
    shutil.copy(paths.content() / "inventory" / "dbmod.yml", source.project / "inventory")


def test_awx_syncs_hosts_groups_and_plain_variables(source: Source) -> None:
    listed = source.listed()
    assert "__ansible_unsafe" not in json.dumps(listed)
    members = {name: group["hosts"] for name, group in listed.items() if "hosts" in group}
    assert members == {
        "datastore_redis": ["db-0", "db-1", "db-2", "ssh-0"],
        "module_my_mod": ["db-0", "db-1", "db-2"],
        "module_my_mod_outdated": ["db-1", "db-2"],
        "module_token_failed": ["db-2"],
        "provider_local": ["db-0", "db-1", "db-2"],
        "provider_ssh": ["ssh-0"],
        "region_RegionOne": ["db-0", "db-1", "db-2", "ssh-0"],
        "status_ACTIVE": ["db-0", "db-1", "db-2", "ssh-0"],
        "tenant_default": ["db-0", "db-1", "db-2", "ssh-0"],
        "version_redis_7_0_15": ["db-0", "db-1", "db-2", "ssh-0"],
    }
    found = listed["_meta"]["hostvars"]["ssh-0"]
    assert (found["ansible_host"], found["ansible_port"], found["ansible_user"]) == ("192.0.2.1", 2222, "ada")
    assert found["dbmod_restart_command"] == ["systemctl", "restart", "redis"]
    assert found["dbmod_facts"]["home"] == "/var/lib/dbmod"
    known_hosts = Path(found["dbmod_known_hosts"])
    assert known_hosts.read_text() == f"{source.site.instance('ssh-0').id} {KEY}\n"


def test_awx_finds_the_plugin_beside_the_inventory_without_our_configuration(source: Source) -> None:
    empty = source.site.directory / "empty.cfg"
    empty.write_text("")
    assert set(source.listed(ANSIBLE_CONFIG=str(empty))["_meta"]["hostvars"]) == {"db-0", "db-1", "db-2", "ssh-0"}


def test_the_project_s_own_dbmod_is_taken_where_none_is_installed(source: Source) -> None:
    version = source.project / "dbmod" / "__init__.py"
    assert len(source.listed(program=BARE)["_meta"]["hostvars"]) == 4
    shutil.move(version.parent, version.parent.with_name("away"))
    try:
        ended = source.run(*SYNC, program=BARE)
    finally:
        shutil.move(version.parent.with_name("away"), version.parent)
    assert ended.code != 0
    assert f"dbmod is missing in the Python that runs Ansible, {sys.executable}" in ended.err


def test_a_dbmod_of_another_version_does_not_win_silently(source: Source) -> None:
    older = source.site.directory / "older" / "dbmod"
    older.mkdir(parents=True)
    (older / "__init__.py").write_text('__version__ = "0.0.1"\n')
    ended = source.run(*SYNC, PYTHONPATH=str(older.parent))
    assert ended.code != 0
    assert f"{older} is dbmod 0.0.1, and this project's is {dbmod.__version__}" in ended.err


def test_names_that_mean_harm_are_hosts_and_groups_by_their_ids(make_site: Callable[..., Site]) -> None:
    site = make_site()
    cluster = builders.cluster(HOSTILE)
    evil = [
        msgspec.structs.replace(one, name=name, tenant=HOSTILE, region="my db", locality=name, cluster_id=cluster.id)
        for one, name in zip(site.add_hosts(len(EVIL)), EVIL, strict=True)
    ]
    with site.context.store.transaction(holder="test") as tables:
        tables.put(cluster, *evil)
    for kind, name in enumerate((HOSTILE, "my mod", "ü")):
        site.add_module(name, b"message=%d\n" % kind)
    source = Source(site)
    listed = source.listed()
    assert set(listed["_meta"]["hostvars"]) == {one.id for one in evil}
    assert all(VALID.match(name) for name in listed)
    assert set(listed[f"cluster_{cluster.id.replace('-', '_')}"]["hosts"]) == {one.id for one in evil}
    assert not [text for text in ("{", "twin", "my db", "ü") if text in "".join(texts_of(listed))]
    assert not source.canary.exists()


def test_constructed_variables_and_groups_are_made_and_plain(fresh: Source) -> None:
    fresh.configure(
        compose={"endpoint": "dbmod_address ~ ':' ~ (dbmod_port | default(6379))", "absent": "no_such_variable"},
        groups={"by_ssh": "ansible_connection == 'ssh'"},
        keyed_groups=[{"key": "dbmod_datastore_version", "prefix": "redis"}],
    )
    listed = fresh.listed()
    assert listed["_meta"]["hostvars"]["db-0"]["endpoint"] == "127.0.0.1:6379"
    assert "absent" not in listed["_meta"]["hostvars"]["db-0"]
    assert listed["by_ssh"]["hosts"] == ["ssh-0"]
    assert listed["redis_7_0_15"]["hosts"] == ["db-0", "db-1", "db-2", "ssh-0"]
    fresh.configure(compose={"absent": "no_such_variable"}, strict=True)
    ended = fresh.run(*SYNC)
    assert ended.code != 0
    assert "Could not set absent for host db-0" in ended.err


def test_a_template_that_a_composed_variable_results_in_is_never_trusted(fresh: Source) -> None:
    fresh.configure(compose={"sly": "'{' ~ '{ lookup(\"pipe\", \"touch $DBMOD_TEST_CANARY\") }' ~ '}'"})
    sly = fresh.listed()["_meta"]["hostvars"]["db-0"]["sly"]
    assert sly == {"__ansible_unsafe": '{{ lookup("pipe", "touch $DBMOD_TEST_CANARY") }}'}
    assert not fresh.canary.exists()


def test_a_cached_inventory_is_used_until_the_ledger_changes(fresh: Source) -> None:
    places = fresh.site.directory / "cache"
    fresh.configure(cache=True, cache_plugin="jsonfile", cache_connection=str(places))
    first = fresh.listed()
    [file] = places.iterdir()
    file.write_text(file.read_text().replace("192.0.2.1", "192.0.2.2"))
    assert fresh.listed()["_meta"]["hostvars"]["ssh-0"]["ansible_host"] == "192.0.2.2"  # so it was read
    assert fresh.listed(*SYNC, "--flush-cache") == first
    file.write_text(file.read_text().replace("192.0.2.1", "192.0.2.2"))
    fresh.site.add_module("another", b"message=1\n")
    assert fresh.listed()["_meta"] == first["_meta"]
    file.write_text(file.read_text().replace("known_hosts", "unknown"))
    assert fresh.listed()["_meta"] == first["_meta"]


def test_a_ledger_that_cannot_be_read_is_an_error_and_no_empty_fleet(source: Source) -> None:
    damaged = source.site.directory / "damaged"
    shutil.copytree(source.site.home, damaged)
    (damaged / "ledger" / "HEAD").write_text("x")
    ended = source.run("--list", DBMOD_HOME=str(damaged), ANSIBLE_INVENTORY_UNPARSED_FAILED="")
    assert ended.code != 0
    assert f"{damaged}/ledger/HEAD is damaged" in ended.err
    assert "Traceback" not in ended.said


def test_a_play_is_limited_to_the_hosts_that_are_behind(source: Source) -> None:
    site = source.site
    given = ("-e", "all_instances=true", "-e", "modules=my-mod", "--limit", "module_my_mod_outdated", "--check")
    played = site.playbook("module_apply", *given)
    assert played.code == 0, played.said
    assert site.states(site.last_run()) == {"db-1": "skipped", "db-2": "skipped"}


def test_a_group_of_another_inventory_that_bears_a_host_s_name_gets_nothing_of_it(source: Source) -> None:
    other = source.site.directory / "other.ini"
    other.write_text("[db-0]\nstranger\n")
    listed = source.listed("-i", str(other), "-i", "inventory/dbmod.yml", "--list", "--export")
    assert "stranger" not in listed["_meta"]["hostvars"]
    assert listed["_meta"]["hostvars"]["db-0"]["dbmod_id"] == source.site.instance("db-0").id


def texts_of(value: Any) -> Iterator[str]:
    """Give every key and text of a listing."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from texts_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_of(one)
    elif isinstance(value, str):
        yield value
