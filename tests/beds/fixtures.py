"""Fixtures of the beds. What the collected tests need is started at once, beside the tests that need no bed; at the
end nothing of it is left.
"""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from tests import figures
from tests.beds import cache, slots
from tests.beds.bed import Bed
from tests.beds.cloud import Cloud
from tests.beds.hosts import Hosts

BED = pytest.StashKey[Bed]()
GRACE_SECONDS = 5  # in which the cloud may finish what a test has ended
TIMEOUT_SECONDS = 600  # the first test on a fresh machine waits until the beds are built


@pytest.hookimpl(tryfirst=True)  # before `-m` reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in ("bed", "cloud"):
            if name in _fixtures(item):
                item.add_marker(name)
        if item.get_closest_marker("cloud"):
            item.add_marker("bed")
        if item.get_closest_marker("bed"):
            item.add_marker("patient")
            if not item.get_closest_marker("timeout"):
                item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what the tests need at once, unless several processes share them."""
    needed = {mark for item in session.items for mark in ("bed", "cloud") if item.get_closest_marker(mark)}
    is_shared = hasattr(session.config, "workerinput") or session.config.getoption("dist", "no") != "no"
    if "bed" not in needed or session.config.option.collectonly or os.geteuid() != 0 or is_shared:
        return
    session.config.stash[BED] = bed = Bed()
    if "cloud" in needed:
        bed.start_cloud()
    else:
        threading.Thread(target=cache.images, name="images", daemon=True).start()


@pytest.fixture(scope="session")
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """The bed of this run."""
    if os.geteuid() != 0:
        pytest.fail("the test beds need root; without: pytest -m 'not root'")
    if BED not in request.config.stash:
        request.config.stash[BED] = Bed()
    bed = request.config.stash[BED]
    yield bed
    left = bed.left_in_cloud()
    _close(request.config)
    assert not left, f"the tests left in the cloud: {left}"
    afterwards = "0 servers, volumes, ports, keypairs, namespaces, mounts, loop devices, processes left"
    figures.figure("BEDS", _cloud_time(bed) + afterwards)


@pytest.fixture
def ssh_hosts(bed: Bed) -> Iterator[Hosts]:
    """Fresh SSH hosts, as many as the test takes; they are thrown away at its end."""
    with bed.borrow_hosts() as lent:
        yield lent


@pytest.fixture
def cloud(bed: Bed) -> Iterator[Cloud]:
    """The cloud of this run; a test that leaves anything in it fails, and the rest is removed."""
    before = bed.cloud.resources()
    yield bed.cloud
    deadline = time.monotonic() + GRACE_SECONDS
    while left := {name: what for name, what in bed.cloud.resources().items() if name not in before}:
        if time.monotonic() > deadline:
            bed.cloud.remove(left)
            pytest.fail(f"the test left in the cloud: {left}")
        time.sleep(0.3)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Close a bed that no test came to use."""
    _close(session.config)


def _fixtures(item: pytest.Item) -> list[str]:
    names: list[str] = getattr(item, "fixturenames", [])
    return names


def _close(config: pytest.Config) -> None:
    """Close the bed once; raises if anything of it stays on this machine."""
    bed = config.stash.get(BED, None)
    if bed:
        del config.stash[BED]
        bed.close()
        left = slots.leftovers(bed.slot)
        assert not left, left


def _cloud_time(bed: Bed) -> str:
    return f"cloud started in {bed.cloud_seconds:.0f} s; " if bed.cloud_seconds else ""
