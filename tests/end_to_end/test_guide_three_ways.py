"""The guide on one fleet of SSH hosts, told three ways: by the command, by ansible-playbook, by AWX with PostgreSQL.

The three ledgers say the same, but for ids, times and who did it. First contact is the command's: it adopts the hosts.
`make guide-three-ways` runs it alone.
"""

import difflib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from dbmod import demo, vault
from dbmod.records import Attempt, Cluster, Instance, Module, Row, Run
from tests.beds.hosts import Host, Hosts
from tests.end_to_end.awx_shape import Controller
from tests.end_to_end.conftest import MakeSite
from tests.end_to_end.sites import HOST_HOME, Site
from tests.postgresql import Server

pytestmark = [pytest.mark.root, pytest.mark.nightly, pytest.mark.timeout(900)]
SERVERS = {"myinst": "mariadb", "myinst_2": "redis-server"}
MEMBERS = ("myclust-member-1", "myclust-member-2", "myclust-member-3")
KINDS = (Module, Instance, Cluster, Row, Run, Attempt)
# What is another in each ledger, whatever is done.
IDENTITIES = ("actor", "author", "host_keys", "machine", "owner")
TIMES = ("created", "updated", "removed")
PLACES = ("batch", "position")  # of an attempt: those longest untouched come first, and some were done at one time

Do = Callable[..., None]


@pytest.fixture
def hosts(ssh_hosts: Hosts) -> list[Host]:
    return ssh_hosts.take(len(SERVERS) + len(MEMBERS))


def test_three_launchers_write_one_ledger(
    hosts: list[Host], ssh_hosts: Hosts, make_site: MakeSite, postgresql: Server, figure: Callable[[str, str], None]
) -> None:
    address = postgresql.address(postgresql.database())
    told: dict[str, list[str]] = {}
    sites: list[Site] = []
    for way, launcher, environment in (
        ("dbmod", by_command, {}),
        ("ansible-playbook", by_ansible, {}),
        ("AWX", by_awx, {"DBMOD_LEDGER": address, "DBMOD_ADMIN": "true"}),
    ):
        site = make_site(**environment)
        if environment:
            vault.write_key_file(site.settings, [vault.new_key()])
        for earlier in sites:  # the checker has looked at what they hold, below; now they are rebuilt
            earlier.broken |= {*SERVERS, *MEMBERS}
        for host in hosts:
            host.rebuild()
        sites.append(site)
        inventory = adopt(site, hosts, ssh_hosts)
        tell(site, launcher(site, inventory))
        assert site.problems() == []
        told[way] = exported(site)
        figure("THREE WAYS", f"{way}: {len(told[way])} lines of the ledger, {len(site.find(Run))} runs")
    first, *others = told.values()
    for way, other in zip(list(told)[1:], others, strict=True):
        assert "\n".join(difflib.unified_diff(first, other, "dbmod", way, lineterm="", n=0)) == ""


def tell(site: Site, do: Do) -> None:
    """Tell the guide's steps that reach hosts, in its order. A module's versions come from the team's file."""
    sync = Declared(site.directory / "team", do)
    sync(1, datastore="mysql")
    do("module_apply", instance="myinst", modules="mymod")
    do("module_query", instance="myinst")
    sync(2)
    do("module_apply", cluster="myclust", modules="mymod")
    sync(3)
    do("module_apply", instance=MEMBERS[1], modules="mymod")
    do("module_apply", instance="myinst_2", modules="mymod")
    sync(4)
    do("module_reapply", module="mymod", md5=demo.THIRD_MD5, include_clustered="true")
    do("module_reapply", module="mymod", md5=demo.FOURTH_MD5, include_clustered="true", force="true")
    do("module_reapply", module="mymod", include_clustered="true", batch_size=1, delay=1)
    do("module_retrieve", instance="myinst", directory=str(site.directory / "retrieved"))
    do("module_remove", instance="myinst_2", module="mymod")
    [file] = (site.directory / "retrieved").iterdir()
    assert file.read_bytes() == b"message=Module.V4\n"
    [module] = site.find(Module)
    assert [one.md5 for one in module.versions] == [demo.FIRST_MD5, demo.SECOND_MD5, demo.THIRD_MD5, demo.FOURTH_MD5]
    held = {one.instance_id: one.held for one in site.find(Row)}
    assert {one.name: held[one.id] for one in site.find(Instance)} == dict.fromkeys((*SERVERS, *MEMBERS), 4) | {
        "myinst_2": None
    }


