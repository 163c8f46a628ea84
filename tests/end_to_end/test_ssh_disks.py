"""Promise R23: a disk that is full, read-only or out of inodes leaves the old contents, and says what is missing."""

import json
import os
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dbmod.records import Instance, Module, Row
from tests import figures
from tests.beds.bed import Bed
from tests.beds.hosts import Host
from tests.end_to_end.sites import HOST_HOME, Site

pytestmark = pytest.mark.root
SEED = 20170602
KIB, MIB = 1 << 10, 1 << 20
DISK_BYTES = 2 * MIB
CONTENTS_BYTES = 400_000
RESERVED_BYTES = 16 * KIB  # for result.json, taken before the contents
NEEDED_BYTES = CONTENTS_BYTES + RESERVED_BYTES
MOST_LEFT_BYTES = NEEDED_BYTES - 8 * KIB  # more, and rounding to pages might let the copy fit
HOSTS, ROUNDS, FEW = 20, 5, 6
HOME = f"/{HOST_HOME}"
NO_INODE = re.compile(rf"no room for the contents \(no free inode in {HOME}; needs {NEEDED_BYTES} bytes, has (\d+)\)")
NO_ROOM = re.compile(rf"no room for the contents \(needs {NEEDED_BYTES} bytes in {HOME}, has (\d+)\)")


@pytest.fixture(scope="module")
def machines(bed: Bed) -> Iterator[list[Host]]:
    with bed.borrow_hosts() as hosts:
        yield hosts.take(HOSTS)


@pytest.fixture
def disks(machines: list[Host], site: Site, request: pytest.FixtureRequest) -> Iterator["Disks"]:
    """As many hosts as the test's parameter says."""
    made = Disks(site, machines[: request.param])
    yield made
    assert site.problems() == []  # before the disks, and what is on them, go away
    site.broken |= set(made.machines)
    for machine in made.machines.values():
        machine.run("umount", HOME)


def inside(machine: Host) -> Path:
    return Path(f"/proc/{machine.init()}/root{HOME}")


def free_bytes(machine: Host) -> int:
    status = os.statvfs(inside(machine))
    return status.f_bavail * status.f_frsize


class Disks:
    """Hosts whose home of dbmod is on a small disk of its own, and that hold the first version of a module."""

    def __init__(self, site: Site, machines: list[Host]) -> None:
        self.site = site
        self.chance = random.Random(SEED)
        for machine in machines:
            machine.small_disk(HOME, size_bytes=DISK_BYTES)
        self.machines = {one.name: machine for one, machine in zip(site.add_machines(machines), machines, strict=True)}
        for one in site.find(Instance):  # the disk is seen from inside alone
            site.homes[one.id] = inside(self.machines[one.name])
        self.module = site.add_module("mymod", self.contents(), kind="blob")
        site.well("module-apply", "--all", "--module", "mymod")

    def contents(self) -> bytes:
        return self.chance.randbytes(CONTENTS_BYTES)

    def messages(self) -> dict[str, str]:
        """Give what the last run's attempts say: instance → state: message."""
        names = {one.id: one.name for one in self.site.find(Instance)}
        attempts = self.site.attempts(self.site.last_run())
        return {names[one.instance_id]: f"{one.state}: {one.message}" for one in attempts}

    def files(self, name: str) -> list[str]:
        folder = self.site.folder(self.site.instance(name), self.module)
        return sorted(path.name for path in folder.iterdir())

    def is_as_before(self, name: str, first: Module) -> bool:
        """Tell whether a host holds the first contents, whole, and nothing besides them and their result."""
        held = self.site.held(self.site.instance(name), self.module)
        return held.sha256 == first.current.sha256 and self.files(name) == ["contents.dat", "result.json"]


@pytest.mark.nightly
@pytest.mark.parametrize("disks", [HOSTS], indirect=True)
def test_a_full_disk_leaves_the_old_contents(disks: Disks) -> None:
    """Full before the copy, or in its middle: each host has another number of bytes left in every round."""
    site = disks.site
    first = site.module("mymod")
    site.update_module("mymod", disks.contents())
    trials = 0
    for _ in range(ROUNDS):
        with ExitStack() as filled:
            for machine in disks.machines.values():
                left = disks.chance.choice((0, disks.chance.randrange(MOST_LEFT_BYTES)))
                filled.enter_context(machine.filled(HOME, leave_bytes=left))
            ended = site.dbmod("module-apply", "--all", "--module", "mymod")
        assert ended.code == 1, ended.said
        for name, message in disks.messages().items():
            found = NO_ROOM.fullmatch(message.removeprefix("error: "))
            assert found, message
            assert int(found[1]) < NEEDED_BYTES
            assert disks.is_as_before(name, first), name
            trials += 1
    assert {row.held for row in site.find(Row)} == {1}
    site.well("module-apply", "--all", "--module", "mymod")
    assert {row.held for row in site.find(Row)} == {2}
    text = f"{trials} of {trials} full disks (0 to {MOST_LEFT_BYTES} bytes left, {NEEDED_BYTES} needed, seed {SEED})"
    figures.figure("R23", f"{text}: old contents whole, nothing else left, needed and free bytes said")


