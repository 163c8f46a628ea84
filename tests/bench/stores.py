"""Both stores side by side at 10,000 instances x 5 modules: files first, PostgreSQL on this machine second.

make bench    or    python tests/bench/stores.py
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from dbmod import config, vault
from tests import postgresql
from tests.bench import _fleet, _measure

INSTANCES, MODULES, BATCH, PAIRS = 10_000, 5, 50, 7
COMMANDS = (
    ("list",),
    ("module-list",),
    ("module-show", "module-3"),
    ("module-instances", "module-3"),
    ("module-instance-count", "module-3"),
    ("module-list-instance", "db-7"),
    ("run-list",),
    ("history", "db-7"),
    ("ledger-check",),
)
AIM = 2


def main() -> None:
    with tempfile.TemporaryDirectory() as directory, postgresql.server() as server:
        home = Path(directory, "home")
        vault.write_key_file(config.Settings(home=str(home)), [vault.new_key()])
        address = server.address(server.database())
        contexts = [_fleet.fill(home, instances=INSTANCES, modules=MODULES, ledger=ledger) for ledger in ("", address)]
        title = f"Stores at {INSTANCES:,} x {MODULES}: files against PostgreSQL, whole process, {PAIRS} pairs"
        _measure.headline(title)
        environment = {"DBMOD_LEDGER": address, "DBMOD_ADMIN": "true"}
        for words in COMMANDS:
            figures = _measure.paired(
                _measure.dbmod(*words, home=str(home)),
                _measure.dbmod(*words, home=str(home), **environment),
                pairs=PAIRS,
            )
            _measure.report(" ".join(words), *figures, aim=AIM)
        nothing, client = (_measure.command([sys.executable, "-c", code]) for code in ("", "import psycopg"))
        before, after, _ = _measure.paired(nothing, client, pairs=PAIRS)
        print(f"  in each of these: {(after - before) * 1000:.0f} ms to load psycopg")
        for here in contexts:
            _fleet.add_batch(here, BATCH)
        figures = _measure.paired(_recorder(home, ""), _recorder(home, address), pairs=PAIRS)
        _measure.report(f"record one batch of {BATCH}, as a process", *figures, aim=AIM)
        alone = [statistics.median(_fleet.record_batch(here) for _ in range(PAIRS)) for here in contexts]
        print(f"  its transaction alone: {alone[0] * 1000:.1f} ms and {alone[1] * 1000:.1f} ms")


def _recorder(home: Path, ledger: str) -> Callable[[], None]:
    code = "from tests.bench._fleet import *; import os; from pathlib import Path; "
    code += "record_batch(context(Path(os.environ['BENCH_HOME']), ledger=os.environ['BENCH_LEDGER']))"
    environment = {"PYTHONPATH": ".", "BENCH_HOME": str(home), "BENCH_LEDGER": ledger}
    return _measure.command([sys.executable, "-c", code], environment)


if __name__ == "__main__":
    main()
