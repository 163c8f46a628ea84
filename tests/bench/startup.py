"""What starting costs: `dbmod --help` and `module-list` against a bare Python that imports the same libraries.

Aim: at most 2.5 times.    make bench    or    python tests/bench/startup.py
"""

import sys
import tempfile
from pathlib import Path

from tests.bench import _fleet, _measure

LIBRARIES = "import click, prettytable, tinydb"
AIM, PAIRS = 2.5, 15


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory, "home")
        _fleet.fill(home, instances=10, modules=5)
        _measure.headline(f"Start-up: against `python -c '{LIBRARIES}'`, whole process, {PAIRS} pairs")
        bare = _measure.command([sys.executable, "-c", LIBRARIES])
        for words in (("--help",), ("module-list",)):
            figures = _measure.paired(bare, _measure.dbmod(*words, home=str(home)), pairs=PAIRS)
            _measure.report(f"dbmod {' '.join(words)}", *figures, aim=AIM)


if __name__ == "__main__":
    main()
