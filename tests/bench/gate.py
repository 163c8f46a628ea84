"""What the gate costs: a module on adopted Redis servers of real SSH hosts, without it and with it. Needs root.

The gate asks each server before and after, one login each.

python -m tests.bench.gate [HOSTS]
"""

import contextlib
import sys
import tempfile
from pathlib import Path

from tests.beds.bed import Bed
from tests.bench import _measure
from tests.end_to_end.sites import Site

HOSTS, PAIRS = 20, 3


def main(count: int) -> None:
    with contextlib.closing(Bed()) as bed, bed.borrow_hosts() as lent, tempfile.TemporaryDirectory() as place:
        site = Site(Path(place, "site"))
        site.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as users'
        machines = lent.take(count)
        for machine in machines:
            machine.run("systemctl", "start", "redis-server")
            for setting in (("bind", "0.0.0.0"), ("protected-mode", "no")):  # a network of the bench's own
                machine.run("redis-cli", "CONFIG", "SET", *setting)
        site.add_machines(machines, port=6379)
        site.add_module("mymod", b"message=hello\n")

        def apply(*options: str) -> None:
            site.well("module-apply", "--all", "--module", "mymod", "-q", *options)

        _measure.headline(f"The gate around a small module, {count} hosts, {PAIRS} pairs")
        plain, gated, ratio = _measure.paired(lambda: apply("--no-gate"), lambda: apply("--gate"), pairs=PAIRS)
        print(f"  without it {plain:.1f} s, with it {gated:.1f} s: {ratio:.2f} times as long")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else HOSTS)
