"""Promise R19: a host that does not answer costs one connect time-out, is `unreachable`, and hinders nobody else."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from dbmod.records import Attempt, Instance
from tests import figures
from tests.beds.bed import Bed
from tests.beds.hosts import Host, Hosts
from tests.end_to_end.sites import Site

pytestmark = pytest.mark.root
BATCH_SIZE = 3
CONNECT_SECONDS = 10  # connect_timeout_seconds
LIMIT_SECONDS = 15  # until a host that does not answer is recorded
CONTENTS = b"message=Module.V1\n"


@pytest.fixture(scope="module")
def lent(bed: Bed) -> Iterator[Hosts]:
    with bed.borrow_hosts() as hosts:
        yield hosts


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """Which hosts of a run are dead, and how.

    faults  position of the host in the run → what is done to it
    """

    name: str
    count: int
    faults: dict[int, Callable[[Host], None]]

    def dead_batches(self) -> int:
        return len({position // BATCH_SIZE for position in self.faults})


CASES = (
    Case(name="first batch, one frozen", count=6, faults={1: Host.freeze}),
    Case(name="middle batch, one without network", count=9, faults={4: Host.cut_network}),
    Case(name="last batch, one that refuses ssh", count=6, faults={5: Host.stop_ssh}),
    Case(name="a whole batch", count=9, faults={3: Host.freeze, 4: Host.drop_packets, 5: Host.stop_ssh}),
)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    code: int
    seconds: float
    states: dict[str, str]
    longest_seconds: float  # of a batch


def test_dead_hosts_in_any_batch_are_unreachable_and_all_others_are_served(
    lent: Hosts, make_site: Callable[..., Site]
) -> None:
    """All four cases at the same time, each with a site and hosts of its own; their time is mostly waiting."""
    machines = {case.name: lent.take(case.count) for case in CASES}
    sites = {case.name: make_site() for case in CASES}
    for case in CASES:
        sites[case.name].add_machines(machines[case.name])
        sites[case.name].add_module("mymod", CONTENTS)
    with ThreadPoolExecutor(len(CASES)) as pool:
        alive = list(pool.map(lambda case: apply(sites[case.name]), CASES))
        for case in CASES:
            break_hosts(case, machines[case.name])
            sites[case.name].update_module("mymod", b"message=Module.V2\n")
        dead = list(pool.map(lambda case: apply(sites[case.name]), CASES))
    for case, whole, broken in zip(CASES, alive, dead, strict=True):
        assert (whole.code, set(whole.states.values())) == (0, {"ok"}), case.name
        expected = ["unreachable" if number in case.faults else "ok" for number in range(case.count)]
        assert list(broken.states.values()) == expected, case.name
        assert broken.code == 1
        assert broken.longest_seconds <= LIMIT_SECONDS
        extra = broken.seconds - whole.seconds
        assert extra <= case.dead_batches() * LIMIT_SECONDS, case.name
        text = f"{case.name}: {len(case.faults)} of {case.count} unreachable, the others ok"
        figures.figure("R19", f"{text}; {whole.seconds:.1f} s alive, {broken.seconds:.1f} s so")
        assert sites[case.name].find(Attempt, state="planned") == []
    figures.figure("R19b", f"0 attempts planned after {len(CASES)} runs with dead hosts in batches of {BATCH_SIZE}")
    for case in CASES:
        lent.give_back(*(machines[case.name][number] for number in case.faults))
        sites[case.name].broken |= {f"db-{number:02}" for number in case.faults}


def break_hosts(case: Case, machines: Sequence[Host]) -> None:
    for position, fault in case.faults.items():
        fault(machines[position])


def apply(site: Site) -> Seen:
    begun = time.monotonic()
    words = ("--batch_size", str(BATCH_SIZE), "--delay", "0")
    ended = site.dbmod("module-apply", "--all", "--module", "mymod", *words)
    seconds = time.monotonic() - begun
    attempts = site.attempts(site.last_run())
    return Seen(
        code=ended.code,
        seconds=seconds,
        states=site.states(site.last_run()),
        longest_seconds=max(seconds_of(one) for one in attempts),
    )


def seconds_of(attempt: Attempt) -> float:
    assert attempt.started_at and attempt.ended_at
    return (attempt.ended_at - attempt.started_at).total_seconds()


CAUSES = {
    "db-00": "the connection was refused; next: is ssh running there, on this port?",
    "db-01": "no answer in time; next: is it up, and does a firewall stand between?",
    "db-02": "no answer in time; next: is it up, and does a firewall stand between?",
    "db-03": "its name does not resolve; next: check its address",
}


@pytest.fixture(scope="module")
def troubled(lent: Hosts) -> list[Host]:
    """Refused, black hole, frozen; the fourth is well, and so is the fifth."""
    machines = lent.take(5)
    machines[0].stop_ssh()
    machines[1].drop_packets()
    machines[2].freeze()
    return machines


@pytest.fixture
def site_of_troubled(troubled: list[Host], site: Site) -> Site:
    """A site of these hosts; the fourth is known by a name that nobody knows."""
    instances = site.add_machines(troubled)
    with site.context.store.transaction(holder="test") as tables:
        tables.put(msgspec.structs.replace(instances[3], address="db-03.invalid"))
    site.add_module("mymod", CONTENTS)
    return site


def test_each_cause_is_named_and_what_to_do(site_of_troubled: Site) -> None:
    """One dead host in a batch does not keep others from being applied, and nothing was written where it was dead."""
    site = site_of_troubled
    ended = site.dbmod("module-apply", "--all", "--module", "mymod")
    assert ended.code == 1, ended.said
    run = site.last_run()
    assert site.states(run) == {**dict.fromkeys(CAUSES, "unreachable"), "db-04": "ok"}
    messages = {name: one.message for name, one in by_name(site).items()}
    assert messages == {**CAUSES, "db-04": "Module.V1"}
    longest = max(seconds_of(one) for one in site.attempts(run))
    assert CONNECT_SECONDS <= longest <= LIMIT_SECONDS
    module = site.module("mymod")
    for name, cause in CAUSES.items():
        assert site.held(site.instance(name), module).evidence is None
        assert cause in ended.out
    listed = site.well("module-instances", "mymod", "-f", "json").json()
    assert [one["Name"] for one in listed] == ["db-04"]
    figures.figure(
        "R19", f"refused, black hole, frozen, unknown name: each cause named, {longest:.1f} s for all together"
    )


def test_exit_is_4_where_no_host_was_reached(site_of_troubled: Site) -> None:
    site = site_of_troubled
    ended = site.dbmod("module-apply", "--limit", "db-00,db-03", "--module", "mymod")
    assert ended.code == 4, ended.said
    assert set(site.states(site.last_run()).values()) == {"unreachable"}
    assert site.dbmod("module-query", "db-00").code == 4
    assert site.find(Attempt, state="planned") == []


def test_unreachable_hosts_spend_no_error_budget(site_of_troubled: Site) -> None:
    """The budget is for modules that fail where they ran: the batches after a dead host's go on without one."""
    site = site_of_troubled
    words = ("--limit", "db-00,db-04,db-03", "--module", "mymod", "--batch_size", "1", "--delay", "0")
    assert site.dbmod("module-apply", *words, "--max_errors", "0").code == 1
    assert site.states(site.last_run()) == {"db-00": "unreachable", "db-03": "unreachable", "db-04": "ok"}


def by_name(site: Site) -> dict[str, Attempt]:
    names = {one.id: one.name for one in site.find(Instance)}
    return {names[one.instance_id]: one for one in site.attempts(site.last_run())}
