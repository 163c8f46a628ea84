"""How commands grow from 10 instances x 5 modules to 10,000 x 5. Aim: at most twice the time, printing aside.

make bench    or    python tests/bench/growth.py
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from dbmod import store
from dbmod.context import Context
from dbmod.records import Attempt, Instance, Module
from tests.bench import _fleet, _measure

SMALL, LARGE, MODULES, BATCH, PAIRS = 10, 10_000, 5, 50, 9
COMMANDS = (
    ("module-list",),
    ("module-show", "module-3"),
    ("module-instance-count", "module-3"),
    ("module-list-instance", "db-7"),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        small, large = Path(directory, "small"), Path(directory, "large")
        contexts = [
            _fleet.fill(home, instances=count, modules=MODULES) for home, count in ((small, SMALL), (large, LARGE))
        ]
        _measure.headline(f"Growth: {SMALL} x {MODULES} against {LARGE:,} x {MODULES}, whole process, {PAIRS} pairs")
        for words in COMMANDS:
            figures = _measure.paired(
                _measure.dbmod(*words, home=str(small)), _measure.dbmod(*words, home=str(large)), pairs=PAIRS
            )
            _measure.report(" ".join(words), *figures, aim=2)
        figures = _measure.paired(
            _measure.dbmod("status", home=str(small)), _measure.dbmod("status", home=str(large)), pairs=PAIRS
        )
        _measure.report(f"status, which reads all {LARGE * MODULES:,} rows", *figures, aim=10)
        for here in contexts:
            _fleet.add_batch(here, BATCH)
        figures = _measure.paired(_recorder(small), _recorder(large), pairs=PAIRS)
        _measure.report(f"record one batch of {BATCH}, as a process", *figures, aim=2)
        alone = [statistics.median(_fleet.record_batch(here) for _ in range(PAIRS)) for here in contexts]
        print(
            f"  its transaction alone: {alone[0] * 1000:.1f} ms and {alone[1] * 1000:.1f} ms (one shard is rewritten)"
        )
        # The last: its run stays open, and nothing else can be planned for those hosts.
        small_ask, large_ask, _ = _measure.paired(*(_asked(here) for here in contexts), pairs=PAIRS)
        print(f"  each worker, to learn what to do: {small_ask * 1000:.1f} ms and {large_ask * 1000:.1f} ms")


def _asked(here: Context) -> Callable[[], None]:
    """Give what each worker of ansible-playbook begins with, beside hundreds of others."""
    tables = here.store.snapshot()
    fleet, module = tables.find(Instance), tables.find(Module)[0]
    run = _fleet.plan(here, fleet, module)

    def ask() -> None:
        anew = store.open(here.settings).snapshot()
        [found] = anew.find(Attempt, run_id=run.id, instance_id=fleet[-1].id)
        assert found.state == "planned"

    return ask


def _recorder(home: Path) -> Callable[[], None]:
    code = f"from pathlib import Path; from tests.bench._fleet import *; record_batch(context(Path({str(home)!r})))"
    return _measure.command([sys.executable, "-c", code], {"PYTHONPATH": "."})


if __name__ == "__main__":
    main()
