"""Ten servers made at once against one, in the cloud of tests/beds, and where the time goes. Needs root.

python -m tests.bench.openstack_create [MEMBERS]
"""

import contextlib
import os
import sys
import tempfile
import time
from collections import defaultdict

import msgspec

from dbmod import building, config, errors, fleet, identity, providers, runner, store
from dbmod.building import Member, NewCluster, NewInstance
from dbmod.context import Context
from dbmod.records import Run
from tests.beds.bed import Bed
from tests.local_fleet import Silent

MEMBERS = 10
SHOWN = 8
MEMBER = Member(flavor="15")


class Steps(Silent):
    """Adds up how long each task took, from the first host that began it to the last that was done."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = defaultdict(float)

    def step(self, name: str, task: str, *, done: bool) -> None:
        now = time.monotonic()
        self.begun.setdefault(task, now)
        if done:
            self.ended[task] = max(self.ended[task], now)

    def slowest(self) -> list[tuple[float, str]]:
        spans = [(ended - self.begun[task], task) for task, ended in self.ended.items()]
        return sorted(spans, reverse=True)[:SHOWN]


def main(members: int) -> None:
    with contextlib.closing(Bed()) as bed, tempfile.TemporaryDirectory() as home:
        os.environ |= bed.cloud.environment | {"DBMOD_HOME": home, "DBMOD_PROVIDER": "openstack"}
        settings = config.load().settings
        here = Context(store=store.open(settings), settings=settings, actor=identity.current(settings))
        version = providers.check_version(settings, "openstack", "redis", None)
        one = _timed(here, "one", NewInstance(name="one", member=MEMBER, datastore="redis"))
        _carry_out(here, fleet.plan_delete(here, "one")[1], Steps())  # a project may have ten servers, as clouds come
        several = _timed(
            here,
            f"{members} at once, a cluster",
            NewCluster(name="ten", datastore="redis", datastore_version=version, members=(MEMBER,) * members),
        )
        print(f"  ratio {several / one:.1f}")
        _carry_out(here, fleet.plan_cluster_delete(here, "ten")[1], Steps())


def _timed(here: Context, label: str, request: NewInstance | NewCluster) -> float:
    steps = Steps()
    began = time.monotonic()
    single = isinstance(request, NewInstance)
    planned = building.plan_create(here, request) if single else building.plan_cluster_create(here, request)
    _carry_out(here, planned[1], steps)
    seconds = time.monotonic() - began
    print(f"  {label}: {seconds:.0f} s; the longest steps, from the first host's begin to the last one's end:")
    for span, task in steps.slowest():
        print(f"    {span:6.1f} s  {task}")
    return seconds


def _carry_out(here: Context, run: Run, steps: Steps) -> None:
    closed = runner.carry_out(here, run, progress=steps)
    if closed.state != "done":
        raise errors.Failed(f"the run ended {closed.state}: {msgspec.json.encode(closed).decode()}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MEMBERS)
