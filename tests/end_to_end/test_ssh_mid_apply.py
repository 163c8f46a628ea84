"""Promise R20: a host that dies in mid-apply holds old or new contents, whole, and reconcile settles it."""

import contextlib
import fcntl
import functools
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from dbmod import failpoints as points
from dbmod.records import Attempt, Run
from tests import figures
from tests.beds.bed import Bed
from tests.beds.hosts import Host
from tests.beds.machines import wait_until
from tests.end_to_end.sites import Site, finish
from tests.faults import failpoints

pytestmark = pytest.mark.root
Way = Callable[[Host], AbstractContextManager[None]]
SEED = 20170602
TRAP = "var/tmp/dbmod-trap"
CONTENTS_BYTES = 300_000
WORK_SECONDS = 1
RECOVERY_SECONDS = 60
# Takes a second before it says how many bytes it was given.
WORK = f'''"""Takes {WORK_SECONDS} s."""
import time

from ansible.module_utils import dbmod_kit as kit

DECLARES = kit.Declares()


def validate(contents):
    pass


def apply(contents, host):
    time.sleep({WORK_SECONDS})
    return kit.Outcome(changed=False, message="%d bytes" % len(contents))


def remove(contents, host):
    return kit.Outcome(changed=False, message="")


if __name__ == "__main__":
    kit.main(validate, apply, remove)
'''


# Each is a context: inside it the host is dead, at its end the host is back.
@contextmanager
def session_killed(host: Host) -> Iterator[None]:
    """What the session had started goes on."""
    kill_processes(host, f"sshd: {host.user}".encode())
    yield


@contextmanager
def process_killed(host: Host) -> Iterator[None]:
    """Only dbmod's own process there dies, and those around it that carry its command."""
    kill_processes(host, failpoints.HOST_MARK)
    yield


@contextmanager
def power_cut(host: Host) -> Iterator[None]:
    host.kill()
    yield
    host.supervisor.wait(timeout=RECOVERY_SECONDS)
    host.start()


@contextmanager
def rebooted(host: Host) -> Iterator[None]:
    before = host.init()
    os.kill(before, signal.SIGRTMIN + 5)  # systemd starts reboot.target
    yield
    wait_until(lambda: host.is_running() and host.init() != before, f"{host} boots again", RECOVERY_SECONDS)


@contextmanager
def frozen(host: Host) -> Iterator[None]:
    host.freeze()
    yield
    host.thaw()


@contextmanager
def without_network(host: Host) -> Iterator[None]:
    host.cut_network()
    yield
    host.restore_network()


def kill_processes(host: Host, mark: bytes) -> None:
    """Kill what has the mark in its command line; from outside and without a helper, as moments count."""
    for process in host.processes():
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, signal.SIGKILL)


AT_FAILPOINTS = (session_killed, power_cut, rebooted, frozen)
AT_MOMENTS = (session_killed, process_killed, power_cut, rebooted, frozen, without_network)
HOSTS = len(AT_FAILPOINTS) * len(points.HOST)
MOMENTS = 34  # trials of one round at random moments


class Fleet:
    """Hosts with a site, and what dies on them."""

    def __init__(self, site: Site, machines: Sequence[Host]) -> None:
        self.site = site
        self.machines = dict(zip((one.name for one in site.add_machines(machines)), machines, strict=True))
        self.chance = random.Random(SEED)
        self.pool = ThreadPoolExecutor(len(machines))
        self.contexts = {name: ExitStack() for name in self.machines}
        (site.types / "dbmod_work.py").write_text(WORK)
        site.add_module("mymod", self.contents(1), kind="work")
        site.well("module-apply", "--all", "--module", "mymod")

    def contents(self, number: int) -> bytes:
        return b"%d " % number + self.chance.randbytes(CONTENTS_BYTES)

    def kill(self, name: str, way: Way) -> None:
        self.contexts[name].enter_context(way(self.machines[name]))

    def settle(self) -> None:
        """Let all hosts come back; what they hold is whole, what the ledger says true, before reconcile and after."""
        site, module = self.site, self.site.module("mymod")
        assert site.find(Attempt, state="planned") == []
        list(self.pool.map(lambda name: self.contexts[name].close(), self.machines))
        list(self.pool.map(lambda machine: machine.wait_for_ssh(RECOVERY_SECONDS), self.machines.values()))
        folders = [home / "instances" / instance for instance, home in site.homes.items()]
        wait_until(lambda: all(map(is_free, folders)), "what survived its session ends")
        known = {version.sha256 for version in module.versions}
        held = {name: site.held(site.instance(name), module).sha256 for name in self.machines}
        assert {name: digest for name, digest in held.items() if digest not in known} == {}
        assert site.problems() == []
        assert site.dbmod("reconcile", "--all").code in (0, 1)
        site.settled = True
        assert site.problems() == []
        site.settled = False


