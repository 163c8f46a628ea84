"""Servers that are not what they were: rebuilt behind dbmod's back, with another Python, under FIPS."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dbmod.records import Row
from tests import figures, hosts
from tests.beds.bed import Bed
from tests.beds.hosts import Host, Hosts
from tests.end_to_end import tables
from tests.end_to_end.sites import Site

pytestmark = pytest.mark.root
V1, V2 = b"message=Module.V1\n", b"message=Module.V2\n"
# What OpenSSL in FIPS mode makes of md5: refused, unless it is said not to be for security. Debian has no FIPS
# provider, so the host's own library is changed.
FIPS = """
_md5, _new = md5, new


def md5(*data, usedforsecurity=True):
    if usedforsecurity:
        raise ValueError("[digital envelope routines] unsupported")
    return _md5(*data)


def new(name, *data, usedforsecurity=True):
    if name.lower() == "md5" and usedforsecurity:
        raise ValueError("[digital envelope routines] unsupported")
    return _new(name, *data)
"""


@pytest.fixture(scope="module")
def machines(bed: Bed) -> Iterator[list[Host]]:
    with bed.borrow_hosts() as lent:
        yield lent.take(4)


def standings(site: Site) -> dict[str, str]:
    """Ask the hosts: instance → standing of its only module."""
    asked = site.dbmod("module-query", "--all", "-f", "json")
    return {one["Instance"]: one["Standing"] for one in asked.json()}


def test_a_rebuilt_server_reads_missing_and_reapply_repairs_it(machines: list[Host], site: Site) -> None:
    """Its new host key is refused first; a person who knows of the rebuilding accepts it."""
    fleet = machines[:3]
    site.add_machines(fleet)
    module = site.add_module("mymod", V1)
    site.well("module-apply", "--all", "--module", "mymod")
    assert set(standings(site).values()) == {"current"}
    fleet[1].rebuild()
    refused = site.dbmod("module-query", "db-01")
    assert refused.code == 4, refused.said
    assert "the host key is not the one that is known" in refused.said
    assert "dbmod update db-01 --accept-host-key" in refused.said
    site.well("update", "db-01", "--accept-host-key", "--reason", "rebuilt")
    assert set(site.instance("db-01").host_keys) == set(fleet[1].host_keys)
    queried = site.dbmod("module-query", "db-01")
    assert queried.code == 1, queried.said
    assert standings(site) == {"db-00": "current", "db-01": "missing", "db-02": "current"}
    before = {one.instance_id: one for one in site.find(Row)}
    assert [row["Current"] for row in tables.rows(site.well("module-list-instance", "db-01").out)] == ["False"]
    site.well("module-reapply", "mymod")
    repaired = site.instance("db-01").id
    assert [one.instance_id for one in site.attempts(site.last_run())] == [repaired]  # the two others are current
    assert site.held(site.instance("db-01"), module).sha256 == module.current.sha256
    assert set(standings(site).values()) == {"current"}
    after = {one.instance_id: one for one in site.find(Row)}
    assert after[repaired].created_at == before[repaired].created_at
    figures.figure("R25", "a rebuilt server: key refused, then missing, 1 of 3 reapplied, current again")


@pytest.mark.nightly
def test_hosts_with_each_python_do_all_verbs(machines: list[Host], site: Site) -> None:
    """The host's own python3, then each other that this machine has in its place: 3.6 among them where it is here."""
    [machine] = machines[3:]
    tried = []
    for place in [Path(one) for one in hosts.pythons()]:
        if not place.is_relative_to("/usr"):
            give_python(machine, place)
        tried.append(machine.ssh("/usr/bin/python3", "--version").stdout.split()[1])
        all_verbs(site, machine, name=f"python-{len(tried)}")
    machine.run("ln", "-sf", "python3.11", "/usr/bin/python3")
    missing = "" if any(one.startswith("3.6.") for one in tried) else "; 3.6 is not on this machine: not tried"
    figures.figure("PY", f"a host over SSH with Python {', '.join(tried)} does all verbs{missing}")


def give_python(machine: Host, program: Path) -> None:
    """Copy an interpreter of this machine to the same place of the host, and make it the host's python3."""
    prefix = program.resolve().parents[1]
    inside = machine.root / prefix.relative_to("/")
    left_out = shutil.ignore_patterns("test", "tests", "site-packages", "config-*", "*.a", "idlelib", "ensurepip")
    shutil.copytree(prefix, inside, symlinks=True, ignore=left_out)
    machine.run("chmod", "755", "/root", "/root/.pyenv")
    machine.run("ln", "-sf", str(program.resolve()), "/usr/bin/python3")


def all_verbs(site: Site, machine: Host, *, name: str) -> None:
    """Apply, retrieve, reapply, query, remove on an instance of its own."""
    [instance] = site.add_machines([machine], name=name)
    known = f"{name}-00"
    modules = {
        kind: site.add_module(f"{name}-{kind}", data, kind=kind)
        for kind, data in {"ping": V1, "blob": bytes(range(256))}.items()
    }
    site.well("module-apply", known, *(one.name for one in modules.values()))
    for one in modules.values():
        assert site.held(instance, one).sha256 == one.current.sha256
    site.well("module-retrieve", known, "--directory", str(site.directory / name))
    assert (site.directory / name / f"{name}-blob_all_all.dat").read_bytes() == bytes(range(256))
    site.update_module(f"{name}-ping", V2)
    site.well("module-reapply", f"{name}-ping")
    site.well("module-query", known)
    site.well("module-remove", known, f"{name}-blob")
    assert site.held(instance, modules["blob"]).sha256 == ""


@pytest.mark.nightly
def test_a_host_under_fips_does_all_verbs(machines: list[Host], site: Site) -> None:
    """The host's hashlib refuses md5 as it does under FIPS; dbmod's shipped code and a plain Ansible module work."""
    [machine] = machines[3:]
    library = machine.root / "usr/lib/python3.11/hashlib.py"
    library.write_text(library.read_text() + FIPS)
    refused = machine.run("/usr/bin/python3", "-IS", "-c", "import hashlib; hashlib.md5(b'')", check=False)
    assert "ValueError" in refused.stderr
    all_verbs(site, machine, name="fips")
    inventory = machine.slot.directory / "fips.yml"
    Hosts(machine.slot, iter(())).write_inventory(inventory, [machine], ansible_become=True)
    played = site.ansible("ansible", "-i", str(inventory), "all", "-m", "dbmod_ping", "-a", "contents='message=hello'")
    assert played.code == 0, played.said
    assert "hello" in played.out
    figures.figure("FIPS", "a host whose hashlib refuses md5: all verbs, and dbmod_ping as an Ansible module")
