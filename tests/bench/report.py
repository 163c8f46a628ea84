"""What a report of 1,000 instances x 10 modules costs: time beside `module-list`, size, time to first paint.

make bench    or    python tests/bench/report.py
"""

import tempfile
from pathlib import Path

from tests import browsers
from tests.bench import _fleet, _measure

INSTANCES, MODULES, PAIRS, AIM = 1_000, 10, 7, 5


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        home, page = Path(directory, "home"), Path(directory, "fleet.html")
        _fleet.fill(home, instances=INSTANCES, modules=MODULES)
        _measure.headline(f"A report of {INSTANCES:,} x {MODULES}, beside module-list, whole process, {PAIRS} pairs")
        figures = _measure.paired(
            _measure.dbmod("module-list", home=str(home)),
            _measure.dbmod("report", "--html", str(page), home=str(home)),
            pairs=PAIRS,
        )
        _measure.report("report", *figures, aim=AIM)
        print(f"  size: {page.stat().st_size / 1024:.0f} KiB")
        if not browsers.is_there():
            print("  first paint: NOT MEASURED, there is no Chromium here: scripts/set_up browser")
            return
        with browsers.opened() as browser:
            browser.get(page.as_uri())
            print(f"  first paint: {browsers.first_paint_milliseconds(browser):.0f} ms after the page was asked for")


if __name__ == "__main__":
    main()