class Declared:
    """The team's file in its git, which is changed, committed and registered again and again."""

    def __init__(self, directory: Path, do: Do) -> None:
        self.directory = directory
        self.do = do
        directory.mkdir()
        self._git("init", "--quiet")

    def __call__(self, version: int, **bound: str) -> None:
        (self.directory / "ping.dat").write_text(f"message=Module.V{version}\n")
        declared = {"name": "mymod", "type": "ping", "contents": "ping.dat", "live_update": True, **bound}
        (self.directory / "modules.yml").write_text(yaml.safe_dump({"name": "guide", "modules": [declared]}))
        self._git("add", "--all")
        self._git("commit", "--quiet", f"--message=Version {version}")
        self.do("module_sync", file=str(self.directory / "modules.yml"))

    def _git(self, *words: str) -> None:
        """Run git so that the same commits have the same ids."""
        somebody = ("-c", "user.name=team", "-c", "user.email=team@example.org")
        dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-11-25T12:00:00Z")
        subprocess.run(["git", *somebody, *words], cwd=self.directory, env=os.environ | dates, check=True)


def adopt(site: Site, hosts: Sequence[Host], lent: Hosts) -> Path:
    """Start the servers, and take the hosts of the user's inventory into the fleet."""
    names = dict(zip((*SERVERS, *MEMBERS), hosts, strict=True))
    path = lent.write_inventory(site.directory / "hosts.yml", hosts, ansible_become=True)
    group = yaml.safe_load(path.read_text())["all"]["children"]["hosts"]
    known = {name: {"ansible_host": host.address} for name, host in names.items()}
    members = {"hosts": {name: {"shard": "myclust"} for name in MEMBERS}}
    groups = {"mysql": {"hosts": {"myinst": {}}}, "redis": {"hosts": {"myinst_2": {}}}, "shards": members}
    path.write_text(yaml.safe_dump({"all": {"hosts": known, "vars": group["vars"], "children": groups}}))
    for name, host in names.items():
        host.run("systemctl", "start", SERVERS.get(name, "redis-server"))
    for pattern, datastore, *words in (
        ("mysql", "mysql"),
        ("redis", "redis"),
        ("shards", "redis", "--cluster-by", "shard"),
    ):
        site.well("adopt", "--inventory", str(path), "--group", pattern, "--datastore", datastore, *words)
    for one in site.find(Instance):
        site.homes[one.id] = names[one.name].root / HOST_HOME
    return path


def by_command(site: Site, inventory: Path) -> Do:
    del inventory

    def do(playbook: str, **given: object) -> None:
        words = [playbook.replace("_", "-"), *(str(given.pop(name)) for name in ("file", "instance") if name in given)]
        words += [str(given.pop("module"))] if "module" in given else []
        several = "cluster" in given
        modules = str(given.pop("modules")).split(",") if "modules" in given else []
        words += [word for name in modules for word in (("--module", name) if several else (name,))]
        for name, value in given.items():
            words += [f"--{name}"] if value == "true" else [f"--{name}", str(value)]
        site.well(*words)

    return do


def by_ansible(site: Site, inventory: Path) -> Do:
    def do(playbook: str, **given: object) -> None:
        words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
        ended = site.playbook(playbook, "-i", str(inventory), "-i", "inventory/dbmod.yml", *words)
        assert ended.code == 0, ended.said

    return do


def by_awx(site: Site, inventory: Path) -> Do:
    controller = Controller(site, sources=[inventory])

    def do(playbook: str, **given: object) -> None:
        job = controller.launch(f"dbmod {playbook}", given)
        assert job.code == 0, job.out

    return do


def exported(site: Site) -> list[str]:
    """Write the whole ledger, a line for each field of each record; what is another in each has a name instead."""
    tables = site.context.store.snapshot()
    found = {kind: tables.find(kind) for kind in KINDS}
    runs = sorted(tables.find(Run), key=lambda one: one.serial)
    names = {one.id: one.name for kind in (Module, Instance, Cluster) for one in tables.find(kind)}
    names |= {one.id: f"run {number}" for number, one in enumerate(runs)}
    serials = {one.serial: f"run {number}" for number, one in enumerate(runs)}
    named = [
        (kind.table, _named(msgspec.to_builtins(one), names, serials, str(site.directory)))
        for kind, records in found.items()
        for one in records
    ]
    return sorted(line for table, record in named for line in _lines(f"{table} {_place(record)}", record))


def _named(value: Any, names: Mapping[str, str], serials: Mapping[int, str], directory: str) -> Any:
    if isinstance(value, dict):
        return {
            names.get(key, key): serials.get(one, one) if key == "serial" else _named(one, names, serials, directory)
            for key, one in value.items()
            if key not in (*IDENTITIES, *TIMES, *PLACES) and not key.endswith("_at")
        }
    if isinstance(value, (list, tuple)):
        return [_named(one, names, serials, directory) for one in value]
    if isinstance(value, str):
        for identifier, name in names.items():
            value = value.replace(identifier, name)
        return value.replace(directory, "<site>")
    return value


def _place(record: Mapping[str, Any]) -> str:
    """Say which record it is, by what is the same in every ledger."""
    return " ".join(str(record[key]) for key in ("run_id", "module_id", "instance_id", "id") if record.get(key))


def _lines(place: str, record: Mapping[str, Any]) -> Iterator[str]:
    for key, value in sorted(record.items()):
        yield f"{place}: {key} = {value}"
