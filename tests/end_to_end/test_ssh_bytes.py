"""Promises R10 and R8 over SSH, as an ordinary user with sudo: bytes arrive as they are, the controller stays small."""

import hashlib
import json
import random
from collections.abc import Iterator

import pytest

from tests import figures
from tests.beds.bed import Bed
from tests.beds.hosts import Host
from tests.end_to_end.memory import Watch
from tests.end_to_end.sites import Site
from tests.end_to_end.test_bytes import MATRIX, MIB, SEED

pytestmark = pytest.mark.root
LARGE_MIB = 64
PIPELINING = {
    "with pipelining": {},
    "without pipelining": {
        "ANSIBLE_PIPELINING": "False",
        "DBMOD_ENVIRONMENT_PASSED": json.dumps(["ANSIBLE_PIPELINING"]),
    },
}


@pytest.fixture(scope="module")
def machines(bed: Bed) -> Iterator[list[Host]]:
    with bed.borrow_hosts() as hosts:
        yield hosts.take(2)


@pytest.mark.parametrize("how", PIPELINING)
def test_bytes_arrive_as_they_are_and_come_back(machines: list[Host], site: Site, how: str) -> None:
    """All of the matrix on one host: by the command, and by the plain playbook once more."""
    [instance] = site.add_machines(machines[:1])
    site.environment |= PIPELINING[how]
    names = []
    for contents in MATRIX.values():
        names.append(f"module-{len(names)}")
        site.add_module(names[-1], contents, kind="blob")
    site.well("module-apply", "db-00", *names)
    site.well("module-retrieve", "db-00", "--directory", str(site.directory / "got"))
    for name, (label, contents) in zip(names, MATRIX.items(), strict=True):
        digest = hashlib.sha256(contents).hexdigest()
        assert site.held(instance, site.module(name)).sha256 == digest, label
        assert hashlib.sha256((site.directory / "got" / f"{name}_all_all.dat").read_bytes()).hexdigest() == digest, (
            label
        )
    played = site.playbook("module_apply", "-e", "instance=db-00", "-e", f"modules={','.join(names)}")
    assert played.code == 0, played.said
    assert "changed=0" in played.out
    assert not list((machines[0].root / "home/debian").glob(".ansible/tmp/*"))
    text = f"{len(MATRIX)} of {len(MATRIX)} contents over SSH as a user with sudo {how}: same sha256 there and back"
    figures.figure("R10", f"{text}; applied again by ansible-playbook: changed=0")


@pytest.mark.nightly
def test_the_largest_contents_keep_the_controller_small(machines: list[Host], site: Site) -> None:
    site.environment |= {"DBMOD_CONTENTS_LIMIT_BYTES": str(LARGE_MIB * MIB)}
    instances = site.add_machines(machines)
    contents = random.Random(SEED).randbytes(LARGE_MIB * MIB)
    module = site.add_module("large", contents, kind="blob")
    commands = {
        "module-apply": (("--all", "--module", "large"), 3 * len(instances)),
        "module-retrieve": (("db-00", "--directory", str(site.directory / "got")), 6),
    }  # MiB allowed for each MiB of contents; Ansible copies what a host gives, as base64, three times
    for verb, (words, factor) in commands.items():
        limit_mib = 100 + factor * LARGE_MIB
        with Watch(site.home) as watch:
            site.well(verb, *words)
        seen_mib = watch.peak_bytes // MIB
        text = f"{verb} of {LARGE_MIB} MiB over SSH, {len(instances)} hosts: controller peak {seen_mib} MiB"
        figures.figure("R10", f"{text}, limit 100 + {factor} x {LARGE_MIB} ({watch.samples} samples)")
        assert watch.samples > 5
        assert seen_mib <= limit_mib
    assert {site.held(one, module).sha256 for one in instances} == {module.current.sha256}
    assert (site.directory / "got" / "large_all_all.dat").read_bytes() == contents