FILLER = '''"""Fills the disk that its instance is on."""
from ansible.module_utils import dbmod_kit as kit

DECLARES = kit.Declares()


def validate(contents):
    pass


def apply(contents, host):
    try:
        with open(host.directory + "/filling", "wb") as file:
            while True:
                file.write(bytes(4096))
    except OSError as error:
        raise kit.Refused(error.strerror)


def remove(contents, host):
    return kit.Outcome(changed=False, message="")


if __name__ == "__main__":
    kit.main(validate, apply, remove)
'''


@pytest.mark.parametrize("disks", [FEW], indirect=True)
def test_a_disk_that_gets_full_after_the_copy_still_takes_the_result(disks: Disks) -> None:
    """The type itself fills it: the host has a result of its own that says so, and the new contents, whole."""
    site = disks.site
    (site.types / "dbmod_filler.py").write_text(FILLER)
    module = site.add_module("filler", disks.contents(), kind="filler")
    assert site.dbmod("module-apply", "--all", "--module", "filler").code == 1
    assert set(disks.messages().values()) == {"error: No space left on device"}
    for name, machine in disks.machines.items():
        held = site.held(site.instance(name), module)
        assert free_bytes(machine) < RESERVED_BYTES
        assert held.sha256 == module.current.sha256
        assert held.evidence is not None
        assert held.evidence["message"] == "No space left on device"
    figures.figure("R23", f"disk full after the copy: {FEW} of {FEW} have their result, contents whole")


@pytest.mark.parametrize("disks", [FEW], indirect=True)
def test_a_read_only_disk_and_one_without_inodes_leave_the_old_contents(disks: Disks) -> None:
    site = disks.site
    first = site.module("mymod")
    site.update_module("mymod", disks.contents())
    half = FEW // 2
    read_only, crowded = list(disks.machines)[:half], list(disks.machines)[half:]
    for name in read_only:
        disks.machines[name].run("mount", "-o", "remount,ro", HOME)
    for name in crowded:
        status = os.statvfs(inside(disks.machines[name]))
        disks.machines[name].run("mount", "-o", f"remount,nr_inodes={status.f_files - status.f_ffree}", HOME)
    assert site.dbmod("module-apply", "--all", "--module", "mymod").code == 1
    seen = disks.messages()
    for name in read_only:
        assert "Read-only file system" in seen[name], seen[name]
        assert disks.is_as_before(name, first)
    for name in crowded:
        assert NO_INODE.fullmatch(seen[name].removeprefix("error: ")), seen[name]
        assert disks.is_as_before(name, first)
    assert site.dbmod("module-query", "--all").code == 0
    figures.figure("R23", f"read-only: {half} of {half}; no free inode: {half} of {half}: named, old contents whole")


def test_hosts_with_a_wrong_clock_are_ordered_by_serial(machines: list[Host], site: Site) -> None:
    """Containers share their clock, so the times that such hosts would have written are written into their results."""
    days = {one.id: shift for one, shift in zip(site.add_machines(machines[:2]), (365, -365), strict=True)}
    module = site.add_module("mymod", b"first", kind="blob")
    site.well("module-apply", "--all", "--module", "mymod")
    old = site.find(Row)
    site.update_module("mymod", b"second")
    site.well("module-apply", "--all", "--module", "mymod")
    told = {}
    for instance in site.find(Instance):
        result = site.folder(instance, module) / "result.json"
        known = told[instance.id] = json.loads(result.read_text())
        for name in ("created", "updated"):
            moment = datetime.fromisoformat(known[name]) + timedelta(days=days[instance.id])
            known[name] = moment.isoformat()
        result.write_text(json.dumps(known))
    with site.context.store.transaction(holder="test") as tables:
        tables.put(*old)  # as if the ledger had missed the second run
    assert site.dbmod("reconcile", "--all").code in (0, 1)
    for row in site.find(Row):
        known = told[row.instance_id]
        assert (row.held, row.serial, row.updated_at.isoformat()) == (2, known["serial"], known["updated"])
    site.settled = True
    assert site.problems() == []
    site.update_module("mymod", b"third")
    site.well("module-reapply", "mymod")
    assert {(row.held, row.status) for row in site.find(Row)} == {(3, "OK")}
    figures.figure("R23", "results of hosts whose clocks are 365 days ahead and behind: ordered by serial")
