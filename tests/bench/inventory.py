"""What `ansible-inventory --list --export` takes for 10, 1,000 and 10,000 instances x 5 modules: time and peak memory.

Aim: at most linear, so that what each host adds is no more at 10,000 than at 1,000 (the noise of a machine aside).

make bench    or    python tests/bench/inventory.py
"""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from dbmod import fleet_inventory, paths
from tests.bench import _fleet, _measure

SIZES, MODULES, TRIALS = (10, 1_000, 10_000), 5, 5
NOISE = 1.25
PROGRAM = Path(sys.executable).parent / "ansible-inventory"
# A process begins with the memory of the one that starts it, so that has to be a small one.
LAUNCHER = """
import resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


class Figures(msgspec.Struct, frozen=True):
    """Medians of the trials of one size."""

    seconds: float
    processor_seconds: float
    memory_mib: float
    own_seconds: float  # what dbmod takes of them to make the inventory


def main() -> None:
    _measure.headline(f"Inventory: ansible-inventory --list --export, x {MODULES} modules, {TRIALS} trials in turn")
    with tempfile.TemporaryDirectory() as directory:
        homes = {size: Path(directory, str(size)) for size in SIZES}
        for size, home in homes.items():
            _fleet.fill(home, instances=size, modules=MODULES)
        trials = [[trial(home) for home in homes.values()] for _ in range(TRIALS)]
    found = [medians([one[number] for one in trials]) for number in range(len(SIZES))]
    for size, figures in zip(SIZES, found, strict=True):
        print(
            f"  {size:>6,} instances   {figures.seconds:6.2f} s   processor {figures.processor_seconds:6.2f} s, "
            f"of it dbmod's own {figures.own_seconds:5.2f} s   peak {figures.memory_mib:4.0f} MiB"
        )
    for name in ("processor_seconds", "memory_mib"):
        small, middle, large = (getattr(one, name) for one in found)
        ratio = (large - middle) / (SIZES[2] - SIZES[1]) / ((middle - small) / (SIZES[1] - SIZES[0]))
        verdict = "within" if ratio <= NOISE else "OVER"
        print(
            f"  {name:<18} that a host adds, at {SIZES[2]:,} against {SIZES[1]:,}: {ratio:5.2f}   {verdict} {NOISE:g}"
        )


def trial(home: Path) -> Figures:
    """Measure one listing, and in this process what is dbmod's own part of it."""
    words = [str(PROGRAM), "-i", "inventory/dbmod.yml", "--list", "--export", "--playbook-dir", "inventory"]
    told = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *words],
        cwd=paths.content(),
        env=dict(os.environ, DBMOD_HOME=str(home)),
        check=True,
        capture_output=True,
    )
    seconds, processor_seconds, memory_kib = map(float, told.stdout.split())
    here = _fleet.context(home)
    own = _measure.seconds(lambda: fleet_inventory.load(here, here.store.snapshot()))
    return Figures(seconds, processor_seconds, memory_kib / 1024, own)


def medians(trials: list[Figures]) -> Figures:
    return Figures(
        *(statistics.median(getattr(one, name) for one in trials) for name in Figures.__struct_fields__),
    )


if __name__ == "__main__":
    main()
