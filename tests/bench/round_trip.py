"""Three modules of three types on real SSH hosts: in one run, in three runs, and one of them alone. Needs root.

A run makes one round trip to each host, whatever it carries, so three modules should take little more than one.
Aim: one run of three at most 1.5 times as long as one of one.

python -m tests.bench.round_trip [HOSTS]
"""

import contextlib
import itertools
import sys
import tempfile
from pathlib import Path

from tests.beds.bed import Bed
from tests.bench import _measure
from tests.end_to_end.sites import Site

HOSTS, PAIRS, AIM = 20, 3, 1.5
MODULES = {
    "ping": b"message=hello\n",
    "file": b"path=/etc/bench.conf\nmode=0640\n\nbench = yes\n",
    "script": b"#!/bin/sh\necho hello\n",
}


def main(count: int) -> None:
    with contextlib.closing(Bed()) as bed, bed.borrow_hosts() as lent, tempfile.TemporaryDirectory() as place:
        site = Site(Path(place, "site"))
        site.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as users'
        site.add_machines(lent.take(count))
        for kind, contents in MODULES.items():
            site.add_module(kind, contents, kind=kind)

        def apply(*names: str) -> None:
            site.well("module-apply", "--all", *itertools.chain(*(("--module", name) for name in names)), "-q")

        _measure.headline(f"One round trip for several modules of several types, {count} hosts, {PAIRS} pairs")
        figures = _measure.paired(lambda: apply("ping"), lambda: apply(*MODULES), pairs=PAIRS)
        _measure.report("one module, three modules in one run", *figures, aim=AIM)
        one_run, single_runs, ratio = _measure.paired(
            lambda: apply(*MODULES), lambda: [apply(name) for name in MODULES], pairs=PAIRS
        )
        print(f"  three in one run {one_run:.1f} s, one after the other {single_runs:.1f} s: {ratio:.2f} times as long")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else HOSTS)