def is_free(folder: Path) -> bool:
    """Tell whether nobody holds the lock on an instance's folder; its host's kernel is ours."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@pytest.fixture(scope="module")
def machines(bed: Bed) -> Iterator[list[Host]]:
    with bed.borrow_hosts() as hosts:
        yield hosts.take(MOMENTS)


def test_death_at_each_failpoint_of_the_host(machines: list[Host], site: Site) -> None:
    """A run with four hosts for each failpoint, all at the same time; each of the four dies in another way."""
    fleet = Fleet(site, machines[:HOSTS])
    site.update_module("mymod", fleet.contents(2))
    names, ways = list(fleet.machines), len(AT_FAILPOINTS)
    groups = {point: names[ways * place : ways * (place + 1)] for place, point in enumerate(points.HOST)}

    def trial(point: str) -> list[str]:
        """Give the states of the attempts of one failpoint's run."""
        trap = {points.NAME: point, points.FILE: f"/{TRAP}"}
        words = ("--limit", ",".join(groups[point]), "--reason", point)
        command = site.start("module-apply", *words, "--module", "mymod", **trap)
        for name, way in zip(groups[point], AT_FAILPOINTS, strict=True):
            reached = fleet.machines[name].root / TRAP
            arrived = functools.partial(is_there_or_ended, reached, command)
            wait_until(arrived, f"{name} at {point}", RECOVERY_SECONDS)
            assert reached.exists(), finish(command).said
            fleet.kill(name, way)
        ended = finish(command)
        for name in groups[point]:  # only now: one that reboots still works for a moment
            (fleet.machines[name].root / TRAP).unlink()
        assert ended.code == 1, ended.said
        [run] = site.find(Run, reason=point)
        return list(site.states(run).values())

    with ThreadPoolExecutor(len(groups)) as pool:
        states = [state for found in pool.map(trial, groups) for state in found]
    fleet.settle()
    assert states == ["unknown"] * HOSTS
    how = ", ".join(way.__name__.replace("_", " ") for way in AT_FAILPOINTS)
    text = (
        f"{HOSTS} of {HOSTS} deaths at {len(groups)} failpoints ({how}): unknown, contents whole, settled by reconcile"
    )
    figures.figure("R20", text)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [20])
def test_death_at_random_moments(machines: list[Host], site: Site, rounds: int) -> None:
    """Every host dies while its module works, or where the blow comes late, a little after its end."""
    fleet = Fleet(site, machines)
    states: Counter[str] = Counter()
    for number in range(rounds):
        site.update_module("mymod", fleet.contents(2 + number))
        module = site.module("mymod")
        begun = {name: site.folder(site.instance(name), module) / ".result.json.new" for name in fleet.machines}
        for path in begun.values():
            path.unlink(missing_ok=True)  # of the deaths before
        command = site.start("module-apply", "--all", "--module", "mymod")
        deaths = []
        deadline = time.monotonic() + RECOVERY_SECONDS
        while begun and time.monotonic() < deadline:
            for name in [name for name, path in begun.items() if path.exists()]:
                del begun[name]
                way, delay = fleet.chance.choice(AT_MOMENTS), fleet.chance.uniform(0, 1.1 * WORK_SECONDS)
                deaths.append(fleet.pool.submit(kill_later, fleet, name, way, delay))
            time.sleep(0.01)
        assert begun == {}
        for death in deaths:
            death.result()
        ended = finish(command)
        assert ended.code in (0, 1), ended.said
        states.update(site.states(site.last_run()).values())
        fleet.settle()
    assert set(states) <= {"unknown", "ok"}
    trials = rounds * len(machines)
    assert states["unknown"] > trials // 4
    text = f"{trials} of {trials} deaths at random moments of work that takes {WORK_SECONDS} s (seed {SEED})"
    seen = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    figures.figure("R20", f"{text}: {seen}; contents old or new, whole; settled by reconcile")


def is_there_or_ended(path: Path, command: subprocess.Popen[bytes]) -> bool:
    return path.exists() or command.poll() is not None


def kill_later(fleet: Fleet, name: str, way: Way, delay_seconds: float) -> None:
    time.sleep(delay_seconds)
    fleet.kill(name, way)
